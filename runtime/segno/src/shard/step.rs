//! One step over the rows of an epoch: rows to lanes, lanes to threads, outputs merged by what caused them.
//!
//! - `merge`: the outputs and changes of all lanes put together
//!
//! Owns: the split of rows and due timers into lanes by key, the loading of state values.
//! Does not own: the calls of a lane (`lane`), the order of steps (`execute`).
//!
//! Invariants: what comes out does not depend on the number of threads. Outputs are ordered by (cause, sequence within
//! the lane), and a row or timer belongs to exactly one lane.

mod merge;

use super::causes::{Causes, Fired};
use super::lane::{LaneResult, LaneRows, LaneRun, LaneState, LaneTimers, Lives, Mode, Rejected, StepContext};
use super::program::StepProgram;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use segno_core::columns::frame::EffectsLimits;
use segno_core::columns::key::{Keys, distinct, encode_keys, lane_of};
use segno_core::columns::schema::column_type;
use segno_core::persisted::{FOR_EVER, LaneScript, Lease, StoredTimer, WITHOUT_VALUE, has_ended, read_living, with_end};
use segno_core::pipeline::graph::GraphStep;
use segno_core::protocol::time::Moves;
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Rows between two steps, in the order of their causes. `lineage` gives the cause of each (`causes`); `None`: row i is
/// input row i.
#[derive(Clone)]
pub struct StreamRows {
    pub batch: RecordBatch,
    pub lineage: Option<Arc<Vec<u32>>>,
}

impl StreamRows {
    pub fn cause(&self, row: usize) -> u32 {
        self.lineage.as_ref().map_or(row as u32, |lineage| lineage[row])
    }
}

/// The state of steps as it was before the epoch.
pub trait StateReader: Sync {
    /// The value of each key `keys[id]` for `id` in `ids`, as it is kept.
    fn get_many(&self, step: &str, table: u16, keys: &Keys, ids: &[u32]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Until when values live that a step kept before it had a time to live; `None`: nobody said so yet.
    fn end_before_ttl(&self, step: &str) -> Result<Option<i64>>;

    /// Whether a step keeps anything in tables of values without an end, of so many tables.
    fn keeps_without_end(&self, step: &str, tables: usize) -> Result<bool>;

    /// The timers whose time is not after `until`, in their order; up to `last`, if that is given.
    fn due_timers(&self, step: &str, until: i64, last: Option<&StoredTimer>) -> Result<Vec<StoredTimer>>;
}

/// What an epoch changed in one keyed step.
pub struct StepChanges {
    pub keys: Keys,
    /// (key, table, new value), in (key bytes, table) order.
    pub changes: Vec<(u32, u16, Option<Vec<u8>>)>,
}

pub struct StepOutcome {
    /// One per port of the graph; `None` for ports that nobody reads.
    pub ports: Vec<Option<StreamRows>>,
    /// In row order.
    pub rejected: Vec<Rejected>,
    pub changes: Option<StepChanges>,
    pub scripts: Vec<LaneScript>,
    pub fuel: u64,
    pub counters: BTreeMap<String, u64>,
    /// In the order in which they fired.
    pub fired: Vec<Fired>,
    /// A timer set one for its own instant, and the epoch ends within it.
    pub chained: bool,
    /// Said for the first time: until when values live that the step kept before it had a time to live.
    pub end_before_ttl: Option<i64>,
}

/// Everything a step run is given.
pub struct StepRun<'a> {
    /// Number of the step.
    pub number: usize,
    pub graph: &'a GraphStep,
    pub program: &'a StepProgram,
    pub rows: &'a StreamRows,
    /// What rows come from, as far as the steps before tell.
    pub causes: Causes<'a>,
    /// How the watermark moves for this step.
    pub moves: Moves,
    /// The last timer that fires, where the epoch ends within an instant of this step.
    pub last: Option<StoredTimer>,
    pub state: &'a dyn StateReader,
    pub batch_rows: u32,
    pub threads: usize,
    pub rejections: &'a AtomicU32,
}

