//! Single records of the sources, read again as if there were no others.
//!
//! Owns: finding them, and errors where they are gone. Does not own: which records (`worker::redrive`), their order (`plan`).
//!
//! Invariant: every record that is asked for is given, or this is an error: a redrive that skipped one would mark it as taken.

use super::plan::{Planner, TimeRules};
use arrow_array::BooleanArray;
use arrow_select::filter::filter_record_batch;
use bytes::{Bytes, BytesMut};
use segno_core::persisted::{PartitionPosition, Position, RedrivenPartition};
use segno_core::source::{Bad, Chunk, Next, Partition, PartitionReader, Raw, ReadLimit, ReadPlan, Source};
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is read at once around a record: decoding it costs about as much as finding a place in a file.
const PICK_LIMIT: ReadLimit = ReadLimit { rows: 1_024, bytes: 256 << 10 };

/// The next record is read on to when it is at most so many reads away, else the partition is opened anew: with Kafka
/// that is a new client, which costs as much as some ten reads.
const READ_ON: u64 = 16;

/// A planner of some records and of nothing else. `position` is that of the shard: the records lie before it.
pub fn planner(
    sources: &[Arc<dyn Source>],
    plans: &[ReadPlan],
    rules: TimeRules,
    position: &Position,
    partitions: &[RedrivenPartition],
) -> Result<Planner> {
    let mut picked: Vec<BTreeMap<u32, Vec<u64>>> = vec![BTreeMap::new(); sources.len()];
    let mut start = Position::default();
    for wanted in partitions {
        let known = position.partitions.iter().find(|one| (one.source, one.partition) == (wanted.source, wanted.partition));
        let gone = |name: &str| {
            Error::new(Code::PartitionGone, format!("\"{name}\" was read before and is not there any more"))
                .with_help("put it back: its dead letters are read from it again")
        };
        let known = known.ok_or_else(|| gone(&format!("partition {}", wanted.partition)))?;
        let source = &sources[wanted.source as usize];
        let found = source.partitions()?.into_iter().find(|one| one.name == known.name).ok_or_else(|| gone(&known.name))?;
        if !known.mark.is_empty() && known.mark != format!("{:016x}", source.mark(found.number, known.offset)?) {
            return Err(Error::new(
                Code::SourceChanged,
                format!("\"{}\" has other bytes before offset {} than when it was read", known.name, known.offset),
            )
            .with_help("put the original back: dead letters are read from it again"));
        }
        let offsets: Vec<u64> = wanted.letters.iter().map(|letter| letter.offset).collect();
        let offset = offsets.first().copied().unwrap_or(known.offset);
        picked[wanted.source as usize].insert(found.number, offsets);
        start.partitions.push(PartitionPosition { offset, mark: String::new(), time_max: None, ..known.clone() });
    }
    let sources = sources.iter().zip(picked);
    let sources = sources.map(|(inner, picked)| Arc::new(Picked { inner: Arc::clone(inner), picked }) as Arc<dyn Source>);
    // One reader is enough for single records; they wait for nobody, so none is idle.
    Planner::new(sources.collect(), plans.to_vec(), TimeRules { idle_timeout: None, ends: false, announces: false, ..rules }, 1, &start, None)
}

struct Picked {
    inner: Arc<dyn Source>,
    /// Offsets by partition, in order.
    picked: BTreeMap<u32, Vec<u64>>,
}

impl Source for Picked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        let all = self.inner.partitions()?.into_iter();
        Ok(all.filter(|partition| self.picked.contains_key(&partition.number)).collect())
    }

    fn open(&self, partition: u32, offset: u64, _mark: Option<u64>, plan: &ReadPlan) -> Result<Box<dyn PartitionReader>> {
        let offsets = self.picked.get(&partition).into_iter().flatten().copied().filter(|&one| one >= offset);
        Ok(Box::new(Picker {
            source: Arc::clone(&self.inner),
            partition,
            plan: plan.clone(),
            offsets: offsets.collect(),
            next: 0,
            open: None,
        }))
    }

    /// Nobody keeps these positions.
    fn mark(&self, _partition: u32, _offset: u64) -> Result<u64> {
        Ok(0)
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }
}

