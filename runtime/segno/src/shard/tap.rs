//! Looking at records on their way past a step of a running pipeline.
//!
//! - `hidden`: values that are never shown
//!
//! Owns: who asks, and which records of an epoch are shown. Does not own: how the question arrives (`observe`).
//!
//! Invariants: looking changes nothing; an epoch that nobody looks at costs one load. What is shown leaves with hidden values
//! already replaced. A record is shown when its epoch is executed, which may be before it is committed.

mod hidden;

pub use hidden::Hidden;

use super::causes::{Causes, Origin};
use super::lane::Rejected;
use super::program::Program;
use super::step::StreamRows;
use arrow_array::RecordBatch;
use segno_core::pipeline::variables::MASK;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Records of one answer at most.
pub const RECORDS_MAX: usize = 100;
/// Rows that are shown of one record, at the step's input and at each of its ports.
const ROWS_MAX: usize = 20;
/// Bytes of one answer's rows: the row that passes this is the last one.
const BYTES_MAX: usize = 1 << 20;

/// A record that passed a step, or a timer that fired there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Passed {
    pub source: String,
    pub partition: String,
    pub offset: u64,
    /// Event time, µs since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_us: Option<i64>,
    /// The rows that it had become when it reached the step; none for a timer.
    pub input: Vec<Box<RawValue>>,
    /// What the step gave, by port; ports that nobody reads are left out.
    pub output: BTreeMap<String, Vec<Box<RawValue>>>,
    pub rejected: Vec<Rejection>,
    /// Rows that are not shown, since there are many.
    pub omitted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub code: String,
    pub reason: String,
}

/// Who looks at the steps of a shard. Clones are the same.
#[derive(Clone, Default)]
pub struct Taps {
    asked: Arc<Mutex<Vec<Asked>>>,
    any: Arc<AtomicBool>,
    hidden: Arc<Hidden>,
}

struct Asked {
    step: String,
    records: usize,
    answer: UnboundedSender<Vec<Passed>>,
}

/// A step of an epoch that was just executed.
pub struct Passing<'a> {
    pub program: &'a Program,
    /// Number of the step.
    pub step: usize,
    /// With the timers of this step.
    pub causes: Causes<'a>,
    pub rows: &'a StreamRows,
    pub ports: &'a [Option<StreamRows>],
    pub rejected: &'a [Rejected],
}

impl Taps {
    pub fn hiding(&self, hidden: Hidden) -> Taps {
        Taps { hidden: Arc::new(hidden), ..self.clone() }
    }

    /// Asks for some records of the next epoch in which any pass the step. Who does not wait any longer drops the receiver.
    pub fn ask(&self, step: &str, records: usize, answer: UnboundedSender<Vec<Passed>>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|one| !one.answer.is_closed());
        asked.push(Asked { step: step.to_owned(), records: records.min(RECORDS_MAX), answer });
        self.any.store(true, Ordering::Relaxed);
    }

    /// Answers those who asked about this step.
    pub fn show(&self, passing: &Passing<'_>) {
        if !self.any.load(Ordering::Relaxed) || passing.are_none() {
            return;
        }
        let id = &passing.program.graph.steps[passing.step].id;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|one| !one.answer.is_closed());
        let (of_this, others) = std::mem::take(&mut *asked).into_iter().partition(|one| one.step == *id);
        *asked = others;
        self.any.store(!asked.is_empty(), Ordering::Relaxed);
        drop(asked);
        let of_this: Vec<Asked> = of_this;
        let Some(most) = of_this.iter().map(|one| one.records).max() else { return };
        let sample = passing.sample(most, &self.hidden);
        for one in of_this {
            let _ = one.answer.send(sample.iter().take(one.records).cloned().collect());
        }
    }
}

