//! Where a chain of numbered objects ends.
//!
//! Owns: the search. Does not own: asking the store, which is handed in.
//!
//! Invariants: only the existence of objects decides. A hint saves probes; a listing, which may be stale, replaces a lost
//! hint and nothing else.

use crate::{Code, Error, Result};

/// Number of the last entry of a journal: 0 when there is none. `from` is an entry that is known to exist, or 0.
pub fn find_end(
    from: u64,
    hint: Option<u64>,
    listed: impl FnOnce() -> Result<u64>,
    exists: impl Fn(u64) -> Result<bool>,
) -> Result<u64> {
    let mut low = from;
    match hint {
        Some(hint) if hint > low && exists(hint)? => low = hint,
        Some(hint) if hint <= low => {}
        // Lost, or its entry was collected.
        _ => {
            let listed = listed()?;
            if listed > low && exists(listed)? {
                low = listed;
            }
        }
    }
    let mut step = 1;
    while exists(low + step)? {
        low += step;
        step *= 2;
    }
    // Exists at `low`, not at `low + step`; entries have no gaps.
    let mut high = low + step;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if exists(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    // The first entry leaves a hint behind, so an empty journal with a hint is one that was removed.
    if low == 0 && hint.is_some_and(|hint| hint > 0) {
        return Err(Error::new(Code::JournalGap, "this pipeline had a journal, and all of its entries are gone").with_help(
            "restore the journal's objects from the bucket's versions; to start over, give the pipeline another name",
        ));
    }
    Ok(low)
}

/// Number of the newest manifest: 0 when there is none. Older ones may be gone, so a search from the first finds nothing:
/// the search starts at the higher of hint and listing. An owner that slept may leave a hint, and even a manifest, at a
/// number that its successors have collected; a listing may be stale; both at once stop the shard for as long.
pub fn newest(hint: Option<u64>, listed: u64, exists: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    let mut number = 0;
    for start in [hint.unwrap_or(0), listed] {
        if start > number && exists(start)? {
            number = start;
        }
    }
    while exists(number + 1)? {
        number += 1;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(hint: Option<u64>, listed: u64, entries: std::ops::RangeInclusive<u64>) -> Result<u64> {
        find_end(0, hint, || Ok(listed), |number| Ok(entries.contains(&number)))
    }

    #[test]
    fn probing_finds_the_end_from_any_hint() {
        for last in 1..70 {
            for hint in [None, Some(1), Some(last / 2), Some(last), Some(1000)] {
                assert_eq!(end(hint, 0, 1..=last).unwrap(), last, "{hint:?}");
            }
        }
    }

    #[test]
    fn a_stale_listing_replaces_a_lost_hint_and_decides_nothing() {
        assert_eq!(end(None, 31, 30..=77).unwrap(), 77);
        assert_eq!(end(Some(12), 31, 30..=77).unwrap(), 77, "the hinted entry was collected");
    }

    #[test]
    fn an_empty_journal_with_a_hint_was_removed() {
        assert_eq!(end(Some(32), 0, 1..=0).unwrap_err().code(), Code::JournalGap);
        assert_eq!(end(None, 0, 1..=0).unwrap(), 0);
    }

    #[test]
    fn a_hint_to_a_collected_manifest_hides_no_newer_one() {
        let newest_of = |hint, listed| newest(hint, listed, |number| Ok((4..=6).contains(&number))).unwrap();
        assert_eq!(newest_of(Some(2), 6), 6);
        assert_eq!(newest_of(Some(5), 0), 6);
        assert_eq!(newest_of(Some(5), 2), 6);
        assert_eq!(newest_of(None, 4), 6);
        assert_eq!(newest(None, 0, |_| Ok(false)).unwrap(), 0);
        assert_eq!(newest(None, 0, |number| Ok(number <= 3)).unwrap(), 3);
        // A sleeper's manifest and hint, far below.
        assert_eq!(newest(Some(2), 6, |number| Ok(number == 2 || number == 6)).unwrap(), 6);
    }
}
