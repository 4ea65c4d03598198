//! Several processes share the shards of a pipeline: killed, stopped, sent away; every row once, per key in order.

use crate::lab::*;
use crate::whole::{compare, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rustix::process::{Pid, Signal, kill_process};
use segno_core::partitioner::partition_of;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEYS: usize = 150;
pub const PARTITIONS: u32 = 6;
/// Of the sessions here: a killed worker is missed after it.
pub const SESSION: Duration = Duration::from_millis(1_500);
const REBALANCES: usize = 10;

/// A pipeline that several processes run, and what it must give.
pub struct Team {
    folder: tempfile::TempDir,
    name: String,
    input: String,
    output: String,
    /// As the pipeline file has it.
    store: String,
    session: Duration,
    pub random: StdRng,
    totals: Vec<(u64, i64)>,
    pub written: usize,
    expected: BTreeMap<String, Vec<String>>,
    started: usize,
}

/// One process of a pipeline.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Team {
    pub fn new(seed: u64) -> Team {
        Team {
            folder: tempfile::tempdir().expect("a folder"),
            name: name("team"),
            input: topic("in", PARTITIONS as i32, &[]),
            output: topic("out", 3, &[]),
            store: "store: \"file://store\", ephemeral: true".to_owned(),
            session: SESSION,
            random: StdRng::seed_from_u64(seed),
            totals: vec![(0, 0); KEYS],
            written: 0,
            expected: BTreeMap::new(),
            started: 0,
        }
    }

    /// More input, each record in the partition of its key.
    pub fn write(&mut self, records: usize) {
        let mut lines: Vec<Vec<(String, String)>> = vec![Vec::new(); PARTITIONS as usize];
        for _ in 0..records {
            let (id, at) = (self.written, self.random.random_range(0..KEYS));
            let (key, price) = (format!("k{at}"), self.random.random_range(-50..500i64));
            let (bids, total) = &mut self.totals[at];
            (*bids, *total) = (*bids + 1, *total + price);
            let row = format!("{{\"id\":{id},\"bids\":{bids},\"total_price\":{total}}}");
            lines[partition_of(key.as_bytes(), PARTITIONS) as usize]
                .push((key.clone(), format!("{{\"id\":{id},\"price\":{price}}}")));
            self.expected.entry(key).or_default().push(row);
            self.written += 1;
        }
        for (partition, lines) in lines.iter().enumerate() {
            let records: Vec<_> = lines.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))).collect();
            produce(&self.input, partition as i32, &records);
        }
    }

    fn file(&self, topics: &str, source: &str) -> PathBuf {
        let components = variable("SEGNO_COMPONENTS");
        let text = format!(
            "version: 1
name: {name}
sharding: by_partition
worker: {{ session_timeout: {session}ms }}
source:
  kafka: {{ brokers: \"{brokers}\", topics: [{topics}] }}
  format: json
  columns: {{ id: i64, kafka.key: utf8 }}
{source}steps:
  - id: count
    plugin: \"{components}/keyed_count.wasm\"
    key: kafka.key
sinks:
  - name: out
    kafka: {{ brokers: \"{brokers}\", topic: {output}, key: kafka.key }}
    columns: [id, bids, total_price]
dlq: {{ files: dead-{name} }}
work_dir: \"work-${{WORKER:-none}}\"
epoch: {{ max_records: 20, max_delay: 20ms }}
checkpoint: {{ {store}, replay_debt: 20ms, keep: 1000 }}
",
            name = self.name,
            session = self.session.as_millis(),
            brokers = brokers(),
            output = self.output,
            store = self.store,
            components = components.display(),
        );
        let path = self.folder.path().join("pipeline.yaml");
        // Whole or not at all: a worker that was just started may be reading it.
        let written = path.with_extension(format!("written-{}", self.started));
        std::fs::write(&written, text).expect("the pipeline file");
        std::fs::rename(written, &path).expect("the pipeline file");
        path
    }

    fn command(&self, args: &[&str], topics: &str, source: &str) -> Command {
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(args).arg(self.file(topics, source)).env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        if let Ok(endpoint) = std::env::var("SEGNO_TEST_S3") {
            command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1").env("AWS_ALLOW_HTTP", "true");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a process with a work folder of its own: what it takes over, it has from the store.
    pub fn start(&mut self) -> Worker {
        self.start_with("")
    }

    /// `source`: further lines of the source.
    fn start_with(&mut self, source: &str) -> Worker {
        self.started += 1;
        let log = self.folder.path().join(format!("log-{}", self.started));
        let mut command = self.command(&["run", "-v", "-q"], &self.input, source);
        command.env("WORKER", self.started.to_string()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).expect("a log"));
        Worker { child: command.spawn().expect("segno starts"), log }
    }

    /// Who took each shard last, as the store says.
    pub fn owners(&self) -> BTreeMap<u32, u32> {
        owners(self.folder.path(), &self.name, PARTITIONS)
    }

    pub fn await_owners(&self, workers: &mut [Worker], what: &str, met: impl Fn(&BTreeMap<u32, u32>) -> bool) {
        await_that(workers, what, || met(&self.owners()));
    }

    pub fn await_rows(&self, workers: &mut [Worker]) {
        await_records(&self.output, self.written, 2 * PATIENCE, || all_live(workers));
    }

    /// An independent reader finds what a direct computation says.
    pub fn check(&self, what: &str) {
        compare(&self.output, &self.expected, what);
        assert_eq!(
            std::fs::read_dir(self.folder.path().join(format!("dead-{}", self.name)))
                .map_or(0, |dead| dead.flatten().filter(|file| file.path().is_file()).count()),
            0
        );
    }

    pub fn replay(&self, what: &str) {
        let output = self.command(&["replay", "--from", "start", "--verify"], &self.input, "").output().expect("segno starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{what}: {said}");
        assert_eq!(said.matches("identical").count(), PARTITIONS as usize, "{what}: {said}");
    }
}

/// Who took each shard of a pipeline last, as a store in a folder says: the process, by the number of the shard.
pub fn owners(folder: &Path, pipeline: &str, shards: u32) -> BTreeMap<u32, u32> {
    let owner = |shard: u32| {
        let folder = folder.join(format!("store/default/{pipeline}/{shard}/generation"));
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        names.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())));
        names.sort();
        let generation: serde_json::Value = serde_json::from_slice(&std::fs::read(names.last()?).ok()?).ok()?;
        let process = generation["author"]["writer"].as_str()?.rsplit_once(':')?.1.parse().ok()?;
        Some((shard, process))
    };
    (0..shards).filter_map(owner).collect()
}

impl Worker {
    pub fn new(child: Child, log: PathBuf) -> Worker {
        Worker { child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).expect("a process id"), signal).expect("a signal");
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("a child");
    }

    /// Asks it to leave as soon as it can hear that, and gives its exit code.
    pub fn leave(mut self) -> Option<i32> {
        self.await_handlers();
        self.signal(Signal::TERM);
        self.end()
    }

    /// A process that has only just started would die by SIGTERM. The handler of SIGINT is the last that it sets.
    fn await_handlers(&mut self) {
        let started = Instant::now();
        while !self.catches(Signal::INT) {
            if self.child.try_wait().expect("a child").is_some() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it never handles signals; it said: {}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As Linux tells: a set bit for each signal with a handler.
    fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & 1 << (signal.as_raw() - 1) != 0
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end, and gives its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end; it said: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A test that fails leaves no process behind.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No worker has ended.
pub fn all_live(workers: &mut [Worker]) {
    for worker in workers {
        let ended = worker.child.try_wait().expect("a child");
        assert!(ended.is_none(), "a worker ended with {ended:?}; it said: {}", worker.said());
    }
}

pub fn await_that(workers: &mut [Worker], what: &str, mut met: impl FnMut() -> bool) {
    let started = Instant::now();
    while !met() {
        all_live(workers);
        if started.elapsed() > 2 * PATIENCE {
            let said: Vec<String> = workers.iter().map(Worker::said).collect();
            panic!("{what} does not come; the workers said: {}", said.join("\n--\n"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn all_owned(owners: &BTreeMap<u32, u32>) -> bool {
    owners.len() == PARTITIONS as usize
}

pub fn processes(owners: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    owners.values().copied().collect()
}

/// Kills, with the checkpoints and the journal in a store.
fn kills(store: Option<String>, what: &str) {
    let seed = rand::random::<u64>();
    println!("## {what}: seed {seed}");
    let mut team = Team::new(seed);
    team.store = store.unwrap_or(team.store);
    team.write(600);
    let mut workers: Vec<Worker> = (0..3).map(|_| team.start()).collect();
    let mut said = String::new();
    for _ in 0..REBALANCES {
        team.write(800);
        let pause = team.random.random_range(0..1_500);
        std::thread::sleep(Duration::from_millis(pause));
        let killed = team.random.random_range(0..workers.len());
        workers[killed].kill();
        said.push_str(&workers[killed].said());
        workers[killed] = team.start();
    }
    team.await_rows(&mut workers);
    // Whoever is left holds all shards, and goes on.
    workers.truncate(1);
    team.write(300);
    team.await_rows(&mut workers);
    said.push_str(&workers[0].said());
    assert_eq!(workers.remove(0).leave(), Some(0));
    team.check(&format!("seed {seed}"));
    team.replay(&format!("seed {seed}"));
    let taken = said.matches("the shard is live").count();
    let again: u64 = said.split("reexecuted=").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum();
    println!(
        "## {what}: {REBALANCES} kills of one of 3 workers, {} records, {PARTITIONS} shards taken {taken} times, {again} epochs executed again",
        team.written
    );
}

#[test]
fn workers_that_are_killed_lose_and_double_nothing() {
    kills(None, "workers");
}

#[test]
fn workers_that_are_killed_recover_from_a_bucket() {
    let bucket = std::env::var("SEGNO_TEST_S3_BUCKET")
        .unwrap_or_else(|_| panic!("SEGNO_TEST_S3_BUCKET is not set: run the tests with `make test`, which starts a store"));
    kills(Some(format!("store: \"s3://{bucket}/{}\"", name("workers"))), "workers over S3");
}

#[test]
fn a_worker_that_sleeps_past_its_session_writes_nothing_more() {
    let mut team = Team::new(51);
    team.write(1_000);
    let mut workers = vec![team.start(), team.start()];
    team.await_owners(&mut workers, "both have shards", |owners| all_owned(owners) && processes(owners).len() == 2);
    team.write(1_000);
    let sleeper = 0;
    workers[sleeper].signal(Signal::STOP);
    let other = workers[1].id();
    team.await_owners(&mut workers[1..], "the other has all shards", |owners| owners.values().all(|owner| *owner == other));
    team.write(500);
    team.await_rows(&mut workers[1..]);
    workers[sleeper].signal(Signal::CONT);
    // What it held is lost to it; then it is given shards again, and takes them over.
    let asleep = workers[sleeper].id();
    team.await_owners(&mut workers, "it has shards again", |owners| processes(owners).contains(&asleep));
    team.write(500);
    team.await_rows(&mut workers);
    assert!(workers[sleeper].said().contains("what=Lost"), "{}", workers[sleeper].said());
    for worker in workers {
        assert_eq!(worker.leave(), Some(0));
    }
    team.check("a sleeper");
    team.replay("a sleeper");
}

#[test]
fn a_worker_that_leaves_hands_its_shards_over_at_once() {
    let mut team = Team::new(52);
    // Nobody is missed within the test: shards move because they are released.
    team.session = Duration::from_secs(300);
    team.write(1_000);
    let mut workers = vec![team.start()];
    team.await_owners(&mut workers, "the first has all", all_owned);
    workers.push(team.start());
    team.await_owners(&mut workers, "both have shards", |owners| processes(owners).len() == 2);
    team.write(1_000);
    let last = workers[1].id();
    let started = Instant::now();
    assert_eq!(workers.remove(0).leave(), Some(0));
    team.await_owners(&mut workers, "the second has all", |owners| owners.values().all(|owner| *owner == last));
    println!("## hand-over of a worker that leaves: {} ms", started.elapsed().as_millis());
    team.write(500);
    team.await_rows(&mut workers);
    assert_eq!(workers.remove(0).leave(), Some(0));
    team.check("a worker that leaves");
    team.replay("a worker that leaves");
}

#[test]
fn any_number_of_workers_gives_the_same_rows() {
    let mut team = Team::new(53);
    team.write(3_000);
    for count in [1, 2, 4] {
        (team.name, team.output) = (name("team"), topic("out", 3, &[]));
        let mut workers: Vec<Worker> = (0..count).map(|_| team.start()).collect();
        team.await_rows(&mut workers);
        team.await_owners(&mut workers, "all have shards", |owners| processes(owners).len() == count);
        for worker in workers {
            assert_eq!(worker.leave(), Some(0));
        }
        team.check(&format!("{count} workers"));
        team.replay(&format!("{count} workers"));
    }
    println!("## {} rows, the same with 1, 2 and 4 workers", team.written);
}

#[test]
fn a_partition_that_is_added_later_stops_every_worker() {
    let mut team = Team::new(54);
    team.write(300);
    let mut workers = vec![team.start(), team.start()];
    team.await_rows(&mut workers);
    team.await_owners(&mut workers, "both have shards", |owners| processes(owners).len() == 2);
    let more = NewPartitions::new(&team.input, PARTITIONS as usize + 1);
    wait(admin().create_partitions([&more], &AdminOptions::new())).expect("an answer")[0].as_ref().expect("a partition");
    for mut worker in workers {
        assert_eq!(worker.end(), Some(1));
        assert!(worker.said().contains("S016"), "{}", worker.said());
    }
    let mut late = team.start();
    assert_eq!(late.end(), Some(1));
    assert!(late.said().contains("S016"), "{}", late.said());
    team.check("a later partition");
}

#[test]
fn topics_with_different_numbers_of_partitions_are_refused() {
    let team = Team::new(55);
    let topics = format!("{}, {}", team.input, topic("other", 2, &[]));
    for verb in ["validate", "run"] {
        let output = team.command(&[verb, "-q"], &topics, "").output().expect("segno starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{verb}: {said}");
        assert!(said.contains("S015"), "{verb}: {said}");
    }
}

#[test]
fn a_record_in_another_partition_than_its_key_stops_or_becomes_a_dead_letter() {
    let mut team = Team::new(56);
    team.write(200);
    let right = partition_of(b"lost", PARTITIONS);
    let wrong = ((right + 1) % PARTITIONS) as i32;
    produce(&team.input, wrong, &[(Some("lost"), Some("{\"id\":-1,\"price\":1}")), (None, Some("{\"id\":-2,\"price\":1}"))]);
    // The shard stops alone, before it counts what is not its own.
    let mut workers = vec![team.start()];
    await_that(&mut workers, "the error", || workers_said(&team, 1).contains("D014"));
    assert_eq!(workers.remove(0).leave(), Some(1));
    // Another way for bad records is another pipeline.
    (team.name, team.output) = (name("team"), topic("out", 3, &[]));
    workers.push(team.start_with("  on_error: dlq\n"));
    team.await_rows(&mut workers);
    let dead = || {
        let mut command = team.command(&["dlq", "show", "-q", "-o", "json"], &team.input, "  on_error: dlq\n");
        String::from_utf8_lossy(&command.output().expect("segno starts").stdout).into_owned()
    };
    await_that(&mut workers, "the dead letters", || dead().matches("\"D014\"").count() == 2);
    assert_eq!(dead().lines().count(), 2, "{}", dead());
    assert_eq!(workers.remove(0).leave(), Some(0));
}

/// What the worker that was started so many-th said.
fn workers_said(team: &Team, started: usize) -> String {
    std::fs::read_to_string(team.folder.path().join(format!("log-{started}"))).unwrap_or_default()
}
