//! A table whose rows are versions; a record sees the one that was valid at its event time.
//!
//! A key that has several versions has one timer, for the first that is dropped.
//! Invariant: a timer waits for the first end, or before it.

use core::time::Duration;

use super::versions::{Version, Versions};
use crate::late::Late;
use crate::state::{Keyed, State};
use crate::time::{Timestamp, micros_or_none};
use crate::timer::{Timer, Timers};

/// Keeps the versions of a key's row. A version is valid from its own event time on, which is part of it, until that of the
/// next one, which is not. Of versions of equal times the one that came last is valid.
///
/// A record sees the versions that came before it: it does not wait for others, as in a [`TemporalJoin`](super::TemporalJoin). In
/// streams that are each in order a version comes before the records that happened after it, because the pipeline merges
/// its sources by event time.
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
        self.lateness = micros_or_none(lateness);
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
        Ok(state.get().and_then(|versions| versions.at(time)))
    }

    /// Drops versions that no record may ask for any more; nothing for timers of other numbers.
    pub fn fire<V: State>(&self, state: &mut Keyed<Versions<V>>, timers: &mut Timers, timer: Timer) {
        let Some(versions) = state.get_mut().filter(|_| timer.number == self.number) else { return };
        versions.drop_over(self.lateness, timers);
        if let Some(first) = versions.first_end(self.lateness) {
            timers.set(first, self.number);
        }
    }

    fn take<V: State>(&self, state: &mut Keyed<Versions<V>>, timers: &mut Timers, version: Version<V>) -> Result<(), Late> {
        // A late version leaves no state behind.
        if let Some(versions) = state.get() {
            versions.check(&version, self.lateness, timers)?;
        }
        let versions = state.or_default();
        let before = versions.first_end(self.lateness);
        versions.take(version, self.lateness, timers);
        if let Some(first) = versions.first_end(self.lateness).filter(|first| before.is_none_or(|before| *first < before)) {
            timers.set(first, self.number);
        }
        Ok(())
    }
}
