//! The long version of the kills: random input, random epochs, random kills, for as many minutes as asked.
//!
//! Owns: the loop and its counts, which a file in $SEGNO_CACHE adds up over many starts. Does not own: the short
//! versions, which every test run has. A failure prints its seed.

use crate::lab::{Lab, finish, text, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

/// Undisturbed, a run of this size takes about a second.
const RECORDS_MAX: usize = 40_000;
const KILLS_PER_ROUND_MAX: u32 = 12;

fn round(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let records = random.random_range(1_000..RECORDS_MAX);
    let settings = format!(
        "epoch: {{ max_records: {} }}\nbatch_rows: {}\n",
        random.random_range(100..3_000),
        [1, 7, 64, 1024, 4096][random.random_range(0..5)]
    );
    let mut expected = Lab::new(seed, records);
    expected.settings.clone_from(&settings);
    let started = Instant::now();
    expected.complete();
    let whole = started.elapsed();
    let mut lab = Lab::new(seed, records);
    lab.settings = settings;
    let mut kills = 0;
    for _ in 0..random.random_range(1..KILLS_PER_ROUND_MAX) {
        let mut child = lab.command(&["run", "-q"]).spawn().expect("segno starts");
        // Half of the kills come early: in the recovery from the kill before.
        let span = if random.random_range(0..2) == 0 { whole / 8 } else { whole };
        std::thread::sleep(Duration::from_micros(random.random_range(0..span.as_micros().max(1) as u64)));
        let ended = child.try_wait().expect("a child").is_some();
        let _ = child.kill();
        let output = finish(child);
        if ended {
            assert!(output.status.success(), "the run failed: {}", text(&output.stderr));
            break;
        }
        kills += 1;
        if random.random_range(0..4) == 0 {
            let _ = std::fs::remove_dir_all(lab.path("work"));
        }
    }
    lab.complete();
    assert!(lab.output() == expected.output(), "the output differs after {kills} kills");
    assert!(lab.dead_letters() == expected.dead_letters(), "the dead letters differ after {kills} kills");
    lab.check();
    lab.replays();
    kills
}

#[test]
#[ignore = "runs as long as SEGNO_TORTURE_MINUTES says: make torture MINUTES=60"]
fn torture() {
    let minutes = std::env::var("SEGNO_TORTURE_MINUTES").expect("SEGNO_TORTURE_MINUTES is set by `make torture`");
    let minutes: f64 = minutes.parse().expect("SEGNO_TORTURE_MINUTES is a number");
    let counts = variable("SEGNO_CACHE").join("torture.json");
    let total: serde_json::Value =
        std::fs::read(&counts).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let before = |name: &str| total[name].as_u64().unwrap_or_default();
    let (mut rounds, mut kills, mut failures) = (before("rounds"), before("kills"), before("failures"));
    let mut seconds = before("seconds");
    let started = Instant::now();
    let mut failed = Vec::new();
    while started.elapsed().as_secs_f64() < minutes * 60.0 {
        // SEGNO_TORTURE_SEED repeats one round.
        let fixed = std::env::var("SEGNO_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = fixed.unwrap_or_else(rand::random::<u64>);
        let since = Instant::now();
        match std::panic::catch_unwind(|| round(seed)) {
            Ok(killed) => kills += killed,
            Err(_) => {
                println!("round with seed {seed} FAILED; SEGNO_TORTURE_SEED={seed} repeats it");
                failures += 1;
                failed.push(seed);
            }
        }
        rounds += 1;
        seconds += since.elapsed().as_secs();
        let text = serde_json::json!({ "rounds": rounds, "kills": kills, "failures": failures, "seconds": seconds });
        std::fs::write(&counts, text.to_string()).expect("the counts are written");
        println!("seed {seed}: {rounds} rounds, {kills} kills, {failures} failures in all, {seconds} s");
    }
    assert!(failed.is_empty(), "rounds failed with the seeds {failed:?}");
}
