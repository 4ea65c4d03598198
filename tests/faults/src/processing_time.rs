//! Processing time: windows of a clock that is days off, steps back and forth, and belongs to processes that are killed.
//!
//! Owns: growing files that are read by `time: segno.processing_time`, and what their windows must hold: a count of the
//! records that the journal says were read at a time, which knows no window, timer, state or clock.
//! Does not own: rows of an undisturbed clock, compared with SQL (`runtime/segno/tests/nexmark.rs`).

use crate::clocks::{Clock, HOURS, PATIENCE};
use crate::lab::{files, finish, objects, read_folder, text, variable};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Lines that a run finds at a time.
const LINES: usize = 100;
const BIDDERS: usize = 30;
const FILES: usize = 2;
const WINDOW_S: i64 = 10;
const WINDOW_MS: i64 = WINDOW_S * 1_000;
const HOUR_S: i64 = 3_600;
const YEAR_S: i64 = 365 * 24 * HOUR_S;

/// Bids of each window, by its end (ms) and its bidder.
type Windows = BTreeMap<(i64, u64), u64>;

/// A pipeline that counts in windows of processing time, in a folder of its own.
struct Bids {
    folder: tempfile::TempDir,
    written: usize,
    /// One line in 40 that is written has a distance that the gate rejects.
    far: bool,
    /// Steps in front of the windows.
    steps: String,
    /// Decide how the input is cut, or nothing.
    settings: String,
}

impl Bids {
    fn new() -> Bids {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let settings = "epoch: { max_records: 50, max_delay: 20ms, max_timers: 7 }\n".to_owned();
        let mut bids = Bids { folder, written: 0, far: true, steps: String::new(), settings };
        bids.append(FILES);
        bids
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&mut self, count: usize) {
        for number in self.written..self.written + count {
            let path = self.path(&format!("in-{}.jsonl", number % FILES));
            let mut file = OpenOptions::new().create(true).append(true).open(path).expect("input");
            let bidder = number * 7 % BIDDERS;
            // One in 40 is far away, one in 90 is no record, one in 60 no bid.
            let distance = if self.far && number % 40 == 7 { 5_000 } else { 5 };
            let bid = match number {
                _ if number % 90 == 8 => ",".to_owned(),
                _ if number % 60 == 9 => "\"bid\":null".to_owned(),
                _ => format!("\"bid\":{{\"bidder\":{bidder}}}"),
            };
            writeln!(file, "{{\"origin\":\"AAA\",\"destination\":\"BBB\",\"delay\":1,\"distance\":{distance},{bid}}}").expect("input");
        }
        self.written += count;
    }

