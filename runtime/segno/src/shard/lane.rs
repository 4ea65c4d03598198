//! One lane of a step through one epoch: calls on an instance, effects applied between calls, failing calls split.
//!
//! - `call`: the message of a call, its answer, what becomes of its effects
//! - `pace`: how many events a call takes, and how much fuel it gets
//! - `lives`: time to live: which keys are forgotten before which event
//! - `timers`: due timers in the order in which they fire
//!
//! Owns: which events go into a call, the verdict on a record that makes a call fail.
//! Does not own: which rows belong to the lane (`step`), what becomes of rejected records (`execute`).
//!
//! Invariants: a lane starts with a fresh instance. Effects of a failed call are never applied. On replay the
//! journalled calls are made again, and nothing is decided anew.
//!
//! The events of a lane are its rows and its due timers, in the order in which they happen. A call takes several of them.
//! Where a call sets a timer that is due before the last event of that same call, its effects are thrown away and it is
//! made again with fewer events, on a fresh instance: so batches leave no trace. The same where its events use more together than
//! one alone may; so that this is rare, a lane begins with a short call and learns from each what an event costs.

mod call;
mod lives;
mod pace;
mod timers;

pub use call::{CallOutput, TIMER_CAUSE};
pub use lives::Lives;
pub use timers::{Due, LaneTimers};

use super::causes::{Causes, Fired};
use super::program::StepProgram;
use arrow_array::ArrayRef;
use call::Called;
use pace::Pace;
use segno_core::columns::ColumnType;
use segno_core::columns::frame::EffectsLimits;
use segno_core::columns::key::Keys;
use segno_core::persisted::{LaneScript, ScriptedCall, Verdict};
use segno_core::pipeline::graph::GraphStep;
use segno_core::protocol::split::{Split, Step as Trial};
use segno_core::protocol::time::{Moment, Moves, time_text};
use segno_core::{Code, Error, Result};
use segno_plugin::{CallFailure, Instance};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Records that may be rejected after failing calls in one epoch. More than that is a broken plugin, and each one costs
/// about ten calls to find.
pub const REJECTIONS_PER_EPOCH_MAX: u32 = 1_000;

/// How often an epoch is aborted for an expired deadline before its calls are split like any other failure.
pub const DEADLINE_ABORTS_MAX: u32 = 2;

/// How calls are decided.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Failing calls are split and the verdicts become facts.
    Live { deadline_aborts: u32 },
    /// The journalled calls are made; anything else is a difference.
    Replay { scripts: &'a [LaneScript] },
}

/// The rows of a lane, as rows of the step's input.
#[derive(Clone, Debug)]
pub enum LaneRows {
    /// Contiguous pieces of the input, each one call.
    Ranges(Vec<Range<u32>>),
    /// Gathered rows, ascending, with the lane-local key index of each (for keyed steps; else empty).
    Picked { rows: Vec<u32>, keys: Vec<u32> },
}

impl LaneRows {
    pub fn len(&self) -> usize {
        match self {
            LaneRows::Ranges(ranges) => ranges.iter().map(|range| range.len()).sum(),
            LaneRows::Picked { rows, .. } => rows.len(),
        }
    }
}

/// The values of a lane's keys in each table, as they stand after the calls made so far.
#[derive(Default)]
pub struct LaneState {
    /// `[table][key]`.
    pub values: Vec<Vec<Option<Vec<u8>>>>,
    pub changed: Vec<Vec<bool>>,
    /// For steps with a time to live.
    pub lives: Option<Lives>,
}

/// Everything a lane needs that is the same for all lanes of the step.
pub struct StepContext<'a> {
    /// Number of the step.
    pub number: usize,
    pub graph: &'a GraphStep,
    pub program: &'a StepProgram,
    /// Columns handed to the plugin.
    pub columns: Vec<ArrayRef>,
    pub types: Vec<ColumnType>,
    pub key_types: Vec<ColumnType>,
    /// Event times of the step's rows, when the plugin wants them.
    pub times: Option<ArrayRef>,
    pub batch_rows: u32,
    pub rejections: &'a AtomicU32,
    pub effects_limits: EffectsLimits,
    pub causes: Causes<'a>,
    pub moves: &'a Moves,
    /// The cause of each of the step's rows; `None`: row i is input row i.
    pub lineage: Option<Arc<Vec<u32>>>,
}

impl<'a> StepContext<'a> {
    pub fn moment(&self, row: u32) -> Moment {
        self.causes.moment(self.cause(row))
    }

    /// The event time of a row.
    fn time(&self, row: u32) -> i64 {
        self.causes.time(self.cause(row)).unwrap_or_default()
    }

