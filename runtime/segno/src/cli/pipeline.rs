//! Reading a pipeline file, and `segno validate`.

use super::console::Console;
use super::{Outcome, PipelineFile};
use crate::worker::{layout, load};
use crate::worker::open::{open_sink, sink_specs};
use crate::worker::sources::open_one;
use crate::worker::stages::check_topic;
use crate::worker::tables::Databases;
use segno_core::columns::{ColumnType, Schema};
use segno_core::pipeline::graph::{Graph, GraphPort, GraphStep, PortRef};
use segno_core::pipeline::units::show_duration;
use segno_core::pipeline::{Pipeline, SinkKind};
use segno_core::shard::ShardId;
use segno_core::source::{FormatSpec, SourceSpec};
use segno_core::{Code, Error, Kind, Place};
use segno_kafka::Topic;
use serde_json::json;
use std::path::Path;

#[derive(clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    /// Ask no server: topics are not looked for, tables of databases not compared with the rows that they are to take, and
    /// side tables not read.
    #[arg(long, env = "SEGNO_OFFLINE", value_parser = clap::builder::BoolishValueParser::new())]
    offline: bool,
}

/// Reads and checks a pipeline file, with the variables of this process.
pub fn read(file: &Path) -> Result<Pipeline, Vec<Error>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path; `segno explain C007` shows a small pipeline file",
            std::io::ErrorKind::InvalidData => "a pipeline file is UTF-8 text; is it the right file?",
            _ => "name a file that this user may read",
        };
        let message = "the pipeline file cannot be read";
        vec![Error::new(Code::FileUnreadable, message).with_cause(error).with_help(help).with_place(Place::file(file))]
    })?;
    Pipeline::parse(file, &text, &|name| std::env::var(name).ok())
}

/// Reads a pipeline file and shows its warnings.
pub fn read_and_warn(console: &Console, file: &Path) -> Result<Pipeline, Vec<Error>> {
    let pipeline = read(file)?;
    for warning in &pipeline.warnings {
        console.warning(warning);
    }
    Ok(pipeline)
}

