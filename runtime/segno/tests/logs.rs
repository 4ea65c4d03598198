//! The log as programs read it: flat lines, each with whose it is, and records by the names that dead letters have.

use crate::lab::{Lab, finish, plain, text};
use serde_json::Value;
use std::collections::BTreeSet;

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_line_about_a_record_is_joined_to_its_dead_letter_by_the_records_name() {
    let lab = Lab::new(71, 3_000);
    let output = finish(lab.command(plain(), &["run", "-q", "-v", "-o", "json"]).spawn().expect("segno starts"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = lines(&output.stderr);
    let about: Vec<&Value> = said.iter().filter(|line| line["record"].is_string()).collect();
    let shown = lab.run(&["dlq", "show", "-o", "json", "--limit", "0"]);
    let letters = lines(&shown.stdout);
    assert!(!letters.is_empty() && letters.len() == about.len(), "{} letters, {} lines", letters.len(), about.len());
    for line in &about {
        let letter = letters.iter().find(|letter| letter["record"] == line["record"]).unwrap_or_else(|| panic!("no letter of {line}"));
        for (field, of_letter) in [("code", "code"), ("message", "reason"), ("epoch", "epoch")] {
            assert_eq!(line[field], letter[of_letter], "{field}: {line}");
        }
        assert_eq!((&line["tenant"], &line["pipeline"], &line["shard"]), (&"default".into(), &"counts".into(), &"single".into()));
        assert_eq!((&line["generation"], &line["level"]), (&1.into(), &"info".into()));
    }
    let names: BTreeSet<&str> = letters.iter().filter_map(|letter| letter["record"].as_str()).collect();
    assert_eq!(names.len(), letters.len(), "two records have one name");
    assert!(names.iter().all(|name| name.starts_with("source/in-")), "{names:?}");
}

#[test]
fn every_event_and_field_of_a_run_is_documented() {
    let lab = Lab::new(72, 500);
    let output = finish(lab.command(plain(), &["run", "-q", "-v", "-o", "json"]).spawn().expect("segno starts"));
    let documented = include_str!("../../../docs/logs.md");
    let said = lines(&output.stderr);
    assert!(said.iter().any(|line| line["message"] == "the shard is live"), "{said:?}");
    for line in said {
        for field in line.as_object().expect("an object").keys() {
            assert!(documented.contains(&format!("`{field}`")), "docs/logs.md does not list `{field}`: {line}");
        }
    }
}

#[test]
fn an_error_filter_still_says_whose_a_line_is() {
    let lab = Lab::new(73, 2_000);
    let lines = {
        let output = finish(lab.command(plain(), &["run", "-q", "-o", "json", "--log", "warn,segno::shard::commit=info"]).spawn().expect("segno starts"));
        lines(&output.stderr)
    };
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line["record"].is_string() && line["pipeline"] == "counts" && line["epoch"].as_u64() > Some(0), "{line}");
    }
}
