//! A whole pipeline from topic to topic, run by the command, and what its output must be.
//!
//! Owns: input, pipeline file, the direct computation, the independent reading. Does not own: what disturbs the pipeline.

use crate::lab::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const RECORDS: usize = 12_000;
const KEYS: usize = 97;
pub const PARTITIONS: i32 = 3;

pub fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

pub struct Pipeline {
    pub folder: tempfile::TempDir,
    pub input: String,
    pub output: String,
    pub dead: String,
    /// What the output must hold for each key, in this order.
    pub expected: BTreeMap<String, Vec<String>>,
    pub bad: usize,
    /// Of the source: where the input ends, if it does.
    pub until: &'static str,
    /// How to reach the brokers, with all settings, where it is not the plain way.
    pub reach: Option<String>,
    /// Of the sink for rows, where it goes another way than the rest.
    pub sink_brokers: Option<String>,
    /// Further settings of the step, and of the dead letters' sink.
    pub step_settings: String,
    pub dead_settings: String,
    /// Further settings of the sink for rows.
    pub sink_settings: String,
    /// Further lines of the pipeline file.
    pub settings: String,
    /// Another one is as another machine.
    pub work_dir: String,
}

impl Pipeline {
    /// Each key lives in one partition, so the order of its records is that of the partition.
    pub fn new(seed: u64) -> Pipeline {
        Pipeline::with_output(seed, &[])
    }

    /// The same, with settings of the output topic.
    pub fn with_output(seed: u64, settings: &[(&str, &str)]) -> Pipeline {
        let (input, output, dead) = (topic("in", PARTITIONS, &[]), topic("out", 2, settings), topic("dead", 1, &[]));
        let mut random = StdRng::seed_from_u64(seed);
        let mut lines = vec![Vec::new(); PARTITIONS as usize];
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut totals = vec![(0u64, 0i64); KEYS];
        let mut bad = 0;
        for id in 0..RECORDS {
            let key = (random.random::<f64>().powi(2) * KEYS as f64) as usize;
            let price = random.random_range(-50..500i64);
            let partition = &mut lines[key % PARTITIONS as usize];
            if random.random_range(0..400) == 0 {
                partition.push(format!("{{\"id\":{id},\"key\":\"k{key}\",\"price\":broken}}"));
                bad += 1;
                continue;
            }
            partition.push(format!("{{\"id\":{id},\"key\":\"k{key}\",\"price\":{price}}}"));
            let (bids, total) = &mut totals[key];
            (*bids, *total) = (*bids + 1, *total + price);
            let row = format!("{{\"id\":{id},\"key\":\"k{key}\",\"bids\":{bids},\"total_price\":{total}}}");
            expected.entry(format!("k{key}")).or_default().push(row);
        }
        for (partition, lines) in lines.into_iter().enumerate() {
            values(&input, partition as i32, lines.into_iter());
        }
        // What readers must run over: aborted records, and a marker behind the last record.
        transaction(&input, 0, &["{\"id\":-1,\"key\":\"k0\",\"price\":1}"], false);
        Pipeline {
            folder: tempfile::tempdir().expect("a folder"),
            input,
            output,
            dead,
            expected,
            bad,
            until: "until: latest,",
            reach: None,
            sink_brokers: None,
            step_settings: String::new(),
            dead_settings: String::new(),
            sink_settings: String::new(),
            settings: String::new(),
            work_dir: "work".to_owned(),
        }
    }

