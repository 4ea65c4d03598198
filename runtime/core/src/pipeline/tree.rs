//! The YAML text as a tree in which every value knows where it stands.
//!
//! Owns: reading YAML, what a plain scalar means, repeated fields. Does not own: which fields there are (`file`).
//!
//! Invariants: spans are bytes of the text. The type of a scalar follows YAML 1.2 (`yes` and `on` are text), whether
//! it was written down or came from a variable.

use super::spec::Spots;
use crate::{Code, Error, Place, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A pipeline file in bytes at most: far above any that a person or a tool writes.
pub const FILE_BYTES_MAX: usize = 4 << 20;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: String,
    pub span: Range<usize>,
}

impl Value {
    /// What a plain scalar means.
    pub fn of_plain(text: &str) -> Value {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
            "true" | "True" | "TRUE" => return Value::Bool(true),
            "false" | "False" | "FALSE" => return Value::Bool(false),
            _ => {}
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        if digits.bytes().all(|byte| byte.is_ascii_digit()) && !leading_zero {
            if let Ok(integer) = text.parse() {
                return Value::Integer(integer);
            }
        }
        let looks_like_a_number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        match text.parse::<f64>() {
            Ok(float) if looks_like_a_number && float.is_finite() && !leading_zero_integer(digits) => {
                Value::Float(float)
            }
            _ => Value::Text(text.to_owned()),
        }
    }

    /// For messages: `a number`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

fn leading_zero_integer(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads YAML text. The place of an error is where reading stopped.
pub fn read(file: &Path, text: &Arc<str>) -> Result<Node> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::new(
            Code::YamlSyntax,
            format!("the file has {} bytes; a pipeline file has at most {FILE_BYTES_MAX}", text.len()),
        )
        .with_help("is it the right file? Side tables and other data are named by path, not written into it")
        .with_place(Place::file(file)));
    }
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    match serde_saphyr::from_str_with_options::<Spanned<RawValue>>(text, options) {
        Ok(root) => Ok(node(root)),
        Err(error) => {
            let span = error.location().map_or(0..0, |location| span_of_error(text, &location));
            let message = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            // The place is drawn by us.
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            let line = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
            let help = match text[line..].lines().next() {
                Some(line) if line.contains("${") && line.contains('{') => {
                    "inside { … } and [ … ], put quotes around a variable: \"${NAME}\""
                }
                _ => "check indentation (spaces, no tabs), colons and quotes just before this place",
            };
            Err(Error::new(Code::YamlSyntax, format!("not well-formed YAML: {}", message.trim_end_matches(':')))
                .with_help(help)
                .with_place(Place { file: file.to_path_buf(), text: Arc::clone(text), span }))
        }
    }
}

/// The place of every value, by its path.
pub fn record_spots(spots: &mut Spots, path: &str, node: &Node) {
    spots.insert(path.to_owned(), node.span.clone());
    match &node.value {
        Value::List(items) => {
            for (number, item) in items.iter().enumerate() {
                record_spots(spots, &format!("{path}[{number}]"), item);
            }
        }
        Value::Map(fields) => {
            for (key, field) in fields {
                let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                record_spots(spots, &path, field);
                // A map or list that starts on the next line is better shown by its name.
                if matches!(field.value, Value::Map(_) | Value::List(_) | Value::Null) {
                    spots.insert(path, key.span.clone());
                }
            }
        }
        _ => {}
    }
}

enum RawValue {
    Scalar(Value),
    List(Vec<Spanned<RawValue>>),
    Map(Vec<(Spanned<String>, Spanned<RawValue>)>),
}

fn span(location: &Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0) as usize;
    start..start + span.byte_len().unwrap_or(0) as usize
}

/// Errors of the scanner know line and column only.
fn span_of_error(text: &str, location: &Location) -> Range<usize> {
    if location.span().byte_offset().is_some() {
        return span(location);
    }
    let line = location.line().max(1) as usize - 1;
    let Some(line_text) = text.split_inclusive('\n').nth(line) else { return text.len()..text.len() };
    let start = line_text.as_ptr() as usize - text.as_ptr() as usize;
    let column = location.column().max(1) as usize - 1;
    let start = start + line_text.char_indices().nth(column).map_or(line_text.len(), |(at, _)| at);
    start..start
}

