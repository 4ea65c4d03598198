//! `segno check`: may a component run, and does it keep memory that it should not?
//!
//! Owns: records made up for a plugin, and running it with calls of different sizes. Does not own: admission
//! (`segno_plugin`), the epoch loop, which is the one of every run.
//!
//! Invariant: the made-up records follow from the plugin's description alone, so a check gives the same answer always.

use super::Outcome;
use super::console::{Console, count, number, printable, size};
use super::plugin::{description_json, load, parts};
use crate::shard::stop::Stop;
use crate::worker::load as worker_load;
use crate::worker::tables::Databases;
use crate::worker::open::{RunOptions, open};
use crate::worker::load::cache_dir;
use segno_core::columns::ColumnType;
use segno_core::pipeline::Pipeline;
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Place, Result};
use segno_plugin::{Component, Engine, Limits};
use segno_wire::Description;
use segno_wire::describe::ColumnSpec;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sizes of the calls that are compared. One row per call gives a plugin the least to remember.
const CUTS: [u32; 3] = [1024, 7, 1];
/// Key groups of each of these runs.
const LANES: [u32; 3] = [1, 4, 3];
/// Calls of one epoch and lane. Few enough that made-up records make several epochs of the smallest calls, many enough that
/// committing epochs takes less time than the calls.
const CALLS_PER_EPOCH: u32 = 200;
/// Records that are made up: a few calls of the largest size.
const RECORDS_DEFAULT: u32 = 3_000;
/// Characters of a row that are shown.
const ROW_SHOWN: usize = 400;
/// The event time of made-up records, and the name of its column where the plugin reads none.
const TIME_COLUMN: &str = "segno_event_time";
const TIME_FIRST_US: i64 = 978_307_200_000_000;
const TIME_STEP_US: i64 = 37_000_000;
/// Reasons of rejections that are shown.
const REASONS_SHOWN: usize = 3;

#[derive(clap::Args)]
pub struct CheckArgs {
    /// The component.
    #[arg(value_name = "X.wasm")]
    file: PathBuf,
    /// The plugin's configuration as JSON.
    #[arg(long, env = "SEGNO_CONFIG", value_name = "JSON")]
    config: Option<String>,
    /// A side table: NAME=PATH; repeat for several.
    #[arg(long = "table", env = "SEGNO_TABLES", value_name = "NAME=PATH", value_delimiter = ',')]
    tables: Vec<String>,
    /// Key columns of a keyed plugin; its first column that can be one if not given.
    #[arg(long, env = "SEGNO_KEY", value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// JSON lines to run it on; made up from its description if not given.
    #[arg(long, env = "SEGNO_INPUT", value_name = "FILE")]
    input: Option<PathBuf>,
    /// The column of --input that is the event time; the plugin's first timestamp if not given.
    #[arg(long, env = "SEGNO_TIME", value_name = "COLUMN", requires = "input")]
    time: Option<String>,
    /// How many records to make up.
    #[arg(long, env = "SEGNO_RECORDS", default_value_t = RECORDS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records: u32,
}

/// What the rejected records are called among the outputs.
const REJECTIONS: &str = "what it rejects";

/// What a run with one cut gave.
#[derive(Debug, PartialEq)]
struct Answer {
    /// Published bytes by output.
    output: BTreeMap<String, Vec<u8>>,
    state: String,
    rows: u64,
    records: u64,
    rejected: u64,
}

impl Answer {
    /// Nothing came of any record.
    fn is_in_vain(&self) -> bool {
        self.rows == 0 && self.records > 0 && self.rejected >= self.records
    }

    /// Why records were rejected, each reason with how often: the most frequent first.
    fn reasons(&self) -> Vec<(u64, String)> {
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for line in self.output.get(REJECTIONS).into_iter().flat_map(|bytes| bytes.split(|&byte| byte == b'\n')) {
            let Ok(letter) = serde_json::from_slice::<Value>(line) else { continue };
            let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
            *reasons.entry(format!("[{}] {}", text("code"), text("reason").lines().map(printable).collect::<Vec<_>>().join(" "))).or_default() += 1;
        }
        let mut reasons: Vec<(u64, String)> = reasons.into_iter().map(|(reason, times)| (times, reason)).collect();
        reasons.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        reasons
    }
}

