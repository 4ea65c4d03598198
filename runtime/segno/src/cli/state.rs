//! `segno state`: keyed state as JSON.
//!
//! Owns: where state is read from. A stopped pipeline's local store is the newest; beside a running one, or on another
//! machine, the newest intact checkpoint is restored into a scratch folder and read.

use super::checkpoint::kept;
use super::console::{Console, number};
use super::pipeline::{read, stage_of, step_position};
use super::{Outcome, PipelineFile, Shard};
use crate::worker::load::{self, cache_dir};
use crate::worker::layout;
use crate::worker::open::{objects, shard_folder};
use crate::worker::stages::check;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use segno_core::columns::ColumnType;
use segno_core::columns::key::{decode_key, encode_keys};
use segno_core::persisted::{TIMERS_TABLE, read_timer};
use segno_core::pipeline::Pipeline;
use segno_core::pipeline::graph::Graph;
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint;
use segno_durable::lock::WorkLock;
use segno_durable::state::StateStore;
use segno_plugin::Engine;
use segno_wire::describe::{StateColumn, StateTable};
use segno_wire::{StateValue, Value as WireValue, decode_state};
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(clap::Subcommand)]
pub enum StateCommand {
    /// Print the value of one key.
    Get {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        /// The step's id.
        step: String,
        /// The key: one word for each key column.
        #[arg(required = true, allow_negative_numbers = true)]
        key: Vec<String>,
        /// The table; the plugin's first one if not given.
        #[arg(long, env = "SEGNO_TABLE")]
        table: Option<String>,
    },
    /// Print keys and values in the order of the keys.
    Scan {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        /// The step's id.
        step: String,
        /// The table; the plugin's first one if not given. `timers` are those that wait, in the order in which they fire.
        #[arg(long, env = "SEGNO_TABLE")]
        table: Option<String>,
        /// The most rows to print; 0 for all.
        #[arg(long, env = "SEGNO_LIMIT", default_value_t = 100)]
        limit: u64,
    },
}

/// A table of a step, as far as it is needed to read it.
pub(super) struct Table {
    pub step: String,
    pub number: u16,
    pub description: StateTable,
    pub key: Vec<(String, ColumnType)>,
}

