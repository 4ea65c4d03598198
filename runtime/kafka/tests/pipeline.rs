//! A whole pipeline from topic to topic, killed again and again: nothing lost, doubled or reordered within a key.

use crate::lab::*;
use crate::whole::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

const KILLS: usize = 20;

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
    for edge in [
        "commit::after_journal",
        "commit::amid_publish",
        "commit::after_publish",
        "recovery::after_fence",
        "recovery::before_live",
    ] {
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
        await_records(&pipeline.output, wanted, 2 * PATIENCE, || {
            assert!(child.try_wait().expect("a child").is_none(), "the run ended")
        });
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
    std::fs::remove_dir_all(pipeline.folder.path().join(format!("store/default/{}/single/manifest", pipeline.output)))
        .expect("manifests");
    transaction(&pipeline.input, 1, &["{\"id\":-2,\"key\":\"new\",\"price\":1}"], true);
    live_until(rows + 1);
    pipeline.replay("live, again");
}