pub fn check(console: &Console, args: &CheckArgs) -> Outcome {
    let engine = Engine::new(Some(&cache_dir()))?;
    let component = load(&engine, &args.file)?;
    let description = &component.description;
    if let Some(input) = &args.input {
        readable(input)?;
        for (flag, column) in args.key.iter().map(|key| ("--key", key)).chain(args.time.iter().map(|time| ("--time", time))) {
            if no_record_has(input, column)? {
                return Err(wrong(input, format!("{flag} {column}: no record has such a field"), "name a field of the records").into());
            }
        }
    }
    let progress = console.progress();
    let ran = match runnable(args, description)? {
        Err(why_not) => Err(why_not),
        Ok(columns) => {
            let scratch = tempfile::tempdir()
                .map_err(|error| Error::new(Code::WorkDirUnusable, "no scratch folder can be made").with_cause(error))?;
            let mut answers: Vec<(u32, Answer)> = Vec::new();
            let mut fuel_per_record = 0;
            for (cut, lanes) in CUTS.into_iter().zip(LANES) {
                progress.set(|| format!("calls of {cut} rows"));
                let (answer, fuel) = match run_with(args, description, &columns, scratch.path(), (cut, lanes)) {
                    // Only the user knows what a plugin wants to be told.
                    Err(error) if error.code() == Code::PluginConfiguration && args.config.is_none() => {
                        progress.set(String::new);
                        return Ok(report(console, args, &component, &Err(format!("{}; add --config JSON", error.message()))));
                    }
                    answer => answer?,
                };
                if let Some((first, expected)) = answers.first()
                    && answer != *expected
                {
                    return Err(differs((&args.file, &component), (*first, expected), (cut, &answer)).into());
                }
                // As in production: in large calls.
                if answers.is_empty() {
                    fuel_per_record = fuel;
                }
                answers.push((cut, answer));
            }
            let first = answers.into_iter().next().map(|(_, answer)| answer);
            first.map(|answer| (answer, fuel_per_record)).ok_or_else(|| "there is nothing to run it on".to_owned())
        }
    };
    drop(progress);
    Ok(report(console, args, &component, &ran))
}

