//! A sink that takes hardly anything: sources pause, memory stays, status says why, and it goes on when the sink does.
//!
//! Owns: the command that runs, its input, its memory. Does not own: the sink's server, nor what it must hold at the end:
//! whoever calls reads that.

use segno_proxy::tcp::{Faults, TcpProxy};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the sink is slow.
const SLOW: Duration = Duration::from_secs(60);
/// Bytes a second that it takes then.
const BANDWIDTH: u64 = 1_000;
/// Of 2 kB each: several times what may be added to memory. Their ids are 0 to this.
pub const RECORDS: usize = 120_000;
/// What a slow sink may add to resident memory: two chunks of 4 MiB, read ahead and decoded, and an epoch.
const GROWTH_MAX: u64 = 64 << 20;
/// A look at a process and its memory.
const LOOK: Duration = Duration::from_millis(250);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A sink behind a proxy.
pub struct Slow<'a> {
    pub proxy: &'a TcpProxy,
    /// In the pipeline file, without name and columns: `kafka: { … }`.
    pub sink: String,
    /// So many that the sink needs several seconds for an epoch, and less than it may take.
    pub epoch_records: usize,
}

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

fn line(id: usize) -> String {
    format!("{{\"id\":{id},\"key\":\"k{}\",\"price\":1,\"padding\":\"{:02000}\"}}\n", id % 7, id)
}

fn append(path: &Path, ids: std::ops::Range<usize>) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("input");
    let mut file = std::io::BufWriter::new(file);
    ids.for_each(|id| file.write_all(line(id).as_bytes()).expect("input"));
    file.flush().expect("input");
}

/// Resident memory, bytes.
fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") << 10
}

fn status(pipeline: &Path) -> Value {
    let command = variable("SEGNO_BIN");
    let output = Command::new(command).args(["status", "-q", "-o", "json"]).arg(pipeline).output().expect("segno starts");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// A child that a failed test leaves behind is ended.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again until `wanted` gives something.
fn until<T>(what: &str, child: &mut Child, mut wanted: impl FnMut(&mut Child) -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = wanted(child) {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} does not come");
        assert!(child.try_wait().expect("a child").is_none(), "the run ended before: {what}");
        std::thread::sleep(LOOK);
    }
}

pub fn a_sink_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory(slow: &Slow<'_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in.jsonl");
    let half = RECORDS / 2;
    append(&input, 0..half);
    let pipeline = folder.path().join("pipeline.yaml");
    let components = variable("SEGNO_COMPONENTS");
    let yaml = format!(
        "version: 1
name: slow
tenant: {tenant}
source:
  files: in.jsonl
  format: json
  columns: {{ id: i64, key: utf8 }}
steps:
  - {{ id: count, plugin: \"{components}/keyed_count.wasm\", key: key }}
sinks:
  - name: out
    {sink}
    columns: [id, key, bids]
work_dir: work
epoch: {{ max_records: {epoch_records} }}
checkpoint: {{ store: \"file://store\", ephemeral: true }}
",
        tenant = format!("slow-{:016x}", rand::random::<u64>()),
        components = components.display(),
        sink = slow.sink,
        epoch_records = slow.epoch_records,
    );
    std::fs::write(&pipeline, yaml).expect("the pipeline file");
    let said = folder.path().join("said");
    let mut command = Command::new(variable("SEGNO_BIN"));
    command.args(["run", "-q"]).arg(&pipeline).env("SEGNO_PLUGIN_CACHE", components.join("cache"));
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&said).expect("a file"));
    let mut run = Run(command.spawn().expect("segno starts"));
    let child = &mut run.0;
    until("an epoch", child, |_| status(&pipeline)["epoch"].as_u64().filter(|epoch| *epoch > 0));
    let lag = |seen: &Value| seen["partitions"][0]["lag"].as_u64();

    slow.proxy.set(Faults { bandwidth: Some(BANDWIDTH), ..Faults::default() });
    let started = Instant::now();
    let (before, first_lag) = until("a wait for the sink", child, |child| {
        let seen = status(&pipeline);
        let waits = seen["waits_for"] == "sink \"out\"" && started.elapsed() > Duration::from_secs(2);
        waits.then(|| (resident(child), lag(&seen).expect("a lag")))
    });
    append(&input, half..RECORDS);
    let mut highest = before;
    let mut behind = first_lag;
    while started.elapsed() < SLOW {
        assert!(child.try_wait().expect("a child").is_none(), "the run ended");
        highest = highest.max(resident(child));
        behind = behind.max(lag(&status(&pipeline)).unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    let seen = status(&pipeline);
    assert_eq!((&seen["waits_for"], &seen["health"], &seen["restarts"]), (&"sink \"out\"".into(), &"live".into(), &0.into()));
    assert!(highest - before < GROWTH_MAX, "memory grew from {before} to {highest} bytes");
    assert!(behind > first_lag, "the lag was {first_lag} bytes and stayed below {behind}");
    let left = lag(&seen).expect("a lag");
    assert!(left > GROWTH_MAX, "only {left} bytes are left: nothing shows that they were not read");

    slow.proxy.heal();
    let healed = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait().expect("a child") {
            break ended;
        }
        assert!(healed.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(LOOK);
    };
    assert!(ended.success(), "{}", std::fs::read_to_string(&said).unwrap_or_default());
    println!("## resident {before} to {highest} bytes; {left} bytes behind; ended {:?} after the throttle", healed.elapsed());
}
