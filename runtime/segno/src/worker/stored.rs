//! Tables of state that a plugin keeps, before and after a change of the plugin: can the new one read what the old one wrote?
//!
//! Owns: the rule, and its words. Does not own: descriptions (`segno_wire`), what a run or a contract does about it
//! (`open`, `cli::author::contract`).
//!
//! Invariants: values are found by the place of their table among those of the plugin, so tables keep their places; they are read
//! by their table's columns in their order, so columns of a table are only appended, each brought by (`since`) a raised version.
//! Whoever accepts another change would read numbers as other numbers.

use crate::shard::program::Program;
use segno_core::{Code, Error, Result};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// How a table of state changed.
#[derive(Debug, PartialEq, Eq)]
pub enum TableChange {
    /// What is new is fit for what is stored.
    Fit(String),
    /// It is not there any more.
    Gone(String),
    /// What is stored would be misread.
    Unfit(String),
}

/// What changed from a description to another one of the same plugin, both as JSON.
pub fn changes(before: &Value, now: &Value) -> Vec<TableChange> {
    let tables = |of: &Value| of["tables"].as_array().cloned().unwrap_or_default();
    let (before, now) = (tables(before), tables(now));
    let place = |tables: &[Value], name: &Value| tables.iter().position(|table| table["name"] == *name);
    let name = |table: &Value| table["name"].as_str().unwrap_or_default().to_owned();
    let of_old = before.iter().enumerate().filter_map(|(at, old)| match place(&now, &old["name"]) {
        Some(same) if same == at => change(&name(old), old, &now[at]),
        Some(other) => Some(TableChange::Unfit(format!(
            "the state table {} is number {} of the plugin's tables; it was number {}, and values are found by that",
            name(old),
            other + 1,
            at + 1
        ))),
        None => Some(TableChange::Gone(format!("the state table {} is gone, and what pipelines keep in it", name(old)))),
    });
    let added = now.iter().enumerate().filter(|(_, table)| place(&before, &table["name"]).is_none());
    let added = added.map(|(at, table)| match before.get(at) {
        None => TableChange::Fit(format!("the state table {} is new", name(table))),
        Some(old) => TableChange::Unfit(format!("the state table {} has the place of {}, and would find its values", name(table), name(old))),
    });
    of_old.chain(added).collect()
}

fn change(name: &str, old: &Value, new: &Value) -> Option<TableChange> {
    let (version_before, version) = (old["version"].as_u64().unwrap_or(1), new["version"].as_u64().unwrap_or(1));
    let columns = |table: &Value| table["columns"].as_array().cloned().unwrap_or_default();
    let (before, now) = (columns(old), columns(new));
    if now == before {
        return match version.cmp(&version_before) {
            Ordering::Equal => None,
            Ordering::Greater => Some(TableChange::Fit(format!("the state table {name} has version {version}; it had {version_before}"))),
            Ordering::Less => Some(TableChange::Unfit(format!(
                "the state table {name} has version {version}; it had {version_before}, and what that wrote cannot be read"
            ))),
        };
    }
    if version <= version_before {
        let fields = fields(&before, &now);
        return Some(TableChange::Unfit(format!("the state table {name} has other fields than before ({fields}), and version {version}; it had {version_before}")));
    }
    if appends(&before, &now, version_before) {
        return Some(TableChange::Fit(format!("the state table {name} has more fields, and version {version}")));
    }
    let fields = fields(&before, &now);
    Some(TableChange::Unfit(format!(
        "the state table {name} has other fields than before ({fields}): a higher version may only append some, which it brings itself (since)"
    )))
}

/// True when `now` reads what was written by `before`: only fields are appended that a version after `written` brings, in the items
/// of lists as well, which have the version of their table.
fn appends(before: &[Value], now: &[Value], written: u64) -> bool {
    let items = |column: &Value| column["columns"].as_array().cloned().unwrap_or_default();
    let bare = |column: &Value| {
        let mut column = column.clone();
        column.as_object_mut().map(|fields| fields.remove("columns"));
        column
    };
    let reads = |(old, new): (&Value, &Value)| bare(old) == bare(new) && appends(&items(old), &items(new), written);
    now.len() >= before.len()
        && before.iter().zip(now).all(reads)
        && now[before.len()..].iter().all(|column| column["since"].as_u64().unwrap_or(1) > written)
}

/// Which fields differ.
fn fields(before: &[Value], now: &[Value]) -> String {
    let keyed = |columns: &[Value]| -> Map<String, Value> {
        columns.iter().filter_map(|column| Some((column["name"].as_str()?.to_owned(), column.clone()))).collect()
    };
    let kind = |column: &Value| format!("{}{}", column["type"].as_str().unwrap_or("-"), if column["nullable"] == true { "?" } else { "" });
    let (before, now) = (keyed(before), keyed(now));
    let gone = before.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{name} is gone"));
    let new = now.iter().filter_map(|(name, column)| match before.get(name) {
        None => Some(format!("{name} is new")),
        Some(old) if kind(old) != kind(column) => Some(format!("{name} is {}; it was {}", kind(column), kind(old))),
        Some(old) if old["columns"] != column["columns"] => {
            let inner = |column: &Value| column["columns"].as_array().cloned().unwrap_or_default();
            Some(format!("in {name}: {}", fields(&inner(old), &inner(column))))
        }
        Some(old) if old != column => Some(format!("{name} says another version that brought it")),
        Some(_) => None,
    });
    let found: Vec<String> = gone.chain(new).collect();
    if found.is_empty() { "they are in another order".to_owned() } else { found.join(", ") }
}

