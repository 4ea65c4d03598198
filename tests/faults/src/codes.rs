//! Every error code has an explanation, and a test that produces it.
//!
//! Owns: the list of codes that no scenario produces, with the test that does. Does not own: the codes (segno-core).

use crate::lab::{repository, text, variable};
use crate::scenarios::folders;
use std::collections::BTreeSet;
use std::process::Command;

/// A code that no scenario produces, how its tests name it, and their file.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("P013", "\"[P013]\"", "runtime/segno/tests/author.rs"),
    ("P060", "\"[P060]\"", "runtime/segno/tests/author.rs"),
    ("P061", "\"[P061]\"", "runtime/segno/tests/author.rs"),
    ("P062", "\"[P062]\"", "runtime/segno/tests/author.rs"),
    ("P063", "\"[P063]\"", "runtime/segno/tests/author.rs"),
    ("U007", "\"[U007]\"", "runtime/segno/tests/author.rs"),
    ("U008", "\"[U008]\"", "runtime/segno/tests/author.rs"),
    ("U009", "\"[U009]\"", "runtime/segno/tests/author.rs"),
    ("U010", "\"[U010]\"", "runtime/segno/tests/author.rs"),
    ("U011", "\"[U011]\"", "runtime/segno/tests/author.rs"),
    ("U012", "\"[U012]\"", "runtime/segno/tests/author.rs"),
    ("U013", "Code::NotWatched", "runtime/segno/src/cli/author/dev.rs"),
    ("P027", "P027", "runtime/segno/tests/event_time.rs"),
    ("P028", "P028", "runtime/segno/tests/event_time.rs"),
    ("C026", "\"C026 ", "runtime/core/src/pipeline/graph/build/tests.rs"),
    ("C027", "\"C027 ", "runtime/core/src/pipeline/graph/build/tests.rs"),
    ("C034", "Code::ShardingUnfit", "runtime/core/src/pipeline/file/tests.rs"),
    ("C035", "Code::KeysUnchecked", "runtime/core/src/pipeline/file/tests.rs"),
    ("D014", "Code::RecordMisplaced", "runtime/input/src/format/messages/tests.rs"),
    ("J024", "\"J024\"", "runtime/segno/tests/shards.rs"),
    ("S015", "\"S015\"", "runtime/kafka/tests/workers.rs"),
    ("S016", "\"S016\"", "runtime/segno/tests/shards.rs"),
    ("U006", "\"U006\"", "runtime/segno/tests/cli.rs"),
    ("U005", "\"U005\"", "runtime/segno/tests/shards.rs"),
    ("J001", "\"J001\"", "runtime/segno/tests/cli.rs"),
    ("J005", "Code::AlreadyRunning", "runtime/durable/src/tests.rs"),
    ("J011", "Code::StateDamaged", "runtime/durable/src/tests.rs"),
    ("J012", "\"J012\"", "tests/faults/src/disk.rs"),
    ("J020", "\"J020\"", "runtime/segno/tests/s3.rs"),
    ("J021", "\"J021\"", "runtime/segno/tests/s3.rs"),
    ("J022", "Code::StoreCredentials", "runtime/durable/tests/credentials.rs"),
    ("J023", "Code::StoreUnsafe", "runtime/durable/tests/races.rs"),
    ("K002", "\"K002\"", "tests/faults/src/disk.rs"),
    ("K003", "\"K003\"", "tests/faults/src/disk.rs"),
    ("D013", "\"D013\"", "runtime/kafka/tests/source.rs"),
    ("K014", "\"K014\"", "runtime/kafka/tests/rekey.rs"),
    ("D015", "\"D015\"", "runtime/kafka/tests/rekey.rs"),
    ("K008", "Code::MarkTorn", "runtime/kafka/tests/sink.rs"),
    ("K009", "Code::MarksTopic", "runtime/kafka/src/marks.rs"),
    ("K010", "Code::RecordTooLarge", "runtime/kafka/tests/sink.rs"),
    ("K013", "Code::OutputOwned", "runtime/durable/src/tests.rs"),
    ("K012", "Code::RowLimit", "runtime/kafka/tests/sink.rs"),
    ("K011", "Code::TransactionExpired", "runtime/kafka/tests/expired.rs"),
    ("S009", "Code::KafkaUnreachable", "runtime/kafka/tests/source.rs"),
    ("S010", "Code::KafkaDenied", "runtime/kafka/src/client.rs"),
    ("S011", "Code::TopicMissing", "runtime/kafka/tests/source.rs"),
    ("S012", "Code::OffsetsGone", "runtime/kafka/tests/source.rs"),
    ("S013", "Code::TopicReplaced", "runtime/kafka/tests/conformance.rs"),
    ("S014", "Code::KafkaFailed", "runtime/kafka/src/client.rs"),
    ("R001", "\"R001\"", "runtime/segno/tests/replay.rs"),
    ("R016", "\"R016\"", "tests/faults/src/processing_time.rs"),
    ("R012", "\"R012\"", "runtime/segno/tests/observe.rs"),
    ("R011", "\"R011\"", "runtime/segno/tests/observe.rs"),
    // Nothing is known to produce it: what did would be a bug to mend. Its shape is tested.
    ("R900", "[R900]", "runtime/core/src/error/mod.rs"),
    ("K007", "\"K007\"", "runtime/segno/tests/postgres.rs"),
    ("K020", "Code::DatabaseRefused", "runtime/postgres/tests/refusals.rs"),
    ("K021", "Code::TableUnfit", "runtime/postgres/tests/refusals.rs"),
    ("K023", "Code::DatabaseInsecure", "runtime/postgres/tests/secured.rs"),
    ("K022", "Code::RowRefused", "runtime/postgres/tests/types.rs"),
    ("S007", "Code::SourceColumn", "runtime/input/src/source/tests/formats.rs"),
];

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
        let has_tests = source.contains("#[test]") || source.contains("_rules!(");
        assert!(has_tests && source.contains(mark), "{file} has no test of {code}");
        produced.insert((*code).to_owned());
    }
    let missing: Vec<String> = codes().difference(&produced).cloned().collect();
    println!("## {} codes are produced by tests", produced.len());
    assert!(missing.is_empty(), "no test produces {}", missing.join(", "));
}
