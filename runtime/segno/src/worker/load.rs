//! From a pipeline file to a plan: plugins described, the graph checked, `init` run with what it wants.
//!
//! Owns: everything that is read before a shard is opened, and the bytes that go into the archive.
//! Does not own: the checks themselves (`segno_core::pipeline`, `segno-plugin`), side tables (`tables`).

use super::plan::{PLAN_VERSION, Plan, PlannedSink, PlannedSource, PlannedStep, PlannedTable, sha256_hex};
use crate::shard::program::Program;
use super::refresh::Newest;
use super::stages::check;
use super::tables::{self, Databases, ReadTable};
use arrow_array::RecordBatch;
use segno_core::columns::Schema;
use segno_core::columns::frame::init_message;
use segno_core::pipeline::graph::{self, Graph};
use segno_core::pipeline::{Pipeline, SinkKind, SourceBlock, StepSpec};
use segno_core::source::{FormatSpec, KafkaSpec, SourceSpec};
use segno_core::{Code, Error, Result};
use segno_plugin::{Component, Engine};
use segno_wire::Description;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Components and init messages by SHA-256.
pub type Blobs = BTreeMap<String, Arc<Vec<u8>>>;

/// A checked pipeline with everything that its plan names.
pub struct Loaded {
    pub pipeline: Pipeline,
    pub engine: Engine,
    pub plan: Plan,
    pub blobs: Blobs,
    pub work_dir: PathBuf,
    /// What the plan was put together from, to do it again with other rows; the tables only where some are read again.
    pub(super) checked: Arc<Checked>,
    pub(super) tables: Vec<Vec<ReadTable>>,
    /// Of rows that were read again.
    pub(super) newest: Newest,
    program: Mutex<Option<Arc<Program>>>,
}

