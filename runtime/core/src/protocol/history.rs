//! What a shard left behind, as facts: from journal, checkpoints, local state and the marks of sinks to a plan.
//!
//! Owns: what these say together. Does not own: reading them, nor the two rules that it asks (`follow`, `recovery`).
//!
//! Invariant: an absent entry is never taken for an empty journal.

use super::follow::{SinkFacts, complete_through};
use super::recovery::{CheckpointFacts, JournalFacts, LocalFacts, RecoveryPlan, plan_recovery};
use crate::Result;
use crate::sink::Held;
use std::collections::BTreeMap;

/// A journal entry that was read.
#[derive(Clone, Debug)]
pub struct EntryFacts<'a> {
    pub sequence: u64,
    /// Digest of its bytes.
    pub digest: &'a str,
    /// `None`: a fence or a change.
    pub epoch: Option<EpochFacts<'a>>,
}

#[derive(Clone, Debug)]
pub struct EpochFacts<'a> {
    pub epoch: u64,
    /// By sink name.
    pub rows_out: &'a BTreeMap<String, u64>,
    /// Sinks in which the watermark was announced.
    pub announced: &'a [String],
}

impl EpochFacts<'_> {
    /// How much the epoch gave to a sink.
    fn published(&self, sink: &str) -> u64 {
        let announced = self.announced.iter().any(|name| name == sink);
        self.rows_out.get(sink).copied().unwrap_or(0) + u64::from(announced)
    }
}

/// A manifest that was read.
#[derive(Clone, Debug)]
pub struct ManifestFacts<'a> {
    pub number: u64,
    pub epoch: u64,
    /// The digest that it names.
    pub chain: &'a str,
    /// By sink name: what the sink held.
    pub marks: &'a BTreeMap<String, u64>,
    /// No damage of it is known.
    pub intact: bool,
}

/// The mark of the local state.
#[derive(Clone, Copy, Debug)]
pub enum LocalMark<'a> {
    Absent,
    At { epoch: u64, chain: &'a str },
    Damaged,
}

/// Everything that was found, after the shard was fenced.
pub struct Found<'a> {
    /// In order and without gaps, from `first` to the end.
    pub entries: Vec<EntryFacts<'a>>,
    /// Newest first.
    pub manifests: Vec<ManifestFacts<'a>>,
    pub local: LocalMark<'a>,
    pub sinks: &'a [(String, Held)],
    /// The user accepts that a sink was replaced.
    pub accept_change: bool,
}

/// Whether every sink holds what it held when a manifest with these marks was written.
pub fn sinks_hold(marks: &BTreeMap<String, u64>, sinks: &[(String, Held)]) -> bool {
    sinks.iter().all(|(name, held)| match (marks.get(name), held) {
        (Some(marked), Held::Through(held)) => held >= marked,
        _ => true,
    })
}

/// Decides how to recover from what was found.
pub fn plan(found: &Found<'_>) -> Result<RecoveryPlan> {
    let epochs = || found.entries.iter().filter_map(|entry| Some((entry, entry.epoch.as_ref()?)));
    let newest = found.manifests.iter().map(|manifest| manifest.epoch).max();
    let end = epochs().last().map(|(_, epoch)| epoch.epoch);
    let end = end.or(newest.filter(|_| !found.entries.is_empty())).unwrap_or(0);
    let first = match epochs().next() {
        Some((_, epoch)) => epoch.epoch,
        None if found.entries.first().is_some_and(|entry| entry.sequence == 1) => 1,
        // No epoch is left: the next one would follow the newest checkpoint, or one that nobody knows.
        None => newest.unwrap_or(1) + 1,
    };
    let mut complete = end;
    for (name, held) in found.sinks {
        let rows: Vec<(u64, u64)> = epochs().map(|(_, epoch)| (epoch.epoch, epoch.published(name))).collect();
        let marked = found.manifests.first().and_then(|manifest| manifest.marks.get(name).copied());
        let facts = SinkFacts { name, held: *held, rows: &rows, marked };
        complete = complete.min(complete_through(&facts, end, found.accept_change)?);
    }
    let digest_of = |wanted: u64| epochs().find(|(_, epoch)| epoch.epoch == wanted).map(|(entry, _)| entry.digest);
    let checkpoints: Vec<CheckpointFacts> = found
        .manifests
        .iter()
        .map(|manifest| CheckpointFacts {
            number: manifest.number,
            epoch: manifest.epoch,
            chain_matches: digest_of(manifest.epoch).is_none_or(|digest| digest == manifest.chain),
            intact: manifest.intact,
            sinks_hold: sinks_hold(manifest.marks, found.sinks),
        })
        .collect();
    let local = match found.local {
        LocalMark::Absent => LocalFacts::Absent,
        LocalMark::Damaged => LocalFacts::Damaged,
        LocalMark::At { epoch, chain } => {
            LocalFacts::Marked { epoch, chain_matches: digest_of(epoch) == Some(chain) }
        }
    };
    plan_recovery(&JournalFacts { end, first, complete }, &checkpoints, &local)
}
