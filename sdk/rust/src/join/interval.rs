//! Records of two streams whose times are near each other.
//!
//! Every pair is given once, when the later of its records comes. A record waits until no record of the other side that is
//! not late could be its partner; a key has one timer, which follows the record that is let go first.
//! Invariants: both lists are in the order of their times, then as they came; a timer waits for the first end, or before it.

use core::ops::Range;
use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use super::held::{Held, insert};
use super::{Side, newest};
use crate::late::Late;
use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros, micros_or_none};
use crate::timer::{Timer, Timers};

/// Joins records of a key when `left.time + lower <= right.time <= left.time + upper`; both ends are part of it.
///
/// **Order.** The pairs of a record follow each other by the time of its partners; of equal times, the one that came first is
/// first.
///
/// **Late records.** A record whose time is before the watermark is [`Late`], because partners may have been let go; with an
/// allowed lateness, one that is late by more than that. So every pair of records that are not late is given.
///
/// **Left outer.** A left record without a partner is given when its time is over: at its time, `upper` and the allowed
/// lateness, before every record that moves the watermark further.
#[derive(Clone, Copy, Debug)]
pub struct IntervalJoin {
    /// All in microseconds.
    lower: i64,
    upper: i64,
    lateness: i64,
    left_outer: bool,
    number: u32,
}

impl IntervalJoin {
    /// The right record is at most so much before the left one, and at most so much after it.
    pub const fn within(before: Duration, after: Duration) -> Self {
        // A bound may be nothing.
        let before = if before.is_zero() { 0 } else { micros(before) };
        let after = if after.is_zero() { 0 } else { micros(after) };
        Self::between(-before, after)
    }

    /// The right record's time less that of the left one is between these, in microseconds.
    ///
    /// # Panics
    /// When there is nothing between them, or a bound is longer than 73,000 years.
    pub const fn between(lower: i64, upper: i64) -> Self {
        assert!(lower <= upper, "the lower bound is not above the upper one");
        assert!(lower > i64::MIN / 4 && upper < i64::MAX / 4, "a bound is shorter than 73,000 years");
        Self { lower, upper, lateness: 0, left_outer: false, number: 0 }
    }

    /// Gives left records that have no partner, too.
    pub const fn left_outer(mut self) -> Self {
        self.left_outer = true;
        self
    }

    /// Takes records that are late by so much, and holds all of them for so much longer.
    pub const fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = micros_or_none(lateness);
        self
    }

    /// The number of its timers; 0 if not given.
    pub const fn timer_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Takes a record and gives its pairs.
    ///
    /// # Errors
    /// The record is late.
    pub fn add<'s, L: State, R: State>(
        &self,
        state: &'s mut Keyed<Interval<L, R>>,
        timers: &mut Timers,
        time: Timestamp,
        side: Side<L, R>,
    ) -> Result<Pairs<'s, L, R>, Late> {
        Late::check(timers, self.end(time, 0))?;
        let held = state.or_default();
        let before = self.first_end(held);
        let (left, right) = match side {
            Side::Left(value) => {
                let partners = within(&held.right, time.after(self.lower), time.after(self.upper));
                let matched = !partners.is_empty();
                (insert(&mut held.left, Held { time, matched, value }), partners)
            }
            Side::Right(value) => {
                let partners = within(&held.left, time.after(-self.upper), time.after(-self.lower));
                held.left[partners.clone()].iter_mut().for_each(|left| left.matched = true);
                let matched = !partners.is_empty();
                (partners, insert(&mut held.right, Held { time, matched, value }))
            }
        };
        let first = self.first_end(held);
        if let Some(first) = first.filter(|first| before.is_none_or(|before| *first < before)) {
            timers.set(first, self.number);
        }
        Ok(Pairs { left: &held.left[left], right: &held.right[right], next: 0 })
    }

    /// Lets records go whose time is over, and gives those of the left side that had no partner, in a left outer join;
    /// nothing for timers of other numbers.
    pub fn fire<L: State, R: State>(
        &self,
        state: &mut Keyed<Interval<L, R>>,
        timers: &mut Timers,
        timer: Timer,
    ) -> Vec<(Timestamp, L)> {
        let Some(held) = state.get_mut().filter(|_| timer.number == self.number) else { return Vec::new() };
        let over = held.left.partition_point(|left| timers.reached(self.end(left.time, self.upper)));
        let gone = held.left.drain(..over).filter(|left| self.left_outer && !left.matched);
        let alone = gone.map(|left| (left.time, left.value)).collect();
        let over = held.right.partition_point(|right| timers.reached(self.end(right.time, -self.lower)));
        held.right.drain(..over);
        match self.first_end(held) {
            Some(first) => timers.set(first, self.number),
            None => state.clear(),
        }
        alone
    }

    /// From here on a record of the other side that is `span` later is too late to be taken.
    fn end(&self, time: Timestamp, span: i64) -> Timestamp {
        time.after(span).after(self.lateness).after(1)
    }

    fn first_end<L, R>(&self, held: &Interval<L, R>) -> Option<Timestamp> {
        let left = held.left.first().map(|left| self.end(left.time, self.upper));
        let right = held.right.first().map(|right| self.end(right.time, -self.lower));
        left.into_iter().chain(right).min()
    }
}

/// The records between two times, both of them included.
fn within<V>(held: &[Held<V>], first: Timestamp, last: Timestamp) -> Range<usize> {
    held.partition_point(|one| one.time < first)..held.partition_point(|one| one.time <= last)
}

/// The pairs of a record, by the time of its partners.
#[derive(Debug)]
pub struct Pairs<'s, L, R> {
    left: &'s [Held<L>],
    right: &'s [Held<R>],
    next: usize,
}

impl<'s, L, R> Iterator for Pairs<'s, L, R> {
    type Item = (&'s L, &'s R);

    fn next(&mut self) -> Option<Self::Item> {
        // One of the sides is the record alone.
        let last = self.left.len().min(self.right.len()).checked_sub(1)?;
        let (left, right) = if self.right.len() == 1 { (self.next, last) } else { (last, self.next) };
        let pair = (&self.left.get(left)?.value, &self.right.get(right)?.value);
        self.next += 1;
        Some(pair)
    }
}

/// The records of a key that wait for others. A state table of its own, named `interval_join`.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval<L, R> {
    left: Vec<Held<L>>,
    right: Vec<Held<R>>,
}

impl<L, R> Default for Interval<L, R> {
    fn default() -> Self {
        Self { left: Vec::new(), right: Vec::new() }
    }
}

impl<L: State, R: State> State for Interval<L, R> {
    const TABLE: &'static str = "interval_join";
    const VERSION: u16 = newest(L::VERSION, R::VERSION);

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Vec<Held<L>>>("left", 1));
        columns.push(column_spec::<Vec<Held<R>>>("right", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.left.encode(out);
        self.right.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { left: StateField::decode(from)?, right: StateField::decode(from)? })
    }
}
