//! Time to live of a lane's state: which keys are forgotten before which event, and until when a key is kept.
//!
//! Owns: the ends of the lane's keys through one epoch. Does not own: what an end is (`segno_core::persisted`), hiding and removing what
//! has ended (`segno_durable::state`).
//!
//! Invariants: a key is forgotten before the first event of it that sees a watermark which has reached its end, and no call holds two
//! events of a key with its end between them. Only records move an end, whatever the plugin does with them.

use super::{Batch, LaneRun};
use segno_core::persisted::{FOR_EVER, end_of, has_ended};

/// The end of a key that has none: nothing is kept of it.
pub const NEVER: i64 = i64::MIN;

/// Of a lane's keys, by their number.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Time to live, µs.
    pub ttl: i64,
    pub ends: Vec<i64>,
    /// As they are stored.
    pub stored: Vec<i64>,
    /// `[table][key]`: the stored value has no end of its own, since it is older than the time to live.
    pub without_end: Vec<Vec<bool>>,
}

impl Lives {
    /// The end of a key with another record.
    fn moved(&self, end: i64, time: i64) -> i64 {
        // What was kept for ever, while the step had no time to live, has an end again.
        let kept = if end == FOR_EVER { NEVER } else { end };
        kept.max(end_of(time, self.ttl))
    }
}

fn is_over(end: i64, watermark: Option<i64>) -> bool {
    end != NEVER && watermark.is_some_and(|watermark| has_ended(end, watermark))
}

impl LaneRun<'_> {
    /// The key of each event of a batch, the watermark that it sees, and its time where it is a record.
    fn lives_of(&self, batch: &Batch) -> Vec<(u32, Option<i64>, Option<i64>)> {
        let super::LaneRows::Picked { keys, .. } = self.rows else { return Vec::new() };
        let mut events = Vec::with_capacity(batch.events());
        let mut timers = batch.timers.iter().peekable();
        for row in batch.rows.start..=batch.rows.end {
            while let Some((_, due)) = timers.next_if(|(before, _)| *before <= row) {
                if let Some(timers) = &self.timers {
                    events.push((timers.key(due), Some(due.moment.instant), None));
                }
            }
            if row < batch.rows.end {
                let input_row = self.input_row(row);
                events.push((keys[row], self.context.moves.watermark(self.moment(row)), Some(self.context.time(input_row))));
            }
        }
        events
    }

    /// The first events of a batch, up to one before which a key is forgotten that an event of the batch has seen already.
    pub(super) fn within_lives(&mut self, batch: Batch) -> Batch {
        if self.result.state.lives.is_none() {
            return batch;
        }
        let events = self.lives_of(&batch);
        let Some(lives) = self.result.state.lives.as_mut() else { return batch };
        let mut before: Vec<(u32, i64)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut fit = events.len();
        for (number, (key, watermark, time)) in events.into_iter().enumerate() {
            let end = lives.ends[key as usize];
            let has_ended = is_over(end, watermark);
            let is_new = seen.insert(key);
            if has_ended && !is_new {
                fit = number;
                break;
            }
            if let Some(time) = time {
                before.push((key, end));
                lives.ends[key as usize] = lives.moved(if has_ended { NEVER } else { end }, time);
            }
        }
        for (key, end) in before.into_iter().rev() {
            lives.ends[key as usize] = end;
        }
        if fit < batch.events() { batch.prefix(fit) } else { batch }
    }

    /// Forgets the keys of a batch that have ended before their first event in it. However often it is asked: there is no event of such
    /// a key before.
    pub(super) fn forget(&mut self, batch: &Batch) {
        if self.result.state.lives.is_none() {
            return;
        }
        let events = self.lives_of(batch);
        let state = &mut self.result.state;
        let Some(lives) = state.lives.as_mut() else { return };
        let mut seen = std::collections::HashSet::new();
        for (key, watermark, _) in events {
            let key = key as usize;
            if seen.insert(key) && is_over(lives.ends[key], watermark) {
                lives.ends[key] = NEVER;
                for (values, changed) in state.values.iter_mut().zip(&mut state.changed) {
                    changed[key] |= values[key].take().is_some();
                }
            }
        }
    }

    /// The rows of a batch are done: they keep their keys.
    pub(super) fn keep(&mut self, rows: std::ops::Range<usize>) {
        let super::LaneRows::Picked { keys, .. } = self.rows else { return };
        if self.result.state.lives.is_none() {
            return;
        }
        let times: Vec<i64> = rows.clone().map(|row| self.context.time(self.input_row(row))).collect();
        let Some(lives) = self.result.state.lives.as_mut() else { return };
        for (row, time) in rows.zip(times) {
            let key = keys[row] as usize;
            lives.ends[key] = lives.moved(lives.ends[key], time);
        }
    }
}
