//! What a shard left behind, and where its state comes from: journal, manifests, local state, the marks of sinks.
//!
//! Owns: reading them, and restoring the state that the decision names.
//! Does not own: the decisions (`segno_core::protocol::{follow, recovery}`), re-execution (`open`).
//!
//! Invariant: nothing is read before the shard was fenced, so that nothing changes meanwhile.

use segno_core::persisted::{EpochRecord, JournalBody, Manifest};
use segno_core::protocol::follow::{SinkFacts, complete_through};
use segno_core::protocol::recovery::{Base, CheckpointFacts, JournalFacts, LocalFacts, plan_recovery};
use segno_core::sink::Held;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint;
use segno_durable::journal::{self, Stored};
use segno_durable::state::StateStore;
use segno_durable::store::Objects;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// What the sinks say, in the order of the pipeline, and whether the user accepts changes.
pub struct SinkMarks {
    pub held: Vec<(String, Held)>,
    pub accept_change: bool,
}

impl SinkMarks {
    /// Whether every sink holds what it held when the manifest was written.
    fn hold(&self, manifest: &Manifest) -> bool {
        self.held.iter().all(|(name, held)| match (manifest.marks.get(name), held) {
            (Some(marked), Held::Through(held)) => held >= marked,
            _ => true,
        })
    }

    /// Up to which epoch no sink lacks anything.
    fn complete(&self, history: &History, end: u64) -> Result<u64> {
        let mut complete = end;
        for (name, held) in &self.held {
            let rows: Vec<(u64, u64)> = history
                .epochs()
                .map(|(_, record)| (record.epoch, record.counts.rows_out.get(name).copied().unwrap_or(0)))
                .collect();
            let facts = SinkFacts { name, held: *held, rows: &rows };
            complete = complete.min(complete_through(&facts, end, self.accept_change)?);
        }
        Ok(complete)
    }
}

/// What the journal and the checkpoints hold.
pub struct History {
    /// Entries from `entries[0].entry.sequence` to the end, chain verified.
    pub entries: Vec<Stored>,
    /// Newest first; damaged ones have facts and no manifest.
    pub manifests: Vec<(CheckpointFacts, Option<Manifest>)>,
}

impl History {
    pub fn epochs(&self) -> impl Iterator<Item = (&Stored, &EpochRecord)> {
        self.entries.iter().filter_map(|stored| match &stored.entry.body {
            JournalBody::Epoch(record) => Some((stored, &**record)),
            _ => None,
        })
    }

    pub fn last(&self) -> Option<(&Stored, &EpochRecord)> {
        self.epochs().last()
    }
}

/// Reads manifests, newest first, until one can be used as far as is known, and the journal from there.
fn read_history(objects: &Objects, end: u64, damaged: &BTreeSet<u64>, marks: &SinkMarks) -> Result<History> {
    let mut manifests: Vec<(CheckpointFacts, Option<Manifest>)> = Vec::new();
    let mut number = checkpoint::newest(objects)?;
    let newest = number;
    let mut first = 1;
    while number > 0 {
        match checkpoint::read(objects, number) {
            Ok(Some(manifest)) => {
                let (intact, sinks_hold) = (!damaged.contains(&number), marks.hold(&manifest));
                let facts =
                    CheckpointFacts { number, epoch: manifest.epoch, chain_matches: false, intact, sinks_hold };
                first = manifest.sequence.max(1);
                manifests.push((facts, Some(manifest)));
                if intact && sinks_hold {
                    break;
                }
            }
            Ok(None) if number < newest => break,
            Ok(None) => tracing::error!("checkpoint {number} is gone"),
            Err(error) if error.code() == Code::CheckpointDamaged => {
                tracing::error!(code = error.code().name(), "{error}");
            }
            Err(error) => return Err(error),
        }
        number -= 1;
    }
    if !manifests.iter().any(|(facts, _)| facts.intact && facts.sinks_hold) {
        first = journal::first_left(objects)?;
    }
    let entries = journal::read_range(objects, first, end, None)?;
    let chain_of = |epoch: u64| {
        entries.iter().find_map(|stored| match &stored.entry.body {
            JournalBody::Epoch(record) if record.epoch == epoch => Some(stored.digest.as_str()),
            _ => None,
        })
    };
    for (facts, manifest) in &mut manifests {
        if let Some(manifest) = manifest {
            facts.chain_matches = chain_of(manifest.epoch).is_none_or(|chain| chain == manifest.chain);
        }
    }
    Ok(History { entries, manifests })
}

