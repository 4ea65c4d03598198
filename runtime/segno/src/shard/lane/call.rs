//! One call: its message, its answer, and what becomes of its effects.
//!
//! Owns: the order of keys in a batch, the causes of outputs, state values between calls.
//! Does not own: which events go into the call, what happens when it fails (`lane`).
//!
//! Invariants: an instance whose call failed is dropped. Nothing of the lane changes before `apply`, but what has ended.

use super::timers::{Asked, Place};
use super::{Batch, Fired, LaneRows, LaneRun, Rejected, StepContext};
use arrow_array::ArrayRef;
use segno_core::columns::frame::{BatchMessage, DueTimer, Malformed, PortEffects, RowSet, TableMutations, TimerChange, parse_effects};
use segno_core::columns::key::decode_key;
use segno_core::{Code, Result};
use segno_plugin::{CallFailure, Observed};
use segno_wire::{BatchShape, WireError};

/// Marks a cause that is a timer: the rest of the number is its place among the timers that fired in the lane.
pub const TIMER_CAUSE: u32 = 1 << 31;

/// The outputs of one call on one port; causes are rows of the step's input, or timers of the lane.
pub struct CallOutput {
    pub port: usize,
    pub causes: Vec<u32>,
    pub columns: Vec<ArrayRef>,
}

/// A call that succeeded; its effects are not applied yet.
pub(super) struct Called {
    ports: Vec<PortEffects>,
    mutations: Vec<TableMutations>,
    timers: Vec<TimerChange>,
    rejects: Vec<(u32, String)>,
    observed: Observed,
    pub(super) fuel: u64,
    /// Batch key index to lane key index.
    batch_keys: Vec<u32>,
}

impl StepContext<'_> {
    /// A key as people write it.
    pub(super) fn key_text(&self, key: &[u8]) -> String {
        match decode_key(&self.key_types, key) {
            Some(values) => serde_json::Value::Array(values).to_string(),
            None => hex::encode(key),
        }
    }
}

/// What a message says of its batch.
struct Message<'b> {
    rows: RowSet<'b>,
    row_keys: &'b [u32],
    batch_keys: &'b [u32],
    timers: &'b [DueTimer],
    watermarks: &'b [(u32, i64)],
}

