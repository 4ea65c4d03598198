//! The outputs and changes of all lanes of a step put together.
//!
//! Owns: the order of outputs, the columns that are carried, the changes of state and timers in the order of their keys.
//! Does not own: running lanes (`super`).
//!
//! Invariants: outputs stand in the order of the events that caused them; an event belongs to one lane, so the order of
//! a lane's rows for one event is kept. Without timers an event is a row.

use super::{LaneKeys, StepChanges, StepOutcome, StepRun, StreamRows};
use crate::shard::causes::Fired;
use crate::shard::lane::{CallOutput, LaneResult, LaneState, Lives, Rejected, StepContext, TIMER_CAUSE};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use segno_core::columns::key::decode_columns;
use segno_core::columns::schema::arrow_type;
use segno_core::persisted::{Lease, TIMERS_TABLE, WITHOUT_VALUE, timer_key, with_end, write_living};
use segno_core::pipeline::graph::GraphPort;
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The changes of a key with an end: of values, also where only their end moved; of the end alone, where there is no value.
fn living(changes: &mut Vec<(u32, u16, Option<Vec<u8>>)>, key: u32, lives: &Lives, state: &LaneState, index: usize) {
    let lease = lives.leases[index];
    if lease == Lease::NONE {
        // What timers wrote of a key that is over.
        return;
    }
    let moved = lease != lives.stored[index];
    let (mut has_value, mut deleted) = (false, false);
    for (table, (values, changed)) in state.values.iter().zip(&state.changed).enumerate() {
        let value = values[index].as_deref();
        has_value |= value.is_some();
        if !(changed[index] || moved && value.is_some()) {
            continue;
        }
        deleted |= value.is_none();
        // A value is in one of the two tables.
        if lives.without_end[table][index] {
            changes.push((key, table as u16, None));
        }
        if value.is_some() || !lives.without_end[table][index] {
            changes.push((key, with_end(table as u16), value.map(|value| write_living(lease, value))));
        }
    }
    if !has_value && (moved || deleted) && lease != Lease::FOR_EVER {
        changes.push((key, WITHOUT_VALUE, Some(write_living(lease, b""))));
    }
}

/// Rows and fired timers of a step in one order.
struct Events {
    /// Row, or `TIMER_CAUSE` and the place among the fired timers of the step, by number of the event.
    codes: Vec<u32>,
    /// The number of the event of each row.
    rows: Vec<u32>,
    /// The number of the event of each fired timer, by lane and place within the lane.
    timers: Vec<Vec<u32>>,
    /// The columns of the key of each fired timer.
    keys: Vec<ArrayRef>,
}

fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::new(Code::Internal, "the outputs of a step could not be merged").with_cause(error)
}

