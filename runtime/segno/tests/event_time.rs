//! Event time: timers fire between the same two records however the input is cut. That they fire as in the test harness of
//! the SDK is shown beside the plugin (tests/guests/timed).

use crate::lab::{Lab, finish, plain, text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

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
    let summary = reference.complete();
    // What a call counted that was made again with fewer events did not happen.
    for step in ["count", "second"] {
        let (counted, fired) = (&summary["totals"]["counters"][format!("{step}.timers")], &summary["totals"]["timers"][step]);
        assert!(fired.as_u64() > Some(100) && counted == fired, "{step}: {counted} counted, {fired} fired");
    }
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
