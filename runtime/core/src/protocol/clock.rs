//! The logical clock of a shard whose event time is processing time.
//!
//! Owns: what the clock shows, as a function of a wall clock and of the time that passed since it was read last.
//! Does not own: reading either of them (`shard::plan`), the journal, from which a replay takes what was shown.
//!
//! Invariants: it never goes back, and it never stands still for long. A wall clock that steps forward takes it along. While
//! the wall clock is behind it (it stepped back, or another machine's was ahead), it goes at half speed, so that timers
//! fire meanwhile and the two meet again.

use std::time::Duration;

/// How much slower it goes while it is ahead of the wall clock.
const SLOWER: i64 = 2;

/// What it shows is kept in ms.
const MS: i64 = 1_000;

/// Shows µs since 1970, in whole ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogicalClock {
    at: Option<i64>,
}

impl LogicalClock {
    /// It shows this time or a later one from now on.
    pub fn reached(&mut self, time: i64) {
        self.at = self.at.max(Some(time.saturating_add(MS - 1).div_euclid(MS) * MS));
    }

    /// What it shows now; `passed`: since it was read last.
    pub fn read(&mut self, wall: i64, passed: Duration) -> i64 {
        let passed = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let at = self.at.map_or(wall, |at| wall.max(at.saturating_add(passed / SLOWER)));
        self.at = Some(at);
        at.div_euclid(MS) * MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_follows_a_wall_clock_that_is_right() {
        let mut clock = LogicalClock::default();
        for second in 0..10 {
            assert_eq!(clock.read(100 * S + second * S, seconds(u64::from(second > 0))), 100 * S + second * S);
        }
    }

    #[test]
    fn a_step_forward_takes_it_along_and_a_step_back_makes_it_slower_until_they_meet() {
        let mut clock = LogicalClock::default();
        assert_eq!(clock.read(100 * S, Duration::ZERO), 100 * S);
        assert_eq!(clock.read(110 * S, seconds(1)), 110 * S);
        // Back by nine seconds: for 18 seconds it goes at half speed.
        let mut before = 110 * S;
        for second in 1..=18 {
            let shown = clock.read(101 * S + second * S, seconds(1));
            assert_eq!(shown, (before + S / 2).max(101 * S + second * S));
            before = shown;
        }
        assert_eq!(before, 119 * S);
        assert_eq!(clock.read(120 * S, seconds(1)), 120 * S);
    }

    #[test]
    fn after_a_restart_it_goes_on_from_what_was_journalled() {
        let mut clock = LogicalClock::default();
        clock.reached(500 * S);
        clock.reached(400 * S);
        assert_eq!(clock.read(100 * S, Duration::ZERO), 500 * S);
        assert_eq!(clock.read(100 * S, seconds(2)), 501 * S);
    }

    #[test]
    fn it_shows_whole_milliseconds_and_keeps_what_is_less() {
        let mut clock = LogicalClock::default();
        clock.reached(10_000_001);
        assert_eq!(clock.read(0, Duration::ZERO), 10_001_000);
        for _ in 0..1_000 {
            assert_eq!(clock.read(0, Duration::from_micros(2)) % MS, 0);
        }
        assert_eq!(clock.read(0, Duration::ZERO), 10_002_000);
    }
}