fn report(
    console: &Console,
    args: &CheckArgs,
    component: &Component,
    ran: &std::result::Result<(Answer, u64), String>,
) -> u8 {
    let (inspection, description) = (&component.inspection, &component.description);
    let answer = ran.as_ref().ok().map(|(answer, _)| answer);
    let limits = Limits::default();
    let shown = json!({
        "file": args.file.display().to_string(),
        "admitted": true,
        "sha256": inspection.sha256,
        "name": description.name,
        "version": description.version,
        "ran": ran.is_ok(),
        "description": description_json(description),
        "cuts": CUTS,
        "lanes": LANES,
        "rows": answer.map(|answer| answer.rows),
        "rejected": answer.map(|answer| answer.rejected),
        "rejections": answer.map(|answer| {
            answer.reasons().into_iter().map(|(times, reason)| json!({"times": times, "reason": reason})).collect::<Vec<_>>()
        }),
        "fuel_per_record": ran.as_ref().ok().map(|(_, fuel)| fuel),
        "not_run_because": ran.as_ref().err(),
    });
    console.result(
        || {
            let verdict = if ran.is_ok() { "may run" } else { "is admitted, and was not tried" };
            let mut text = format!("{}: {} {} {verdict}\n", args.file.display(), description.name, description.version);
            let bytes = size(inspection.bytes as u64);
            text.push_str(&format!("  imports nothing but Segno's interfaces; {bytes}, sha256 {}\n", inspection.sha256));
            text.push_str(&parts(description));
            text.push_str(&format!(
                "  limits     {} units of fuel for a record, {} of memory, {} s for a call (limits: of a step changes them)\n",
                number(limits.fuel_per_record),
                size(limits.memory),
                limits.deadline.as_secs(),
            ));
            match ran {
                Err(why) => text.push_str(&format!("  not run: {why}\n")),
                Ok((answer, fuel)) => {
                    text.push_str(&format!(
                        "  costs      about {} of fuel for a record\n  calls of 1024, 7 and 1 rows, in 1, 4 and 3 lanes, give the same {}, {} and state\n",
                        count(*fuel, "unit"),
                        count(answer.rows, "row"),
                        count(answer.rejected, "rejection"),
                    ));
                    let reasons = answer.reasons();
                    for (times, reason) in reasons.iter().take(REASONS_SHOWN) {
                        text.push_str(&format!("  rejected   {}: {reason}\n", count(*times, "time")));
                    }
                    if reasons.len() > REASONS_SHOWN {
                        text.push_str(&format!("  rejected   for {} more\n", count((reasons.len() - REASONS_SHOWN) as u64, "reason")));
                    }
                    if answer.is_in_vain() {
                        text.push_str(match args.input {
                            Some(_) => "  no record came through: nothing is known of what it does with good ones\n",
                            None => "  no record came through: try it on records of its kind, with --input FILE\n",
                        });
                    }
                }
            }
            text
        },
        &shown,
    );
    // Records that were made up may be none of its kind; those that the user gave are.
    u8::from(ran.is_err() || args.input.is_some() && answer.is_some_and(Answer::is_in_vain))
}

