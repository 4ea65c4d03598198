//! Test a plugin with plain `cargo test`: no runtime, no sandbox, the same bytes.
//!
//! It owns making batches from rows, keeping state between them, and showing what came out. It does not own the
//! semantics of a pipeline (merging, epochs, `on_error`).
//! Invariant: every run is done twice, in one batch and event by event, with a fresh instance for each batch; a plugin
//! whose result depends on how batches are cut fails here.

mod encode;
mod timeline;
mod value;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use segno_wire::describe::{Description, StateColumn};
use segno_wire::{BatchShape, Check, EffectsReader, StateValue, decode_state};

use crate::engine::Engine;
use crate::observe::{self, Level};
use crate::time::Timestamp;
use crate::transform::Plugin;

use timeline::{Event, Firing, Timeline};

pub use value::{Row, Values};

/// Makes a [`Row`]: `row! { "origin": "ATL", "delay": 10, "distance": None::<f64> }`.
#[macro_export]
macro_rules! row {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::testing::Row::new([$(($name, $crate::testing::Values::from($value))),*])
    };
}

/// What a plugin's `init` is given.
pub struct Setup<T: Plugin> {
    config: String,
    tables: BTreeMap<String, Vec<Row>>,
    watermark_delay: i64,
    plugin: PhantomData<fn() -> T>,
}

impl<T: Plugin> Setup<T> {
    /// How late records may come, in microseconds; 0 if not given.
    pub fn watermark_delay(mut self, micros: i64) -> Self {
        self.watermark_delay = micros;
        self
    }

    /// Adds a side table.
    pub fn side_table(mut self, name: &str, rows: impl IntoIterator<Item = Row>) -> Self {
        self.tables
            .insert(name.to_owned(), rows.into_iter().collect());
        self
    }

    /// Makes the plugin.
    ///
    /// # Errors
    /// What the host would show to the author of the pipeline.
    pub fn start(self) -> Result<Harness<T>, String> {
        observe::capture();
        let description = Engine::<T>::description();
        // A description that the host would refuse is a mistake in the plugin; here is the place to learn of it.
        Description::parse(description.to_json().as_bytes())
            .map_err(|error| format!("describe: {error}"))?;
        let init = encode::init(&description, &self.config, &self.tables);
        Engine::<T>::init(&init)?;
        Ok(Harness {
            description,
            init,
            rows: Vec::new(),
            states: BTreeMap::new(),
            timeline: Timeline::default(),
            watermark_delay: self.watermark_delay,
            plugin: PhantomData,
        })
    }
}

/// The values of each key, one for each table; encoded, as the host keeps them.
type States = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// Runs a plugin over rows.
pub struct Harness<T: Plugin> {
    description: Description,
    init: Vec<u8>,
    rows: Vec<Row>,
    states: States,
    timeline: Timeline,
    watermark_delay: i64,
    plugin: PhantomData<fn() -> T>,
}

/// A row that came out.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputRow {
    /// The input row that caused it, counted from the first one pushed for this run; for a row that a timer caused, the
    /// input row before which it fired.
    pub cause: usize,
    /// The time and number of the timer that caused it.
    pub timer: Option<(Timestamp, u32)>,
    /// The key of what caused it; empty for a plugin without keys.
    pub key: String,
    row: Row,
}

impl std::ops::Deref for OutputRow {
    type Target = Row;
    fn deref(&self) -> &Row {
        &self.row
    }
}

/// A record that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub cause: usize,
    pub reason: String,
}

/// A timer that was set or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerChange {
    pub key: String,
    pub time: Timestamp,
    pub number: u32,
    /// False: it was deleted.
    pub set: bool,
}

fn state_row(columns: &[StateColumn], values: Vec<StateValue<'_>>) -> Row {
    let shown = columns.iter().zip(values).map(|(column, value)| {
        let value = match value {
            StateValue::One(value) => Values::from(value),
            StateValue::List(items) => Values::List(items.into_iter().map(|item| state_row(&column.items, item)).collect()),
        };
        (column.name.as_str(), value)
    });
    Row::new(shown)
}

