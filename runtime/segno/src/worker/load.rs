//! From a pipeline file to a plan: plugins described, side tables read, the graph checked.
//!
//! Owns: everything that is read before a shard is opened, and the bytes that go into the archive.
//! Does not own: the checks themselves (`segno_core::pipeline`, `segno-plugin`).

use super::plan::{PLAN_VERSION, Plan, PlannedSink, PlannedSource, PlannedStep, sha256_hex};
use crate::shard::program::Program;
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use segno_core::columns::frame::init_message;
use segno_core::columns::{Column, Schema};
use segno_core::pipeline::graph::{self, Graph};
use segno_core::pipeline::{Pipeline, SinkKind, StepSpec, rooted_files};
use segno_core::source::{Next, ReadLimit, ReadPlan, SourceSpec};
use segno_core::{Code, Error, Result};
use segno_plugin::{Component, Engine};
use segno_wire::Description;
use segno_wire::describe::SideTable;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of a side table at most: all of it is handed to `init` at once.
pub const SIDE_TABLE_ROWS_MAX: usize = 4_000_000;

/// A checked pipeline with everything that its plan names.
pub struct Loaded {
    pub pipeline: Pipeline,
    pub engine: Engine,
    pub plan: Plan,
    /// Components and init messages by SHA-256.
    pub blobs: BTreeMap<String, Arc<Vec<u8>>>,
    pub work_dir: PathBuf,
    program: Mutex<Option<Arc<Program>>>,
}

