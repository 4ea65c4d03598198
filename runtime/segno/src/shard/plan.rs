//! Planning an epoch: partitions are merged by their heads and an epoch is cut from the merged sequence.
//!
//! Owns: the positions of all partitions, the merge, the cut, idleness.
//! Does not own: the rules themselves (`segno_core::protocol::{merge, close, time}`), epochs that the journal holds (`recorded`),
//! reading (`feed`), single partitions (`slot`), executing.
//!
//! Invariants: the same ranges and the same idle set give the same rows in the same order, however chunks were cut:
//! replay uses this very code with bounds. A position only advances over records that are in a returned epoch.

mod recorded;

use super::burst::Horizon;
use super::epoch::{EpochBuilder, EpochInput, US_PER_MS};
use super::feed::{CHUNKS_AHEAD, Feed, SlotId};
use super::now_ms;
use super::picked;
use super::slot::{Loaded, Slot, take};
use segno_core::persisted::{LostRange, PartitionPosition, Position, Redrive, TimerCursor};
use segno_core::protocol::clock::LogicalClock;
use segno_core::protocol::close::{EpochLimits, Filling, closes};
use segno_core::protocol::merge::{Head, Pick, pick};
use segno_core::protocol::time::{END, time_that_reaches};
use segno_core::source::{Next, ReadPlan, Source};
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a partition that had nothing is asked again.
const WAITING_POLL: Duration = Duration::from_millis(20);

/// What to do about an input that changed.
const PUT_BACK: &str = "replay and recovery need the input as it was: put the original back";

/// How often sources are asked for new partitions.
const PARTITIONS_POLL: Duration = Duration::from_secs(1);

/// Event-time settings of the merged stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeRules {
    pub by_event_time: bool,
    /// The event time of a record is the logical time of its epoch, and so is the watermark.
    pub processing_time: bool,
    /// Allowed disorder, µs.
    pub watermark_delay_us: i64,
    /// Silence after which a partition no longer holds the merge. `None`: it holds for ever.
    pub idle_timeout: Option<Duration>,
    /// The watermark goes to the end of time when the input has ended.
    pub ends: bool,
}

/// What bounds an epoch that is read live.
struct Live<'a> {
    limits: &'a EpochLimits,
    horizon: &'a Horizon,
    /// The time of the first timer that waits; told with processing time only.
    timer: Option<i64>,
    stopping: &'a AtomicBool,
}

/// The merged input of a shard.
pub struct Planner {
    sources: Vec<Arc<dyn Source>>,
    plans: Vec<ReadPlan>,
    rules: TimeRules,
    feed: Feed,
    slots: Vec<Slot>,
    next_id: SlotId,
    watermark: Option<i64>,
    /// The last epoch ended within the instant behind the watermark.
    cursor: Option<TimerCursor>,
    /// `None`: before the next live epoch.
    partitions_checked: Option<Instant>,
    new_partitions: Vec<(u32, u32)>,
    /// Given up, and in no epoch yet.
    lost: Vec<LostRange>,
    clock: LogicalClock,
    clock_read_at: Instant,
    /// When the last epoch was cut.
    cut_at: Instant,
    /// The logical time of the epoch that is read again.
    recorded_ms: Option<i64>,
}

impl Planner {
    /// Starts at `position`; partitions that the sources have beyond it start at their beginning.
    pub fn new(
        sources: Vec<Arc<dyn Source>>,
        plans: Vec<ReadPlan>,
        rules: TimeRules,
        threads: usize,
        position: &Position,
        watermark: Option<i64>,
    ) -> Result<Planner> {
        let mut planner = Planner {
            sources,
            plans,
            rules,
            feed: Feed::start(threads),
            slots: Vec::new(),
            next_id: 0,
            watermark,
            cursor: position.timer_cursor.clone(),
            partitions_checked: None,
            new_partitions: Vec::new(),
            lost: Vec::new(),
            clock: LogicalClock::default(),
            clock_read_at: Instant::now(),
            cut_at: Instant::now(),
            recorded_ms: None,
        };
        planner.reached(watermark);
        planner.adopt(position)?;
        Ok(planner)
    }