fn take_observed(result: &mut RunResult) {
    let captured = observe::take();
    result.logs = captured.logs;
    result.counts = captured.counts;
}

/// What a run gave.
#[derive(Debug, Default)]
pub struct RunResult {
    ports: Vec<(String, Vec<OutputRow>)>,
    pub rejects: Vec<Rejected>,
    /// Timers that were set and deleted, in order.
    pub timers: Vec<TimerChange>,
    pub logs: Vec<(Level, String)>,
    pub counts: BTreeMap<String, u64>,
}

impl RunResult {
    /// Adds what a later event gave; its rows are counted from `first`.
    fn append(&mut self, other: RunResult, first: usize) {
        for ((_, rows), (_, more)) in self.ports.iter_mut().zip(other.ports) {
            rows.extend(more.into_iter().map(|row| OutputRow { cause: first + row.cause, ..row }));
        }
        self.rejects.extend(other.rejects.into_iter().map(|one| Rejected { cause: first + one.cause, ..one }));
        self.timers.extend(other.timers);
    }

    /// The rows of a port, in order.
    ///
    /// # Panics
    /// When there is no such port.
    #[track_caller]
    pub fn port(&self, name: &str) -> &[OutputRow] {
        match self.ports.iter().find(|(port, _)| port == name) {
            Some((_, rows)) => rows,
            None => panic!("the plugin has no port `{name}`"),
        }
    }

    /// The rows of the only port.
    ///
    /// # Panics
    /// When there are several, or none.
    #[track_caller]
    pub fn rows(&self) -> &[OutputRow] {
        match &self.ports[..] {
            [(_, rows)] => rows,
            ports => panic!("the plugin has {} ports: name one with `port`", ports.len()),
        }
    }

    /// The input rows that caused rows of the only port: what a filter keeps.
    ///
    /// # Panics
    /// As [`RunResult::rows`].
    #[track_caller]
    pub fn causes(&self) -> Vec<usize> {
        self.rows().iter().map(|row| row.cause).collect()
    }
}

impl<T: Plugin> Harness<T> {
    /// Makes a plugin without side tables from its configuration, a JSON object.
    ///
    /// # Errors
    /// As [`Setup::start`].
    pub fn new(config: &str) -> Result<Self, String> {
        Self::setup(config).start()
    }

    /// Starts with a configuration; side tables follow.
    pub fn setup(config: &str) -> Setup<T> {
        Setup {
            config: config.to_owned(),
            tables: BTreeMap::new(),
            watermark_delay: 0,
            plugin: PhantomData,
        }
    }

    /// Adds a row to the next run. Columns that the plugin does not read are ignored, as in a pipeline.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Processes what was pushed since the last run. State and timers stay for the next one. Timers fire as the records'
    /// event times move the watermark.
    ///
    /// # Panics
    /// When a row does not fit the plugin's input, when the plugin's answer is malformed, and when the result depends on
    /// how batches are cut.
    #[track_caller]
    pub fn run(&mut self) -> RunResult {
        self.run_until(None)
    }

    /// As [`Harness::run`]; then the watermark moves to `time`, and what is due fires.
    ///
    /// # Panics
    /// As [`Harness::run`].
    #[track_caller]
    pub fn run_to(&mut self, time: Timestamp) -> RunResult {
        self.run_until(Some(time.micros()))
    }

    /// As [`Harness::run`]; then the input ends, and every timer fires.
    ///
    /// # Panics
    /// As [`Harness::run`], and when timers set others without end.
    #[track_caller]
    pub fn run_to_end(&mut self) -> RunResult {
        self.run_until(Some(i64::MAX))
    }