impl Loaded {
    /// The program of the plan: one for all shards of this process.
    pub fn program(&self) -> Result<Arc<Program>> {
        let mut kept = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*kept {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(self.plan.program(&self.engine, self)?);
        *kept = Some(Arc::clone(&program));
        Ok(program)
    }
}

/// The plugins of a pipeline and the graph that they make.
pub struct Checked {
    pub components: Vec<(Component, Arc<Vec<u8>>)>,
    pub graph: Graph,
}

/// Admits every plugin and checks the graph, without running `init`.
pub fn check(pipeline: &Pipeline, engine: &Engine) -> Result<Checked, Vec<Error>> {
    let mut errors = Vec::new();
    let mut components = Vec::new();
    let mut descriptions: BTreeMap<String, Description> = BTreeMap::new();
    for (number, step) in pipeline.steps.iter().enumerate() {
        match load_plugin(pipeline, engine, number, step) {
            Ok((component, bytes)) => {
                descriptions.insert(step.id.clone(), component.description.clone());
                components.push((component, bytes));
            }
            Err(error) => errors.push(error),
        }
    }
    let mut schemas: Vec<Option<Schema>> = Vec::new();
    for number in 0..pipeline.sources.len() {
        match segno_input::source::discover_schema(&pipeline.source(number)) {
            Ok(schema) => schemas.push(schema),
            Err(error) => errors.push(placed(error, pipeline, &format!("{}.files", pipeline.source_path(number)))),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let graph = graph::build(pipeline, &descriptions, &schemas)?;
    Ok(Checked { components, graph })
}

fn placed(error: Error, pipeline: &Pipeline, path: &str) -> Error {
    if error.place().is_some() { error } else { error.with_place(pipeline.place(path)) }
}

fn load_plugin(
    pipeline: &Pipeline,
    engine: &Engine,
    number: usize,
    step: &StepSpec,
) -> Result<(Component, Arc<Vec<u8>>)> {
    let path = pipeline.path(&step.plugin);
    let place = format!("steps[{number}].plugin");
    let bytes = std::fs::read(&path).map_err(|error| {
        Error::new(Code::PluginMissing, format!("step \"{}\": the plugin {} cannot be read", step.id, path.display()))
            .with_cause(error)
            .with_help("build it with `segno build`, or correct the path: it is relative to the pipeline file")
            .with_place(pipeline.place(&place))
    })?;
    let component = engine.load(&bytes, &super::plan::limits(&step.limits)).map_err(|error| placed(error, pipeline, &place))?;
    Ok((component, Arc::new(bytes)))
}

/// Everything that a run needs, short of a shard.
pub fn load(pipeline: Pipeline) -> Result<Loaded, Vec<Error>> {
    let work_dir = work_dir(&pipeline);
    let engine = Engine::new(Some(&cache_dir())).map_err(|error| vec![error])?;
    let checked = check(&pipeline, &engine)?;
    let mut blobs = BTreeMap::new();
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    for (number, (step, (component, bytes))) in pipeline.steps.iter().zip(&checked.components).enumerate() {
        let init = match side_tables(&pipeline, number, step, &component.description) {
            Ok(tables) => init_message(&step.config, &tables),
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let init = match init {
            Ok(init) => init,
            Err(error) => {
                errors.push(Error::new(Code::Internal, format!("step \"{}\": {error}", step.id)));
                continue;
            }
        };
        // Here and not at the first epoch: `init` is where a plugin refuses its configuration.
        let limits = super::plan::limits(&step.limits);
        if let Err(error) = engine.template(component, &init, &limits) {
            let named = Error::new(error.code(), format!("step \"{}\": {}", step.id, error.message()));
            let named = match error.help() {
                Some(help) => named.with_help(help),
                None => named,
            };
            errors.push(placed(named, &pipeline, &format!("steps[{number}]{}", said_about(error.message()))));
            continue;
        }
        let sha256 = sha256_hex(&init);
        steps.push(PlannedStep {
            id: step.id.clone(),
            component: component.inspection.sha256.clone(),
            init: sha256.clone(),
            on_error: step.on_error,
            limits: step.limits,
        });
        blobs.insert(component.inspection.sha256.clone(), Arc::clone(bytes));
        blobs.insert(sha256, Arc::new(init));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let sources = pipeline
        .sources
        .iter()
        .map(|source| PlannedSource {
            spec: source.spec.clone(),
            time: source.time.clone(),
            watermark_delay_us: source.watermark_delay.as_micros() as i64,
            on_error: source.on_error,
        })
        .collect();
    let sinks = checked
        .graph
        .sinks
        .iter()
        .map(|sink| {
            let spec = &pipeline.sinks[sink.sink];
            let format = match &spec.kind {
                SinkKind::Files { format, .. } | SinkKind::Stdout { format } => Some(*format),
                SinkKind::Kafka(kafka) => Some(kafka.format),
                SinkKind::Postgres(_) | SinkKind::Blackhole => None,
            };
            // Another topic or table is another sink: a change that the user must accept.
            let target = matches!(spec.kind, SinkKind::Kafka(_) | SinkKind::Postgres(_)).then(|| spec.kind.clone());
            PlannedSink { name: spec.name.clone(), format, target }
        })
        .collect();
    let plan = Plan { version: PLAN_VERSION, sources, graph: checked.graph, steps, sinks };
    Ok(Loaded { pipeline, engine, plan, blobs, work_dir, program: Mutex::default() })
}

/// The part of a step that a plugin's refusal speaks of: the SDK begins with `config.field:` or "side table `name`".
fn said_about(message: &str) -> String {
    if let Some(table) = message.strip_prefix("side table `").and_then(|rest| rest.split('`').next()) {
        return format!(".tables.{table}");
    }
    match message.split(':').next() {
        Some(path) if path == "config" || (path.starts_with("config.") && !path.contains(' ')) => format!(".{path}"),
        _ => String::new(),
    }
}

/// Reads the side tables of a step, in the order of its plugin's description.
fn side_tables(
    pipeline: &Pipeline,
    number: usize,
    step: &StepSpec,
    description: &Description,
) -> Result<Vec<(RecordBatch, Vec<segno_core::columns::ColumnType>)>> {
    let mut tables = Vec::new();
    for wanted in &description.side_tables {
        let Some(spec) = step.tables.iter().find(|table| table.name == wanted.name) else {
            return Err(Error::new(
                Code::SideTable,
                format!("step \"{}\": the plugin reads a side table \"{}\", which the step does not name", step.id, wanted.name),
            )
            .with_help(format!("add tables: {{ {}: {{ path: …, format: csv }} }} to the step", wanted.name))
            .with_place(pipeline.place(&format!("steps[{number}]"))));
        };
        let files = rooted_files(&pipeline.file, &spec.files);
        let place = format!("steps[{number}].tables.{}", wanted.name);
        let rows = read_table(SourceSpec::Files(files), wanted).map_err(|error| placed(error, pipeline, &place))?;
        tables.push((rows, wanted.columns.iter().map(|column| column.kind).collect()));
    }
    if let Some(extra) = step.tables.iter().find(|table| !description.side_tables.iter().any(|t| t.name == table.name)) {
        let known: Vec<&str> = description.side_tables.iter().map(|table| table.name.as_str()).collect();
        return Err(Error::new(
            Code::SideTable,
            format!("step \"{}\": the plugin has no side table \"{}\"; it has: {}", step.id, extra.name, known.join(", ")),
        )
        .with_place(pipeline.place(&format!("steps[{number}].tables.{}", extra.name))));
    }
    Ok(tables)
}

fn read_table(spec: SourceSpec, table: &SideTable) -> Result<RecordBatch> {
    let columns: Vec<Column> =
        table.columns.iter().map(|column| Column::new(&column.name, column.kind, column.nullable)).collect();
    let schema = Schema::new(columns.clone()).to_arrow();
    let plan = ReadPlan { columns, time: None };
    let source = segno_input::source::open_source(&spec)?;
    let mut batches = Vec::new();
    let mut rows = 0;
    for partition in source.partitions()? {
        let mut reader = source.open(partition.number, 0, None, &plan)?;
        loop {
            match reader.next(ReadLimit { rows: 65_536, bytes: 16 << 20 })? {
                Next::Chunk(chunk) => {
                    if let Some(bad) = chunk.bad.first() {
                        return Err(Error::new(
                            Code::SideTable,
                            format!(
                                "side table \"{}\": {} at offset {}: [{}] {}",
                                table.name, partition.name, bad.offset, bad.code.name(), bad.reason
                            ),
                        )
                        .with_help("a side table is configuration: every row must be readable"));
                    }
                    rows += chunk.columns.num_rows();
                    if rows > SIDE_TABLE_ROWS_MAX {
                        return Err(Error::new(
                            Code::SideTable,
                            format!("side table \"{}\" has more than {SIDE_TABLE_ROWS_MAX} rows", table.name),
                        ));
                    }
                    batches.push(chunk.columns);
                }
                Next::Waiting | Next::End => break,
            }
        }
    }
    concat_batches(&schema, &batches)
        .map_err(|error| Error::new(Code::Internal, "a side table could not be put together").with_cause(error))
}

fn user_cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(std::env::temp_dir).join("segno")
}

/// Where compiled plugins are kept, for all pipelines of this user.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("SEGNO_PLUGIN_CACHE").map_or_else(|| user_cache().join("plugins"), PathBuf::from)
}

/// The folder of the state store and the lock: one for each pipeline file of this machine.
pub fn work_dir(pipeline: &Pipeline) -> PathBuf {
    if let Some(folder) = &pipeline.work_dir {
        return pipeline.path(folder);
    }
    let file = pipeline.file.canonicalize().unwrap_or_else(|_| pipeline.file.clone());
    let digest = sha256_hex(file.as_os_str().as_encoded_bytes());
    user_cache().join("work").join(format!("{}-{}-{}", pipeline.tenant, pipeline.name, &digest[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_at_the_field_that_it_names() {
        assert_eq!(said_about("config.limits.delays[2]: a number is expected"), ".config.limits.delays[2]");
        assert_eq!(said_about("config: a map is expected"), ".config");
        assert_eq!(said_about("side table `airports`: rows 0 and 1 have the same `iata`"), ".tables.airports");
        assert_eq!(said_about("no idea: config.x"), "");
    }
}
