//! Time that passes in an epoch behind its records, or without any; and what the clock shows.
//!
//! Owns: the clock of a shard, the logical time of an epoch, epochs that only fire timers.
//! Does not own: how a logical clock goes (`segno_core::protocol::clock`), how many timers an epoch may fire (`burst`), firing (`lane`).
//!
//! Invariants: the clock is read for epochs that are cut live, and for no other; with processing time, the logical time of an
//! epoch is not before the watermark.

use super::Planner;
use crate::shard::burst::Horizon;
use crate::shard::epoch::{EpochBuilder, EpochInput, US_PER_MS};
use crate::shard::now_ms;
use segno_core::protocol::clock::LogicalClock;
use segno_core::protocol::close::EpochLimits;
use segno_core::protocol::time::END;
use segno_core::protocol::writers::Activity;
use segno_core::{Code, Result};
use std::time::{Duration, Instant};

/// Logical time that is so far ahead of the wall clock is told: clocks that somebody keeps are never so far off.
const AHEAD_TOLD: Duration = Duration::from_secs(60);

/// So often a stage behind is told how far a clock is, where no record comes.
const ANNOUNCED_AT_LEAST: Duration = Duration::from_secs(1);

/// How often it is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// The clocks of a shard.
#[derive(Clone)]
pub(super) struct ShardClock {
    logical: LogicalClock,
    read_at: Instant,
    /// When the last epoch was cut.
    pub(super) cut_at: Instant,
    /// The logical time of the epoch that is read again.
    pub(super) recorded_ms: Option<i64>,
    /// When it was told last that the wall clock is behind.
    told_at: Option<Instant>,
}

impl ShardClock {
    /// Goes on from this watermark. What comes behind the end of time has the time of the wall clock.
    pub(super) fn new(watermark: Option<i64>) -> ShardClock {
        let mut logical = LogicalClock::default();
        if let Some(time) = watermark.filter(|&time| time != END) {
            logical.reached(time);
        }
        ShardClock { logical, read_at: Instant::now(), cut_at: Instant::now(), recorded_ms: None, told_at: None }
    }

    /// An epoch that the journal holds is read again.
    pub(super) fn follow(&mut self, logical_time_ms: i64) {
        self.recorded_ms = Some(logical_time_ms);
        self.logical.reached(logical_time_ms.saturating_mul(US_PER_MS));
    }

    /// What the logical clock shows, µs.
    fn now_us(&mut self) -> i64 {
        let passed = self.read_at.elapsed();
        self.read_at += passed;
        let wall = now_ms().saturating_mul(US_PER_MS);
        let now = self.logical.read(wall, passed);
        self.tell(Duration::from_micros(now.saturating_sub(wall).max(0).unsigned_abs()));
        now
    }

    /// Tells that the clock shows more than the wall clock.
    fn tell(&mut self, ahead: Duration) {
        if ahead < AHEAD_TOLD {
            self.told_at = None;
        } else if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_AGAIN) {
            self.told_at = Some(Instant::now());
            tracing::warn!(
                code = Code::ClockBehind.name(),
                ahead_s = ahead.as_secs(),
                "logical time is {} s ahead of this machine's clock, and goes at half its speed until they meet: a clock was ahead, or this one is behind",
                ahead.as_secs()
            );
        }
    }

    /// The logical time of an epoch that is cut now, ms; with processing time it is before `limit`.
    pub(super) fn logical_time_ms(&mut self, processing_time: bool, limit: Option<i64>) -> i64 {
        match self.recorded_ms {
            Some(recorded) => recorded,
            None if processing_time => {
                let now = self.now_us();
                limit.map_or(now, |limit| now.min(limit.saturating_sub(1))).div_euclid(US_PER_MS)
            }
            None => now_ms(),
        }
    }
}

impl Planner {
    pub fn processing_time(&self) -> bool {
        self.rules.processing_time
    }

    /// After the last record of an input that has ended, event time runs out: once, and only where it ever began.
    pub(super) fn end_of_time(&mut self, horizon: &Horizon) -> Result<Option<EpochInput>> {
        let over = self.watermark.is_none_or(|watermark| watermark == END);
        // Another process may still write what this one found the end of.
        let goes_on = self.rules.announced && !self.slots.iter().all(|slot| slot.position.writers.have_ended());
        if !self.rules.ends || over || goes_on {
            return Ok(None);
        }
        self.up_to(horizon, END).map(Some)
    }

    /// An epoch that tells whoever follows this shard's watermark what has become of its partitions, where that is new.
    pub(super) fn says_activity(&mut self) -> Result<Option<EpochInput>> {
        match (self.activity, self.seen_activity()) {
            // It goes on with the next record, and is waited for until then.
            (Activity::Ended, Activity::Active) => Ok(None),
            (_, seen) => self.says(seen),
        }
    }

    /// Who stops is idle no longer: what comes meanwhile must not be late when somebody goes on.
    pub(super) fn stops(&mut self) -> Result<Option<EpochInput>> {
        if self.activity == Activity::Idle { self.says(Activity::Active) } else { Ok(None) }
    }

    fn says(&mut self, activity: Activity) -> Result<Option<EpochInput>> {
        if !self.rules.announces || self.activity == activity || self.slots.is_empty() {
            return Ok(None);
        }
        let builder = EpochBuilder::new(&self.plans, self.start(), self.watermark, self.rules);
        self.activity = activity;
        self.finish(builder, None).map(Some)
    }

    /// An epoch in which time passes, and no record comes.
    pub(super) fn up_to(&mut self, horizon: &Horizon, watermark: i64) -> Result<EpochInput> {
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
    pub(super) fn timers_due(
        &mut self,
        limits: &EpochLimits,
        horizon: &Horizon,
        timer: Option<i64>,
        starved: bool,
    ) -> Result<Option<EpochInput>> {
        let now = self.clock.now_us();
        if self.watermark.map_or(!self.rules.announces, |watermark| now <= watermark) {
            return Ok(None);
        }
        if horizon.limit().is_some_and(|limit| limit <= now) {
            return self.up_to(horizon, now).map(Some);
        }
        // So often as a quiet stream commits, however many timers follow each other.
        let rested = self.clock.cut_at.elapsed() >= limits.delay;
        // Whoever follows waits for this clock, too.
        let awaited = self.rules.announces && self.clock.cut_at.elapsed() >= ANNOUNCED_AT_LEAST;
        if starved && rested && (awaited || timer.is_some_and(|time| time <= now)) {
            return self.up_to(&Horizon::Free, now).map(Some);
        }
        Ok(None)
    }

    /// Time passes behind the records of an epoch.
    pub(super) fn pass(&mut self, input: &mut EpochInput, watermark: i64) {
        input.moves.to(input.batch.num_rows() as u32, watermark);
        self.settle(input);
    }

    /// Where an epoch leaves event time.
    pub(super) fn settle(&mut self, input: &mut EpochInput) {
        let last = input.moves.last();
        if last > input.moves.before() {
            // It went through the instant within which the epoch before ended.
            self.cursor = None;
        }
        self.watermark = last;
        input.to.timer_cursor.clone_from(&self.cursor);
    }
}