/// State to go on from, and where it came from.
pub struct Restored {
    pub base: Base,
    pub state: StateStore,
    /// The checkpoint that was restored.
    pub manifest: Option<Manifest>,
}

/// Decides where state comes from and opens it. A checkpoint shows its damage when it is restored: then the decision is
/// made again without it.
pub fn restore(objects: &Objects, end: u64, state_dir: &Path, marks: &SinkMarks) -> Result<(History, Restored)> {
    let mut damaged = BTreeSet::new();
    loop {
        let history = read_history(objects, end, &damaged, marks)?;
        let base = plan_base(&history, state_dir, marks)?;
        let manifest = match base {
            Base::Local { .. } => None,
            Base::Nothing => {
                discard(state_dir)?;
                None
            }
            Base::Checkpoint { number, .. } => {
                discard(state_dir)?;
                let manifest = history
                    .manifests
                    .iter()
                    .find_map(|(facts, manifest)| manifest.as_ref().filter(|_| facts.number == number))
                    .ok_or_else(|| Error::new(Code::Internal, format!("checkpoint {number} was chosen and not read")))?;
                let started = Instant::now();
                match checkpoint::restore(objects, manifest, state_dir) {
                    Ok(()) => {
                        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
                        tracing::info!(number, bytes, seconds = started.elapsed().as_secs_f64(), "checkpoint restored");
                    }
                    Err(error) if error.code() == Code::CheckpointDamaged => {
                        tracing::error!(code = error.code().name(), "{error}");
                        damaged.insert(number);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                Some(manifest.clone())
            }
        };
        let state = StateStore::open(state_dir)?;
        if let Base::Checkpoint { number, epoch } = base
            && state.mark()?.map(|mark| mark.epoch) != Some(epoch)
        {
            tracing::error!("checkpoint {number}: its state is not marked as the state of epoch {epoch}");
            damaged.insert(number);
            continue;
        }
        return Ok((history, Restored { base, state, manifest }));
    }
}

fn plan_base(history: &History, state_dir: &Path, marks: &SinkMarks) -> Result<Base> {
    let end = history.last().map(|(_, record)| record.epoch);
    let newest = history.manifests.iter().map(|(facts, _)| facts.epoch).max();
    let end = end.or(newest.filter(|_| !history.entries.is_empty())).unwrap_or(0);
    let journal = JournalFacts {
        end,
        complete: marks.complete(history, end)?,
        first: match history.epochs().next() {
            Some((_, record)) => record.epoch,
            None if history.entries.first().is_some_and(|stored| stored.entry.sequence == 1) => 1,
            // No epoch is left: the next one would follow the newest checkpoint, or one that nobody knows.
            None => newest.unwrap_or(1) + 1,
        },
    };
    let checkpoints: Vec<CheckpointFacts> = history.manifests.iter().map(|(facts, _)| facts.clone()).collect();
    Ok(plan_recovery(&journal, &checkpoints, &local_facts(history, state_dir))?.base)
}

fn local_facts(history: &History, state_dir: &Path) -> LocalFacts {
    if !state_dir.exists() {
        return LocalFacts::Absent;
    }
    match StateStore::open(state_dir).and_then(|state| state.mark()) {
        Ok(None) => LocalFacts::Absent,
        Ok(Some(mark)) => LocalFacts::Marked {
            epoch: mark.epoch,
            chain_matches: history
                .epochs()
                .any(|(stored, record)| record.epoch == mark.epoch && stored.digest == mark.chain),
        },
        Err(error) => {
            tracing::warn!(code = error.code().name(), "{error}; it is restored");
            LocalFacts::Damaged
        }
    }
}

pub fn discard(state_dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(state_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Code::StateUnwritable, format!("{} cannot be removed", state_dir.display())).with_cause(error))
        }
        _ => Ok(()),
    }
}

pub fn base_epoch(base: &Base) -> u64 {
    match base {
        Base::Local { epoch } | Base::Checkpoint { epoch, .. } => *epoch,
        Base::Nothing => 0,
    }
}
