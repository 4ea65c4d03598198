//! Runbooks: each has the same parts, and names tests that exist.
//!
//! Owns: the form of docs/runbooks. Does not own: the tests that they name.

use crate::lab::repository;
use std::path::PathBuf;

const PARTS: [&str; 5] =
    ["## Symptom", "## What Segno does by itself", "## What to check", "## What to do", "## Exercised by"];

fn runbooks() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(repository().join("docs/runbooks")).expect("docs/runbooks");
    entries
        .flatten()
        .map(|entry| (entry.path(), std::fs::read_to_string(entry.path()).expect("a runbook")))
        .collect()
}

#[test]
fn every_runbook_names_tests_that_exist() {
    let runbooks = runbooks();
    assert!(runbooks.len() >= 8, "runbooks are missing: {}", runbooks.len());
    for (path, text) in runbooks {
        let at: Vec<usize> = PARTS
            .iter()
            .map(|part| text.find(part).unwrap_or_else(|| panic!("{} has no part {part}", path.display())))
            .collect();
        assert!(at.is_sorted(), "{} has its parts in another order", path.display());
        let named: Vec<&str> = text[at[4]..].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{} names no test", path.display());
        for test in named {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{}: {test} is no test", path.display()));
            let source = std::fs::read_to_string(repository().join(file))
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", path.display()));
            assert!(source.contains(&format!("#[test]\nfn {name}()")), "{}: {file} has no test {name}", path.display());
        }
    }
}

#[test]
fn the_operations_page_leads_to_every_runbook() {
    let page = std::fs::read_to_string(repository().join("docs/operations.md")).expect("docs/operations.md");
    for (path, _) in runbooks() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(page.contains(&format!("(runbooks/{name})")), "docs/operations.md does not lead to {name}");
    }
}
