//! Processing time: windows of a clock that is days off, steps back and forth, and belongs to processes that are killed.
//!
//! Owns: growing files that are read by `time: segno.processing_time`. Does not own: rows of an undisturbed clock
//! (`runtime/segno/tests/nexmark.rs`); the SQL that both are compared with (`tests/checker/nexmark.py`).

use crate::clocks::{Clock, HOURS, PATIENCE};
use crate::lab::{finish, objects, read_folder, repository, text, variable};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lines that each run finds, one after the other.
const LINES: usize = 400;
const BIDDERS: usize = 30;

fn write_pipeline(folder: &Path) -> PathBuf {
    let plugin = variable("SEGNO_COMPONENTS").join("nexmark_q12.wasm");
    let text = format!(
        "version: 1
name: q12
source:
  files: {{ path: \"in-*.jsonl\", follow: true }}
  format: json
  time: segno.processing_time
steps:
  - id: windows
    plugin: \"{}\"
    key: bid.bidder
sinks:
  - name: rows
    columns: [bid.bidder, bids, start, end]
    files: {{ path: out }}
epoch: {{ max_records: 50, max_delay: 20ms, max_timers: 7 }}
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
",
        plugin.display()
    );
    let path = folder.join("pipeline.yaml");
    std::fs::write(&path, text).expect("the pipeline file");
    path
}

fn append(folder: &Path, from: usize, count: usize) {
    for number in from..from + count {
        let path = folder.join(format!("in-{}.jsonl", number % 2));
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("input");
        let bidder = number * 7 % BIDDERS;
        let bid = format!("{{\"auction\":1,\"bidder\":{bidder},\"price\":1,\"channel\":\"\",\"extra\":\"\"}}");
        writeln!(file, "{{\"event_type\":2,\"date_time\":\"2020-01-01 00:00:00\",\"bid\":{bid}}}").expect("input");
    }
}

/// Journal entries of epochs, in their order.
fn epochs(folder: &Path) -> Vec<serde_json::Value> {
    let entries = objects(&folder.join("store/default/q12/single/journal"));
    let entries = entries.iter().filter_map(|path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).ok()?).ok());
    entries.map(|entry| entry["body"].clone()).filter(|body| body["kind"] == "epoch").collect()
}

fn records(folder: &Path) -> usize {
    epochs(folder).iter().filter_map(|epoch| epoch["counts"]["records"].as_u64()).sum::<u64>() as usize
}

/// Bids of all rows that were given.
fn bids(folder: &Path) -> usize {
    let rows = read_folder(&folder.join("out"));
    let rows = serde_json::Deserializer::from_slice(&rows).into_iter::<serde_json::Value>();
    rows.filter_map(|row| row.ok()?["bids"].as_u64()).sum::<u64>() as usize
}

fn await_that(what: &str, child: &mut Child, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it does not come to pass that {what}");
        assert!(child.try_wait().expect("a child").is_none(), "segno ended before {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn windows_of_a_clock_that_steps_back_and_forth_are_those_of_the_journal() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    let pipeline = write_pipeline(folder);
    append(folder, 0, 2);
    let start = |clock: &Clock| {
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(["run", "-q"]).arg(&pipeline).env_remove("FAILPOINTS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        clock.of(&mut command).spawn().expect("segno starts")
    };
    let mut written = 2;
    for (run, hours) in HOURS.into_iter().enumerate() {
        let clock = Clock::new(folder.join("clock"), hours);
        let mut child = start(&clock);
        for step in 1..=4 {
            append(folder, written, LINES / 4);
            written += LINES / 4;
            let wanted = written - LINES / 8;
            await_that("most records are read", &mut child, || records(folder) >= wanted);
            clock.set(hours + [-1, 1][step % 2]);
        }
        child.kill().expect("SIGKILL");
        finish(child);
        if run % 2 == 1 {
            // What it goes on from, it has from the store.
            std::fs::remove_dir_all(folder.join("work")).expect("removed");
        }
    }
    // Nothing comes any more, and the last windows end all the same: the clock passes their ends.
    let last = HOURS.into_iter().max().expect("some clocks") + 2;
    let clock = Clock::new(folder.join("clock"), last);
    let mut child = start(&clock);
    await_that("all records are read", &mut child, || records(folder) == written);
    clock.set(last + 1);
    await_that("every window is given", &mut child, || bids(folder) == written);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let epochs = epochs(folder);
    let times: Vec<i64> = epochs.iter().filter_map(|epoch| epoch["logical_time_ms"].as_i64()).collect();
    assert!(times.is_sorted(), "logical time went back");
    let idle: Vec<_> = epochs.iter().filter(|epoch| epoch["counts"]["records"] == 0).collect();
    assert!(!idle.is_empty(), "no epoch was made for timers alone");
    for epoch in idle {
        assert!(epoch["counts"]["timers"]["windows"].as_u64() > Some(0), "an epoch for nothing: {epoch}");
    }
    let checked = Command::new(variable("SEGNO_CACHE").join("duckdb/bin/python"))
        .arg(repository().join("tests/checker/nexmark.py"))
        .args(["q12".as_ref(), "--events".as_ref(), folder.join("in-*.jsonl").as_os_str()])
        .args(["--rows".as_ref(), folder.join("out/*.jsonl").as_os_str()])
        .args(["--journal".as_ref(), folder.join("store/default/q12/single/journal/*").as_os_str()])
        .output()
        .expect("scripts/setup.sh installs DuckDB");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let mut replay = Command::new(variable("SEGNO_BIN"));
    let replayed = replay.args(["replay", "--from", "start", "--verify"]).arg(&pipeline).output().expect("segno starts");
    assert!(replayed.status.success(), "{}{}", text(&replayed.stdout), text(&replayed.stderr));
}
