//! Which columns flow along which edge: every read traced back to the step, or the source, that gives the column.
//!
//! Owns: the checks of names, types and ports, and the types of the source's columns.
//! Does not own: indices (`build`).
//!
//! Invariants: an edge between two steps has equal types on both ends. A column of the source is decoded once, as one
//! type; where its format does not fix the type, the readers do, and agree.

use super::PortRef;
use crate::columns::{Column, ColumnType, Schema};
use crate::pipeline::fields::{list, nearest, suggest};
use crate::pipeline::spec::*;
use crate::source::{FormatSpec, SourceSpec};
use crate::{Code, Error};
use segno_wire::Description;
use segno_wire::describe::{OutputKind, OutputPort};
use std::collections::BTreeMap;

/// Somebody reads a column of the source.
struct Demand {
    column: String,
    /// The type and whether null is welcome; `None` where any will do (keys, sinks).
    wants: Option<(ColumnType, bool)>,
    /// For messages: `step "score" reads`.
    who: String,
    /// A path of the pipeline file.
    at: String,
}

pub struct Flow<'a> {
    pub pipeline: &'a Pipeline,
    /// In the order of the steps.
    pub descriptions: Vec<&'a Description>,
    /// Input of each step.
    pub inputs: Vec<PortRef>,
    /// Input of each sink.
    pub sink_inputs: Vec<PortRef>,
    /// Every column that the source can give, with its type.
    pub source: Vec<Column>,
    demands: Vec<Demand>,
    pub errors: Vec<Error>,
}

/// Where a column comes from.
enum Origin<'a> {
    Source,
    Step { step: usize, column: &'a segno_wire::describe::ColumnSpec },
    /// The step emits rows of its own, without that column.
    Nowhere { step: usize },
}

