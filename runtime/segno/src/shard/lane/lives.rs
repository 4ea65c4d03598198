//! Time to live of a lane's state: which keys are forgotten before which event, and until when a key is kept.
//!
//! Owns: the ends of the lane's keys through one epoch. Does not own: what an end is (`segno_core::persisted`), hiding and removing what
//! has ended (`segno_durable::state`).
//!
//! Invariants: a key is forgotten before the first event of it that sees a watermark which has reached its end, and no call holds two
//! events of a key with its end between them. Only records move an end, whatever the plugin does with them, and whether the key has a
//! value: the end is a function of the records.

use super::{Batch, LaneRun};
use segno_core::persisted::{FOR_EVER, Lease, has_ended};
use std::collections::{HashMap, HashSet};

/// Of a lane's keys, by their number.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Time to live, µs; `FOR_EVER` of a step that has none any more.
    pub ttl: i64,
    pub leases: Vec<Lease>,
    /// As they are stored.
    pub stored: Vec<Lease>,
    /// `[table][key]`: the stored value has no end of its own, since it is older than the time to live.
    pub without_end: Vec<Vec<bool>>,
}

impl Lives {
    /// Whether the state of a key is over for an event that sees this watermark. Of a key of which no record is known, too: what a timer
    /// writes then nobody finds.
    fn is_over(&self, lease: Lease, watermark: Option<i64>) -> bool {
        watermark.is_some_and(|watermark| has_ended(lease.end, watermark))
    }

    /// The lease behind an event: records move it. Where nothing ends any more, every event does.
    fn behind(&self, lease: Lease, time: Option<i64>) -> Lease {
        match time {
            _ if self.ttl == FOR_EVER => Lease::FOR_EVER,
            Some(time) => lease.with_record(time, self.ttl),
            None => lease,
        }
    }
}

/// An event as far as lives are concerned.
struct LifeEvent {
    key: usize,
    /// The watermark that it sees.
    watermark: Option<i64>,
    /// Of a record.
    time: Option<i64>,
}

impl LaneRun<'_> {
    fn life_events(&self, batch: &Batch) -> Vec<LifeEvent> {
        let super::LaneRows::Picked { keys, .. } = self.rows else { return Vec::new() };
        let mut events = Vec::with_capacity(batch.events());
        let mut timers = batch.timers.iter().peekable();
        for row in batch.rows.start..=batch.rows.end {
            while let Some((_, due)) = timers.next_if(|(before, _)| *before <= row) {
                if let Some(timers) = &self.timers {
                    events.push(LifeEvent { key: timers.key(due) as usize, watermark: Some(due.moment.instant), time: None });
                }
            }
            if row < batch.rows.end {
                let time = self.context.time(self.input_row(row));
                let watermark = self.context.moves.watermark(self.moment(row));
                events.push(LifeEvent { key: keys[row] as usize, watermark, time: Some(time) });
            }
        }
        events
    }

    /// The first events of a batch, up to one before which a key is forgotten that an event of the batch has seen already.
    pub(super) fn within_lives(&mut self, batch: Batch) -> Batch {
        if self.result.state.lives.is_none() {
            return batch;
        }
        let events = self.life_events(&batch);
        let Some(lives) = &self.result.state.lives else { return batch };
        let mut now: HashMap<usize, Lease> = HashMap::new();
        for (number, event) in events.iter().enumerate() {
            let lease = match now.get(&event.key) {
                Some(lease) if lives.is_over(*lease, event.watermark) => {
                    // What comes next is as likely to be cut as short: it is not looked at as a whole each time.
                    self.pace.shorten(number);
                    return batch.prefix(number);
                }
                Some(lease) => *lease,
                None => lives.leases[event.key],
            };
            now.insert(event.key, lives.behind(lease, event.time));
        }
        batch
    }

    /// Forgets the keys of a batch that are over before their first event in it. However often it is asked: there is no event of such
    /// a key before.
    pub(super) fn forget(&mut self, batch: &Batch) {
        if self.result.state.lives.is_none() {
            return;
        }
        let events = self.life_events(batch);
        let state = &mut self.result.state;
        let Some(lives) = &state.lives else { return };
        let mut seen = HashSet::new();
        for event in events {
            if seen.insert(event.key) && lives.is_over(lives.leases[event.key], event.watermark) {
                for (values, changed) in state.values.iter_mut().zip(&mut state.changed) {
                    changed[event.key] |= values[event.key].take().is_some();
                }
            }
        }
    }

    /// The events of a batch are done.
    pub(super) fn keep(&mut self, batch: &Batch) {
        if self.result.state.lives.is_none() {
            return;
        }
        let events = self.life_events(batch);
        let Some(lives) = self.result.state.lives.as_mut() else { return };
        for event in events {
            lives.leases[event.key] = lives.behind(lives.leases[event.key], event.time);
        }
    }
}
