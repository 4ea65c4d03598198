//! The types of the source's columns.
//!
//! Owns: what declarations, formats and readers say together about each column. Does not own: who reads what (`flow`).
//!
//! Invariant: a column of the source is decoded once, as one type; where its format does not fix the type, the readers
//! do, and agree.

use super::PortRef;
use super::flow::{Demand, Flow};
use crate::columns::{Column, ColumnType, Schema};
use crate::pipeline::fields::{list, nearest};
use crate::pipeline::spec::SinkKind;
use crate::source::{FormatSpec, SourceSpec};
use crate::Code;

/// Names of fewer bytes are near to each other without being meant for each other: `id` and `ip`, `date` and `data`.
const SLIP_BYTES_MIN: usize = 5;
/// From so many bytes on, a slip may be two letters that are added, dropped, changed or swapped; else one. Less than a word:
/// `user_id` and `user_name` are two columns.
const TWO_SLIPS_BYTES_MIN: usize = 9;

/// The name that was meant by another one, as far as a few wrong letters tell.
fn slip_of<'a>(name: &str, valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut near = valid.filter(|one| {
        let bytes = name.len().min(one.len());
        let slips = 1 + usize::from(bytes >= TWO_SLIPS_BYTES_MIN);
        bytes >= SLIP_BYTES_MIN && strsim::damerau_levenshtein(name, one) <= slips
    });
    near.next()
}

impl Flow<'_> {
    /// Types of the source's columns: declared, or as the format says, or as the readers want.
    pub(super) fn type_source(&mut self, schemas: &[Option<Schema>]) {
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
        self.undeclared(&demands);
        self.event_times();
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

    /// A column that is read, and that a source of JSON does not declare beside one of nearly that name that nobody reads, is a
    /// slip: its records would all be refused.
    fn undeclared(&mut self, demands: &[Demand]) {
        for number in 0..self.pipeline.sources.len() {
            let source = &self.pipeline.sources[number];
            if has_all_columns(&source.spec) || is_csv(&source.spec) {
                continue;
            }
            let declared = |name: &str| source.columns.iter().any(|column| column.name == name);
            let is_time = |name: &str| source.time.as_ref().is_some_and(|time| time.name == name);
            for demand in demands.iter().filter(|demand| !declared(&demand.column)) {
                let unread = source.columns.iter().map(|column| column.name.as_str()).filter(|name| !is_time(name) && demands.iter().all(|one| one.column != *name));
                let Some(near) = slip_of(&demand.column, unread) else { continue };
                let (name, wanted) = (&demand.column, demand.wants.map_or("utf8".to_owned(), |(ty, _)| ty.to_string()));
                let message = format!("{} {name}; source \"{}\" declares {near}, and no {name}", demand.who, source.spec.name());
                let help = format!("did you mean \"{near}\"? Where records hold both, declare it, too: columns: {{ {name}: {wanted} }}");
                self.error(Code::ColumnMismatch, &demand.at, message, help);
            }
        }
    }

    /// What is declared as the column of the event time can hold one.
    fn event_times(&mut self) {
        for number in 0..self.pipeline.sources.len() {
            let source = &self.pipeline.sources[number];
            let Some(time) = &source.time else { continue };
            let at = format!("{}.time", self.pipeline.source_path(number));
            let found = source.columns.iter().find(|column| column.name == time.name);
            let names = source.columns.iter().map(|column| column.name.as_str());
            match found {
                Some(column) if matches!(column.ty, ColumnType::Bool | ColumnType::Binary) => {
                    let message = format!("the event time is in {}, which is declared as {}", time.name, column.ty);
                    self.error(Code::ColumnMismatch, &at, message, "name a column that holds a time: timestamp, date, text or a number");
                }
                None if !has_all_columns(&source.spec) => {
                    if let Some(near) = slip_of(&time.name, names) {
                        let message = format!("the event time is in {}; source \"{}\" declares {near}, and no {0}", time.name, source.spec.name());
                        let help = format!("did you mean \"{near}\"? Where records hold both, declare it, too: columns: {{ {}: timestamp }}", time.name);
                        self.error(Code::ColumnMismatch, &at, message, help);
                    }
                }
                _ => {}
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
                    let help = match &self.pipeline.stage {
                        None => help,
                        Some(stage) => format!(
                            "{help}. What flows into the step \"{}\" reaches those behind it: a column of the input that only they read is declared on the source, as in columns: {{ {name}: utf8 }}",
                            stage.id
                        ),
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
    let format = match spec {
        SourceSpec::Files(files) => &files.format,
        SourceSpec::Kafka(kafka) => &kafka.format,
        SourceSpec::Nexmark(_) => return false,
    };
    matches!(format, FormatSpec::Csv { .. })
}

/// True when the source's schema, once known, lists every column that its records can have.
fn has_all_columns(spec: &SourceSpec) -> bool {
    match spec {
        SourceSpec::Files(files) => files.format != FormatSpec::Json,
        SourceSpec::Nexmark(_) => true,
        SourceSpec::Kafka(kafka) if matches!(kafka.format, FormatSpec::Rows { .. }) => true,
        // Keys, headers and the like stand beside what the format names.
        SourceSpec::Kafka(_) => false,
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