/// Opens every source once, so that a missing file, a wrong header or a time format that cannot be used is found before
/// anything is owned or written, and shown where the pipeline file names it.
pub fn check_sources(loaded: &load::Loaded, offline: bool) -> Result<(), Vec<Error>> {
    let pipeline = &loaded.pipeline;
    let mut errors = Vec::new();
    for (number, plan) in loaded.plan.read_plans().iter().enumerate() {
        if offline && matches!(pipeline.source(number), SourceSpec::Kafka(_)) {
            continue;
        }
        let checked = open_one(&pipeline.source(number)).and_then(|source| {
            source.partitions()?.iter().try_for_each(|partition| source.open(partition.number, 0, None, plan).map(drop))
        });
        if let Err(error) = checked {
            errors.push(if error.place().is_some() {
                error
            } else {
                let time = error.message().contains("time_format");
                let kind = if matches!(pipeline.source(number), SourceSpec::Kafka(_)) { "kafka" } else { "files" };
                let part = if time { "time_format" } else { kind };
                error.with_place(pipeline.place(&format!("{}.{part}", pipeline.source_path(number))))
            });
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Looks at the table of every database sink, as a run does when it starts.
fn check_tables(loaded: &load::Loaded) -> Result<(), Vec<Error>> {
    let pipeline = &loaded.pipeline;
    let databases = sink_specs(pipeline, &loaded.plan.graph).into_iter();
    let databases = databases.filter(|(spec, _)| matches!(spec.kind, SinkKind::Postgres(_)));
    let errors: Vec<Error> = databases
        .filter_map(|(spec, schema)| open_sink(pipeline, ShardId::Single, spec, &schema).err())
        .map(|error| placed(pipeline, error))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Gives an error that speaks of a step, a sink or a source the place where the pipeline file describes it.
pub fn placed(pipeline: &Pipeline, error: Error) -> Error {
    if error.place().is_some() {
        return error;
    }
    let message = error.message();
    let named = |kind: &str| {
        let rest = message.strip_prefix(kind)?.strip_prefix(" \"")?;
        rest.split_once('"').map(|(name, _)| name)
    };
    let path = if let Some(id) = named("step") {
        // The repartition step that a stage begins with is its source.
        let begins = pipeline.stage.as_ref().is_some_and(|stage| stage.id == id);
        let at = pipeline.steps.iter().position(|step| step.id == id).map(|at| format!("steps[{at}]"));
        at.or(begins.then(|| "sources[0]".to_owned()))
    } else if let Some(name) = named("sink") {
        match pipeline.sinks.iter().position(|sink| sink.name == name) {
            Some(at) => Some(pipeline.sink_path(at)),
            None => pipeline.dlq.as_ref().filter(|dlq| dlq.name == name).map(|_| "dlq".to_owned()),
        }
    } else {
        let at = named("source").and_then(|name| pipeline.sources.iter().position(|source| source.spec.name() == name));
        // Errors of a source's files name the file; with a single source that is enough.
        let only = error.code().name().starts_with('S') && pipeline.sources.len() == 1;
        at.or(only.then_some(0)).map(|at| pipeline.source_path(at))
    };
    match path {
        Some(path) => error.with_place(pipeline.place(&path)),
        None if error.kind() == Kind::Configuration => error.with_place(Place::file(&pipeline.file)),
        None => error,
    }
}

/// The stage that has a step which was named on the command line.
pub fn stage_of<'p>(pipeline: &'p mut Pipeline, id: &str) -> Result<&'p mut Pipeline, Error> {
    let of_stage = |stage: &Pipeline| stage.steps.iter().any(|step| step.id == id);
    if of_stage(pipeline) {
        return Ok(pipeline);
    }
    let later = pipeline.later.iter().position(of_stage);
    match later {
        Some(at) => Ok(&mut pipeline.later[at]),
        None => {
            let stages = std::iter::once(&*pipeline).chain(&pipeline.later);
            let ids: Vec<&str> = stages.flat_map(|stage| &stage.steps).map(|step| step.id.as_str()).collect();
            Err(Error::new(Code::UnknownStep, format!("the pipeline has no step \"{id}\"")).with_help(format!("its steps are: {}", ids.join(", "))))
        }
    }
}

/// Where a step stands that was named on the command line.
pub fn step_position(pipeline: &Pipeline, id: &str) -> Result<usize, Error> {
    let ids: Vec<&str> = pipeline.steps.iter().map(|step| step.id.as_str()).collect();
    ids.iter().position(|one| *one == id).ok_or_else(|| {
        Error::new(Code::UnknownStep, format!("the pipeline has no step \"{id}\"")).with_help(format!("its steps are: {}", ids.join(", ")))
    })
}

/// An error of the checkpoint store, shown where the pipeline file names it.
pub fn at_store(pipeline: &Pipeline, error: Error) -> Error {
    if error.place().is_some() { error } else { error.with_place(pipeline.place("checkpoint.store")) }
}

pub fn validate(console: &Console, args: &ValidateArgs) -> Outcome {
    let pipeline = read_and_warn(console, &args.pipeline.file)?;
    let warnings: Vec<&str> = pipeline.warnings.iter().map(|warning| warning.code().name()).collect();
    let shown = json!({
        "valid": true,
        "pipeline": pipeline.name,
        "warnings": warnings,
    });
    // Also runs each plugin's `init`, where it has what it wants: that is where a plugin refuses its configuration.
    let databases = if args.offline { Databases::offline() } else { Databases::default() };
    let file = pipeline.file.clone();
    let stages = load::load(pipeline, databases)?;
    for loaded in &stages {
        let mut topic = Topic::There;
        if !args.offline {
            topic = check_topic(&loaded.pipeline, false).map_err(|error| placed(&loaded.pipeline, error))?;
        }
        // A topic that is not there is made by the first run.
        check_sources(loaded, args.offline || topic == Topic::Missing)?;
        if !args.offline {
            if topic != Topic::Missing {
                layout::wanted(loaded).map_err(|error| placed(&loaded.pipeline, error))?;
            }
            check_tables(loaded)?;
        }
    }
    let mut shown = shown;
    let of_stage = |loaded: &load::Loaded| {
        let components = loaded.plan.steps.iter().map(|step| (step.id.clone(), json!(step.component)));
        let undeclared = undeclared(&loaded.pipeline, &loaded.plan.graph);
        json!({"graph": loaded.plan.graph, "undeclared": undeclared, "components": components.collect::<serde_json::Map<_, _>>()})
    };
    if let [only] = stages.as_slice() {
        let of_stage = of_stage(only);
        shown["graph"] = of_stage["graph"].clone();
        shown["components"] = of_stage["components"].clone();
        shown["undeclared"] = of_stage["undeclared"].clone();
    } else {
        let stages = stages.iter().map(|loaded| {
            let mut shown = of_stage(loaded);
            shown["stage"] = json!(loaded.pipeline.stage_name());
            shown["shards"] = json!(loaded.pipeline.stage.as_ref().map(|stage| stage.partitions));
            shown
        });
        shown["stages"] = stages.collect();
    }
    let text = || {
        let mut text = format!("{} is valid\n", file.display());
        for loaded in &stages {
            if let Some(stage) = &loaded.pipeline.stage {
                text.push_str(&format!(
                    "stage {}: by {} in {} shards, through topic {}\n",
                    stage.id, stage.key, stage.partitions, stage.topic
                ));
            }
            text.push_str(&describe(&loaded.pipeline, &loaded.plan.graph));
        }
        text
    };
    console.result(text, &shown);
    Ok(0)
}

/// Columns that are read because a plugin wants them, and of which no source says that it has them: of JSON only its records
/// know.
fn undeclared(pipeline: &Pipeline, graph: &Graph) -> Vec<String> {
    let json = |spec: &SourceSpec| match spec {
        SourceSpec::Files(files) => files.format == FormatSpec::Json,
        SourceSpec::Kafka(kafka) => kafka.format == FormatSpec::Json,
        SourceSpec::Nexmark(_) => false,
    };
    let lacks = |name: &str| {
        let mut sources = pipeline.sources.iter();
        sources.any(|source| json(&source.spec) && source.columns.iter().all(|column| column.name != name))
    };
    let names = graph.source.columns.iter().map(|column| column.name.as_str());
    names.filter(|name| !name.starts_with("kafka.") && lacks(name)).map(str::to_owned).collect()
}

/// Columns that a step reads as one type and gives as another: what stands behind it sees the new one.
fn retyped<'g>(step: &'g GraphStep, port: &'g GraphPort) -> Vec<(&'g str, ColumnType, ColumnType)> {
    let read = step.read_schema.columns.iter();
    let both = read.filter_map(|column| Some((column.name.as_str(), column.ty, port.declared.get(&column.name)?.ty)));
    both.filter(|(_, before, now)| port.used && before != now).collect()
}

fn describe(pipeline: &Pipeline, graph: &Graph) -> String {
    let mut text = String::new();
    for source in &pipeline.sources {
        let what = match &source.spec {
            SourceSpec::Files(files) => files.path.clone(),
            SourceSpec::Nexmark(_) => "nexmark".to_owned(),
            SourceSpec::Kafka(kafka) if matches!(kafka.format, FormatSpec::Rows { .. }) => format!("topic {}", kafka.topics.join(", ")),
            SourceSpec::Kafka(kafka) => format!("kafka {}", kafka.topics.join(", ")),
        };
        text.push_str(&format!("  source {:<16} {what}\n", source.spec.name()));
    }
    text.push_str(&format!("    reads {}\n", columns(&graph.source)));
    let unknown = undeclared(pipeline, graph);
    if !unknown.is_empty() {
        text.push_str(&format!("    of these, taken on trust {} (declare them under columns: of the source)\n", unknown.join(", ")));
    }
    for (step, spec) in graph.steps.iter().zip(&pipeline.steps) {
        text.push_str(&format!("  step   {:<16} {}\n", step.id, spec.plugin.display()));
        let from = port_name(graph, step.input);
        text.push_str(&format!("    reads {} from {from}\n", columns(&step.read_schema)));
        if !spec.key.is_empty() {
            text.push_str(&format!("    by    {} in {} lanes\n", spec.key.join(", "), step.lanes));
        }
        if let Some(ttl) = spec.ttl {
            let ttl = show_duration(ttl);
            text.push_str(&format!("    keeps a key for {ttl} of event time after its last record (ttl)\n"));
        }
        for port in &step.outputs {
            let what = if port.used { columns(&port.schema) } else { "nothing that anybody reads".to_owned() };
            text.push_str(&format!("    gives {what} on {}\n", port.name));
            for (name, before, now) in retyped(step, port) {
                text.push_str(&format!("      {name} is {now} from here on, and {before} in what the step reads\n"));
            }
        }
    }
    for sink in &graph.sinks {
        let spec = &pipeline.sinks[sink.sink];
        let what = if spec.kind.is_repartition() { "step  " } else { "sink  " };
        text.push_str(&format!("  {what} {:<16} {}\n", spec.name, sink_kind(&spec.kind)));
        text.push_str(&format!("    writes {} from {}\n", columns(&sink.schema), port_name(graph, sink.input)));
    }
    if let Some(dlq) = &pipeline.dlq {
        text.push_str(&format!("  dead letters            {}\n", sink_kind(&dlq.kind)));
    }
    text
}

fn sink_kind(kind: &SinkKind) -> String {
    match kind {
        SinkKind::Files { path, .. } => path.display().to_string(),
        SinkKind::Stdout { .. } => "standard output (at least once)".to_owned(),
        SinkKind::Blackhole => "counted and dropped".to_owned(),
        SinkKind::Kafka(kafka) if kind.is_repartition() => format!("repartition, topic {}", kafka.topic),
        SinkKind::Kafka(kafka) => format!("kafka {}", kafka.topic),
        SinkKind::Postgres(postgres) => format!("postgres {}", postgres.table),
    }
}

fn columns(schema: &Schema) -> String {
    if schema.columns.is_empty() {
        return "no columns".to_owned();
    }
    let one = |column: &segno_core::columns::Column| {
        format!("{}: {}{}", column.name, column.ty, if column.nullable { "?" } else { "" })
    };
    schema.columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn port_name(graph: &Graph, port: PortRef) -> String {
    match port {
        PortRef::Source => "source".to_owned(),
        PortRef::Step { step, port } => {
            let step = &graph.steps[step];
            format!("{}.{}", step.id, step.outputs[port].name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "\
version: 1
name: x
source: { files: a, format: json, name: input }
steps: [{ id: clean, plugin: a.wasm }]
sinks:
  - { files: out }
dlq: { files: dead }
checkpoint: { store: \"s3://b\" }
";

    #[test]
    fn an_error_about_a_part_is_shown_at_that_part() {
        let pipeline = Pipeline::parse(Path::new("p.yaml"), YAML, &|_| None).unwrap();
        let at = |message: &str| {
            placed(&pipeline, Error::new(Code::SinkUnwritable, message)).place().map(Place::line_column)
        };
        assert_eq!(at("step \"clean\": failed"), Some((4, 9)));
        assert_eq!(at("sink \"files\" cannot write"), Some((6, 5)));
        assert_eq!(at("sink \"dlq\" cannot write"), Some((7, 1)));
        assert_eq!(at("source \"input\": gone"), Some((3, 1)));
        let file = placed(&pipeline, Error::new(Code::SourceShrunk, "a has 20 bytes now"));
        assert_eq!(file.place().map(Place::line_column), Some((3, 1)));
        let whole = placed(&pipeline, Error::new(Code::ChangedPipeline, "it has changed"));
        assert_eq!(whole.place(), Some(&Place::file("p.yaml")));
        assert!(placed(&pipeline, Error::new(Code::JournalGap, "step \"other\": failed")).place().is_none());
    }

    #[test]
    fn columns_that_no_source_declares_are_named() {
        use segno_core::columns::Column;
        let shown = |source: &str| {
            let yaml = YAML.replace("source: { files: a, format: json, name: input }", source);
            let pipeline = Pipeline::parse(Path::new("p.yaml"), &yaml, &|_| None).unwrap();
            let columns = vec![Column::new("id", ColumnType::I64, false), Column::new("name", ColumnType::Utf8, true)];
            undeclared(&pipeline, &Graph { source: Schema::new(columns), steps: Vec::new(), sinks: Vec::new() })
        };
        assert_eq!(shown("source: { files: a, format: json }"), ["id", "name"]);
        assert_eq!(shown("source: { files: a, format: json, columns: { id: i64 } }"), ["name"]);
        assert!(shown("source: { files: a, format: parquet }").is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let errors = read(Path::new("/nowhere/p.yaml")).unwrap_err();
        assert_eq!(errors[0].code(), Code::FileUnreadable);
        assert!(errors[0].to_string().contains("/nowhere/p.yaml"));
    }
}