impl Passing<'_> {
    fn are_none(&self) -> bool {
        self.rows.batch.num_rows() == 0 && self.fired().is_empty()
    }

    /// The causes that are timers of this step.
    fn fired(&self) -> Vec<u32> {
        let first = self.causes.next() - self.causes.fired.len() as u32;
        (first..).zip(self.causes.fired).filter(|(_, fired)| fired.step == self.step).map(|(cause, _)| cause).collect()
    }

    /// The causes to show, spread evenly over the epoch: records, then timers.
    fn chosen(&self, most: usize) -> Vec<u32> {
        let (rows, fired) = (self.rows.batch.num_rows(), self.fired());
        let all = rows + fired.len();
        let picked = all.min(most);
        let mut chosen = Vec::with_capacity(picked);
        for at in (0..picked).map(|number| number * all / picked) {
            let cause = if at < rows { self.rows.cause(at) } else { fired[at - rows] };
            // Several rows may come from one record.
            if !chosen.contains(&cause) {
                chosen.push(cause);
            }
        }
        chosen
    }

    /// The names of a step's key columns.
    fn key_columns(&self, step: usize) -> impl Iterator<Item = &str> {
        let step = &self.program.graph.steps[step];
        let input = self.program.graph.stream(step.input);
        step.key.iter().filter_map(move |&column| Some(input?.columns.get(column)?.name.as_str()))
    }

    /// Whether the plugin sees anything that is hidden: then it may say it, in whatever form.
    fn sees_hidden(&self, hidden: &Hidden) -> bool {
        let read = self.program.graph.steps[self.step].read_schema.columns.iter().map(|column| column.name.as_str());
        read.chain(self.key_columns(self.step)).any(|column| hidden.hides(column))
    }

    fn sample(&self, most: usize, hidden: &Hidden) -> Vec<Passed> {
        let chosen = self.chosen(most);
        let sees_hidden = self.sees_hidden(hidden);
        let ports = &self.program.graph.steps[self.step].outputs;
        let mut sample: Vec<Passed> = chosen.iter().map(|&cause| self.named(cause, hidden)).collect();
        let mut budget = BYTES_MAX;
        let at = |cause: u32| chosen.iter().position(|&one| one == cause);
        each_chosen(self.rows, &at, |one, row| sample[one].put(None, &self.rows.batch, row, hidden, &mut budget));
        for (port, rows) in ports.iter().zip(self.ports) {
            let Some(rows) = rows else { continue };
            each_chosen(rows, &at, |one, row| sample[one].put(Some(&port.name), &rows.batch, row, hidden, &mut budget));
        }
        for rejected in self.rejected {
            let row = rejected.row as usize;
            if let Some(one) = at(self.rows.cause(row)) {
                let reason = if sees_hidden { MASK.to_owned() } else { hidden.said(&rejected.reason) };
                sample[one].rejected.push(Rejection { code: rejected.code.clone(), reason });
            }
        }
        sample
    }

    fn named(&self, cause: u32, hidden: &Hidden) -> Passed {
        let Origin { source, mut partition, offset } = self.causes.origin(self.program, cause);
        if let Some(fired) = self.causes.timer(cause)
            && self.key_columns(fired.step).any(|column| hidden.hides(column))
        {
            // Else it has the key's bytes.
            partition = format!("timer/{}/{}", fired.number, hidden.stand_in_of(&fired.key));
        }
        Passed {
            source,
            partition,
            offset,
            time_us: self.causes.time(cause),
            input: Vec::new(),
            output: BTreeMap::new(),
            rejected: Vec::new(),
            omitted: 0,
        }
    }
}

fn each_chosen(rows: &StreamRows, at: &dyn Fn(u32) -> Option<usize>, mut put: impl FnMut(usize, usize)) {
    for row in 0..rows.batch.num_rows() {
        if let Some(one) = at(rows.cause(row)) {
            put(one, row);
        }
    }
}

impl Passed {
    fn put(&mut self, port: Option<&str>, rows: &RecordBatch, row: usize, hidden: &Hidden, budget: &mut usize) {
        let shown = match port {
            None => &mut self.input,
            Some(port) => self.output.entry(port.to_owned()).or_default(),
        };
        if shown.len() >= ROWS_MAX || *budget == 0 {
            self.omitted += 1;
            return;
        }
        let text = hidden.row(rows, row);
        *budget = budget.saturating_sub(text.as_ref().map_or(0, String::len));
        match text.and_then(|text| RawValue::from_string(text).ok()) {
            Some(value) => shown.push(value),
            None => self.omitted += 1,
        }
    }
}
