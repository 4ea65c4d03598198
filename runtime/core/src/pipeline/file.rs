//! Reading a pipeline file: text to `Pipeline`, with every error in it.
//!
//! Owns: the top of the file, names, and what refers to what. The parts are in `file/`.
//! Does not own: YAML (`tree`), variables (`variables`), the wording of single fields (`fields`), I/O.
//!
//! Invariant: a `Pipeline` comes out only when nothing is wrong; otherwise all errors do, in the order of the file.

mod checkpoint;
mod expect;
mod formats;
mod servers;
mod sharding;
mod sinks;
mod sources;
mod stages;
mod steps;

use super::fields::{Fields, Reader, suggest};
use super::shape;
use super::spec::*;
use super::tree::{self, Node, Value};
use super::variables::Variables;
use crate::{Code, Error};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a name at most: names become parts of object keys, labels and file names.
pub const NAME_BYTES_MAX: usize = 64;

impl Pipeline {
    /// Reads the text of a pipeline file. `lookup` gives the values of environment variables.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the order of the file.
    pub fn parse(file: &Path, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Pipeline, Vec<Error>> {
        let text: Arc<str> = Arc::from(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut root = tree::read(file, &text).map_err(|error| vec![error])?;
        let mut variables = Variables { lookup, file, text: &text, errors: Vec::new(), unknown: Vec::new(), secrets: Vec::new() };
        variables.replace(&mut root);
        let Variables { errors, unknown, mut secrets, .. } = variables;
        secrets.sort_unstable();
        secrets.dedup();
        let mut reader = Reader {
            file: file.to_path_buf(),
            text: Arc::clone(&text),
            spots: Spots::new(file, Arc::clone(&text)),
            errors,
            warnings: Vec::new(),
            step_ids: Vec::new(),
            unknown,
        };
        tree::record_spots(&mut reader.spots, "", &root);
        // A single source or sink is found as the first of its kind, too.
        if let Value::Map(fields) = &root.value {
            for (one, first) in [("source", "sources[0]"), ("sink", "sinks[0]")] {
                if let Some((key, node)) = fields.iter().find(|(key, _)| key.name == one) {
                    tree::record_spots(&mut reader.spots, first, node);
                    reader.spots.insert(first.to_owned(), key.span.clone());
                }
            }
        }
        let pipeline = reader.pipeline(&root, secrets);
        match pipeline {
            Some(pipeline) if reader.errors.is_empty() => {
                Ok(Pipeline { warnings: reader.warnings, ..pipeline })
            }
            _ => {
                reader.errors.sort_by_key(|error| error.place().map_or(0, |place| place.span.start));
                Err(reader.errors)
            }
        }
    }
}

impl Reader {
    fn pipeline(&mut self, root: &Node, secrets: Vec<String>) -> Option<Pipeline> {
        if root.value == Value::Null {
            self.error(
                Code::MissingField,
                &(0..0),
                "the pipeline file is empty",
                "start with version: 1, name, source, steps, sinks and checkpoint; `segno explain C007` shows an example",
            );
            return None;
        }
        let fields = self.map(root, "the pipeline file")?;
        self.unknown_at_top(&fields);
        self.version(&fields);
        let name = self
            .required(&fields, "name", "the pipeline file", "add a line such as name: my-pipeline")
            .and_then(|node| self.name(node, "name"));
        let tenant = match fields.get("tenant") {
            Some(node) => self.name(node, "tenant"),
            None => Some(TENANT_DEFAULT.to_owned()),
        };
        let sources = self.sources(&fields);
        let sharding = self.sharding(&fields);
        let worker = self.worker(&fields);
        let steps = self.steps(&fields);
        let (sinks, dlq) = self.sinks(&fields);
        self.dead_letters_have_a_place(&fields);
        if let (Some((sources, _)), Some(sinks), Some(dlq)) = (&sources, &sinks, &dlq) {
            self.output_is_not_input(sources, sinks, dlq.as_ref());
        }
        let checkpoint = self.checkpoint(&fields);
        let epoch = self.epoch(&fields);
        let state = self.state(&fields);
        let batch_rows = match fields.get("batch_rows") {
            Some(node) => self.count(node, "batch_rows", 1..=u64::from(BATCH_ROWS_MAX)).map(|rows| rows as u32),
            None => Some(BATCH_ROWS_DEFAULT),
        };
        let threads = fields.get("threads").and_then(|node| self.count(node, "threads", 1..=1024));
        let work_dir = fields.get("work_dir").and_then(|node| self.path(node, "work_dir"));
        let replay_detail = match fields.get("replay_detail") {
            Some(node) => {
                self.choice(node, "replay_detail", &[("block", ReplayDetail::Block), ("row", ReplayDetail::Row)])
            }
            None => Some(ReplayDetail::default()),
        };
        let mask = match fields.get("mask") {
            Some(node) => self.texts(node, "mask").map(|names| names.into_iter().map(|(name, _)| name).collect()),
            None => Some(Vec::new()),
        };
        let (mut sources, source_entries) = sources?;
        let (sharding, steps) = (sharding?, steps?);
        let keyed = stages::is_first_keyed(&steps);
        if sharding == Sharding::ByPartition {
            self.divide(&fields, &mut sources, keyed);
        }
        let whole = Pipeline {
            file: self.file.clone(),
            tenant: tenant?,
            name: name?,
            sources,
            source_entries,
            stage: None,
            later: Vec::new(),
            sharding,
            worker: worker?,
            steps: Vec::new(),
            sinks: sinks?,
            dlq: dlq?,
            checkpoint: checkpoint?,
            epoch: epoch?,
            state: state?,
            batch_rows: batch_rows?,
            threads: threads.map(|threads| threads as u32),
            work_dir: work_dir.map(Into::into),
            replay_detail: replay_detail?,
            mask: mask?,
            secrets,
            warnings: Vec::new(),
            spots: self.spots.clone(),
        };
        self.cut(whole, steps)
    }

    fn unknown_at_top(&mut self, fields: &Fields<'_>) {
        let valid = shape::PIPELINE.names();
        for (key, _) in fields.iter() {
            if valid.contains(&key.name.as_str()) {
                continue;
            }
            // Names that others use for what Segno calls otherwise.
            let help = match key.name.as_str() {
                "max_records_per_epoch" => "write epoch: { max_records: … }".to_owned(),
                "max_bytes_per_epoch" => "write epoch: { max_bytes: … }".to_owned(),
                "checkpoints" => "did you mean \"checkpoint\"?".to_owned(),
                "transforms" | "plugins" | "processors" => "did you mean \"steps\"?".to_owned(),
                "dead_letters" | "deadletter" | "dead_letter_queue" => "did you mean \"dlq\"?".to_owned(),
                name => suggest(name, "valid are", valid.iter().copied()),
            };
            self.error(Code::UnknownField, &key.span, format!("the pipeline file has no field \"{}\"", key.name), help);
        }
    }

    fn version(&mut self, fields: &Fields<'_>) {
        let help = "write version: 1 on the first line";
        let Some(node) = self.required(fields, "version", "the pipeline file", help) else { return };
        if node.value != Value::Integer(PIPELINE_VERSION.into()) {
            let shown = self.text.get(node.span.clone()).unwrap_or_default().to_owned();
            self.error(
                Code::UnsupportedVersion,
                &node.span,
                format!("version {shown} of the pipeline file is not known"),
                format!("this Segno reads version: {PIPELINE_VERSION}"),
            );
        }
    }

    /// A name that fits into object keys, labels and file names.
    pub(super) fn name(&mut self, node: &Node, what: &str) -> Option<String> {
        let name = self.text(node, what)?;
        self.check_name(&name, &node.span, what).then_some(name)
    }

    pub(super) fn check_name(&mut self, name: &str, span: &Range<usize>, what: &str) -> bool {
        let problem = if name.is_empty() {
            "is empty".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", name.len())
        } else if let Some(bad) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
            format!("\"{}\" holds the character {bad:?}", name.escape_debug())
        } else if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            format!("\"{name}\" does not start with a letter or a digit")
        } else {
            return true;
        };
        let suggestion: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
        let suggestion = suggestion.trim_start_matches(['-', '_']);
        let help = if suggestion.is_empty() || suggestion == name || name.len() > NAME_BYTES_MAX {
            "use letters, digits, - and _: names become parts of object keys and file names".to_owned()
        } else {
            format!("use letters, digits, - and _, as in \"{suggestion}\": names become parts of object keys and file names")
        };
        self.error(Code::BadName, span, format!("{what} {problem}"), help);
        false
    }