impl<'a> Flow<'a> {
    pub fn trace(
        pipeline: &'a Pipeline,
        descriptions: &'a BTreeMap<String, Description>,
        source_schemas: &[Option<Schema>],
    ) -> Result<Flow<'a>, Vec<Error>> {
        let mut found = Vec::with_capacity(pipeline.steps.len());
        for step in &pipeline.steps {
            match descriptions.get(&step.id) {
                Some(description) => found.push(description),
                None => {
                    return Err(vec![Error::new(Code::Internal, format!("step \"{}\" has no description", step.id))]);
                }
            }
        }
        let mut flow = Flow {
            pipeline,
            descriptions: found,
            inputs: Vec::new(),
            sink_inputs: Vec::new(),
            source: Vec::new(),
            demands: Vec::new(),
            errors: Vec::new(),
        };
        flow.ports();
        if !flow.errors.is_empty() {
            return Err(flow.errors);
        }
        for step in 0..pipeline.steps.len() {
            flow.step_reads(step);
        }
        for sink in 0..pipeline.sinks.len() {
            flow.sink_reads(sink);
        }
        flow.type_source(source_schemas);
        if flow.errors.is_empty() { Ok(flow) } else { Err(flow.errors) }
    }

    pub fn port(&self, step: usize, port: usize) -> &'a OutputPort {
        &self.descriptions[step].outputs[port]
    }

    pub fn error(&mut self, code: Code, at: &str, message: String, help: impl Into<String>) {
        let place = self.pipeline.place(at);
        self.errors.push(Error::new(code, message).with_help(help).with_place(place));
    }

    /// Where a step's reading is best shown.
    fn reader_at(&self, step: usize) -> String {
        format!("steps[{step}].{}", if self.pipeline.spots.has(&format!("steps[{step}].from")) { "from" } else { "plugin" })
    }

    fn ports(&mut self) {
        for (number, step) in self.pipeline.steps.iter().enumerate() {
            let input = self.resolve(&step.from, &format!("steps[{number}].from"), &format!("step \"{}\"", step.id));
            self.inputs.push(input);
            let description = self.descriptions[number];
            if description.inputs.len() != 1 {
                let count = description.inputs.len();
                self.error(
                    Code::PortCount,
                    &format!("steps[{number}].plugin"),
                    format!("the plugin of step \"{}\" has {count} input ports; a step reads one stream", step.id),
                    "use a plugin with one input port; `segno inspect` prints a plugin's ports",
                );
            }
            self.keyed(number);
            self.side_tables(number);
            if description.event_time && self.pipeline.sources.iter().any(|source| source.time.is_none()) {
                self.error(
                    Code::EventTimeMissing,
                    &format!("steps[{number}].plugin"),
                    format!("the plugin of step \"{}\" wants event times, and the source has none", step.id),
                    "say on the source which column holds it: time: column",
                );
            }
        }
        for (number, sink) in self.pipeline.sinks.iter().enumerate() {
            let at = self.pipeline.sink_path(number);
            let input = self.resolve(&sink.from, &format!("{at}.from"), &format!("sink \"{}\"", sink.name));
            self.sink_inputs.push(input);
        }
    }

    fn resolve(&mut self, from: &Upstream, at: &str, who: &str) -> PortRef {
        let (step, name) = match from {
            Upstream::Source => return PortRef::Source,
            Upstream::Step { step, port } => (*step, port.as_deref()),
        };
        let id = self.pipeline.steps[step].id.clone();
        let outputs = &self.descriptions[step].outputs;
        let port = match name {
            None => (!outputs.is_empty()).then_some(0),
            Some(name) => outputs.iter().position(|port| port.name == name),
        };
        match port {
            Some(port) => PortRef::Step { step, port },
            None => {
                let names: Vec<&str> = outputs.iter().map(|port| port.name.as_str()).collect();
                let (message, help) = match name {
                    _ if names.is_empty() => (
                        format!("{who} reads from step \"{id}\", whose plugin gives nothing"),
                        "read from the source or from another step".to_owned(),
                    ),
                    Some(name) => (
                        format!("{who} reads from \"{id}.{name}\", and the plugin of step \"{id}\" has no such port"),
                        suggest(name, "its ports are", names.iter().copied()),
                    ),
                    None => (format!("{who} reads from step \"{id}\", whose plugin gives nothing"), String::new()),
                };
                self.error(Code::PortUnknown, at, message, help);
                PortRef::Source
            }
        }
    }

    fn keyed(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let tables = !self.descriptions[number].tables.is_empty();
        if tables && step.key.is_empty() {
            let columns = self.descriptions[number].inputs.first().map(|port| &port.columns);
            let example = columns.and_then(|columns| columns.first()).map_or("column", |column| column.name.as_str());
            self.error(
                Code::KeyMissing,
                &format!("steps[{number}]"),
                format!("step \"{}\" keeps state by key, and key: is missing", step.id),
                format!("name the columns that make the key, as in key: /{}", example.replace('.', "/")),
            );
        } else if !tables && !step.key.is_empty() {
            self.error(
                Code::KeyMissing,
                &format!("steps[{number}].key"),
                format!("step \"{}\" has a key, and its plugin keeps no state", step.id),
                "remove key: only plugins with tables use it",
            );
        }
    }

    fn side_tables(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let wanted: Vec<&str> =
            self.descriptions[number].side_tables.iter().map(|table| table.name.as_str()).collect();
        let given: Vec<&str> = step.tables.iter().map(|table| table.name.as_str()).collect();
        for name in &wanted {
            if !given.contains(name) {
                self.error(
                    Code::TableMismatch,
                    &format!("steps[{number}].tables"),
                    format!("the plugin of step \"{}\" wants a side table \"{name}\"", step.id),
                    format!("add tables: {{ {name}: {{ path: ./{name}.csv }} }}"),
                );
            }
        }
        for name in &given {
            if !wanted.contains(name) {
                let help = match nearest(name, wanted.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None if wanted.is_empty() => "remove it: the plugin wants no side tables".to_owned(),
                    None => format!("the plugin wants {}", list(wanted.iter().copied())),
                };
                self.error(
                    Code::TableMismatch,
                    &format!("steps[{number}].tables.{name}"),
                    format!("the plugin of step \"{}\" has no side table \"{name}\"", step.id),
                    help,
                );
            }
        }
    }

    fn origin(&self, mut port: PortRef, column: &str) -> Origin<'a> {
        loop {
            let PortRef::Step { step, port: number } = port else { return Origin::Source };
            let output = self.port(step, number);
            if let Some(column) = output.columns.iter().find(|one| one.name == column) {
                return Origin::Step { step, column };
            }
            match output.kind {
                OutputKind::Extend => port = self.inputs[step],
                OutputKind::Emit => return Origin::Nowhere { step },
            }
        }
    }

    fn step_reads(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let who = format!("step \"{}\" reads", step.id);
        let at = self.reader_at(number);
        let description = self.descriptions[number];
        for column in description.inputs.iter().flat_map(|port| &port.columns) {
            self.read(self.inputs[number], &column.name, Some((column.kind, column.nullable)), &who, &at);
        }
        let who = format!("step \"{}\" has the key", step.id);
        for (index, column) in step.key.iter().enumerate() {
            self.read(self.inputs[number], column, None, &who, &format!("steps[{number}].key[{index}]"));
        }
    }

    fn sink_reads(&mut self, number: usize) {
        let sink = &self.pipeline.sinks[number];
        let who = format!("sink \"{}\" writes", sink.name);
        let path = self.pipeline.sink_path(number);
        for (index, column) in sink.columns.iter().flatten().enumerate() {
            self.read(self.sink_inputs[number], column, None, &who, &format!("{path}.columns[{index}]"));
        }
    }

    fn read(&mut self, port: PortRef, name: &str, wants: Option<(ColumnType, bool)>, who: &str, at: &str) {
        let wanted = wants.map_or(name.to_owned(), |(ty, _)| format!("{name}: {ty}"));
        match self.origin(port, name) {
            Origin::Source => self.demands.push(Demand {
                column: name.to_owned(),
                wants,
                who: who.to_owned(),
                at: at.to_owned(),
            }),
            Origin::Step { step, column } => {
                let giver = &self.pipeline.steps[step].id;
                if let Some((ty, _)) = wants.filter(|(ty, _)| *ty != column.kind) {
                    let message = format!("{who} {wanted}; step \"{giver}\" gives {name}: {}", column.kind);
                    let help = format!("change one of the two plugins, or put a step between them that gives {name}: {ty}");
                    self.error(Code::ColumnMismatch, at, message, help);
                }
            }
            Origin::Nowhere { step } => {
                let giver = self.pipeline.steps[step].id.clone();
                let flowing = self.flowing(port);
                let given = list(flowing.iter().map(String::as_str));
                let message = format!("{who} {wanted}; step \"{giver}\" gives no column \"{name}\"");
                let help = match nearest(name, flowing.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean \"{near}\"? What reaches it: {given}"),
                    None if flowing.is_empty() => "no column reaches it".to_owned(),
                    None => format!("what reaches it: {given}"),
                };
                self.error(Code::ColumnMismatch, at, message, help);
            }
        }
    }

    /// Names of all columns that flow along an edge, carried ones first.
    pub fn flowing(&self, port: PortRef) -> Vec<String> {
        let PortRef::Step { step, port: number } = port else {
            return self.source.iter().map(|column| column.name.clone()).collect();
        };
        let output = self.port(step, number);
        let mut names = match output.kind {
            OutputKind::Extend => self.flowing(self.inputs[step]),
            OutputKind::Emit => Vec::new(),
        };
        names.retain(|name| output.columns.iter().all(|column| column.name != *name));
        names.extend(output.columns.iter().map(|column| column.name.clone()));
        names
    }

    /// Types of the source's columns: declared, or as the format says, or as the readers want.
    fn type_source(&mut self, schemas: &[Option<Schema>]) {
        let demands = std::mem::take(&mut self.demands);
        let mut order: Vec<String> = Vec::new();
        let mut note = |name: &str| {
            if !order.iter().any(|one| one == name) {
                order.push(name.to_owned());
            }
        };
        for (number, source) in self.pipeline.sources.iter().enumerate() {
            let known = schemas.get(number).and_then(Option::as_ref);
            known.into_iter().flat_map(|schema| &schema.columns).for_each(|column| note(&column.name));
            source.columns.iter().for_each(|column| note(&column.name));
        }
        demands.iter().for_each(|demand| note(&demand.column));
        for name in order {
            let readers: Vec<&Demand> = demands.iter().filter(|demand| demand.column == name).collect();
            if let Some(column) = self.type_column(&name, &readers, schemas) {
                self.source.push(column);
            }
        }
        if self.errors.is_empty() {
            for (number, sink) in self.pipeline.sinks.iter().enumerate() {
                let writes = sink.kind != SinkKind::Blackhole;
                if writes && sink.columns.is_none() && self.flowing(self.sink_inputs[number]).is_empty() {
                    self.error(
                        Code::NoColumns,
                        &self.pipeline.sink_path(number),
                        format!("nothing says which columns sink \"{}\" writes", sink.name),
                        "declare them on the source, as in columns: { id: u64, name: \"utf8?\" }",
                    );
                }
            }
        }
    }

    fn type_column(&mut self, name: &str, readers: &[&Demand], schemas: &[Option<Schema>]) -> Option<Column> {
        // What each source says about it.
        let mut declared: Option<(&str, &Column)> = None;
        let mut known: Vec<(&str, Column)> = Vec::new();
        for (number, source) in self.pipeline.sources.iter().enumerate() {
            let source_name = source.spec.name();
            if let Some(column) = source.columns.iter().find(|column| column.name == name) {
                match declared {
                    Some((other, earlier)) if earlier.ty != column.ty => {
                        let message = format!(
                            "source \"{other}\" declares {name}: {}; source \"{source_name}\" declares {name}: {}",
                            earlier.ty, column.ty
                        );
                        let at = format!("{}.columns.{name}", self.pipeline.source_path(number));
                        self.error(Code::ReadersDisagree, &at, message, "declare one type: the sources are merged into one stream");
                        return None;
                    }
                    Some(_) => {}
                    None => declared = Some((source_name, column)),
                }
                continue;
            }
            let Some(schema) = schemas.get(number).and_then(Option::as_ref) else { continue };
            match schema.get(name) {
                // An undeclared CSV column is text that may hold anything.
                Some(_) if is_csv(&source.spec) && !readers.iter().all(|reader| reader.wants.is_none()) => {}
                Some(column) => known.push((source_name, column.clone())),
                None if has_all_columns(&source.spec) => {
                    let reader = readers.first()?;
                    let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
                    let help = match nearest(name, names.iter().copied()) {
                        Some(near) => format!("did you mean \"{near}\"? The source has {}", list(names.iter().copied())),
                        None => format!("the source has {}", list(names.iter().copied())),
                    };
                    let wanted = reader.wants.map_or(name.to_owned(), |(ty, _)| format!("{name}: {ty}"));
                    let message = format!("{} {wanted}; source \"{source_name}\" has no column \"{name}\"", reader.who);
                    let at = reader.at.clone();
                    self.error(Code::ColumnMismatch, &at, message, help);
                    return None;
                }
                None => {}
            }
        }
        let typed: Vec<(&Demand, ColumnType, bool)> =
            readers.iter().filter_map(|reader| reader.wants.map(|(ty, null)| (*reader, ty, null))).collect();
        let mut fine = true;
        if let Some((source, column)) = declared {
            for (reader, ty, _) in &typed {
                if *ty != column.ty {
                    fine = false;
                    let message = format!("{} {name}: {ty}; source \"{source}\" declares {name}: {}", reader.who, column.ty);
                    let help = format!("declare {name}: {ty} under columns: of the source, or change the plugin");
                    self.error(Code::ColumnMismatch, &reader.at, message, help);
                }
            }
            return fine.then(|| Column::new(name, column.ty, column.nullable));
        }
        if let Some((first, ty, _)) = typed.first() {
            for (reader, other, _) in &typed[1..] {
                if other != ty {
                    fine = false;
                    let message = format!("{} {name}: {other}; {} {name}: {ty}", reader.who, first.who);
                    let help = format!("a column is decoded once: change one of the plugins, or give {name} another name and type in a step between");
                    self.error(Code::ReadersDisagree, &reader.at, message, help);
                }
            }
            for (source, column) in &known {
                if !converts(column.ty, *ty) {
                    fine = false;
                    let message = format!("{} {name}: {ty}; source \"{source}\" gives {name}: {}", first.who, column.ty);
                    let help = format!("change the plugin to read {name}: {}", column.ty);
                    self.error(Code::ColumnMismatch, &first.at, message, help);
                }
            }
            return fine.then(|| Column::new(name, *ty, self.source_nullable(name)));
        }
        match known.first() {
            Some((source, column)) => {
                for (other, second) in &known[1..] {
                    if second.ty != column.ty {
                        fine = false;
                        let message = format!(
                            "source \"{source}\" gives {name}: {}; source \"{other}\" gives {name}: {}",
                            column.ty, second.ty
                        );
                        let at = self.pipeline.source_path(0);
                        self.error(Code::ReadersDisagree, &at, message, format!("declare the type on both: columns: {{ {name}: {} }}", column.ty));
                    }
                }
                fine.then(|| Column::new(name, column.ty, column.nullable || known.len() < self.pipeline.sources.len()))
            }
            None => {
                let reader = readers.first()?;
                let message = format!("{} {name}, and nothing says which type {name} has", reader.who);
                let at = reader.at.clone();
                self.error(
                    Code::NoColumns,
                    &at,
                    message,
                    format!("declare it on the source: columns: {{ {name}: utf8 }}, with its own type"),
                );
                None
            }
        }
    }

    /// A record without the column is bad at the source only when everything that reads the source would refuse it;
    /// otherwise the column is null, and the step that needs it refuses the record.
    fn source_nullable(&self, name: &str) -> bool {
        let steps = self.inputs.iter().enumerate().filter(|(_, input)| **input == PortRef::Source);
        let strict = |step: usize| {
            let columns = self.descriptions[step].inputs.iter().flat_map(|port| &port.columns);
            columns.into_iter().any(|column| column.name == name && !column.nullable)
        };
        let all_steps = steps.map(|(step, _)| strict(step)).collect::<Vec<_>>();
        let no_sink = self.sink_inputs.iter().all(|input| *input != PortRef::Source);
        !(no_sink && !all_steps.is_empty() && all_steps.iter().all(|strict| *strict))
    }
}

fn is_csv(spec: &SourceSpec) -> bool {
    matches!(spec, SourceSpec::Files(files) if matches!(files.format, FormatSpec::Csv { .. }))
}

/// True when the source's schema, once known, lists every column that its records can have.
fn has_all_columns(spec: &SourceSpec) -> bool {
    match spec {
        SourceSpec::Files(files) => files.format != FormatSpec::Json,
        SourceSpec::Nexmark(_) => true,
    }
}

/// True when a source may convert the one type into the other, value by value, refusing what does not fit.
fn converts(from: ColumnType, to: ColumnType) -> bool {
    use ColumnType::*;
    let number = |ty| matches!(ty, I32 | U32 | I64 | U64 | F64 | Decimal128 { .. });
    let integer = |ty| matches!(ty, I32 | U32 | I64 | U64);
    from == to
        || (number(from) && number(to))
        || ((from == Utf8 || integer(from) || from == Date) && matches!(to, Timestamp | Date))
        || (from == Utf8 && to == Binary)
}
