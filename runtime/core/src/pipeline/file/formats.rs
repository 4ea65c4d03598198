//! `format` of a pipeline file.
//!
//! Owns: formats and their settings, as text says them. Does not own: decoding (`segno-input`).

use crate::pipeline::fields::Reader;
use crate::pipeline::shape;
use crate::pipeline::tree::{Node, Value};
use crate::source::{FormatSpec, LINE_BYTES_MAX};
use std::ops::Range;

impl Reader {
    /// A format, and the longest record in bytes.
    pub(super) fn format(&mut self, node: &Node) -> Option<(FormatSpec, usize)> {
        let csv = FormatSpec::Csv { header: None, delimiter: b',' };
        let choices = [("json", 0), ("csv", 1), ("raw", 2), ("parquet", 3)];
        let formats = [FormatSpec::Json, csv, FormatSpec::Raw, FormatSpec::Parquet];
        let Value::Map(map) = &node.value else {
            let choice = self.choice(node, "format", &choices)?;
            return Some((formats[choice].clone(), LINE_BYTES_MAX));
        };
        let fields = self.fields(node, "format", &shape::FORMAT_MAP.names())?;
        if map.len() != 1 {
            return self.invalid(&node.span, "format names one format", "write for example format: { csv: { delimiter: \";\" } }");
        }
        let (key, settings) = fields.iter().next()?;
        let (_, choice) = choices.iter().find(|(name, _)| *name == key.name)?;
        let mut format = formats[*choice].clone();
        let empty = matches!(&settings.value, Value::Null) || matches!(&settings.value, Value::Map(map) if map.is_empty());
        if empty {
            return Some((format, LINE_BYTES_MAX));
        }
        let shape = match format {
            FormatSpec::Csv { .. } => &shape::CSV,
            // No name gives rows.
            FormatSpec::Json | FormatSpec::Raw | FormatSpec::Rows { .. } => &shape::LINES,
            FormatSpec::Parquet => return self.invalid(&settings.span, "parquet has no settings", "write format: parquet"),
        };
        let fields = self.fields(settings, &key.name, &shape.names())?;
        let mut line_bytes_max = Some(LINE_BYTES_MAX);
        if let Some(node) = fields.get("line_bytes_max") {
            line_bytes_max = self.bytes(node, "line_bytes_max", 1..=LINE_BYTES_LIMIT).map(|bytes| bytes as usize);
        }
        if let FormatSpec::Csv { header, delimiter } = &mut format {
            if let Some(node) = fields.get("delimiter") {
                *delimiter = self.delimiter(node)?;
            }
            if let Some(node) = fields.get("header") {
                *header = self.header(node)?;
            }
        }
        Some((format, line_bytes_max?))
    }

    fn delimiter(&mut self, node: &Node) -> Option<u8> {
        let text = self.text(node, "delimiter")?;
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Some(*byte),
            _ => self.invalid(
                &node.span,
                format!("delimiter is one ASCII character, not \"{}\"", text.escape_debug()),
                "for example \",\", \";\", \"|\" or \"\\t\"; a quote or a line end cannot be one",
            ),
        }
    }

    fn header(&mut self, node: &Node) -> Option<Option<Vec<String>>> {
        match &node.value {
            Value::Bool(true) => Some(None),
            Value::Bool(false) => self.invalid(
                &node.span,
                "without a header row, nothing names the columns",
                "write their names: header: [id, amount, date]",
            ),
            _ => {
                let texts: Vec<(String, Range<usize>)> = self.texts(node, "a column's name")?;
                let mut names: Vec<String> = Vec::new();
                for (name, span) in texts {
                    if name.is_empty() || names.contains(&name) {
                        let problem = if name.is_empty() { "is empty".to_owned() } else { format!("\"{name}\" stands twice") };
                        return self.invalid(&span, format!("a column's name {problem}"), "give each column a name of its own");
                    }
                    names.push(name);
                }
                if names.is_empty() {
                    return self.invalid(&node.span, "header is empty", "write the names of the columns, or header: true");
                }
                Some(Some(names))
            }
        }
    }
}

/// The longest record that may be allowed, in bytes: an epoch must hold it several times.
const LINE_BYTES_LIMIT: u64 = 256 << 20;
