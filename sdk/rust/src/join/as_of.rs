//! A table whose rows are versions; a record sees the one that was valid at its event time.
//!
//! A version is dropped when no record that is not late can ask for it any more: when the watermark has reached the time from
//! which the next one is valid. A key that has several has one timer, for the first that is dropped.
//! Invariants: versions are in the order of their times, one for each; a timer waits for the first end, or before it.

use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::late::Late;
use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Keeps the versions of a key's row. A version is valid from its own event time on, which is part of it, until that of the
/// next one, which is not. Of versions of equal times the one that came last is valid.
///
/// A record sees the versions that came before it: it does not wait for others. In streams that are each in order a version
/// comes before the records of its time, or between them, as the sources are named in the pipeline file.
///
/// **Late.** A record whose time is before the watermark, and the allowed lateness, is [`Late`]: its version may have been
/// dropped. A late version counts for the records after it, unless none may ask for it any more: then it is [`Late`].
///
/// The last version of a key is kept for ever, also when it says that the row was deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsOf {
    /// Microseconds.
    lateness: i64,
    number: u32,
}

impl AsOf {
    pub const fn new() -> Self {
        Self { lateness: 0, number: 0 }
    }

    /// Answers records that are late by so much, and holds versions for so much longer.
    pub const fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = micros(lateness);
        self
    }

    /// The number of its timers; 0 if not given.
    pub const fn timer_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Takes a version of the row.
    ///
    /// # Errors
    /// No record may ask for it any more.
    pub fn upsert<V: State>(
        &self,
        state: &mut Keyed<Versions<V>>,
        timers: &mut Timers,
        from: Timestamp,
        row: V,
    ) -> Result<(), Late> {
        self.take(state, timers, Version { from, row: vec![row] })
    }

    /// Takes that the row was deleted.
    ///
    /// # Errors
    /// As [`AsOf::upsert`].
    pub fn delete<V: State>(&self, state: &mut Keyed<Versions<V>>, timers: &mut Timers, from: Timestamp) -> Result<(), Late> {
        self.take(state, timers, Version { from, row: Vec::new() })
    }

    /// The row that was valid at a time; nothing when there was none, or it was deleted.
    ///
    /// # Errors
    /// The time is before the watermark and the allowed lateness.
    pub fn row<'s, V: State>(
        &self,
        state: &'s Keyed<Versions<V>>,
        timers: &Timers,
        time: Timestamp,
    ) -> Result<Option<&'s V>, Late> {
        Late::check(timers, time.after(self.lateness).after(1))?;
        let versions = state.get().map_or(&[][..], |versions| &versions.versions);
        let after = versions.partition_point(|version| version.from <= time);
        Ok(versions[..after].last().and_then(|version| version.row.first()))
    }

    /// Drops versions that no record may ask for any more; nothing for timers of other numbers.
    pub fn fire<V: State>(&self, state: &mut Keyed<Versions<V>>, timers: &mut Timers, timer: Timer) {
        let Some(versions) = state.get_mut().filter(|_| timer.number == self.number) else { return };
        self.drop_over(versions, timers);
        if let Some(first) = self.first_end(versions) {
            timers.set(first, self.number);
        }
    }

    fn take<V: State>(&self, state: &mut Keyed<Versions<V>>, timers: &mut Timers, version: Version<V>) -> Result<(), Late> {
        let known = state.get().map_or(&[][..], |versions| &versions.versions);
        let at = known.partition_point(|known| known.from < version.from);
        let same = known.get(at).is_some_and(|known| known.from == version.from);
        if let Some(next) = known.get(at + usize::from(same)) {
            Late::check(timers, self.end(next))?;
        }
        let versions = state.or_default();
        let before = self.first_end(versions);
        if same {
            versions.versions[at] = version;
        } else {
            versions.versions.insert(at, version);
        }
        self.drop_over(versions, timers);
        if let Some(first) = self.first_end(versions).filter(|first| before.is_none_or(|before| *first < before)) {
            timers.set(first, self.number);
        }
        Ok(())
    }

    /// When the version before this one is dropped.
    fn end<V>(&self, next: &Version<V>) -> Timestamp {
        next.from.after(self.lateness)
    }

    fn first_end<V>(&self, versions: &Versions<V>) -> Option<Timestamp> {
        versions.versions.get(1).map(|next| self.end(next))
    }

    fn drop_over<V>(&self, versions: &mut Versions<V>, timers: &Timers) {
        let reached = versions.versions.partition_point(|version| timers.reached(self.end(version)));
        versions.versions.drain(..reached.saturating_sub(1));
    }
}

/// The versions of a key's row that records may ask for. A state table of its own, named `versions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions<V> {
    versions: Vec<Version<V>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Version<V> {
    from: Timestamp,
    /// Nothing when the row was deleted.
    row: Vec<V>,
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
