//! A project's pipeline on a given input, in a scratch folder: the path of `segno run`, and what came of it.
//!
//! Owns: which parts of the pipeline are replaced (inputs, sinks, folders) and reading back what was written.
//! Does not own: the epoch loop (`shard`), what is expected (`scenario`).
//!
//! Invariants: a dead letter names the author's file and the offset there, whatever file was read. Nothing outside of the scratch folder is written. Configuration, keys, event time, limits and side tables
//! are the pipeline file's.

use super::project::Project;
use crate::cli::Failure;
use crate::cli::state::{Table, entry_json, key_columns, timers_table};
use crate::shard::stop::Stop;
use crate::worker::{load, stages};
use crate::worker::open::{RunOptions, open};
use crate::worker::tables::Databases;
use segno_core::persisted::TIMERS_TABLE;
use segno_core::pipeline::{EpochSpec, OnError, Pipeline, SinkFormat, SinkKind, SinkSpec, StoreUrl, Upstream};
use segno_core::shard::ShardId;
use segno_core::source::{FilesSpec, FormatSpec, SourceSpec};
use segno_core::{Code, Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls of one epoch and lane: a scenario of some hundred records has several epochs of the smallest calls.
const CALLS_PER_EPOCH: u32 = 50;
const DEAD_LETTERS: &str = "dead-letters";

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Lines by name: `STEP.PORT` and `STEP.TABLE.state`; those without a line are left out.
    pub lines: BTreeMap<String, String>,
    /// Dead letters, as the runtime writes them; `on_error` is what the pipeline file says about such records.
    pub letters: Vec<Value>,
    /// Records that were read.
    pub records: u64,
    /// Fuel that the project's own steps used.
    pub fuel: u64,
}

/// What the pipeline file says about records that fail, by the name of a source and the id of a step.
type Policies = BTreeMap<String, OnError>;

/// Where the one record stands that is read from a file of its own.
struct Kept {
    file: String,
    offset: u64,
}

/// How a pipeline is played.
pub struct Play<'p> {
    pub project: &'p Project,
    pub component: &'p Path,
    /// For each source, the file that stands in for it; those not named here read what the pipeline file says.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Of the first input, only the record at this offset.
    pub only: Option<u64>,
    /// Laid over the configuration of the project's own steps.
    pub config: Value,
    /// Rows of one call at most.
    pub batch_rows: u32,
}

impl Played {
    /// Every record that was read is a dead letter: no row, no state.
    pub fn is_in_vain(&self) -> bool {
        let named = |letter: &Value| (letter["source"].clone(), letter["partition"].clone(), letter["offset"].clone());
        let mut rejected: Vec<String> = self.letters.iter().map(|letter| format!("{:?}", named(letter))).collect();
        rejected.sort();
        rejected.dedup();
        self.lines.is_empty() && !rejected.is_empty() && rejected.len() as u64 >= self.records
    }
}

/// Whether `segno run` would have stopped at a record.
pub fn stops(letter: &Value) -> bool {
    letter["on_error"] == "fail"
}

