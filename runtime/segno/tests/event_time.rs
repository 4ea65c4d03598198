//! Event time: timers fire between the same two records however the input is cut. That they fire as in the test harness of
//! the SDK is shown beside the plugin (tests/guests/timed).

use crate::lab::{Lab, finish, plain, text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::PathBuf;
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
    let timers = [random.random_range(1..=40), 50_000][random.random_range(0..2)];
    lab.settings = format!("batch_rows: {rows}\nepoch: {{ max_records: {records}, max_timers: {timers} }}\nthreads: {threads}\n");
    killed(random, lab);
}

/// Up to two kills.
fn killed(random: &mut StdRng, lab: &Lab) {
    for _ in 0..random.random_range(0..3) {
        let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
        std::thread::sleep(Duration::from_millis(random.random_range(5..120)));
        let _ = child.kill();
        finish(child);
    }
}

/// The records of a shard's epochs, as the journal has them.
fn epochs(lab: &Lab) -> Vec<serde_json::Value> {
    let folder = std::fs::read_dir(lab.store().join("journal")).expect("a journal");
    let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let entries = files.iter().filter_map(|file| serde_json::from_slice::<serde_json::Value>(&std::fs::read(file).ok()?).ok());
    entries.map(|entry| entry["body"].clone()).filter(|body| body["kind"] == "epoch").collect()
}

/// Epochs that end within an instant.
fn parts(epochs: &[serde_json::Value]) -> usize {
    epochs.iter().filter(|epoch| !epoch["to"]["timer_cursor"].is_null()).count()
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
    let mut cut = 0;
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
        cut += parts(&epochs(&lab));
    }
    assert!(cut > 0, "seed {seed}: no epoch ended within an instant");
    println!("## event time: {cut} epochs ended within an instant");
}

#[test]
fn a_burst_of_timers_is_spread_over_epochs_and_leaves_no_trace() {
    const KEYS: i64 = 20_000;
    const TIMERS_MAX: u64 = 500;
    let seed = rand::random::<u64>();
    println!("## burst: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let steps = TIMED.to_owned() + "    config: { burst: 100 }\n" + SECOND;
    let burst = || {
        let lab = lab(3, &steps, "bucket, what, id, time, watermark");
        let line = |id: i64, at: i64| format!("{{\"id\":{id},\"key\":\"k{id}\",\"at\":{at}}}\n");
        let records: String = (0..KEYS).map(|id| line(id, 1_000 + id)).collect();
        std::fs::write(lab.path("in-0.jsonl"), records + &line(KEYS, 200_000) + &line(KEYS + 1, 201_000)).expect("input");
        for other in &lab.inputs()[1..] {
            std::fs::write(other, "").expect("input");
        }
        lab
    };
    let mut reference = burst();
    reference.settings = "epoch: { max_timers: 1000000 }\n".to_owned();
    let summary = reference.complete();
    assert!(summary["totals"]["timers"]["count"].as_i64() >= Some(KEYS), "{summary}");
    let fired = |epochs: &[serde_json::Value], step: &str| {
        epochs.iter().map(|epoch| epoch["counts"]["timers"][step].as_u64().unwrap_or(0)).max().unwrap_or(0)
    };
    assert!(fired(&epochs(&reference), "count") >= KEYS as u64, "without a limit an epoch fires all of them");
    for _ in 0..3 {
        let mut lab = burst();
        // What is set within an epoch fires in it, too, whatever the limit.
        let (rows, records) = (random.random_range(1..3_000), random.random_range(500..3_000));
        lab.settings = format!("batch_rows: {rows}\nepoch: {{ max_records: {records}, max_timers: {TIMERS_MAX} }}\n");
        killed(&mut random, &lab);
        lab.complete();
        assert!(lab.output() == reference.output(), "seed {seed}: the output differs with {}", lab.settings);
        assert!(lab.state() == reference.state(), "seed {seed}: the state differs with {}", lab.settings);
        let epochs = epochs(&lab);
        let (without, with): (Vec<_>, Vec<_>) = epochs.iter().cloned().partition(|epoch| epoch["counts"]["records"] == 0);
        assert!(fired(&without, "count") <= TIMERS_MAX, "an epoch fired {} timers", fired(&without, "count"));
        let last = with.last().map_or(0, |epoch| fired(std::slice::from_ref(epoch), "count"));
        assert!(last <= TIMERS_MAX + 10, "the rest of the burst and what the last records set: {last} timers");
        assert!(parts(&epochs) as i64 >= KEYS / TIMERS_MAX as i64 / 2, "{} epochs end within the burst", parts(&epochs));
        let (code, said) = lab.replay();
        assert_eq!(code, Some(0), "seed {seed}: {said}");
    }
}

#[test]
fn a_timer_that_traps_stops_the_shard_and_loses_nothing() {
    let steps = format!("{}    config: {{ trap: 1 }}\n    on_error: skip\n", TIMED.trim_end().to_owned() + "\n");
    let mut lab = lab(7, &steps, COLUMNS);
    let output = lab.run(&["run", "-q"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("P027") && said.contains("step \"count\": timer 1 for "), "{said}");
    let before = lab.output();
    lab.steps = TIMED.to_owned();
    lab.settings.push_str("# mended\n");
    let output = lab.run(&["run", "-q", "--accept-change"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(lab.output().starts_with(&before));
}

#[test]
fn timers_that_go_on_setting_others_when_the_input_has_ended_are_an_error() {
    let steps = format!("{}    config: {{ beat: true }}\n", TIMED.trim_end().to_owned() + "\n");
    let lab = lab(7, &steps, COLUMNS);
    let output = lab.run(&["run", "-q"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("P028") && said.contains("the input has ended, and timers of one key go on setting others"), "{said}");
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
