//! `source` and `sources` of a pipeline file.
//!
//! Owns: kinds of sources and their settings. Does not own: formats (`formats`), opening anything (`segno-input`).

use crate::Code;
use crate::pipeline::fields::{Fields, Reader};
use crate::pipeline::file::steps::ON_ERROR_CHOICES;
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use crate::pipeline::tree::{Node, Value};
use crate::source::*;
use std::time::Duration;

const KINDS: [&str; 3] = ["files", "kafka", "nexmark"];
/// Partitions of one source at most; each holds a buffer of records while the streams are merged.
const PARTITIONS_MAX: u64 = 4_096;

impl Reader {
    pub(super) fn sources(&mut self, fields: &Fields<'_>) -> Option<(Vec<SourceBlock>, Vec<usize>)> {
        let example = "add for example source: { files: ./input/*.jsonl, format: json }";
        let (nodes, several): (Vec<&Node>, bool) = match (fields.get("source"), fields.get("sources")) {
            (Some(_), Some(_)) => {
                let span = fields.key("source").map_or(0..0, |key| key.span.clone());
                return self.invalid(&span, "the pipeline file has both source and sources", "write all of them under sources");
            }
            (Some(node), None) if node.value != Value::Null => (vec![node], false),
            (None, Some(node)) => match &node.value {
                Value::List(items) if !items.is_empty() => (items.iter().collect(), true),
                Value::List(_) | Value::Null => {
                    self.error(Code::MissingField, &node.span, "sources is empty", example);
                    return None;
                }
                other => {
                    return self.invalid(
                        &node.span,
                        format!("sources is a list, not {}", other.kind()),
                        "start each source with a dash, or write source: for a single one",
                    );
                }
            },
            _ => {
                let span = fields.key("source").map_or(fields.span(), |key| key.span.clone());
                self.error(Code::MissingField, &span, "the pipeline file has no \"source\"", example);
                return None;
            }
        };
        let mut sources: Vec<SourceBlock> = Vec::new();
        let mut entries = Vec::new();
        let mut whole = true;
        for (number, node) in nodes.iter().enumerate() {
            let default = if several { format!("source-{}", number + 1) } else { "source".to_owned() };
            match self.source(node, default, &sources) {
                Some(found) => {
                    entries.extend(found.iter().map(|_| number));
                    sources.extend(found);
                }
                None => whole = false,
            }
        }
        if whole {
            self.same_time(&sources, &nodes);
        }
        whole.then_some((sources, entries))
    }

    /// Records are merged by event time only when all have one.
    fn same_time(&mut self, sources: &[SourceBlock], nodes: &[&Node]) {
        let with = sources.iter().filter(|source| source.time.is_some()).count();
        if with == 0 {
            // One file has one order.
            let one_file = |source: &SourceBlock| match &source.spec {
                SourceSpec::Files(files) => !files.path.contains(['*', '?', '[']),
                SourceSpec::Nexmark(nexmark) => nexmark.partitions == 1,
                SourceSpec::Kafka(_) => false,
            };
            if matches!(sources, [one] if one_file(one)) {
                return;
            }
            self.warn(
                Code::NoEventTime,
                &nodes[0].span,
                "no event time: records keep their order within each file; files follow each other in the order of their numbers within an epoch",
                "where order across files matters, say time: column",
            );
        } else if sources.iter().filter(|source| source.time.as_ref().is_some_and(TimeColumn::is_processing_time)).count() % with != 0 {
            self.error(
                Code::InvalidValue,
                &nodes[0].span,
                "one source has processing time, and another one the time of a column",
                "say time: segno.processing_time on every source, or on none: one stream has one clock",
            );
        } else if with < sources.len() {
            for node in nodes {
                let Value::Map(map) = &node.value else { continue };
                if !map.iter().any(|(key, _)| key.name == "time") {
                    self.error(
                        Code::MissingField,
                        &node.span,
                        "this source has no event time, and another one has",
                        "say time: column on every source, or on none: one stream has one order",
                    );
                }
            }
        }
    }

