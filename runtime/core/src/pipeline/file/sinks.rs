//! `sinks`, `sink` and `dlq` of a pipeline file.

use crate::Code;
use crate::pipeline::fields::{Fields, Reader};
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use crate::pipeline::tree::{Node, Value};
use crate::source::SourceSpec;
use std::path::{Component, Path};

const KINDS: [&str; 5] = ["files", "kafka", "postgres", "stdout", "blackhole"];
/// The name of the dead letters' sink.
pub const DLQ_NAME: &str = "dlq";

impl Reader {
    #[allow(clippy::type_complexity)]
    pub(super) fn sinks(&mut self, fields: &Fields<'_>) -> (Option<Vec<SinkSpec>>, Option<Option<SinkSpec>>) {
        let sinks = self.sink_list(fields).and_then(|nodes| {
            let mut sinks: Vec<SinkSpec> = Vec::new();
            let mut whole = true;
            for node in &nodes {
                match self.sink(node, &sinks) {
                    Some(sink) => sinks.push(sink),
                    None => whole = false,
                }
            }
            whole.then_some(sinks)
        });
        let dlq = match fields.get("dlq") {
            None => Some(None),
            Some(node) => self
                .fields(node, "dlq", &shape::DLQ.names())
                .and_then(|fields| self.sink_kind(&fields, "dlq", &shape::DLQ))
                .map(|kind| Some(SinkSpec { name: DLQ_NAME.to_owned(), from: Upstream::Source, columns: None, kind })),
        };
        (sinks, dlq)
    }

    fn sink_list<'n>(&mut self, fields: &Fields<'n>) -> Option<Vec<&'n Node>> {
        let example = "add for example sinks: [{ files: ./out }]";
        match (fields.get("sinks"), fields.get("sink")) {
            (Some(_), Some(_)) => {
                let span = fields.key("sink").map_or(0..0, |key| key.span.clone());
                self.invalid(&span, "the pipeline file has both sink and sinks", "write all of them under sinks")
            }
            (None, Some(node)) => Some(vec![node]),
            (Some(node), None) => match &node.value {
                Value::List(items) if !items.is_empty() => Some(items.iter().collect()),
                Value::List(_) | Value::Null => {
                    self.error(Code::MissingField, &node.span, "sinks is empty", example);
                    None
                }
                other => self.invalid(
                    &node.span,
                    format!("sinks is a list, not {}", other.kind()),
                    "start each sink with a dash, or write sink: for a single one",
                ),
            },
            (None, None) => {
                self.error(Code::MissingField, &fields.span(), "the pipeline file has no \"sinks\"", example);
                None
            }
        }
    }

    fn sink(&mut self, node: &Node, before: &[SinkSpec]) -> Option<SinkSpec> {
        let fields = self.fields(node, "the sink", &shape::SINK.names())?;
        let kind = self.sink_kind(&fields, "the sink", &shape::SINK);
        let name = match (fields.get("name"), &kind) {
            (Some(node), _) => {
                let name = self.name(node, "the sink's name");
                if let Some(name) = &name {
                    if name == DLQ_NAME || before.iter().any(|sink| sink.name == *name) {
                        let whose = if name == DLQ_NAME { "the dead letters'" } else { "another sink's" };
                        self.error(
                            Code::NameTaken,
                            &node.span,
                            format!("\"{name}\" is {whose} name"),
                            "give each sink a name of its own: journal and metrics tell sinks apart by it",
                        );
                    }
                }
                name
            }
            (None, Some(kind)) => {
                let kind = kind.word();
                // Removing one of two unnamed sinks would rename the other, and its high-water mark would be lost.
                if before.iter().any(|sink| sink.name == kind) {
                    self.error(
                        Code::NameTaken,
                        &node.span,
                        format!("there are two sinks of the kind {kind}, and this one has no name"),
                        format!("add a line such as name: {kind}-2"),
                    );
                }
                Some(kind.to_owned())
            }
            (None, None) => None,
        };
        let from = match fields.get("from") {
            Some(node) => self.upstream(node, self.step_ids.len(), "the sink"),
            None => Some(match self.step_ids.len() {
                0 => Upstream::Source,
                count => Upstream::Step { step: count - 1, port: None },
            }),
        };
        let columns = match fields.get("columns") {
            None => Some(None),
            Some(node) => self.texts(node, "a column").and_then(|texts| {
                let mut columns: Vec<String> = Vec::new();
                for (text, span) in &texts {
                    let column = self.column_path(text, span, "columns")?;
                    if columns.contains(&column) {
                        return self.invalid(span, format!("column \"{column}\" is written twice"), "remove one of the two");
                    }
                    columns.push(column);
                }
                if columns.is_empty() {
                    return self.invalid(&node.span, "columns is empty", "name the columns to write, or remove the field to write all");
                }
                Some(Some(columns))
            }),
        };
        Some(SinkSpec { name: name?, from: from?, columns: columns?, kind: kind? })
    }

    /// A source whose glob matches what a sink publishes would read its own output at the next start.
    pub(super) fn output_is_not_input(&mut self, sources: &[SourceBlock], sinks: &[SinkSpec], dlq: Option<&SinkSpec>) {
        let sinks = sinks.iter().enumerate().map(|(number, sink)| (format!("sinks[{number}].files"), sink));
        for (at, sink) in sinks.chain(dlq.map(|dlq| ("dlq.files".to_owned(), dlq))) {
            let SinkKind::Files { path, format } = &sink.kind else { continue };
            let ending = match format {
                SinkFormat::Json => "jsonl",
                SinkFormat::Csv => "csv",
                SinkFormat::Raw => "raw",
                SinkFormat::Rows => continue,
            };
            let published = plain_path(&path.join(format!("{}-shard-000000000001.{ending}", sink.name)));
            for source in sources {
                let SourceSpec::Files(files) = &source.spec else { continue };
                let glob = plain_path(Path::new(&files.path));
                if matches_parts(&glob, &published) {
                    let place = self.spots.place(&at);
                    self.error(
                        Code::OutputIsInput,
                        &place.span,
                        format!("sink \"{}\" writes files that source \"{}\" reads: {}", sink.name, source.spec.name(), files.path),
                        "let the sink write into a folder of its own",
                    );
                }
            }
        }
    }

    fn sink_kind(&mut self, fields: &Fields<'_>, what: &str, shape: &shape::Shape) -> Option<SinkKind> {
        let mut found = KINDS.iter().copied().filter(|kind| fields.key(kind).is_some());
        let (first, second) = (found.next(), found.next());
        let Some(kind) = first else {
            // An unknown field has been reported already: it is the kind, misspelt or not there yet.
            let names = shape.names();
            if fields.iter().all(|(key, _)| names.contains(&key.name.as_str())) {
                self.error(
                    Code::MissingField,
                    &fields.span(),
                    format!("{what} does not say where rows go"),
                    format!("add one of {}, for example files: ./out", KINDS.join(", ")),
                );
            }
            return None;
        };
        if let Some(second) = second {
            let span = fields.key(second).map_or(0..0, |key| key.span.clone());
            return self.invalid(
                &span,
                format!("{what} is both {kind} and {second}"),
                "write one list entry for each sink; several may read the same step",
            );
        }
        let node = fields.get(kind)?;
        match kind {
            "kafka" => self.kafka_sink(node),
            "postgres" => self.postgres_sink(node),
            "files" => match &node.value {
                Value::Map(_) => {
                    let fields = self.fields(node, "files", &shape::FILE_SINK.names())?;
                    let help = "name the folder: path: ./out";
                    let path = self.required(&fields, "path", "files", help).and_then(|node| self.path(node, "path"));
                    let format = self.sink_format(&fields);
                    Some(SinkKind::Files { path: path?.into(), format: format? })
                }
                _ => {
                    let path = self.path(node, "files")?;
                    Some(SinkKind::Files { path: path.into(), format: SinkFormat::default() })
                }
            },
            "stdout" => {
                let format = match &node.value {
                    Value::Null => SinkFormat::default(),
                    _ => {
                        let fields = self.fields(node, "stdout", &shape::STDOUT_SINK.names())?;
                        self.sink_format(&fields)?
                    }
                };
                let span = fields.key(kind).map_or(0..0, |key| key.span.clone());
                self.warn(
                    Code::AtLeastOnce,
                    &span,
                    "rows on standard output may repeat after a crash",
                    "use a files sink where every row must appear exactly once",
                );
                Some(SinkKind::Stdout { format })
            }
            _ => {
                match &node.value {
                    Value::Null => {}
                    Value::Map(map) if map.is_empty() => {}
                    other => {
                        return self.invalid(
                            &node.span,
                            format!("blackhole has no settings, and here is {}", other.kind()),
                            "write blackhole: {}",
                        );
                    }
                }
                Some(SinkKind::Blackhole)
            }
        }
    }
}