    fn cause(&self, row: u32) -> u32 {
        self.lineage.as_ref().map_or(row, |lineage| lineage[row as usize])
    }
}

/// A rejected row of the step's input.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub row: u32,
    pub code: String,
    pub reason: String,
}

#[derive(Default)]
pub struct LaneResult {
    pub outputs: Vec<CallOutput>,
    pub rejected: Vec<Rejected>,
    pub script: Option<LaneScript>,
    pub fuel: u64,
    pub counters: BTreeMap<String, u64>,
    pub state: LaneState,
    /// Timers that fired, in their order; outputs name them as causes.
    pub fired: Vec<Fired>,
    /// (lane's number of the key, time, number, set or deleted).
    pub timer_changes: Vec<(u32, i64, u32, bool)>,
    /// A timer set one for its own instant, and the epoch ends within it.
    pub chained: bool,
}

/// The events of one call.
#[derive(Clone, Debug)]
struct Batch {
    /// Rows of the lane.
    rows: Range<usize>,
    /// Due timers and the row of the lane before which each fires.
    timers: Vec<(usize, Due)>,
}

impl Batch {
    fn of_rows(rows: Range<usize>) -> Batch {
        Batch { rows, timers: Vec::new() }
    }

    fn events(&self) -> usize {
        self.rows.len() + self.timers.len()
    }

    /// The first events of the batch.
    fn prefix(&self, events: usize) -> Batch {
        let start = self.rows.start;
        // Timer t that fires before row r is event r + t.
        let timers = self.timers.iter().enumerate().take_while(|(number, (row, _))| row - start + number < events).count();
        Batch { rows: start..start + events - timers, timers: self.timers[..timers].to_vec() }
    }

    /// The rows that stand before the first timer.
    fn starts_with_timer(&self) -> Option<&Due> {
        self.timers.first().filter(|(row, _)| *row == self.rows.start).map(|(_, due)| due)
    }
}

pub struct LaneRun<'a> {
    context: &'a StepContext<'a>,
    lane: u32,
    rows: &'a LaneRows,
    /// The next row of the lane.
    at: usize,
    /// For steps that set timers.
    timers: Option<LaneTimers<'a>>,
    /// The step's keys, and which of them are the lane's, for keyed steps.
    keys: Option<(&'a Keys, &'a [u32])>,
    pace: Pace,
    message: Vec<u8>,
    /// For each lane key the call that last saw it, and its index in that call's batch.
    seen_in: Vec<u32>,
    index_in: Vec<u32>,
    calls_made: u32,
    instance: Option<Instance>,
    result: LaneResult,
}

