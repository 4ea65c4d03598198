//! Owns the order of records and timers in a test: the same as in a pipeline.
//! Does not own calling the plugin.
//! Invariant: written apart from the runtime, from wit/frame.md and the documentation alone, one event after the other.

use std::collections::BTreeMap;

/// The smallest step of the watermark, microseconds.
const TICK: i64 = 100_000;

/// How many timers of one instant may set each other.
const CHAIN_MAX: u32 = 1_000;

/// How many timers the timers of one key may set when the input has ended.
const AT_THE_END_MAX: u32 = 10_000;

/// What the plugin is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A row of the run and the watermark that it sees.
    Row { row: usize, watermark: Option<i64> },
    Timer(Firing),
}

/// A timer that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Firing {
    pub(super) key: String,
    pub(super) time: i64,
    pub(super) number: u32,
    /// The watermark while it fires.
    pub(super) watermark: i64,
    /// How many timers of this instant set each other before it.
    chain: u32,
}

/// Timers that wait, and how far event time is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Timeline {
    watermark: Option<i64>,
    /// With how many timers of one instant set each other before it.
    timers: BTreeMap<(i64, String, u32), u32>,
    /// The watermark is on its way to the end of time; how many timers the timers of each key have set since.
    ends: bool,
    at_the_end: BTreeMap<String, u32>,
}

impl Timeline {
    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The watermark that a record of this time brings.
    pub(super) fn of_record(time: i64, delay: i64) -> i64 {
        time.saturating_sub(delay).div_euclid(TICK).saturating_mul(TICK)
    }

    /// The next timer that fires while the watermark goes to `to`, after the last one.
    pub(super) fn next(&mut self, to: i64, last: Option<&Firing>) -> Option<Firing> {
        self.ends = to == i64::MAX;
        let from = self.watermark.unwrap_or(i64::MIN);
        let now = last.map_or(from, |last| last.watermark);
        let due = self.timers.iter().filter(|((time, _, _), _)| *time <= to);
        let firing = due.map(|((time, key, number), chain)| {
            Firing { key: key.clone(), time: *time, number: *number, watermark: (*time).max(now), chain: *chain }
        });
        let first = firing.min_by(|a, b| {
            (a.watermark, a.chain, a.time, &a.key, a.number).cmp(&(b.watermark, b.chain, b.time, &b.key, b.number))
        })?;
        self.timers.remove(&(first.time, first.key.clone(), first.number));
        Some(first)
    }

    pub(super) fn reach(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    /// Sets or deletes a timer; `by`: the timer that does so. One that is due at once fires after those of this instant
    /// that no timer set.
    ///
    /// # Panics
    /// Where the runtime says P028.
    pub(super) fn change(&mut self, key: &str, time: i64, number: u32, set: bool, by: Option<&Firing>) {
        let timer = (time, key.to_owned(), number);
        if set {
            let chain = by.filter(|by| time <= by.watermark).map_or(0, |by| by.chain + 1);
            if self.timers.contains_key(&timer) {
                return;
            }
            assert!(chain <= CHAIN_MAX, "timers set each other {CHAIN_MAX} times at one instant: set the next one for a later time (P028)");
            self.timers.insert(timer, chain);
            if self.ends && by.is_some() {
                let set = self.at_the_end.entry(key.to_owned()).or_default();
                *set += 1;
                assert!(
                    *set <= AT_THE_END_MAX,
                    "the input has ended, and timers of the key `{key}` go on setting others, {AT_THE_END_MAX} so far: set the next one \
                     only while something waits for it (P028)"
                );
            }
        } else {
            self.timers.remove(&timer);
        }
    }

    /// (time, number) of the timers of a key.
    pub(super) fn of_key(&self, key: &str) -> Vec<(i64, u32)> {
        self.timers.keys().filter(|(_, one, _)| one == key).map(|(time, _, number)| (*time, *number)).collect()
    }
}
