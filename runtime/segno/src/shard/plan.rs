//! Planning an epoch: partitions are merged by their heads and an epoch is cut from the merged sequence.
//!
//! Owns: the positions of all partitions, the merge, the cut.
//! Does not own: the rules themselves (`segno_core::protocol::{merge, close, time}`), which partitions there are and which are silent
//! (`partitions`), what a clock shows and what fires without records (`passing`), epochs that the journal holds (`recorded`),
//! reading (`feed`), single partitions (`slot`), executing.
//!
//! Invariants: the same ranges and the same idle set give the same rows in the same order, however chunks were cut:
//! replay uses this very code with bounds. A position only advances over records that are in a returned epoch.

mod partitions;
mod passing;
mod recorded;

use super::burst::Horizon;
use super::epoch::{EpochBuilder, EpochInput};
use super::feed::{Feed, SlotId};
use super::picked;
use super::slot::{Room, Slot, take};
use segno_core::persisted::{LostRange, Position, Redrive, TimerCursor};
use segno_core::protocol::close::{EpochLimits, Filling, closes};
use segno_core::protocol::merge::{Head, Pick, pick};
use segno_core::protocol::time::{END, time_that_reaches};
use segno_core::protocol::writers::Activity;
use segno_core::source::{ReadPlan, Source};
use segno_core::Result;
use partitions::WAITING_POLL_MAX;
use passing::ShardClock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What to do about an input that changed.
const PUT_BACK: &str = "replay and recovery need the input as it was: put the original back";

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
    /// The writers of a repartition topic announce the watermark; records do not move it.
    pub announced: bool,
    /// A stage behind follows this watermark: it is told whether anything may come.
    pub announces: bool,
}

/// What bounds an epoch that is read live.
struct Live<'a> {
    limits: &'a EpochLimits,
    horizon: &'a Horizon,
    /// The time of the first timer that waits; told with processing time only.
    timer: Option<i64>,
    stopping: &'a AtomicBool,
}

/// When an epoch got its first record.
#[derive(Clone, Copy)]
struct Started {
    came: Instant,
    taken: Instant,
}

impl Started {
    /// `since`: where it was there already, the earliest instant at which it may have come.
    fn now(since: Option<Instant>) -> Started {
        let taken = Instant::now();
        Started { came: since.unwrap_or(taken), taken }
    }
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
    /// What the last epochs said of the partitions.
    activity: Activity,
    /// `None`: before the next live epoch.
    partitions_checked: Option<Instant>,
    new_partitions: Vec<(u32, u32)>,
    /// Partitions of topics that the sources name no longer.
    left: Vec<(u32, u32)>,
    /// Given up, and in no epoch yet.
    lost: Vec<LostRange>,
    clock: ShardClock,
    /// How often a partition that had nothing is asked again.
    waiting_poll: Duration,
}

