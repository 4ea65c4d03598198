//! A dead letter for the plugin's author: where the plugin panicked, on which record, and how to see it again.
//!
//! Owns: the words. Does not own: finding the record that a call fails at (`shard::lane`).

use super::play::stops;
use crate::cli::console::printable;
use crate::worker::letters::{record, text};
use serde_json::{Map, Value, json};

/// What a golden file keeps of a dead letter: what the plugin and its input decide. Not the folder, not the build.
const KEPT: [&str; 6] = ["offset", "step", "code", "reason", "value", "value_base64"];

/// A dead letter as a line of a golden file.
pub fn golden(letter: &Value) -> String {
    let kept = KEPT.iter().filter(|name| !letter[**name].is_null());
    let kept: Map<String, Value> = kept.map(|name| ((*name).to_owned(), letter[*name].clone())).collect();
    Value::Object(kept).to_string()
}

/// Whether the plugin failed at the record, and did not reject it.
pub fn is_failure(letter: &Value) -> bool {
    letter["code"].as_str().is_some_and(|code| code.starts_with('P') && code != "P050")
}

/// Where a panic happened, as `src/lib.rs:31:20`, and what it said.
fn panic(reason: &str) -> Option<(&str, &str)> {
    let (_, rest) = reason.split_once("panicked at ")?;
    let (place, said) = rest.split_once('\n')?;
    Some((place.trim_end_matches(':'), said.trim()))
}

/// The failure for people. `again` is the command that runs on this record alone.
pub fn describe(letter: &Value, again: &str) -> String {
    let reason = text(letter, "reason");
    let head = match panic(&reason) {
        Some((place, said)) => format!("[{}] the plugin panicked at {place}\n  says    {}\n", text(letter, "code"), said.lines().map(printable).collect::<Vec<_>>().join("\n          ")),
        None => format!("[{}] {}\n", text(letter, "code"), printable(&reason)),
    };
    let bytes = match &letter["value"] {
        Value::String(value) => printable(value),
        _ => format!("base64 {}", text(letter, "value_base64")),
    };
    let stops = if stops(letter) { "  run     `segno run` stops at this record (on_error: fail)\n" } else { "" };
    format!("{head}  record  {}\n  bytes   {bytes}\n{stops}  again   {again}\n", record(letter))
}

/// The same for programs.
pub fn json(letter: &Value, again: &str) -> Value {
    let reason = text(letter, "reason");
    let found = panic(&reason);
    json!({
        "code": letter["code"],
        "at": found.map(|(place, _)| place),
        "says": found.map_or(reason.as_str(), |(_, said)| said),
        "record": record(letter),
        "value": letter["value"],
        "on_error": letter["on_error"],
        "again": again,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(reason: &str) -> Value {
        json!({"source": "source", "partition": "in.jsonl", "offset": 30, "step": "orders", "code": "P020", "reason": reason,
               "component": "abc", "value": "{\"a\":\u{1b}1}", "value_base64": null, "time": null, "truncated": false})
    }

    #[test]
    fn a_panic_names_the_line_the_record_and_the_command() {
        let letter = letter("the plugin trapped (unreachable instruction executed): panicked at src/lib.rs:31:20:\nattempt to divide by zero");
        let said = describe(&letter, "segno dev --once --record 30");
        assert!(said.contains("panicked at src/lib.rs:31:20\n") && said.contains("says    attempt to divide by zero\n"), "{said}");
        assert!(said.contains("source/in.jsonl/30") && said.contains("again   segno dev --once --record 30"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(json(&letter, "x")["at"], "src/lib.rs:31:20");
    }

    #[test]
    fn another_failure_says_its_reason() {
        let said = describe(&letter("the call used up its 11000000 units of fuel"), "x");
        assert!(said.starts_with("[P020] the call used up its 11000000 units of fuel\n"), "{said}");
    }

    #[test]
    fn a_golden_line_holds_nothing_of_the_machine() {
        let line = golden(&letter("r"));
        assert!(!line.contains("component") && !line.contains("in.jsonl") && line.contains("\"offset\":30"), "{line}");
    }
}
