//! Where a shard stands after it was taken over: which checkpoint to start from and what to execute again.
//!
//! Owns: rules 2 and 3 of recovery: absent or older journals stop the shard, damaged checkpoints fall back.
//! Does not own: reading journals, verifying hashes, executing.
//!
//! Invariants: state is never trusted unless its mark names an epoch of the journal with the same chain digest.
//! Nothing starts over silently.

use crate::{Code, Error, Result};

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFacts {
    /// Last committed epoch, 0 when there is none.
    pub end: u64,
    /// First epoch whose record is still kept; `end + 1` when no record is kept.
    pub first: u64,
    /// Up to this epoch no sink lacks anything (`follow::complete_through`). What follows must be executed again, so
    /// state may not be newer.
    pub complete: u64,
}

/// A checkpoint and what verifying it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFacts {
    pub number: u64,
    pub epoch: u64,
    /// The chain digest that the manifest names equals the one of the journal's record of that epoch (or that record
    /// was collected).
    pub chain_matches: bool,
    /// Every object is there with its hash.
    pub intact: bool,
    /// Every sink that keeps its own mark holds what it held when the checkpoint was made. One that was restored from a
    /// backup does not: an older checkpoint is needed to give it its rows again.
    pub sinks_hold: bool,
}

/// The local state store as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalFacts {
    Absent,
    /// It is marked with an epoch; `chain_matches` compares with the journal's record of that epoch.
    Marked { epoch: u64, chain_matches: bool },
    /// It cannot be opened or its mark is unreadable.
    Damaged,
}

/// Where state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The local store, as it is.
    Local { epoch: u64 },
    Checkpoint { number: u64, epoch: u64 },
    /// No state at all: execution starts with epoch 1.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    pub base: Base,
    /// Epochs to execute again, output suppressed and digests compared: `first..=last`, empty when `first > last`.
    pub first: u64,
    pub last: u64,
}