    /// Several, when the source is a list of paths.
    fn source(&mut self, node: &Node, default_name: String, before: &[SourceBlock]) -> Option<Vec<SourceBlock>> {
        let fields = self.fields(node, "the source", &shape::SOURCE.names())?;
        let name = match fields.get("name") {
            Some(node) => self.name(node, "the source's name").inspect(|name| {
                if before.iter().any(|source| source.spec.name() == name) {
                    self.error(Code::NameTaken, &node.span, format!("two sources are called \"{name}\""), "give each source a name of its own");
                }
            }),
            None => Some(default_name),
        };
        let time = self.time(&fields);
        let watermark_delay = match fields.get("watermark_delay") {
            Some(node) => self.duration(node, "watermark_delay"),
            None => Some(Duration::ZERO),
        };
        let idle_timeout = match fields.get("idle_timeout") {
            Some(node) => self.duration(node, "idle_timeout").map(Some),
            None => Some(None),
        };
        let columns = match fields.get("columns") {
            Some(node) => self.columns(node),
            None => Some(Vec::new()),
        };
        let on_error = match fields.get("on_error") {
            Some(node) => self.choice(node, "on_error", &ON_ERROR_CHOICES),
            None => Some(OnError::default()),
        };
        let mut specs = self.kind(&fields, name.clone(), columns.clone().unwrap_or_default())?;
        let (name, time, watermark_delay, idle_timeout, columns, on_error) =
            (name?, time?, watermark_delay?, idle_timeout?, columns?, on_error?);
        if specs.len() > 1 {
            for (number, spec) in specs.iter_mut().enumerate() {
                if let SourceSpec::Files(files) = spec {
                    files.name = format!("{name}-{}", number + 1);
                }
            }
        }
        let block = |spec| SourceBlock {
            spec,
            time: time.clone(),
            watermark_delay,
            idle_timeout,
            columns: columns.clone(),
            on_error,
        };
        Some(specs.into_iter().map(block).collect())
    }

    fn time(&mut self, fields: &Fields<'_>) -> Option<Option<TimeColumn>> {
        let Some(node) = fields.get("time") else {
            for name in ["time_format", "time_unit", "watermark_delay", "idle_timeout"] {
                if let Some(key) = fields.key(name) {
                    self.error(
                        Code::MissingField,
                        &key.span,
                        format!("{name} says nothing without an event time"),
                        "say which column holds it: time: column",
                    );
                }
            }
            return Some(None);
        };
        let text = self.text(node, "time")?;
        if text == PROCESSING_TIME {
            for name in ["time_format", "time_unit", "watermark_delay", "idle_timeout"] {
                if let Some(key) = fields.key(name) {
                    self.error(
                        Code::InvalidValue,
                        &key.span,
                        format!("{name} says nothing about processing time: no record is late, and none is waited for"),
                        "leave it out, or say which column holds the event time: time: column",
                    );
                }
            }
            return Some(Some(TimeColumn { name: text, format: None, unit: TimeUnit::default() }));
        }
        let name = self.column_path(&text, &node.span, "time");
        let format = match fields.get("time_format") {
            Some(node) => self.text(node, "time_format").map(Some),
            None => Some(None),
        };
        let unit = match fields.get("time_unit") {
            Some(node) => self.choice(
                node,
                "time_unit",
                &[("s", TimeUnit::Seconds), ("ms", TimeUnit::Milliseconds), ("us", TimeUnit::Microseconds)],
            ),
            None => Some(TimeUnit::default()),
        };
        Some(Some(TimeColumn { name: name?, format: format?, unit: unit? }))
    }

    fn kind(
        &mut self,
        fields: &Fields<'_>,
        name: Option<String>,
        columns: Vec<crate::columns::Column>,
    ) -> Option<Vec<SourceSpec>> {
        let found: Vec<&str> = KINDS.iter().copied().filter(|kind| fields.key(kind).is_some()).collect();
        match found.as_slice() {
            ["files"] => self.files(fields, name, columns),
            ["kafka"] => self.kafka_source(fields, name, columns),
            ["nexmark"] => self.nexmark(fields, name),
            [] => {
                // A kind that is misspelt or not there has been reported as an unknown field.
                let names = shape::SOURCE.names();
                if fields.iter().all(|(key, _)| names.contains(&key.name.as_str())) {
                    self.error(
                        Code::MissingField,
                        &fields.span(),
                        "the source does not say where records come from",
                        format!("add one of {}, for example files: ./input.jsonl", KINDS.join(", ")),
                    );
                }
                None
            }
            _ => {
                let span = fields.key(found[1]).map_or(0..0, |key| key.span.clone());
                self.invalid(
                    &span,
                    format!("the source is both {} and {}", found[0], found[1]),
                    "write one list entry for each under sources; they are merged into one stream",
                )
            }
        }
    }

