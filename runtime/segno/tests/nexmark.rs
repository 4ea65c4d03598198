//! Nexmark: every query of examples/nexmark gives the rows that a SQL engine computes from the same events, under kills.
//! tests/checker/nexmark.py has the SQL; it shares nothing with Segno.

use crate::lab::{finish, plain, text, variable};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use segno_core::source::NexmarkSpec;
use segno_input::source::nexmark::write_json_lines;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EVENTS: u64 = 100_000;
const FILES: usize = 3;
const KILLS: usize = 3;
const QUERIES: [&str; 11] = ["q0", "q1", "q2", "q3", "q5", "q7", "q8", "q11", "q12", "q17", "q18"];
/// A run of these events takes about a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a file that change places: 1.2 seconds of event time, of the 4 that the pipelines wait.
const DISORDER: usize = 200;

/// 200 seconds of events, over midnight, in several files.
fn write_events(folder: &Path, mut disorder: Option<&mut StdRng>) {
    let mut spec = NexmarkSpec::new("events", 7, Some(EVENTS));
    spec.events_per_second = 500;
    spec.start_micros = 86_400_000_000 - 60_000_000;
    let mut bytes = Vec::new();
    write_json_lines(&spec, 0..EVENTS, &mut bytes).expect("events");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    for file in 0..FILES {
        let mut lines: Vec<&[u8]> = lines.iter().skip(file).step_by(FILES).copied().collect();
        if let Some(random) = disorder.as_deref_mut() {
            lines.chunks_mut(DISORDER).for_each(|chunk| chunk.shuffle(random));
        }
        std::fs::write(folder.join(format!("events-{file}.jsonl")), lines.concat()).expect("events");
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn journal(query: &str, out: &Path) -> PathBuf {
    out.join(format!("{query}.checkpoints/default/nexmark_{query}/single/journal"))
}

/// Runs a query to its end and kills it on the way; gives the number of kills that hit a run that had committed something.
fn run(query: &str, events: &Path, out: &Path, random: &mut StdRng) -> usize {
    let examples = Path::new("../../examples/nexmark");
    let example = std::fs::read_to_string(examples.join(format!("{query}.yaml"))).expect("an example");
    let pipeline = out.join(format!("{query}.yaml"));
    // Some kills hit a start, most hit epochs.
    let settings = format!("epoch: {{ max_records: 2000 }}\nbatch_rows: {}\n", random.random_range(100..2_000));
    std::fs::write(&pipeline, example + &settings).expect("a pipeline");
    let journal = journal(query, out);
    let mut hits = 0;
    for kill in 0.. {
        let mut child = Command::new(plain())
            .args(["run", "-q"])
            .arg(&pipeline)
            .env("NEXMARK_FILE", events.join("events-*.jsonl"))
            .env("NEXMARK_OUT", out)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("segno starts");
        if kill < KILLS {
            let wanted = files(&journal) + random.random_range(0..12);
            let started = Instant::now();
            while started.elapsed() < PATIENCE && files(&journal) < wanted && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_micros(300));
            }
            let ended = child.try_wait().expect("a child").is_some();
            child.kill().expect("SIGKILL");
            hits += usize::from(!ended && files(&journal) > 1);
            finish(child);
            continue;
        }
        let output = finish(child);
        assert!(output.status.success(), "{query}: {}", text(&output.stderr));
        break;
    }
    hits
}

fn check(query: &str, events: &Path, out: &Path, last: bool) {
    let python = variable("SEGNO_CACHE").join("duckdb/bin/python");
    let checker = Path::new("../../tests/checker/nexmark.py");
    let rows: PathBuf = out.join(query).join("*.jsonl");
    let checked = Command::new(python)
        .args([checker.as_os_str(), query.as_ref(), "--events".as_ref(), events.join("events-*.jsonl").as_os_str()])
        .args(["--rows".as_ref(), rows.as_os_str()])
        .args(last.then_some("--last"))
        .args((query == "q12").then(|| format!("--journal={}", journal(query, out).join("*").display())))
        .output()
        .expect("scripts/setup.sh installs DuckDB");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    println!("## {}", text(&checked.stdout).trim_end());
}

fn every_query(disorder: bool) {
    let seed = rand::random::<u64>();
    println!("## seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder for the test");
    write_events(folder.path(), disorder.then_some(&mut random));
    let mut hits = 0;
    for query in QUERIES {
        hits += run(query, folder.path(), folder.path(), &mut random);
        check(query, folder.path(), folder.path(), disorder);
    }
    println!("## {hits} kills amid a run");
    assert!(hits >= QUERIES.len(), "seed {seed}: too few kills hit: {hits}");
}

#[test]
fn queries_give_what_sql_gives() {
    every_query(false);
}

#[test]
fn queries_give_what_sql_gives_of_events_in_disorder() {
    every_query(true);
}
