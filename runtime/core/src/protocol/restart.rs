//! What follows a failure of a shard: its end, a restart, or a pause until the world is well again.
//!
//! Owns: the decision, and how pauses grow. Does not own: waiting (`worker::run`), which failure has which patience
//! (`error::Code::patience`).
//!
//! Invariants: what only somebody outside can mend is waited for without end, in pauses that never exceed the longest
//! one. A shard that was never live waits no longer than any other failure: a mistake in the pipeline file looks the same.

use crate::error::Patience;
use std::time::Duration;

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Restarts in a row without a committed epoch.
    pub restarts: u32,
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

/// What is known when a shard failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub patience: Patience,
    /// Failures since the last committed epoch, this one included.
    pub in_a_row: u32,
    /// The shard was live since this process started.
    pub was_live: bool,
    /// Somebody asked the run to stop.
    pub stopping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    End,
    /// Open the shard again after this time.
    Restart(Duration),
    /// The same, however often: something outside is away.
    Pause(Duration),
}

pub fn next(failure: &Failure, limits: &Limits) -> Next {
    let doublings = failure.in_a_row.saturating_sub(1).min(31);
    let pause = limits.first_pause.saturating_mul(1 << doublings).min(limits.longest_pause);
    match failure.patience {
        _ if failure.stopping => Next::End,
        Patience::None => Next::End,
        Patience::Endless if failure.was_live => Next::Pause(pause),
        _ if failure.in_a_row > limits.restarts => Next::End,
        _ => Next::Restart(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { restarts: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(5) };

    fn after(patience: Patience, in_a_row: u32) -> Next {
        next(&Failure { patience, in_a_row, was_live: true, stopping: false }, &LIMITS)
    }

    #[test]
    fn what_is_away_is_waited_for_without_end_in_bounded_pauses() {
        let pauses: Vec<Next> = [1, 2, 3, 4, 1_000_000, u32::MAX].map(|n| after(Patience::Endless, n)).to_vec();
        let seconds = [1, 2, 4, 5, 5, 5].map(|seconds| Next::Pause(Duration::from_secs(seconds)));
        assert_eq!(pauses, seconds);
    }

    #[test]
    fn a_failure_of_this_process_is_tried_again_a_bounded_number_of_times() {
        assert_eq!(after(Patience::Bounded, 3), Next::Restart(Duration::from_secs(4)));
        assert_eq!(after(Patience::Bounded, 4), Next::End);
    }

    #[test]
    fn what_stays_wrong_ends_at_once_and_so_does_a_run_that_is_asked_to_stop() {
        assert_eq!(after(Patience::None, 1), Next::End);
        let stopping = Failure { patience: Patience::Endless, in_a_row: 1, was_live: true, stopping: true };
        assert_eq!(next(&stopping, &LIMITS), Next::End);
    }

    #[test]
    fn a_shard_that_was_never_live_does_not_wait_without_end() {
        let never = |in_a_row| Failure { patience: Patience::Endless, in_a_row, was_live: false, stopping: false };
        assert_eq!(next(&never(3), &LIMITS), Next::Restart(Duration::from_secs(4)));
        assert_eq!(next(&never(4), &LIMITS), Next::End);
    }
}