    fn command(&self, args: &[&str]) -> Command {
        let text = format!(
            "version: 1
name: bids
source:
  files: {{ path: \"in-*.jsonl\", follow: true }}
  format: json
  time: segno.processing_time
  on_error: skip
steps:
{}  - id: windows
    plugin: \"COMPONENTS/nexmark_q12.wasm\"
    key: bid.bidder
sinks:
  - name: rows
    columns: [bid.bidder, bids, start, end]
    files: {{ path: out }}
dlq: {{ files: dead }}
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
{}",
            self.steps, self.settings
        );
        let text = text.replace("COMPONENTS", &variable("SEGNO_COMPONENTS").display().to_string());
        std::fs::write(self.path("pipeline.yaml"), text).expect("the pipeline file");
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(args).arg(self.path("pipeline.yaml")).env_remove("FAILPOINTS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, clock: &Clock) -> Child {
        clock.of(&mut self.command(&["run", "-q"])).spawn().expect("segno starts")
    }

    /// A command that succeeds.
    fn succeed(&self, args: &[&str]) {
        let output = self.command(args).output().expect("segno starts");
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }

    /// The folders of the shards in the store, by the name that their files of output have.
    fn shards(&self) -> Vec<(String, PathBuf)> {
        let store = self.path("store/default/bids");
        let mut shards: Vec<_> = std::fs::read_dir(store).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        shards.retain(|path| path.join("journal").is_dir());
        shards.sort();
        let name = |path: &Path| match path.file_name().expect("a name").to_string_lossy().into_owned() {
            single if single == "single" => "rows-".to_owned(),
            shard => format!("rows-{shard}-"),
        };
        shards.into_iter().map(|path| (name(&path), path)).collect()
    }

    /// Records that are committed.
    fn records(&self) -> usize {
        let all = self.shards().into_iter().flat_map(|(_, shard)| epochs(&shard));
        all.filter(|epoch| epoch["facts"]["redrive"].is_null()).map(|epoch| number(&epoch["counts"]["records"])).sum::<u64>() as usize
    }

    /// Bids of all windows that were given, and of those that must be.
    fn given(&self) -> (u64, u64) {
        let (mut given, mut read) = (0, 0);
        for (files, shard) in self.shards() {
            given += self.rows(&files).into_iter().map(|(_, bids)| bids).sum::<u64>();
            read += self.windows(&epochs(&shard)).values().sum::<u64>();
        }
        (given, read)
    }

    /// The rows that a shard gave, in their order.
    fn rows(&self, files_named: &str) -> Vec<((i64, u64), u64)> {
        let mut paths = files(&self.path("out"));
        paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(files_named)));
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("a row");
            let time = |name: &str| row[name].as_str().expect("a time").parse::<Timestamp>().expect("a time").as_millisecond();
            assert_eq!(time("start") + WINDOW_MS, time("end"), "{line}");
            ((time("end"), number(&row["bid"]["bidder"]).max(number(&row["bid.bidder"]))), number(&row["bids"]))
        };
        let texts: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).expect("rows")).collect();
        texts.iter().flat_map(|text| text.lines().map(row)).collect()
    }

    /// What must come of what a shard's epochs read, computed from the lines and the times alone.
    fn windows(&self, epochs: &[Value]) -> Windows {
        let mut windows = Windows::new();
        for epoch in epochs {
            let time = epoch["logical_time_ms"].as_i64().expect("a logical time");
            let mut count = |line: &[u8], redriven: bool| {
                let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
                let passes = self.steps.is_empty() || redriven || number(&record["distance"]) < 1_000;
                if let Some(bidder) = record["bid"]["bidder"].as_u64().filter(|_| passes) {
                    *windows.entry((time.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS, bidder)).or_default() += 1;
                }
            };
            for to in list(&epoch["to"]["partitions"]) {
                let mut befores = list(&epoch["from"]["partitions"]).iter();
                let before = befores.find(|one| one["name"] == to["name"]).map_or(0, |one| number(&one["offset"]));
                let content = std::fs::read(self.path(to["name"].as_str().expect("a name"))).expect("input");
                let read = &content[before as usize..number(&to["offset"]) as usize];
                read.split(|&byte| byte == b'\n').for_each(|line| count(line, false));
                for redriven in list(&epoch["facts"]["redrive"]["partitions"]).iter().filter(|one| one["partition"] == to["partition"]) {
                    for letter in list(&redriven["letters"]) {
                        let line = &content[number(&letter["offset"]) as usize..];
                        count(line.split(|&byte| byte == b'\n').next().expect("a line"), true);
                    }
                }
            }
        }
        windows
    }

    /// Every window was given, once, in its order, and at its time; logical time never went back.
    fn check(&self, what: &str) {
        assert!(!self.shards().is_empty(), "{what}: nothing is committed");
        for (files, shard) in self.shards() {
            let epochs = epochs(&shard);
            let windows = self.windows(&epochs);
            let (found, expected) = (self.rows(&files), Vec::from_iter(windows.clone()));
            let differs = found.iter().zip(&expected).position(|(one, other)| one != other);
            if let Some(row) = differs {
                panic!("{what}: row {row} of {files} is {:?} and must be {:?}", found[row], expected[row]);
            }
            assert_eq!(found.len(), expected.len(), "{what}: rows of {files}");
            let own = |epoch: &&Value| epoch["facts"]["redrive"].is_null();
            let times: Vec<i64> = epochs.iter().filter(own).filter_map(|epoch| epoch["logical_time_ms"].as_i64()).collect();
            assert!(times.is_sorted(), "{what}: logical time went back");
            let mut rows = 0;
            for epoch in &epochs {
                rows += number(&epoch["counts"]["rows_out"]["rows"]);
                let Some(watermark) = epoch["watermark_out"].as_i64() else { continue };
                // Of an epoch that ends within an instant, a part of the instant's windows is given.
                if epoch["to"]["timer_cursor"].is_null() {
                    let ended = windows.keys().filter(|(end, _)| end * 1_000 <= watermark).count() as u64;
                    assert_eq!(rows, ended, "{what}: windows that were given up to epoch {}", epoch["epoch"]);
                }
                if epoch["counts"]["records"] == 0 {
                    assert!(number(&epoch["counts"]["timers"]["windows"]) > 0, "{what}: an epoch for nothing: {epoch}");
                }
            }
        }
    }

    /// Replays from the start, and from a checkpoint amid the history of each shard.
    fn replays(&self) {
        self.succeed(&["replay", "--from", "start", "--verify"]);
        for (files, shard) in self.shards() {
            let manifests = objects(&shard.join("manifest"));
            assert!(manifests.len() > 1, "{} checkpoints", manifests.len());
            let middle = manifests[manifests.len() / 2].file_name().expect("a name").to_string_lossy().parse::<u64>().expect("a number");
            let mut args = vec!["replay".to_owned(), "--verify".to_owned(), "--from".to_owned(), middle.to_string()];
            if let Some(number) = files.strip_prefix("rows-").and_then(|rest| rest.strip_suffix('-')) {
                args.extend(["--shard".to_owned(), number.to_owned()]);
            }
            self.succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Journal entries of a shard's epochs, in their order.
fn epochs(shard: &Path) -> Vec<Value> {
    let entries = objects(&shard.join("journal"));
    let entries = entries.iter().filter_map(|path| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok());
    entries.map(|entry| entry["body"].clone()).filter(|body| body["kind"] == "epoch").collect()
}

fn await_that(what: &str, child: &mut Child, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it does not come to pass that {what}");
        assert!(child.try_wait().expect("a child").is_none(), "segno ended before {what}");
        std::thread::sleep(Duration::from_millis(4));
    }
}

fn terminate(child: Child) -> Output {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

#[test]
fn windows_of_a_clock_that_is_days_off_and_steps_back_and_forth_are_those_of_the_journal() {
    let mut bids = Bids::new();
    for (run, hours) in HOURS.into_iter().enumerate() {
        let clock = Clock::new(bids.path("clock"), hours * HOUR_S);
        let mut child = bids.start(&clock);
        for step in 1..=4 {
            bids.append(LINES);
            let wanted = bids.written - LINES / 2;
            await_that("most records are read", &mut child, || bids.records() >= wanted);
            clock.set((hours + [-1, 1][step % 2]) * HOUR_S);
        }
        child.kill().expect("SIGKILL");
        finish(child);
        if run % 2 == 1 {
            // What it goes on from, it has from the store.
            std::fs::remove_dir_all(bids.path("work")).expect("removed");
        }
    }
    // Nothing comes any more, and the last windows end all the same: the clock passes their ends.
    let last = HOURS.into_iter().max().expect("some clocks") + 2;
    let clock = Clock::new(bids.path("clock"), last * HOUR_S);
    bids.append(LINES);
    let mut child = bids.start(&clock);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    clock.set((last + 1) * HOUR_S);
    await_that("every window is given", &mut child, || matches!(bids.given(), (given, read) if given == read));
    terminate(child);
    bids.check("days off");
    bids.replays();
}

/// Clocks, cuts, threads, kills and idle stretches as they come; gives (epochs without records, epochs that end in an instant).
fn history(seed: u64, sharded: bool) -> (usize, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let what = format!("seed {seed}");
    let mut bids = Bids::new();
    let settings = |random: &mut StdRng| {
        format!(
            "epoch: {{ max_records: {}, max_delay: {}ms, max_timers: {} }}\nbatch_rows: {}\nthreads: {}\n{}",
            random.random_range(1..120),
            random.random_range(5..60),
            random.random_range(1..20),
            random.random_range(1..100),
            random.random_range(1..3),
            if sharded { "sharding: by_partition\n" } else { "" },
        )
    };
    bids.settings = settings(&mut random);
    // The clock is so far off, and was so far ahead once.
    let (mut off, mut ahead) = (random.random_range(-HOUR_S..HOUR_S), 0);
    let clock = Clock::new(bids.path("clock"), off);
    let mut child = bids.start(&clock);
    for _ in 0..random.random_range(12..24) {
        ahead = ahead.max(off);
        match random.random_range(0..8) {
            0..=2 => bids.append(random.random_range(1..2 * LINES)),
            3 => off = random.random_range(-HOUR_S..HOUR_S),
            // Within a window or to the next.
            4 => off = ahead + random.random_range(0..2 * WINDOW_S),
            5 => {
                // An idle stretch, in which all windows end.
                await_that("all records are read", &mut child, || bids.records() == bids.written);
                off = ahead + 3 * WINDOW_S;
                clock.set(off);
                await_that("every window is given", &mut child, || matches!(bids.given(), (given, read) if given == read));
            }
            6 => {
                child.kill().expect("SIGKILL");
                finish(child);
                if random.random_range(0..2) == 0 {
                    let _ = std::fs::remove_dir_all(bids.path("work"));
                }
                bids.settings = settings(&mut random);
                child = bids.start(&clock);
            }
            _ => {
                let wanted = bids.written.saturating_sub(random.random_range(0..LINES));
                await_that("most records are read", &mut child, || bids.records() >= wanted);
            }
        }
        clock.set(off);
    }
    // Something for a process that was started just now, too: it is asked to end when it works.
    bids.append(LINES);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    clock.set(ahead.max(off) + 3 * WINDOW_S);
    await_that("every window is given", &mut child, || matches!(bids.given(), (given, read) if given == read));
    terminate(child);
    bids.check(&what);
    bids.replays();
    let all: Vec<Value> = bids.shards().iter().flat_map(|(_, shard)| epochs(shard)).collect();
    let count = |holds: fn(&Value) -> bool| all.iter().filter(|&epoch| holds(epoch)).count();
    (count(|epoch| epoch["counts"]["records"] == 0), count(|epoch| !epoch["to"]["timer_cursor"].is_null()))
}

fn histories(count: usize, sharded: bool) {
    let first = rand::random::<u64>();
    println!("## processing time: first seed {first}");
    let all = (0..count as u64).map(|number| history(first.wrapping_add(number), sharded));
    let (idle, parts) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("## processing time: {idle} epochs without records, {parts} that end within an instant");
    assert!(idle > 0 && parts > 0, "first seed {first}: {idle} epochs without records, {parts} end within an instant");
}

#[test]
fn windows_are_a_count_of_what_the_journal_says_was_read_when() {
    histories(6, false);
}

#[test]
fn each_shard_has_a_clock_of_its_own() {
    histories(3, true);
}

#[test]
fn a_redriven_record_has_the_time_of_the_epoch_that_takes_it_again() {
    let mut bids = Bids::new();
    bids.steps = "  - id: gate
    plugin: \"COMPONENTS/quality_gate.wasm\"
    config:
      max_distance: ${MAX_DISTANCE:-1000}
    on_error: dlq
"
    .to_owned();
    bids.append(4 * LINES);
    let clock = Clock::new(bids.path("clock"), 0);
    let mut child = bids.start(&clock);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    terminate(child);
    let letters = String::from_utf8(read_folder(&bids.path("dead"))).expect("text").lines().count();
    assert!(letters > 5, "{letters} dead letters");
    // By a clock that is an hour behind.
    clock.set(-HOUR_S);
    let mut redrive = bids.command(&["dlq", "redrive", "-q", "--accept-change"]);
    let output = clock.of(redrive.env("MAX_DISTANCE", "9999")).output().expect("segno starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    bids.far = false;
    bids.append(LINES);
    clock.set(HOUR_S);
    bids.steps = bids.steps.replace(":-1000", ":-9999");
    let mut child = bids.start(&clock);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    clock.set(2 * HOUR_S);
    await_that("every window is given", &mut child, || matches!(bids.given(), (given, read) if given == read));
    terminate(child);
    bids.check("redriven");
    let (_, shard) = bids.shards().remove(0);
    let redriven: Vec<Value> = epochs(&shard).into_iter().filter(|epoch| !epoch["facts"]["redrive"].is_null()).collect();
    assert_eq!(redriven.iter().map(|epoch| number(&epoch["counts"]["records"])).sum::<u64>(), letters as u64);
    for epoch in redriven {
        let (time, watermark) = (epoch["logical_time_ms"].as_i64(), epoch["watermark_in"].as_i64());
        assert!(time >= watermark.map(|watermark| watermark / 1_000) && epoch["watermark_out"] == epoch["watermark_in"], "{epoch}");
    }
    bids.replays();
}

#[test]
fn a_clock_that_is_behind_logical_time_is_told() {
    let mut bids = Bids::new();
    let clock = Clock::new(bids.path("clock"), 2 * YEAR_S);
    let mut child = bids.start(&clock);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    terminate(child);
    clock.set(0);
    bids.append(LINES);
    let mut child = bids.start(&clock);
    await_that("all records are read", &mut child, || bids.records() == bids.written);
    let output = terminate(child);
    let said = text(&output.stderr);
    assert_eq!(said.matches("R016").count(), 1, "it is told once: {said}");
    assert!(said.contains("ahead of this machine's clock"), "{said}");
    let (_, shard) = bids.shards().remove(0);
    let times: Vec<i64> = epochs(&shard).iter().filter_map(|epoch| epoch["logical_time_ms"].as_i64()).collect();
    assert!(times.is_sorted() && times[times.len() - 1] - times[0] < YEAR_S, "{times:?}");
}
