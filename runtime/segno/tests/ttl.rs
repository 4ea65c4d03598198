//! Time to live of state: what a key finds follows from the records and the watermark alone, however the input is cut, whatever RocksDB
//! has removed, whenever the time to live changed; and a replay finds the same.
//!
//! Owns: the comparison with a reference that keeps every key in memory. Does not own: when a value ends (`segno_core::persisted`).

use crate::lab::{Lab, finish, text, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

const RECORDS: usize = 3_000;
const SECOND: i64 = 1_000_000;
const TICK: i64 = SECOND / 10;

/// A record in the order in which the pipeline sees it.
#[derive(Clone)]
struct Record {
    id: i64,
    key: String,
    price: i64,
    /// µs.
    at: i64,
}

/// Records with this price are rejected, and keep their key all the same.
const REJECTED: i64 = 666;

/// What a key has.
#[derive(Clone, Copy)]
struct Kept {
    /// 0: no value.
    bids: i64,
    /// `None`: none.
    end: Option<i64>,
    /// What gave the end.
    ttl: Option<i64>,
}

/// What the plugin gives, by a map in memory.
#[derive(Default)]
struct Reference {
    watermark: Option<i64>,
    kept: BTreeMap<String, Kept>,
    output: Vec<String>,
    /// A step with a time to live has one for all that it keeps.
    is_living: bool,
}

impl Reference {
    /// The records of one run, with its time to live.
    fn run(&mut self, records: &[Record], ttl: Option<i64>, delay: i64) {
        if let (Some(ttl), false, Some(watermark)) = (ttl, self.is_living, self.watermark) {
            self.kept.values_mut().for_each(|kept| kept.end = Some(watermark + ttl));
            self.kept.retain(|_, kept| kept.bids > 0);
        }
        self.is_living |= ttl.is_some();
        for record in records {
            let moved = (record.at - delay).div_euclid(TICK) * TICK;
            self.watermark = self.watermark.max(Some(moved));
            let watermark = self.watermark.unwrap();
            let found = self.kept.get(&record.key).copied().filter(|kept| kept.end.is_none_or(|end| watermark < end));
            let mut kept = found.unwrap_or(Kept { bids: 0, end: None, ttl: None });
            kept.end = ttl.map(|now| {
                let eighth = (now / 8).max(1);
                let ceiling = record.at.div_euclid(eighth) * eighth + if record.at.rem_euclid(eighth) == 0 { 0 } else { eighth };
                // Another time to live begins anew.
                (ceiling + now).max(if kept.ttl == ttl { kept.end.unwrap_or(i64::MIN) } else { i64::MIN })
            });
            kept.ttl = ttl;
            if record.price != REJECTED {
                kept.bids += 1;
                let row = json!({"id": record.id, "key": record.key, "price": record.price, "bids": kept.bids});
                self.output.push(row.to_string());
            }
            self.kept.insert(record.key.clone(), kept);
        }
    }

    /// As `segno state scan` prints it.
    fn state(&self) -> String {
        let watermark = self.watermark.unwrap_or(i64::MIN);
        let living = self.kept.iter().filter(|(_, kept)| kept.bids > 0 && kept.end.is_none_or(|end| watermark < end));
        living.map(|(key, kept)| json!({"key": {"key": key}, "value": {"bids": kept.bids}}).to_string() + "\n").collect()
    }
}

/// The records of the lab's files, merged by the heads of the files.
fn merged(files: &[Vec<Record>]) -> Vec<Record> {
    let mut at = vec![0; files.len()];
    let mut merged = Vec::new();
    loop {
        let heads = (0..files.len()).filter_map(|file| Some((files[file].get(at[file])?.at, file)));
        let Some((_, file)) = heads.min() else { return merged };
        merged.push(files[file][at[file]].clone());
        at[file] += 1;
    }
}

/// Records from one id on: few keys that come often, many that come once or twice.
fn made_up(random: &mut StdRng, from: usize) -> Vec<Vec<Record>> {
    let mut files = vec![Vec::new(), Vec::new(), Vec::new()];
    for id in from..from + RECORDS {
        let key = (random.random::<f64>().powi(3) * 400.0) as u32;
        let at = id as i64 * 10_000 - random.random_range(0..2 * SECOND);
        let price = if random.random_range(0..4) == 0 { REJECTED } else { random.random_range(0..600) };
        let record = Record { id: id as i64, key: format!("k{key}"), price, at };
        files[random.random_range(0..3)].push(record);
    }
    files
}

fn write(lab: &Lab, files: &[Vec<Record>]) {
    for (path, records) in lab.inputs().iter().zip(files) {
        let mut file = std::fs::File::options().append(true).create(true).open(path).expect("input");
        for Record { id, key, price, at } in records {
            let at = jiff::Timestamp::from_microsecond(*at).expect("a time");
            writeln!(file, "{}", json!({"id": id, "key": key, "price": price, "at": at.to_string()})).expect("input");
        }
    }
}

fn lab(ttl: Option<i64>, delay: i64) -> Lab {
    let mut lab = Lab::new(0, 0);
    with_ttl(&mut lab, ttl, delay);
    lab
}

fn with_ttl(lab: &mut Lab, ttl: Option<i64>, delay: i64) {
    let ttl = ttl.map_or(String::new(), |ttl| format!("    ttl: {}ms\n", ttl / 1000));
    lab.steps = format!("  - id: count\n    plugin: \"COMPONENTS/hostile.wasm\"\n    config: {{ mode: reject }}\n    key: key\n    on_error: dlq\n{ttl}");
    lab.columns = "id, key, price, bids".to_owned();
    lab.delay = format!("{}ms", delay / 1000);
}

/// Other calls, epochs and threads, some kills, and sometimes a store that is compacted behind every epoch and image.
fn disturb(random: &mut StdRng, lab: &mut Lab, how: &[&str]) {
    let (rows, records, threads) = (random.random_range(1..=1_500), random.random_range(20..=2_500), random.random_range(1..=3));
    lab.settings = format!("batch_rows: {rows}\nepoch: {{ max_records: {records} }}\nthreads: {threads}\n");
    lab.variables = if random.random() { vec![("SEGNO_TESTING_COMPACT".to_owned(), "1".to_owned())] } else { Vec::new() };
    let binary = variable("SEGNO_TESTING_BIN");
    for _ in 0..random.random_range(0..3) {
        let mut child = lab.command(&binary, how).spawn().expect("segno starts");
        std::thread::sleep(Duration::from_millis(random.random_range(5..150)));
        let _ = child.kill();
        finish(child);
    }
    let done = finish(lab.command(&binary, how).spawn().expect("segno starts"));
    assert!(done.status.success(), "{}", text(&done.stderr));
    // A machine that has only the checkpoint.
    if random.random() {
        std::fs::remove_dir_all(lab.path("work")).expect("removed");
    }
}

#[track_caller]
fn compare(lab: &Lab, reference: &Reference, seed: u64) {
    let output = text(&lab.output());
    let differs = output.lines().zip(&reference.output).position(|(found, expected)| serde_json::from_str::<Value>(found).ok() != serde_json::from_str(expected).ok());
    if let Some(at) = differs {
        panic!("seed {seed}, {}: row {at} is {}, and {} is expected", lab.settings, output.lines().nth(at).unwrap(), reference.output[at]);
    }
    assert_eq!(output.lines().count(), reference.output.len(), "seed {seed}");
    let lines = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() };
    let (mut found, mut expected) = (lines(&lab.state()), lines(&reference.state()));
    found.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert!(found == expected, "seed {seed}, {}: the state differs: {} keys, and {} are expected", lab.settings, found.len(), expected.len());
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "seed {seed}, {}: {said}", lab.settings);
}

