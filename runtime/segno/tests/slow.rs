//! A sink that takes hardly anything: sources pause, memory stays, status says why, and nothing is lost or doubled.

use crate::lab::{finish, plain, text, variable};
use postgres::{Client, NoTls};
use segno_proxy::tcp::{Faults, TcpProxy};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the sink is slow.
const SLOW: Duration = Duration::from_secs(60);
/// Bytes a second that it takes then.
const BANDWIDTH: u64 = 1_000;
/// Of 2 kB each: several times what may be added to memory.
const RECORDS: usize = 120_000;
/// What a slow sink may add to resident memory: two chunks of 4 MiB, read ahead and decoded, and an epoch.
const GROWTH_MAX: u64 = 64 << 20;
/// A look at a process and its memory.
const LOOK: Duration = Duration::from_millis(250);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

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
    let output = Command::new(plain()).args(["status", "-q", "-o", "json"]).arg(pipeline).output().expect("segno starts");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
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

#[test]
fn a_table_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory() {
    let url = std::env::var("SEGNO_TEST_POSTGRES").expect("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`, which starts a server");
    let schema = format!("segno_{:016x}", rand::random::<u64>());
    let mut client = Client::connect(&url, NoTls).expect("the server of the tests");
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).expect("a schema");
    let address = url.split('@').next_back().and_then(|rest| rest.split('/').next()).expect("host and port");
    let proxy = TcpProxy::start(address).expect("a proxy");
    let slow_url = url.replace(address, &proxy.address().to_string());
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
  - name: table
    postgres: {{ url: \"{slow_url}\", table: {schema}.slow, create_table: true }}
    columns: [id, key, bids]
work_dir: work
epoch: {{ max_records: 300 }}
checkpoint: {{ store: \"file://store\", ephemeral: true }}
",
        tenant = schema.replace('_', "-"),
        components = components.display(),
    );
    std::fs::write(&pipeline, yaml).expect("the pipeline file");
    let mut command = Command::new(plain());
    command.args(["run", "-q"]).arg(&pipeline).env("SEGNO_PLUGIN_CACHE", components.join("cache"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("segno starts");
    until("an epoch", &mut child, |_| status(&pipeline)["epoch"].as_u64().filter(|epoch| *epoch > 0));
    let lag = |seen: &Value| seen["partitions"][0]["lag"].as_u64();

    proxy.set(Faults { bandwidth: Some(BANDWIDTH), ..Faults::default() });
    let slow = Instant::now();
    let (before, first_lag) = until("a wait for the table", &mut child, |child| {
        let seen = status(&pipeline);
        let waits = seen["waits_for"] == "sink \"table\"" && slow.elapsed() > Duration::from_secs(2);
        waits.then(|| (resident(child), lag(&seen).expect("a lag")))
    });
    append(&input, half..RECORDS);
    let mut highest = before;
    let mut behind = first_lag;
    while slow.elapsed() < SLOW {
        assert!(child.try_wait().expect("a child").is_none(), "the run ended");
        highest = highest.max(resident(&child));
        behind = behind.max(lag(&status(&pipeline)).unwrap_or(0));
        std::thread::sleep(LOOK);
    }
    let seen = status(&pipeline);
    assert_eq!((&seen["waits_for"], &seen["health"], &seen["restarts"]), (&"sink \"table\"".into(), &"live".into(), &0.into()));
    assert!(highest - before < GROWTH_MAX, "memory grew from {before} to {highest} bytes");
    assert!(behind > first_lag, "the lag was {first_lag} bytes and stayed below {behind}");
    let left = lag(&seen).expect("a lag");
    assert!(left > GROWTH_MAX, "only {left} bytes are left: nothing shows that they were not read");

    proxy.heal();
    let healed = Instant::now();
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    println!("## resident {before} to {highest} bytes; {left} bytes behind; ended {:?} after the throttle", healed.elapsed());
    let query = format!("SELECT count(*), count(DISTINCT id), min(id)::bigint, max(id)::bigint FROM {schema}.slow");
    let row = client.query_one(&query, &[]).expect("rows");
    let found: [i64; 4] = std::array::from_fn(|column| row.get(column));
    assert_eq!(found, [RECORDS as i64, RECORDS as i64, 0, RECORDS as i64 - 1]);
}
