//! When an epoch closes: on records, bytes or delay, whichever comes first.
//!
//! Owns: the limits of an epoch and the decision. Output never depends on it.

use std::time::Duration;

/// Limits of an epoch; each is a setting of the pipeline file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochLimits {
    pub records: usize,
    /// Bytes of input.
    pub bytes: usize,
    /// Since the epoch's first record came.
    pub delay: Duration,
}

/// What is in the epoch so far, and what is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    pub records: usize,
    pub bytes: usize,
    /// Since its first record came: one that was there when the epoch began has waited for the commit before it, too.
    pub age: Duration,
    /// Since its first record was taken.
    pub gathering: Duration,
    /// Nothing can be taken now: every partition that could give a record is waiting or has ended.
    pub starved: bool,
    /// Every partition has ended.
    pub ended: bool,
    /// The set of idle partitions must change: it is constant within an epoch.
    pub idleness_changes: bool,
    /// The user asked to stop.
    pub stopping: bool,
}

pub fn closes(limits: &EpochLimits, filling: &Filling) -> bool {
    if filling.records == 0 {
        return false;
    }
    filling.records >= limits.records
        || filling.bytes >= limits.bytes
        || filling.ended
        || filling.idleness_changes
        || filling.stopping
        || (filling.age >= limits.delay && filling.gathering >= limits.delay / GATHERED_LEAST && filling.starved)
        || filling.gathering >= limits.delay * DELAY_SLACK
}

/// A stream that is never starved closes by records or bytes; this many delays bound it all the same.
const DELAY_SLACK: u32 = 10;

/// An epoch gathers for this part of the delay at least. Where commits take longer than the delay, its first records are old when it begins,
/// and what came after them has to be asked for.
const GATHERED_LEAST: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EpochLimits = EpochLimits { records: 10, bytes: 100, delay: Duration::from_millis(50) };

    #[test]
    fn an_empty_epoch_never_closes() {
        assert!(!closes(&LIMITS, &Filling { ended: true, stopping: true, ..Filling::default() }));
    }

    #[test]
    fn each_limit_closes_an_epoch() {
        let filling = Filling { records: 1, ..Filling::default() };
        assert!(!closes(&LIMITS, &filling));
        assert!(closes(&LIMITS, &Filling { records: 10, ..filling }));
        assert!(closes(&LIMITS, &Filling { bytes: 100, ..filling }));
        assert!(closes(&LIMITS, &Filling { ended: true, ..filling }));
        assert!(closes(&LIMITS, &Filling { idleness_changes: true, ..filling }));
        assert!(closes(&LIMITS, &Filling { stopping: true, ..filling }));
        let old = Filling { starved: true, age: Duration::from_millis(50), gathering: Duration::from_millis(13), ..filling };
        assert!(closes(&LIMITS, &old));
        assert!(!closes(&LIMITS, &Filling { gathering: Duration::from_millis(12), ..old }), "more may have come meanwhile");
        assert!(!closes(&LIMITS, &Filling { age: Duration::from_millis(49), ..old }));
        assert!(closes(&LIMITS, &Filling { gathering: Duration::from_millis(500), ..filling }));
        let behind_a_slow_commit = Filling { age: Duration::from_secs(60), ..filling };
        assert!(!closes(&LIMITS, &behind_a_slow_commit), "an epoch of one record after each slow commit would never catch up");
    }
}