/// Decides how to recover. `checkpoints` in any order.
pub fn plan_recovery(
    journal: &JournalFacts,
    checkpoints: &[CheckpointFacts],
    local: &LocalFacts,
) -> Result<RecoveryPlan> {
    if let Some(ahead) = checkpoints.iter().filter(|c| c.epoch > journal.end).max_by_key(|c| c.epoch) {
        return Err(Error::new(
            Code::JournalBehind,
            format!(
                "checkpoint {} is of epoch {}, but the journal ends at epoch {}: journal entries are missing",
                ahead.number, ahead.epoch, journal.end
            ),
        )
        .with_help("restore the journal objects from the bucket's versions; Segno never starts over silently"));
    }
    if let LocalFacts::Marked { epoch, chain_matches: true } = *local
        && epoch <= journal.complete
        && epoch + 1 >= journal.first
    {
        return Ok(RecoveryPlan { base: Base::Local { epoch }, first: epoch + 1, last: journal.end });
    }
    let usable = checkpoints
        .iter()
        .filter(|c| c.intact && c.sinks_hold && c.chain_matches)
        .filter(|c| c.epoch + 1 >= journal.first && c.epoch <= journal.complete)
        .max_by_key(|c| (c.epoch, c.number));
    if let Some(best) = usable {
        return Ok(RecoveryPlan {
            base: Base::Checkpoint { number: best.number, epoch: best.epoch },
            first: best.epoch + 1,
            last: journal.end,
        });
    }
    if journal.first <= 1 {
        return Ok(RecoveryPlan { base: Base::Nothing, first: 1, last: journal.end });
    }
    Err(Error::new(
        Code::NothingUsable,
        format!(
            "no checkpoint is usable ({} found, all damaged or foreign) and the journal's first {} epochs were collected",
            checkpoints.len(),
            journal.first - 1
        ),
    )
    .with_help(
        "restore the damaged objects from the bucket's versions (`segno checkpoint verify` names them), \
         or start a new pipeline under another name",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u64, epoch: u64) -> CheckpointFacts {
        CheckpointFacts { number, epoch, chain_matches: true, intact: true, sinks_hold: true }
    }

    fn journal(end: u64, first: u64) -> JournalFacts {
        JournalFacts { end, first, complete: end }
    }

    #[test]
    fn epochs_that_a_sink_lacks_are_executed_again() {
        let local = LocalFacts::Marked { epoch: 8, chain_matches: true };
        let lacking = JournalFacts { complete: 5, ..journal(9, 1) };
        let plan = plan_recovery(&lacking, &[checkpoint(1, 3), checkpoint(2, 6)], &local).unwrap();
        assert_eq!(plan, RecoveryPlan { base: Base::Checkpoint { number: 1, epoch: 3 }, first: 4, last: 9 });
    }

    #[test]
    fn a_sink_that_went_back_needs_an_older_checkpoint() {
        let mut newer = checkpoint(2, 6);
        newer.sinks_hold = false;
        let plan = plan_recovery(&journal(9, 1), &[checkpoint(1, 3), newer], &LocalFacts::Absent).unwrap();
        assert_eq!(plan.base, Base::Checkpoint { number: 1, epoch: 3 });
    }

    #[test]
    fn the_newest_intact_checkpoint_is_used_and_the_rest_is_executed_again() {
        let plan = plan_recovery(
            &journal(9, 1),
            &[checkpoint(1, 3), checkpoint(2, 6)],
            &LocalFacts::Absent,
        );
        assert_eq!(
            plan.unwrap(),
            RecoveryPlan { base: Base::Checkpoint { number: 2, epoch: 6 }, first: 7, last: 9 }
        );
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let mut damaged = checkpoint(2, 6);
        damaged.intact = false;
        let plan = plan_recovery(
            &journal(9, 1),
            &[checkpoint(1, 3), damaged],
            &LocalFacts::Damaged,
        );
        assert_eq!(plan.unwrap().base, Base::Checkpoint { number: 1, epoch: 3 });
    }

    #[test]
    fn a_foreign_chain_is_never_trusted() {
        let mut foreign = checkpoint(2, 6);
        foreign.chain_matches = false;
        let local = LocalFacts::Marked { epoch: 8, chain_matches: false };
        let plan = plan_recovery(&journal(9, 1), &[foreign], &local);
        assert_eq!(plan.unwrap(), RecoveryPlan { base: Base::Nothing, first: 1, last: 9 });
    }

    #[test]
    fn local_state_with_a_matching_mark_saves_the_restore() {
        let local = LocalFacts::Marked { epoch: 8, chain_matches: true };
        let plan = plan_recovery(&journal(9, 1), &[checkpoint(1, 3)], &local).unwrap();
        assert_eq!(plan, RecoveryPlan { base: Base::Local { epoch: 8 }, first: 9, last: 9 });
    }

    #[test]
    fn local_state_beyond_the_journal_is_not_used() {
        let local = LocalFacts::Marked { epoch: 12, chain_matches: true };
        let plan = plan_recovery(&journal(9, 1), &[checkpoint(1, 3)], &local).unwrap();
        assert_eq!(plan.base, Base::Checkpoint { number: 1, epoch: 3 });
    }

    #[test]
    fn a_checkpoint_beyond_the_journal_stops_the_shard() {
        let error =
            plan_recovery(&journal(2, 1), &[checkpoint(1, 3)], &LocalFacts::Absent).unwrap_err();
        assert_eq!(error.code(), Code::JournalBehind);
    }

    #[test]
    fn a_checkpoint_older_than_the_kept_journal_is_not_used() {
        let error =
            plan_recovery(&journal(20, 10), &[checkpoint(1, 3)], &LocalFacts::Absent).unwrap_err();
        assert_eq!(error.code(), Code::NothingUsable);
    }

    #[test]
    fn nothing_usable_and_a_collected_journal_stops_the_shard() {
        let mut damaged = checkpoint(4, 12);
        damaged.intact = false;
        let error =
            plan_recovery(&journal(20, 10), &[damaged], &LocalFacts::Damaged).unwrap_err();
        assert_eq!(error.code(), Code::NothingUsable);
    }

    #[test]
    fn a_new_pipeline_starts_with_nothing() {
        let plan = plan_recovery(&journal(0, 1), &[], &LocalFacts::Absent).unwrap();
        assert_eq!(plan, RecoveryPlan { base: Base::Nothing, first: 1, last: 0 });
    }
}
