//! Redrive: dead letters go through the pipeline again, in epochs of their own that move no position.
//!
//! Owns: the part of the graph that they go through, the marks that say which letters were redriven.
//! Does not own: which letters (`worker::redrive`), reading their records again (`picked`), the epoch loop (`shard`).
//!
//! Invariants: a record enters where it was rejected, so steps that took it before do not take it twice: what stands
//! before that step keeps no state, what stands beside it gets nothing. The marks are state, written with the epoch's
//! other changes: a letter is marked if and only if the epoch that took it is committed.

use super::burst::Horizon;
use super::epoch::EpochInput;
use super::plan::Planner;
use super::program::Program;
use super::step::{StepChanges, StreamRows};
use super::{Progress, Shard};
use arrow_array::{ArrayRef, BooleanArray, StringArray, UInt64Array};
use arrow_select::filter::filter_record_batch;
use segno_core::columns::key::{Keys, encode_keys};
use segno_core::persisted::{Position, Redrive, RedrivenPartition};
use segno_core::pipeline::graph::{Graph, PortRef};
use segno_core::protocol::close::EpochLimits;
use segno_core::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Letters of an epoch at most: its journal entry names each in some 60 bytes, and is read at every recovery.
const LETTERS_MAX: usize = 4_096;

/// Names the marks in the state store. No step can have this name: names begin with a letter or a digit.
pub const REDRIVEN: &str = "_redriven";

/// A record and the step that rejected it: the key of a mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    pub step: Option<String>,
    pub source: String,
    pub partition: String,
    pub offset: u64,
}

/// The keys of marks, as docs/formats/keys.md has them: (step, source, partition, offset).
pub fn mark_keys(rejected: &[Rejected]) -> Keys {
    let text = |of: fn(&Rejected) -> Option<&str>| Arc::new(rejected.iter().map(of).collect::<StringArray>()) as ArrayRef;
    let columns = [
        text(|one| one.step.as_deref()),
        text(|one| Some(&one.source)),
        text(|one| Some(&one.partition)),
        Arc::new(rejected.iter().map(|one| one.offset).collect::<UInt64Array>()),
    ];
    encode_keys(&columns, rejected.len())
}

/// A mark's value: letters of this record and step up to this epoch were redriven.
pub fn mark_value(epoch: u64) -> Vec<u8> {
    epoch.to_le_bytes().to_vec()
}

pub fn marked_epoch(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.try_into().ok()?))
}

/// The marks that an epoch writes.
pub(super) fn marks(redrive: &Redrive, source_names: &[String], input: &EpochInput) -> StepChanges {
    let mut rejected = Vec::new();
    let mut changes = Vec::new();
    for partition in &redrive.partitions {
        for letter in &partition.letters {
            changes.push((rejected.len() as u32, 0, Some(mark_value(letter.epoch))));
            rejected.push(Rejected {
                step: redrive.step.clone(),
                source: source_names[partition.source as usize].clone(),
                partition: input.partition_name(partition.source, partition.partition),
                offset: letter.offset,
            });
        }
    }
    StepChanges { keys: mark_keys(&rejected), changes }
}

/// Where a step stands, as seen from the step at which records enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Before,
    Entry,
    Behind,
    /// On another branch: it took the record when it was read first.
    Beside,
}

/// The part of each step of a graph.
pub fn parts(graph: &Graph, entry: usize) -> Vec<Part> {
    let above = |step: usize| match graph.steps[step].input {
        PortRef::Step { step, .. } => Some(step),
        PortRef::Source => None,
    };
    let passes = |from: usize, through: usize| std::iter::successors(Some(from), |&step| above(step)).any(|step| step == through);
    let part = |step: usize| match step {
        step if step == entry => Part::Entry,
        step if passes(entry, step) => Part::Before,
        step if passes(step, entry) => Part::Behind,
        _ => Part::Beside,
    };
    (0..graph.steps.len()).map(part).collect()
}

/// The rows that enter the step: those of records that give as many rows there as were rejected. The others come back as
/// (row, how many there are, how many were rejected): some of their rows were taken before, and which cannot be known.
pub(super) fn entering(redrive: &Redrive, input: &EpochInput, rows: &StreamRows) -> Result<(StreamRows, Vec<(u32, u32, u32)>)> {
    let count = rows.batch.num_rows();
    let mut found: BTreeMap<u32, u32> = BTreeMap::new();
    for row in 0..count {
        *found.entry(rows.cause(row)).or_default() += 1;
    }
    let rejected = |row: u32| {
        let origin = input.origin(row as usize);
        let mut partitions = redrive.partitions.iter();
        let partition = partitions.find(|one| (one.source, one.partition) == (origin.source, origin.partition))?;
        let at = partition.letters.binary_search_by_key(&origin.offset, |letter| letter.offset).ok()?;
        Some(partition.letters[at].letters)
    };
    let mut wrong = Vec::new();
    for (&row, &rows) in &found {
        let letters = rejected(row).unwrap_or(0);
        if letters != rows {
            wrong.push((row, rows, letters));
        }
    }
    if wrong.is_empty() {
        return Ok((rows.clone(), wrong));
    }
    let left: BTreeSet<u32> = wrong.iter().map(|(row, _, _)| *row).collect();
    let enters: Vec<bool> = (0..count).map(|row| !left.contains(&rows.cause(row))).collect();
    let lineage = (0..count).filter(|&row| enters[row]).map(|row| rows.cause(row)).collect();
    let batch = filter_record_batch(&rows.batch, &BooleanArray::from(enters))
        .map_err(|error| Error::new(Code::Internal, "redriven rows cannot be selected").with_cause(error))?;
    Ok((StreamRows { batch, lineage: Some(Arc::new(lineage)) }, wrong))
}

/// No rows, with the columns of these.
pub(super) fn nothing(rows: &StreamRows) -> StreamRows {
    StreamRows { batch: rows.batch.slice(0, 0), lineage: Some(Arc::new(Vec::new())) }
}

impl Shard {
    /// Puts the letters of a list through a program, each once. `planner` reads them and nothing else. What is left when it
    /// is asked to stop is taken by the next redrive: what is committed is marked.
    pub fn redrive(
        &mut self,
        program: &Program,
        planner: &mut Planner,
        list: &Redrive,
        stopping: &AtomicBool,
        watch: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<()> {
        let mut last = Instant::now();
        let limits = EpochLimits { records: self.settings.epoch.records.min(LETTERS_MAX), ..self.settings.epoch };
        let mut epochs = || -> Result<()> {
            while let Some(input) = planner.next_epoch(&limits, &Horizon::Free, None, stopping)? {
                let redrive = taken(list, &input);
                let input = input.redriven(redrive, self.watermark);
                self.one_epoch(program, input, &mut last, watch)?;
            }
            Ok(())
        };
        let ended = epochs();
        ended.map_err(|error| self.judged(error))
    }
}

/// The part of a list that an epoch took.
fn taken(list: &Redrive, input: &EpochInput) -> Redrive {
    let offset = |position: &Position, key: (u32, u32)| {
        let found = position.partitions.iter().find(|one| (one.source, one.partition) == key);
        found.map_or(0, |one| one.offset)
    };
    let partitions = list.partitions.iter().map(|partition| {
        let key = (partition.source, partition.partition);
        let range = offset(&input.from, key)..offset(&input.to, key);
        let letters = partition.letters.iter().filter(|letter| range.contains(&letter.offset)).copied().collect();
        RedrivenPartition { letters, ..*partition }
    });
    Redrive { step: list.step.clone(), partitions: partitions.filter(|one| !one.letters.is_empty()).collect() }
}
