//! What a shard left behind, and where its state comes from: journal, manifests, local state, the marks of sinks.
//!
//! Owns: reading them, and restoring the state that the decision names.
//! Does not own: the decisions (`segno_core::protocol::history`), re-execution (`open`).
//!
//! Invariant: nothing is read before the shard was fenced, so that nothing changes meanwhile.

use segno_core::persisted::{EpochRecord, JournalBody, Manifest};
use segno_core::protocol::history::{EntryFacts, EpochFacts, Found, LocalMark, ManifestFacts, plan, sinks_hold};
use segno_core::protocol::recovery::Base;
use segno_core::sink::Held;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint;
use segno_durable::journal::{self, Stored};
use segno_durable::state::{Mark, StateStore};
use segno_durable::store::Objects;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// What the sinks say, in the order of the pipeline, and whether the user accepts changes.
pub struct SinkMarks {
    pub held: Vec<(String, Held)>,
    pub accept_change: bool,
}

/// What the journal and the checkpoints hold.
pub struct History {
    /// Entries from `entries[0].entry.sequence` to the end, chain verified.
    pub entries: Vec<Stored>,
    /// Newest first.
    pub manifests: Vec<FoundManifest>,
}

/// A manifest that could be read.
pub struct FoundManifest {
    pub manifest: Manifest,
    /// No damage of its files is known.
    pub intact: bool,
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
    let mut manifests = Vec::new();
    let newest = checkpoint::newest(objects)?;
    let mut first = None;
    for number in (1..=newest).rev() {
        match checkpoint::read(objects, number) {
            Ok(Some(manifest)) => {
                let intact = !damaged.contains(&number);
                let usable = intact && sinks_hold(&manifest.marks, &marks.held);
                let sequence = manifest.sequence.max(1);
                manifests.push(FoundManifest { manifest, intact });
                if usable {
                    first = Some(sequence);
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
    }
    let first = match first {
        Some(first) => first,
        None => journal::first_left(objects)?,
    };
    Ok(History { entries: journal::read_range(objects, first, end, None)?, manifests })
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
pub fn restore(objects: &Objects, end: u64, state_dir: &Path, memory: u64, marks: &SinkMarks) -> Result<(History, Restored)> {
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
                    .map(|found| &found.manifest)
                    .find(|manifest| manifest.number == number)
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
        let state = StateStore::open_within(state_dir, memory)?;
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
    let local = local_mark(state_dir);
    let found = Found {
        entries: history
            .entries
            .iter()
            .map(|stored| EntryFacts {
                sequence: stored.entry.sequence,
                digest: &stored.digest,
                epoch: match &stored.entry.body {
                    JournalBody::Epoch(record) => {
                        Some(EpochFacts { epoch: record.epoch, rows_out: &record.counts.rows_out, announced: &record.counts.announced })
                    }
                    _ => None,
                },
            })
            .collect(),
        manifests: history
            .manifests
            .iter()
            .map(|FoundManifest { manifest, intact }| ManifestFacts {
                number: manifest.number,
                epoch: manifest.epoch,
                chain: &manifest.chain,
                marks: &manifest.marks,
                intact: *intact,
            })
            .collect(),
        local: match &local {
            Ok(None) => LocalMark::Absent,
            Ok(Some(mark)) => LocalMark::At { epoch: mark.epoch, chain: &mark.chain },
            Err(error) => {
                tracing::warn!(code = error.code().name(), "{error}; it is restored");
                LocalMark::Damaged
            }
        },
        sinks: &marks.held,
        accept_change: marks.accept_change,
    };
    Ok(plan(&found)?.base)
}

fn local_mark(state_dir: &Path) -> Result<Option<Mark>> {
    if !state_dir.exists() {
        return Ok(None);
    }
    StateStore::open(state_dir)?.mark()
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