impl<'a> LaneRun<'a> {
    pub fn new(
        context: &'a StepContext<'a>,
        lane: u32,
        rows: &'a LaneRows,
        state: LaneState,
        keys: Option<(&'a Keys, &'a [u32])>,
        timers: Option<LaneTimers<'a>>,
    ) -> LaneRun<'a> {
        let count = keys.map_or(0, |(_, ids)| ids.len());
        LaneRun {
            context,
            lane,
            rows,
            at: 0,
            timers,
            keys,
            pace: Pace::new(context.batch_rows, context.program.template.limits.fuel_per_record),
            message: Vec::new(),
            seen_in: vec![0; count],
            index_in: vec![0; count],
            calls_made: 0,
            instance: None,
            result: LaneResult { state, ..LaneResult::default() },
        }
    }

    pub fn run(mut self, mode: Mode<'_>) -> Result<LaneResult> {
        match mode {
            Mode::Live { deadline_aborts } => self.run_live(deadline_aborts)?,
            Mode::Replay { scripts } => {
                let id = &self.context.graph.id;
                match scripts.iter().find(|script| script.step == *id && script.lane == self.lane) {
                    Some(script) => self.follow(script)?,
                    None => self.run_unscripted()?,
                }
            }
        }
        if let Some(timers) = self.timers {
            self.result.chained = timers.chained();
            self.result.timer_changes = timers.into_changes();
        }
        Ok(self.result)
    }

    /// The events of the next call.
    fn next_batch(&mut self) -> Option<Batch> {
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
    fn rows_while(&self, start: usize, end: usize, before: impl Fn(Moment) -> bool) -> usize {
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.moment(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn moment(&self, lane_row: usize) -> Moment {
        self.context.moment(self.input_row(lane_row))
    }

    /// After a call that went too far: fewer events, and nothing that the instance kept.
    fn shorten(&mut self, events: usize) {
        self.pace.shorten(events);
        self.instance = None;
    }

    /// Whether a call that failed is to be made again with fewer events: they use too much together, or the calls before have left
    /// too little.
    fn retry(&mut self, batch: &Batch, failure: &CallFailure, fresh: bool) -> bool {
        let again = failure.is_shared() && (batch.events() > 1 || !fresh);
        if again {
            if matches!(failure, CallFailure::OutOfFuel { .. }) {
                self.pace.search();
            }
            self.shorten(batch.events() / 2);
        }
        again
    }

    fn run_unscripted(&mut self) -> Result<()> {
        while let Some(batch) = self.next_batch() {
            let fresh = self.instance.is_none();
            let called = match self.call(&batch) {
                Ok(called) => called,
                Err(failure) if self.retry(&batch, &failure, fresh) => continue,
                Err(failure) => return Err(self.replay_failure(&batch, &failure)),
            };
            match self.cut(&batch, &called) {
                Some(events) => self.shorten(events),
                None => {
                    let fuel = called.fuel;
                    self.apply(&batch, called)?;
                    self.pace.widen(batch.events(), fuel);
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, script: &LaneScript) -> Result<()> {
        for scripted in &script.calls {
            let events = scripted.rows as usize;
            let batch = self.scripted(events);
            if batch.events() != events {
                return Err(Error::new(
                    Code::ReplayDiffers,
                    format!(
                        "a journalled call of step \"{}\", lane {} takes {events} rows and timers; the lane has {} left",
                        self.context.graph.id,
                        self.lane,
                        batch.events()
                    ),
                ));
            }
            if let Some(verdict) = &scripted.rejected {
                self.reject(self.at, verdict);
                self.instance = None;
                continue;
            }
            if scripted.fresh {
                self.instance = None;
            }
            self.repeat(batch)?;
        }
        self.result.script = Some(script.clone());
        Ok(())
    }

    /// The next events, as many as a journalled call took.
    fn scripted(&self, events: usize) -> Batch {
        match self.timers {
            Some(_) => self.next_events(events),
            None => Batch::of_rows(self.at..(self.at + events).min(self.rows.len())),
        }
    }

    /// Makes a journalled call again: in parts, where it was allowed more than a call is now.
    fn repeat(&mut self, mut batch: Batch) -> Result<()> {
        let mut left = batch.events();
        while left > 0 {
            match self.call(&batch) {
                Ok(called) => {
                    left -= batch.events();
                    self.apply(&batch, called)?;
                    batch = self.scripted(batch.events().min(left));
                }
                Err(failure) if failure.is_shared() && batch.events() > 1 => batch = batch.prefix(batch.events() / 2),
                Err(failure) => return Err(self.replay_failure(&batch, &failure)),
            }
        }
        Ok(())
    }

    fn replay_failure(&self, batch: &Batch, failure: &CallFailure) -> Error {
        let row = self.input_row(batch.rows.start);
        Error::new(
            Code::ReplayDiffers,
            format!(
                "step \"{}\", lane {}: a call of {} rows and timers that succeeded before now fails: {failure}",
                self.context.graph.id,
                self.lane,
                batch.events()
            ),
        )
        .with_cause(format!("first row of the call: input row {row}"))
    }

    fn run_live(&mut self, deadline_aborts: u32) -> Result<()> {
        let mut calls: Vec<ScriptedCall> = Vec::new();
        let mut failed = false;
        while let Some(batch) = self.next_batch() {
            let fresh = self.instance.is_none();
            match self.call(&batch) {
                Ok(called) => match self.cut(&batch, &called) {
                    Some(events) => self.shorten(events),
                    None => {
                        calls.push(ScriptedCall { rows: batch.events() as u32, fresh, rejected: None });
                        let fuel = called.fuel;
                        self.apply(&batch, called)?;
                        self.pace.widen(batch.events(), fuel);
                    }
                },
                Err(failure) if self.retry(&batch, &failure, fresh) => {}
                Err(failure) => {
                    failed = true;
                    self.split(&batch, failure, deadline_aborts, &mut calls)?;
                }
            }
        }
        if failed {
            let step = self.context.graph.id.clone();
            self.result.script = Some(LaneScript { step, lane: self.lane, calls });
        }
        Ok(())
    }

    /// Finds the record that makes a call fail and rejects it; what comes after it is left to the next call.
    fn split(
        &mut self,
        batch: &Batch,
        failure: CallFailure,
        deadline_aborts: u32,
        calls: &mut Vec<ScriptedCall>,
    ) -> Result<()> {
        self.stop_on(&failure, deadline_aborts)?;
        let mut split = Split::new(batch.events());
        let mut good: Option<Called> = None;
        let mut last = failure;
        loop {
            match split.step() {
                Trial::Prefix { rows } => {
                    self.instance = None;
                    match self.call(&batch.prefix(rows)) {
                        Ok(called) => {
                            good = Some(called);
                            split.report(true);
                        }
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                }
                Trial::Alone { good: before } => {
                    if let Some(called) = good.take() {
                        let prefix = batch.prefix(before);
                        if let Some(events) = self.cut(&prefix, &called) {
                            self.shorten(events);
                            return Ok(());
                        }
                        calls.push(ScriptedCall { rows: before as u32, fresh: true, rejected: None });
                        self.apply(&prefix, called)?;
                        if self.timers.is_some() {
                            // What comes next may be a timer that the prefix set.
                            self.shorten(1);
                            return Ok(());
                        }
                    }
                    self.instance = None;
                    match self.call(&self.alone(batch, before)) {
                        Ok(_) => split.report(true),
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                    self.instance = None;
                }
                Trial::Reject { good: before } => {
                    let alone = self.alone(batch, before);
                    if let Some(due) = alone.starts_with_timer() {
                        return Err(self.failed_timer(due, &last));
                    }
                    self.may_reject(&last)?;
                    let verdict = Verdict { code: last.code().name().to_owned(), reason: last.to_string() };
                    self.reject(alone.rows.start, &verdict);
                    self.pace.found();
                    calls.push(ScriptedCall { rows: 1, fresh: true, rejected: Some(verdict) });
                    return Ok(());
                }
                Trial::NoCulprit { good: before } => {
                    return Err(Error::new(
                        Code::EpochFailed,
                        format!(
                            "step \"{}\", lane {}: a call of {} rows fails ({last}), but row {} after the first {before} does not fail alone",
                            self.context.graph.id,
                            self.lane,
                            batch.events(),
                            before + 1
                        ),
                    )
                    .with_help("the failure depends on several records together: raise the limit that it names, or mend the plugin"));
                }
            }
        }
    }

    /// One event of a batch. With timers only the first is ever asked for.
    fn alone(&self, batch: &Batch, before: usize) -> Batch {
        match batch.starts_with_timer() {
            Some(_) => batch.prefix(1),
            None => Batch::of_rows(batch.rows.start + before..batch.rows.start + before + 1),
        }
    }

    fn failed_timer(&self, due: &Due, failure: &CallFailure) -> Error {
        let key = self.keys.zip(self.timers.as_ref()).map(|((keys, ids), timers)| keys.get(ids[timers.key(due) as usize] as usize));
        Error::new(
            Code::TimerFailed,
            format!(
                "step \"{}\": timer {} for {} of key {} makes a call fail: {failure}",
                self.context.graph.id,
                due.number(),
                time_text(due.time()),
                key.map_or_else(String::new, |key| self.context.key_text(key)),
            ),
        )
        .with_help("a timer cannot be left out like a record: mend the plugin, then go on with --accept-change")
    }

    /// Each rejected record costs about ten calls, and many of them are no poison.
    fn may_reject(&self, last: &CallFailure) -> Result<()> {
        let so_far = self.context.rejections.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far <= REJECTIONS_PER_EPOCH_MAX {
            return Ok(());
        }
        Err(Error::new(
            Code::TooManyRejections,
            format!(
                "step \"{}\": more than {REJECTIONS_PER_EPOCH_MAX} records of one epoch made calls fail; the last: {last}",
                self.context.graph.id
            ),
        )
        .with_help("this is a broken plugin or input, not a poison record, and nothing of the epoch was committed: mend what the last failure names"))
    }

    fn stop_on(&self, failure: &CallFailure, deadline_aborts: u32) -> Result<()> {
        if failure.is_fatal() {
            return Err(Error::new(
                failure.code(),
                format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
            )
            .with_help("nothing of this epoch was committed; mend the plugin, or remove the cause that it names"));
        }
        if !failure.is_deadline() || deadline_aborts >= DEADLINE_ABORTS_MAX {
            return Ok(());
        }
        Err(Error::new(
            Code::DeadlineExpired,
            format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
        )
        .with_help("raise limits.deadline of the step if the machine is slow; else the plugin is stuck"))
    }

    fn input_row(&self, lane_row: usize) -> u32 {
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

    fn reject(&mut self, lane_row: usize, verdict: &Verdict) {
        let row = self.input_row(lane_row);
        let alone = Batch::of_rows(lane_row..lane_row + 1);
        self.forget(&alone);
        self.keep(&alone);
        self.result.rejected.push(Rejected { row, code: verdict.code.clone(), reason: verdict.reason.clone() });
        self.at = lane_row + 1;
    }
}
