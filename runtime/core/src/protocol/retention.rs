//! What may be removed: everything that no kept checkpoint needs.
//!
//! Owns: which checkpoints are kept, from where on the journal is, and what may belong to an upload under way. Does not
//! own: removing.
//!
//! Invariant: the entry of the oldest kept checkpoint stays, because its digest is where the chain begins.

use std::time::{Duration, SystemTime};

/// An object younger than this may belong to an upload whose manifest is not written yet: longer than any upload.
pub const COLLECT_AGE_MIN: Duration = Duration::from_secs(3600);

/// The oldest manifest that is kept, `None` when all are.
pub fn oldest_kept(newest: u64, keep: u32) -> Option<u64> {
    (newest + 1).checked_sub(u64::from(keep.max(1))).filter(|&oldest| oldest > 1)
}

/// What the kept checkpoints need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Needed {
    /// The first journal entry that stays.
    pub sequence_first: u64,
    /// An entry that stays, as a hint to the end.
    pub sequence_newest: u64,
    /// The first epoch whose detail stays.
    pub epoch_first: u64,
}

/// From (sequence, epoch) of each kept checkpoint; `None` when there is none.
pub fn needed(kept: &[(u64, u64)]) -> Option<Needed> {
    Some(Needed {
        sequence_first: kept.iter().map(|&(sequence, _)| sequence).min()?,
        sequence_newest: kept.iter().map(|&(sequence, _)| sequence).max()?,
        epoch_first: kept.iter().map(|&(_, epoch)| epoch).min()?,
    })
}

/// Whether an object is too old to belong to an upload under way. Both times are the store's; what it calls later than
/// now is young.
pub fn is_of_no_upload(written: SystemTime, now: SystemTime) -> bool {
    now.duration_since(written).is_ok_and(|age| age >= COLLECT_AGE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_belong_to_an_upload_is_young_or_later_than_now() {
        let now = SystemTime::UNIX_EPOCH + COLLECT_AGE_MIN * 100;
        let second = Duration::from_secs(1);
        assert!(is_of_no_upload(now - COLLECT_AGE_MIN, now));
        assert!(!is_of_no_upload(now - COLLECT_AGE_MIN + second, now));
        assert!(!is_of_no_upload(now, now) && !is_of_no_upload(now + COLLECT_AGE_MIN * 2, now));
    }

    #[test]
    fn so_many_checkpoints_stay_and_the_journal_from_the_oldest_of_them() {
        assert_eq!(oldest_kept(5, 2), Some(4));
        assert_eq!(oldest_kept(5, 0), Some(5), "one stays always");
        assert_eq!((oldest_kept(2, 2), oldest_kept(1, 3), oldest_kept(0, 1)), (None, None, None));
        // An older owner's last checkpoint may have a higher number than a newer epoch's.
        let kept = needed(&[(40, 31), (55, 44), (52, 42)]).unwrap();
        assert_eq!(kept, Needed { sequence_first: 40, sequence_newest: 55, epoch_first: 31 });
        assert_eq!(needed(&[]), None);
    }
}