    fn adopt(&mut self, position: &Position) -> Result<()> {
        for known in &position.partitions {
            let source = self.sources.get(known.source as usize).ok_or_else(|| {
                Error::new(Code::Internal, format!("the journal names source {}, which the plan lacks", known.source))
            })?;
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
    fn find_new_partitions(&mut self) -> Result<()> {
        self.partitions_checked = Some(Instant::now());
        for (number, source) in self.sources.iter().enumerate() {
            let later = self.slots.iter().any(|slot| slot.source == number as u32);
            for partition in source.partitions()? {
                let known = self.slots.iter().filter(|slot| slot.source == number as u32);
                if known.clone().any(|slot| slot.position.name == partition.name) {
                    continue;
                }
                // Its number in the source, so that it is the same whichever shards this process has; another one where a
                // partition that sorts behind it was known first.
                let taken = known.clone().any(|slot| slot.position.partition == partition.number);
                let next = known.map(|slot| slot.position.partition + 1).max().unwrap_or(0);
                let position = PartitionPosition {
                    source: number as u32,
                    partition: if taken { next } else { partition.number },
                    name: partition.name,
                    offset: source.first_offset(partition.number, later)?,
                    mark: String::new(),
                    time_max: None,
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

    /// Where the epoch at hand starts: before what was given up.
    fn start(&self) -> Position {
        let mut start = self.position();
        for partition in &mut start.partitions {
            let key = (partition.source, partition.partition);
            if let Some(lost) = self.lost.iter().find(|lost| (lost.source, lost.partition) == key) {
                partition.offset = lost.from;
            }
        }
        start
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

    pub fn position(&self) -> Position {
        Position {
            partitions: self.slots.iter().map(|slot| slot.position.clone()).collect(),
            timer_cursor: self.cursor.clone(),
        }
    }

    /// What waits behind the position, by (source, partition), where the source knows.
    pub fn lags(&self) -> BTreeMap<(u32, u32), u64> {
        let lag = |slot: &Slot| {
            let end = self.sources[slot.source as usize].end(slot.in_source)?;
            Some(((slot.source, slot.position.partition), end.saturating_sub(slot.position.offset)))
        };
        self.slots.iter().filter_map(lag).collect()
    }

    pub fn processing_time(&self) -> bool {
        self.rules.processing_time
    }

    /// The logical clock goes on from this watermark. What comes behind the end of time has the time of the wall clock.
    fn reached(&mut self, watermark: Option<i64>) {
        if let Some(time) = watermark.filter(|&time| time != END) {
            self.clock.reached(time);
        }
    }

    /// What the logical clock shows, µs.
    fn now_us(&mut self) -> i64 {
        let passed = self.clock_read_at.elapsed();
        self.clock_read_at += passed;
        self.clock.read(now_ms().saturating_mul(US_PER_MS), passed)
    }

    /// The logical time of an epoch that is cut now, ms; before `limit`.
    fn logical_time_ms(&mut self, limit: Option<i64>) -> i64 {
        match self.recorded_ms {
            Some(recorded) => recorded,
            None if self.rules.processing_time => {
                let now = self.now_us();
                limit.map_or(now, |limit| now.min(limit.saturating_sub(1))).div_euclid(US_PER_MS)
            }
            None => now_ms(),
        }
    }

    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Undoes an epoch that read nothing and is not committed; it began at `position`.
    pub fn put_back(&mut self, input: EpochInput, position: &Position) {
        self.watermark = input.moves.before();
        self.cursor.clone_from(&position.timer_cursor);
        self.new_partitions = input.new_partitions;
        self.lost = input.lost;
    }

    /// Puts the planner where `position` says, and forgets what was read ahead. After an epoch that was not committed.
    pub fn rewind(&mut self, position: &Position, watermark: Option<i64>) {
        self.watermark = watermark;
        self.cursor.clone_from(&position.timer_cursor);
        self.lost.clear();
        for slot in &mut self.slots {
            let Some(to) = position
                .partitions
                .iter()
                .find(|p| p.source == slot.position.source && p.partition == slot.position.partition)
            else {
                continue;
            };
            self.feed.close(slot.id);
            self.next_id += 1;
            let mut fresh = Slot::new(self.next_id, to.clone(), slot.in_source);
            fresh.idle = slot.idle;
            *slot = fresh;
        }
    }

    /// Reads the next epoch live, up to a horizon of event time. `None` when every partition has ended, or when stopping
    /// with nothing taken.
    pub fn next_epoch(
        &mut self,
        limits: &EpochLimits,
        horizon: &Horizon,
        timer: Option<i64>,
        stopping: &AtomicBool,
    ) -> Result<Option<EpochInput>> {
        self.recorded_ms = None;
        if self.partitions_are_due() {
            self.find_new_partitions()?;
        }
        for slot in &mut self.slots {
            slot.bound = u64::MAX;
            // An idle partition that has something again joins at the boundary.
            if slot.idle && !slot.queue.is_empty() {
                slot.idle = false;
            }
        }
        let input = self.fill(Some(&Live { limits, horizon, timer, stopping }))?;
        self.cut_at = Instant::now();
        Ok(input)
    }

    /// A planner of records that were dead letters, and of nothing else; `position` is that of the shard.
    pub fn redriven(&self, position: &Position, redrive: &Redrive) -> Result<Planner> {
        let mut planner = picked::planner(&self.sources, &self.plans, self.rules, position, &redrive.partitions)?;
        planner.clock = self.clock;
        Ok(planner)
    }

    /// All that is left, as one epoch.
    fn everything(&mut self, logical_time_ms: i64) -> Result<EpochInput> {
        self.recorded_ms = Some(logical_time_ms);
        match self.fill(None)? {
            Some(input) => Ok(input),
            None => self.without_records(),
        }
    }

    /// An epoch that reads nothing.
    fn without_records(&mut self) -> Result<EpochInput> {
        self.finish(EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules), None)
    }

    /// After the last record of an input that has ended, event time runs out: once, and only where it ever began.
    fn end_of_time(&mut self, horizon: &Horizon) -> Result<Option<EpochInput>> {
        if !self.rules.ends || self.watermark.is_none_or(|watermark| watermark == END) {
            return Ok(None);
        }
        self.up_to(horizon, END).map(Some)
    }

    /// An epoch in which time passes, and no record comes.
    fn up_to(&mut self, horizon: &Horizon, watermark: i64) -> Result<EpochInput> {
        let mut input = self.without_records()?;
        let last_before = horizon.limit().map(|limit| limit.saturating_sub(1));
        self.pass(&mut input, last_before.unwrap_or(watermark));
        if let Horizon::Within { last, .. } = horizon {
            self.cursor = Some(last.clone());
            input.to.timer_cursor.clone_from(&self.cursor);
        }
        Ok(input)
    }

    /// With processing time: an epoch without records, when timers are due and none comes that would move the watermark; or
    /// when more are due than an epoch may fire.
    fn timers_due(
        &mut self,
        limits: &EpochLimits,
        horizon: &Horizon,
        timer: Option<i64>,
        starved: bool,
    ) -> Result<Option<EpochInput>> {
        let now = self.now_us();
        if self.watermark.is_none_or(|watermark| now <= watermark) {
            return Ok(None);
        }
        if horizon.limit().is_some_and(|limit| limit <= now) {
            return self.up_to(horizon, now).map(Some);
        }
        // So often as a quiet stream commits, however many timers follow each other.
        let rested = self.cut_at.elapsed() >= limits.delay;
        if starved && rested && timer.is_some_and(|time| time <= now) {
            return self.up_to(&Horizon::Free, now).map(Some);
        }
        Ok(None)
    }

    /// Time passes behind the records of an epoch.
    fn pass(&mut self, input: &mut EpochInput, watermark: i64) {
        input.moves.to(input.batch.num_rows() as u32, watermark);
        self.settle(input);
    }

    /// Where an epoch leaves event time.
    fn settle(&mut self, input: &mut EpochInput) {
        let last = input.moves.last();
        if last > input.moves.before() {
            // It went through the instant within which the epoch before ended.
            self.cursor = None;
        }
        self.watermark = last;
        input.to.timer_cursor.clone_from(&self.cursor);
    }

    /// Tells sources how far committed reading is.
    pub fn advise(&self) {
        for (number, source) in (0..).zip(&self.sources) {
            let slots = self.slots.iter().filter(|slot| slot.source == number);
            let positions: Vec<(u32, u64)> = slots.map(|slot| (slot.in_source, slot.position.offset)).collect();
            source.advise(&positions);
        }
    }

    fn fill(&mut self, live: Option<&Live<'_>>) -> Result<Option<EpochInput>> {
        let horizon = live.and_then(|live| live.horizon.limit());
        // Records from this event time on would move the watermark too far.
        let too_far = horizon.map_or(i64::MAX, |limit| time_that_reaches(limit, self.rules.watermark_delay_us));
        let mut builder = EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules);
        let mut started: Option<Instant> = None;
        loop {
            self.ask_for_missing()?;
            while let Some(reply) = self.feed.try_receive() {
                self.accept(reply.slot, reply.next)?;
            }
            let heads: Vec<Head> = self.slots.iter().map(|slot| slot.head(self.rules.by_event_time)).collect();
            let decision = pick(&heads, self.rules.by_event_time);
            let ended = self.slots.iter().all(|slot| slot.ended && slot.queue.is_empty());
            let held = horizon.is_some() && self.rules.by_event_time
                && matches!(decision, Pick::Take { partition, .. } if matches!(heads[partition], Head::Record(time) if time >= too_far));
            if let Some(&Live { limits, horizon, timer, stopping }) = live {
                let filling = Filling {
                    records: builder.records(),
                    bytes: builder.bytes(),
                    age: started.map_or(Duration::ZERO, |at| at.elapsed()),
                    starved: !matches!(decision, Pick::Take { .. }),
                    ended,
                    idleness_changes: self.idleness_is_due(),
                    stopping: stopping.load(Ordering::Relaxed),
                };
                if closes(limits, &filling) || (held && builder.records() > 0) {
                    break;
                }
                if builder.records() == 0 {
                    if filling.stopping {
                        return Ok(None);
                    }
                    if ended {
                        return self.end_of_time(horizon);
                    }
                    if held {
                        return self.up_to(horizon, END).map(Some);
                    }
                    if self.rules.processing_time
                        && let Some(input) = self.timers_due(limits, horizon, timer, filling.starved)?
                    {
                        return Ok(Some(input));
                    }
                    self.change_idleness();
                }
            }
            match decision {
                Pick::Take { partition, until, inclusive } => {
                    started.get_or_insert_with(Instant::now);
                    let room = live.map_or((usize::MAX, usize::MAX), |Live { limits, .. }| {
                        (limits.records - builder.records(), limits.bytes.saturating_sub(builder.bytes()))
                    });
                    let (until, inclusive) = if horizon.is_some() && self.rules.by_event_time && until >= too_far { (too_far, false) } else { (until, inclusive) };
                    take(&mut self.slots[partition], until, inclusive, room, &mut builder)?;
                }
                Pick::Out if live.is_none() => break,
                Pick::Wait | Pick::Out => {
                    if live.is_some() && self.partitions_are_due() && builder.records() == 0 {
                        self.find_new_partitions()?;
                        // The epoch starts where they begin.
                        builder = EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules);
                    }
                    if let Some(reply) = self.feed.receive(WAITING_POLL)? {
                        self.accept(reply.slot, reply.next)?;
                    }
                    if live.is_some() && builder.records() == 0 {
                        self.wake_idle();
                    }
                }
            }
        }
        if builder.records() == 0 && live.is_none() {
            return Ok(None);
        }
        self.finish(builder, horizon).map(Some)
    }

    fn finish(&mut self, builder: EpochBuilder, limit: Option<i64>) -> Result<EpochInput> {
        for slot in &mut self.slots {
            if slot.moved {
                let mark = self.sources[slot.source as usize].mark(slot.in_source, slot.position.offset)?;
                slot.position.mark = format!("{mark:016x}");
                slot.moved = false;
            }
        }
        let idle = self
            .slots
            .iter()
            .filter(|slot| slot.idle)
            .map(|slot| (slot.position.source, slot.position.partition))
            .collect();
        let logical_time_ms = self.logical_time_ms(limit);
        let mut input = builder.finish(self.position(), idle, logical_time_ms)?;
        self.settle(&mut input);
        input.new_partitions = std::mem::take(&mut self.new_partitions);
        input.lost = std::mem::take(&mut self.lost);
        Ok(input)
    }

    fn ask_for_missing(&mut self) -> Result<()> {
        let now = Instant::now();
        for slot in &mut self.slots {
            if slot.ended || slot.position.offset >= slot.bound || slot.queue.len() + slot.asked >= CHUNKS_AHEAD {
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
            // One request at a time to a partition that last had nothing, else both.
            let wanted = if slot.waiting_since.is_some() { 1 } else { CHUNKS_AHEAD };
            while slot.queue.len() + slot.asked < wanted {
                self.feed.ask(slot.id);
                slot.asked += 1;
            }
        }
        Ok(())
    }

    fn accept(&mut self, id: SlotId, next: Result<Next>) -> Result<()> {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return Ok(()) };
        slot.asked -= 1;
        match next? {
            Next::Chunk(chunk) => {
                slot.reached = chunk.end;
                if chunk.offsets.is_empty() && chunk.bad.is_empty() {
                    // Blank lines, control records: the offset moves on with the next record.
                    return Ok(());
                }
                slot.waiting_since = None;
                slot.queue.push_back(Loaded { chunk: Arc::new(chunk), row: 0, bad: 0 });
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
                slot.ask_again_at = Some(now + WAITING_POLL);
            }
            Next::End => slot.ended = true,
        }
        Ok(())
    }

    fn partitions_are_due(&self) -> bool {
        self.partitions_checked.is_none_or(|at| at.elapsed() >= PARTITIONS_POLL)
    }

    fn is_silent(&self, slot: &Slot) -> bool {
        let Some(timeout) = self.rules.idle_timeout else { return false };
        !slot.idle && slot.queue.is_empty() && slot.waiting_since.is_some_and(|since| since.elapsed() >= timeout)
    }

    fn idleness_is_due(&self) -> bool {
        self.slots.iter().any(|slot| self.is_silent(slot))
    }

    /// At an epoch's start only: silent partitions stop holding the merge.
    fn change_idleness(&mut self) {
        for index in 0..self.slots.len() {
            if self.is_silent(&self.slots[index]) {
                self.slots[index].idle = true;
            }
        }
    }

    fn wake_idle(&mut self) {
        for slot in &mut self.slots {
            if slot.idle && !slot.queue.is_empty() {
                slot.idle = false;
            }
        }
    }
}