pub fn run(console: &Console, command: StateCommand) -> Outcome {
    match command {
        StateCommand::Get { pipeline, shard, step, key, table } => {
            let (pipeline, table) = find(read(&pipeline.file)?, &step, table.as_deref())?;
            let bytes = key_bytes(&table, &key)?;
            let mut found = None;
            each(console, &pipeline, &shard, |state| {
                found = state.get(&table.step, table.number, &bytes)?;
                Ok(found.is_none())
            })?;
            match found {
                Some(value) => {
                    let shown = value_json(&table, &value)?;
                    console.result(|| format!("{shown:#}\n"), &shown);
                    Ok(0)
                }
                None => {
                    console.note("no value for this key");
                    console.result(|| "null\n".to_owned(), &Value::Null);
                    Ok(1)
                }
            }
        }
        StateCommand::Scan { pipeline, shard, step, table, limit } => {
            let (pipeline, table) = find(read(&pipeline.file)?, &step, table.as_deref())?;
            let mut rows = 0;
            let mut more = false;
            let mut failed = None;
            each(console, &pipeline, &shard, |state| {
                state.scan(&table.step, table.number, b"", |key, value| {
                    if limit > 0 && rows == limit {
                        more = true;
                        return false;
                    }
                    rows += 1;
                    match entry_json(&table, key, value) {
                        // Text and JSON are the same here: a line for each key.
                        Ok(line) => console.json(&line),
                        Err(error) => failed = Some(error),
                    }
                    failed.is_none()
                })?;
                Ok(!more && failed.is_none())
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if more {
                console.note(&format!("more than {} keys; --limit 0 prints all", number(limit)));
            }
            Ok(0)
        }
    }
}

/// Opens the state of each chosen shard, one after the other, until `visit` says false. Of several shards, some may have
/// none yet.
fn each(
    console: &Console,
    pipeline: &Pipeline,
    shard: &Shard,
    mut visit: impl FnMut(&StateStore) -> Result<bool>,
) -> Result<()> {
    let shards = layout::chosen(pipeline, shard.shard)?;
    let mut missing = None;
    let mut opened = false;
    for shard in shards {
        match Store::open(console, pipeline, shard) {
            Ok(store) => {
                opened = true;
                if !visit(&store.state)? {
                    return Ok(());
                }
            }
            Err(error) if error.code() == Code::NoSuchCheckpoint => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if !opened => Err(error),
        _ => Ok(()),
    }
}

/// The stage that has a step, and the step's table.
fn find(mut whole: Pipeline, id: &str, table: Option<&str>) -> Result<(Pipeline, Table), super::Failure> {
    let engine = Engine::new(Some(&cache_dir()))?;
    let wanted = stage_of(&mut whole, id)?.name.clone();
    let mut stages = whole.into_stages();
    let mut checked = check(&mut stages, &engine)?;
    let at = stages.iter().position(|stage| stage.name == wanted).unwrap_or(0);
    let (pipeline, checked) = (stages.swap_remove(at), checked.swap_remove(at));
    let ids: Vec<&str> = pipeline.steps.iter().map(|step| step.id.as_str()).collect();
    let number = step_position(&pipeline, id)?;
    let tables = &checked.components[number].0.description.tables;
    let timers = timers_table();
    let mut tables: Vec<(u16, &StateTable)> = (0..).zip(tables).collect();
    if checked.components[number].0.description.timers {
        tables.push((TIMERS_TABLE, &timers));
    }
    let names: Vec<&str> = tables.iter().map(|(_, table)| table.name.as_str()).collect();
    let at = match table {
        None => (!tables.is_empty()).then_some(0),
        Some(name) => names.iter().position(|one| *one == name),
    };
    let at = at.ok_or_else(|| {
        let message = match table {
            Some(table) if !names.is_empty() => format!("step \"{id}\" has no table \"{table}\""),
            _ => format!("step \"{id}\" keeps no state"),
        };
        let error = Error::new(Code::UnknownStep, message);
        if !names.is_empty() {
            return error.with_help(format!("its tables are: {}", names.join(", ")));
        }
        let keep = |(component, _): &(segno_plugin::Component, _)| !component.description.tables.is_empty();
        let with: Vec<&str> =
            checked.components.iter().zip(&ids).filter(|(one, _)| keep(one)).map(|(_, id)| *id).collect();
        error.with_help(match with[..] {
            [] => "no step of this pipeline keeps any".to_owned(),
            _ => format!("steps that keep state: {}", with.join(", ")),
        })
    })?;
    let key = key_columns(&checked.graph, number);
    let (number, description) = tables[at];
    let table = Table { step: id.to_owned(), number, description: description.clone(), key };
    Ok((pipeline, table))
}

/// The key columns of a step, with their types.
pub(super) fn key_columns(graph: &Graph, step: usize) -> Vec<(String, ColumnType)> {
    let step = &graph.steps[step];
    let schema = graph.stream(step.input);
    let columns = step.key.iter().filter_map(|&column| schema?.columns.get(column));
    columns.map(|column| (column.name.clone(), column.ty)).collect()
}

/// How the timers that wait are called on the command line; a plugin's own table of this name comes first.
pub(super) fn timers_table() -> StateTable {
    StateTable { name: "timers".to_owned(), version: 1, columns: Vec::new() }
}

/// An entry of a table as a line of `segno state scan`.
pub(super) fn entry_json(table: &Table, key: &[u8], value: &[u8]) -> Result<Value> {
    match table.number {
        TIMERS_TABLE => timer_json(table, key),
        _ => Ok(json!({"key": key_json(table, key), "value": value_json(table, value)?})),
    }
}

fn timer_json(table: &Table, bytes: &[u8]) -> Result<Value> {
    let timer = read_timer(bytes)
        .ok_or_else(|| Error::new(Code::StateDamaged, format!("a timer of step \"{}\" cannot be read", table.step)))?;
    Ok(json!({"key": key_json(table, &timer.key), "time": time(timer.time), "number": timer.number}))
}

/// An opened state store, and what must live as long as it does.
struct Store {
    state: StateStore,
    _lock: Option<WorkLock>,
    _scratch: Option<tempfile::TempDir>,
}

impl Store {
    fn open(console: &Console, pipeline: &Pipeline, shard: ShardId) -> Result<Store> {
        let work_dir = shard_folder(&load::work_dir(pipeline), shard);
        let of = shard.number().map_or(String::new(), |number| format!("shard {number}: "));
        let local = work_dir.join("state");
        if local.exists() {
            match WorkLock::acquire(&work_dir) {
                Ok(lock) => {
                    let state = StateStore::open(&local)?;
                    if let Some(mark) = state.mark()? {
                        console.note(&format!("{of}state after epoch {}", mark.epoch));
                        return Ok(Store { state, _lock: Some(lock), _scratch: None });
                    }
                }
                Err(error) if error.code() == Code::AlreadyRunning => {
                    console.note(&format!("{of}the pipeline is running: this is its newest checkpoint"));
                }
                Err(error) => return Err(error),
            }
        }
        let running = local.exists();
        let objects = objects(pipeline, shard)?;
        let scratch = tempfile::tempdir()
            .map_err(|error| Error::new(Code::WorkDirUnusable, "no scratch folder can be made").with_cause(error))?;
        for (number, manifest) in kept(&objects)? {
            let Ok(manifest) = manifest else { continue };
            let folder = scratch.path().join(number.to_string());
            match checkpoint::restore(&objects, &manifest, &folder) {
                Ok(()) => {
                    console.note(&format!("{of}state after epoch {} (checkpoint {number})", manifest.epoch));
                    return Ok(Store { state: StateStore::open(&folder)?, _lock: None, _scratch: Some(scratch) });
                }
                Err(error) if error.code() == Code::CheckpointDamaged => console.warning(&error),
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(Code::NoSuchCheckpoint, "there is no local state and no usable checkpoint")
            .with_help(if running { "its first checkpoint comes later; stop the pipeline to read its local store" } else { "run the pipeline first" }))
    }
}

/// The key's bytes from one word for each column.
fn key_bytes(table: &Table, words: &[String]) -> Result<Vec<u8>> {
    if words.len() != table.key.len() {
        let names: Vec<&str> = table.key.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::new(Code::KeyUnreadable, format!("the key has {} columns, not {}", table.key.len(), words.len()))
            .with_help(format!("give one word for each of: {}", names.join(" "))));
    }
    let columns = table
        .key
        .iter()
        .zip(words)
        .map(|((name, ty), word)| {
            parse(*ty, word).ok_or_else(|| {
                Error::new(Code::KeyUnreadable, format!("\"{word}\" is no value of the key column {name}: {ty}"))
                    .with_help("numbers in decimal, timestamps in RFC 3339, dates as YYYY-MM-DD, binary in hexadecimal")
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(encode_keys(&columns, 1).get(0).to_vec())
}

fn parse(ty: ColumnType, word: &str) -> Option<ArrayRef> {
    Some(match ty {
        ColumnType::Bool => Arc::new(BooleanArray::from(vec![word.parse::<bool>().ok()?])),
        ColumnType::I32 => Arc::new(Int32Array::from(vec![word.parse::<i32>().ok()?])),
        ColumnType::I64 => Arc::new(Int64Array::from(vec![word.parse::<i64>().ok()?])),
        ColumnType::U64 => Arc::new(UInt64Array::from(vec![word.parse::<u64>().ok()?])),
        ColumnType::F64 => Arc::new(Float64Array::from(vec![word.parse::<f64>().ok()?])),
        ColumnType::Utf8 => Arc::new(StringArray::from(vec![word])),
        ColumnType::Binary => Arc::new(BinaryArray::from(vec![hex::decode(word).ok()?.as_slice()])),
        ColumnType::Timestamp => {
            let micros = word.parse::<jiff::Timestamp>().ok()?.as_microsecond();
            Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
        }
        ColumnType::Date => {
            let date = word.parse::<jiff::civil::Date>().ok()?;
            let days = date.since((jiff::Unit::Day, EPOCH_DATE)).ok()?.get_days();
            Arc::new(Date32Array::from(vec![days]))
        }
        ColumnType::Decimal128 { precision, scale } => {
            let unscaled = unscaled(word, scale)?;
            Arc::new(Decimal128Array::from(vec![unscaled]).with_precision_and_scale(precision, scale).ok()?)
        }
        ColumnType::U32 => return None,
    })
}

const EPOCH_DATE: jiff::civil::Date = jiff::civil::date(1970, 1, 1);

/// `12.30` with scale 2 as 1230; nothing when digits would be lost.
fn unscaled(word: &str, scale: i8) -> Option<i128> {
    let scale = u32::try_from(scale).ok()?;
    let (integer, fraction) = word.split_once('.').unwrap_or((word, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale as usize || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{integer}{fraction}");
    digits.parse::<i128>().ok()?.checked_mul(10i128.checked_pow(scale - fraction.len() as u32)?)
}

fn decimal(unscaled: i128, scale: i8) -> String {
    let Ok(scale) = usize::try_from(scale) else { return format!("{unscaled}e{}", -i32::from(scale)) };
    if scale == 0 {
        return unscaled.to_string();
    }
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (integer, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{integer}.{fraction}", if unscaled < 0 { "-" } else { "" })
}

fn date(days: i32) -> Value {
    let date = EPOCH_DATE.checked_add(jiff::Span::new().days(days));
    date.map_or_else(|_| json!(days), |date| json!(date.to_string()))
}

fn time(us: i64) -> Value {
    json!(super::console::time_us(us))
}

fn key_json(table: &Table, bytes: &[u8]) -> Value {
    let types: Vec<ColumnType> = table.key.iter().map(|(_, ty)| *ty).collect();
    let Some(values) = decode_key(&types, bytes) else { return json!({"hex": hex::encode(bytes)}) };
    let shown = |(ty, value): (&ColumnType, Value)| match (ty, value.as_i64()) {
        (ColumnType::Timestamp, Some(us)) => time(us),
        (ColumnType::Date, Some(days)) => date(days as i32),
        (ColumnType::Decimal128 { scale, .. }, _) => {
            let unscaled = value.as_str().and_then(|text| text.parse().ok());
            unscaled.map_or(value, |unscaled| json!(decimal(unscaled, *scale)))
        }
        _ => value,
    };
    let values = types.iter().zip(values).map(shown);
    Value::Object(table.key.iter().map(|(name, _)| name.clone()).zip(values).collect())
}

fn value_json(table: &Table, bytes: &[u8]) -> Result<Value> {
    let values = decode_state(&table.description, bytes).map_err(|error| {
        let StateTable { name, version, .. } = &table.description;
        Error::new(Code::StateUnversioned, format!("step \"{}\": a value of table {name} is none of its version {version}", table.step))
            .with_cause(error)
            .with_help("another plugin wrote it than the one that the pipeline file names now: look with that one; fields that were added need a new version of the table, each with since")
    })?;
    Ok(fields_json(&table.description.columns, values))
}

fn fields_json(columns: &[StateColumn], values: Vec<StateValue<'_>>) -> Value {
    let shown = columns.iter().zip(values).map(|(column, value)| {
        let value = match value {
            StateValue::One(value) => one_json(column.kind, value),
            StateValue::List(items) => items.into_iter().map(|item| fields_json(&column.items, item)).collect(),
        };
        (column.name.clone(), value)
    });
    Value::Object(shown.collect::<Map<String, Value>>())
}

fn one_json(kind: ColumnType, value: WireValue<'_>) -> Value {
    match (value, kind) {
        (WireValue::Null, _) => Value::Null,
        (WireValue::Bool(value), _) => json!(value),
        (WireValue::I32(value), _) => json!(value),
        (WireValue::I64(value), _) => json!(value),
        (WireValue::U32(value), _) => json!(value),
        (WireValue::U64(value), _) => json!(value),
        (WireValue::F64(value), _) => json!(value),
        (WireValue::Utf8(text), _) => json!(text),
        (WireValue::Binary(bytes), _) => json!(hex::encode(bytes)),
        (WireValue::Timestamp(us), _) => time(us),
        (WireValue::Date(days), _) => date(days),
        (WireValue::Decimal128(unscaled), ColumnType::Decimal128 { scale, .. }) => json!(decimal(unscaled, scale)),
        (WireValue::Decimal128(unscaled), _) => json!(unscaled.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let key = vec![
            ("name".to_owned(), ColumnType::Utf8),
            ("at".to_owned(), ColumnType::Timestamp),
            ("day".to_owned(), ColumnType::Date),
            ("price".to_owned(), ColumnType::Decimal128 { precision: 9, scale: 2 }),
            ("n".to_owned(), ColumnType::I64),
        ];
        let description = StateTable { name: "t".to_owned(), version: 1, columns: Vec::new() };
        Table { step: "s".to_owned(), number: 0, description, key }
    }

    #[test]
    fn a_key_reads_back_as_it_was_written() {
        let words = ["a b", "2001-01-01T00:47:00Z", "1969-12-31", "-0.50", "-7"].map(str::to_owned);
        let bytes = key_bytes(&table(), &words).unwrap();
        let expected = json!({"name": "a b", "at": "2001-01-01T00:47:00Z", "day": "1969-12-31", "price": "-0.50", "n": -7});
        assert_eq!(key_json(&table(), &bytes), expected);
    }

    #[test]
    fn a_value_of_another_shape_is_told_as_that() {
        // A number of 8 bytes too much.
        let error = value_json(&table(), &[1, 0, 7, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error.code(), Code::StateUnversioned);
        assert!(error.message().contains("table t is none of its version 1"), "{error}");
    }

    #[test]
    fn a_key_that_cannot_be_read_says_why() {
        let words = |at: usize, word: &str| {
            let mut words = ["a", "2001-01-01T00:47:00Z", "1969-12-31", "0.50", "7"].map(str::to_owned);
            words[at] = word.to_owned();
            key_bytes(&table(), &words).map_err(|error| error.message().to_owned())
        };
        assert_eq!(words(4, "x").unwrap_err(), "\"x\" is no value of the key column n: i64");
        assert!(words(3, "0.505").is_err() && words(3, "0.5000").is_ok() && words(1, "yesterday").is_err());
        assert_eq!(key_bytes(&table(), &[]).unwrap_err().message(), "the key has 5 columns, not 0");
    }
}
