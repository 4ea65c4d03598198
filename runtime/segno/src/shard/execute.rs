//! Executing an epoch: every step in the graph's order, then the rows of every sink and the dead letters.
//!
//! Owns: the way of rows through the graph, what becomes of rejected records, the epoch's digests.
//! Does not own: where rows come from (`plan`) and go to (`commit`); live runs, recovery and replay all call `execute`.
//!
//! Invariants: a pure function of (program, input, state, mode). Nothing outside changes until `commit`.

use super::burst;
use super::causes::{Causes, Fired, Origin};
use super::epoch::EpochInput;
use super::lane::{Mode, Rejected};
use super::program::Program;
use super::redrive::{self, Part, REDRIVEN, nothing};
use super::step::{StateReader, StepChanges, StepRun, StreamRows};
use super::tap::{Passing, Taps};
use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;
use segno_core::columns::digest::{Finished, RowsDigest, changes_digest};
use segno_core::columns::json::row_to_json;
use segno_core::columns::key::Keys;
use segno_core::persisted::{BEFORE_TTL, Digests, LaneScript, Lease, Redrive, write_living};
use segno_core::pipeline::{OnError, SinkKind};
use segno_core::pipeline::graph::{Graph, GraphSink, PortRef};
use segno_core::protocol::time::Moment;
use segno_core::sink::{DeadLetter, SinkRows};
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Changes of a step from which on a thread of its own for their digest is worth its start.
const CHANGES_APART_MIN: usize = 1_000;

/// Everything an epoch did, not yet visible anywhere.
pub struct Executed {
    /// One per sink of the graph: the columns that it writes.
    pub sinks: Vec<SinkOutput>,
    pub dead_letters: Vec<DeadLetter>,
    pub skipped: u64,
    /// By step id, keyed steps only.
    pub changes: BTreeMap<String, StepChanges>,
    pub scripts: Vec<LaneScript>,
    /// What each step rejected, in the graph's order.
    pub rejects: Vec<StepRejects>,
    pub fuel: BTreeMap<String, u64>,
    pub counters: BTreeMap<String, u64>,
    pub digests: Digests,
    /// Truncated digests by what they are of (`step.port`, `sink:name`, `state:step`), one per block of rows.
    pub blocks: BTreeMap<String, Vec<u64>>,
    /// Names of the steps' streams in `blocks`, in the graph's order.
    pub stream_order: Vec<String>,
    /// Lineage of each stream in `blocks` that has one.
    lineages: BTreeMap<String, Option<Arc<Vec<u32>>>>,
    /// Timers that fired: causes behind those of the records.
    pub fired: Vec<Fired>,
    /// The epoch ends within an instant for which a timer set another: it must not.
    pub chained: bool,
}

impl Executed {
    /// What a row of a stream came from.
    pub fn cause(&self, stream: &str, row: usize) -> Option<u32> {
        match self.lineages.get(stream)? {
            Some(lineage) => lineage.get(row).copied(),
            None => Some(row as u32),
        }
    }
}

/// The rejects of one step.
pub struct StepRejects {
    /// Rows that reached the step.
    pub records: u64,
    /// In row order.
    pub rejected: Vec<Rejected>,
    /// The cause of each.
    pub causes: Vec<u32>,
}

/// Of what a step gave.
struct StepDigests {
    ports: Vec<Option<Finished>>,
    changes: Option<Finished>,
}

pub struct SinkOutput {
    pub name: String,
    pub rows: StreamRows,
}

pub struct Execution<'a> {
    pub program: &'a Program,
    pub input: &'a EpochInput,
    pub state: &'a dyn StateReader,
    pub batch_rows: u32,
    pub threads: usize,
    /// Rows per block digest: 64, or 1 with `replay_detail: row`.
    pub block_rows: usize,
    /// Who looks at records on their way; nobody, when history is executed again.
    pub taps: Option<&'a Taps>,
}