impl StepRun<'_> {
    pub(super) fn merge(
        &self,
        context: &StepContext<'_>,
        mut results: Vec<LaneResult>,
        keys: Option<LaneKeys>,
        mut rejected: Vec<Rejected>,
    ) -> Result<StepOutcome> {
        let (fired, events) = self.events(context, &mut results)?;
        let mut outputs: Vec<Vec<CallOutput>> = self.graph.outputs.iter().map(|_| Vec::new()).collect();
        let mut outcome = StepOutcome {
            ports: Vec::new(),
            rejected: Vec::new(),
            changes: None,
            scripts: Vec::new(),
            fuel: 0,
            counters: BTreeMap::new(),
            fired,
            chained: false,
            end_before_ttl: None,
        };
        let mut changes = Vec::new();
        let mut keys = keys;
        for (lane, result) in results.into_iter().enumerate() {
            for mut output in result.outputs {
                if let Some(events) = &events {
                    output.causes.iter_mut().for_each(|cause| *cause = events.number(lane, *cause));
                }
                if !output.causes.is_empty() {
                    outputs[output.port].push(output);
                }
            }
            rejected.extend(result.rejected);
            outcome.scripts.extend(result.script);
            outcome.fuel += result.fuel;
            outcome.chained |= result.chained;
            for (name, delta) in result.counters {
                *outcome.counters.entry(name).or_default() += delta;
            }
            if let Some(keys) = &mut keys {
                let of_lane = &keys.by_lane[lane];
                match &result.state.lives {
                    None => {
                        for (table, (values, changed)) in result.state.values.into_iter().zip(result.state.changed).enumerate() {
                            for (index, (value, changed)) in values.into_iter().zip(changed).enumerate() {
                                if changed {
                                    changes.push((of_lane[index], table as u16, value));
                                }
                            }
                        }
                    }
                    Some(lives) => (0..of_lane.len()).for_each(|index| living(&mut changes, of_lane[index], lives, &result.state, index)),
                }
                for (key, time, number, set) in result.timer_changes {
                    let timer = timer_key(time, keys.keys.get(keys.by_lane[lane][key as usize] as usize), number);
                    changes.push((keys.keys.push(&timer), TIMERS_TABLE, set.then(Vec::new)));
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
            outcome.ports.push(if port.used { Some(self.merge_port(port, calls, events.as_ref())?) } else { None });
        }
        Ok(outcome)
    }

    /// The timers that fired in all lanes, in their order, and their places between the rows. `None`: none fired.
    fn events(&self, context: &StepContext<'_>, results: &mut [LaneResult]) -> Result<(Vec<Fired>, Option<Events>)> {
        let mut fired: Vec<(Fired, usize, usize)> = Vec::new();
        for (lane, result) in results.iter_mut().enumerate() {
            let of_lane = std::mem::take(&mut result.fired);
            fired.extend(of_lane.into_iter().enumerate().map(|(place, one)| (one, lane, place)));
        }
        if fired.is_empty() {
            return Ok((Vec::new(), None));
        }
        fired.sort();
        let count = self.rows.batch.num_rows();
        let mut events = Events {
            codes: Vec::with_capacity(count + fired.len()),
            rows: Vec::with_capacity(count),
            timers: vec![Vec::new(); results.len()],
            keys: Vec::new(),
        };
        for (place, (timer, lane, _)) in fired.iter().enumerate() {
            // Rows of the timer's own instant come first.
            while events.rows.len() < count && context.moment(events.rows.len() as u32) <= timer.moment {
                events.push_row();
            }
            events.timers[*lane].push(events.codes.len() as u32);
            events.codes.push(TIMER_CAUSE | place as u32);
        }
        while events.rows.len() < count {
            events.push_row();
        }
        if self.graph.outputs.iter().any(|port| port.used && port.per_key) {
            let keys = fired.iter().map(|(timer, _, _)| timer.key.as_slice());
            events.keys = decode_columns(&context.key_types, keys)
                .ok_or_else(|| Error::new(Code::Internal, "the key of a timer cannot be read back"))?;
        }
        Ok((fired.into_iter().map(|(timer, _, _)| timer).collect(), Some(events)))
    }

    fn merge_port(&self, port: &GraphPort, mut calls: Vec<CallOutput>, events: Option<&Events>) -> Result<StreamRows> {
        calls.sort_by_key(|call| call.causes[0]);
        let in_order = calls.windows(2).all(|pair| pair[0].causes.last() < pair[1].causes.first());
        let (causes, added) = if in_order {
            let causes: Vec<u32> = calls.iter().flat_map(|call| call.causes.iter().copied()).collect();
            let mut added = Vec::with_capacity(port.added.len());
            for &column in &port.added {
                added.push(match calls.as_slice() {
                    [] => arrow_array::new_empty_array(&arrow_type(port.declared.columns[column].ty)),
                    [only] => Arc::clone(&only.columns[column]),
                    many => {
                        let parts: Vec<&dyn Array> = many.iter().map(|call| call.columns[column].as_ref()).collect();
                        concat(&parts).map_err(failed)?
                    }
                });
            }
            (causes, added)
        } else {
            let order = order_by_cause(&calls, events.map_or(self.rows.batch.num_rows(), |events| events.codes.len()));
            let causes = order.iter().map(|&(call, row)| calls[call].causes[row]).collect();
            let mut added = Vec::with_capacity(port.added.len());
            for &column in &port.added {
                let parts: Vec<&dyn Array> = calls.iter().map(|call| call.columns[column].as_ref()).collect();
                added.push(interleave(&parts, &order).map_err(failed)?);
            }
            (causes, added)
        };
        let (mut columns, lineage) = match events {
            None => self.carry(port, causes)?,
            Some(events) => self.carry_with_timers(port, &causes, events)?,
        };
        columns.extend(added);
        let rows = lineage.as_ref().map_or(self.rows.batch.num_rows(), |lineage| lineage.len());
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(port.schema.to_arrow(), columns, &options).map_err(failed)?;
        Ok(StreamRows { batch, lineage })
    }

    /// The carried columns of rows that rows caused, and their lineage.
    fn carry(&self, port: &GraphPort, causes: Vec<u32>) -> Result<(Vec<ArrayRef>, Option<Arc<Vec<u32>>>)> {
        let batch = &self.rows.batch;
        let identity =
            causes.len() == batch.num_rows() && causes.iter().enumerate().all(|(row, &cause)| row as u32 == cause);
        if identity {
            let columns = port.carried.iter().map(|&column| Arc::clone(batch.column(column))).collect();
            return Ok((columns, self.rows.lineage.clone()));
        }
        let lineage = match &self.rows.lineage {
            Some(lineage) => causes.iter().map(|&cause| lineage[cause as usize]).collect(),
            None => causes.clone(),
        };
        let indices = UInt32Array::from(causes);
        let carried = port.carried.iter().map(|&column| take(batch.column(column), &indices, None).map_err(failed));
        Ok((carried.collect::<Result<_>>()?, Some(Arc::new(lineage))))
    }

    /// The same of rows that rows and timers caused: timers have columns of their key only.
    fn carry_with_timers(
        &self,
        port: &GraphPort,
        causes: &[u32],
        events: &Events,
    ) -> Result<(Vec<ArrayRef>, Option<Arc<Vec<u32>>>)> {
        let timer = |code: u32| (code & TIMER_CAUSE != 0).then_some(code & !TIMER_CAUSE);
        let codes = || causes.iter().map(|&event| events.codes[event as usize]);
        let first = self.causes.next();
        let lineage = codes().map(|code| timer(code).map_or_else(|| self.rows.cause(code as usize), |place| first + place));
        let lineage = Arc::new(lineage.collect::<Vec<u32>>());
        let batch = &self.rows.batch;
        let mut columns = Vec::with_capacity(port.carried.len());
        if port.per_key {
            let picks: Vec<(usize, usize)> =
                codes().map(|code| timer(code).map_or((0, code as usize), |place| (1, place as usize))).collect();
            for &column in &port.carried {
                let place = self.graph.key.iter().position(|&key| key == column);
                let of_timers = place.and_then(|place| events.keys.get(place));
                let of_timers = of_timers.ok_or_else(|| Error::new(Code::Internal, "a row of a key carries what is no part of it"))?;
                columns.push(interleave(&[batch.column(column).as_ref(), of_timers.as_ref()], &picks).map_err(failed)?);
            }
        } else {
            // Only records cause rows that extend them; the others carry nothing.
            let indices: UInt32Array = codes().map(|code| timer(code).is_none().then_some(code)).collect();
            for &column in &port.carried {
                columns.push(take(batch.column(column), &indices, None).map_err(failed)?);
            }
        }
        Ok((columns, Some(lineage)))
    }
}

impl Events {
    fn push_row(&mut self) {
        let row = self.rows.len() as u32;
        self.rows.push(self.codes.len() as u32);
        self.codes.push(row);
    }

    /// The number of the event that a lane's output names as its cause.
    fn number(&self, lane: usize, cause: u32) -> u32 {
        match cause & TIMER_CAUSE {
            0 => self.rows[cause as usize],
            _ => self.timers[lane][(cause & !TIMER_CAUSE) as usize],
        }
    }
}

/// (call, row) in the order of causes: a counting sort, since each cause belongs to one call.
fn order_by_cause(calls: &[CallOutput], events: usize) -> Vec<(usize, usize)> {
    let mut starts = vec![0u32; events + 1];
    for call in calls {
        for &cause in &call.causes {
            starts[cause as usize + 1] += 1;
        }
    }
    for event in 0..events {
        starts[event + 1] += starts[event];
    }
    let total = starts[events] as usize;
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
