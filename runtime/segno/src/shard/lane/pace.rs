//! How many events the next call of a lane takes, and how much fuel it gets.
//!
//! Owns: what is learned from the calls of one epoch. Does not own: which events these are (`lane`), the limits themselves
//! (`segno_plugin`).
//!
//! Invariants: decides no output, only how calls are cut. Nothing is remembered from the epoch before: the same epoch has the same calls
//! when it is made again. One event alone, on a fresh instance, gets all the fuel that there is; others get less: an instance that has run
//! before may do the same with less (interpreters remember what they looked up), and a record must not pass beside others that would not
//! pass alone.

/// Events of a lane's first call at most: what an event costs is not known yet.
const FIRST_EVENTS: usize = 64;

/// While a record is looked for that uses up a call's fuel, calls of several events get so many times what theirs cost before, and this
/// much: a call that fails costs little then.
const SEARCH_TIMES: u64 = 8;
const SEARCH_FUEL: u64 = 20_000_000;

pub(super) struct Pace {
    /// Events of a call at most.
    events_max: usize,
    /// Fuel of a call at most.
    fuel_max: u64,
    /// Events of the next call at most.
    events: usize,
    /// What an event of the last call cost.
    event_fuel: u64,
    /// A call used up its fuel, and no event has been found yet that does so alone.
    searching: bool,
}

impl Pace {
    pub(super) fn new(events_max: u32, fuel_max: u64) -> Pace {
        let events_max = events_max.max(1) as usize;
        Pace { events_max, fuel_max, events: FIRST_EVENTS.min(events_max), event_fuel: 0, searching: false }
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// The fuel of a call of so many events.
    pub(super) fn fuel(&self, events: usize, fresh: bool) -> u64 {
        let most = match (events, fresh) {
            (0..=1, true) => return self.fuel_max,
            (_, true) => self.fuel_max / 4 * 3,
            (_, false) => self.fuel_max / 2,
        };
        if !self.searching || events <= 1 {
            return most;
        }
        let expected = self.event_fuel.saturating_mul(events as u64);
        expected.saturating_mul(SEARCH_TIMES).saturating_add(SEARCH_FUEL).min(most)
    }

    pub(super) fn most(&self) -> u64 {
        self.fuel_max
    }

    /// A call went too far.
    pub(super) fn shorten(&mut self, events: usize) {
        self.events = events.max(1);
    }

    /// A call used up its fuel.
    pub(super) fn search(&mut self) {
        self.searching = true;
    }

    /// The record that used it up was found.
    pub(super) fn found(&mut self) {
        self.searching = false;
    }

    /// A call went well: twice as many events, and not more than use half of what such a call may.
    pub(super) fn widen(&mut self, events: usize, fuel: u64) {
        self.event_fuel = fuel.div_ceil(events.max(1) as u64).max(1);
        self.searching &= events > 1;
        let within = usize::try_from(self.fuel_max / 4 / self.event_fuel).unwrap_or(usize::MAX);
        self.events = (self.events * 2).min(self.events_max).min(within).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_grow_as_far_as_a_quarter_of_the_fuel_goes() {
        let mut pace = Pace::new(1024, 1_000_000);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            sizes.push(pace.events());
            pace.widen(pace.events(), pace.events() as u64 * 1_000);
        }
        assert_eq!(sizes, [64, 128, 250, 250, 250, 250]);
        pace.widen(1, 900_000);
        assert_eq!(pace.events(), 1, "one event that costs much is a call of its own");
        assert_eq!(Pace::new(7, 1).events(), 7);
    }

    #[test]
    fn while_a_record_is_looked_for_only_one_alone_gets_everything() {
        let mut pace = Pace::new(1024, 1_000_000_000);
        pace.widen(100, 100_000);
        assert_eq!(pace.fuel(10, false), 500_000_000);
        pace.search();
        assert_eq!((pace.fuel(10, true), pace.fuel(1, true), pace.fuel(1, false)), (20_080_000, 1_000_000_000, 500_000_000));
        pace.widen(10, 10_000);
        assert_eq!(pace.fuel(10, true), 20_080_000, "still looking");
        pace.found();
        assert_eq!(pace.fuel(10, true), 750_000_000);
    }
}
