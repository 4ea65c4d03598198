//! The contract of columns: what a plugin reads, gives and keeps, as others rely on it.
//!
//! Owns: comparing a description with the recorded one, and which differences break nobody.
//! Does not own: descriptions (`segno_wire`), whether a pipeline's edges fit (`segno_core::pipeline::graph`).
//!
//! Invariants: columns of a stored table change with a raised version only, whoever accepts it. The crate's own version is
//! no part of the contract.

use super::CONTRACT;
use crate::worker::stored::{self, HELP, TableChange};
use segno_core::{Code, Error, Place, Result};
use segno_wire::Description;
use serde_json::Value;
use std::path::Path;

/// What `segno test` says of a contract.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// It was missing or another one, and is recorded now; what breaks those who relied on it.
    Recorded(Vec<String>),
    /// What is new, and breaks nobody.
    Additions(Vec<String>),
    /// None was recorded.
    Missing,
}

/// The contract of a plugin.
pub fn of(description: &Description) -> Value {
    let mut contract: Value = serde_json::from_str(&description.to_json()).unwrap_or_default();
    if let Value::Object(fields) = &mut contract {
        fields.shift_remove("version");
        fields.shift_remove("abi");
    }
    contract
}

/// Compares a plugin with the contract in its folder; with `update` records it.
pub fn check(folder: &Path, description: &Description, update: bool) -> Result<Verdict> {
    let file = folder.join(CONTRACT);
    let found = of(description);
    let recorded = match std::fs::read_to_string(&file) {
        Ok(text) => Some(serde_json::from_str::<Value>(&text).map_err(|error| {
            Error::new(Code::ScenarioUnfit, "the contract is no JSON")
                .with_cause(error)
                .with_help("restore it from the repository, or remove it and run `segno test --update`")
                .with_place(Place::file(&file))
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::new(Code::FileUnreadable, format!("{} cannot be read", file.display())).with_cause(error)),
    };
    let changes = recorded.as_ref().map(|recorded| compare(recorded, &found)).unwrap_or_default();
    if !changes.unversioned.is_empty() {
        return Err(Error::new(Code::StateUnversioned, changes.unversioned.join("; "))
            .with_help(format!("{HELP}. Where no pipeline has such state yet, remove {CONTRACT} and record it anew"))
            .with_place(Place::file(&file)));
    }
    if update && recorded.as_ref() == Some(&found) {
        return Ok(Verdict::Same);
    }
    if update {
        std::fs::write(&file, format!("{found:#}\n")).map_err(|error| {
            Error::new(Code::ProjectUnwritable, format!("{} cannot be written", file.display())).with_cause(error)
        })?;
        return Ok(Verdict::Recorded(changes.broken));
    }
    if !changes.broken.is_empty() {
        return Err(Error::new(Code::ContractBroken, changes.broken.join("; "))
            .with_help("put it back; or, where everybody who reads it is changed, too, record it with `segno test --update`")
            .with_place(Place::file(&file)));
    }
    Ok(match recorded {
        None => Verdict::Missing,
        Some(_) if changes.added.is_empty() => Verdict::Same,
        Some(_) => Verdict::Additions(changes.added),
    })
}

#[derive(Debug, Default)]
struct Changes {
    added: Vec<String>,
    broken: Vec<String>,
    unversioned: Vec<String>,
}

/// Entries of a list of things with names, in the list's order.
fn named<'v>(of: &'v Value, list: &str) -> Vec<(&'v str, &'v Value)> {
    let entries = of[list].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry["name"].as_str()?, entry))).collect()
}

fn find<'v>(entries: &[(&str, &'v Value)], name: &str) -> Option<&'v Value> {
    entries.iter().find(|(one, _)| *one == name).map(|(_, entry)| *entry)
}