#[test]
fn a_key_finds_what_a_reference_in_memory_finds_wherever_input_is_cut_and_state_compacted() {
    let seed = rand::random::<u64>();
    println!("## ttl: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut forgotten = 0;
    for round in 0..10 {
        let ttl = [1_000, 5 * TICK, 2 * SECOND, 7 * SECOND + 1_000, 60 * SECOND][round % 5];
        let delay = [0, 2 * SECOND][random.random_range(0..2)];
        let files = made_up(&mut random, 0);
        let mut lab = lab(Some(ttl), delay);
        write(&lab, &files);
        disturb(&mut random, &mut lab, &["run", "-q"]);
        let mut reference = Reference::default();
        reference.run(&merged(&files), Some(ttl), delay);
        let rows: Vec<Value> = reference.output.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
        let keys: std::collections::BTreeSet<&str> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
        forgotten += rows.iter().filter(|row| row["bids"] == 1).count() - keys.len();
        compare(&lab, &reference, seed);
    }
    assert!(forgotten > 100, "{forgotten} keys were forgotten: the test shows little");
}

/// A time to live that comes, grows, shrinks and goes, each accepted, between runs that are killed.
#[test]
fn a_time_to_live_that_changes_decides_from_then_on_and_shows_nothing_that_was_hidden() {
    let seed = rand::random::<u64>();
    println!("## ttl: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..6 {
        let delay = [0, 2 * SECOND][random.random_range(0..2)];
        let mut lab = lab(None, delay);
        let mut reference = Reference::default();
        for run in 0..4 {
            let ttl = if run == 0 { None } else { [None, Some(SECOND), Some(3 * SECOND), Some(20 * SECOND)][random.random_range(0..4)] };
            let files = made_up(&mut random, run * RECORDS);
            write(&lab, &files);
            with_ttl(&mut lab, ttl, delay);
            disturb(&mut random, &mut lab, &["run", "-q", "--accept-change"]);
            reference.run(&merged(&files), ttl, delay);
        }
        compare(&lab, &reference, seed);
    }
}

#[test]
fn a_time_to_live_of_what_cannot_end_is_refused() {
    let refused = |lab: &Lab, said: &[&str]| {
        let output = lab.run(&["validate"]);
        let found = text(&output.stderr) + &text(&output.stdout);
        assert!(!output.status.success() && said.iter().all(|part| found.contains(part)), "{found}");
    };
    let mut lab = lab(Some(SECOND), 0);
    write(&lab, &made_up(&mut StdRng::seed_from_u64(1), 0));
    lab.steps = "  - id: count\n    plugin: \"COMPONENTS/filter_bids.wasm\"\n    ttl: 1s\n".to_owned();
    refused(&lab, &["C021", "keeps no state"]);
    with_ttl(&mut lab, Some(SECOND), 0);
    lab.steps = lab.steps.replace("1000ms", "0s");
    refused(&lab, &["C004", "ttl is from 1ms"]);
}