impl Play<'_> {
    pub fn run(&self) -> std::result::Result<Played, Failure> {
        let scratch = tempfile::tempdir()
            .map_err(|error| Error::new(Code::WorkDirUnusable, "no scratch folder can be made").with_cause(error))?;
        let (pipeline, on_error, kept) = self.pipeline(scratch.path())?;
        let file = pipeline.file.clone();
        let mut stages = load::load(pipeline, Databases::default())?;
        let loaded = stages.swap_remove(0);
        let placed = |error: Error| crate::cli::pipeline::placed(&loaded.pipeline, error);
        let mut opened = open(&loaded, ShardId::Single, &RunOptions::default()).map_err(placed)?;
        opened.shard.run(&Stop::new(Arc::default()), &mut |_| {}).map_err(placed)?;
        let totals = &opened.shard.totals;
        let mut played = Played {
            lines: BTreeMap::new(),
            letters: Vec::new(),
            records: totals.records,
            fuel: self.own_steps(&loaded.pipeline).filter_map(|step| totals.fuel.get(&loaded.pipeline.steps[step].id)).sum(),
        };
        for sink in &loaded.pipeline.sinks {
            let text = published(&scratch.path().join(&sink.name), &file)?;
            if !text.is_empty() {
                played.lines.insert(port_of(&loaded.pipeline, sink), text);
            }
        }
        for line in published(&scratch.path().join(DEAD_LETTERS), &file)?.lines() {
            let mut letter: Value = serde_json::from_str(line).map_err(|error| {
                Error::new(Code::Internal, "a dead letter is no JSON").with_cause(error)
            })?;
            if let Some(kept) = &kept {
                letter["partition"] = kept.file.clone().into();
                letter["offset"] = kept.offset.into();
            }
            let whose = letter["step"].as_str().or_else(|| letter["source"].as_str()).unwrap_or_default();
            letter["on_error"] = on_error.get(whose).map_or(Value::Null, |one| json!(one));
            played.letters.push(letter);
        }
        for (number, step) in loaded.plan.graph.steps.iter().enumerate() {
            let program = loaded.program()?;
            let description = &program.steps[number].template.description;
            let key = key_columns(&loaded.plan.graph, number);
            let timers = timers_table();
            let tables = (0..).zip(&description.tables).chain(description.timers.then_some((TIMERS_TABLE, &timers)));
            for (at, one) in tables {
                let table = Table { step: step.id.clone(), number: at, description: one.clone(), key: key.clone() };
                let mut text = String::new();
                let mut failed = None;
                opened.shard.state.scan(&table.step, at, b"", |key, value| {
                    match entry_json(&table, key, value) {
                        Ok(line) => text.push_str(&format!("{line}\n")),
                        Err(error) => failed = Some(error),
                    }
                    failed.is_none()
                })?;
                if let Some(error) = failed {
                    return Err(error.into());
                }
                if !text.is_empty() {
                    played.lines.insert(format!("{}.{}.state", step.id, one.name), text);
                }
            }
        }
        Ok(played)
    }

    /// The steps that run the project's own plugin.
    fn own_steps<'a>(&'a self, pipeline: &'a Pipeline) -> impl Iterator<Item = usize> + 'a {
        pipeline.steps.iter().enumerate().filter(|(_, step)| step.plugin == self.component).map(|(number, _)| number)
    }

    /// The pipeline with other inputs, a files sink for each port, and folders of its own.
    fn pipeline(&self, scratch: &Path) -> std::result::Result<(Pipeline, Policies, Option<Kept>), Failure> {
        let mut pipeline = self.project.pipeline()?;
        if !pipeline.later.is_empty() {
            let place = pipeline.place("steps");
            return Err(Error::new(Code::RepartitionUnfit, "a pipeline with repartition steps cannot be played: its stages need a broker")
                .with_help("test the plugin with a pipeline file without them, whose source is a file")
                .with_place(place)
                .into());
        }
        self.project.give(&mut pipeline, self.component)?;
        let own: Vec<usize> = self.own_steps(&pipeline).collect();
        for step in own {
            lay_over(&mut pipeline.steps[step].config, &self.config);
        }
        for source in &mut pipeline.sources {
            let name = source.spec.name().to_owned();
            if let Some(input) = self.inputs.get(&name) {
                source.spec = SourceSpec::Files(stand_in(&source.spec, input));
            }
        }
        let kept = self.only.map(|offset| self.keep_one(&mut pipeline, offset, scratch)).transpose()?;
        let engine = segno_plugin::Engine::new(Some(&load::cache_dir()))?;
        let mut sinks = Vec::new();
        let checked = stages::check(std::slice::from_mut(&mut pipeline), &engine)?;
        for (number, (component, _)) in checked.iter().flat_map(|checked| &checked.components).enumerate() {
            for port in &component.description.outputs {
                let name = format!("port-{number}-{}", sinks.len());
                let kind = SinkKind::Files { path: scratch.join(&name), format: SinkFormat::Json };
                let from = Upstream::Step { step: number, port: Some(port.name.clone()) };
                sinks.push(SinkSpec { name, from, columns: None, kind });
            }
        }
        if sinks.is_empty() {
            sinks.push(SinkSpec { name: "none".to_owned(), from: Upstream::Source, columns: None, kind: SinkKind::Blackhole });
        }
        pipeline.sinks = sinks;
        let kind = SinkKind::Files { path: scratch.join(DEAD_LETTERS), format: SinkFormat::Json };
        pipeline.dlq = Some(SinkSpec { name: "dlq".to_owned(), from: Upstream::Source, columns: None, kind });
        let of_sources = pipeline.sources.iter().map(|source| (source.spec.name().to_owned(), source.on_error));
        let of_steps = pipeline.steps.iter().map(|step| (step.id.clone(), step.on_error));
        let on_error = of_sources.chain(of_steps).collect();
        // What would stop or leave no trace is to be seen here.
        pipeline.sources.iter_mut().for_each(|source| source.on_error = OnError::Dlq);
        pipeline.steps.iter_mut().for_each(|step| {
            step.on_error = OnError::Dlq;
            step.expect.clear();
        });
        pipeline.checkpoint.store = StoreUrl::File(scratch.join("store"));
        pipeline.work_dir = Some(scratch.join("work"));
        pipeline.sharding = Default::default();
        pipeline.batch_rows = self.batch_rows;
        let epoch = EpochSpec { max_records: u64::from(self.batch_rows * CALLS_PER_EPOCH), ..EpochSpec::default() };
        pipeline.epoch = epoch;
        Ok((pipeline, on_error, kept))
    }

    /// Replaces the first source by a file with one of its records.
    fn keep_one(&self, pipeline: &mut Pipeline, offset: u64, scratch: &Path) -> Result<Kept> {
        let unfit = |why: String| Error::new(Code::NoSuchRecord, why).with_help("dead letters name records as SOURCE/FILE/OFFSET");
        let SourceSpec::Files(files) = pipeline.source(0) else {
            return Err(unfit("--record needs a source of files".to_owned()));
        };
        let bytes = std::fs::read(&files.path)
            .map_err(|error| unfit(format!("{} cannot be read", files.path)).with_cause(error))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let begins = start == 0 || start.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\n');
        let is_lines = match files.format {
            FormatSpec::Json => !bytes.trim_ascii_start().starts_with(b"["),
            FormatSpec::Raw | FormatSpec::Csv { .. } => true,
            FormatSpec::Parquet | FormatSpec::Rows { .. } => false,
        };
        if !is_lines {
            return Err(unfit(format!("{} has no lines, so that no record can be taken out of it", files.path)));
        }
        let line = bytes.get(start..).filter(|rest| begins && !rest.is_empty());
        let line = line.ok_or_else(|| unfit(format!("no record of {} begins at offset {offset}", files.path)))?;
        let line_of = |bytes: &[u8]| bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
        let mut kept = match files.format {
            FormatSpec::Csv { header: None, .. } => line_of(&bytes),
            _ => Vec::new(),
        };
        kept.extend(line_of(line));
        let input = scratch.join("record");
        std::fs::write(&input, kept).map_err(|error| Error::new(Code::WorkDirUnusable, "the scratch folder is not writable").with_cause(error))?;
        // As letters of the whole file name it.
        let file = Path::new(&files.path).strip_prefix(&self.project.folder).map_or(files.path.clone(), |path| path.display().to_string());
        let spec = SourceSpec::Files(stand_in(&pipeline.sources[0].spec, &input));
        pipeline.sources[0].spec = spec;
        pipeline.sources.truncate(1);
        Ok(Kept { file, offset })
    }
}

