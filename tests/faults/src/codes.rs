//! Every error code has an explanation, and a test that produces it.
//!
//! Owns: the list of codes that no scenario produces, with the test that does. Does not own: the codes (segno-core).

use crate::lab::{repository, text, variable};
use crate::scenarios::folders;
use std::collections::BTreeSet;
use std::process::Command;

/// A code that no scenario produces, how its tests name it, and their file.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("J001", "\"J001\"", "runtime/segno/tests/cli.rs"),
    ("J005", "Code::AlreadyRunning", "runtime/durable/src/tests.rs"),
    ("J011", "Code::StateDamaged", "runtime/durable/src/tests.rs"),
    ("R001", "\"R001\"", "runtime/segno/tests/replay.rs"),
    ("K007", "\"K007\"", "runtime/segno/tests/postgres.rs"),
    ("K020", "Code::DatabaseRefused", "runtime/postgres/tests/refusals.rs"),
    ("K021", "Code::TableUnfit", "runtime/postgres/tests/refusals.rs"),
    ("K022", "Code::RowRefused", "runtime/postgres/tests/types.rs"),
    ("S007", "Code::SourceColumn", "runtime/input/src/source/tests/formats.rs"),
];

/// Codes whose test is not written yet. A code leaves this list with its test; none may enter.
const MISSING: &[&str] = &["C019", "C024", "C026", "C027", "C030", "J006", "J012", "K002", "K003", "P007", "P010", "P011", "P012", "P023", "P025", "P026", "P051", "R002", "R003", "R004", "R005", "R006", "R008", "R900"];

fn codes() -> BTreeSet<String> {
    let output = Command::new(variable("SEGNO_BIN")).args(["explain", "-o", "json"]).output().expect("segno starts");
    let code = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["code"].as_str().map(str::to_owned);
    let codes: BTreeSet<String> = text(&output.stdout).lines().filter_map(code).collect();
    assert!(codes.len() > 80, "`segno explain` lists {} codes", codes.len());
    codes
}

#[test]
fn every_code_is_explained() {
    for code in codes() {
        let output = Command::new(variable("SEGNO_BIN")).args(["explain", &code]).output().expect("segno starts");
        let said = text(&output.stdout);
        assert!(output.status.success() && said.contains(&code), "{code}: {said}");
        assert!(said.len() > 80, "{code} is hardly explained: {said}");
    }
}

#[test]
fn every_code_is_produced_by_some_test() {
    let mut produced = BTreeSet::new();
    for folder in folders() {
        let error = std::fs::read_to_string(folder.join("error.txt")).unwrap_or_default();
        let expected = std::fs::read_dir(folder.join("expected")).into_iter().flatten().flatten();
        let rows: String = expected.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
        produced.extend(codes().into_iter().filter(|code| {
            error.lines().skip(1).any(|line| line.contains(code.as_str())) || rows.contains(&format!("\"code\":\"{code}\""))
        }));
    }
    for (code, mark, file) in ELSEWHERE {
        let source = std::fs::read_to_string(repository().join(file)).expect("a file with tests");
        assert!(source.contains("#[test]") && source.contains(mark), "{file} has no test of {code}");
        produced.insert((*code).to_owned());
    }
    let missing: Vec<String> = codes().difference(&produced).cloned().collect();
    println!("## {} codes are produced by tests, {} have none yet: {}", produced.len(), missing.len(), missing.join(" "));
    assert_eq!(missing, MISSING, "the codes without a test differ from the list MISSING");
}
