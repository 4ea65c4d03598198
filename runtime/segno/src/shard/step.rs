//! One step over the rows of an epoch: rows to lanes, lanes to threads, outputs merged by the row that caused them.
//!
//! Owns: the split of rows into lanes by key, the loading of state values, the merge of the lanes' outputs.
//! Does not own: the calls of a lane (`lane`), the order of steps (`execute`).
//!
//! Invariants: what comes out does not depend on the number of threads. Outputs are ordered by (cause, sequence within
//! the lane), and a row belongs to exactly one lane.

use super::lane::{CallOutput, LaneResult, LaneRows, LaneRun, LaneState, Mode, Rejected, StepContext};
use super::program::StepProgram;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use segno_core::columns::frame::EffectsLimits;
use segno_core::columns::key::{Keys, distinct, encode_keys, lane_of};
use segno_core::persisted::LaneScript;
use segno_core::pipeline::graph::{GraphPort, GraphStep};
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Rows between two steps. `lineage` gives the epoch's input row that each comes from; `None`: row i is input row i.
#[derive(Clone)]
pub struct StreamRows {
    pub batch: RecordBatch,
    pub lineage: Option<Arc<Vec<u32>>>,
}

impl StreamRows {
    pub fn origin_row(&self, row: usize) -> u32 {
        self.lineage.as_ref().map_or(row as u32, |lineage| lineage[row])
    }
}

/// The values of a step's keys as they were before the epoch.
pub trait StateReader: Sync {
    /// The value of each key `keys[id]` for `id` in `ids`.
    fn get_many(&self, step: &str, table: u16, keys: &Keys, ids: &[u32]) -> Result<Vec<Option<Vec<u8>>>>;
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
}

