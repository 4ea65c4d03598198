//! What may be removed: everything that no kept checkpoint needs.
//!
//! Owns: which checkpoints are kept, and from where on the journal is. Does not own: removing.
//!
//! Invariant: the entry of the oldest kept checkpoint stays, because its digest is where the chain begins.

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

#[cfg(test)]
mod tests {
    use super::*;

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
