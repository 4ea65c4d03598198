//! State that is much larger than the memory it may have.
//!
//! Owns: that its values are right, and that memory does not grow with it. Does not own: how fast it is (`bench/keys.py`).

use crate::lab::{finish, plain, text, variable};
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::SeedableRng;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `state.memory` says, bytes: the least that it may.
const MEMORY: u64 = 16 << 20;
/// A run takes half a minute on two cores; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Length of a key: no two share a part that would compress.
const KEY_CHARACTERS: usize = 120;
/// What the memory of two runs may differ by, bytes, whatever their state is: what is free stays with the process, and more of it
/// comes together in a longer run.
const GROWTH_MAX: u64 = 64 << 20;

fn key(number: u64) -> String {
    Alphanumeric.sample_string(&mut StdRng::seed_from_u64(number), KEY_CHARACTERS)
}

/// Which key a record has: each of them once in their order, then some once more, out of order.
fn key_of(record: u64, keys: u64) -> u64 {
    match record < keys {
        true => record,
        // A prime that divides no number of keys that is used here.
        false => record * 1_000_003 % keys,
    }
}

struct Run {
    /// The most that was resident, bytes.
    memory: u64,
    /// Of the files of its state.
    state: u64,
}

/// Counts the records of so many keys, of which every fifth comes twice, and compares every row.
fn count(keys: u64) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let mut input = std::io::BufWriter::new(std::fs::File::create(path("in.jsonl")).expect("input"));
    for record in 0..keys + keys / 5 {
        writeln!(input, "{{\"id\":{record},\"key\":\"{}\",\"price\":{record}}}", key(key_of(record, keys))).expect("input");
    }
    input.flush().expect("input");
    let pipeline = format!(
        "version: 1
name: large
source:
  files: in.jsonl
  format: json
  columns: {{ id: i64, key: utf8 }}
steps:
  - {{ id: count, plugin: \"{}/keyed_count.wasm\", key: key }}
sinks:
  - {{ name: out, files: out, columns: [id, bids, total_price] }}
work_dir: work
state: {{ memory: {}MiB }}
epoch: {{ max_records: 20000 }}
checkpoint: {{ store: \"file://store\", ephemeral: true, keep: 2 }}
",
        variable("SEGNO_COMPONENTS").display(),
        MEMORY >> 20
    );
    std::fs::write(path("pipeline.yaml"), pipeline).expect("the pipeline file");
    let mut command = Command::new(plain());
    command.args(["run", "-q"]).arg(path("pipeline.yaml")).env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segno starts");
    let (mut memory, started) = (0, Instant::now());
    while child.try_wait().expect("a child").is_none() {
        // The last look before the end has the peak of all but a moment.
        memory = memory.max(peak(child.id()));
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = finish(child);
    assert!(done.status.success(), "{}", text(&done.stderr));

    let mut rows = 0;
    for line in files(&path("out")).iter().flat_map(|file| std::fs::read_to_string(file).expect("rows").lines().map(str::to_owned).collect::<Vec<_>>()) {
        let row: serde_json::Value = serde_json::from_str(&line).expect("a row");
        let id = row["id"].as_u64().expect("an id");
        let before = if id < keys { None } else { Some(key_of(id, keys)) };
        let expected = serde_json::json!({"id": id, "bids": 1 + u64::from(before.is_some()), "total_price": id + before.unwrap_or(0)});
        assert_eq!(row, expected, "{keys} keys");
        rows += 1;
    }
    assert_eq!(rows, keys + keys / 5);
    let state = files(&path("work/state")).iter().map(|file| file.metadata().expect("a file").len()).sum();
    Run { memory, state }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The most that a process had resident so far, bytes; 0 when it is gone.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

#[test]
fn a_state_of_many_times_its_memory_is_right_and_its_memory_is_flat() {
    let (small, large) = (count(400_000), count(1_600_000));
    println!(
        "## state of {} and {} MiB with {} MiB for it: {} and {} MiB resident at most",
        small.state >> 20,
        large.state >> 20,
        MEMORY >> 20,
        small.memory >> 20,
        large.memory >> 20
    );
    assert!(large.state >= 4 * MEMORY && large.state >= small.state + GROWTH_MAX * 3 / 2, "{} bytes of state show nothing", large.state);
    assert!(large.memory <= small.memory + GROWTH_MAX, "{} bytes, {} with a quarter of the keys", large.memory, small.memory);
}