/// What an author does about it, in whatever language.
pub const HELP: &str = "keep tables in their order, new ones behind the others, and ones that are used no more; append new fields, each with the version that brings it (since), and raise the table's version: state of older runs is \
    read by these; a field that is removed, changed or moved needs a table with another name";

/// Refuses programs whose steps would misread the state that those before them wrote.
pub fn check(before: &Program, now: &Program) -> Result<()> {
    let described = |program: &Program, step: usize| {
        serde_json::from_str::<Value>(&program.steps[step].template.description.to_json()).unwrap_or_default()
    };
    let mut unfit = Vec::new();
    for (number, step) in now.graph.steps.iter().enumerate() {
        let Some(old) = before.graph.steps.iter().position(|one| one.id == step.id) else { continue };
        for change in changes(&described(before, old), &described(now, number)) {
            // What a table leaves behind is found by the next one that gets its place.
            if let TableChange::Unfit(why) | TableChange::Gone(why) = change {
                unfit.push(format!("step \"{}\": {why}", step.id));
            }
        }
    }
    match unfit.is_empty() {
        true => Ok(()),
        false => Err(Error::new(Code::StateUnversioned, unfit.join("; ")).with_help(format!("{HELP}; or run it under another pipeline name, without that state"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(name: &str, since: u64) -> Value {
        json!({"name": name, "type": "u64", "nullable": false, "since": since})
    }

    fn list(items: &[Value]) -> Value {
        json!({"name": "items", "type": "list", "columns": items})
    }

    fn table(version: u64, columns: &[Value]) -> Value {
        json!({"tables": [{"name": "t", "version": version, "columns": columns}]})
    }

    #[test]
    fn what_older_values_lack_is_brought_by_a_newer_version_in_lists_too() {
        let (a, b) = (field("a", 1), field("b", 1));
        let unfit = |before: &Value, now: &Value| matches!(changes(before, now)[..], [TableChange::Unfit(_)]);
        let old = table(1, std::slice::from_ref(&a));
        assert!(changes(&old, &old).is_empty());
        assert!(!unfit(&old, &table(2, &[a.clone(), field("b", 2)])));
        // One that says it was always there would be looked for in values that do not have it.
        assert!(unfit(&old, &table(2, &[a.clone(), b.clone()])));
        assert!(unfit(&table(2, std::slice::from_ref(&a)), &table(3, &[a.clone(), field("b", 2)])));
        assert!(unfit(&table(1, &[a.clone(), b.clone()]), &table(2, &[b.clone(), a.clone()])));
        let old = table(1, &[list(std::slice::from_ref(&a)), b.clone()]);
        assert!(!unfit(&old, &table(2, &[list(&[a.clone(), field("c", 2)]), b.clone()])));
        assert!(unfit(&old, &table(2, &[list(&[a.clone(), field("c", 1)]), b.clone()])));
        assert!(unfit(&old, &table(2, &[list(&[field("c", 2), a.clone()]), b.clone()])));
        assert!(unfit(&old, &table(1, &[list(&[a, field("c", 2)]), b])));
    }

    #[test]
    fn tables_keep_their_places() {
        let named = |names: &[&str]| {
            let tables: Vec<Value> = names.iter().map(|name| json!({"name": name, "version": 1, "columns": [field("a", 1)]})).collect();
            json!({ "tables": tables })
        };
        let found = |before: &[&str], now: &[&str]| changes(&named(before), &named(now));
        assert!(matches!(found(&["a"], &["a", "b"])[..], [TableChange::Fit(_)]));
        assert!(matches!(found(&["a", "b"], &["a"])[..], [TableChange::Gone(_)]));
        // All of the same columns: no value would look wrong.
        assert!(matches!(found(&["a", "b"], &["b", "a"])[..], [TableChange::Unfit(_), TableChange::Unfit(_)]));
        assert!(matches!(found(&["a"], &["b", "a"])[..], [TableChange::Unfit(_), TableChange::Unfit(_)]));
        assert!(matches!(found(&["a"], &["b"])[..], [TableChange::Gone(_), TableChange::Unfit(_)]));
    }

    #[test]
    fn a_lower_version_of_the_same_fields_is_told_as_that() {
        let columns = [field("a", 1), field("b", 2)];
        let [TableChange::Unfit(why)] = &changes(&table(3, &columns), &table(2, &columns))[..] else { panic!("it is taken") };
        assert_eq!(why, "the state table t has version 2; it had 3, and what that wrote cannot be read");
    }
}
