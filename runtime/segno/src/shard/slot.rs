//! One partition of the merged input: what was read ahead of it, how far it was taken, what it shows to the merge.
//!
//! Owns: taking records of a partition into an epoch, within the epoch's room and a replay's bound.
//! Does not own: which partition is next (`segno_core::protocol::merge`), when an epoch ends (`plan`).
//!
//! Invariant: a position advances over the records that were taken, and over nothing else.

use super::epoch::EpochBuilder;
use super::feed::SlotId;
use segno_core::Result;
use segno_core::persisted::PartitionPosition;
use segno_core::protocol::merge::Head;
use segno_core::source::{Announced, Bad, Chunk};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Loaded {
    pub(super) chunk: Arc<Chunk>,
    pub(super) row: usize,
    pub(super) bad: usize,
    pub(super) announced: usize,
}

/// What is next in a chunk.
enum Item<'a> {
    Bad(&'a Bad),
    Announced(&'a Announced),
    /// Rows up to this one, not included.
    Rows(usize),
}

impl Loaded {
    fn next(&self) -> Option<Item<'_>> {
        let chunk = &self.chunk;
        let (bad, announced) = (chunk.bad.get(self.bad), chunk.announced.get(self.announced));
        let before = |row: u32| row as usize <= self.row;
        match (bad.filter(|bad| before(bad.before_row)), announced.filter(|announced| before(announced.before_row))) {
            (Some(bad), Some(announced)) if announced.offset < bad.offset => Some(Item::Announced(announced)),
            (Some(bad), _) => Some(Item::Bad(bad)),
            (None, Some(announced)) => Some(Item::Announced(announced)),
            (None, None) => {
                let beside = [bad.map(|bad| bad.before_row), announced.map(|announced| announced.before_row)];
                let end = beside.into_iter().flatten().map(|row| row as usize).fold(chunk.offsets.len(), usize::min);
                (end > self.row).then_some(Item::Rows(end))
            }
        }
    }

    /// Offset of what is next; the chunk's end behind the last.
    pub(super) fn offset(&self) -> u64 {
        match self.next() {
            Some(Item::Bad(bad)) => bad.offset,
            Some(Item::Announced(announced)) => announced.offset,
            Some(Item::Rows(_)) => self.chunk.offsets[self.row],
            None => self.chunk.end,
        }
    }
}

/// How much may be taken of a partition.
pub(super) struct Room {
    /// Records before this event time, or at it, too.
    pub(super) until: i64,
    pub(super) inclusive: bool,
    /// No announcement that brings this watermark or a later one.
    pub(super) horizon: Option<i64>,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

pub(super) struct Slot {
    pub(super) id: SlotId,
    pub(super) source: u32,
    pub(super) position: PartitionPosition,
    /// Number of the partition in its source's own list.
    pub(super) in_source: u32,
    pub(super) queue: VecDeque<Loaded>,
    pub(super) asked: usize,
    pub(super) opened: bool,
    pub(super) ended: bool,
    pub(super) waiting_since: Option<Instant>,
    /// Bytes of the last chunk: how much more there is to read.
    pub(super) chunk_bytes: usize,
    pub(super) ask_again_at: Option<Instant>,
    pub(super) idle: bool,
    /// No record lies before this offset that is not in the queue: it runs over what holds no record.
    pub(super) reached: u64,
    /// Records at or beyond this offset are not taken (replay).
    pub(super) bound: u64,
    /// The journalled fingerprint of the bytes before `bound`.
    pub(super) bound_mark: String,
    pub(super) moved: bool,
    /// In no epoch yet.
    pub(super) fresh: bool,
}

impl Slot {
    pub(super) fn new(id: SlotId, position: PartitionPosition, in_source: u32) -> Slot {
        Slot {
            id,
            source: position.source,
            position,
            in_source,
            queue: VecDeque::new(),
            asked: 0,
            opened: false,
            ended: false,
            waiting_since: None,
            chunk_bytes: 0,
            ask_again_at: None,
            idle: false,
            reached: 0,
            bound: u64::MAX,
            bound_mark: String::new(),
            moved: false,
            fresh: false,
        }
    }

    pub(super) fn head(&self, by_event_time: bool) -> Head {
        if self.idle || self.position.offset >= self.bound {
            return Head::Out;
        }
        let Some(loaded) = self.queue.front() else {
            let over = self.ended || self.reached >= self.bound;
            return if over { Head::Out } else { Head::Waiting };
        };
        if loaded.offset() >= self.bound {
            return Head::Out;
        }
        match loaded.next() {
            Some(Item::Rows(_)) if by_event_time => Head::Record(loaded.chunk.times[loaded.row]),
            _ => Head::Record(i64::MIN),
        }
    }

    /// Whether what is next is an announcement that brings this watermark or a later one.
    pub(super) fn is_held(&self, horizon: i64) -> bool {
        match self.queue.front().and_then(Loaded::next) {
            Some(Item::Announced(announced)) => reaches(&self.position, announced, Some(horizon)),
            _ => false,
        }
    }
}

fn reaches(position: &PartitionPosition, announced: &Announced, horizon: Option<i64>) -> bool {
    horizon.is_some() && position.writers.watermark_after(announced.announcement) >= horizon
}

/// Moves what one slot has into the epoch, while there is room.
pub(super) fn take(slot: &mut Slot, room: &Room, builder: &mut EpochBuilder) -> Result<()> {
    let Some(loaded) = slot.queue.front_mut() else { return Ok(()) };
    let chunk = Arc::clone(&loaded.chunk);
    let bytes_before = builder.bytes();
    let records_before = builder.records();
    loop {
        let taken = builder.records() - records_before;
        if taken >= room.records.max(1) || builder.bytes() - bytes_before >= room.bytes.max(1) || loaded.offset() >= slot.bound {
            break;
        }
        let mut end = match loaded.next() {
            None => break,
            Some(Item::Bad(bad)) => {
                builder.take_bad(slot.position.source, slot.position.partition, bad);
                loaded.bad += 1;
                continue;
            }
            Some(Item::Announced(announced)) if reaches(&slot.position, announced, room.horizon) => break,
            Some(Item::Announced(announced)) => {
                slot.position.writers.hear(announced.announcement);
                builder.take_announced(&slot.position, announced.announcement);
                loaded.announced += 1;
                continue;
            }
            Some(Item::Rows(end)) => end,
        };
        end = end.min(loaded.row.saturating_add(room.records - taken));
        if slot.bound != u64::MAX {
            end = end.min(chunk.offsets.partition_point(|&offset| offset < slot.bound));
        }
        if builder.by_event_time() && room.until != i64::MAX {
            let before = |time: i64| if room.inclusive { time <= room.until } else { time < room.until };
            let run = chunk.times[loaded.row..end].iter().position(|&time| !before(time));
            end = run.map_or(end, |length| loaded.row + length);
        }
        end = builder.bounded_by_bytes(&chunk, loaded.row, end, room.bytes.saturating_sub(builder.bytes() - bytes_before));
        if end <= loaded.row {
            break;
        }
        builder.take_rows(&slot.position, &chunk, loaded.row..end);
        if builder.by_event_time() {
            let max = chunk.times[loaded.row..end].iter().copied().max();
            slot.position.time_max = slot.position.time_max.max(max);
        }
        loaded.row = end;
    }
    if builder.records() > records_before {
        slot.position.offset = loaded.offset().min(slot.bound);
        slot.moved = true;
    }
    if loaded.next().is_none() {
        slot.queue.pop_front();
    }
    Ok(())
}
