//! Operators against references that keep every record, and look at all of them each time.
//!
//! The harness runs every input twice, in one batch and event by event; here it is cut in two besides, so that state goes
//! through its bytes.

mod deduplicate;
mod expire;
mod joins;
mod rate;
mod tables;
mod top;

use proptest::prelude::*;
use segno_sdk::testing::{Harness, OutputRow, Row, RunResult};
use segno_sdk::{Plugin, Timestamp};

pub const SECOND: i64 = 1_000_000;
pub const KEYS: [&str; 3] = ["a", "b", "c"];

/// A record: its key, its event time in microseconds, and two numbers to make something of.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub key: usize,
    pub at: i64,
    pub kind: usize,
    pub value: i64,
}

/// Records that are mostly in order, with ties, disorder, gaps and whole seconds.
pub fn records() -> impl Strategy<Value = Vec<Given>> {
    let step = prop_oneof![
        6 => 0..2 * SECOND,
        3 => Just(0),
        1 => 20 * SECOND..60 * SECOND,
        3 => -15 * SECOND..0,
    ];
    let one = (0..KEYS.len(), step, any::<bool>(), 0..4_usize, 0..9_i64);
    proptest::collection::vec(one, 0..60).prop_map(|steps| {
        let mut now = 0;
        let given = steps.into_iter().map(|(key, step, whole, kind, value)| {
            let at = now + step;
            now = now.max(at);
            Given { key, at: if whole { at.div_euclid(SECOND) * SECOND } else { at }, kind, value }
        });
        given.collect()
    })
}

/// The watermark that each record sees.
pub fn watermarks(records: &[Given], delay: i64) -> Vec<i64> {
    let mut watermark = i64::MIN;
    let seen = records.iter().map(|record| {
        watermark = watermark.max((record.at - delay).div_euclid(100_000) * 100_000);
        watermark
    });
    seen.collect()
}

/// What came out: rows with the record that caused them, or before which their timer fired; rejected records; and the
/// harness, in which no timer may wait any more.
pub struct Ran<T: Plugin> {
    pub rows: Vec<OutputRow>,
    pub rejects: Vec<usize>,
    pub harness: Harness<T>,
}

pub fn run<T: Plugin>(config: &str, delay: i64, records: &[Given], cut: usize, row: impl Fn(usize, &Given) -> Row) -> Ran<T> {
    let mut harness = Harness::<T>::setup(config).watermark_delay(delay).start().expect("the plugin starts");
    let (mut rows, mut rejects) = (Vec::new(), Vec::new());
    let mut first = 0;
    for (number, record) in records.iter().enumerate() {
        if number == cut {
            take(&mut rows, &mut rejects, harness.run(), first);
            first = cut;
        }
        harness.push(row(number, record).key(KEYS[record.key]).at(Timestamp::from_micros(record.at)));
    }
    take(&mut rows, &mut rejects, harness.run_to_end(), first);
    assert!(KEYS.iter().all(|key| harness.timers(key).is_empty()), "timers wait after the end of time");
    Ran { rows, rejects, harness }
}

fn take(rows: &mut Vec<OutputRow>, rejects: &mut Vec<usize>, result: RunResult, first: usize) {
    for row in result.rows() {
        let mut row = row.clone();
        row.cause += first;
        rows.push(row);
    }
    rejects.extend(result.rejects.iter().map(|one| one.cause + first));
}

impl<T: Plugin> Ran<T> {
    /// Whether a table has nothing of any key.
    pub fn is_forgotten(&self, table: &str) -> bool {
        KEYS.iter().all(|key| self.harness.state(key, table).is_none())
    }
}