/// A file in place of whatever the source is; its format, where it is one of files.
fn stand_in(spec: &SourceSpec, input: &Path) -> FilesSpec {
    let (format, columns, most) = match spec {
        SourceSpec::Files(files) => (files.format.clone(), files.columns.clone(), files.line_bytes_max),
        SourceSpec::Kafka(kafka) => (kafka.format.clone(), kafka.columns.clone(), kafka.record_bytes_max),
        SourceSpec::Nexmark(_) => (FormatSpec::Json, Vec::new(), segno_core::source::LINE_BYTES_MAX),
    };
    let mut files = FilesSpec::new(spec.name(), input.display().to_string(), format);
    files.columns = columns;
    files.line_bytes_max = most;
    files
}

/// Members of objects one by one, everything else as a whole.
fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over.clone(),
    }
}

fn port_of(pipeline: &Pipeline, sink: &SinkSpec) -> String {
    match &sink.from {
        Upstream::Step { step, port } => format!("{}.{}", pipeline.steps[*step].id, port.as_deref().unwrap_or("out")),
        Upstream::Source => "source".to_owned(),
    }
}

/// The files of a sink, one after the other.
fn published(folder: &Path, pipeline: &Path) -> Result<String> {
    let failed = |error: std::io::Error| {
        Error::new(Code::FileUnreadable, format!("what {} wrote cannot be read", pipeline.display())).with_cause(error)
    };
    let mut text = String::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(failed(error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    for path in paths {
        text.push_str(&std::fs::read_to_string(&path).map_err(failed)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_in_vain_when_each_is_a_dead_letter_and_nothing_came_of_any() {
        let letter = |offset: u64| json!({"source": "s", "partition": "p", "offset": offset});
        let played = |letters: &[u64], records, lines: &[(&str, &str)]| Played {
            lines: lines.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            letters: letters.iter().map(|offset| letter(*offset)).collect(),
            records,
            fuel: 0,
        };
        assert!(played(&[0, 9], 2, &[]).is_in_vain());
        assert!(!played(&[0, 0], 2, &[]).is_in_vain(), "one record, twice");
        assert!(!played(&[0], 2, &[]).is_in_vain(), "the other one was dropped by intent");
        assert!(!played(&[0, 9], 2, &[("a.count.state", "{}")]).is_in_vain());
        assert!(!played(&[], 0, &[]).is_in_vain());
    }

    #[test]
    fn a_configuration_is_laid_over_field_by_field() {
        let mut config = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        lay_over(&mut config, &json!({"a": {"c": 3}, "d": [2, 3], "e": true}));
        assert_eq!(config, json!({"a": {"b": 1, "c": 3}, "d": [2, 3], "e": true}));
        lay_over(&mut config, &Value::Null);
        assert_eq!(config["e"], true);
    }
}
