//! `segno inspect`, and reading a component for other commands.

use super::Outcome;
use super::console::{Console, size};
use crate::worker::load::cache_dir;
use segno_core::{Code, Error, Place, Result};
use segno_plugin::{Component, Engine, Limits};
use segno_wire::Description;
use segno_wire::describe::{ColumnSpec, OutputKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct InspectArgs {
    /// The component.
    #[arg(value_name = "X.wasm")]
    file: PathBuf,
}

/// Reads a component file, admits and describes it. Every error names the file.
pub fn load(engine: &Engine, file: &Path) -> Result<Component> {
    let bytes = std::fs::read(file).map_err(|error| {
        Error::new(Code::PluginMissing, "the component cannot be read")
            .with_cause(error)
            .with_help("name the .wasm file that `segno build` made")
            .with_place(Place::file(file))
    })?;
    engine.load(&bytes, &Limits::default()).map_err(|error| if error.place().is_some() { error } else { error.with_place(Place::file(file)) })
}

pub fn inspect(console: &Console, args: &InspectArgs) -> Outcome {
    let component = load(&Engine::new(Some(&cache_dir()))?, &args.file)?;
    let inspection = &component.inspection;
    let shown = json!({
        "file": args.file.display().to_string(),
        "sha256": inspection.sha256,
        "bytes": inspection.bytes,
        "imports": inspection.imports,
        "exports": inspection.exports,
        "description": description_json(&component.description),
    });
    console.result(|| describe(&args.file, &component), &shown);
    Ok(0)
}

/// The description as the plugin gave it.
pub fn description_json(description: &Description) -> Value {
    serde_json::from_slice(description.to_json().as_bytes()).unwrap_or(Value::Null)
}

fn columns(columns: &[ColumnSpec]) -> String {
    if columns.is_empty() {
        return "nothing".to_owned();
    }
    let one = |column: &ColumnSpec| format!("{}: {}{}", column.name, column.kind, if column.nullable { "?" } else { "" });
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn describe(file: &Path, component: &Component) -> String {
    let description = &component.description;
    let inspection = &component.inspection;
    let mut text = format!("{} {} ({})\n", description.name, description.version, file.display());
    text.push_str(&parts(description));
    text.push_str(&format!("  imports    {}\n", inspection.imports.join(", ")));
    text.push_str(&format!("  exports    {}\n", inspection.exports.join(", ")));
    text.push_str(&format!("  component  {}, sha256 {}\n", size(inspection.bytes as u64), inspection.sha256));
    text
}

/// What a plugin reads, gives, keeps and wants, a line each.
pub fn parts(description: &Description) -> String {
    let mut text = String::new();
    for port in &description.inputs {
        text.push_str(&format!("  reads      {}\n", columns(&port.columns)));
    }
    if description.event_time {
        text.push_str("             and the event time\n");
    }
    for port in &description.outputs {
        let how = match port.kind {
            OutputKind::Extend if port.columns.is_empty() => "the input's columns".to_owned(),
            OutputKind::Extend => format!("the input's columns and {}", columns(&port.columns)),
            OutputKind::PerKey if port.columns.is_empty() => "the key's columns".to_owned(),
            OutputKind::PerKey => format!("the key's columns and {}", columns(&port.columns)),
            OutputKind::Emit => columns(&port.columns),
        };
        text.push_str(&format!("  gives      {how} on {}\n", port.name));
    }
    for table in &description.tables {
        let one = |column: &segno_wire::describe::StateColumn| {
            let kind = if column.items.is_empty() { column.kind.to_string() } else { "list".to_owned() };
            format!("{}: {kind}{}", column.name, if column.nullable { "?" } else { "" })
        };
        let columns = table.columns.iter().map(one).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("  keeps      {columns} by key in {} (version {})\n", table.name, table.version));
    }
    if description.timers {
        text.push_str("  sets       timers by key, in event time\n");
    }
    for table in &description.side_tables {
        let key = table.key.as_ref().map_or(String::new(), |key| format!(", unique by {key}"));
        text.push_str(&format!("  wants      side table {}: {}{key}\n", table.name, columns(&table.columns)));
    }
    text
}
