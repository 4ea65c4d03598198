//! Sinks that keep their own mark: which epochs they lack after a crash.
//!
//! Owns: the comparison of a sink's mark with the journal. Does not own: reading either, publishing.
//!
//! Invariants: an epoch that the journal names and a sink lacks is published again from re-execution. A mark that is
//! ahead of the journal, or that is gone, stops the shard: rows would be lost or doubled.

use crate::sink::Held;
use crate::{Code, Error, Result};

/// What is known of one sink.
#[derive(Clone, Debug)]
pub struct SinkFacts<'a> {
    pub name: &'a str,
    pub held: Held,
    /// (epoch, rows for this sink), ascending, from the first epoch whose record is kept; epochs before the sink was
    /// added have no rows for it.
    pub rows: &'a [(u64, u64)],
    /// What the newest checkpoint says that it held: older than any record that is kept, perhaps.
    pub marked: Option<u64>,
}

/// The last epoch up to which the sink lacks nothing. `end` is the journal's last epoch, `accepted`: the user accepts
/// that the sink was replaced.
pub fn complete_through(facts: &SinkFacts<'_>, end: u64, accepted: bool) -> Result<u64> {
    let held = match facts.held {
        Held::AsStaged => return Ok(end),
        Held::Through(held) if held > end => {
            return Err(Error::new(
                Code::JournalBehind,
                format!("sink \"{}\" holds epoch {held}, but the journal ends at epoch {end}: journal entries are missing", facts.name),
            )
            .with_help("restore the journal objects from the bucket's versions; Segno never starts over silently"));
        }
        Held::Through(held) => held,
        // A sink has its first mark before the first epoch that it is part of.
        Held::Nothing if accepted || end == 0 => return Ok(end),
        Held::Nothing => {
            return Err(Error::new(
                Code::SinkMarkLost,
                format!("sink \"{}\" was part of epoch {end}, and its mark is gone", facts.name),
            )
            .with_help("restore the sink's marks; or, when the sink was replaced on purpose, run with --accept-change: it starts with the next epoch"));
        }
    };
    // The epoch that a checkpoint marked had rows, whether or not its record is kept.
    let marked = facts.marked.map(|epoch| (epoch, 1));
    let lacking = facts.rows.iter().copied().chain(marked).filter(|&(epoch, rows)| epoch > held && rows > 0);
    Ok(lacking.map(|(epoch, _)| epoch - 1).min().unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(held: Held, rows: &[(u64, u64)], end: u64) -> Result<u64> {
        complete_through(&SinkFacts { name: "out", held, rows, marked: None }, end, false)
    }

    #[test]
    fn epochs_behind_the_mark_that_have_rows_are_lacking() {
        let rows = [(4, 1), (5, 0), (6, 2), (7, 2)];
        assert_eq!(through(Held::Through(4), &rows, 7).unwrap(), 5);
        assert_eq!(through(Held::Through(6), &rows, 7).unwrap(), 6);
        assert_eq!(through(Held::Through(7), &rows, 7).unwrap(), 7);
    }

    #[test]
    fn epochs_without_rows_do_not_move_the_mark_and_are_not_lacking() {
        assert_eq!(through(Held::Through(4), &[(4, 1), (5, 0), (6, 0)], 6).unwrap(), 6);
        assert_eq!(through(Held::Through(0), &[], 6).unwrap(), 6);
    }

    #[test]
    fn a_mark_ahead_of_the_journal_stops_the_shard() {
        assert_eq!(through(Held::Through(8), &[(7, 1)], 7).unwrap_err().code(), Code::JournalBehind);
    }

    #[test]
    fn a_lost_mark_stops_the_shard_and_a_new_sink_starts_at_the_end() {
        assert_eq!(through(Held::Nothing, &[(1, 5)], 1).unwrap_err().code(), Code::SinkMarkLost);
        // Epochs with rows may be collected: that none is left tells nothing.
        assert_eq!(through(Held::Nothing, &[(1, 0)], 1).unwrap_err().code(), Code::SinkMarkLost);
        assert_eq!(through(Held::Nothing, &[], 0).unwrap(), 0);
        let replaced = SinkFacts { name: "out", held: Held::Nothing, rows: &[(1, 5)], marked: None };
        assert_eq!(complete_through(&replaced, 1, true).unwrap(), 1);
    }

    #[test]
    fn what_a_checkpoint_marked_is_lacking_although_its_record_was_collected() {
        let facts = |held| SinkFacts { name: "out", held, rows: &[(40, 0), (41, 0)], marked: Some(20) };
        assert_eq!(complete_through(&facts(Held::Through(10)), 41, false).unwrap(), 19);
        assert_eq!(complete_through(&facts(Held::Through(20)), 41, false).unwrap(), 41);
        assert_eq!(complete_through(&facts(Held::Nothing), 41, false).unwrap_err().code(), Code::SinkMarkLost);
    }
}