impl<'a> LaneRun<'a> {
    /// One call; the instance is dropped when it fails.
    pub(super) fn call(&mut self, batch: &Batch) -> Result<Called, CallFailure> {
        let context = self.context;
        self.calls_made += 1;
        self.forget(batch);
        let mut batch_keys: Vec<u32> = Vec::new();
        let mut row_keys: Vec<u32> = Vec::new();
        let row_set = match self.rows {
            LaneRows::Ranges(_) => {
                let first = self.input_row(batch.rows.start) as usize;
                RowSet::Range(first..first + batch.rows.len())
            }
            LaneRows::Picked { rows: picked, keys } => {
                if !keys.is_empty() {
                    row_keys.reserve_exact(batch.rows.len());
                    for &key in &keys[batch.rows.clone()] {
                        row_keys.push(self.batch_key(key, &mut batch_keys));
                    }
                }
                RowSet::Take(&picked[batch.rows.clone()])
            }
        };
        let mut due = Vec::with_capacity(batch.timers.len());
        let mut timer_events = Vec::with_capacity(batch.timers.len());
        for (number, (row, timer)) in batch.timers.iter().enumerate() {
            let key = self.timers.as_ref().map_or(0, |timers| timers.key(timer));
            let before = (row - batch.rows.start) as u32;
            let key = self.batch_key(key, &mut batch_keys);
            due.push(DueTimer { before, key, time: timer.time(), number: timer.number(), watermark: timer.moment.instant });
            timer_events.push(before + number as u32);
        }
        let watermarks = if context.graph.timers { self.watermarks(batch) } else { Vec::new() };
        let message = Message {
            rows: row_set,
            row_keys: &row_keys,
            batch_keys: &batch_keys,
            timers: &due,
            watermarks: &watermarks,
        };
        let mut out = std::mem::take(&mut self.message);
        // A journalled call may have had more than a call is given now.
        let fuel = if self.repeating { self.pace.most() } else { self.pace.fuel(batch.events(), self.instance.is_none()) };
        self.write(&mut out, &message)
            .map_err(|error| CallFailure::Engine(format!("the batch cannot be written: {error}")))?;
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(context.program.template.instantiate()?),
        };
        let description = &context.program.template.description;
        let shape = BatchShape { events: batch.events(), timers: &timer_events, keys: batch_keys.len() };
        let outcome = instance.process_within(&out, fuel, |answer| parse_effects(answer, description, &shape, &context.effects_limits));
        self.message = out;
        let observed = instance.take_observed();
        if !matches!(&outcome, Ok(done) if done.value.is_ok()) {
            // The last words before a failure; what the call counted did not happen.
            self.tell(&observed);
        }
        match outcome {
            Ok(done) => {
                self.result.fuel += done.fuel;
                match done.value {
                    Ok(effects) => Ok(Called {
                        ports: effects.ports,
                        mutations: effects.mutations,
                        timers: effects.timers,
                        rejects: effects.rejects,
                        observed,
                        fuel: done.fuel,
                        batch_keys,
                    }),
                    Err(refused) => {
                        self.instance = None;
                        Err(match refused {
                            Malformed::Wire { .. } => CallFailure::malformed(refused.to_string()),
                            Malformed::TooManyBytes { .. } | Malformed::TooManyMutations { .. } => CallFailure::TooMuch(refused.to_string()),
                        })
                    }
                }
            }
            Err(failure) => {
                self.instance = None;
                Err(failure)
            }
        }
    }

    /// Hands on what the plugin logged.
    fn tell(&self, observed: &Observed) {
        for line in &observed.logs {
            tracing::info!(target: "plugin", step = %self.context.graph.id, lane = self.lane, plugin_level = line.level, "{}", line.message);
        }
    }

    /// The index of a key among the batch's, which it joins when it is new.
    fn batch_key(&mut self, key: u32, batch_keys: &mut Vec<u32>) -> u32 {
        let slot = key as usize;
        if self.seen_in[slot] != self.calls_made {
            self.seen_in[slot] = self.calls_made;
            self.index_in[slot] = batch_keys.len() as u32;
            batch_keys.push(key);
        }
        self.index_in[slot]
    }

    fn write(&self, out: &mut Vec<u8>, batch: &Message<'_>) -> Result<(), WireError> {
        let context = self.context;
        let state = &self.result.state;
        let keyed = !context.graph.key.is_empty();
        let sections = 1
            + if keyed { 1 + state.values.len() } else { 0 }
            + usize::from(!batch.timers.is_empty())
            + usize::from(context.times.is_some())
            + usize::from(context.graph.timers);
        let mut message = BatchMessage::new(out, sections);
        message.columns(&context.columns, &context.types, &batch.rows)?;
        if keyed {
            message.row_keys(batch.row_keys)?;
            for (table, values) in state.values.iter().enumerate() {
                message.states(table as u16, batch.batch_keys.iter().map(|&key| values[key as usize].as_deref()))?;
            }
        }
        if !batch.timers.is_empty() {
            message.timers(batch.timers)?;
        }
        if let Some(times) = &context.times {
            message.times(times, &batch.rows)?;
        }
        if context.graph.timers {
            message.watermarks(batch.watermarks)?;
        }
        message.finish()
    }

    /// Where the watermark moves within a batch: (row of the batch, watermark from it on).
    fn watermarks(&self, batch: &Batch) -> Vec<(u32, i64)> {
        let moves = self.context.moves;
        let mut found: Vec<(u32, i64)> = Vec::new();
        let (start, end) = (batch.rows.start, batch.rows.end);
        let mut row = start;
        while row < end {
            let moment = self.moment(row);
            if let Some(watermark) = moves.watermark(moment)
                && found.last().is_none_or(|last| last.1 < watermark)
            {
                found.push(((row - start) as u32, watermark));
            }
            row = match moves.next_after(moment) {
                Some(next) => self.rows_while(row + 1, end, |moment| moment < next),
                None => end,
            };
        }
        found
    }

    /// Where a batch must end, if what it asked for has to happen within it.
    pub(super) fn cut(&self, batch: &Batch, called: &Called) -> Option<usize> {
        let timers = self.timers.as_ref().filter(|_| !called.timers.is_empty())?;
        timers.cut(&self.places(batch), &self.asked(batch, called))
    }

    /// Where each event of a batch stands.
    fn places(&self, batch: &Batch) -> Vec<Place> {
        let mut places = Vec::with_capacity(batch.events());
        let mut rows = batch.rows.clone();
        for (before, due) in &batch.timers {
            places.extend((rows.start..*before).map(|row| Place::Row(self.moment(row))));
            rows.start = *before;
            places.push(Place::Timer(*due));
        }
        places.extend(rows.map(|row| Place::Row(self.moment(row))));
        places
    }

    /// The changes of timers that a call asks for, with the keys of the events that ask.
    fn asked(&self, batch: &Batch, called: &Called) -> Vec<Asked> {
        let LaneRows::Picked { keys, .. } = self.rows else { return Vec::new() };
        let mut timers = batch.timers.iter().enumerate().peekable();
        let mut passed = 0;
        let asked = called.timers.iter().map(|change| {
            let event = change.cause as usize;
            let place = |number: usize, row: usize| row - batch.rows.start + number;
            while timers.next_if(|(number, (row, _))| place(*number, *row) < event).is_some() {
                passed += 1;
            }
            let key = match (timers.peek(), &self.timers) {
                (Some((number, (row, due))), Some(lane)) if place(*number, *row) == event => lane.key(due),
                _ => keys[batch.rows.start + event - passed],
            };
            Asked { event, key, time: change.time, number: change.number, set: change.set }
        });
        asked.collect()
    }

    /// What the call did takes effect, and its events are done.
    pub(super) fn apply(&mut self, batch: &Batch, called: Called) -> Result<()> {
        let timed = self.timers.is_some();
        self.tell(&called.observed);
        for (name, delta) in &called.observed.counters {
            *self.result.counters.entry(name.clone()).or_default() += delta;
        }
        let changes = if called.timers.is_empty() { Vec::new() } else { self.asked(batch, &called) };
        let causes = if timed { self.causes(batch) } else { Vec::new() };
        if timed && !(batch.timers.is_empty() && changes.is_empty()) {
            self.apply_timers(batch, &changes)?;
        }
        // A call on ranges lies within one range, so its rows follow each other.
        let first = if batch.rows.is_empty() { 0 } else { self.input_row(batch.rows.start) };
        let cause_of = |event: u32| match self.rows {
            _ if timed => causes[event as usize],
            LaneRows::Picked { rows: picked, .. } => picked[batch.rows.start + event as usize],
            LaneRows::Ranges(_) => first + event,
        };
        for mut port in called.ports {
            for cause in &mut port.causes {
                *cause = cause_of(*cause);
            }
            self.result.outputs.push(CallOutput { port: port.port, causes: port.causes, columns: port.columns });
        }
        for (event, reason) in called.rejects {
            let row = cause_of(event);
            self.result.rejected.push(Rejected { row, code: Code::RejectedByPlugin.name().to_owned(), reason });
        }
        for mutations in called.mutations {
            let table = mutations.table;
            for (index, value) in mutations.iter() {
                let key = called.batch_keys[index as usize] as usize;
                self.result.state.changed[table][key] = true;
                let slot = &mut self.result.state.values[table][key];
                match (value, slot) {
                    (Some(value), Some(old)) => {
                        old.clear();
                        old.extend_from_slice(value);
                    }
                    (Some(value), slot) => *slot = Some(value.to_vec()),
                    (None, slot) => *slot = None,
                }
            }
        }
        self.keep(batch);
        self.at = batch.rows.end;
        Ok(())
    }

    /// The cause of each event: a row of the step's input, or a timer of the lane.
    fn causes(&self, batch: &Batch) -> Vec<u32> {
        let mut causes = Vec::with_capacity(batch.events());
        let mut rows = batch.rows.clone();
        let fired = self.result.fired.len();
        for (number, (before, _)) in batch.timers.iter().enumerate() {
            causes.extend((rows.start..*before).map(|row| self.input_row(row)));
            rows.start = *before;
            causes.push(TIMER_CAUSE | (fired + number) as u32);
        }
        causes.extend(rows.map(|row| self.input_row(row)));
        causes
    }

    /// Timers fire and change in the order of the events.
    fn apply_timers(&mut self, batch: &Batch, changes: &[Asked]) -> Result<()> {
        let places = self.places(batch);
        let Some(timers) = &mut self.timers else { return Ok(()) };
        let mut changes = changes.iter().peekable();
        for (event, place) in places.iter().enumerate() {
            if let Place::Timer(due) = place {
                timers.fire(due);
                let key = self.keys.map_or(Vec::new(), |(keys, ids)| keys.get(ids[timers.key(due) as usize] as usize).to_vec());
                self.result.fired.push(Fired {
                    moment: due.moment,
                    chain: due.chain,
                    time: due.time(),
                    key,
                    number: due.number(),
                    step: self.context.number,
                });
            }
            while let Some(change) = changes.next_if(|change| change.event == event) {
                timers.change(&self.context.graph.id, place, change)?;
            }
        }
        Ok(())
    }
}
