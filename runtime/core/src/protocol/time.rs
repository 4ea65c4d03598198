//! Event time within an epoch: how the watermark moves, and when a timer fires.
//!
//! Owns: the watermark as a function of the merged sequence, the moments of an epoch, the moment at which a timer fires.
//! Does not own: the merge (`merge`), keeping timers and calling plugins (the epoch loop).
//!
//! Invariants: nothing here depends on where an epoch begins or ends. A timer fires between the same two records, and
//! after the same timers, however the input is cut into epochs and batches.
//!
//! The watermark before a record is the largest event time of the merged sequence so far, that record included, less
//! the allowed delay, in whole ticks. The sequence is merged by heads, so a partition whose records are out of order by
//! no more than the delay gives no record behind the watermark, however far ahead the others are.
//!
//! When the watermark moves from one value to another, time passes through every instant between them: at each instant
//! the steps' timers fire in the order of the steps, so that a step sees what the steps before it gave at an instant
//! before its own timers of that instant.

/// The smallest step of the watermark, µs.
pub const TICK_US: i64 = 100_000;

/// The watermark behind the last record of an input that has ended.
pub const END: i64 = i64::MAX;

/// The delay of a stage whose records move no watermark: its writers tell it (`writers`).
pub const NO_WATERMARK: i64 = i64::MAX;

/// The watermark that a record with this event time brings.
pub fn watermark_of(time: i64, delay_us: i64) -> i64 {
    time.saturating_sub(delay_us).div_euclid(TICK_US).saturating_mul(TICK_US)
}

/// A time as people write it; where no calendar has it, microseconds.
pub fn time_text(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} µs"), |time| time.to_string())
}

/// A place in the sequence of an epoch: a record, or an instant between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The epoch's input row that comes next, or that it is.
    pub row: u32,
    /// The instant, before that record; behind every instant for the record itself.
    pub instant: i64,
}

/// The instant of a record: behind all instants before it.
const RECORD: i64 = i64::MAX;

impl Moment {
    pub fn of_record(row: u32) -> Moment {
        Moment { row, instant: RECORD }
    }

    pub fn is_record(&self) -> bool {
        self.instant == RECORD
    }
}

/// How the watermark moves through an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    before: Option<i64>,
    /// An instant within which the epoch before ended: nothing fires before it any more.
    within: Option<i64>,
    /// (input row, the watermark from before that row on), both strictly ascending.
    at: Vec<(u32, i64)>,
}

impl Moves {
    /// The moves of records with these event times, after a watermark.
    pub fn of_records(before: Option<i64>, times: &[i64], delay_us: i64) -> Moves {
        let mut moves = Moves { before, within: None, at: Vec::new() };
        if delay_us == NO_WATERMARK {
            return moves;
        }
        // A record that is not behind this time moves the watermark: one comparison for each of the others.
        let mut next = moves.last().map_or(i64::MIN, |last| next_move(last, delay_us));
        for (row, &time) in times.iter().enumerate() {
            if time >= next {
                moves.to(row as u32, watermark_of(time, delay_us));
                next = moves.last().map_or(i64::MIN, |last| next_move(last, delay_us));
            }
        }
        moves
    }

    /// The same, after an epoch that ended within an instant.
    pub fn resumed_within(self, instant: Option<i64>) -> Moves {
        Moves { within: instant, ..self }
    }

    /// The watermark moves before `row`, unless it is there already.
    pub fn to(&mut self, row: u32, watermark: i64) {
        if self.last().is_none_or(|last| last < watermark) {
            match self.at.last_mut() {
                Some(last) if last.0 == row => last.1 = watermark,
                _ => self.at.push((row, watermark)),
            }
        }
    }

    pub fn before(&self) -> Option<i64> {
        self.before
    }

    /// The watermark at the end of the epoch.
    pub fn last(&self) -> Option<i64> {
        self.at.last().map(|last| last.1).or(self.before)
    }

    fn value_before(&self, index: usize) -> Option<i64> {
        index.checked_sub(1).map(|index| self.at[index].1).or(self.before)
    }

    /// The watermark that a row sees: a record sees it as it is when the record comes; a row that a timer caused sees the
    /// time just before the timer's instant, because timers of that instant may still follow.
    pub fn watermark(&self, moment: Moment) -> Option<i64> {
        let behind = self.at.partition_point(|&(row, _)| row <= moment.row);
        if moment.is_record() {
            return self.value_before(behind);
        }
        let value = match behind.checked_sub(1) {
            Some(index) if self.at[index].0 == moment.row => self.value_before(index),
            _ => self.value_before(behind),
        };
        value.max(Some(moment.instant.saturating_sub(1)))
    }