    fn files(
        &mut self,
        fields: &Fields<'_>,
        name: Option<String>,
        columns: Vec<crate::columns::Column>,
    ) -> Option<Vec<SourceSpec>> {
        let node = fields.get("files")?;
        let mut follow = Some(false);
        let paths = match &node.value {
            Value::Map(_) => {
                let fields = self.fields(node, "files", &shape::FILES.names())?;
                if let Some(node) = fields.get("follow") {
                    follow = self.bool(node, "follow");
                }
                match (fields.get("path"), fields.get("glob")) {
                    (Some(_), Some(node)) => {
                        self.invalid(&node.span, "files has both path and glob", "they mean the same; write a list under path")
                    }
                    (Some(node), None) | (None, Some(node)) => self.texts(node, "a path"),
                    (None, None) => {
                        self.error(Code::MissingField, &fields.span(), "files has no \"path\"", "name the files: path: ./input/*.jsonl");
                        None
                    }
                }
            }
            _ => self.texts(node, "a path"),
        };
        let help = "say format: json, csv, raw or parquet";
        let format = self.required(fields, "format", "the source", help).and_then(|node| self.format(node));
        let paths = paths?;
        if paths.is_empty() {
            return self.invalid(&node.span, "files names no path", "name the files: files: ./input/*.jsonl");
        }
        for (path, span) in &paths {
            if !self.check_path(path, span, "a path") {
                return None;
            }
        }
        let (format, line_bytes_max) = format?;
        if format == FormatSpec::Raw {
            if let Some(key) = fields.key("time") {
                return self.invalid(&key.span, "raw records have no event time", "use json or csv, or remove time");
            }
        }
        let (name, follow) = (name?, follow?);
        if follow && format == FormatSpec::Parquet {
            return self.invalid(&node.span, "a Parquet file cannot be followed", "its last bytes describe the whole file; remove follow");
        }
        Some(
            paths
                .into_iter()
                .map(|(path, _)| {
                    SourceSpec::Files(FilesSpec {
                        follow,
                        line_bytes_max,
                        columns: columns.clone(),
                        ..FilesSpec::new(name.clone(), path, format.clone())
                    })
                })
                .collect(),
        )
    }

    fn nexmark(&mut self, fields: &Fields<'_>, name: Option<String>) -> Option<Vec<SourceSpec>> {
        for name in ["format", "columns"] {
            if let Some(key) = fields.key(name) {
                return self.invalid(&key.span, format!("nexmark has no {name}"), "remove it: the generator gives typed columns");
            }
        }
        let node = fields.get("nexmark")?;
        let mut spec = NexmarkSpec::new(name?, 0, None);
        if node.value == Value::Null {
            return Some(vec![SourceSpec::Nexmark(spec)]);
        }
        let fields = self.fields(node, "nexmark", &shape::NEXMARK.names())?;
        let before = self.errors.len();
        if let Some(node) = fields.get("events") {
            spec.events = self.count(node, "events", 0..=u64::MAX);
        }
        if let Some(node) = fields.get("seed") {
            spec.seed = self.count(node, "seed", 0..=u64::MAX).unwrap_or_default();
        }
        if let Some(node) = fields.get("partitions") {
            spec.partitions = self.count(node, "partitions", 1..=PARTITIONS_MAX).unwrap_or(1) as u32;
        }
        if let Some(node) = fields.get("events_per_second") {
            let range = 1..=1_000_000_000;
            spec.events_per_second = self.count(node, "events_per_second", range).unwrap_or(spec.events_per_second);
        }
        if let Some(node) = fields.get("start") {
            if let Some(text) = self.text(node, "start") {
                match text.parse::<jiff::Timestamp>() {
                    Ok(time) => spec.start_micros = time.as_microsecond(),
                    Err(_) => {
                        let shown = text.escape_debug().to_string();
                        self.error(Code::InvalidValue, &node.span, format!("\"{shown}\" is not a time"), "write RFC 3339, as in 2015-07-15T00:00:00Z");
                    }
                }
            }
        }
        if let Some(node) = fields.get("only") {
            let choices =
                [("person", NexmarkKind::Person), ("auction", NexmarkKind::Auction), ("bid", NexmarkKind::Bid)];
            spec.only = self.choice(node, "only", &choices);
        }
        (self.errors.len() == before).then(|| vec![SourceSpec::Nexmark(spec)])
    }
}
