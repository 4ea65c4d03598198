//! Planning an epoch that the journal holds: its ranges, its idle partitions, its watermark, and nothing else.
//!
//! Owns: following a record, and refusing an input that is not the one that was read.
//! Does not own: reading and merging (`plan`), which records there are (`segno_durable::journal`).
//!
//! Invariant: an epoch is returned only if every partition ends exactly where the record says.

use super::{PUT_BACK, Planner};
use crate::shard::epoch::EpochInput;
use crate::shard::slot::{Loaded, Slot};
use segno_core::persisted::{EpochRecord, PartitionPosition, Position};
use segno_core::{Code, Error, Result};

impl Planner {
    /// Reads exactly the epoch of a record: its ranges, its idle partitions.
    pub fn recorded_epoch(&mut self, record: &EpochRecord) -> Result<EpochInput> {
        if let Some(redrive) = &record.facts.redrive {
            let input = self.redriven(&record.from, redrive)?.everything(record.logical_time_ms)?;
            return Ok(input.redriven(redrive.clone(), record.watermark_in));
        }
        self.clock.follow(record.logical_time_ms);
        self.follow(record)?;
        self.activity = record.from.activity;
        self.lost.clone_from(&record.facts.lost);
        for slot in &mut self.slots {
            let key = (slot.position.source, slot.position.partition);
            let named = |position: &Position| {
                let found = position.partitions.iter().find(|p| (p.source, p.partition) == key);
                found.map_or((0, String::new()), |p| (p.offset, p.mark.clone()))
            };
            slot.idle = record.idle.contains(&key);
            (slot.bound, slot.bound_mark) = named(&record.to);
            let (from, _) = named(&record.from);
            if slot.position.offset != from {
                return Err(Error::new(
                    Code::InputChanged,
                    format!(
                        "epoch {} starts at offset {from} of \"{}\", but the epochs before it end at {}",
                        record.epoch, slot.position.name, slot.position.offset
                    ),
                ));
            }
            if let Some(lost) = self.lost.iter().find(|lost| (lost.source, lost.partition) == key) {
                self.feed.close(slot.id);
                self.next_id += 1;
                let position = PartitionPosition { offset: lost.to, ..slot.position.clone() };
                let behind = Slot::new(self.next_id, position, slot.in_source);
                let before = std::mem::replace(slot, behind);
                (slot.idle, slot.bound, slot.bound_mark) = (before.idle, before.bound, before.bound_mark);
            }
        }
        let input = self.fill(None)?;
        self.lost.clear();
        let mut input = match input {
            Some(input) => input,
            None => self.without_records()?,
        };
        if let Some(watermark) = record.watermark_out {
            input.moves.to(input.batch.num_rows() as u32, watermark);
        }
        self.watermark = input.moves.last();
        self.cursor.clone_from(&record.to.timer_cursor);
        input.to.timer_cursor.clone_from(&record.to.timer_cursor);
        (self.activity, input.to.activity) = (record.to.activity, record.to.activity);
        for slot in &mut self.slots {
            // Offsets between two records (blank lines) are the same position; chunks decide which of them is named.
            let next = slot.queue.front().map(Loaded::offset);
            if slot.position.offset <= slot.bound && (slot.ended || next.map_or(slot.reached, |next| next) >= slot.bound) {
                slot.position.offset = slot.bound;
            }
            if slot.position.offset != slot.bound {
                return Err(Error::new(
                    Code::InputChanged,
                    format!(
                        "epoch {} read \"{}\" up to offset {}, but now a record boundary or the end is at {}: the input changed",
                        record.epoch, slot.position.name, slot.bound, slot.position.offset
                    ),
                )
                .with_help(PUT_BACK));
            }
        }
        input.new_partitions.clone_from(&record.facts.new_partitions);
        Ok(input)
    }

    /// Takes partitions, their numbers and where they begin from the journal: a partition that it does not name yet is
    /// found when it is read live.
    fn follow(&mut self, record: &EpochRecord) -> Result<()> {
        let named = |slots: &[Slot], wanted: &PartitionPosition| {
            slots.iter().position(|slot| (slot.source, &slot.position.name) == (wanted.source, &wanted.name))
        };
        let partitions = &record.to.partitions;
        if partitions.iter().any(|wanted| named(&self.slots, wanted).is_none()) {
            self.find_new_partitions()?;
        }
        let mut followed = Vec::with_capacity(partitions.len());
        for wanted in partitions {
            let Some(at) = named(&self.slots, wanted) else {
                return Err(Error::new(
                    Code::PartitionGone,
                    format!("\"{}\" was read before and is not there any more", wanted.name),
                )
                .with_help("put it back: its records belong to the history"));
            };
            let mut slot = self.slots.remove(at);
            slot.position.partition = wanted.partition;
            if std::mem::take(&mut slot.fresh) {
                let from = record.from.partitions.iter().find(|p| (p.source, p.partition) == (wanted.source, wanted.partition));
                slot.position.offset = from.map_or(0, |from| from.offset);
            }
            followed.push(slot);
        }
        for slot in std::mem::replace(&mut self.slots, followed) {
            self.feed.close(slot.id);
        }
        self.slots.sort_by_key(|slot| (slot.position.source, slot.position.partition));
        self.new_partitions.clear();
        self.partitions_checked = None;
        Ok(())
    }
}
