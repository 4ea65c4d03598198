//! Test a plugin with plain `cargo test`: no runtime, no sandbox, the same bytes.
//!
//! It owns making batches from rows, keeping state between them, and showing what came out. It does not own the
//! semantics of a pipeline (merging, epochs, `on_error`).
//! Invariant: every run is done twice, in one batch and record by record, with a fresh instance for each batch; a plugin
//! whose result depends on how batches are cut fails here.

mod encode;
mod value;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use segno_wire::describe::Description;
use segno_wire::{Check, EffectsReader, decode_state};

use crate::engine::Engine;
use crate::observe::{self, Level};
use crate::transform::Plugin;

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
    plugin: PhantomData<fn() -> T>,
}

impl<T: Plugin> Setup<T> {
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
    plugin: PhantomData<fn() -> T>,
}

/// A row that came out.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputRow {
    /// The input row that caused it, counted from the first one pushed for this run.
    pub cause: usize,
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

/// What a run gave.
#[derive(Debug, Default)]
pub struct RunResult {
    ports: Vec<(String, Vec<OutputRow>)>,
    pub rejects: Vec<Rejected>,
    pub logs: Vec<(Level, String)>,
    pub counts: BTreeMap<String, u64>,
}

impl RunResult {
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
            plugin: PhantomData,
        }
    }

    /// Adds a row to the next run. Columns that the plugin does not read are ignored, as in a pipeline.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Processes what was pushed since the last run. State stays for the next one.
    ///
    /// # Panics
    /// When a row does not fit the plugin's input, when the plugin's answer is malformed, and when the result depends on
    /// how batches are cut.
    #[track_caller]
    pub fn run(&mut self) -> RunResult {
        let rows = std::mem::take(&mut self.rows);
        let mut single_states = self.states.clone();
        let single = self.run_in_batches(&rows, 1, &mut single_states);
        let mut states = self.states.clone();
        let result = self.run_in_batches(&rows, rows.len().max(1), &mut states);
        assert!(
            single.ports == result.ports
                && single.rejects == result.rejects
                && single_states == states,
            "the result depends on how batches are cut: does the plugin keep something from one record to the next \
             outside its state?\n in one batch: {:?} {:?}\nrecord by record: {:?} {:?}",
            result.ports,
            result.rejects,
            single.ports,
            single.rejects,
        );
        self.states = states;
        result
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
        let names = table.columns.iter().map(|column| column.name.as_str());
        Some(Row::new(names.zip(values.into_iter().map(Values::from))))
    }

    /// A fresh instance for each batch, as the runtime makes for each epoch.
    fn run_in_batches(&self, rows: &[Row], size: usize, states: &mut States) -> RunResult {
        observe::take();
        let mut result = RunResult {
            ports: self
                .description
                .outputs
                .iter()
                .map(|port| (port.name.clone(), Vec::new()))
                .collect(),
            ..RunResult::default()
        };
        for (number, rows) in rows.chunks(size).enumerate() {
            let mut engine = Engine::<T>::init(&self.init).expect("init succeeded before");
            let batch = encode::batch(&self.description, rows, states);
            let answer = engine
                .process(&batch.bytes)
                .expect("the batch is well-formed");
            let effects = EffectsReader::parse(
                answer,
                &self.description,
                rows.len(),
                batch.keys.len(),
                Check::Canonical,
            )
            .expect("the plugin's answer is well-formed and canonical");
            self.take_effects(&effects, number * size, &batch.keys, states, &mut result);
        }
        let captured = observe::take();
        result.logs = captured.logs;
        result.counts = captured.counts;
        result
    }

    fn take_effects(
        &self,
        effects: &EffectsReader<'_>,
        first: usize,
        keys: &[String],
        states: &mut States,
        result: &mut RunResult,
    ) {
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
                result.ports[index].1.push(OutputRow {
                    cause: first + u32::from_le_bytes(columns[0].fixed_at(row)) as usize,
                    row: Row::new(names.zip(values)),
                });
            }
        }
        if let Some(frame) = effects.rejects() {
            let columns: Vec<_> = frame.columns().collect();
            result.rejects.extend((0..frame.rows()).map(|row| Rejected {
                cause: first + u32::from_le_bytes(columns[0].fixed_at(row)) as usize,
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