fn node(raw: Spanned<RawValue>) -> Node {
    let span = span(&raw.defined);
    let value = match raw.value {
        RawValue::Scalar(value) => value,
        RawValue::List(items) => Value::List(items.into_iter().map(node).collect()),
        RawValue::Map(fields) => Value::Map(
            fields
                .into_iter()
                .map(|(key, value)| (Key { span: self::span(&key.defined), name: key.value }, node(value)))
                .collect(),
        ),
    };
    Node { span, value }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<RawValue, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

type Visited<E> = std::result::Result<RawValue, E>;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Integer(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Visited<E> {
        Ok(RawValue::Scalar(i128::try_from(value).map_or(Value::Float(value as f64), Value::Integer)))
    }

    fn visit_f64<E>(self, value: f64) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Visited<E> {
        Ok(RawValue::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Visited<A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Visited<A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(RawValue::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        read(Path::new("p.yaml"), &Arc::from(text)).unwrap()
    }

    fn spots(text: &str) -> Spots {
        let mut spots = Spots::new("p.yaml", Arc::from(text));
        record_spots(&mut spots, "", &tree(text));
        spots
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let text = "name: größe\nsteps:\n  - id: a\n    key: [x, /y]\n  - {id: b, config: {n: 1.5}}\n";
        let spots = spots(text);
        let at = |path: &str| {
            let place = spots.place(path);
            (place.line_column(), text[place.span].to_owned())
        };
        assert_eq!(at("name"), ((1, 7), "größe".to_owned()));
        assert_eq!(at("steps[0].id"), ((3, 9), "a".to_owned()));
        assert_eq!(at("steps[0].key[1]"), ((4, 14), "/y".to_owned()));
        assert_eq!(at("steps[1].config.n"), ((5, 25), "1.5".to_owned()));
        assert_eq!(at("steps"), ((2, 1), "steps".to_owned()));
        assert_eq!(at("steps[1].limits.fuel").0, at("steps[1]").0, "the nearest part around it");
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        let Value::Map(fields) =
            tree("a: yes\nb: true\nc: 12\nd: 1.5\ne: ~\nf: '12'\ng: 1_000\nh: 007\ni: 2001-01-01\nj: 1e3\nk:").value
        else {
            panic!("a map")
        };
        let values: Vec<Value> = fields.into_iter().map(|(_, node)| node.value).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        let expected = [
            text("yes"),
            Value::Bool(true),
            Value::Integer(12),
            Value::Float(1.5),
            Value::Null,
            text("12"),
            text("1_000"),
            text("007"),
            text("2001-01-01"),
            Value::Float(1000.0),
            Value::Null,
        ];
        assert_eq!(values, expected);
        for (plain, value) in ["yes", "true", "12", "1.5", "~", "x", "1_000", "007", "2001-01-01", "1e3", ""]
            .into_iter()
            .zip(expected)
        {
            if plain != "x" {
                assert_eq!(Value::of_plain(plain), value, "{plain} from a variable");
            }
        }
        assert_eq!(Value::of_plain("-5"), Value::Integer(-5));
        assert_eq!(Value::of_plain("inf"), text("inf"));
        assert_eq!(Value::of_plain("-"), text("-"));
    }

    #[test]
    fn a_syntax_error_says_where() {
        let text: Arc<str> = Arc::from("name: x\nsteps:\n  - id: \"open\n");
        let error = read(Path::new("p.yaml"), &text).unwrap_err();
        assert_eq!(error.code(), Code::YamlSyntax);
        assert_eq!(error.place().unwrap().line_column(), (3, 9), "{error}");
        assert!(!error.message().contains('\n'), "{}", error.message());
    }

    #[test]
    fn an_alias_is_shown_where_its_value_is_written() {
        let text = "a: &x hello\nb: *x\n";
        assert_eq!(spots(text).place("b").line_column(), (1, 7));
    }

    #[test]
    fn an_enormous_file_is_refused() {
        let text: Arc<str> = Arc::from("#".repeat(FILE_BYTES_MAX + 1));
        assert_eq!(read(Path::new("p.yaml"), &text).unwrap_err().code(), Code::YamlSyntax);
    }
}