impl StepRun<'_> {
    pub fn run(&self, mode: Mode<'_>) -> Result<StepOutcome> {
        let mut rejected = Vec::new();
        let admitted = self.admit(&mut rejected);
        let rows = admitted.as_ref().map_or(self.rows.batch.num_rows(), Vec::len);
        let (lanes, keys) = if self.graph.key.is_empty() {
            (self.unkeyed_lanes(rows, admitted), None)
        } else {
            let (lanes, keys) = self.keyed_lanes(admitted)?;
            (lanes, Some(keys))
        };
        let batch = &self.rows.batch;
        let key_types = self.graph.key.iter().filter_map(|&column| column_type(batch.column(column).data_type()));
        let context = StepContext {
            number: self.number,
            graph: self.graph,
            program: self.program,
            key_types: key_types.collect(),
            causes: self.causes,
            moves: &self.moves,
            lineage: self.rows.lineage.clone(),
            columns: self.graph.reads.iter().map(|&column| Arc::clone(self.rows.batch.column(column))).collect(),
            types: self.graph.read_schema.columns.iter().map(|column| column.ty).collect(),
            times: self.graph.wants_event_time.then(|| self.times_of_rows()),
            batch_rows: self.batch_rows,
            rejections: self.rejections,
            effects_limits: EffectsLimits {
                output_bytes: self.program.limits.output_bytes,
                mutations: self.program.limits.mutations,
            },
        };
        let living = self.living()?;
        let results = self.run_lanes(&context, &lanes, keys.as_ref(), living.as_ref(), mode)?;
        let mut outcome = self.merge(&context, results, keys, rejected)?;
        outcome.end_before_ttl = living.filter(|living| living.is_new).map(|living| living.end_before);
        Ok(outcome)
    }

    /// `None`: values have no end, and never had one. What the step kept before it had a time to live ends so long behind the watermark
    /// of the epoch in which that is seen first.
    fn living(&self) -> Result<Option<Living>> {
        if self.graph.tables.is_empty() {
            return Ok(None);
        }
        let known = self.state.end_before_ttl(&self.graph.id)?;
        let Some(ttl) = self.graph.ttl else {
            return Ok(known.map(|end_before| Living { ttl: FOR_EVER, end_before, is_new: false }));
        };
        if let Some(end_before) = known {
            return Ok(Some(Living { ttl, end_before, is_new: false }));
        }
        if !self.state.keeps_without_end(&self.graph.id, self.graph.tables.len())? {
            return Ok(Some(Living { ttl, end_before: Lease::NONE.end, is_new: true }));
        }
        // Without a watermark nothing ends yet.
        let end = self.moves.before().map(|watermark| watermark.saturating_add(ttl));
        Ok(Some(Living { ttl, end_before: end.unwrap_or(FOR_EVER), is_new: end.is_some() }))
    }

    /// Rows without null in the columns that the plugin declares not nullable; the others are rejected here. `None`: all.
    fn admit(&self, rejected: &mut Vec<Rejected>) -> Option<Vec<u32>> {
        let batch = &self.rows.batch;
        let strict: Vec<(usize, &str)> = self
            .graph
            .reads
            .iter()
            .zip(&self.graph.read_schema.columns)
            .filter(|(column, declared)| !declared.nullable && batch.column(**column).null_count() > 0)
            .map(|(column, declared)| (*column, declared.name.as_str()))
            .collect();
        if strict.is_empty() {
            return None;
        }
        let mut admitted = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            match strict.iter().find(|(column, _)| batch.column(*column).is_null(row)) {
                None => admitted.push(row as u32),
                Some((_, name)) => rejected.push(Rejected {
                    row: row as u32,
                    code: Code::FieldNull.name().to_owned(),
                    reason: format!("column \"{name}\" is null, and step \"{}\" reads it as not nullable", self.graph.id),
                }),
            }
        }
        Some(admitted)
    }

    fn times_of_rows(&self) -> ArrayRef {
        let time = |row: usize| self.causes.time(self.rows.cause(row)).unwrap_or_default();
        let times: Vec<i64> = (0..self.rows.batch.num_rows()).map(time).collect();
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    }

    /// Batches go round the lanes, so that a lane's calls are fixed by the rows alone.
    fn unkeyed_lanes(&self, rows: usize, admitted: Option<Vec<u32>>) -> Vec<LaneRows> {
        let lanes = self.graph.lanes.max(1) as usize;
        let step = self.batch_rows.max(1) as usize;
        if let Some(admitted) = admitted {
            let mut picked = vec![Vec::new(); lanes];
            for (number, batch) in admitted.chunks(step).enumerate() {
                picked[number % lanes].extend_from_slice(batch);
            }
            return picked.into_iter().map(|rows| LaneRows::Picked { rows, keys: Vec::new() }).collect();
        }
        let mut ranges = vec![Vec::new(); lanes];
        for (number, from) in (0..rows).step_by(step).enumerate() {
            ranges[number % lanes].push(from as u32..(from + step).min(rows) as u32);
        }
        ranges.into_iter().map(LaneRows::Ranges).collect()
    }

    fn keyed_lanes(&self, admitted: Option<Vec<u32>>) -> Result<(Vec<LaneRows>, LaneKeys)> {
        let lanes = self.graph.lanes.max(1);
        let rows = self.rows.batch.num_rows();
        let columns: Vec<ArrayRef> =
            self.graph.key.iter().map(|&column| Arc::clone(self.rows.batch.column(column))).collect();
        let mut keys = encode_keys(&columns, rows);
        let due = self.due_timers()?;
        for timer in &due {
            keys.push(&timer.key);
        }
        let found = distinct(&keys);
        // Distinct keys by number; `place` says where each lives: its lane and its index there.
        let distinct_keys = keys.gather(&found.first_rows);
        let mut by_lane: Vec<Vec<u32>> = vec![Vec::new(); lanes as usize];
        let place: Vec<(u32, u32)> = (0..found.first_rows.len() as u32)
            .map(|id| {
                let lane = lane_of(distinct_keys.get(id as usize), lanes);
                let list = &mut by_lane[lane as usize];
                list.push(id);
                (lane, list.len() as u32 - 1)
            })
            .collect();
        let mut picked: Vec<(Vec<u32>, Vec<u32>)> = vec![Default::default(); lanes as usize];
        let mut put = |row: u32| {
            let (lane, index) = place[found.row_keys[row as usize] as usize];
            let (rows, keys) = &mut picked[lane as usize];
            rows.push(row);
            keys.push(index);
        };
        match admitted {
            Some(admitted) => admitted.into_iter().for_each(&mut put),
            None => (0..rows as u32).for_each(&mut put),
        }
        let mut timers: Vec<Vec<(u32, i64, u32)>> = vec![Vec::new(); lanes as usize];
        for (timer, &key) in due.iter().zip(&found.row_keys[rows..]) {
            let (lane, index) = place[key as usize];
            timers[lane as usize].push((index, timer.time, timer.number));
        }
        let lanes = picked.into_iter().map(|(rows, keys)| LaneRows::Picked { rows, keys }).collect();
        Ok((lanes, LaneKeys { keys: distinct_keys, by_lane, timers }))
    }

    /// The stored timers that fire in this epoch.
    fn due_timers(&self) -> Result<Vec<StoredTimer>> {
        match self.moves.last() {
            // Timers fire when the watermark moves.
            Some(until) if self.graph.timers && self.moves.before() < Some(until) => {
                self.state.due_timers(&self.graph.id, until, self.last.as_ref())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn run_lanes(
        &self,
        context: &StepContext<'_>,
        lanes: &[LaneRows],
        keys: Option<&LaneKeys>,
        living: Option<&Living>,
        mode: Mode<'_>,
    ) -> Result<Vec<LaneResult>> {
        let is_due = |lane: usize| keys.is_some_and(|keys| !keys.timers[lane].is_empty());
        let busy: Vec<usize> = (0..lanes.len()).filter(|&lane| lanes[lane].len() > 0 || is_due(lane)).collect();
        let run_one = |lane: usize| -> Result<LaneResult> {
            let state = self.load_state(lane, keys, living)?;
            let of_lane = keys.map(|keys| (&keys.keys, keys.by_lane[lane].as_slice()));
            let timers = keys.filter(|_| self.graph.timers).map(|keys| {
                LaneTimers::new(&self.moves, self.last.as_ref(), &keys.keys, &keys.by_lane[lane], &keys.timers[lane])
            });
            LaneRun::new(context, lane as u32, &lanes[lane], state, of_lane, timers).run(mode)
        };
        let threads = self.threads.min(busy.len());
        let results: Vec<Result<LaneResult>> = if threads <= 1 {
            busy.iter().map(|&lane| run_one(lane)).collect()
        } else {
            let next = AtomicUsize::new(0);
            let done: Mutex<Vec<Option<Result<LaneResult>>>> = Mutex::new(busy.iter().map(|_| None).collect());
            // Lines of the threads belong to the epoch as well.
            let span = tracing::Span::current();
            let work = || {
                let _inside = span.enter();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&lane) = busy.get(at) else { return };
                    let result = run_one(lane);
                    done.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[at] = Some(result);
                }
            };
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    // Where a thread cannot start, this one works in its place.
                    if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                        work();
                    }
                }
            });
            let done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            done.into_iter()
                .map(|result| {
                    result.unwrap_or_else(|| Err(Error::new(Code::Internal, "a lane's thread ended without a result")))
                })
                .collect()
        };
        let mut all: Vec<LaneResult> = (0..lanes.len()).map(|_| LaneResult::default()).collect();
        for (lane, result) in busy.into_iter().zip(results) {
            all[lane] = result?;
        }
        Ok(all)
    }

    fn load_state(&self, lane: usize, keys: Option<&LaneKeys>, living: Option<&Living>) -> Result<LaneState> {
        let Some(keys) = keys else { return Ok(LaneState::default()) };
        let ids = &keys.by_lane[lane];
        let mut state = LaneState::default();
        let mut lives = living.map(|living| Lives { ttl: living.ttl, leases: vec![Lease::NONE; ids.len()], ..Lives::default() });
        for table in 0..self.graph.tables.len() as u16 {
            let values = match (&mut lives, living) {
                (Some(lives), Some(living)) => self.load_living(table, &keys.keys, ids, living.end_before, lives)?,
                _ => self.state.get_many(&self.graph.id, table, &keys.keys, ids)?,
            };
            state.values.push(values);
            state.changed.push(vec![false; ids.len()]);
        }
        if let Some(lives) = &mut lives {
            self.load_without_value(&keys.keys, ids, &state.values, lives)?;
            lives.stored.clone_from(&lives.leases);
        }
        state.lives = lives;
        Ok(state)
    }

    /// What has ended before this epoch is not there: it may have been removed, and nothing may depend on that.
    fn load_living(&self, table: u16, keys: &Keys, ids: &[u32], end_before: i64, lives: &mut Lives) -> Result<Vec<Option<Vec<u8>>>> {
        let mut values = Vec::with_capacity(ids.len());
        for (at, bytes) in self.state.get_many(&self.graph.id, with_end(table), keys, ids)?.into_iter().enumerate() {
            let value = match bytes.as_deref().map(read_living) {
                None => None,
                Some(Some((lease, value))) if self.is_there(lease.end) => {
                    lives.leases[at] = lease;
                    Some(value.to_vec())
                }
                Some(Some(_)) => None,
                Some(None) => return Err(Error::new(Code::StateDamaged, format!("a value of step \"{}\" has no end", self.graph.id))),
            };
            values.push(value);
        }
        let mut without_end = vec![false; ids.len()];
        if end_before != Lease::NONE.end && self.is_there(end_before) {
            let missing: Vec<usize> = (0..ids.len()).filter(|&at| values[at].is_none()).collect();
            let of_missing: Vec<u32> = missing.iter().map(|&at| ids[at]).collect();
            for (at, value) in missing.into_iter().zip(self.state.get_many(&self.graph.id, table, keys, &of_missing)?) {
                if value.is_some() {
                    // That of a value with an end, if the key has one: a record gave it.
                    if lives.leases[at] == Lease::NONE {
                        lives.leases[at] = Lease { end: end_before, ttl: 0 };
                    }
                    without_end[at] = true;
                    values[at] = value;
                }
            }
        }
        lives.without_end.push(without_end);
        Ok(values)
    }

    /// The leases of keys that have no value.
    fn load_without_value(&self, keys: &Keys, ids: &[u32], values: &[Vec<Option<Vec<u8>>>], lives: &mut Lives) -> Result<()> {
        let missing: Vec<usize> = (0..ids.len()).filter(|&at| values.iter().all(|table| table[at].is_none())).collect();
        if lives.ttl == FOR_EVER {
            // What comes now is kept, whatever ended before.
            missing.into_iter().for_each(|at| lives.leases[at] = Lease::FOR_EVER);
            return Ok(());
        }
        let of_missing: Vec<u32> = missing.iter().map(|&at| ids[at]).collect();
        for (at, bytes) in missing.into_iter().zip(self.state.get_many(&self.graph.id, WITHOUT_VALUE, keys, &of_missing)?) {
            if let Some((lease, _)) = bytes.as_deref().and_then(read_living).filter(|(lease, _)| self.is_there(lease.end)) {
                lives.leases[at] = lease;
            }
        }
        Ok(())
    }

    fn is_there(&self, end: i64) -> bool {
        self.moves.before().is_none_or(|watermark| !has_ended(end, watermark))
    }
}

/// How long the values of a step live.
struct Living {
    /// µs.
    ttl: i64,
    /// When values end that it kept before it had a time to live; that of `Lease::NONE`: there are none.
    end_before: i64,
    /// Said for the first time.
    is_new: bool,
}

/// The distinct keys of an epoch's rows, and which of them each lane holds.
struct LaneKeys {
    keys: Keys,
    by_lane: Vec<Vec<u32>>,
    /// Due timers by lane: (lane's number of the key, time, number).
    timers: Vec<Vec<(u32, i64, u32)>>,
}