/// So often within the delay of an epoch partitions that had nothing are asked again, and its end is looked for.
const POLLS_WITHIN_DELAY: u32 = 4;

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
            activity: position.activity,
            partitions_checked: None,
            new_partitions: Vec::new(),
            left: Vec::new(),
            lost: Vec::new(),
            clock: ShardClock::new(watermark),
            waiting_poll: WAITING_POLL_MAX,
        };
        planner.adopt(position)?;
        Ok(planner)
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

    pub fn position(&self) -> Position {
        Position {
            partitions: self.slots.iter().map(|slot| slot.position.clone()).collect(),
            timer_cursor: self.cursor.clone(),
            activity: self.activity,
        }
    }

    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Undoes an epoch that read nothing and is not committed; it began at `position`.
    pub fn put_back(&mut self, input: EpochInput, position: &Position) {
        self.watermark = input.moves.before();
        self.cursor.clone_from(&position.timer_cursor);
        self.activity = position.activity;
        self.new_partitions = input.new_partitions;
        self.lost = input.lost;
    }

    /// Whoever follows is told anew what becomes of the partitions: it may be somebody new. A shard that was idle says by itself
    /// that it is active again.
    pub fn tell_anew(&mut self) {
        if self.activity == Activity::Ended {
            self.activity = Activity::Active;
        }
    }

    /// Puts the planner where `position` says, and forgets what was read ahead. After an epoch that was not committed.
    pub fn rewind(&mut self, position: &Position, watermark: Option<i64>) {
        self.watermark = watermark;
        self.cursor.clone_from(&position.timer_cursor);
        self.activity = position.activity;
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
        self.clock.recorded_ms = None;
        self.waiting_poll = (limits.delay / POLLS_WITHIN_DELAY).clamp(Duration::from_millis(1), WAITING_POLL_MAX);
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
        self.clock.cut_at = Instant::now();
        Ok(input)
    }

    /// A planner of records that were dead letters, and of nothing else; `position` is that of the shard.
    pub fn redriven(&self, position: &Position, redrive: &Redrive) -> Result<Planner> {
        let mut planner = picked::planner(&self.sources, &self.plans, self.rules, position, &redrive.partitions)?;
        planner.clock = self.clock.clone();
        Ok(planner)
    }

    /// All that is left, as one epoch.
    fn everything(&mut self, logical_time_ms: i64) -> Result<EpochInput> {
        self.clock.recorded_ms = Some(logical_time_ms);
        match self.fill(None)? {
            Some(input) => Ok(input),
            None => self.without_records(),
        }
    }

    /// An epoch that reads nothing.
    fn without_records(&mut self) -> Result<EpochInput> {
        self.finish(EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules), None)
    }

    fn fill(&mut self, live: Option<&Live<'_>>) -> Result<Option<EpochInput>> {
        let horizon = live.and_then(|live| live.horizon.limit());
        // Records from this event time on would move the watermark too far.
        let too_far = horizon.map_or(i64::MAX, |limit| time_that_reaches(limit, self.rules.watermark_delay_us));
        let mut builder = EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules);
        let mut started: Option<Started> = None;
        let mut waited = false;
        loop {
            self.ask_for_missing()?;
            while let Some(reply) = self.feed.try_receive() {
                self.accept(reply.slot, reply.next)?;
            }
            let heads: Vec<Head> = self.slots.iter().map(|slot| slot.head(self.rules.by_event_time)).collect();
            let decision = pick(&heads, self.rules.by_event_time);
            let ended = self.slots.iter().all(|slot| slot.ended && slot.queue.is_empty());
            let held = match (decision, horizon) {
                (Pick::Take { partition, .. }, Some(limit)) if self.rules.announced => self.slots[partition].is_held(limit),
                (Pick::Take { partition, .. }, Some(_)) if self.rules.by_event_time => {
                    matches!(heads[partition], Head::Record(time) if time >= too_far)
                }
                _ => false,
            };
            if let Some(&Live { limits, horizon, timer, stopping }) = live {
                let filling = Filling {
                    records: builder.records(),
                    bytes: builder.bytes(),
                    age: started.map_or(Duration::ZERO, |at| at.came.elapsed()),
                    gathering: started.map_or(Duration::ZERO, |at| at.taken.elapsed()),
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
                        return self.stops();
                    }
                    if ended {
                        return match self.end_of_time(horizon)? {
                            Some(input) => Ok(Some(input)),
                            None => self.says_activity(),
                        };
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
                    if filling.starved && let Some(input) = self.says_activity()? {
                        return Ok(Some(input));
                    }
                }
            }
            match decision {
                Pick::Take { partition, until, inclusive } => {
                    let cut_at = self.clock.cut_at;
                    started.get_or_insert_with(|| Started::now(if waited { None } else { Some(cut_at) }));
                    let (records, bytes) = live.map_or((usize::MAX, usize::MAX), |Live { limits, .. }| {
                        (limits.records - builder.records(), limits.bytes.saturating_sub(builder.bytes()))
                    });
                    let (until, inclusive) = if horizon.is_some() && self.rules.by_event_time && until >= too_far { (too_far, false) } else { (until, inclusive) };
                    let room = Room { until, inclusive, horizon: horizon.filter(|_| self.rules.announced), records, bytes };
                    take(&mut self.slots[partition], &room, &mut builder)?;
                }
                Pick::Out if live.is_none() => break,
                Pick::Wait | Pick::Out => {
                    if live.is_some() && self.partitions_are_due() && builder.records() == 0 {
                        self.find_new_partitions()?;
                        // The epoch starts where they begin.
                        builder = EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules);
                    }
                    waited = true;
                    if let Some(reply) = self.feed.receive(self.waiting_poll)? {
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
        if builder.records() > 0 {
            self.activity = Activity::Active;
        }
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
        let logical_time_ms = self.clock.logical_time_ms(self.rules.processing_time, limit);
        let mut input = builder.finish(self.position(), idle, logical_time_ms)?;
        self.settle(&mut input);
        input.new_partitions = std::mem::take(&mut self.new_partitions);
        input.lost = std::mem::take(&mut self.lost);
        Ok(input)
    }
}
