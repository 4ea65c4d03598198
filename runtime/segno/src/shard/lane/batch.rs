//! Which events a call takes: rows and due timers of a lane, in the order in which they happen.
//!
//! Owns: where a call begins and ends. Does not own: how long calls are (`pace`), keys that a time to live ends (`lives`).
//!
//! Invariant: the events of a lane do not depend on where its calls are cut.

use super::timers::{Due, LaneTimers};
use super::{LaneRows, LaneRun};
use segno_core::protocol::time::Moment;
use std::ops::Range;

/// The events of one call.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Rows of the lane.
    pub(super) rows: Range<usize>,
    /// Due timers and the row of the lane before which each fires.
    pub(super) timers: Vec<(usize, Due)>,
}

impl Batch {
    pub(super) fn of_rows(rows: Range<usize>) -> Batch {
        Batch { rows, timers: Vec::new() }
    }

    pub(super) fn events(&self) -> usize {
        self.rows.len() + self.timers.len()
    }

    /// The first events of the batch.
    pub(super) fn prefix(&self, events: usize) -> Batch {
        let start = self.rows.start;
        // Timer t that fires before row r is event r + t.
        let timers = self.timers.iter().enumerate().take_while(|(number, (row, _))| row - start + number < events).count();
        Batch { rows: start..start + events - timers, timers: self.timers[..timers].to_vec() }
    }

    /// The rows that stand before the first timer.
    pub(super) fn starts_with_timer(&self) -> Option<&Due> {
        self.timers.first().filter(|(row, _)| *row == self.rows.start).map(|(_, due)| due)
    }
}

impl LaneRun<'_> {
    /// The events of the next call.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let batch = self.next_within_limit()?;
        Some(self.within_lives(batch))
    }

    /// Without timers those up to the end of a range, or of `batch_rows` rows.
    fn next_within_limit(&self) -> Option<Batch> {
        let step = self.context.batch_rows.max(1) as usize;
        if self.timers.is_some() {
            return Some(self.next_events(self.pace.events())).filter(|batch| batch.events() > 0);
        }
        let end = match self.rows {
            LaneRows::Picked { rows, .. } => ((self.at / step + 1) * step).min(rows.len()),
            LaneRows::Ranges(ranges) => {
                let ends = ranges.iter().scan(0, |end, range| {
                    *end += range.len();
                    Some(*end)
                });
                ends.into_iter().find(|end| *end > self.at).unwrap_or(self.at)
            }
        };
        let end = end.min(self.at + self.pace.events());
        (end > self.at).then(|| Batch::of_rows(self.at..end))
    }

    /// So many events, or all that are left.
    fn next_events(&self, limit: usize) -> Batch {
        let total = self.rows.len();
        let mut batch = Batch::of_rows(self.at..self.at);
        let due = self.timers.iter().flat_map(LaneTimers::due);
        for timer in due {
            // Rows of the timer's own instant come first.
            let room = limit - batch.events();
            let until = self.rows_while(batch.rows.end, (batch.rows.end + room).min(total), |moment| moment <= timer.moment);
            batch.rows.end = until;
            if batch.events() == limit {
                return batch;
            }
            batch.timers.push((until, *timer));
            if batch.events() == limit {
                return batch;
            }
        }
        batch.rows.end = (batch.rows.end + limit - batch.events()).min(total);
        batch
    }

    /// How far rows from `start` on, which stand in the order of their moments, are before a place.
    pub(super) fn rows_while(&self, start: usize, end: usize, before: impl Fn(Moment) -> bool) -> usize {
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.moment(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn moment(&self, lane_row: usize) -> Moment {
        self.context.moment(self.input_row(lane_row))
    }

    /// The next events, as many as a journalled call took.
    pub(super) fn scripted(&self, events: usize) -> Batch {
        match self.timers {
            Some(_) => self.next_events(events),
            None => Batch::of_rows(self.at..(self.at + events).min(self.rows.len())),
        }
    }

    /// One event of a batch. With timers only the first is ever asked for.
    pub(super) fn alone(&self, batch: &Batch, before: usize) -> Batch {
        match batch.starts_with_timer() {
            Some(_) => batch.prefix(1),
            None => Batch::of_rows(batch.rows.start + before..batch.rows.start + before + 1),
        }
    }

    pub(super) fn input_row(&self, lane_row: usize) -> u32 {
        match self.rows {
            LaneRows::Picked { rows, .. } => rows[lane_row],
            LaneRows::Ranges(ranges) => {
                let mut left = lane_row as u32;
                for range in ranges {
                    if left < range.end - range.start {
                        return range.start + left;
                    }
                    left -= range.end - range.start;
                }
                ranges.last().map_or(0, |range| range.end)
            }
        }
    }
}