fn compare(old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    for (field, what) in [("event_time", "reads the event time"), ("timers", "sets timers")] {
        // Left out where it is false.
        let is_so = |of: &Value| of[field] == true;
        match (is_so(old), is_so(new)) {
            (false, true) => changes.broken.push(format!("the plugin now {what}, which its pipelines must provide for")),
            (true, false) => changes.added.push(format!("the plugin no longer {what}")),
            _ => {}
        }
    }
    inputs(old, new, &mut changes);
    outputs(old, new, &mut changes);
    tables(old, new, &mut changes);
    side_tables(old, new, &mut changes);
    changes
}

fn kind(column: &Value) -> String {
    let mark = if column["nullable"] == true { "?" } else { "" };
    format!("{}{mark}", column["type"].as_str().unwrap_or("-"))
}

/// A plugin may read less, and take null where it took none.
fn inputs(old: &Value, new: &Value, changes: &mut Changes) {
    let before = named(old, "inputs");
    for (port, now) in named(new, "inputs") {
        let columns_before = find(&before, port).map(|port| named(port, "columns")).unwrap_or_default();
        let columns = named(now, "columns");
        reads(&columns_before, &columns, "reads the column", changes);
    }
}

fn reads(before: &[(&str, &Value)], now: &[(&str, &Value)], what: &str, changes: &mut Changes) {
    for (name, column) in now {
        match find(before, name) {
            None if column["nullable"] == true => changes.added.push(format!("{what} {name}, which may be missing")),
            None => changes.broken.push(format!("{what} {name}, which it did not before")),
            Some(old) if old["type"] != column["type"] || (old["nullable"] == true && column["nullable"] == false) => {
                changes.broken.push(format!("{what} {name} as {}; it was {}", kind(column), kind(old)));
            }
            Some(old) if old != *column => changes.added.push(format!("{what} {name} as {}; it was {}", kind(column), kind(old))),
            Some(_) => {}
        }
    }
    for (name, _) in before.iter().filter(|(name, _)| find(now, name).is_none()) {
        changes.added.push(format!("no longer {what} {name}"));
    }
}

/// A plugin may give more ports and columns, and no null where it gave some.
fn outputs(old: &Value, new: &Value, changes: &mut Changes) {
    let now = named(new, "outputs");
    let before = named(old, "outputs");
    for (port, old) in &before {
        let Some(new) = find(&now, port) else {
            changes.broken.push(format!("the port {port} is gone"));
            continue;
        };
        if old["kind"] != new["kind"] {
            changes.broken.push(format!("the port {port} is of kind {}; it was {}", new["kind"], old["kind"]));
        }
        let columns = named(new, "columns");
        let columns_before = named(old, "columns");
        for (name, old) in &columns_before {
            match find(&columns, name) {
                None => changes.broken.push(format!("the column {port}.{name} is gone")),
                Some(new) if old["type"] != new["type"] || (old["nullable"] == false && new["nullable"] == true) => {
                    changes.broken.push(format!("the column {port}.{name} is {}; it was {}", kind(new), kind(old)));
                }
                Some(new) if new != *old => changes.added.push(format!("the column {port}.{name} is {}; it was {}", kind(new), kind(old))),
                Some(_) => {}
            }
        }
        for (name, _) in columns.iter().filter(|(name, _)| find(&columns_before, name).is_none()) {
            changes.added.push(format!("the column {port}.{name} is new"));
        }
    }
    for (port, _) in now.iter().filter(|(port, _)| find(&before, port).is_none()) {
        changes.added.push(format!("the port {port} is new"));
    }
}

/// State of older runs is read by later versions: fields are appended, and the version says so.
fn tables(old: &Value, new: &Value, changes: &mut Changes) {
    for change in stored::changes(old, new) {
        match change {
            TableChange::Fit(what) => changes.added.push(what),
            TableChange::Gone(what) => changes.broken.push(what),
            TableChange::Unfit(what) => changes.unversioned.push(what),
        }
    }
}

