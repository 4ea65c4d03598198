//! One lane of a step through one epoch: calls on an instance, effects applied between calls, failing calls split.
//!
//! - `batch`: which events a call takes
//! - `call`: the message of a call, its answer, what becomes of its effects
//! - `failed`: a call that fails: which record it is, and whether it is rejected
//! - `pace`: how many events a call takes, and how much fuel it gets
//! - `lives`: time to live: which keys are forgotten before which event
//! - `timers`: due timers in the order in which they fire
//!
//! Owns: the order of a lane's calls, live and on replay; what a lane gives back.
//! Does not own: which rows belong to the lane (`step`), what becomes of rejected records (`execute`).
//!
//! Invariants: a lane starts with a fresh instance. Effects of a failed call are never applied. On replay the
//! journalled calls are made again, and nothing is decided anew.
//!
//! The events of a lane are its rows and its due timers, in the order in which they happen. A call takes several of them.
//! Where a call sets a timer that is due before the last event of that same call, its effects are thrown away and it is
//! made again with fewer events, on a fresh instance: so batches leave no trace. The same where its events use more together than
//! one alone may; so that this is rare, a lane begins with a short call and learns from each what an event costs.

mod batch;
mod call;
mod failed;
mod lives;
mod pace;
mod timers;

use batch::Batch;
pub use call::{CallOutput, TIMER_CAUSE};
pub use failed::DEADLINE_ABORTS_MAX;
pub use lives::Lives;
pub use timers::{Due, LaneTimers};

use super::causes::{Causes, Fired};
use super::program::StepProgram;
use arrow_array::ArrayRef;
use pace::Pace;
use segno_core::columns::ColumnType;
use segno_core::columns::frame::EffectsLimits;
use segno_core::columns::key::Keys;
use segno_core::persisted::{LaneScript, ScriptedCall, Verdict};
use segno_core::pipeline::graph::GraphStep;
use segno_core::protocol::time::{Moment, Moves};
use segno_core::{Code, Error, Result};
use segno_plugin::{CallFailure, Instance};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

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
    /// Journalled calls are made again.
    repeating: bool,
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
            repeating: false,
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
        self.repeating = true;
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

    fn reject(&mut self, lane_row: usize, verdict: &Verdict) {
        let row = self.input_row(lane_row);
        let alone = Batch::of_rows(lane_row..lane_row + 1);
        self.forget(&alone);
        self.keep(&alone);
        self.result.rejected.push(Rejected { row, code: verdict.code.clone(), reason: verdict.reason.clone() });
        self.at = lane_row + 1;
    }
}