    /// The earliest place behind this one where the watermark may be another.
    pub fn next_after(&self, moment: Moment) -> Option<Moment> {
        let behind = self.at.partition_point(|&(row, _)| row <= moment.row);
        let next = self.at.get(behind).map(|&(row, _)| Moment { row, instant: i64::MIN });
        if moment.is_record() {
            return next;
        }
        Some(Moment { row: moment.row, instant: moment.instant + 1 })
    }

    /// When a timer fires that was set at a moment of this epoch, or before the epoch (`None`). `None`: not in this epoch.
    pub fn firing(&self, set_at: Option<Moment>, time: i64) -> Option<Moment> {
        let first = match set_at {
            None => 0,
            // Between this record and the next the watermark may move.
            Some(moment) if moment.is_record() => self.at.partition_point(|&(row, _)| row <= moment.row),
            // The move at hand goes on.
            Some(moment) => self.at.partition_point(|&(row, _)| row < moment.row),
        };
        let mut index = first + self.at[first..].partition_point(|&(_, watermark)| watermark < time);
        let &(row, watermark) = self.at.get(index)?;
        let earliest = time.max(self.within.unwrap_or(i64::MIN));
        let mut instant = earliest.max(self.value_before(index).unwrap_or(i64::MIN)).min(RECORD - 1);
        if let Some(moment) = set_at.filter(|moment| moment.row == row && !moment.is_record()) {
            instant = instant.max(moment.instant);
        }
        if instant <= watermark {
            return Some(Moment { row, instant });
        }
        // The instant is not over in this move: the epoch ends within it, or began there.
        index += 1;
        let &(row, _) = self.at.get(index)?;
        Some(Moment { row, instant: earliest.max(self.value_before(index).unwrap_or(i64::MIN)) })
    }
}

/// The smallest event time that moves the watermark on from `watermark`.
fn next_move(watermark: i64, delay_us: i64) -> i64 {
    time_that_reaches(watermark.saturating_add(1), delay_us)
}

