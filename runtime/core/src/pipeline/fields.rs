//! Reading fields of the tree into values, noting everything that is wrong on the way.
//!
//! Owns: the wording of errors about single fields. Does not own: which fields there are (`file`).
//!
//! Invariant: reading goes on after an error, so that one run of `validate` shows them all. A reader that returns
//! `None` has noted why.

use super::spec::Spots;
use super::tree::{Key, Node, Value};
use super::units;
use crate::{Code, Error, Place};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How far a name may be from a valid one to be suggested.
const SIMILARITY_MIN: f64 = 0.66;

/// The valid name that is nearest to a misspelt one.
pub fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    valid
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            // The last part of a nested column's path is what people write first.
            let ends = lower.rsplit_once('.').is_some_and(|(_, last)| last == name);
            let similarity = match ends {
                true => 1.0,
                false => strsim::jaro_winkler(&name, &lower).max(strsim::normalized_damerau_levenshtein(&name, &lower)),
            };
            (similarity, candidate)
        })
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        // The first of equals, so that the suggestion does not depend on chance.
        .fold(None, |best: Option<(f64, &str)>, one| match best {
            Some(best) if best.0 >= one.0 => Some(best),
            _ => Some(one),
        })
        .map(|(_, candidate)| candidate)
}

/// "did you mean …", or the list of what is valid.
pub fn suggest<'a>(name: &str, what: &str, valid: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, valid.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("{what}: {}", list(valid)),
    }
}

pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What has been found so far.
pub struct Reader {
    pub file: PathBuf,
    pub text: Arc<str>,
    pub spots: Spots,
    pub errors: Vec<Error>,
    pub warnings: Vec<Error>,
    /// Ids of all steps in the order of the file; empty text where an id could not be read.
    pub step_ids: Vec<String>,
    /// Scalars whose variables could not be replaced: the error is noted, and what follows from it is not.
    pub unknown: Vec<Range<usize>>,
}

/// A map whose names have been checked.
#[derive(Clone, Copy)]
pub struct Fields<'n> {
    node: &'n Node,
    map: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.map.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    pub fn key(&self, name: &str) -> Option<&'n Key> {
        self.map.iter().find(|(key, _)| key.name == name).map(|(key, _)| key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> + use<'n> {
        self.map.iter().map(|(key, node)| (key, node))
    }

    pub fn span(&self) -> Range<usize> {
        self.node.span.clone()
    }
}

impl Reader {
    pub fn place(&self, span: &Range<usize>) -> Place {
        Place { file: self.file.clone(), text: Arc::clone(&self.text), span: span.clone() }
    }

    pub fn error(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        if self.unknown.contains(span) {
            return;
        }
        let place = self.place(span);
        self.errors.push(Error::new(code, message).with_help(help).with_place(place));
    }

    pub fn warn(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(span);
        self.warnings.push(Error::new(code, message).with_help(help).with_place(place));
    }

    pub fn invalid<T>(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.error(Code::InvalidValue, span, message, help);
        None
    }