    pub fn command(&self, binary: &str, args: &[&str]) -> Command {
        let components = variable("SEGNO_COMPONENTS");
        let plain = |brokers: String| format!("brokers: \"{brokers}\"");
        let reach = self.reach.clone().unwrap_or_else(|| plain(brokers()));
        let sink_reach = self.sink_brokers.clone().map_or_else(|| reach.clone(), plain);
        let text = format!(
            "version: 1
name: {name}
source:
  kafka: {{ {reach}, topics: [{input}], {until} group: {name} }}
  format: json
  columns: {{ id: i64, key: utf8 }}
  on_error: dlq
steps:
  - {{ id: count, plugin: \"{components}/keyed_count.wasm\", key: key{step_settings} }}
sinks:
  - name: out
    kafka: {{ {sink_reach}, topic: {output}, key: key{sink_settings} }}
    columns: [id, key, bids, total_price]
dlq: {{ kafka: {{ {reach}, topic: {dead}{dead_settings} }} }}
work_dir: {work_dir}
epoch: {{ max_records: 250 }}
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
{settings}",
            name = self.output,
            until = self.until,
            step_settings = self.step_settings,
            dead_settings = self.dead_settings,
            sink_settings = self.sink_settings,
            settings = self.settings,
            work_dir = self.work_dir,
            input = self.input,
            output = self.output,
            dead = self.dead,
            components = components.display(),
        );
        let path = self.folder.path().join("pipeline.yaml");
        std::fs::write(&path, text).expect("the pipeline file");
        let mut command = Command::new(variable(binary));
        command.args(args).arg(path).env_remove("FAILPOINTS").env("SEGNO_PLUGIN_CACHE", components.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn entries(&self) -> usize {
        let folder = self.folder.path().join(format!("store/default/{}/single/journal", self.output));
        std::fs::read_dir(folder).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).count()
        })
    }

    pub fn complete(&self) {
        let output = finish(self.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts"));
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Writes further records of a key of their own.
    pub fn add(&mut self, key: &str, partition: i32, count: usize) {
        let line = |id: usize| format!("{{\"id\":{id},\"key\":\"{key}\",\"price\":1}}");
        let row = |id: usize| format!("{{\"id\":{id},\"key\":\"{key}\",\"bids\":{n},\"total_price\":{n}}}", n = id + 1);
        assert!(self.expected.insert(key.to_owned(), (0..count).map(row).collect()).is_none(), "{key} is taken");
        values(&self.input, partition, (0..count).map(line));
    }

    pub fn rows(&self) -> usize {
        self.expected.values().map(Vec::len).sum()
    }

    /// Waits until a running process has written every row, and ends it.
    pub fn end(&self, mut child: Child, patience: Duration) {
        self.await_rows(&mut child, patience);
        signal(&child, Signal::TERM);
        let output = finish(child);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Waits until a running process has written every row.
    pub fn await_rows(&self, child: &mut Child, patience: Duration) {
        await_records(&self.output, self.rows(), patience, || {
            assert!(child.try_wait().expect("a child").is_none(), "the run ended")
        });
    }

    /// What a running process says of itself.
    pub fn status(&self, binary: &str) -> serde_json::Value {
        let output = finish(self.command(binary, &["status", "-o", "json"]).spawn().expect("segno starts"));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until so many journal entries are there; a process that ends meanwhile fails the test.
    pub fn wait_for_entries(&self, wanted: usize, child: &mut Child) {
        let started = Instant::now();
        while self.entries() < wanted {
            assert!(started.elapsed() < 2 * PATIENCE, "no entry {wanted}");
            assert!(child.try_wait().expect("a child").is_none(), "the run ended");
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// An independent reader finds what a direct computation says.
    pub fn check(&self, what: &str) {
        compare(&self.output, &self.expected, what);
        assert_eq!(read(&self.dead).len(), self.bad, "{what}: dead letters");
    }

    pub fn replay(&self, what: &str) {
        let output = finish(self.command("SEGNO_BIN", &["replay", "--from", "start", "--verify"]).spawn().expect("segno starts"));
        assert_eq!(output.status.code(), Some(0), "{what}: {}", said(&output));
    }
}

/// A topic holds for each key these rows, in this order, and nothing else.
pub fn compare(topic: &str, expected: &BTreeMap<String, Vec<String>>, what: &str) {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in read(topic) {
        found.entry(record.key.expect("a key")).or_default().push(record.value.expect("a value"));
    }
    for (key, rows) in expected {
        let found = found.remove(key).unwrap_or_default();
        let differs = (0..rows.len().max(found.len())).find(|&row| rows.get(row) != found.get(row));
        if let Some(row) = differs {
            panic!("{what}: key {key}, row {row}: {:?} is wanted and {:?} was found", rows.get(row), found.get(row));
        }
    }
    assert!(found.is_empty(), "{what}: keys that nobody wrote: {found:?}");
}

/// Does something again and again, as long as asked.
pub fn torture(mut round: impl FnMut()) {
    let minutes = std::env::var("SEGNO_TORTURE_MINUTES").expect("SEGNO_TORTURE_MINUTES is set by `make torture`");
    let minutes: f64 = minutes.parse().expect("SEGNO_TORTURE_MINUTES is a number");
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < minutes * 60.0 {
        round();
    }
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a process to signal");
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits for the end of a process; one that hangs fails the test.
pub fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if started.elapsed() > 2 * PATIENCE {
            let _ = child.kill();
            panic!("the command hung; it said: {}", said(&child.wait_with_output().expect("a child")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("a child")
}