impl Reader {
    pub(super) fn sink_format(&mut self, fields: &Fields<'_>) -> Option<SinkFormat> {
        let choices = [("json", SinkFormat::Json), ("csv", SinkFormat::Csv), ("raw", SinkFormat::Raw)];
        match fields.get("format") {
            None => Some(SinkFormat::default()),
            Some(node) => self.choice(node, "format", &choices),
        }
    }
}

/// The parts of a path without `.`, as far as that can be said without looking at the disk.
fn plain_path(path: &Path) -> Vec<String> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect()
}

/// True when a glob matches a path, part by part; `**` stands for any number of parts.
fn matches_parts(glob: &[String], path: &[String]) -> bool {
    match (glob.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            matches_parts(rest, path) || path.split_first().is_some_and(|(_, path)| matches_parts(glob, path))
        }
        (Some((first, rest)), Some((name, path))) => matches_name(first.as_bytes(), name.as_bytes()) && matches_parts(rest, path),
        _ => false,
    }
}

/// `*`, `?` and `[…]` within one part of a path. A class matches any one byte: close enough to warn of a mistake.
fn matches_name(glob: &[u8], name: &[u8]) -> bool {
    match (glob.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches_name(&glob[1..], name) || (!name.is_empty() && matches_name(glob, &name[1..])),
        (Some(b'?'), Some(_)) => matches_name(&glob[1..], &name[1..]),
        (Some(b'['), Some(_)) => match glob.iter().position(|&byte| byte == b']') {
            Some(end) => matches_name(&glob[end + 1..], &name[1..]),
            None => false,
        },
        (Some(a), Some(b)) => a == b && matches_name(&glob[1..], &name[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_a_shell_does() {
        let matches = |glob: &str, path: &str| matches_parts(&plain_path(Path::new(glob)), &plain_path(Path::new(path)));
        for (glob, path) in [("./*.jsonl", "a.jsonl"), ("data/**/*.csv", "data/x/y/a.csv"), ("data/**", "./data/a"), ("a?[bc]*", "axb")] {
            assert!(matches(glob, path), "{glob} {path}");
        }
        for (glob, path) in [("*.jsonl", "out/a.jsonl"), ("data/*.csv", "data/a.jsonl"), ("a", "a/b"), ("a[", "ab")] {
            assert!(!matches(glob, path), "{glob} {path}");
        }
    }
}