    /// A map with any names; a name that occurs twice is an error.
    pub fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<Fields<'n>> {
        let Value::Map(map) = &node.value else {
            return self.invalid(
                &node.span,
                format!("{what} is a map of fields, not {}", node.value.kind()),
                "write `name: value` lines, indented below it",
            );
        };
        for (number, (key, _)) in map.iter().enumerate() {
            if map[..number].iter().any(|(earlier, _)| earlier.name == key.name) {
                self.error(
                    Code::DuplicateField,
                    &key.span,
                    format!("\"{}\" stands twice in {what}", key.name),
                    "remove one of the two: which one is meant cannot be known",
                );
            }
        }
        Some(Fields { node, map })
    }

    /// A map with these names only.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, valid: &[&str]) -> Option<Fields<'n>> {
        let fields = self.map(node, what)?;
        for (key, _) in fields.iter() {
            if !valid.contains(&key.name.as_str()) {
                self.error(
                    Code::UnknownField,
                    &key.span,
                    format!("{what} has no field \"{}\"", key.name),
                    suggest(&key.name, "valid are", valid.iter().copied()),
                );
            }
        }
        Some(fields)
    }

    /// A field that must be there.
    pub fn required<'n>(&mut self, fields: &Fields<'n>, name: &str, what: &str, help: &str) -> Option<&'n Node> {
        let node = fields.get(name).filter(|node| node.value != Value::Null);
        if node.is_none() {
            let span = fields.key(name).map_or(fields.span(), |key| key.span.clone());
            self.error(Code::MissingField, &span, format!("{what} has no \"{name}\""), help);
        }
        node
    }

    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            // A name such as 2024 is meant as it is written.
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) if self.text.get(node.span.clone()).is_some() => {
                let written = &self.text[node.span.clone()];
                Some(match written.contains("${") {
                    false => written.to_owned(),
                    true => match &node.value {
                        Value::Integer(integer) => integer.to_string(),
                        Value::Float(float) => float.to_string(),
                        _ => written.to_owned(),
                    },
                })
            }
            other => {
                let help = if matches!(other, Value::Null) { "write a value, or remove the field" } else { "write plain text" };
                self.invalid(&node.span, format!("{what} is text, not {}", other.kind()), help)
            }
        }
    }

    /// A path as written. A shell would replace `~`; here nobody does.
    pub fn path(&mut self, node: &Node, what: &str) -> Option<String> {
        let path = self.text(node, what)?;
        self.check_path(&path, &node.span, what).then_some(path)
    }

    pub fn check_path(&mut self, path: &str, span: &Range<usize>, what: &str) -> bool {
        if path.is_empty() {
            self.error(Code::InvalidValue, span, format!("{what} is empty"), "name a file or a folder");
        } else if path.starts_with("~/") {
            let help = format!("write \"${{HOME}}{}\", or a path relative to the pipeline file", &path[1..]);
            self.error(Code::InvalidValue, span, format!("{what}: ~ is not replaced in a pipeline file"), help);
        } else {
            return true;
        }
        false
    }

    pub fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                let shown = self.shown(node);
                self.invalid(&node.span, format!("{what} is true or false, not {shown}"), "write true or false")
            }
        }
    }

    /// The scalar as it is written, for messages.
    fn shown(&self, node: &Node) -> String {
        match &node.value {
            Value::Text(text) => format!("\"{}\"", text.escape_debug()),
            Value::Integer(integer) => integer.to_string(),
            Value::Float(float) => float.to_string(),
            other => other.kind().to_owned(),
        }
    }

    /// A scalar with a unit.
    fn measure<T>(
        &mut self,
        node: &Node,
        what: &str,
        expected: &str,
        help: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(integer) => integer.to_string(),
            Value::Float(float) => float.to_string(),
            other => return self.invalid(&node.span, format!("{what} is {expected}, not {}", other.kind()), help),
        };
        match read(text.trim()) {
            Some(value) => Some(value),
            None => {
                let shown = self.shown(node);
                self.invalid(&node.span, format!("{what} is {expected}, not {shown}"), help)
            }
        }
    }

    /// A count within limits.
    pub fn count(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.measure(node, what, "a whole number", "for example 500, 10k or 1M", units::count)?;
        self.in_range(node, what, value, range)
    }

    pub fn bytes(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.measure(node, what, "a number of bytes", "for example 64KiB, 16MiB or 1GiB", units::bytes)?;
        self.in_range(node, what, value, range)
    }

    fn in_range(&mut self, node: &Node, what: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        if range.contains(&value) {
            return Some(value);
        }
        let allowed = match *range.end() {
            u64::MAX => format!("at least {}", range.start()),
            end => format!("from {} to {end}", range.start()),
        };
        self.invalid(&node.span, format!("{what} is {allowed}, not {value}"), format!("choose a value {allowed}"))
    }

    pub fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        self.measure(node, what, "a time with its unit", "for example 200ms, 5s, 10m or 1h", |text| {
            if text == "0" { Some(Duration::ZERO) } else { units::duration(text) }
        })
    }

    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            other => other.kind().to_owned(),
        };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names = choices.iter().map(|(name, _)| *name);
        let shown = self.shown(node);
        self.invalid(
            &node.span,
            format!("{what} cannot be {shown}"),
            match nearest(&text, names.clone()) {
                Some(near) if matches!(node.value, Value::Text(_)) => {
                    format!("did you mean {near}? Valid are {}", list(names))
                }
                _ => format!("valid are {}", list(names)),
            },
        )
    }

    /// One text, or a list of them; with the place of each.
    pub fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<(String, Range<usize>)>> {
        match &node.value {
            Value::List(items) => {
                let mut texts = Vec::with_capacity(items.len());
                let mut whole = true;
                for item in items {
                    match self.text(item, what) {
                        Some(text) => texts.push((text, item.span.clone())),
                        None => whole = false,
                    }
                }
                whole.then_some(texts)
            }
            _ => self.text(node, what).map(|text| vec![(text, node.span.clone())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_valid_name_is_suggested() {
        let valid = ["plugin", "config", "limits", "on_error"];
        assert_eq!(nearest("plguin", valid), Some("plugin"));
        assert_eq!(nearest("on-error", valid), Some("on_error"));
        assert_eq!(nearest("Limits", valid), Some("limits"));
        assert_eq!(nearest("price", ["rice", "bid.price"]), Some("bid.price"));
        assert_eq!(nearest("zzz", valid), None);
        assert_eq!(suggest("zzz", "valid are", valid), "valid are: plugin, config, limits, on_error");
    }
}
