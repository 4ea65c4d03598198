//! Published output as a reader sees it: the files of a folder in the order of their names, line by line.

use serde_json::{Map, Value};
use std::path::Path;

pub type Row = Map<String, Value>;

/// Every row of every `.jsonl` file of a folder. Hidden files and folders are not output.
pub fn read(folder: &Path) -> Result<Vec<Row>, String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    names.sort();
    let mut rows = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(&name).map_err(|error| format!("{}: {error}", name.display()))?;
        for (number, line) in text.lines().enumerate() {
            let row = serde_json::from_str(line)
                .map_err(|error| format!("{} line {}: {error}: {line}", name.display(), number + 1))?;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Compares a row with the fields that it must have, and has no others.
pub fn same(number: usize, found: &Row, expected: &[(&str, Value)]) -> Result<(), String> {
    for (name, value) in expected {
        if !found.get(*name).is_some_and(|found| equal(found, value)) {
            let was = found.get(*name).map_or("absent".to_owned(), Value::to_string);
            return Err(format!("row {number}: {name} is {was}, must be {value}; the row: {}", text(found)));
        }
    }
    if found.len() != expected.len() {
        return Err(format!("row {number} has {} fields, must have {}: {}", found.len(), expected.len(), text(found)));
    }
    Ok(())
}

/// Equal values. Fractions may differ in the last place, because the parser used here does not always round as IEEE 754
/// says; that output is the same to the byte is what replays show.
fn equal(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) if expected.fract() != 0.0 => (found - expected).abs() <= expected.abs() * 1e-15,
        _ => found == expected,
    }
}

fn text(row: &Row) -> String {
    Value::Object(row.clone()).to_string()
}

/// The number of rows must be right too: nothing lost, nothing doubled at the end.
pub fn same_length(what: &str, found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} {what}, must be {expected}")) }
}
