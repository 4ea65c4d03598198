//! Rate limits for each key in event time: a bucket of tokens that fills at a steady rate.
//!
//! Owns: how full a key's bucket is. Does not own what becomes of a record that is not allowed.
//!
//! [The cookbook](crate::cookbook) has an example.
//!
//! **The rule.** A key's bucket is full at first. A record that costs no more tokens than there are takes them and is
//! allowed; one that costs more is not, and leaves no trace. Tokens come back continuously, to the microsecond, without
//! rounding; a token is there at the very instant at which it is complete.
//!
//! **Disorder.** A bucket's time does not go back: a record counts at its own time, at that of the last record of its key
//! that was allowed, or at the watermark, whichever is latest. So records of equal times are taken as they come, and none
//! is too late. A bucket that is full at the watermark is forgotten by a timer; nothing shows that it was.

use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// So many tokens in so much time, for each key. See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    tokens: i64,
    /// Microseconds.
    per: i64,
    burst: i64,
    number: u32,
}

impl RateLimit {
    /// So many tokens come back in this time, and as many are in a full bucket.
    ///
    /// # Panics
    /// When there are no tokens, or the time is nothing.
    pub const fn new(tokens: u32, per: Duration) -> Self {
        Self { tokens: tokens as i64, per: micros(per), burst: 0, number: 0 }.burst(tokens)
    }

    /// So many tokens are in a full bucket.
    ///
    /// # Panics
    /// When there are none, and when there are so many that it would take 290,000 years to fill an empty bucket by one token
    /// in the time of [`RateLimit::new`].
    pub const fn burst(mut self, tokens: u32) -> Self {
        assert!(tokens > 0 && self.tokens > 0, "a bucket has a token at least");
        assert!(tokens as i128 * (self.per as i128) < i64::MAX as i128, "a bucket is smaller");
        self.burst = tokens as i64;
        self
    }

    /// The number of its timers; 0 if not given.
    pub const fn timer_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Takes so many tokens for a record, if they are there. More than a full bucket holds are never there; a record that
    /// costs nothing is always allowed, and leaves no trace.
    #[inline]
    pub fn allows(&self, state: &mut Keyed<Bucket>, timers: &mut Timers, time: Timestamp, cost: u32) -> bool {
        if cost == 0 {
            return true;
        }
        let now = timers.watermark().map_or(time, |watermark| watermark.max(time));
        let cost = i128::from(cost) * i128::from(self.per);
        let full = i128::from(self.burst) * i128::from(self.per);
        let bucket = state.get();
        let now = bucket.map_or(now, |bucket| bucket.at.max(now));
        let missing = bucket.map_or(0, |bucket| self.missing(bucket, now));
        if cost > full - missing {
            return false;
        }
        let new = bucket.is_none();
        // Less than a full bucket, which was seen to be in range.
        let bucket = Bucket { missing: i64::try_from(missing + cost).unwrap_or(i64::MAX), at: now };
        if new {
            timers.set(self.full_at(&bucket), self.number);
        }
        state.set(bucket);
        true
    }

    /// Forgets a bucket that is full again; nothing for timers of other numbers.
    pub fn fire(&self, state: &mut Keyed<Bucket>, timers: &mut Timers, timer: Timer) {
        match state.get() {
            Some(bucket) if timer.number == self.number => {
                let full = self.full_at(bucket);
                if timers.reached(full) {
                    state.clear();
                } else {
                    timers.set(full, self.number);
                }
            }
            _ => {}
        }
    }

    /// What is missing in a bucket at a time that is not before it.
    fn missing(&self, bucket: &Bucket, now: Timestamp) -> i128 {
        let passed = i128::from(now.micros()) - i128::from(bucket.at.micros());
        (i128::from(bucket.missing) - passed * i128::from(self.tokens)).max(0)
    }

    fn full_at(&self, bucket: &Bucket) -> Timestamp {
        bucket.at.after(bucket.missing.div_euclid(self.tokens) + i64::from(bucket.missing % self.tokens > 0))
    }
}

/// What is missing in a key's bucket. A state table of its own, named `bucket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens, times the microseconds in which the limit's tokens come back: whole numbers at every instant.
    missing: i64,
    at: Timestamp,
}

impl State for Bucket {
    const TABLE: &'static str = "bucket";
    const VERSION: u16 = 1;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<i64>("missing", 1));
        columns.push(column_spec::<Timestamp>("at", 1));
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.missing.encode(out);
        self.at.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { missing: StateField::decode(from)?, at: StateField::decode(from)? })
    }
}