/// A plugin may want fewer tables and columns of them.
fn side_tables(old: &Value, new: &Value, changes: &mut Changes) {
    let before = named(old, "side_tables");
    for (name, now) in named(new, "side_tables") {
        let Some(old) = find(&before, name) else {
            changes.broken.push(format!("the side table {name} is wanted, which was not before"));
            continue;
        };
        if old["key"] != now["key"] {
            changes.broken.push(format!("the side table {name} has another key"));
        }
        reads(&named(old, "columns"), &named(now, "columns"), &format!("reads of the side table {name} the column"), changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plugin() -> Value {
        let column = |name: &str, kind: &str, nullable: bool| json!({"name": name, "type": kind, "nullable": nullable});
        json!({
            "name": "x", "event_time": false,
            "inputs": [{"name": "in", "columns": [column("a", "i64", false), column("b", "utf8", true)]}],
            "outputs": [{"name": "out", "kind": "extend", "columns": [column("c", "i64", false)]}],
            "tables": [{"name": "t", "version": 1, "columns": [column("n", "u64", false)]}],
            "side_tables": [],
        })
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Changes {
        let mut new = plugin();
        change(&mut new);
        compare(&plugin(), &new)
    }

    /// (added, broken, unversioned)
    fn counts(change: impl FnOnce(&mut Value)) -> (usize, usize, usize) {
        let changes = changed(change);
        (changes.added.len(), changes.broken.len(), changes.unversioned.len())
    }

    #[test]
    fn what_is_added_breaks_nobody() {
        let column = json!({"name": "d", "type": "utf8", "nullable": true});
        assert_eq!(counts(|_| {}), (0, 0, 0));
        assert_eq!(counts(|new| new["outputs"][0]["columns"].as_array_mut().unwrap().push(column.clone())), (1, 0, 0));
        assert_eq!(counts(|new| new["inputs"][0]["columns"].as_array_mut().unwrap().push(column.clone())), (1, 0, 0));
        assert_eq!(counts(|new| drop(new["inputs"][0]["columns"].as_array_mut().unwrap().pop())), (1, 0, 0));
        let port = json!({"name": "late", "kind": "extend", "columns": []});
        assert_eq!(counts(|new| new["outputs"].as_array_mut().unwrap().push(port)), (1, 0, 0));
    }

    #[test]
    fn what_others_rely_on_does_not_go_or_change() {
        assert_eq!(counts(|new| new["outputs"][0]["columns"] = json!([])), (0, 1, 0));
        assert_eq!(counts(|new| new["outputs"] = json!([])), (0, 1, 0));
        assert_eq!(counts(|new| new["outputs"][0]["kind"] = json!("emit")), (0, 1, 0));
        assert_eq!(counts(|new| new["outputs"][0]["columns"][0]["type"] = json!("f64")), (0, 1, 0));
        assert_eq!(counts(|new| new["outputs"][0]["columns"][0]["nullable"] = json!(true)), (0, 1, 0));
        assert_eq!(counts(|new| new["inputs"][0]["columns"][1]["nullable"] = json!(false)), (0, 1, 0));
        assert_eq!(counts(|new| new["inputs"][0]["columns"][0]["name"] = json!("z")), (1, 1, 0));
        assert_eq!(counts(|new| new["event_time"] = json!(true)), (0, 1, 0));
        assert_eq!(counts(|new| new["timers"] = json!(true)), (0, 1, 0));
        assert_eq!(counts(|new| new["side_tables"] = json!([{"name": "s", "key": [], "columns": []}])), (0, 1, 0));
    }

    #[test]
    fn state_changes_with_a_raised_version_only() {
        let more = json!({"name": "m", "type": "u64", "nullable": false, "since": 2});
        let push = |new: &mut Value| new["tables"][0]["columns"].as_array_mut().unwrap().push(more.clone());
        assert_eq!(counts(push), (0, 0, 1));
        assert_eq!(counts(|new| { push(new); new["tables"][0]["version"] = json!(2) }), (1, 0, 0));
        let swapped = |new: &mut Value| { new["tables"][0]["columns"][0]["type"] = json!("i64"); new["tables"][0]["version"] = json!(2) };
        assert_eq!(counts(swapped), (0, 0, 1), "a higher version may only append");
        assert!(changed(push).unversioned[0].contains("m is new"));
    }
}
