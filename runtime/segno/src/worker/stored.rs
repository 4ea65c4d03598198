//! Tables of state that a plugin keeps, before and after a change of the plugin: can the new one read what the old one wrote?
//!
//! Owns: the rule, and its words. Does not own: descriptions (`segno_wire`), what a run or a contract does about it
//! (`open`, `cli::author::contract`).
//!
//! Invariant: values are read by their table's columns in their order, so columns of a table are only appended, each with a raised
//! version; whoever accepts another change would read numbers as other numbers.

use crate::shard::program::Program;
use segno_core::{Code, Error, Result};
use serde_json::{Map, Value};

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
    let named = |tables: &[Value], name: &Value| tables.iter().find(|table| table["name"] == *name).cloned();
    let name = |table: &Value| table["name"].as_str().unwrap_or_default().to_owned();
    let of_old = before.iter().filter_map(|old| match named(&now, &old["name"]) {
        Some(new) => change(&name(old), old, &new),
        None => Some(TableChange::Gone(format!("the state table {} is gone, and what pipelines keep in it", name(old)))),
    });
    let added = now.iter().filter(|table| named(&before, &table["name"]).is_none());
    of_old.chain(added.map(|table| TableChange::Fit(format!("the state table {} is new", name(table))))).collect()
}

fn change(name: &str, old: &Value, new: &Value) -> Option<TableChange> {
    let (version_before, version) = (old["version"].as_u64().unwrap_or(1), new["version"].as_u64().unwrap_or(1));
    let columns = |table: &Value| table["columns"].as_array().cloned().unwrap_or_default();
    let (before, now) = (columns(old), columns(new));
    if now == before && version >= version_before {
        let raised = version > version_before;
        return raised.then(|| TableChange::Fit(format!("the state table {name} has version {version}; it had {version_before}")));
    }
    if version <= version_before {
        let fields = fields(&before, &now);
        return Some(TableChange::Unfit(format!("the state table {name} has other fields than before ({fields}), and still version {version}")));
    }
    if now.starts_with(&before) {
        return Some(TableChange::Fit(format!("the state table {name} has more fields, and version {version}")));
    }
    let fields = fields(&before, &now);
    Some(TableChange::Unfit(format!("the state table {name} has other fields than before ({fields}): a higher version may only append some")))
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
    if found.is_empty() { "in another order".to_owned() } else { found.join(", ") }
}

/// What an author does about it, in whatever language.
pub const HELP: &str = "append new fields, each with the version that brings it (since), and raise the table's version: state of older runs is \
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
            if let TableChange::Unfit(why) = change {
                unfit.push(format!("step \"{}\": {why}", step.id));
            }
        }
    }
    match unfit.is_empty() {
        true => Ok(()),
        false => Err(Error::new(Code::StateUnversioned, unfit.join("; ")).with_help(format!("{HELP}; or run it under another pipeline name, without that state"))),
    }
}