/// A file that is given by name is the user's, and no source of a pipeline.
fn readable(input: &Path) -> Result<()> {
    let failed = |why: String| {
        Error::new(Code::FileUnreadable, format!("--input: {why}")).with_help("name a file with one JSON object on each line").with_place(Place::file(input))
    };
    match std::fs::metadata(input) {
        Err(error) => Err(failed(error.to_string())),
        Ok(found) if !found.is_file() => Err(failed("it is no file".to_owned())),
        Ok(found) if found.len() == 0 => Err(failed("it is empty".to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Whether a field, as `price` or `bid.price`, is in none of the lines that are JSON objects. An array is not looked into.
fn no_record_has(input: &Path, field: &str) -> Result<bool> {
    let failed = |error: std::io::Error| Error::new(Code::FileUnreadable, "--input cannot be read").with_cause(error).with_place(Place::file(input));
    let pointer = format!("/{}", field.replace('.', "/"));
    for line in BufReader::new(File::open(input).map_err(failed)?).split(b'\n') {
        let line = line.map_err(failed)?;
        let Ok(record) = serde_json::from_slice::<Value>(&line) else {
            if line.trim_ascii_start().starts_with(b"[") {
                return Ok(false);
            }
            continue;
        };
        if record.is_array() || record.get(field).or_else(|| record.pointer(&pointer)).is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The columns to make up, or why the plugin cannot be run without the user's help.
fn runnable(args: &CheckArgs, description: &Description) -> Result<std::result::Result<Vec<ColumnSpec>, String>> {
    let named: Vec<&str> = args.tables.iter().filter_map(|table| table.split_once('=')).map(|(name, _)| name).collect();
    if let Some(missing) = description.side_tables.iter().find(|table| !named.contains(&table.name.as_str())) {
        return Ok(Err(format!("it wants a side table; add --table {}=PATH", missing.name)));
    }
    let [input] = description.inputs.as_slice() else {
        return Ok(Err(format!("it has {} input ports", description.inputs.len())));
    };
    Ok(Ok(input.columns.clone()))
}

fn wrong(file: &Path, message: String, help: &str) -> Error {
    Error::new(Code::InvalidValue, message).with_help(help).with_place(Place::file(file))
}

/// Runs the plugin over the records, one pipeline for each cut of calls and epochs; what it gave, and its fuel for a record.
fn run_with(
    args: &CheckArgs,
    description: &Description,
    columns: &[ColumnSpec],
    scratch: &Path,
    (cut, lanes): (u32, u32),
) -> Result<(Answer, u64)> {
    let folder = scratch.join(cut.to_string());
    std::fs::create_dir_all(&folder).map_err(|error| Error::new(Code::WorkDirUnusable, "the scratch folder is not writable").with_cause(error))?;
    let input = match &args.input {
        Some(input) => absolute(input),
        None => {
            let input = scratch.join("input.jsonl");
            // A key that the plugin does not read is text.
            let other = args.key.iter().filter(|key| !columns.iter().any(|column| column.name == **key));
            let other = other.map(|key| ColumnSpec { name: key.clone(), kind: ColumnType::Utf8, nullable: false });
            let all: Vec<ColumnSpec> = columns.iter().cloned().chain(other).collect();
            std::fs::write(&input, records(&all, args.records))
                .map_err(|error| Error::new(Code::WorkDirUnusable, "the scratch folder is not writable").with_cause(error))?;
            input
        }
    };
    let pipeline = pipeline(args, description, columns, &input, &folder, (cut, lanes))?;
    let first_of = |errors: Vec<Error>| errors.into_iter().next().unwrap_or_else(|| Error::new(Code::Internal, "an error without an error"));
    // Places are in a pipeline file that the user does not have.
    let unplaced = |error: Error| {
        let mut shown = Error::new(error.code(), error.message()).with_place(Place::file(&args.file));
        if let Some(help) = error.help() {
            shown = shown.with_help(help);
        }
        error.causes().iter().fold(shown, |shown, cause| shown.with_cause(cause))
    };
    let pipeline = Pipeline::parse(&folder.join("pipeline.yaml"), &pipeline, &|_| None).map_err(first_of).map_err(unplaced)?;
    let mut loaded = worker_load::load(pipeline, Databases::default()).map_err(first_of).map_err(unplaced)?;
    let loaded = loaded.swap_remove(0);
    let mut opened = open(&loaded, ShardId::Single, &RunOptions::default())?;
    opened.shard.run(&Stop::new(Arc::default()), &mut |_| {}).map_err(unplaced)?;
    let totals = &opened.shard.totals;
    let mut answer = Answer {
        output: BTreeMap::new(),
        state: opened.shard.state.digest()?,
        records: totals.records,
        rows: totals.rows_out.iter().filter(|(name, _)| *name != "dlq").map(|(_, rows)| rows).sum(),
        rejected: totals.dead_letters,
    };
    for (at, port) in description.outputs.iter().enumerate() {
        answer.output.insert(format!("output {}", port.name), published(&folder.join("out").join(format!("port-{at}")))?);
    }
    answer.output.insert(REJECTIONS.to_owned(), published(&folder.join("out").join("dlq"))?);
    let fuel = totals.fuel.values().sum::<u64>().div_ceil(totals.records.max(1));
    Ok((answer, fuel))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The files of a sink, one after the other.
fn published(folder: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::new(Code::FileUnreadable, format!("{} cannot be read", folder.display())).with_cause(error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend(std::fs::read(&path).map_err(failed)?);
    }
    Ok(bytes)
}

/// A pipeline file around the plugin. JSON is YAML.
fn pipeline(
    args: &CheckArgs,
    description: &Description,
    columns: &[ColumnSpec],
    input: &Path,
    folder: &Path,
    (cut, lanes): (u32, u32),
) -> Result<String> {
    let config: Value = match &args.config {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| wrong(&args.file, format!("--config is not JSON: {error}"), "for example --config '{\"threshold\": 5}'"))?,
        None => json!({}),
    };
    let mut tables = Map::new();
    for table in &args.tables {
        let (name, path) = table
            .split_once('=')
            .ok_or_else(|| wrong(&args.file, format!("--table \"{table}\" has no ="), "for example --table airports=./airports.csv"))?;
        tables.insert(name.to_owned(), json!({"path": absolute(Path::new(path)).display().to_string()}));
    }
    let mut step = json!({
        "id": "plugin",
        "plugin": absolute(&args.file).display().to_string(),
        "config": config,
        "tables": tables,
        "on_error": "dlq",
        "lanes": lanes,
    });
    if description.is_keyed() {
        let key: Vec<String> = if args.key.is_empty() {
            let first = columns.iter().find(|column| column.kind != ColumnType::F64);
            first.map(|column| vec![column.name.clone()]).unwrap_or_default()
        } else {
            args.key.clone()
        };
        if key.is_empty() {
            return Err(wrong(&args.file, "it works by key, and none of its columns can be a key".to_owned(), "add --key COLUMN"));
        }
        step["key"] = json!(key);
    }
    let mut declared: Map<String, Value> = columns
        .iter()
        .map(|column| {
            let mark = if column.nullable { "?" } else { "" };
            (column.name.clone(), json!(format!("{}{mark}", column.kind)))
        })
        .collect();
    for key in &args.key {
        declared.entry(key.clone()).or_insert(json!("utf8?"));
    }
    let mut source = json!({
        "files": input.display().to_string(),
        "format": "json",
        "columns": declared,
        "on_error": "dlq",
    });
    if args.time.is_some() || description.event_time || description.timers {
        let own = columns.iter().find(|column| column.kind == ColumnType::Timestamp).map(|column| column.name.as_str());
        source["time"] = match (args.time.as_deref().or(own), &args.input) {
            (Some(column), _) => json!(column),
            (None, None) => json!(TIME_COLUMN),
            (None, Some(_)) => {
                let why = "it works with event time, and none of the columns that it reads is a timestamp";
                return Err(wrong(&args.file, why.to_owned(), "add --time COLUMN, the column of --input that is the event time"));
            }
        };
        if args.input.is_none() {
            source["time_unit"] = json!("us");
        }
    }
    let out = folder.join("out");
    let sink = |name: &str| json!({"files": out.join(name).display().to_string(), "name": name});
    let sinks: Vec<Value> = match description.outputs.as_slice() {
        [] => vec![json!({"blackhole": {}, "name": "none", "from": "source"})],
        ports => ports
            .iter()
            .enumerate()
            .map(|(at, port)| {
                let mut sink = sink(&format!("port-{at}"));
                sink["from"] = json!(format!("plugin.{}", port.name));
                sink
            })
            .collect(),
    };
    let pipeline = json!({
        "version": 1,
        "name": "check",
        "source": source,
        "steps": [step],
        "sinks": sinks,
        "dlq": {"files": out.join("dlq").display().to_string()},
        "checkpoint": {"store": format!("file://{}", folder.join("store").display()), "ephemeral": true},
        "work_dir": folder.join("work").display().to_string(),
        "batch_rows": cut,
        // Each epoch begins with fresh instances: what a plugin keeps from call to call is gone then.
        "epoch": {"max_records": cut * CALLS_PER_EPOCH},
        "threads": 1,
    });
    // A dollar sign in a configuration is itself here.
    Ok(pipeline.to_string().replace("${", "$${"))
}

/// Made-up records as JSON lines: small ranges, so that keys and thresholds meet, with odd values among them.
fn records(columns: &[ColumnSpec], count: u32) -> String {
    let mut random = SplitMix(0x5e67_6e6f);
    let mut text = String::new();
    for row in 0..count {
        let mut record = Map::new();
        let time_us = TIME_FIRST_US + i64::from(row) * TIME_STEP_US;
        for column in columns {
            record.insert(column.name.clone(), value(column, time_us, &mut random));
        }
        record.insert(TIME_COLUMN.to_owned(), json!(time_us));
        text.push_str(&nested(record).to_string());
        text.push('\n');
    }
    text
}

/// `bid.price` as a field `price` of an object `bid`.
fn nested(flat: Map<String, Value>) -> Value {
    let mut root = json!({});
    for (path, value) in flat {
        let mut at = &mut root;
        for part in path.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[part];
        }
        *at = value;
    }
    root
}

fn value(column: &ColumnSpec, time_us: i64, random: &mut SplitMix) -> Value {
    const WORDS: [&str; 12] =
        ["ATL", "ORD", "LAX", "a", "", "Zürich", "a longer text with spaces", "0", "x-1", "数", "NULL", "\"quoted\""];
    let roll = random.next();
    if column.nullable && roll.is_multiple_of(10) {
        return Value::Null;
    }
    let small = (random.next() % 100) as i64;
    match column.kind {
        ColumnType::Bool => json!(small % 2 == 0),
        ColumnType::I32 | ColumnType::I64 => json!(if roll % 5 == 1 { -small * 7 } else { small * 13 }),
        ColumnType::U64 | ColumnType::U32 => json!(small * 13),
        ColumnType::F64 => json!((small as f64 - 20.0) * 0.75),
        ColumnType::Utf8 | ColumnType::Binary => json!(WORDS[(small as usize) % WORDS.len()]),
        ColumnType::Timestamp => json!(super::console::time_us(time_us)),
        ColumnType::Date => json!(super::console::time_us(time_us).get(..10).unwrap_or("2001-01-01")),
        ColumnType::Decimal128 { scale, .. } => {
            if scale > 0 { json!(format!("{small}.5")) } else { json!(small.to_string()) }
        }
    }
}

/// A fixed sequence that looks random (SplitMix64).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn differs((file, component): (&Path, &Component), (first, expected): (u32, &Answer), (cut, found): (u32, &Answer)) -> Error {
    let other = |name: &String| found.output.get(name).map_or(&[][..], Vec::as_slice);
    let mut rows = None;
    let what = match expected.output.iter().find(|(name, bytes)| other(name) != bytes.as_slice()) {
        None => "its state differs".to_owned(),
        Some((name, bytes)) => {
            let lines = bytes.split(|&byte| byte == b'\n').zip(other(name).split(|&byte| byte == b'\n'));
            rows = lines.enumerate().find(|(_, (one, other))| one != other);
            let line = rows.map_or_else(|| "their number differs".to_owned(), |(line, _)| format!("the first that differs is row {}", line + 1));
            format!("{name} differs; {line}")
        }
    };
    let mut error = Error::new(Code::HiddenMemory, format!("calls of {first} rows and calls of {cut} rows give different answers: {what}"))
        .with_help(component.inspection.warning().unwrap_or("keep what must last between calls in keyed state; `segno explain P051` tells more"))
        .with_place(Place::file(file));
    // A row has its record's columns beside it, where the plugin gives these on.
    for (rows_of_call, row) in rows.into_iter().flat_map(|(_, (one, other))| [(first, one), (cut, other)]) {
        let row: String = String::from_utf8_lossy(row).chars().take(ROW_SHOWN).collect();
        error = error.with_cause(format!("calls of {rows_of_call} rows give {}", printable(&row)));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnType, nullable: bool) -> ColumnSpec {
        ColumnSpec { name: name.to_owned(), kind, nullable }
    }

    #[test]
    fn made_up_records_are_the_same_always_and_hold_every_column() {
        let columns = [
            column("id", ColumnType::U64, false),
            column("bid.price", ColumnType::F64, true),
            column("bid.at", ColumnType::Timestamp, false),
        ];
        let text = records(&columns, 50);
        assert_eq!(text, records(&columns, 50));
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 50);
        assert!(rows.iter().all(|row| row["id"].is_u64() && row["bid"]["at"].is_string()));
        assert!(rows.iter().any(|row| row["bid"]["price"].is_null()) && rows.iter().any(|row| row["bid"]["price"].is_number()));
    }
}
