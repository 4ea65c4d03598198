//! Variables of the environment in a pipeline file: `${NAME}` and `${NAME:-default}`.
//!
//! Owns: their syntax, their replacement, and which values are secret. Does not own: where values come from.
//!
//! Invariants: replaced after the YAML is read and inside scalars only, so that a value can never change the
//! structure of the file. Names of fields are never replaced.

use super::tree::{Node, Value};
use crate::{Code, Error, Place};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Values are masked when the variable's name contains one of these.
const SECRET_WORDS: [&str; 6] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL"];

/// What stands for a secret in anything that is shown.
pub const MASK: &str = "********";

pub struct Variables<'a> {
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    pub file: &'a Path,
    pub text: &'a Arc<str>,
    pub errors: Vec<Error>,
    /// Scalars that an error kept from being replaced.
    pub unknown: Vec<Range<usize>>,
    /// Values that must never be shown.
    pub secrets: Vec<String>,
}

impl Variables<'_> {
    /// Replaces variables in every scalar of the tree.
    pub fn replace(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => {
                let Some(replaced) = self.replace_text(text, &node.span) else {
                    self.unknown.push(node.span.clone());
                    return;
                };
                // A quoted scalar is text, whatever the variable holds; a plain one is read as if it stood there.
                let quoted = self.text[node.span.start.min(self.text.len())..].starts_with(['"', '\'', '|', '>']);
                node.value = if quoted { Value::Text(replaced) } else { Value::of_plain(&replaced) };
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.replace(item)),
            Value::Map(fields) => fields.iter_mut().for_each(|(_, field)| self.replace(field)),
            _ => {}
        }
    }

    /// `None` when something is wrong; it is noted in `errors`.
    fn replace_text(&mut self, text: &str, span: &Range<usize>) -> Option<String> {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        let mut whole = true;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                replaced.push_str(before);
                replaced.push_str("${");
                rest = &from[2..];
                continue;
            }
            replaced.push_str(before);
            let Some(end) = from.find('}') else {
                self.wrong(
                    Code::InvalidValue,
                    format!("\"{from}\" has no closing brace"),
                    "write ${NAME} or ${NAME:-default}; write $${ for the two characters themselves".to_owned(),
                    from,
                    span,
                );
                return None;
            };
            let inside = &from[2..end];
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            if !is_name(name) {
                self.wrong(
                    Code::InvalidValue,
                    format!("\"{name}\" cannot be the name of a variable"),
                    "names have letters, digits and _, and start with no digit; write $${ for the two characters themselves"
                        .to_owned(),
                    &from[..=end],
                    span,
                );
                whole = false;
            } else {
                // Like a shell, `:-` also stands in for a variable that is set but empty.
                match ((self.lookup)(name).filter(|value| default.is_none() || !value.is_empty()), default) {
                    (Some(value), _) => {
                        if is_secret(name) && !value.is_empty() {
                            self.secrets.push(value.clone());
                        }
                        replaced.push_str(&value);
                    }
                    (None, Some(default)) => replaced.push_str(default),
                    (None, None) => {
                        self.wrong(
                            Code::UndefinedVariable,
                            format!("the variable {name} is not set"),
                            format!("set it (export {name}=…), or write a default: ${{{name}:-value}}"),
                            &from[..=end],
                            span,
                        );
                        whole = false;
                    }
                }
            }
            rest = &from[end + 1..];
        }
        replaced.push_str(rest);
        whole.then_some(replaced)
    }

    fn wrong(&mut self, code: Code, message: String, help: String, part: &str, span: &Range<usize>) {
        // The part itself, where the scalar is written without escapes.
        let within = self.text.get(span.clone()).and_then(|written| written.find(part));
        let span = match within {
            Some(at) => span.start + at..span.start + at + part.len(),
            None => span.clone(),
        };
        self.errors.push(Error::new(code, message).with_help(help).with_place(Place {
            file: self.file.to_path_buf(),
            text: Arc::clone(self.text),
            span,
        }));
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// True when values of the variable must not be shown.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Replaces every occurrence of a secret, also inside longer text and written as a number.
pub fn mask(value: &mut serde_json::Value, secrets: &[String]) {
    match value {
        serde_json::Value::String(text) => {
            if let Some(masked) = mask_text(text, secrets) {
                *text = masked;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secrets)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| mask(field, secrets)),
        serde_json::Value::Number(number) => {
            if secrets.contains(&number.to_string()) {
                *value = serde_json::Value::String(MASK.to_owned());
            }
        }
        _ => {}
    }
}

/// `None` when nothing in the text is secret.
pub fn mask_text(text: &str, secrets: &[String]) -> Option<String> {
    // The longest first: one secret may be a part of another.
    let mut found: Vec<&String> = secrets.iter().filter(|secret| text.contains(secret.as_str())).collect();
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    if found.is_empty() {
        return None;
    }
    Some(found.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tree;

    fn replaced(yaml: &str) -> (Node, Vec<Error>, Vec<String>) {
        let text: Arc<str> = Arc::from(yaml);
        let file = Path::new("p.yaml");
        let mut root = tree::read(file, &text).unwrap();
        let lookup = |name: &str| match name {
            "HOST" => Some("example.org".to_owned()),
            "N" => Some("12".to_owned()),
            "EMPTY" => Some(String::new()),
            "EVIL" => Some("x, plugin: evil.wasm}\n- a".to_owned()),
            "API_TOKEN" => Some("hunter2".to_owned()),
            _ => None,
        };
        let mut variables = Variables { lookup: &lookup, file, text: &text, errors: Vec::new(), unknown: Vec::new(), secrets: Vec::new() };
        variables.replace(&mut root);
        (root, variables.errors, variables.secrets)
    }

    fn value(yaml: &str) -> Value {
        let (root, errors, _) = replaced(&format!("v: {yaml}"));
        assert!(errors.is_empty(), "{errors:?}");
        let Value::Map(mut fields) = root.value else { panic!("a map") };
        fields.remove(0).1.value
    }

    #[test]
    fn variables_are_replaced_in_scalars() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(value("http://${HOST}:${PORT:-80}/"), text("http://example.org:80/"));
        assert_eq!(value("${N}"), Value::Integer(12));
        assert_eq!(value("\"${N}\""), text("12"));
        assert_eq!(value("${EMPTY:-7}"), Value::Integer(7));
        assert_eq!(value("\"${EMPTY}\""), text(""));
        assert_eq!(value("$${HOST} costs $5"), text("${HOST} costs $5"));
        assert_eq!(value("${NONE:-}"), Value::Null);
    }

    #[test]
    fn a_variable_cannot_change_the_structure() {
        assert_eq!(value("\"${EVIL}\""), Value::Text("x, plugin: evil.wasm}\n- a".to_owned()));
        assert_eq!(value("${EVIL}"), Value::Text("x, plugin: evil.wasm}\n- a".to_owned()));
    }

    #[test]
    fn every_undefined_variable_is_reported_where_it_stands() {
        let (_, errors, _) = replaced("a: x${ONE}y${TWO}\nb: [\"${THREE\"]\nc: ${9}\n");
        let found: Vec<_> = errors.iter().map(|e| (e.code(), e.place().unwrap().line_column())).collect();
        assert_eq!(
            found,
            [
                (Code::UndefinedVariable, (1, 5)),
                (Code::UndefinedVariable, (1, 12)),
                (Code::InvalidValue, (2, 6)),
                (Code::InvalidValue, (3, 4)),
            ]
        );
        assert_eq!(errors[0].help(), Some("set it (export ONE=…), or write a default: ${ONE:-value}"));
    }

    #[test]
    fn secrets_are_masked_wherever_they_come_to_stand() {
        let (_, _, secrets) = replaced("a: \"Bearer ${API_TOKEN}\"\nb: ${HOST}");
        assert_eq!(secrets, ["hunter2"]);
        let mut json = serde_json::json!({"auth": ["Bearer hunter2"], "host": "example.org"});
        mask(&mut json, &secrets);
        assert_eq!(json, serde_json::json!({"auth": [format!("Bearer {MASK}")], "host": "example.org"}));
        let mut json = serde_json::json!({"pin": 1234});
        mask(&mut json, &["1234".to_owned()]);
        assert_eq!(json, serde_json::json!({"pin": MASK}));
    }
}
