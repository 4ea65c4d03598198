//! The versions of a row, for joins with the one that was valid.
//!
//! A version is dropped when no record that is not late can ask for it any more: when the watermark has reached the time from
//! which the next one is valid, and the allowed lateness.
//! Invariant: versions are in the order of their times, one for each.

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::late::Late;
use crate::state::{State, StateField, column_spec};
use crate::time::Timestamp;
use crate::timer::Timers;

/// The versions of a key's row that records may ask for. A state table of its own, named `versions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions<V> {
    versions: Vec<Version<V>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version<V> {
    pub(super) from: Timestamp,
    /// Nothing when the row was deleted.
    pub(super) row: Vec<V>,
}

impl<V> Versions<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The row that was valid at a time.
    pub(super) fn at(&self, time: Timestamp) -> Option<&V> {
        let after = self.versions.partition_point(|version| version.from <= time);
        self.versions[..after].last().and_then(|version| version.row.first())
    }

    /// # Errors
    /// No record may ask for this version any more: the next one was valid for all of them.
    pub(super) fn check(&self, version: &Version<V>, lateness: i64, timers: &Timers) -> Result<(), Late> {
        let after = self.versions.partition_point(|known| known.from <= version.from);
        self.versions.get(after).map_or(Ok(()), |next| Late::check(timers, next.from.after(lateness)))
    }

    /// Takes a version; of equal times the new one is valid.
    pub(super) fn take(&mut self, version: Version<V>, lateness: i64, timers: &Timers) {
        let at = self.versions.partition_point(|known| known.from < version.from);
        match self.versions.get_mut(at) {
            Some(known) if known.from == version.from => *known = version,
            _ => self.versions.insert(at, version),
        }
        self.drop_over(lateness, timers);
    }

    /// When the first version is dropped.
    pub(super) fn first_end(&self, lateness: i64) -> Option<Timestamp> {
        self.versions.get(1).map(|next| next.from.after(lateness))
    }

    pub(super) fn drop_over(&mut self, lateness: i64, timers: &Timers) {
        let reached = self.versions.partition_point(|version| timers.reached(version.from.after(lateness)));
        self.versions.drain(..reached.saturating_sub(1));
    }
}

impl<V> Default for Versions<V> {
    fn default() -> Self {
        Self { versions: Vec::new() }
    }
}

impl<V: State> State for Versions<V> {
    const TABLE: &'static str = "versions";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Vec<Version<V>>>("versions", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.versions.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { versions: StateField::decode(from)? })
    }
}

impl<V: State> State for Version<V> {
    const TABLE: &'static str = "version";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Timestamp>("from", 1));
        columns.push(column_spec::<Vec<V>>("row", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.from.encode(out);
        self.row.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { from: StateField::decode(from)?, row: StateField::decode(from)? })
    }
}
