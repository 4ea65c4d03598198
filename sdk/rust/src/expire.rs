//! Time to live: a key's state is forgotten when no record has kept it for a while, in event time.
//!
//! Owns: until when a key is kept. Does not own the state that it guards: any table of the plugin, or several.
//!
//! [The cookbook](crate::cookbook) has an example.
//!
//! **How long.** [`TimeToLive::keep`] keeps a key until the watermark reaches the largest event time that it was kept with and
//! the time to live; the end is not part of it. What is kept is never seen after that: a timer forgets it before the
//! record that moves the watermark there, and a key without state is a new key.
//!
//! **Late records.** One whose own time and the time to live are past keeps nothing longer. State that it makes for a new
//! key is forgotten when the watermark moves next.
//!
//! **Cost.** A key has one timer, however often it is kept: when it fires too early, it follows.

use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Forgets state in event time. See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct TimeToLive {
    /// Microseconds.
    live: i64,
    number: u32,
}

impl TimeToLive {
    /// State is forgotten so long after the last record that kept it.
    ///
    /// # Panics
    /// When that is nothing.
    pub const fn new(live: Duration) -> Self {
        Self { live: micros(live), number: 0 }
    }

    /// The number of its timers; 0 if not given.
    pub const fn timer_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Keeps the current key's state on from a time: the record's, where its state shall live on.
    #[inline]
    pub fn keep(&self, kept: &mut Keyed<Kept>, timers: &mut Timers, time: Timestamp) {
        let until = time.after(self.live);
        match kept.get() {
            None => {
                kept.set(Kept { until });
                timers.set(until, self.number);
            }
            Some(before) if before.until < until => kept.set(Kept { until }),
            Some(_) => {}
        }
    }

    /// True when the current key's time is over: the plugin clears its state then, all tables that this guards.
    /// False for timers of other numbers, and where the key was kept longer meanwhile.
    pub fn is_over(&self, kept: &mut Keyed<Kept>, timers: &mut Timers, timer: Timer) -> bool {
        let Some(until) = kept.get().filter(|_| timer.number == self.number).map(|kept| kept.until) else { return false };
        if timers.reached(until) {
            kept.clear();
            return true;
        }
        timers.set(until, self.number);
        false
    }
}

/// Until when a key is kept. A state table of its own, named `kept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    until: Timestamp,
}

impl State for Kept {
    const TABLE: &'static str = "kept";
    const VERSION: u16 = 1;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Timestamp>("until", 1));
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.until.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { until: StateField::decode(from)? })
    }
}
