//! kill -9 at random moments and at every edge; nothing is lost, nothing doubled, order kept.

use crate::lab::{Lab, finish, plain, text, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};

const RECORDS: usize = 30_000;
const KILLS: usize = 110;

/// What the process was doing when it was killed, told by the objects that it had written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    BeforeFirstCommit,
    BetweenFirstCommitAndEnd,
    /// Started again, and nothing committed yet in this process.
    Recovering,
}

/// Waits until `met` or the time is over.
fn wait_until(limit: Duration, mut met: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < limit && !met() {
        std::thread::sleep(Duration::from_micros(300));
    }
}

#[test]
fn kills_at_random_moments_change_nothing() {
    let seed = rand::random::<u64>();
    println!("## random kills: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let expected = Lab::new(1, RECORDS);
    expected.complete();
    let (output, dead, state) = (expected.output(), expected.dead_letters(), expected.state());
    expected.check();

    let mut counts = std::collections::BTreeMap::new();
    let mut kills = 0;
    let mut finished = 0;
    while kills < KILLS || counts.len() < 3 {
        let lab = Lab::new(1, RECORDS);
        loop {
            let before = lab.objects("journal");
            // Some kills come before this process can commit anything, so that those phases are there too.
            let early = random.random_range(0..if before == 0 { 2 } else { 8 }) == 0;
            let wanted = before + if early { 0 } else { random.random_range(1..25) };
            let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
            let mut ended = false;
            wait_until(Duration::from_secs(60), || {
                ended = child.try_wait().expect("a child").is_some();
                ended || early || lab.objects("journal") >= wanted
            });
            std::thread::sleep(Duration::from_micros(random.random_range(0..if early { 30_000 } else { 6_000 })));
            if ended || child.try_wait().expect("a child").is_some() {
                let output = finish(child);
                assert!(output.status.success(), "seed {seed}: {}", text(&output.stderr));
                break;
            }
            child.kill().expect("SIGKILL");
            finish(child);
            let after = lab.objects("journal");
            // The first entry of a process is its fence.
            let phase = match (before, after) {
                (_, after) if after <= 1 => Phase::BeforeFirstCommit,
                (before, after) if before > 1 && after <= before + 1 => Phase::Recovering,
                _ => Phase::BetweenFirstCommitAndEnd,
            };
            *counts.entry(phase).or_insert(0) += 1;
            kills += 1;
            if random.random_range(0..4) == 0 {
                let _ = std::fs::remove_dir_all(lab.path("work"));
            }
        }
        finished += 1;
        assert!(lab.output() == output, "seed {seed}: the output differs after kills");
        assert!(lab.dead_letters() == dead, "seed {seed}: the dead letters differ after kills");
        assert!(lab.state() == state, "seed {seed}: the state differs after kills");
        lab.check();
        let (code, said) = lab.replay();
        assert_eq!(code, Some(0), "seed {seed}: {said}");
    }
    println!("## {kills} kills over {finished} runs: {counts:?}");
    assert!(counts.get(&Phase::BetweenFirstCommitAndEnd).is_some_and(|&count| count >= 60), "{counts:?}");
    assert_eq!(counts.len(), 3, "a phase was never hit: {counts:?}");
}

/// The edges, as the source lists them.
fn edges() -> Vec<String> {
    let source = include_str!("../../durable/src/failing.rs");
    let list = source.split_once("EDGES").and_then(|(_, rest)| rest.split_once("];")).expect("a list of edges").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn a_kill_at_every_edge_changes_nothing() {
    let binary = variable("SEGNO_TESTING_BIN");
    let expected = Lab::new(2, 6_000);
    expected.complete();
    let output = expected.output();
    let edges = edges();
    assert!(edges.len() >= 15, "the list of edges was not found: {edges:?}");
    for edge in &edges {
        for passes in [0, 2] {
            let mut lab = Lab::new(2, 6_000);
            // Few checkpoints are kept, so that collection has work.
            lab.settings = "epoch: { max_records: 100 }\n".to_owned();
            let recovery = edge.starts_with("recovery::");
            if recovery {
                // Something to recover: epochs after a checkpoint, and no local state.
                let child = lab
                    .command(&binary, &["run", "-q"])
                    .env("FAILPOINTS", "commit::after_journal=25*off->return")
                    .spawn()
                    .expect("segno starts");
                finish(child);
                let _ = std::fs::remove_dir_all(lab.path("work"));
            }
            let fail = format!("{edge}={}return", if passes == 0 { String::new() } else { format!("{passes}*off->") });
            let child = lab.command(&binary, &["run", "-q"]).env("FAILPOINTS", &fail).spawn().expect("segno starts");
            let killed = !finish(child).status.success();
            // Edges that are passed once in a start are not passed a third time.
            let once = recovery || edge == "checkpoint::amid_collection";
            assert!(killed || passes > 0 && once || edge == "checkpoint::amid_collection", "{fail} did not kill the process");
            // A second kill amid the recovery of the first.
            let again = lab
                .command(&binary, &["run", "-q"])
                .env("FAILPOINTS", "recovery::before_live=return")
                .spawn()
                .expect("segno starts");
            assert!(!finish(again).status.success(), "{fail}: the second kill missed");
            lab.complete();
            assert!(lab.output() == output, "{fail}: the output differs");
            lab.check();
        }
    }
    println!("## killed at {} edges, and again in each recovery", edges.len());
}

#[test]
fn a_released_binary_has_no_failpoints() {
    let has = |path: &std::path::Path| {
        let bytes = std::fs::read(path).expect("a binary");
        bytes.windows(21).any(|window| window == b"commit::after_journal")
    };
    assert!(has(&variable("SEGNO_TESTING_BIN")));
    assert!(!has(&variable("SEGNO_BIN")));
}
