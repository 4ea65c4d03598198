//! A whole pipeline from topic to topic, killed again and again: nothing lost, doubled or reordered within a key.

use crate::lab::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const RECORDS: usize = 12_000;
const KEYS: usize = 97;
const PARTITIONS: i32 = 3;
const KILLS: usize = 20;

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

struct Pipeline {
    folder: tempfile::TempDir,
    input: String,
    output: String,
    dead: String,
    /// What the output must hold for each key, in this order.
    expected: BTreeMap<String, Vec<String>>,
    bad: usize,
    /// Of the source: where the input ends, if it does.
    until: &'static str,
}

impl Pipeline {
    /// Each key lives in one partition, so the order of its records is that of the partition.
    fn new(seed: u64) -> Pipeline {
        let (input, output, dead) = (topic("in", PARTITIONS, &[]), topic("out", 2, &[]), topic("dead", 1, &[]));
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
        Pipeline { folder: tempfile::tempdir().expect("a folder"), input, output, dead, expected, bad, until: "until: latest," }
    }

    fn command(&self, binary: &str, args: &[&str]) -> Command {
        let components = variable("SEGNO_COMPONENTS");
        let text = format!(
            "version: 1
name: {name}
source:
  kafka: {{ brokers: \"{brokers}\", topics: [{input}], {until} group: {name} }}
  format: json
  columns: {{ id: i64, key: utf8 }}
  on_error: dlq
steps:
  - id: count
    plugin: \"{components}/keyed_count.wasm\"
    key: key
sinks:
  - name: out
    kafka: {{ brokers: \"{brokers}\", topic: {output}, key: key }}
    columns: [id, key, bids, total_price]
dlq: {{ kafka: {{ brokers: \"{brokers}\", topic: {dead} }} }}
work_dir: work
epoch: {{ max_records: 250 }}
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
",
            name = self.output,
            until = self.until,
            brokers = brokers(),
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

    fn entries(&self) -> usize {
        let folder = self.folder.path().join(format!("store/default/{}/single/journal", self.output));
        std::fs::read_dir(folder).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).count()
        })
    }

    fn complete(&self) {
        let output = finish(self.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts"));
        assert!(output.status.success(), "{}", said(&output));
    }

    /// An independent reader finds what a direct computation says.
    fn check(&self, what: &str) {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in read(&self.output) {
            let key = record.key.expect("a key");
            found.entry(key).or_default().push(record.value.expect("a value"));
        }
        for (key, rows) in &self.expected {
            let found = found.remove(key).unwrap_or_default();
            let differs = (0..rows.len().max(found.len())).find(|&row| rows.get(row) != found.get(row));
            if let Some(row) = differs {
                panic!("{what}: key {key}, row {row}: {:?} is wanted and {:?} was found", rows.get(row), found.get(row));
            }
        }
        assert!(found.is_empty(), "{what}: keys that nobody wrote: {found:?}");
        assert_eq!(read(&self.dead).len(), self.bad, "{what}: dead letters");
    }

    fn replay(&self, what: &str) {
        let output = finish(self.command("SEGNO_BIN", &["replay", "--from", "start", "--verify"]).spawn().expect("segno starts"));
        assert_eq!(output.status.code(), Some(0), "{what}: {}", said(&output));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits for the end of a process; one that hangs fails the test.
fn finish(mut child: Child) -> Output {
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

#[test]
fn kills_at_random_moments_change_nothing_between_topics() {
    let seed = rand::random::<u64>();
    println!("## kafka kills: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        let pipeline = Pipeline::new(seed + runs);
        runs += 1;
        loop {
            let wanted = pipeline.entries() + random.random_range(0..6);
            let mut child = pipeline.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts");
            let started = Instant::now();
            let mut ended = false;
            while !ended && pipeline.entries() < wanted && started.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_micros(300));
                ended = child.try_wait().expect("a child").is_some();
            }
            std::thread::sleep(Duration::from_micros(random.random_range(0..30_000)));
            if ended || child.try_wait().expect("a child").is_some() {
                let output = finish(child);
                assert!(output.status.success(), "seed {seed}: {}", said(&output));
                break;
            }
            child.kill().expect("SIGKILL");
            finish(child);
            kills += 1;
            if random.random_range(0..4) == 0 {
                let _ = std::fs::remove_dir_all(pipeline.folder.path().join("work"));
            }
        }
        pipeline.check(&format!("seed {seed}"));
        pipeline.replay(&format!("seed {seed}"));
    }
    println!("## {kills} kills between topics, over {runs} runs");
}

#[test]
fn a_kill_around_publication_changes_nothing_between_topics() {
    for edge in ["commit::after_journal", "commit::amid_publish", "commit::after_publish", "recovery::after_fence", "recovery::before_live"] {
        let pipeline = Pipeline::new(7);
        if edge.starts_with("recovery::") {
            let mut command = pipeline.command("SEGNO_TESTING_BIN", &["run", "-q"]);
            finish(command.env("FAILPOINTS", "commit::after_journal=5*off->return").spawn().expect("segno starts"));
        }
        let passes = if edge.starts_with("recovery::") { "" } else { "4*off->" };
        let mut command = pipeline.command("SEGNO_TESTING_BIN", &["run", "-q"]);
        let killed = finish(command.env("FAILPOINTS", format!("{edge}={passes}return")).spawn().expect("segno starts"));
        assert!(!killed.status.success(), "{edge} did not kill the process");
        pipeline.complete();
        pipeline.check(edge);
        pipeline.replay(edge);
    }
}

#[test]
fn a_live_pipeline_recovers_and_replays_although_control_records_stand_behind_its_last_record() {
    let pipeline = Pipeline { until: "", ..Pipeline::new(11) };
    let rows: usize = pipeline.expected.values().map(Vec::len).sum();
    let live_until = |wanted: usize| {
        let mut child = pipeline.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts");
        let started = Instant::now();
        while read(&pipeline.output).len() < wanted {
            assert!(started.elapsed() < 2 * PATIENCE, "the rows do not come");
            if child.try_wait().expect("a child").is_some() {
                panic!("{}", said(&finish(child)));
            }
        }
        child.kill().expect("SIGKILL");
        finish(child);
    };
    live_until(rows);
    pipeline.check("live");
    for partition in 0..PARTITIONS {
        transaction(&pipeline.input, partition, &["{\"id\":-1,\"key\":\"k0\",\"price\":1}"], false);
    }
    pipeline.replay("live");
    // Everything is executed again, since the state is gone.
    std::fs::remove_dir_all(pipeline.folder.path().join("work")).expect("the work folder");
    std::fs::remove_dir_all(pipeline.folder.path().join(format!("store/default/{}/single/manifest", pipeline.output))).expect("manifests");
    transaction(&pipeline.input, 1, &["{\"id\":-2,\"key\":\"new\",\"price\":1}"], true);
    live_until(rows + 1);
    pipeline.replay("live, again");
}
