//! Event time: timers fire between the same two records however the input is cut, and as the plugin's author sees them in
//! the test harness, which is written apart from the runtime.

use crate::lab::{Lab, finish, plain, text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_sdk::testing::{Harness, Row};
use segno_sdk::{Timestamp, row};
use std::time::Duration;
use timed::Timed;

const RECORDS: usize = 4_000;
const TIMED: &str = "  - id: count
    plugin: \"COMPONENTS/timed.wasm\"
    key: key
";
const SECOND: &str = "  - id: second
    plugin: \"COMPONENTS/timed.wasm\"
    key: bucket
";
const COLUMNS: &str = "key, what, id, time, watermark, bucket";

fn lab(seed: u64, steps: &str, columns: &str) -> Lab {
    let mut lab = Lab::new(seed, RECORDS);
    lab.steps = steps.to_owned();
    lab.columns = columns.to_owned();
    lab
}

/// Other batches, epochs, threads, lanes that a step keeps, and some kills.
fn disturbed(random: &mut StdRng, lab: &mut Lab) {
    let (rows, records, threads) =
        (random.random_range(1..=2_000), random.random_range(20..=3_000), random.random_range(1..=4));
    lab.settings = format!("batch_rows: {rows}\nepoch: {{ max_records: {records} }}\nthreads: {threads}\n");
    for _ in 0..random.random_range(0..3) {
        let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
        std::thread::sleep(Duration::from_millis(random.random_range(5..120)));
        let _ = child.kill();
        finish(child);
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

#[test]
fn timers_leave_no_trace_of_batches_epochs_threads_and_kills() {
    let seed = rand::random::<u64>();
    println!("## event time: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let steps = format!("{TIMED}{SECOND}");
    let reference = lab(3, &steps, "bucket, what, id, time, watermark");
    reference.complete();
    let (output, state) = (lines(&reference.output()), reference.state());
    assert!(output.iter().filter(|line| line.contains("\"timer\"")).count() > 500, "timers fire: {}", output.len());
    for _ in 0..16 {
        let mut lab = lab(3, &steps, "bucket, what, id, time, watermark");
        disturbed(&mut random, &mut lab);
        lab.complete();
        let setting = &lab.settings;
        let found = lines(&lab.output());
        let differs = output.iter().zip(&found).position(|(one, other)| one != other);
        if let Some(line) = differs {
            panic!("seed {seed}, {setting}: line {line} is\n{}\nand was\n{}", found[line], output[line]);
        }
        assert_eq!(found.len(), output.len(), "seed {seed}, {setting}");
        assert!(lab.state() == state, "seed {seed}: the state differs with {setting}");
        let (code, said) = lab.replay();
        assert_eq!(code, Some(0), "seed {seed}, {setting}: {said}");
    }
}

/// A record of the input in the order in which it is read.
fn harness_row(line: &str) -> Option<Row> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let at = Timestamp::from_micros(record["at"].as_i64()? * 1_000);
    Some(row! { "id": record["id"].as_i64()? }.key(record["key"].as_str()?).at(at))
}

#[test]
fn timers_fire_as_in_the_test_harness_of_the_sdk() {
    let lab = lab(5, TIMED, COLUMNS);
    // One partition: its order is that of the merged sequence.
    let input = std::fs::read(lab.path("in-0.jsonl")).expect("input");
    for other in [1, 2] {
        std::fs::remove_file(lab.path(&format!("in-{other}.jsonl"))).expect("input");
    }
    lab.complete();
    let mut harness = Harness::<Timed>::new("{}").unwrap();
    lines(&input).iter().filter_map(|line| harness_row(line)).for_each(|row| harness.push(row));
    let wanted: Vec<String> = harness
        .run_to_end()
        .rows()
        .iter()
        .map(|row| {
            let time = |name: &str| row.timestamp(name).to_string();
            let watermark = if row.is_null("watermark") { "none".to_owned() } else { time("watermark") };
            format!("{} {} {} {} {watermark} {}", row.key, row.text("what"), row.i64("id"), time("time"), row.i64("bucket"))
        })
        .collect();
    let found: Vec<String> = lines(&lab.output())
        .iter()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row");
            let time = |name: &str| {
                let text = row[name].as_str().expect("a time");
                let at: jiff::Timestamp = text.parse().expect("a time");
                Timestamp::from_micros(at.as_microsecond()).to_string()
            };
            let watermark = if row["watermark"].is_null() { "none".to_owned() } else { time("watermark") };
            format!(
                "{} {} {} {} {watermark} {}",
                row["key"].as_str().expect("a key"),
                row["what"].as_str().expect("a word"),
                row["id"],
                time("time"),
                row["bucket"]
            )
        })
        .collect();
    let differs = wanted.iter().zip(&found).position(|(one, other)| one != other);
    if let Some(line) = differs {
        panic!("row {line} is\n{}\nand in the harness\n{}", found[line], wanted[line]);
    }
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().filter(|line| line.contains(" timer ")).count() > 200);
}

#[test]
fn a_timer_that_traps_stops_the_shard_and_loses_nothing() {
    let steps = format!("{}    config: {{ trap: 1 }}\n    on_error: skip\n", TIMED.trim_end().to_owned() + "\n");
    let mut lab = lab(7, &steps, COLUMNS);
    let output = lab.run(&["run", "-q"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("P027") && said.contains("step \"count\": timer 1 for time"), "{said}");
    let before = lab.output();
    lab.steps = TIMED.to_owned();
    lab.settings.push_str("# mended\n");
    let output = lab.run(&["run", "-q", "--accept-change"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(lab.output().starts_with(&before));
}

#[test]
fn timers_that_set_each_other_without_end_are_an_error() {
    let steps = format!("{}    config: {{ forever: true }}\n", TIMED.trim_end().to_owned() + "\n");
    let lab = lab(7, &steps, COLUMNS);
    let output = lab.run(&["run", "-q"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("P028"), "{said}");
}