/// Keeps dead letters in the order of what caused them: (moment, undecodable first, cause, step, sequence).
struct Letters {
    letters: Vec<((Moment, u32, usize), DeadLetter)>,
    skipped: u64,
}

/// A row that was rejected.
struct Judged<'a> {
    causes: Causes<'a>,
    cause: u32,
    /// The stream that it stands in, and where.
    rows: &'a StreamRows,
    row: usize,
}

impl Execution<'_> {
    pub fn execute(&self, mode: Mode<'_>) -> Result<Executed> {
        let graph = &self.program.graph;
        let mut letters = Letters { letters: Vec::new(), skipped: 0 };
        self.judge_undecodable(&mut letters)?;
        let source = StreamRows { batch: self.input.batch.clone(), lineage: None };
        let mut streams: Vec<Vec<Option<StreamRows>>> = Vec::new();
        let mut digests: Vec<Vec<Option<Finished>>> = Vec::new();
        let mut executed = Executed {
            sinks: Vec::new(),
            dead_letters: Vec::new(),
            skipped: 0,
            changes: BTreeMap::new(),
            scripts: Vec::new(),
            rejects: Vec::new(),
            fuel: BTreeMap::new(),
            counters: BTreeMap::new(),
            digests: Digests { input: self.input.digests.clone(), ..Digests::default() },
            blocks: BTreeMap::new(),
            stream_order: Vec::new(),
            lineages: BTreeMap::new(),
            fired: Vec::new(),
            chained: false,
        };
        let parts = self.parts()?;
        let rejections = AtomicU32::new(0);
        for (number, step) in graph.steps.iter().enumerate() {
            let rows = stream(&source, &streams, step.input)?;
            let entering = match (parts.get(number), &self.input.redrive) {
                (Some(Part::Beside), _) => Some(nothing(rows)),
                (Some(Part::Entry), Some(redrive)) => Some(self.enter(redrive, rows, number, &mut letters)?),
                _ => None,
            };
            let rows = entering.as_ref().unwrap_or(rows);
            let causes = Causes { input: self.input, fired: &executed.fired };
            let (moves, last) = burst::moves_of(self.input, &graph.steps, number)?;
            let run = StepRun {
                number,
                graph: step,
                program: &self.program.steps[number],
                rows,
                causes,
                moves,
                last,
                state: self.state,
                batch_rows: self.batch_rows,
                threads: self.threads,
                rejections: &rejections,
            };
            let outcome = run.run(mode)?;
            executed.fired.extend(outcome.fired);
            let causes = Causes { input: self.input, fired: &executed.fired };
            if let Some(taps) = self.taps {
                let (ports, rejected) = (&outcome.ports, &outcome.rejected);
                taps.show(&Passing { program: self.program, step: number, causes, rows, ports, rejected });
            }
            let of_rejects: Vec<u32> = outcome.rejected.iter().map(|one| rows.cause(one.row as usize)).collect();
            for (rejected, &cause) in outcome.rejected.iter().zip(&of_rejects) {
                let row = Judged { causes, cause, rows, row: rejected.row as usize };
                self.judge(&mut letters, &row, Some(number), &rejected.code, &rejected.reason)?;
            }
            let records = rows.batch.num_rows() as u64;
            executed.rejects.push(StepRejects { records, rejected: outcome.rejected, causes: of_rejects });
            executed.chained |= outcome.chained;
            executed.fuel.insert(step.id.clone(), outcome.fuel);
            for (name, delta) in outcome.counters {
                *executed.counters.entry(format!("{}.{name}", step.id)).or_default() += delta;
            }
            if let Some(end) = outcome.end_before_ttl {
                let before = executed.changes.entry(BEFORE_TTL.to_owned()).or_insert_with(|| StepChanges { keys: Keys::default(), changes: Vec::new() });
                let key = before.keys.push(step.id.as_bytes());
                before.changes.push((key, 0, Some(write_living(Lease { end, ttl: step.ttl.unwrap_or_default() }, b""))));
            }
            executed.scripts.extend(outcome.scripts);
            let StepDigests { ports: of_ports, changes: of_changes } = self.digests(number, &outcome.ports, outcome.changes.as_ref());
            for ((port, rows), digest) in step.outputs.iter().zip(&outcome.ports).zip(&of_ports) {
                if let (Some(rows), Some(digest)) = (rows, digest) {
                    let name = format!("{}.{}", step.id, port.name);
                    executed.blocks.insert(name.clone(), digest.blocks.clone());
                    executed.lineages.insert(name.clone(), rows.lineage.clone());
                    executed.stream_order.push(name);
                }
            }
            digests.push(of_ports);
            if let (Some(changes), Some(Finished { digest, blocks })) = (outcome.changes, of_changes) {
                executed.digests.state.insert(step.id.clone(), digest);
                executed.blocks.insert(format!("state:{}", step.id), blocks);
                executed.changes.insert(step.id.clone(), changes);
            }
            streams.push(outcome.ports);
        }
        for (number, (sink, name)) in graph.sinks.iter().zip(&self.program.sink_names).enumerate() {
            let rows = stream(&source, &streams, sink.input)?;
            let served = match sink.input {
                PortRef::Source => parts.is_empty(),
                PortRef::Step { step, .. } => matches!(parts.get(step), None | Some(Part::Entry | Part::Behind)),
            };
            let unserved = (!served).then(|| nothing(rows));
            let rows = unserved.as_ref().unwrap_or(rows);
            let all = rows.batch.num_rows();
            let batch = rows.batch.project(&sink.columns).map_err(|error| {
                Error::new(Code::Internal, format!("sink \"{name}\": columns could not be selected")).with_cause(error)
            })?;
            let causes = Causes { input: self.input, fired: &executed.fired };
            let rows = self.within_limit(number, causes, StreamRows { batch, lineage: rows.lineage.clone() }, &mut letters)?;
            let known = match sink.input {
                PortRef::Step { step, port } if served && rows.batch.num_rows() == all && takes_all(sink, graph) => digests[step][port].clone(),
                _ => None,
            };
            let digest = known.unwrap_or_else(|| digest(&rows, RowsDigest::with_block_rows(self.block_rows)));
            executed.digests.output.insert(name.clone(), digest.digest);
            executed.blocks.insert(format!("sink:{name}"), digest.blocks);
            executed.lineages.insert(format!("sink:{name}"), rows.lineage.clone());
            executed.sinks.push(SinkOutput { name: name.clone(), rows });
        }
        if let Some(redrive) = &self.input.redrive {
            executed.changes.insert(REDRIVEN.to_owned(), redrive::marks(redrive, &self.program.source_names, self.input));
        }
        letters.letters.sort_by_key(|(order, _)| *order);
        executed.skipped = letters.skipped;
        executed.dead_letters = letters.letters.into_iter().map(|(_, letter)| letter).collect();
        Ok(executed)
    }

    /// Where each step stands, as seen from the one at which redriven records enter; empty where all of them are executed.
    fn parts(&self) -> Result<Vec<Part>> {
        let Some(id) = self.input.redrive.as_ref().and_then(|redrive| redrive.step.as_ref()) else { return Ok(Vec::new()) };
        match self.program.graph.steps.iter().position(|step| step.id == *id) {
            Some(entry) => Ok(redrive::parts(&self.program.graph, entry)),
            None => Err(Error::new(Code::Internal, format!("letters of step \"{id}\" are redriven, and the plan has no such step"))),
        }
    }

    /// The rows of redriven records that enter a step; a record of which it took rows before goes back to the dead letters.
    fn enter(&self, redrive: &Redrive, rows: &StreamRows, step: usize, letters: &mut Letters) -> Result<StreamRows> {
        let (entering, wrong) = redrive::entering(redrive, self.input, rows)?;
        for (row, found, rejected) in wrong {
            let reason = format!(
                "the record gives {found} rows at step \"{}\", and {rejected} of its rows were rejected there: which of them were taken before cannot be known",
                self.program.graph.steps[step].id
            );
            let causes = Causes { input: self.input, fired: &[] };
            let row = Judged { causes, cause: row, rows, row: 0 };
            self.judge(letters, &row, Some(step), Code::RedriveRows.name(), &reason)?;
        }
        Ok(entering)
    }

    /// Of what a step gave: of each port that is read, the blocks, and the whole where a sink takes all of it; of the changes.
    fn digests(&self, step: usize, ports: &[Option<StreamRows>], changes: Option<&StepChanges>) -> StepDigests {
        let (graph, block_rows) = (&self.program.graph, self.block_rows);
        let of_port = |(port, rows): (usize, &Option<StreamRows>)| {
            let port = PortRef::Step { step, port };
            let whole = graph.sinks.iter().any(|sink| sink.input == port && takes_all(sink, graph));
            let of = if whole { RowsDigest::with_block_rows } else { RowsDigest::of_blocks };
            rows.as_ref().map(|rows| digest(rows, of(block_rows)))
        };
        let of_ports = || ports.iter().enumerate().map(of_port).collect();
        let of_changes = || {
            let changes = changes?;
            let changed = changes.changes.iter().map(|(key, table, value)| (changes.keys.get(*key as usize), *table, value.as_deref()));
            Some(changes_digest(changed, block_rows))
        };
        if self.threads <= 1 || changes.is_none_or(|changes| changes.changes.len() < CHANGES_APART_MIN) {
            return StepDigests { ports: of_ports(), changes: of_changes() };
        }
        std::thread::scope(|scope| {
            // Where a thread cannot start, this one works in its place.
            let apart = std::thread::Builder::new().spawn_scoped(scope, &of_changes).ok();
            let ports = of_ports();
            let changes = match apart {
                Some(apart) => apart.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => of_changes(),
            };
            StepDigests { ports, changes }
        })
    }

    fn judge_undecodable(&self, letters: &mut Letters) -> Result<()> {
        for bad in &self.input.bad {
            let source = bad.source as usize;
            match self.program.source_on_error[source] {
                OnError::Skip => letters.skipped += 1,
                OnError::Fail => {
                    return Err(Error::new(
                        Code::RecordFailed,
                        format!(
                            "source \"{}\", {}, offset {}: [{}] {}",
                            self.program.source_names[source],
                            self.input.partition_name(bad.source, bad.partition),
                            bad.bad.offset,
                            bad.bad.code.name(),
                            bad.bad.reason
                        ),
                    )
                    .with_help("set on_error: dlq (with a dlq sink) or skip on the source to go on without such records"));
                }
                OnError::Dlq => letters.letters.push((
                    // Before the timers that the next record lets fire.
                    (Moment { row: bad.before_row, instant: i64::MIN }, 0, 0),
                    DeadLetter {
                        source: self.program.source_names[source].clone(),
                        partition: self.input.partition_name(bad.source, bad.partition),
                        offset: bad.bad.offset,
                        time: None,
                        step: None,
                        code: bad.bad.code.name().to_owned(),
                        reason: bad.bad.reason.clone(),
                        component: None,
                        value: bad.bad.bytes.to_vec(),
                    },
                )),
            }
        }
        Ok(())
    }

    /// Rejects the rows that a sink cannot take, as if the step that gave them had: the sink's limit is part of the plan.
    fn within_limit(&self, number: usize, causes: Causes<'_>, rows: StreamRows, letters: &mut Letters) -> Result<StreamRows> {
        let Some(SinkKind::Kafka(kafka)) = &self.program.sink_targets[number] else { return Ok(rows) };
        let sink = &self.program.graph.sinks[number];
        let given = SinkRows { epoch: 0, schema: &sink.schema, batch: &rows.batch, written: sink.written, lineage: None, told: None };
        let oversized = segno_kafka::oversized(kafka, &given)?;
        if oversized.is_empty() {
            return Ok(rows);
        }
        let step = match sink.input {
            PortRef::Source => None,
            PortRef::Step { step, .. } => Some(step),
        };
        let mut fits = vec![true; rows.batch.num_rows()];
        for (row, bytes) in oversized {
            let limit = kafka.row_bytes_max.unwrap_or_default();
            let reason = format!("the row has {bytes} bytes, and row_bytes_max of sink \"{}\" is {limit}", self.program.sink_names[number]);
            let judged = Judged { causes, cause: rows.cause(row), rows: &rows, row };
            self.judge(letters, &judged, step, Code::RecordTooLarge.name(), &reason)?;
            fits[row] = false;
        }
        let lineage = (0..fits.len()).filter(|&row| fits[row]).map(|row| rows.cause(row)).collect();
        let batch = filter_record_batch(&rows.batch, &BooleanArray::from(fits))
            .map_err(|error| Error::new(Code::Internal, "rows of a sink cannot be left out").with_cause(error))?;
        Ok(StreamRows { batch, lineage: Some(Arc::new(lineage)) })
    }

    /// What becomes of a record that a step rejected; without a step, a sink rejected what came from the source.
    fn judge(&self, letters: &mut Letters, judged: &Judged<'_>, step: Option<usize>, code: &str, reason: &str) -> Result<()> {
        let Judged { causes, cause, .. } = *judged;
        let program = step.map(|step| &self.program.steps[step]);
        let id = step.map(|step| &self.program.graph.steps[step].id);
        let on_error = match program {
            Some(program) => program.on_error,
            None => self.program.source_on_error[self.input.origin(cause as usize).source as usize],
        };
        if on_error == OnError::Skip {
            letters.skipped += 1;
            return Ok(());
        }
        let Origin { source, partition, offset } = causes.origin(self.program, cause);
        if on_error == OnError::Fail {
            let (before, whose) = match id {
                Some(id) => (format!("step \"{id}\": "), format!("step \"{id}\"")),
                None => (String::new(), "the source".to_owned()),
            };
            return Err(Error::new(
                Code::RecordFailed,
                format!("{before}source \"{source}\", {partition}, offset {offset}: [{code}] {reason}"),
            )
            .with_help(format!("set on_error: dlq (with a dlq sink) or skip on {whose} to go on without such records")));
        }
        let value = match causes.timer(cause) {
            Some(_) => row_to_json(&judged.rows.batch, judged.row),
            None => match self.input.original(cause as usize) {
                Some(bytes) => bytes[..bytes.len().min(segno_core::source::BAD_BYTES_MAX)].to_vec(),
                None => row_to_json(&self.input.batch, cause as usize),
            },
        };
        letters.letters.push((
            // A record is undecodable or reaches steps, never both; + 1 keeps the order total all the same.
            (causes.moment(cause), cause, step.map_or(0, |step| step + 1)),
            DeadLetter {
                source,
                partition,
                offset,
                time: causes.time(cause),
                step: id.cloned(),
                code: code.to_owned(),
                reason: reason.to_owned(),
                component: program.map(|program| program.component.clone()),
                value,
            },
        ));
        Ok(())
    }
}

fn digest(rows: &StreamRows, mut digest: RowsDigest) -> Finished {
    digest.update(&rows.batch);
    digest.finish()
}

/// Whether a sink is given all columns of the port that it reads, as they stand there.
fn takes_all(sink: &GraphSink, graph: &Graph) -> bool {
    match sink.input {
        PortRef::Step { step, port } => (0..graph.steps[step].outputs[port].schema.columns.len()).eq(sink.columns.iter().copied()),
        PortRef::Source => false,
    }
}

fn stream<'a>(source: &'a StreamRows, streams: &'a [Vec<Option<StreamRows>>], port: PortRef) -> Result<&'a StreamRows> {
    match port {
        PortRef::Source => Ok(source),
        PortRef::Step { step, port } => streams[step][port]
            .as_ref()
            .ok_or_else(|| Error::new(Code::Internal, "the graph reads a port that it marks as unused")),
    }
}
