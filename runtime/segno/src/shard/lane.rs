//! One lane of a step through one epoch: calls on an instance, effects applied between calls, failing calls split.
//!
//! Owns: the calls of a lane, the values of its keys, the verdict on a record that makes a call fail.
//! Does not own: which rows belong to the lane (`step`), what becomes of rejected records (`execute`).
//!
//! Invariants: a lane starts with a fresh instance. Effects of a failed call are never applied. On replay the
//! journalled calls are made again, and nothing is decided anew.

use super::program::StepProgram;
use arrow_array::ArrayRef;
use segno_core::columns::ColumnType;
use segno_core::columns::frame::{BatchMessage, EffectsLimits, PortEffects, RowSet, parse_effects};
use segno_core::persisted::{LaneScript, ScriptedCall, Verdict};
use segno_core::pipeline::graph::GraphStep;
use segno_core::protocol::split::{Split, Step as Trial};
use segno_core::{Code, Error, Result};
use segno_plugin::{CallFailure, Instance};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Records that may be rejected after failing calls in one epoch. More than that is a broken plugin, and each one costs
/// about ten calls to find.
pub const REJECTIONS_PER_EPOCH_MAX: u32 = 1_000;

/// How often an epoch is aborted for an expired deadline before its calls are split like any other failure.
pub const DEADLINE_ABORTS_MAX: u32 = 2;

/// How calls are decided.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Failing calls are split and the verdicts become facts.
    Live { deadline_aborts: u32 },
    /// The journalled calls are made; anything else is a difference.
    Replay { scripts: &'a [LaneScript] },
}

/// The rows of a lane, as rows of the step's input.
#[derive(Clone, Debug)]
pub enum LaneRows {
    /// Contiguous pieces of the input, each one call.
    Ranges(Vec<Range<u32>>),
    /// Gathered rows, ascending, with the lane-local key index of each (for keyed steps; else empty).
    Picked { rows: Vec<u32>, keys: Vec<u32> },
}

impl LaneRows {
    pub fn len(&self) -> usize {
        match self {
            LaneRows::Ranges(ranges) => ranges.iter().map(|range| range.len()).sum(),
            LaneRows::Picked { rows, .. } => rows.len(),
        }
    }
}

/// The values of a lane's keys in each table, as they stand after the calls made so far.
#[derive(Default)]
pub struct LaneState {
    /// `[table][key]`.
    pub values: Vec<Vec<Option<Vec<u8>>>>,
    pub changed: Vec<Vec<bool>>,
}

/// Everything a lane needs that is the same for all lanes of the step.
pub struct StepContext<'a> {
    pub graph: &'a GraphStep,
    pub program: &'a StepProgram,
    /// Columns handed to the plugin.
    pub columns: Vec<ArrayRef>,
    pub types: Vec<ColumnType>,
    /// Event times of the step's rows, when the plugin wants them.
    pub times: Option<ArrayRef>,
    pub batch_rows: u32,
    pub rejections: &'a AtomicU32,
    pub effects_limits: EffectsLimits,
}

/// Writes the message of one call.
fn write_batch(
    context: &StepContext<'_>,
    out: &mut Vec<u8>,
    rows: &RowSet<'_>,
    row_keys: &[u32],
    batch_keys: &[u32],
    state: &LaneState,
) -> Result<(), segno_wire::WireError> {
    let keyed = !context.graph.key.is_empty();
    let sections = 1 + if keyed { 1 + state.values.len() } else { 0 } + usize::from(context.times.is_some());
    let mut message = BatchMessage::new(out, sections);
    message.columns(&context.columns, &context.types, rows)?;
    if keyed {
        message.row_keys(row_keys)?;
        for (table, values) in state.values.iter().enumerate() {
            message.states(table as u16, batch_keys.iter().map(|&key| values[key as usize].as_deref()))?;
        }
    }
    if let Some(times) = &context.times {
        message.times(times, rows)?;
    }
    message.finish()
}

/// The outputs of one call on one port; causes are rows of the step's input.
pub struct CallOutput {
    pub port: usize,
    pub causes: Vec<u32>,
    pub columns: Vec<ArrayRef>,
}

/// A rejected row of the step's input.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub row: u32,
    pub code: String,
    pub reason: String,
}

