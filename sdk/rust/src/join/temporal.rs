//! A table whose rows are versions; a record waits until the version that was valid at its event time is certain.
//!
//! A key has one timer, for the first record that is answered or the first version that is dropped. At one instant records are
//! answered first.
//! Invariants: records are in the order of their times, then as they came; a timer waits for the first end, or before it.

use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use super::held::{Held, insert};
use super::newest;
use super::versions::{Version, Versions};
use crate::late::Late;
use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros_or_none};
use crate::timer::{Timer, Timers};

/// Gives each record with the version of its key's row that was valid at its event time, when the watermark has passed that
/// time: in whichever order records and versions that are not late came, the answers are the same. Versions are valid as in
/// [`AsOf`](super::AsOf), which answers at once.
///
/// **Order.** Records of a key are given in the order of their times; of equal times, as they came.
///
/// **Late.** A record whose time is before the watermark, and the allowed lateness, is [`Late`]. A late version counts for the
/// records that wait, unless none may ask for it any more: then it is [`Late`].
///
/// The last version of a key is kept for ever, also when it says that the row was deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct TemporalJoin {
    /// Microseconds.
    lateness: i64,
    number: u32,
}

impl TemporalJoin {
    pub const fn new() -> Self {
        Self { lateness: 0, number: 0 }
    }

    /// Takes records and versions that are late by so much, and waits for so much longer.
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
    pub fn upsert<V: State, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        from: Timestamp,
        row: V,
    ) -> Result<(), Late> {
        self.take(state, timers, Version { from, row: vec![row] })
    }

    /// Takes that the row was deleted.
    ///
    /// # Errors
    /// As [`TemporalJoin::upsert`].
    pub fn delete<V: State, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        from: Timestamp,
    ) -> Result<(), Late> {
        self.take(state, timers, Version { from, row: Vec::new() })
    }

    /// Takes a record, which waits.
    ///
    /// # Errors
    /// The record is late.
    pub fn add<V: State, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        time: Timestamp,
        record: R,
    ) -> Result<(), Late> {
        Late::check(timers, self.end(time))?;
        self.change(state, timers, |held, _| drop(insert(&mut held.records, Held { time, matched: false, value: record })));
        Ok(())
    }

    /// The records whose time is over, each with its time and the row that was valid then; nothing for timers of other
    /// numbers.
    pub fn fire<V: State + Clone, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        timer: Timer,
    ) -> Vec<(Timestamp, R, Option<V>)> {
        let Some(held) = state.get_mut().filter(|_| timer.number == self.number) else { return Vec::new() };
        let over = held.records.partition_point(|record| timers.reached(self.end(record.time)));
        let answered = held.records.drain(..over);
        let versions = &held.versions;
        let answered = answered.map(|record| (record.time, record.value, versions.at(record.time).cloned())).collect();
        held.versions.drop_over(self.lateness, timers);
        match self.first_end(held) {
            Some(first) => timers.set(first, self.number),
            None if held.versions.is_empty() => state.clear(),
            None => {}
        }
        answered
    }

    fn take<V: State, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        version: Version<V>,
    ) -> Result<(), Late> {
        // A late version leaves no state behind.
        if let Some(held) = state.get() {
            held.versions.check(&version, self.lateness, timers)?;
        }
        self.change(state, timers, |held, timers| held.versions.take(version, self.lateness, timers));
        Ok(())
    }

    /// Makes a change, and sets a timer when there is a new first end.
    fn change<V: State, R: State>(
        &self,
        state: &mut Keyed<Temporal<V, R>>,
        timers: &mut Timers,
        change: impl FnOnce(&mut Temporal<V, R>, &Timers),
    ) {
        let held = state.or_default();
        let before = self.first_end(held);
        change(held, timers);
        if let Some(first) = self.first_end(held).filter(|first| before.is_none_or(|before| *first < before)) {
            timers.set(first, self.number);
        }
    }

    /// From here on no version of a record's time comes that is not late.
    fn end(&self, time: Timestamp) -> Timestamp {
        time.after(self.lateness).after(1)
    }

    fn first_end<V, R>(&self, held: &Temporal<V, R>) -> Option<Timestamp> {
        let record = held.records.first().map(|record| self.end(record.time));
        record.into_iter().chain(held.versions.first_end(self.lateness)).min()
    }
}

/// The versions of a key's row, and the records that wait for theirs. A state table of its own, named `temporal_join`.
#[derive(Clone, Debug, PartialEq)]
pub struct Temporal<V, R> {
    versions: Versions<V>,
    records: Vec<Held<R>>,
}

impl<V, R> Default for Temporal<V, R> {
    fn default() -> Self {
        Self { versions: Versions::default(), records: Vec::new() }
    }
}

impl<V: State, R: State> State for Temporal<V, R> {
    const TABLE: &'static str = "temporal_join";
    const VERSION: u16 = newest(V::VERSION, R::VERSION);

    fn columns(columns: &mut Vec<StateColumn>) {
        Versions::<V>::columns(columns);
        columns.push(column_spec::<Vec<Held<R>>>("records", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.versions.encode(out);
        self.records.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { versions: State::decode(from)?, records: StateField::decode(from)? })
    }
}
