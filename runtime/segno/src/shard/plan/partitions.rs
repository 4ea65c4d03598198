//! The partitions of a merged input: which there are, what was read ahead of them, which of them are silent.
//!
//! Owns: finding partitions, asking readers for chunks and taking them in, idleness, what is gone before it was read.
//! Does not own: the merge and the cut (`plan`), a single partition (`slot`), threads that read (`feed`).
//!
//! Invariant: a partition that the journal names keeps its number and its place; a new one begins where its source says,
//! between two epochs.

use super::{PUT_BACK, Planner};
use crate::shard::epoch::RECORD_BYTES_ASSUMED;
use crate::shard::feed::{CHUNK_BYTES_MORE, CHUNK_LIMIT, SlotId};
use crate::shard::slot::{Loaded, Slot};
use segno_core::persisted::{LostRange, PartitionPosition, Position};
use segno_core::protocol::writers::{Activity, Writers};
use segno_core::source::Next;
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a partition that had nothing is asked again at least, however long an epoch may wait for more.
pub(super) const WAITING_POLL_MAX: Duration = Duration::from_millis(20);

/// How often sources are asked for new partitions.
const PARTITIONS_POLL: Duration = Duration::from_secs(1);

impl Planner {
    pub(super) fn adopt(&mut self, position: &Position) -> Result<()> {
        for known in &position.partitions {
            let source = self.sources.get(known.source as usize).ok_or_else(|| {
                Error::new(Code::Internal, format!("the journal names source {}, which the plan lacks", known.source))
            })?;
            if !source.names(&known.name) {
                self.left.push((known.source, known.partition));
                continue;
            }
            let partitions = source.partitions()?;
            let Some(found) = partitions.iter().find(|p| p.name == known.name) else {
                return Err(Error::new(
                    Code::PartitionGone,
                    format!("\"{}\" of source \"{}\" was read before and is not there any more", known.name, source.name()),
                )
                .with_help("put it back: its records belong to the history; or run the changed input under another pipeline name"));
            };
            self.next_id += 1;
            self.slots.push(Slot::new(self.next_id, known.clone(), found.number));
        }
        self.find_new_partitions()?;
        Ok(())
    }

    /// Adds partitions that sources show for the first time, after the known ones of their source.
    pub(super) fn find_new_partitions(&mut self) -> Result<()> {
        self.partitions_checked = Some(Instant::now());
        for (number, source) in self.sources.iter().enumerate() {
            let later = self.slots.iter().any(|slot| slot.source == number as u32);
            for partition in source.partitions()? {
                let known = self.slots.iter().filter(|slot| slot.source == number as u32);
                if known.clone().any(|slot| slot.position.name == partition.name) {
                    continue;
                }
                // Its number in the source, so that it is the same whichever shards this process has; another one where a
                // partition that sorts behind it was known first, or one of a topic that was left had it: dead letters name it.
                let left = self.left.iter().filter(|left| left.0 == number as u32).map(|left| left.1);
                let numbers: Vec<u32> = known.map(|slot| slot.position.partition).chain(left).collect();
                let taken = numbers.contains(&partition.number);
                let next = numbers.iter().max().map_or(0, |last| last + 1);
                let position = PartitionPosition {
                    source: number as u32,
                    partition: if taken { next } else { partition.number },
                    name: partition.name,
                    offset: source.first_offset(partition.number, later)?,
                    mark: String::new(),
                    time_max: None,
                    writers: Writers::default(),
                };
                self.new_partitions.push((position.source, position.partition));
                self.next_id += 1;
                let slot = Slot::new(self.next_id, position, partition.number);
                self.slots.push(Slot { fresh: true, ..slot });
            }
        }
        self.slots.sort_by_key(|slot| (slot.position.source, slot.position.partition));
        Ok(())
    }

    /// Gives up what is gone before it was read: reading goes on at the first offset that is left. Called between two
    /// epochs; whether there was anything to give up.
    pub fn give_up_lost(&mut self, position: &Position, watermark: Option<i64>) -> Result<bool> {
        self.rewind(position, watermark);
        for slot in &mut self.slots {
            let (source, partition) = (slot.position.source, slot.position.partition);
            let Some(to) = self.sources[source as usize].first_left(slot.in_source)? else { continue };
            let from = slot.position.offset;
            if to > from {
                tracing::warn!(
                    code = Code::OffsetsGone.name(),
                    "offsets {from} to {} of {} are gone and are given up; {to} is read next",
                    to - 1,
                    slot.position.name
                );
                self.lost.push(LostRange { source, partition, from, to });
                slot.position.offset = to;
                slot.moved = true;
            }
        }
        Ok(!self.lost.is_empty())
    }

    /// What waits behind the position, by (source, partition), where the source knows.
    pub fn lags(&self) -> BTreeMap<(u32, u32), u64> {
        let lag = |slot: &Slot| {
            let end = self.sources[slot.source as usize].end(slot.in_source)?;
            Some(((slot.source, slot.position.partition), end.saturating_sub(slot.position.offset)))
        };
        self.slots.iter().filter_map(lag).collect()
    }