    #[track_caller]
    fn run_until(&mut self, until: Option<i64>) -> RunResult {
        let rows = std::mem::take(&mut self.rows);
        let before = self.states.clone();
        let mut single = self.no_rows();
        observe::take();
        let events = self.run_event_by_event(&rows, until, &mut single);
        take_observed(&mut single);
        let mut result = self.no_rows();
        let mut states = before;
        if !events.is_empty() {
            self.call(&rows, &events, &mut states, &mut result);
        }
        take_observed(&mut result);
        assert!(
            single.ports == result.ports
                && single.rejects == result.rejects
                && single.timers == result.timers
                && self.states == states,
            "the result depends on how batches are cut: does the plugin keep something from one record to the next \
             outside its state?\n in one batch: {:?} {:?} {:?}\nrecord by record: {:?} {:?} {:?}",
            result.ports,
            result.rejects,
            result.timers,
            single.ports,
            single.rejects,
            single.timers,
        );
        result
    }

    fn run_event_by_event(&mut self, rows: &[Row], until: Option<i64>, result: &mut RunResult) -> Vec<Event> {
        let mut events = Vec::new();
        for (row, pushed) in rows.iter().enumerate() {
            if let (true, Some(time)) = (T::TIMERS, pushed.event_time) {
                self.move_to(Timeline::of_record(time.micros(), self.watermark_delay), rows, row, result, &mut events);
            }
            self.one(Event::Row { row, watermark: self.timeline.watermark() }, rows, row, result, &mut events);
        }
        if let Some(until) = until {
            self.move_to(until, rows, rows.len(), result, &mut events);
        }
        events
    }

    /// Moves the watermark before a row; what is due fires.
    fn move_to(&mut self, to: i64, rows: &[Row], row: usize, result: &mut RunResult, events: &mut Vec<Event>) {
        if self.timeline.watermark().is_some_and(|now| now >= to) {
            return;
        }
        let mut last: Option<Firing> = None;
        while let Some(firing) = self.timeline.next(to, last.as_ref()) {
            last = Some(firing.clone());
            self.one(Event::Timer(firing), rows, row, result, events);
        }
        self.timeline.reach(to);
    }

    fn one(&mut self, event: Event, rows: &[Row], row: usize, result: &mut RunResult, events: &mut Vec<Event>) {
        let asked = result.timers.len();
        let mut states = std::mem::take(&mut self.states);
        let at = match &event {
            Event::Row { .. } => &rows[row..=row],
            Event::Timer(_) => &rows[row..row],
        };
        let shifted = match &event {
            Event::Row { watermark, .. } => Event::Row { row: 0, watermark: *watermark },
            timer => timer.clone(),
        };
        let mut of_event = self.no_rows();
        self.call(at, std::slice::from_ref(&shifted), &mut states, &mut of_event);
        result.append(of_event, row);
        self.states = states;
        let by = match &event {
            Event::Timer(firing) => Some(firing),
            Event::Row { .. } => None,
        };
        for change in &result.timers[asked..] {
            self.timeline.change(&change.key, change.time.micros(), change.number, change.set, by);
        }
        events.push(event);
    }

    /// The timers of a key that wait: (time, number), in the order of their times.
    pub fn timers(&self, key: &str) -> Vec<(Timestamp, u32)> {
        let waiting = self.timeline.of_key(key);
        waiting.into_iter().map(|(time, number)| (Timestamp::from_micros(time), number)).collect()
    }

    /// The state of a key.
    ///
    /// # Panics
    /// When there is no such table.
    #[track_caller]
    pub fn state(&self, key: &str, table: &str) -> Option<Row> {
        let Some(index) = self
            .description
            .tables
            .iter()
            .position(|known| known.name == table)
        else {
            panic!("the plugin has no table `{table}`");
        };
        let value = self.states.get(key)?[index].as_ref()?;
        let table = &self.description.tables[index];
        let values = decode_state(table, value).expect("the plugin's own encoding can be read");
        Some(state_row(&table.columns, values))
    }

    fn no_rows(&self) -> RunResult {
        let port = |port: &segno_wire::describe::OutputPort| (port.name.clone(), Vec::new());
        RunResult { ports: self.description.outputs.iter().map(port).collect(), ..RunResult::default() }
    }