/// Everything a step run is given.
pub struct StepRun<'a> {
    pub graph: &'a GraphStep,
    pub program: &'a StepProgram,
    pub rows: &'a StreamRows,
    /// Event times of the epoch's input rows; empty without event time.
    pub times: &'a [i64],
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
        let context = StepContext {
            graph: self.graph,
            program: self.program,
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
        let results = self.run_lanes(&context, &lanes, keys.as_ref(), mode)?;
        self.merge(results, keys, rejected)
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
        let rows = self.rows.batch.num_rows();
        let times: Vec<i64> = match (self.times.is_empty(), &self.rows.lineage) {
            (true, _) => vec![0; rows],
            (false, None) => self.times.to_vec(),
            (false, Some(lineage)) => lineage.iter().map(|&row| self.times[row as usize]).collect(),
        };
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
        let columns: Vec<ArrayRef> =
            self.graph.key.iter().map(|&column| Arc::clone(self.rows.batch.column(column))).collect();
        let keys = encode_keys(&columns, self.rows.batch.num_rows());
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
            None => (0..self.rows.batch.num_rows() as u32).for_each(&mut put),
        }
        let lanes = picked.into_iter().map(|(rows, keys)| LaneRows::Picked { rows, keys }).collect();
        Ok((lanes, LaneKeys { keys: distinct_keys, by_lane }))
    }

    fn run_lanes(
        &self,
        context: &StepContext<'_>,
        lanes: &[LaneRows],
        keys: Option<&LaneKeys>,
        mode: Mode<'_>,
    ) -> Result<Vec<LaneResult>> {
        let busy: Vec<usize> = (0..lanes.len()).filter(|&lane| lanes[lane].len() > 0).collect();
        let run_one = |lane: usize| -> Result<LaneResult> {
            let state = self.load_state(lane, keys)?;
            LaneRun::new(context, lane as u32, &lanes[lane], state).run(mode)
        };
        let threads = self.threads.min(busy.len());
        let results: Vec<Result<LaneResult>> = if threads <= 1 {
            busy.iter().map(|&lane| run_one(lane)).collect()
        } else {
            let next = AtomicUsize::new(0);
            let done: Mutex<Vec<Option<Result<LaneResult>>>> = Mutex::new(busy.iter().map(|_| None).collect());
            // Lines of the threads belong to the epoch as well.
            let span = tracing::Span::current();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        let _inside = span.enter();
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let Some(&lane) = busy.get(at) else { return };
                            let result = run_one(lane);
                            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[at] = Some(result);
                        }
                    });
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

    fn load_state(&self, lane: usize, keys: Option<&LaneKeys>) -> Result<LaneState> {
        let Some(keys) = keys else { return Ok(LaneState::default()) };
        let ids = &keys.by_lane[lane];
        let mut state = LaneState::default();
        for table in 0..self.graph.tables.len() {
            state.values.push(self.state.get_many(&self.graph.id, table as u16, &keys.keys, ids)?);
            state.changed.push(vec![false; ids.len()]);
        }
        Ok(state)
    }

    fn merge(
        &self,
        results: Vec<LaneResult>,
        keys: Option<LaneKeys>,
        mut rejected: Vec<Rejected>,
    ) -> Result<StepOutcome> {
        let mut outputs: Vec<Vec<CallOutput>> = self.graph.outputs.iter().map(|_| Vec::new()).collect();
        let mut outcome = StepOutcome {
            ports: Vec::new(),
            rejected: Vec::new(),
            changes: None,
            scripts: Vec::new(),
            fuel: 0,
            counters: BTreeMap::new(),
        };
        let mut changes = Vec::new();
        for (lane, result) in results.into_iter().enumerate() {
            for output in result.outputs {
                if !output.causes.is_empty() {
                    outputs[output.port].push(output);
                }
            }
            rejected.extend(result.rejected);
            outcome.scripts.extend(result.script);
            outcome.fuel += result.fuel;
            for (name, delta) in result.counters {
                *outcome.counters.entry(name).or_default() += delta;
            }
            if let Some(keys) = &keys {
                for (table, (values, changed)) in result.state.values.into_iter().zip(result.state.changed).enumerate() {
                    for (index, (value, changed)) in values.into_iter().zip(changed).enumerate() {
                        if changed {
                            changes.push((keys.by_lane[lane][index], table as u16, value));
                        }
                    }
                }
            }
        }
        rejected.sort_by_key(|one| one.row);
        outcome.rejected = rejected;
        if let Some(keys) = keys {
            changes.sort_by(|a, b| {
                keys.keys.get(a.0 as usize).cmp(keys.keys.get(b.0 as usize)).then(a.1.cmp(&b.1))
            });
            outcome.changes = Some(StepChanges { keys: keys.keys, changes });
        }
        for (port, calls) in self.graph.outputs.iter().zip(outputs) {
            outcome.ports.push(if port.used { Some(self.merge_port(port, calls)?) } else { None });
        }
        Ok(outcome)
    }

    fn merge_port(&self, port: &GraphPort, mut calls: Vec<CallOutput>) -> Result<StreamRows> {
        let failed = |error: arrow_schema::ArrowError| {
            Error::new(Code::Internal, "the outputs of a step could not be merged").with_cause(error)
        };
        calls.sort_by_key(|call| call.causes[0]);
        let in_order = calls.windows(2).all(|pair| pair[0].causes.last() < pair[1].causes.first());
        let (causes, added) = if in_order {
            let causes: Vec<u32> = calls.iter().flat_map(|call| call.causes.iter().copied()).collect();
            let mut added = Vec::with_capacity(port.added.len());
            for &column in &port.added {
                added.push(match calls.as_slice() {
                    [] => arrow_array::new_empty_array(&segno_core::columns::schema::arrow_type(
                        port.declared.columns[column].ty,
                    )),
                    [only] => Arc::clone(&only.columns[column]),
                    many => {
                        let parts: Vec<&dyn Array> = many.iter().map(|call| call.columns[column].as_ref()).collect();
                        concat(&parts).map_err(failed)?
                    }
                });
            }
            (causes, added)
        } else {
            let order = order_by_cause(&calls, self.rows.batch.num_rows());
            let causes = order.iter().map(|&(call, row)| calls[call].causes[row]).collect();
            let mut added = Vec::with_capacity(port.added.len());
            for &column in &port.added {
                let parts: Vec<&dyn Array> = calls.iter().map(|call| call.columns[column].as_ref()).collect();
                added.push(interleave(&parts, &order).map_err(failed)?);
            }
            (causes, added)
        };
        let identity = causes.len() == self.rows.batch.num_rows()
            && causes.iter().enumerate().all(|(row, &cause)| row as u32 == cause);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(port.carried.len() + added.len());
        let mut lineage = self.rows.lineage.clone();
        if identity {
            columns.extend(port.carried.iter().map(|&column| Arc::clone(self.rows.batch.column(column))));
        } else {
            let origin = match &self.rows.lineage {
                Some(lineage) => causes.iter().map(|&cause| lineage[cause as usize]).collect(),
                None => causes.clone(),
            };
            lineage = Some(Arc::new(origin));
            let indices = UInt32Array::from(causes);
            for &column in &port.carried {
                columns.push(take(self.rows.batch.column(column), &indices, None).map_err(failed)?);
            }
        }
        columns.extend(added);
        let rows = lineage.as_ref().map_or(self.rows.batch.num_rows(), |lineage| lineage.len());
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(port.schema.to_arrow(), columns, &options).map_err(failed)?;
        Ok(StreamRows { batch, lineage })
    }
}

/// The distinct keys of an epoch's rows, and which of them each lane holds.
struct LaneKeys {
    keys: Keys,
    by_lane: Vec<Vec<u32>>,
}

/// (call, row) in the order of causes: a counting sort, since each cause belongs to one call.
fn order_by_cause(calls: &[CallOutput], input_rows: usize) -> Vec<(usize, usize)> {
    let mut starts = vec![0u32; input_rows + 1];
    for call in calls {
        for &cause in &call.causes {
            starts[cause as usize + 1] += 1;
        }
    }
    for row in 0..input_rows {
        starts[row + 1] += starts[row];
    }
    let total = starts[input_rows] as usize;
    let mut order = vec![(0, 0); total];
    for (number, call) in calls.iter().enumerate() {
        for (row, &cause) in call.causes.iter().enumerate() {
            let at = &mut starts[cause as usize];
            order[*at as usize] = (number, row);
            *at += 1;
        }
    }
    order
}
