//! Deduplication in event time: the first record of each id, once.
//!
//! - [`Deduplicate::is_first`]: the pipeline's key is the id; a key is forgotten by a timer
//! - [`Deduplicate::is_first_of`]: a key has many ids, each kept until the watermark has passed it
//!
//! Owns: which ids were seen, and until when each is remembered. Does not own what becomes of a duplicate.
//!
//! [The cookbook](crate::cookbook) has an example.
//!
//! **How long.** An id is remembered until the watermark reaches the time of its first record and the horizon; the end is
//! not part of it. With [`Deduplicate::after_last`] each duplicate prolongs it, to its own time and the horizon. The first
//! record is the first that comes, whatever its time: of equal times, too.
//!
//! **What is promised.** Of two records of an id that are not late (their time is not before the watermark that they see)
//! and whose times differ by less than the horizon, the second is a duplicate.
//!
//! **Late records.** A record of an id that is remembered is a duplicate, however late. One of another id is [`Late`] when
//! the watermark has reached its time and the horizon: whether it was given before can no longer be told.

use core::time::Duration;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::late::Late;
use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Finds the first record of each id. See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Deduplicate {
    /// Microseconds.
    horizon: i64,
    after_last: bool,
    number: u32,
}

impl Deduplicate {
    /// An id is forgotten so long after its first record.
    ///
    /// # Panics
    /// When the horizon is nothing.
    pub const fn after_first(horizon: Duration) -> Self {
        Self { horizon: micros(horizon), after_last: false, number: 0 }
    }

    /// An id is forgotten so long after its last record.
    ///
    /// # Panics
    /// When the horizon is nothing.
    pub const fn after_last(horizon: Duration) -> Self {
        Self { horizon: micros(horizon), after_last: true, number: 0 }
    }

    /// The number of its timers; 0 if not given.
    pub const fn timer_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Whether a record is the first of its key.
    ///
    /// # Errors
    /// The key is not remembered, and a record of this time would not be.
    #[inline]
    pub fn is_first(&self, state: &mut Keyed<Seen>, timers: &mut Timers, time: Timestamp) -> Result<bool, Late> {
        let until = time.after(self.horizon);
        if let Some(seen) = state.get() {
            if self.after_last && seen.until < until {
                state.set(Seen { until });
            }
            return Ok(false);
        }
        Late::check(timers, until)?;
        state.set(Seen { until });
        timers.set(until, self.number);
        Ok(true)
    }

    /// Forgets the key when it is time; nothing for timers of other numbers.
    pub fn fire(&self, state: &mut Keyed<Seen>, timers: &mut Timers, timer: Timer) {
        match state.get() {
            Some(seen) if timer.number == self.number => {
                if timers.reached(seen.until) {
                    state.clear();
                } else {
                    // Duplicates prolonged it since the timer was set: the timer follows.
                    timers.set(seen.until, self.number);
                }
            }
            _ => {}
        }
    }

    /// Whether a record is the first of an id among those of its key.
    ///
    /// # Errors
    /// The id is not remembered, and a record of this time would not be.
    pub fn is_first_of<I: StateField + Ord + 'static>(
        &self,
        state: &mut Keyed<SeenIds<I>>,
        timers: &mut Timers,
        time: Timestamp,
        id: I,
    ) -> Result<bool, Late> {
        let until = time.after(self.horizon);
        let place = state.get().map_or(Err(0), |seen| seen.ids.binary_search_by(|one| one.id.cmp(&id)));
        match place {
            Ok(at) => {
                if self.after_last
                    && let Some(seen) = state.get_mut()
                {
                    seen.ids[at].until = seen.ids[at].until.max(until);
                }
                Ok(false)
            }
            Err(at) => {
                Late::check(timers, until)?;
                let seen = state.or_default();
                // A timer waits for the id that is forgotten first, or before it.
                if seen.first_end().is_none_or(|first| until < first) {
                    timers.set(until, self.number);
                }
                seen.ids.insert(at, SeenId { id, until });
                Ok(true)
            }
        }
    }

    /// Forgets the ids of a key whose time is over; nothing for timers of other numbers.
    pub fn fire_ids<I: StateField + Ord + 'static>(&self, state: &mut Keyed<SeenIds<I>>, timers: &mut Timers, timer: Timer) {
        let Some(seen) = state.get_mut().filter(|_| timer.number == self.number) else { return };
        seen.ids.retain(|one| !timers.reached(one.until));
        match seen.first_end() {
            Some(first) => timers.set(first, self.number),
            None => state.clear(),
        }
    }
}

/// Until when a key is remembered. A state table of its own, named `seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    until: Timestamp,
}

impl State for Seen {
    const TABLE: &'static str = "seen";
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

/// The ids of a key that are remembered. A state table of its own, named `seen_ids`; a list, so it is for some hundreds of
/// ids. For more of them, make the id a part of the pipeline's key, and use [`Seen`].
#[derive(Clone, Debug, PartialEq)]
pub struct SeenIds<I> {
    /// In their order.
    ids: Vec<SeenId<I>>,
}

#[derive(Clone, Debug, PartialEq)]
struct SeenId<I> {
    id: I,
    until: Timestamp,
}

impl<I> Default for SeenIds<I> {
    fn default() -> Self {
        Self { ids: Vec::new() }
    }
}

impl<I> SeenIds<I> {
    fn first_end(&self) -> Option<Timestamp> {
        self.ids.iter().map(|one| one.until).min()
    }
}

impl<I: StateField + 'static> State for SeenIds<I> {
    const TABLE: &'static str = "seen_ids";
    const VERSION: u16 = 1;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Vec<SeenId<I>>>("ids", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.ids.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { ids: StateField::decode(from)? })
    }
}

impl<I: StateField + 'static> State for SeenId<I> {
    const TABLE: &'static str = "seen_id";
    const VERSION: u16 = 1;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<I>("id", 1));
        columns.push(column_spec::<Timestamp>("until", 1));
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.id.encode(out);
        self.until.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { id: StateField::decode(from)?, until: StateField::decode(from)? })
    }
}