    /// One call on a fresh instance, as the runtime makes for each epoch.
    fn call(&self, rows: &[Row], events: &[Event], states: &mut States, result: &mut RunResult) {
        let mut engine = Engine::<T>::init(&self.init).expect("init succeeded before");
        let batch = encode::batch(&self.description, rows, events, states);
        let answer = engine
            .process(&batch.bytes)
            .expect("the batch is well-formed");
        let timers: Vec<u32> = (0..)
            .zip(events)
            .filter(|(_, event)| matches!(event, Event::Timer(_)))
            .map(|(number, _)| number)
            .collect();
        let shape = BatchShape { events: events.len(), timers: &timers, keys: batch.keys.len() };
        let effects = EffectsReader::parse(answer, &self.description, &shape, Check::Canonical)
            .expect("the plugin's answer is well-formed and canonical");
        self.take_effects(&effects, rows, events, &batch.keys, states, result);
    }

    fn take_effects(
        &self,
        effects: &EffectsReader<'_>,
        rows: &[Row],
        events: &[Event],
        keys: &[String],
        states: &mut States,
        result: &mut RunResult,
    ) {
        // For each event the row that it is, or before which it fires, and its key.
        let mut next = 0;
        let places: Vec<(usize, String)> = events
            .iter()
            .map(|event| match event {
                Event::Row { row, .. } => {
                    next = row + 1;
                    (*row, rows[*row].key.clone().unwrap_or_default())
                }
                Event::Timer(firing) => (next, firing.key.clone()),
            })
            .collect();
        let timer = |event: usize| match &events[event] {
            Event::Row { .. } => None,
            Event::Timer(firing) => Some((Timestamp::from_micros(firing.time), firing.number)),
        };
        for (index, port) in self.description.outputs.iter().enumerate() {
            let Some(frame) = effects.output(index as u16) else {
                continue;
            };
            let columns: Vec<_> = frame.columns().collect();
            for row in 0..frame.rows() {
                let names = port.columns.iter().map(|column| column.name.as_str());
                let values = columns[1..]
                    .iter()
                    .map(|column| Values::from(column.value_at(row)));
                let event = u32::from_le_bytes(columns[0].fixed_at(row)) as usize;
                let (cause, key) = places[event].clone();
                result.ports[index].1.push(OutputRow {
                    cause,
                    timer: timer(event),
                    key,
                    row: Row::new(names.zip(values)),
                });
            }
        }
        if let Some(frame) = effects.timers() {
            let columns: Vec<_> = frame.columns().collect();
            result.timers.extend((0..frame.rows()).map(|row| TimerChange {
                key: places[u32::from_le_bytes(columns[0].fixed_at(row)) as usize].1.clone(),
                time: Timestamp::from_micros(i64::from_le_bytes(columns[1].fixed_at(row))),
                number: u32::from_le_bytes(columns[2].fixed_at(row)),
                set: columns[3].bool_at(row),
            }));
        }
        if let Some(frame) = effects.rejects() {
            let columns: Vec<_> = frame.columns().collect();
            result.rejects.extend((0..frame.rows()).map(|row| Rejected {
                cause: places[u32::from_le_bytes(columns[0].fixed_at(row)) as usize].0,
                reason: columns[1].str_at(row).to_owned(),
            }));
        }
        let tables = self.description.tables.len();
        for table in 0..tables {
            let Some(frame) = effects.mutations(table as u16) else {
                continue;
            };
            let columns: Vec<_> = frame.columns().collect();
            for row in 0..frame.rows() {
                let key = &keys[u32::from_le_bytes(columns[0].fixed_at(row)) as usize];
                let value = columns[1]
                    .is_valid(row)
                    .then(|| columns[1].bytes_at(row).to_vec());
                let values = states
                    .entry(key.clone())
                    .or_insert_with(|| vec![None; tables]);
                values[table] = value;
                if values.iter().all(Option::is_none) {
                    states.remove(key);
                }
            }
        }
    }
}