impl Loaded {
    /// The program of the plan: one for all shards of this process.
    pub fn program(&self) -> Result<Arc<Program>> {
        let mut kept = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*kept {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(self.plan.program(&self.engine, &self.blobs)?);
        *kept = Some(Arc::clone(&program));
        Ok(program)
    }
}

/// The plugins of a pipeline and the graph that they make.
pub struct Checked {
    pub components: Vec<(Component, Arc<Vec<u8>>)>,
    pub graph: Graph,
}

/// The plugins of a pipeline, and what is known of its sources: all that the graph is made of.
pub(super) struct Admitted {
    pub components: Vec<(Component, Arc<Vec<u8>>)>,
    descriptions: BTreeMap<String, Description>,
    /// By source.
    pub schemas: Vec<Option<Schema>>,
}

impl Admitted {
    pub fn graph(&self, pipeline: &Pipeline) -> Result<Graph, Vec<Error>> {
        // What a repartition topic holds is known from what flows into it.
        let carried = |source: &SourceBlock| match &source.spec {
            SourceSpec::Kafka(KafkaSpec { format: FormatSpec::Rows { columns }, .. }) => Some(Schema::new(columns.clone())),
            _ => None,
        };
        let schemas: Vec<Option<Schema>> =
            pipeline.sources.iter().zip(&self.schemas).map(|(source, schema)| carried(source).or_else(|| schema.clone())).collect();
        graph::build(pipeline, &self.descriptions, &schemas)
    }
}

/// Admits every plugin, and asks the sources for their columns.
pub(super) fn admit(pipeline: &Pipeline, engine: &Engine) -> Result<Admitted, Vec<Error>> {
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
    Ok(Admitted { components, descriptions, schemas })
}

pub(super) fn placed(error: Error, pipeline: &Pipeline, path: &str) -> Error {
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

/// Everything that a run of each stage needs, short of a shard. Databases that are not asked leave their plugins without
/// `init`.
pub fn load(pipeline: Pipeline, mut databases: Databases) -> Result<Vec<Loaded>, Vec<Error>> {
    let engine = Engine::new(Some(&cache_dir())).map_err(|error| vec![error])?;
    let mut stages = pipeline.into_stages();
    let checked = check(&mut stages, &engine)?;
    let mut read = Vec::new();
    let mut errors = Vec::new();
    for (pipeline, checked) in stages.iter().zip(&checked) {
        match read_tables(pipeline, checked, &mut databases) {
            Ok(tables) => read.push(tables),
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let asked = databases.are_asked();
    // What they saw is read: nothing holds the databases' old rows any longer.
    drop(databases);
    let parts = stages.into_iter().zip(checked).zip(read);
    parts.map(|((pipeline, checked), read)| put_together(pipeline, engine.clone(), checked, read, asked)).collect()
}

fn read_tables(pipeline: &Pipeline, checked: &Checked, databases: &mut Databases) -> Result<Vec<Vec<ReadTable>>, Vec<Error>> {
    let mut read = Vec::new();
    let mut errors = Vec::new();
    for (number, (step, (component, _))) in pipeline.steps.iter().zip(&checked.components).enumerate() {
        match tables::read(pipeline, number, step, &component.description, databases) {
            Ok(tables) => read.push(tables),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(read) } else { Err(errors) }
}

fn put_together(
    pipeline: Pipeline,
    engine: Engine,
    checked: Checked,
    read: Vec<Vec<ReadTable>>,
    asked: bool,
) -> Result<Loaded, Vec<Error>> {
    let work_dir = work_dir(&pipeline);
    let (plan, blobs) = assemble(&pipeline, &engine, &checked, &read, asked)?;
    let is_read_again = |table: &ReadTable| table.database.as_ref().is_some_and(|from| from.spec.refresh.is_some());
    let tables = if read.iter().flatten().any(is_read_again) { read } else { Vec::new() };
    let (checked, newest) = (Arc::new(checked), Newest::default());
    Ok(Loaded { pipeline, engine, plan, blobs, work_dir, checked, tables, newest, program: Mutex::default() })
}

/// Puts the plan together, and runs every plugin's `init`; where `databases_asked` is false, not of those that want rows
/// of one.
pub(super) fn assemble(
    pipeline: &Pipeline,
    engine: &Engine,
    checked: &Checked,
    tables: &[Vec<ReadTable>],
    databases_asked: bool,
) -> Result<(Plan, Blobs), Vec<Error>> {
    let mut blobs = BTreeMap::new();
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    for (number, (step, (component, bytes))) in pipeline.steps.iter().zip(&checked.components).enumerate() {
        let Initial { whole: init, without, tables } = match initial(step, &tables[number]) {
            Ok(initial) => initial,
            Err(error) => {
                errors.push(Error::new(Code::Internal, format!("step \"{}\": {error}", step.id)));
                continue;
            }
        };
        // Here and not at the first epoch: `init` is where a plugin refuses its configuration.
        let limits = super::plan::limits(&step.limits);
        if (databases_asked || tables.is_empty())
            && let Err(error) = engine.template(component, &init, &limits)
        {
            let named = Error::new(error.code(), format!("step \"{}\": {}", step.id, error.message()));
            let named = match error.help() {
                Some(help) => named.with_help(help),
                None => named,
            };
            errors.push(placed(named, pipeline, &format!("steps[{number}]{}", said_about(error.message()))));
            continue;
        }
        let sha256 = sha256_hex(&init);
        steps.push(PlannedStep {
            id: step.id.clone(),
            component: component.inspection.sha256.clone(),
            init: sha256.clone(),
            init_without: without,
            tables,
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
    let plan = Plan { version: PLAN_VERSION, sources, graph: checked.graph.clone(), steps, sinks };
    Ok((plan, blobs))
}

/// What the `init` of a step gets.
struct Initial {
    whole: Vec<u8>,
    /// SHA-256 of the message without rows of databases, where there are tables of databases.
    without: Option<String>,
    tables: Vec<PlannedTable>,
}

fn initial(step: &StepSpec, tables: &[ReadTable]) -> Result<Initial, segno_wire::WireError> {
    let message = |rows: &dyn Fn(&ReadTable) -> RecordBatch| {
        let tables: Vec<_> = tables.iter().map(|table| (rows(table), table.types.clone())).collect();
        init_message(&step.config, &tables)
    };
    let mut planned = Vec::new();
    for table in tables {
        let Some(database) = &table.database else { continue };
        let alone = init_message(&serde_json::Value::Null, &[(table.batch.clone(), table.types.clone())])?;
        planned.push(PlannedTable {
            name: table.name.clone(),
            from: database.spec.clone(),
            sha256: sha256_hex(&alone),
            rows: table.batch.num_rows() as u64,
            read_at_ms: database.read_at_ms,
        });
    }
    let whole = message(&|table| table.batch.clone())?;
    let without = message(&|table| match table.database {
        Some(_) => table.batch.slice(0, 0),
        None => table.batch.clone(),
    })?;
    Ok(Initial { whole, without: (!planned.is_empty()).then(|| sha256_hex(&without)), tables: planned })
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

fn user_cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(std::env::temp_dir).join("segno")
}

/// Where compiled plugins are kept, for all pipelines of this user.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("SEGNO_PLUGIN_CACHE").map_or_else(|| user_cache().join("plugins"), PathBuf::from)
}

/// The folder of the state store and the lock: one for each pipeline file of this machine, and within it one for each stage
/// behind the first.
pub fn work_dir(pipeline: &Pipeline) -> PathBuf {
    let whole = whole_work_dir(pipeline);
    match &pipeline.stage {
        None => whole,
        Some(stage) => whole.join(format!("stage-{}", stage.id)),
    }
}

/// The folder of the first stage, where `segno status` asks.
pub fn whole_work_dir(pipeline: &Pipeline) -> PathBuf {
    if let Some(folder) = &pipeline.work_dir {
        return pipeline.path(folder);
    }
    let file = pipeline.file.canonicalize().unwrap_or_else(|_| pipeline.file.clone());
    let digest = sha256_hex(file.as_os_str().as_encoded_bytes());
    // A stage is called pipeline.step.
    let name = pipeline.name.split('.').next().unwrap_or_default();
    user_cache().join("work").join(format!("{}-{name}-{}", pipeline.tenant, &digest[..12]))
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
