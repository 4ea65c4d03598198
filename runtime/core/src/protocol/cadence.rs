//! When a checkpoint is due: cadence follows replay debt.
//!
//! Owns: the estimate of how long re-execution would take, and the decision to checkpoint.
//! Does not own: making one.

use std::time::Duration;

/// Longest time between two checkpoints while records flow, whatever the debt: bounds the journal that recovery reads.
pub const CHECKPOINT_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// The execution time since the last checkpoint: what a recovery would have to execute again.
#[derive(Clone, Debug, Default)]
pub struct ReplayDebt {
    executed: Duration,
    elapsed: Duration,
    epochs: u64,
}

impl ReplayDebt {
    /// Counts a committed epoch: the time its execution took, and the time since the last one was counted.
    pub fn add(&mut self, executed: Duration, elapsed: Duration) {
        self.executed += executed;
        self.elapsed += elapsed;
        self.epochs += 1;
    }

    pub fn clear(&mut self) {
        *self = ReplayDebt::default();
    }

    /// Estimated time of re-execution.
    pub fn estimate(&self) -> Duration {
        self.executed
    }

    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// A checkpoint is due when re-execution would take longer than allowed, or the last one is too old; never when
    /// nothing was committed since.
    pub fn due(&self, allowed: Duration) -> bool {
        self.epochs > 0 && (self.executed >= allowed || self.elapsed >= CHECKPOINT_INTERVAL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_when_the_debt_is_reached() {
        let mut debt = ReplayDebt::default();
        let allowed = Duration::from_secs(2);
        debt.add(Duration::from_secs(1), Duration::from_secs(5));
        assert!(!debt.due(allowed));
        debt.add(Duration::from_secs(1), Duration::from_secs(5));
        assert!(debt.due(allowed));
        debt.clear();
        assert!(!debt.due(allowed));
    }

    #[test]
    fn nothing_committed_means_no_checkpoint() {
        assert!(!ReplayDebt::default().due(Duration::ZERO));
    }

    #[test]
    fn a_slow_stream_checkpoints_by_age() {
        let mut debt = ReplayDebt::default();
        debt.add(Duration::from_millis(1), CHECKPOINT_INTERVAL_MAX);
        assert!(debt.due(Duration::from_secs(10)));
    }
}
