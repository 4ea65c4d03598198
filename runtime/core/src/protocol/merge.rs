//! The order of the merged input: partitions are merged by their heads.
//!
//! Owns: rule 1 of order and time, as a pure decision over the heads of all partitions.
//! Does not own: reading, decoding, or deciding that a partition is idle (a fact).
//!
//! Invariants: with event time, a record is taken only when every partition that is not idle shows its head, so the
//! order follows from the logs and not from the moment. A record that could not be decoded has no time: it goes before
//! every head that has one. Without event time, records
//! are taken from the first partition that has one, and the epoch puts them into the order of the partitions' numbers.

/// What one partition shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A record with its event time (`i64::MIN` for one that could not be decoded, and for every record of a pipeline
    /// without event time).
    Record(i64),
    /// Nothing now, more may come.
    Waiting,
    /// Nothing more will come; or the partition is idle in this epoch.
    Out,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Take records of this partition while their time is at most `until` (ties: `inclusive` when this partition comes
    /// before the one that holds `until`).
    Take { partition: usize, until: i64, inclusive: bool },
    /// A partition must show its head first.
    Wait,
    /// All partitions are out.
    Out,
}

/// Decides from the heads, given in the order (source, partition).
pub fn pick(heads: &[Head], by_event_time: bool) -> Pick {
    if by_event_time { pick_by_time(heads) } else { pick_by_number(heads) }
}

fn pick_by_number(heads: &[Head]) -> Pick {
    let mut waiting = false;
    for (partition, head) in heads.iter().enumerate() {
        match head {
            Head::Record(_) => return Pick::Take { partition, until: i64::MAX, inclusive: true },
            Head::Waiting => waiting = true,
            Head::Out => {}
        }
    }
    if waiting { Pick::Wait } else { Pick::Out }
}

fn pick_by_time(heads: &[Head]) -> Pick {
    let mut first: Option<(i64, usize)> = None;
    let mut second: Option<(i64, usize)> = None;
    let mut waiting = false;
    for (partition, head) in heads.iter().enumerate() {
        match *head {
            Head::Record(time) => {
                let candidate = Some((time, partition));
                if first.is_none() || candidate < first {
                    second = first;
                    first = candidate;
                } else if second.is_none() || candidate < second {
                    second = candidate;
                }
            }
            Head::Waiting => waiting = true,
            Head::Out => {}
        }
    }
    match (first, second) {
        _ if waiting => Pick::Wait,
        (Some((_, partition)), None) => Pick::Take { partition, until: i64::MAX, inclusive: true },
        (Some((_, partition)), Some((until, other))) => Pick::Take { partition, until, inclusive: partition < other },
        (None, _) => Pick::Out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Head::{Out, Record, Waiting};

    #[test]
    fn the_smallest_event_time_is_taken_first() {
        assert_eq!(
            pick(&[Record(5), Record(3), Record(9)], true),
            Pick::Take { partition: 1, until: 5, inclusive: false }
        );
    }

    #[test]
    fn equal_times_go_by_partition_number() {
        assert_eq!(
            pick(&[Record(3), Record(3)], true),
            Pick::Take { partition: 0, until: 3, inclusive: true }
        );
    }

    #[test]
    fn a_silent_partition_holds_the_merge() {
        assert_eq!(pick(&[Record(3), Waiting], true), Pick::Wait);
        assert_eq!(pick(&[Record(3), Out], true), Pick::Take { partition: 0, until: i64::MAX, inclusive: true });
    }

    #[test]
    fn a_record_without_time_goes_first_but_waits_for_all_heads() {
        assert_eq!(
            pick(&[Record(-5), Record(i64::MIN)], true),
            Pick::Take { partition: 1, until: -5, inclusive: false }
        );
        // Else two such records would go in the order in which they happened to arrive.
        assert_eq!(pick(&[Waiting, Record(i64::MIN)], true), Pick::Wait);
    }

    #[test]
    fn without_event_time_partitions_go_in_their_order() {
        assert_eq!(
            pick(&[Out, Record(i64::MIN), Record(i64::MIN)], false),
            Pick::Take { partition: 1, until: i64::MAX, inclusive: true }
        );
        assert_eq!(pick(&[Waiting, Out], false), Pick::Wait);
        assert_eq!(pick(&[Out, Out], true), Pick::Out);
    }
}