#[derive(Default)]
pub struct LaneResult {
    pub outputs: Vec<CallOutput>,
    pub rejected: Vec<Rejected>,
    pub script: Option<LaneScript>,
    pub fuel: u64,
    pub counters: BTreeMap<String, u64>,
    pub state: LaneState,
}

/// A call that succeeded; its effects are not applied yet.
struct Called {
    ports: Vec<PortEffects>,
    mutations: Vec<segno_core::columns::frame::TableMutations>,
    rejects: Vec<(u32, String)>,
    /// Batch key index to lane key index.
    batch_keys: Vec<u32>,
}

pub struct LaneRun<'a> {
    context: &'a StepContext<'a>,
    lane: u32,
    rows: &'a LaneRows,
    message: Vec<u8>,
    /// For each lane key the call that last saw it, and its index in that call's batch.
    seen_in: Vec<u32>,
    index_in: Vec<u32>,
    calls_made: u32,
    instance: Option<Instance>,
    result: LaneResult,
}

impl<'a> LaneRun<'a> {
    pub fn new(context: &'a StepContext<'a>, lane: u32, rows: &'a LaneRows, state: LaneState) -> LaneRun<'a> {
        let keys = state.values.first().map_or(0, Vec::len);
        let keys = match rows {
            LaneRows::Picked { keys: row_keys, .. } => {
                keys.max(row_keys.iter().max().map_or(0, |&max| max as usize + 1))
            }
            LaneRows::Ranges(_) => keys,
        };
        LaneRun {
            context,
            lane,
            rows,
            message: Vec::new(),
            seen_in: vec![0; keys],
            index_in: vec![0; keys],
            calls_made: 0,
            instance: None,
            result: LaneResult { state, ..LaneResult::default() },
        }
    }

    pub fn run(mut self, mode: Mode<'_>) -> Result<LaneResult> {
        match mode {
            Mode::Live { deadline_aborts } => self.run_live(deadline_aborts)?,
            Mode::Replay { scripts } => {
                let id = &self.context.graph.id;
                match scripts.iter().find(|script| script.step == *id && script.lane == self.lane) {
                    Some(script) => self.follow(script)?,
                    None => self.run_unscripted()?,
                }
            }
        }
        Ok(self.result)
    }

    /// The calls of a lane without failures: every range, or every `batch_rows` rows.
    fn cuts(&self) -> Vec<Range<usize>> {
        match self.rows {
            LaneRows::Ranges(ranges) => {
                let mut at = 0;
                let cut = |range: &Range<u32>| {
                    let from = at;
                    at += range.len();
                    from..at
                };
                ranges.iter().map(cut).collect()
            }
            LaneRows::Picked { rows, .. } => {
                let step = self.context.batch_rows.max(1) as usize;
                (0..rows.len()).step_by(step).map(|from| from..(from + step).min(rows.len())).collect()
            }
        }
    }

    fn run_unscripted(&mut self) -> Result<()> {
        for cut in self.cuts() {
            let called = self.call(cut.clone()).map_err(|failure| self.replay_failure(&cut, &failure))?;
            self.apply(cut, called);
        }
        Ok(())
    }

    fn follow(&mut self, script: &LaneScript) -> Result<()> {
        let mut at = 0;
        for scripted in &script.calls {
            let rows = at..at + scripted.rows as usize;
            at = rows.end;
            if rows.end > self.rows.len() {
                return Err(Error::new(
                    Code::ReplayDiffers,
                    format!(
                        "the journal's calls of step \"{}\", lane {} take {} rows; the lane has {}",
                        self.context.graph.id,
                        self.lane,
                        rows.end,
                        self.rows.len()
                    ),
                ));
            }
            if let Some(verdict) = &scripted.rejected {
                self.reject(rows.start, verdict);
                self.instance = None;
                continue;
            }
            if scripted.fresh {
                self.instance = None;
            }
            let called = self.call(rows.clone()).map_err(|failure| self.replay_failure(&rows, &failure))?;
            self.apply(rows, called);
        }
        self.result.script = Some(script.clone());
        Ok(())
    }

    fn replay_failure(&self, rows: &Range<usize>, failure: &CallFailure) -> Error {
        let row = self.input_row(rows.start);
        Error::new(
            Code::ReplayDiffers,
            format!(
                "step \"{}\", lane {}: a call of {} rows that succeeded before now fails: {failure}",
                self.context.graph.id,
                self.lane,
                rows.len()
            ),
        )
        .with_cause(format!("first row of the call: input row {row}"))
    }

    fn run_live(&mut self, deadline_aborts: u32) -> Result<()> {
        let mut calls: Vec<ScriptedCall> = Vec::new();
        let mut failed = false;
        for cut in self.cuts() {
            let mut cut = cut;
            while !cut.is_empty() {
                let fresh = self.instance.is_none();
                match self.call(cut.clone()) {
                    Ok(called) => {
                        calls.push(ScriptedCall { rows: cut.len() as u32, fresh, rejected: None });
                        self.apply(cut.clone(), called);
                        cut.start = cut.end;
                    }
                    Err(failure) => {
                        failed = true;
                        cut.start = self.split(cut.clone(), failure, deadline_aborts, &mut calls)?;
                    }
                }
            }
        }
        if failed {
            let step = self.context.graph.id.clone();
            self.result.script = Some(LaneScript { step, lane: self.lane, calls });
        }
        Ok(())
    }

    /// Finds the record that makes a call fail and rejects it; gives the row after it.
    fn split(
        &mut self,
        cut: Range<usize>,
        failure: CallFailure,
        deadline_aborts: u32,
        calls: &mut Vec<ScriptedCall>,
    ) -> Result<usize> {
        self.stop_on(&failure, deadline_aborts)?;
        let mut split = Split::new(cut.len());
        let mut good: Option<Called> = None;
        let mut last = failure;
        loop {
            match split.step() {
                Trial::Prefix { rows } => {
                    self.instance = None;
                    match self.call(cut.start..cut.start + rows) {
                        Ok(called) => {
                            good = Some(called);
                            split.report(true);
                        }
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                }
                Trial::Alone { good: before } => {
                    if let Some(called) = good.take() {
                        let rows = cut.start..cut.start + before;
                        calls.push(ScriptedCall { rows: before as u32, fresh: true, rejected: None });
                        self.apply(rows, called);
                    }
                    self.instance = None;
                    match self.call(cut.start + before..cut.start + before + 1) {
                        Ok(_) => split.report(true),
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                    self.instance = None;
                }
                Trial::Reject { good: before } => {
                    let row = cut.start + before;
                    let so_far = self.context.rejections.fetch_add(1, Ordering::Relaxed) + 1;
                    if so_far > REJECTIONS_PER_EPOCH_MAX {
                        return Err(Error::new(
                            Code::TooManyRejections,
                            format!(
                                "step \"{}\": more than {REJECTIONS_PER_EPOCH_MAX} records of one epoch made calls fail; the last: {last}",
                                self.context.graph.id
                            ),
                        )
                        .with_help("this is a broken plugin or input, not a poison record, and nothing of the epoch was committed: mend what the last failure names"));
                    }
                    let verdict = Verdict { code: last.code().name().to_owned(), reason: last.to_string() };
                    self.reject(row, &verdict);
                    calls.push(ScriptedCall { rows: 1, fresh: true, rejected: Some(verdict) });
                    return Ok(row + 1);
                }
                Trial::NoCulprit { good: before } => {
                    return Err(Error::new(
                        Code::EpochFailed,
                        format!(
                            "step \"{}\", lane {}: a call of {} rows fails ({last}), but row {} after the first {before} does not fail alone",
                            self.context.graph.id,
                            self.lane,
                            cut.len(),
                            before + 1
                        ),
                    )
                    .with_help("the failure depends on several records together: raise the limit that it names, or mend the plugin"));
                }
            }
        }
    }

    fn stop_on(&self, failure: &CallFailure, deadline_aborts: u32) -> Result<()> {
        if failure.is_fatal() {
            return Err(Error::new(
                failure.code(),
                format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
            )
            .with_help("nothing of this epoch was committed; mend the plugin, or remove the cause that it names"));
        }
        if !failure.is_deadline() || deadline_aborts >= DEADLINE_ABORTS_MAX {
            return Ok(());
        }
        Err(Error::new(
            Code::DeadlineExpired,
            format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
        )
        .with_help("raise limits.deadline of the step if the machine is slow; else the plugin is stuck"))
    }

    fn input_row(&self, lane_row: usize) -> u32 {
        match self.rows {
            LaneRows::Picked { rows, .. } => rows[lane_row],
            LaneRows::Ranges(ranges) => {
                let mut left = lane_row as u32;
                for range in ranges {
                    if left < range.end - range.start {
                        return range.start + left;
                    }
                    left -= range.end - range.start;
                }
                ranges.last().map_or(0, |range| range.end)
            }
        }
    }

    fn reject(&mut self, lane_row: usize, verdict: &Verdict) {
        let row = self.input_row(lane_row);
        self.result.rejected.push(Rejected { row, code: verdict.code.clone(), reason: verdict.reason.clone() });
    }

    /// One call over lane rows; the instance is dropped when it fails.
    fn call(&mut self, rows: Range<usize>) -> Result<Called, CallFailure> {
        let context = self.context;
        self.calls_made += 1;
        let mut batch_keys: Vec<u32> = Vec::new();
        let mut row_keys: Vec<u32> = Vec::new();
        let row_set = match self.rows {
            LaneRows::Ranges(_) => {
                let first = self.input_row(rows.start) as usize;
                RowSet::Range(first..first + rows.len())
            }
            LaneRows::Picked { rows: picked, keys } => {
                if !keys.is_empty() {
                    row_keys.reserve_exact(rows.len());
                    for &key in &keys[rows.clone()] {
                        let slot = key as usize;
                        if self.seen_in[slot] != self.calls_made {
                            self.seen_in[slot] = self.calls_made;
                            self.index_in[slot] = batch_keys.len() as u32;
                            batch_keys.push(key);
                        }
                        row_keys.push(self.index_in[slot]);
                    }
                }
                RowSet::Take(&picked[rows.clone()])
            }
        };
        write_batch(context, &mut self.message, &row_set, &row_keys, &batch_keys, &self.result.state)
            .map_err(|error| CallFailure::Engine(format!("the batch cannot be written: {error}")))?;
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(context.program.template.instantiate()?),
        };
        let description = &context.program.template.description;
        let outcome = instance.process(&self.message, rows.len(), |answer| {
            parse_effects(answer, description, rows.len(), batch_keys.len(), &context.effects_limits)
        });
        let observed = instance.take_observed();
        for (name, delta) in observed.counters {
            *self.result.counters.entry(name).or_default() += delta;
        }
        for line in observed.logs {
            tracing::info!(target: "plugin", step = %context.graph.id, lane = self.lane, plugin_level = line.level, "{}", line.message);
        }
        match outcome {
            Ok(done) => {
                self.result.fuel += done.fuel;
                match done.value {
                    Ok(effects) => Ok(Called {
                        ports: effects.ports,
                        mutations: effects.mutations,
                        rejects: effects.rejects,
                        batch_keys,
                    }),
                    Err(malformed) => {
                        self.instance = None;
                        Err(CallFailure::malformed(malformed.to_string()))
                    }
                }
            }
            Err(failure) => {
                self.instance = None;
                Err(failure)
            }
        }
    }

    fn apply(&mut self, rows: Range<usize>, called: Called) {
        // A call on ranges lies within one range, so its rows follow each other.
        let first = self.input_row(rows.start);
        let input_row = |row: u32| match self.rows {
            LaneRows::Picked { rows: picked, .. } => picked[rows.start + row as usize],
            LaneRows::Ranges(_) => first + row,
        };
        for mut port in called.ports {
            for cause in &mut port.causes {
                *cause = input_row(*cause);
            }
            self.result.outputs.push(CallOutput { port: port.port, causes: port.causes, columns: port.columns });
        }
        for mutations in called.mutations {
            let table = mutations.table;
            for (index, value) in mutations.iter() {
                let key = called.batch_keys[index as usize] as usize;
                self.result.state.changed[table][key] = true;
                let slot = &mut self.result.state.values[table][key];
                match (value, slot) {
                    (Some(value), Some(old)) => {
                        old.clear();
                        old.extend_from_slice(value);
                    }
                    (Some(value), slot) => *slot = Some(value.to_vec()),
                    (None, slot) => *slot = None,
                }
            }
        }
        for (row, reason) in called.rejects {
            let row = input_row(row);
            self.result.rejected.push(Rejected { row, code: Code::RejectedByPlugin.name().to_owned(), reason });
        }
    }
}