    /// Tells sources how far committed reading is.
    pub fn advise(&self) {
        for (number, source) in (0..).zip(&self.sources) {
            let slots = self.slots.iter().filter(|slot| slot.source == number);
            let positions: Vec<(u32, u64)> = slots.map(|slot| (slot.in_source, slot.position.offset)).collect();
            source.advise(&positions);
        }
    }

    /// Tells sources from where on records are needed.
    pub fn release(&self, oldest: &Position) {
        for (number, source) in (0..).zip(&self.sources) {
            let of_source = oldest.partitions.iter().filter(|one| one.source == number);
            let read = |name: &str| self.slots.iter().find(|slot| slot.source == number && slot.position.name == name);
            let needed: Vec<(u32, u64)> = of_source.filter_map(|one| Some((read(&one.name)?.in_source, one.offset))).collect();
            source.release(&needed);
        }
    }

    pub(super) fn ask_for_missing(&mut self) -> Result<()> {
        let now = Instant::now();
        let behind = self.slots.iter().filter(|slot| slot.chunk_bytes >= CHUNK_BYTES_MORE && !slot.ended).count();
        for slot in &mut self.slots {
            let ahead = self.feed.chunks_ahead(slot.chunk_bytes, behind);
            if slot.ended || slot.position.offset >= slot.bound || slot.queue.len() + slot.asked >= ahead {
                continue;
            }
            if slot.ask_again_at.is_some_and(|at| now < at) {
                continue;
            }
            if !slot.opened {
                let source = &self.sources[slot.source as usize];
                let mark = u64::from_str_radix(&slot.position.mark, 16).ok();
                let reader =
                    source.open(slot.in_source, slot.position.offset, mark, &self.plans[slot.source as usize])?;
                self.feed.open(slot.id, reader);
                slot.opened = true;
            }
            slot.ask_again_at = None;
            // One request at a time to a partition that last had nothing, else all.
            let wanted = if slot.waiting_since.is_some() { 1 } else { ahead };
            while slot.queue.len() + slot.asked < wanted {
                self.feed.ask(slot.id);
                slot.asked += 1;
            }
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, id: SlotId, next: Result<Next>) -> Result<()> {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return Ok(()) };
        slot.asked -= 1;
        match next? {
            Next::Chunk(chunk) => {
                slot.reached = chunk.end;
                if chunk.offsets.is_empty() && chunk.bad.is_empty() && chunk.announced.is_empty() {
                    // Blank lines, control records: the offset moves on with the next record.
                    return Ok(());
                }
                slot.waiting_since = None;
                let bytes = chunk.raw.as_ref().map_or(chunk.offsets.len() * RECORD_BYTES_ASSUMED, |raw| raw.bytes.len());
                let is_full = chunk.offsets.len() >= CHUNK_LIMIT.rows;
                slot.chunk_bytes = if is_full { bytes.max(CHUNK_BYTES_MORE) } else { bytes };
                slot.queue.push_back(Loaded { chunk: Arc::new(chunk), row: 0, bad: 0, announced: 0 });
            }
            Next::Waiting => {
                // What the journal names was there once; a file that lost it would be waited for in vain.
                if slot.bound != u64::MAX && slot.position.offset < slot.bound {
                    let mark = self.sources[slot.source as usize].mark(slot.in_source, slot.bound)?;
                    if !slot.bound_mark.is_empty() && slot.bound_mark != format!("{mark:016x}") {
                        return Err(Error::new(
                            Code::InputChanged,
                            format!("\"{}\" has other bytes before offset {} than when it was read", slot.position.name, slot.bound),
                        )
                        .with_help(PUT_BACK));
                    }
                }
                let now = Instant::now();
                slot.waiting_since.get_or_insert(now);
                slot.ask_again_at = Some(now + self.waiting_poll);
            }
            Next::End => slot.ended = true,
        }
        Ok(())
    }

    pub(super) fn partitions_are_due(&self) -> bool {
        self.partitions_checked.is_none_or(|at| at.elapsed() >= PARTITIONS_POLL)
    }

    pub(super) fn is_silent(&self, slot: &Slot) -> bool {
        let Some(timeout) = self.rules.idle_timeout else { return false };
        !slot.idle && slot.queue.is_empty() && slot.waiting_since.is_some_and(|since| since.elapsed() >= timeout)
    }

    pub(super) fn idleness_is_due(&self) -> bool {
        self.slots.iter().any(|slot| self.is_silent(slot))
    }

    /// At an epoch's start only: silent partitions stop holding the merge.
    pub(super) fn change_idleness(&mut self) {
        for index in 0..self.slots.len() {
            if self.is_silent(&self.slots[index]) {
                self.slots[index].idle = true;
            }
        }
    }

    /// Whether anything may come. What the writers of a partition have not ended has not ended here.
    pub(super) fn seen_activity(&self) -> Activity {
        let has_ended = |slot: &Slot| slot.ended && (!self.rules.announced || slot.position.writers.have_ended());
        let rests = |slot: &Slot| slot.queue.is_empty() && (slot.idle || has_ended(slot));
        match self.slots.iter().all(rests) {
            false => Activity::Active,
            true if self.slots.iter().all(has_ended) => Activity::Ended,
            true => Activity::Idle,
        }
    }

    pub(super) fn wake_idle(&mut self) {
        for slot in &mut self.slots {
            if slot.idle && !slot.queue.is_empty() {
                slot.idle = false;
            }
        }
    }
}
