//! Expectations: how a window of a step's input fills, and when a rule is broken.
//!
//! Owns: the counting. Does not own: the rules (`pipeline::Expectation`), what a broken rule leads to (`shard`).
//!
//! Invariants: windows follow each other in the step's input, so cutting the same records into other epochs breaks the
//! same rules at the same records. A rule is broken once in a window: by the reject that is one too many. So a window that
//! was committed with more was let through, and nothing else needs to be remembered.

use crate::persisted::{ExpectWindow, FirstReject};

/// Moves a window over the records of an epoch. `rejected` are the rows of the step's input that it rejected, in order.
/// `counted` is told of the window after each of them, with `records` up to and including that row.
pub fn follow(
    window: &mut ExpectWindow,
    records: u64,
    rejected: &[u32],
    first: impl Fn(usize) -> FirstReject,
    mut counted: impl FnMut(&ExpectWindow),
) {
    let over = window.over.max(1);
    let before = window.records;
    let mut number = 0;
    let mut enter = |window: &mut ExpectWindow, at: u64| {
        if at / over != number {
            number = at / over;
            (window.rejects, window.first) = (0, None);
        }
    };
    for (index, &row) in rejected.iter().enumerate() {
        let at = before + u64::from(row);
        enter(window, at);
        if window.rejects == 0 {
            window.first = Some(first(index));
        }
        window.rejects += 1;
        window.records = at % over + 1;
        counted(window);
    }
    let end = before + records;
    enter(window, end);
    window.records = end % over;
}

/// The window of a step with this length among those of the epoch before; empty where there was none.
pub fn window(before: &[ExpectWindow], step: &str, over: u64) -> ExpectWindow {
    let found = before.iter().find(|window| window.step == step && window.over == over);
    found.cloned().unwrap_or_else(|| ExpectWindow { step: step.to_owned(), over, ..ExpectWindow::default() })
}

/// True for the reject that is one too many for a rule.
pub fn breaks(window: &ExpectWindow, rejects_max: u64) -> bool {
    window.rejects == rejects_max.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(at: usize) -> FirstReject {
        FirstReject {
            source: "s".to_owned(),
            partition: "p".to_owned(),
            offset: at as u64,
            code: "P050".to_owned(),
            reason: "r".to_owned(),
        }
    }

    /// Records 0..40, rejected at some rows, cut into epochs of a length: the rows that broke a rule.
    fn broken(rejected: &[u32], epoch: usize, over: u64, max: u64) -> Vec<u32> {
        let mut at = window(&[], "step", over);
        let mut broken = Vec::new();
        for start in (0..40).step_by(epoch) {
            let end = (start + epoch as u32).min(40);
            let rows: Vec<u32> = rejected.iter().filter(|row| (start..end).contains(*row)).map(|row| row - start).collect();
            let mut next = rows.iter();
            follow(&mut at, u64::from(end - start), &rows, reject, |window| {
                let row = next.next().expect("a row for each call");
                if breaks(window, max) {
                    broken.push(start + row);
                }
            });
        }
        broken
    }

    #[test]
    fn a_rule_is_broken_by_the_reject_that_is_one_too_many_and_once_in_a_window() {
        assert_eq!(broken(&[1, 3, 5, 7], 40, 10, 1), [3]);
        assert!(broken(&[1, 3], 40, 10, 2).is_empty());
        assert_eq!(broken(&[4], 40, 10, 0), [4]);
    }

    #[test]
    fn rejects_of_two_windows_are_not_added() {
        // One at the end of a window and one at the start of the next.
        assert!(broken(&[9, 10], 40, 10, 1).is_empty());
        assert_eq!(broken(&[9, 10, 12], 40, 10, 1), [12]);
    }

    #[test]
    fn where_epochs_end_changes_nothing() {
        let rejected = [0, 7, 8, 9, 10, 11, 25, 26, 27, 28, 39];
        for epoch in [1, 2, 3, 7, 10, 13, 40] {
            assert_eq!(broken(&rejected, epoch, 10, 2), [8, 27], "epochs of {epoch}");
        }
    }

    #[test]
    fn a_window_remembers_its_first_reject_until_it_ends() {
        let mut at = window(&[], "step", 10);
        follow(&mut at, 6, &[2, 4], reject, |_| {});
        follow(&mut at, 3, &[0], |_| reject(99), |_| {});
        assert_eq!((at.records, at.rejects, at.first.as_ref().map(|first| first.offset)), (9, 3, Some(0)));
        follow(&mut at, 1, &[], reject, |_| {});
        assert_eq!((at.records, at.rejects, at.first), (0, 0, None));
    }
}