/// The smallest event time that brings this watermark or a later one.
pub fn time_that_reaches(watermark: i64, delay_us: i64) -> i64 {
    let ticks = watermark.div_euclid(TICK_US) + i64::from(watermark.rem_euclid(TICK_US) > 0);
    ticks.saturating_mul(TICK_US).saturating_add(delay_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn moves(before: Option<i64>, at: &[(u32, i64)]) -> Moves {
        let mut moves = Moves { before, ..Moves::default() };
        at.iter().for_each(|&(row, watermark)| moves.to(row, watermark));
        moves
    }

    #[test]
    fn the_watermark_follows_the_largest_time_so_far_in_ticks() {
        let times = [5 * S, 5 * S + 99_999, 4 * S, 5 * S + 100_000, 9 * S];
        let found = Moves::of_records(None, &times, S);
        assert_eq!(found, moves(None, &[(0, 4 * S), (3, 4 * S + 100_000), (4, 8 * S)]));
        assert_eq!(found.last(), Some(8 * S));
        assert_eq!(found.watermark(Moment::of_record(2)), Some(4 * S));
        assert_eq!(found.watermark(Moment::of_record(4)), Some(8 * S));
    }

    #[test]
    fn it_never_goes_back() {
        let found = Moves::of_records(Some(7 * S), &[3 * S, 8 * S], 0);
        assert_eq!(found, moves(Some(7 * S), &[(1, 8 * S)]));
        assert_eq!(found.watermark(Moment::of_record(0)), Some(7 * S));
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(watermark_of(-1, 0), -100_000);
        assert_eq!(watermark_of(i64::MIN, 5), i64::MIN);
    }

    #[test]
    fn wherever_a_sequence_is_cut_the_moves_are_the_same() {
        let times: Vec<i64> = (0..200).map(|n: i64| (n * 37 % 50) * S / 7 + n * S / 9).collect();
        let whole = Moves::of_records(None, &times, S / 2);
        for cut in 0..times.len() {
            let first = Moves::of_records(None, &times[..cut], S / 2);
            let second = Moves::of_records(first.last(), &times[cut..], S / 2);
            let mut joined = first.at.clone();
            joined.extend(second.at.iter().map(|&(row, watermark)| (row + cut as u32, watermark)));
            assert_eq!(joined, whole.at, "cut at {cut}");
        }
    }

    #[test]
    fn a_timer_fires_before_the_record_that_moves_the_watermark_to_its_time() {
        let moves = moves(Some(0), &[(3, 10), (7, 20)]);
        assert_eq!(moves.firing(None, 5), Some(Moment { row: 3, instant: 5 }));
        assert_eq!(moves.firing(None, 10), Some(Moment { row: 3, instant: 10 }));
        assert_eq!(moves.firing(None, 11), Some(Moment { row: 7, instant: 11 }));
        assert_eq!(moves.firing(None, 21), None);
        // Set by the record that moved the watermark past it, it waits for the next move.
        assert_eq!(moves.firing(Some(Moment::of_record(3)), 5), Some(Moment { row: 7, instant: 10 }));
        assert_eq!(moves.firing(Some(Moment::of_record(7)), 5), None);
    }

    #[test]
    fn a_timer_that_a_timer_sets_fires_within_the_same_move() {
        let moves = moves(Some(0), &[(3, 10), (7, 20)]);
        let now = Moment { row: 3, instant: 8 };
        assert_eq!(moves.firing(Some(now), 9), Some(Moment { row: 3, instant: 9 }));
        assert_eq!(moves.firing(Some(now), 2), Some(now));
        assert_eq!(moves.firing(Some(now), 15), Some(Moment { row: 7, instant: 15 }));
    }

    #[test]
    fn a_move_in_two_parts_fires_the_same_timers_in_the_same_order() {
        let whole = moves(Some(0), &[(4, 20)]);
        let parts = [moves(Some(0), &[(4, 12)]), moves(Some(12), &[(0, 20)])];
        for time in [-3, 0, 1, 11, 12, 13, 20, 21] {
            let at_once = whole.firing(None, time);
            let first = parts[0].firing(None, time);
            let in_parts = first.or_else(|| parts[1].firing(None, time));
            assert_eq!(at_once.map(|moment| moment.instant), in_parts.map(|moment| moment.instant), "time {time}");
        }
    }

    #[test]
    fn a_watermark_between_two_ticks_moves_with_the_same_record_as_one_on_a_tick() {
        for watermark in [-250_001, -200_000, -1, 0, 1, 99_999, 100_000, 250_000] {
            for delay in [0, 30_000, 5 * S] {
                let first = time_that_reaches(watermark, delay);
                assert!(watermark_of(first, delay) >= watermark && watermark_of(first - 1, delay) < watermark);
                let found = Moves::of_records(Some(watermark - 1), &[first - 1, first], delay);
                assert_eq!(found.at.last(), Some(&(1, watermark_of(first, delay))), "{watermark} {delay}");
            }
        }
    }

    #[test]
    fn an_instant_in_parts_is_not_over_before_its_last_part() {
        // The first part: what a row of the instant 20 sets for it, or for before it, is left to the next.
        let part = moves(Some(0), &[(0, 19)]);
        let row = Moment { row: 0, instant: 20 };
        assert_eq!(part.firing(Some(row), 20), None);
        assert_eq!(part.firing(Some(row), 7), None);
        assert_eq!(part.firing(None, 7), Some(Moment { row: 0, instant: 7 }));
        // There it fires at the same instant as in one piece.
        let rest = moves(Some(19), &[(0, 40)]).resumed_within(Some(20));
        let whole = moves(Some(0), &[(0, 40)]);
        for time in [7, 20, 21] {
            assert_eq!(rest.firing(None, time), whole.firing(Some(row), time), "time {time}");
        }
    }

    #[test]
    fn what_a_timer_caused_is_seen_just_before_its_instant() {
        let moves = moves(Some(5), &[(3, 10)]);
        assert_eq!(moves.watermark(Moment { row: 3, instant: 8 }), Some(7));
        assert_eq!(moves.watermark(Moment { row: 3, instant: 5 }), Some(5));
        assert_eq!(moves.watermark(Moment::of_record(3)), Some(10));
    }

    #[test]
    fn the_end_of_the_input_is_behind_every_timer() {
        let end = moves(Some(5), &[(0, END)]);
        let last = end.firing(None, i64::MAX).unwrap();
        assert!(!last.is_record());
        assert_eq!(end.firing(Some(last), 3), Some(last));
        assert_eq!(end.last(), Some(END));
    }
}
