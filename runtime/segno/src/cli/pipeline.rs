//! Reading a pipeline file, and `segno validate`.

use super::console::Console;
use super::{Outcome, PipelineFile};
use crate::worker::load;
use segno_core::columns::Schema;
use segno_core::pipeline::graph::{Graph, PortRef};
use segno_core::pipeline::{Pipeline, SinkKind};
use segno_core::source::SourceSpec;
use segno_core::{Code, Error, Place};
use serde_json::json;
use std::path::Path;

#[derive(clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
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

pub fn validate(console: &Console, args: &ValidateArgs) -> Outcome {
    let pipeline = read_and_warn(console, &args.pipeline.file)?;
    let warnings: Vec<&str> = pipeline.warnings.iter().map(|warning| warning.code().name()).collect();
    let shown = json!({
        "valid": true,
        "pipeline": pipeline.name,
        "warnings": warnings,
    });
    // Also runs each plugin's `init`: that is where a plugin refuses its configuration.
    let loaded = load::load(pipeline)?;
    let mut shown = shown;
    shown["graph"] = json!(loaded.plan.graph);
    shown["components"] =
        loaded.plan.steps.iter().map(|step| (step.id.clone(), json!(step.component))).collect::<serde_json::Map<_, _>>().into();
    console.result(|| describe(&loaded.pipeline, &loaded.plan.graph), &shown);
    Ok(0)
}

fn describe(pipeline: &Pipeline, graph: &Graph) -> String {
    let mut text = format!("{} is valid\n", pipeline.file.display());
    for source in &pipeline.sources {
        let what = match &source.spec {
            SourceSpec::Files(files) => files.path.clone(),
            SourceSpec::Nexmark(_) => "nexmark".to_owned(),
        };
        text.push_str(&format!("  source {:<16} {what}\n", source.spec.name()));
    }
    text.push_str(&format!("    reads {}\n", columns(&graph.source)));
    for (step, spec) in graph.steps.iter().zip(&pipeline.steps) {
        text.push_str(&format!("  step   {:<16} {}\n", step.id, spec.plugin.display()));
        let from = port_name(graph, step.input);
        text.push_str(&format!("    reads {} from {from}\n", columns(&step.read_schema)));
        if !spec.key.is_empty() {
            text.push_str(&format!("    by    {} in {} lanes\n", spec.key.join(", "), step.lanes));
        }
        for port in &step.outputs {
            let what = if port.used { columns(&port.schema) } else { "nothing that anybody reads".to_owned() };
            text.push_str(&format!("    gives {what} on {}\n", port.name));
        }
    }
    for sink in &graph.sinks {
        let spec = &pipeline.sinks[sink.sink];
        text.push_str(&format!("  sink   {:<16} {}\n", spec.name, sink_kind(&spec.kind)));
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