struct Picker {
    source: Arc<dyn Source>,
    partition: u32,
    plan: ReadPlan,
    offsets: Vec<u64>,
    /// The first of them that was not given.
    next: usize,
    open: Option<Box<dyn PartitionReader>>,
}

impl PartitionReader for Picker {
    fn next(&mut self, _limit: ReadLimit) -> Result<Next> {
        let Some(&wanted) = self.offsets.get(self.next) else { return Ok(Next::End) };
        let reader = match &mut self.open {
            Some(reader) => reader,
            none => none.insert(self.source.open(self.partition, wanted, None, &self.plan)?),
        };
        let chunk = match reader.next(PICK_LIMIT).map_err(advised)? {
            Next::Chunk(chunk) => chunk,
            Next::Waiting => return Ok(Next::Waiting),
            Next::End => return Err(self.gone(wanted)),
        };
        let inside = self.offsets[self.next..].partition_point(|&offset| offset < chunk.end);
        let wanted = &self.offsets[self.next..self.next + inside];
        let picked = pick(&chunk, wanted)?;
        let given = |offset: &u64| picked.offsets.contains(offset) || picked.bad.iter().any(|bad| bad.offset == *offset);
        if let Some(lacking) = wanted.iter().find(|offset| !given(offset)) {
            return Err(self.gone(*lacking));
        }
        self.next += inside;
        let far = chunk.end.saturating_add(READ_ON * (chunk.end - chunk.start));
        if self.offsets.get(self.next).is_none_or(|&offset| offset > far) {
            self.open = None;
        }
        Ok(Next::Chunk(picked))
    }
}

impl Picker {
    fn gone(&self, offset: u64) -> Error {
        let partitions = self.source.partitions().unwrap_or_default();
        let name = partitions.iter().find(|one| one.number == self.partition).map_or("", |one| one.name.as_str());
        Error::new(Code::InputChanged, format!("there is no record at offset {offset} of \"{name}\" any more"))
            .with_help("a redrive reads the records from the source again: put the original back")
    }
}

/// What helps a run whose input is gone does not help a redrive: its letters are all that is left of such records.
fn advised(error: Error) -> Error {
    match error.code() {
        Code::OffsetsGone => error.with_help(
            "a redrive reads records from the source again. Their letters still have their bytes (`segno dlq show` gives them, to be \
             written to the source once more); choose the others with --record, --epoch, --step or --code",
        ),
        _ => error,
    }
}

/// The records of a chunk at some offsets; nothing of the others is kept in memory.
fn pick(chunk: &Chunk, wanted: &[u64]) -> Result<Chunk> {
    let is_wanted = |offset: u64| wanted.binary_search(&offset).is_ok();
    let rows: Vec<usize> = (0..chunk.offsets.len()).filter(|&row| is_wanted(chunk.offsets[row])).collect();
    let mask: BooleanArray = chunk.offsets.iter().map(|&offset| Some(is_wanted(offset))).collect();
    let columns = filter_record_batch(&chunk.columns, &mask)
        .map_err(|error| Error::new(Code::Internal, "single records cannot be selected").with_cause(error))?;
    let bad = chunk.bad.iter().filter(|bad| is_wanted(bad.offset)).map(|bad| Bad {
        before_row: rows.partition_point(|&row| row < bad.before_row as usize) as u32,
        bytes: Bytes::copy_from_slice(&bad.bytes),
        ..bad.clone()
    });
    let raw = chunk.raw.as_ref().map(|raw| {
        let mut bytes = BytesMut::new();
        let place = |&row: &usize| {
            let (from, to) = raw.rows[row];
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&raw.bytes[from as usize..to as usize]);
            (start, bytes.len() as u32)
        };
        let rows = rows.iter().map(place).collect();
        Raw { bytes: bytes.freeze(), rows, offsets_are_bytes: false }
    });
    Ok(Chunk {
        partition: chunk.partition,
        columns,
        times: if chunk.times.is_empty() { Vec::new() } else { rows.iter().map(|&row| chunk.times[row]).collect() },
        offsets: rows.iter().map(|&row| chunk.offsets[row]).collect(),
        bad: bad.collect(),
        // Event time stands still meanwhile.
        announced: Vec::new(),
        raw,
        start: chunk.start,
        end: chunk.end,
    })
}
