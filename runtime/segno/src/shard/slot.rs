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
use segno_core::source::Chunk;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Loaded {
    pub(super) chunk: Arc<Chunk>,
    pub(super) row: usize,
    pub(super) bad: usize,
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
        let chunk = &loaded.chunk;
        if next_offset(chunk, loaded.row, loaded.bad) >= self.bound {
            return Head::Out;
        }
        let is_bad = chunk.bad.get(loaded.bad).is_some_and(|bad| bad.before_row as usize <= loaded.row);
        Head::Record(if is_bad || !by_event_time { i64::MIN } else { chunk.times[loaded.row] })
    }
}

/// Moves records of one slot into the epoch: while they come before `until`, and while there is room.
pub(super) fn take(
    slot: &mut Slot,
    until: i64,
    inclusive: bool,
    room: (usize, usize),
    builder: &mut EpochBuilder,
) -> Result<()> {
    let Some(loaded) = slot.queue.front_mut() else { return Ok(()) };
    let chunk = Arc::clone(&loaded.chunk);
    let bytes_before = builder.bytes();
    let records_before = builder.records();
    loop {
        let taken = builder.records() - records_before;
        if taken >= room.0.max(1) || builder.bytes() - bytes_before >= room.1.max(1) {
            break;
        }
        if let Some(bad) = chunk.bad.get(loaded.bad).filter(|bad| bad.before_row as usize <= loaded.row) {
            if bad.offset >= slot.bound {
                break;
            }
            builder.take_bad(slot.position.source, slot.position.partition, bad);
            loaded.bad += 1;
            continue;
        }
        let mut end = chunk.offsets.len();
        if let Some(bad) = chunk.bad.get(loaded.bad) {
            end = end.min(bad.before_row as usize);
        }
        end = end.min(loaded.row.saturating_add(room.0 - taken));
        if slot.bound != u64::MAX {
            end = end.min(chunk.offsets.partition_point(|&offset| offset < slot.bound));
        }
        if builder.by_event_time() && until != i64::MAX {
            let before = |time: i64| if inclusive { time <= until } else { time < until };
            let run = chunk.times[loaded.row..end].iter().position(|&time| !before(time));
            end = run.map_or(end, |length| loaded.row + length);
        }
        end = builder.bounded_by_bytes(&chunk, loaded.row, end, room.1.saturating_sub(builder.bytes() - bytes_before));
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
        slot.position.offset = next_offset(&chunk, loaded.row, loaded.bad).min(slot.bound);
        slot.moved = true;
    }
    if loaded.row == chunk.offsets.len() && loaded.bad == chunk.bad.len() {
        slot.queue.pop_front();
    }
    Ok(())
}

/// Offset of the next record of a chunk that was consumed up to (row, bad); the chunk's end after the last.
pub(super) fn next_offset(chunk: &Chunk, row: usize, bad: usize) -> u64 {
    let good = chunk.offsets.get(row).copied();
    let bad = chunk.bad.get(bad).map(|bad| bad.offset);
    match (good, bad) {
        (Some(good), Some(bad)) => good.min(bad),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => chunk.end,
    }
}
