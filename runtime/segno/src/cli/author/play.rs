//! A project's pipeline on a given input, in a scratch folder: the path of `segno run`, and what came of it.
//!
//! Owns: which parts of the pipeline are replaced (inputs, sinks, folders) and reading back what was written.
//! Does not own: the epoch loop (`shard`), what is expected (`scenario`).
//!
//! Invariants: nothing outside of the scratch folder is written. Configuration, keys, event time, limits and side tables
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
use serde_json::Value;
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
    /// Dead letters, as the runtime writes them.
    pub letters: Vec<Value>,
    /// Records that were read.
    pub records: u64,
    /// Fuel that the project's own steps used.
    pub fuel: u64,
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

impl Play<'_> {
    pub fn run(&self) -> std::result::Result<Played, Failure> {
        let scratch = tempfile::tempdir()
            .map_err(|error| Error::new(Code::WorkDirUnusable, "no scratch folder can be made").with_cause(error))?;
        let (pipeline, taken_from) = self.pipeline(scratch.path())?;
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
            played.letters.push(serde_json::from_str(line).map_err(|error| {
                Error::new(Code::Internal, "a dead letter is no JSON").with_cause(error)
            })?);
        }
        if let (Some(offset), Some(file)) = (self.only, taken_from) {
            // A record that was taken out of its file is still that file's.
            for letter in &mut played.letters {
                letter["partition"] = file.clone().into();
                letter["offset"] = offset.into();
            }
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

    /// The pipeline with other inputs, a files sink for each port, and folders of its own; and the file of the only record.
    fn pipeline(&self, scratch: &Path) -> std::result::Result<(Pipeline, Option<String>), Failure> {
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
        let taken_from = match self.only {
            Some(offset) => Some(self.keep_one(&mut pipeline, offset, scratch)?),
            None => None,
        };
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
        Ok((pipeline, taken_from))
    }

    /// Replaces the first source by a file with one of its records; gives the name of the file that had it.
    fn keep_one(&self, pipeline: &mut Pipeline, offset: u64, scratch: &Path) -> Result<String> {
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
        let name = Path::new(&files.path).strip_prefix(&self.project.folder).map_or(files.path.clone(), |path| path.display().to_string());
        let spec = SourceSpec::Files(stand_in(&pipeline.sources[0].spec, &input));
        pipeline.sources[0].spec = spec;
        pipeline.sources.truncate(1);
        Ok(name)
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
    use serde_json::json;

    #[test]
    fn a_configuration_is_laid_over_field_by_field() {
        let mut config = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        lay_over(&mut config, &json!({"a": {"c": 3}, "d": [2, 3], "e": true}));
        assert_eq!(config, json!({"a": {"b": 1, "c": 3}, "d": [2, 3], "e": true}));
        lay_over(&mut config, &Value::Null);
        assert_eq!(config["e"], true);
    }
}