    /// A column's path, as `/a/b` or `a.b`, in the second form.
    pub(super) fn column_path(&mut self, text: &str, span: &Range<usize>, what: &str) -> Option<String> {
        let path = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect::<Vec<_>>()
                .join("."),
            None => text.to_owned(),
        };
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return self.invalid(
                span,
                format!("{what}: \"{}\" is not the path of a column", text.escape_debug()),
                "write a column's name, and for nested input a path such as /bid/price or bid.price",
            );
        }
        Some(path)
    }

    fn dead_letters_have_a_place(&mut self, fields: &Fields<'_>) {
        if fields.get("dlq").is_some() {
            return;
        }
        let mut wanting = Vec::new();
        let mut look = |node: &Node, what: &str| {
            let Value::Map(map) = &node.value else { return };
            for (key, value) in map {
                if key.name == "on_error" && value.value == Value::Text("dlq".to_owned()) {
                    wanting.push((value.span.clone(), what.to_owned()));
                }
            }
        };
        for (key, node) in fields.iter() {
            let what = match key.name.as_str() {
                "source" | "sources" => "the source",
                "steps" => "the step",
                _ => continue,
            };
            match &node.value {
                Value::List(items) => items.iter().for_each(|item| look(item, what)),
                _ => look(node, what),
            }
        }
        for (span, what) in wanting {
            self.error(
                Code::NoDeadLetterSink,
                &span,
                format!("{what} sends records to the dead letters, and the pipeline has no place for them"),
                "add for example dlq: { files: ./dead-letters }, or use on_error: skip",
            );
        }
    }
}

#[cfg(test)]
mod tests;
