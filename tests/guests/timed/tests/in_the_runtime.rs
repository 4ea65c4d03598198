//! The runtime and the test harness of the SDK, which were written apart from each other, give the same rows for a plugin
//! that sets and deletes timers in every way. `SEGNO_BIN` and `SEGNO_COMPONENTS` name the command and the plugins.

use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_sdk::testing::{Harness, Row};
use segno_sdk::{Timestamp, row};
use timed::Timed;

const RECORDS: usize = 4_000;

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

/// (key, id, event time in ms), skewed and out of order.
fn records(seed: u64) -> Vec<(String, i64, i64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let record = |id: i64| {
        let key = (random.random::<f64>().powi(4) * 300.0) as u32;
        (format!("k{key}"), id, id * 10 - random.random_range(0..5_000))
    };
    (0..RECORDS as i64).map(record).collect()
}

/// What the command publishes for these records.
fn in_the_runtime(folder: &Path, records: &[(String, i64, i64)], delay: i64) -> Vec<String> {
    let lines: String =
        records.iter().map(|(key, id, at)| format!("{{\"key\":\"{key}\",\"id\":{id},\"at\":{at}}}\n")).collect();
    std::fs::write(folder.join("in.jsonl"), lines).expect("input");
    let pipeline = format!(
        "version: 1
name: timed
source:
  files: {{ path: in.jsonl }}
  format: json
  time: /at
  watermark_delay: {delay}ms
  columns: {{ id: i64, key: utf8, at: timestamp }}
steps:
  - {{ id: timed, plugin: \"{}/timed.wasm\", key: key }}
sinks:
  - {{ name: out, files: {{ path: out }}, columns: [key, what, id, time, watermark, bucket] }}
epoch: {{ max_records: 700 }}
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true }}
",
        variable("SEGNO_COMPONENTS").display()
    );
    let file = folder.join("pipeline.yaml");
    std::fs::write(&file, pipeline).expect("the pipeline file");
    let mut command = Command::new(variable("SEGNO_BIN"));
    command.args(["run", "-q"]).arg(file).env("SEGNO_PLUGIN_CACHE", folder.join("cache"));
    let output = command.output().expect("segno starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("out")).expect("output").flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let rows = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("output");
        text.lines().map(published).collect::<Vec<_>>()
    });
    rows.collect()
}

fn published(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).expect("a row");
    let time = |name: &str| match row[name].as_str() {
        None => "none".to_owned(),
        Some(text) => Timestamp::from_micros(text.parse::<jiff::Timestamp>().expect("a time").as_microsecond()).to_string(),
    };
    let text = |name: &str| row[name].as_str().expect("a text").to_owned();
    format!("{} {} {} {} {} {}", text("key"), text("what"), row["id"], time("time"), time("watermark"), row["bucket"])
}

/// What the harness gives for them.
fn in_the_harness(records: &[(String, i64, i64)], delay: i64) -> Vec<String> {
    let mut harness = Harness::<Timed>::setup("{}").watermark_delay(delay * 1_000).start().expect("the plugin starts");
    for (key, id, at) in records {
        let record: Row = row! { "id": *id }.key(key).at(Timestamp::from_millis(*at));
        harness.push(record);
    }
    let result = harness.run_to_end();
    let shown = result.rows().iter().map(|row| {
        let time = |name: &str| if row.is_null(name) { "none".to_owned() } else { row.timestamp(name).to_string() };
        format!("{} {} {} {} {} {}", row.key, row.text("what"), row.i64("id"), time("time"), time("watermark"), row.i64("bucket"))
    });
    shown.collect()
}

fn at_the_end(config: &str) {
    let mut harness = Harness::<Timed>::new(config).expect("the plugin starts");
    harness.push(row! { "id": 1_i64 }.key("k").at(Timestamp::from_millis(1_000)));
    harness.run_to_end();
}

#[test]
#[should_panic(expected = "timers set each other 1000 times at one instant: set the next one for a later time (P028)")]
fn the_test_harness_ends_timers_that_set_each_other_at_one_instant() {
    at_the_end("{\"forever\":true}");
}

#[test]
#[should_panic(expected = "the input has ended, and timers of the key `k` go on setting others, 10000 so far")]
fn the_test_harness_ends_timers_that_set_each_other_when_the_input_has_ended() {
    at_the_end("{\"beat\":true}");
}

#[test]
fn timers_fire_as_in_the_test_harness() {
    for (delay, seed) in [(0, 5), (1_700, rand::random::<u64>())] {
        let folder = tempfile::tempdir().expect("a folder");
        let records = records(seed);
        let (wanted, found) = (in_the_harness(&records, delay), in_the_runtime(folder.path(), &records, delay));
        if let Some(row) = wanted.iter().zip(&found).position(|(one, other)| one != other) {
            panic!("seed {seed}: row {row} is\n{}\nand in the harness\n{}", found[row], wanted[row]);
        }
        assert_eq!(found.len(), wanted.len(), "seed {seed}");
        assert!(found.iter().filter(|line| line.contains(" timer ")).count() > 200);
    }
}
