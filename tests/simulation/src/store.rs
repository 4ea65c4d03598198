//! The object store: numbered objects made by conditional create, hints, a listing that may be stale.

use segno_core::protocol::end::newest;
use std::collections::{BTreeMap, BTreeSet};

/// A piece of the input: records `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    Fence,
    Epoch { epoch: u64, span: Span },
}

/// A journal entry. Its digest is one of a kind, as a nonce makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub sequence: u64,
    pub generation: u64,
    pub previous: u64,
    pub body: Body,
}

impl Entry {
    pub fn digest(&self) -> u64 {
        self.generation << 32 | self.sequence
    }

    pub fn epoch(&self) -> Option<(u64, Span)> {
        match self.body {
            Body::Fence => None,
            Body::Epoch { epoch, span } => Some((epoch, span)),
        }
    }
}

/// State with its mark: all records before `applied` were applied, as a count, so that applying twice shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub epoch: u64,
    pub chain: u64,
    pub applied: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    pub number: u64,
    pub generation: u64,
    pub epoch: u64,
    pub sequence: u64,
    pub chain: u64,
    pub position: u64,
    /// What the sink held that keeps its own mark.
    pub mark: Option<u64>,
}

/// A state file under its content hash, which is the chain of its epoch here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File {
    pub state: State,
    /// Older than the longest upload: it may be collected.
    pub old: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    /// The highest generation. These objects are never collected.
    pub generation: u64,
    pub journal: BTreeMap<u64, Entry>,
    pub manifests: BTreeMap<u64, Manifest>,
    /// Manifests whose bytes were damaged.
    pub unreadable: BTreeSet<u64>,
    pub files: BTreeMap<u64, File>,
    pub journal_hint: Option<u64>,
    pub manifest_hint: Option<u64>,
    /// How many of the newest names a listing does not show yet.
    pub unlisted: u64,
}

impl Store {
    /// The highest listed number.
    pub fn listed<V>(&self, numbers: &BTreeMap<u64, V>) -> u64 {
        numbers.keys().next_back().map_or(0, |last| last.saturating_sub(self.unlisted))
    }

    /// Creates an entry unless its number is taken.
    pub fn create(&mut self, entry: Entry) -> Result<(), Entry> {
        match self.journal.get(&entry.sequence) {
            Some(theirs) => Err(*theirs),
            None => {
                self.journal.insert(entry.sequence, entry);
                Ok(())
            }
        }
    }

    /// The newest manifest, as the runtime finds it.
    pub fn newest_manifest(&self) -> u64 {
        let exists = |number| Ok(self.manifests.contains_key(&number));
        newest(self.manifest_hint, self.listed(&self.manifests), exists).unwrap_or(0)
    }
}
