//! A process that is stopped, is overtaken from elsewhere, and goes on where it stood: it writes nothing more.

use crate::lab::PATIENCE;
use crate::whole::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::process::Child;
use std::time::Duration;

/// Zombies in the test command.
const ZOMBIES: usize = 20;

/// Records that each process finds; an epoch takes 250 of them.
const RECORDS: usize = 1_500;

/// Each pass of this edge takes so long, so that a process whose entry was just seen is within it.
const EDGES: [&str; 2] = ["commit::after_journal=sleep(60)", "commit::amid_publish=sleep(60)"];

/// Starts a process with a work folder of its own, as on another machine.
fn start(pipeline: &mut Pipeline, number: usize, edge: Option<&str>) -> Child {
    pipeline.work_dir = format!("work-{number}");
    let mut command = pipeline.command("SEGNO_TESTING_BIN", &["run", "-q"]);
    if let Some(edge) = edge {
        command.env("FAILPOINTS", edge);
    }
    command.spawn().expect("segno starts")
}

fn zombies(wanted: usize) -> usize {
    let seed = rand::random::<u64>();
    println!("## zombies: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut pipeline = Pipeline { until: "", ..Pipeline::new(seed) };
    // Every other one is stopped at an edge of its commit, the others anywhere.
    let edge = |number: usize| (number % 2 == 0).then(|| EDGES[number / 2 % EDGES.len()]);
    let mut owner = start(&mut pipeline, 0, edge(0));
    let mut in_commit = 0;
    for number in 1..=wanted {
        let before = pipeline.entries();
        pipeline.add(&format!("before-{number}"), 0, RECORDS);
        pipeline.wait_for_entries(before + random.random_range(2..5), &mut owner);
        match edge(number - 1) {
            Some(_) => in_commit += 1,
            None => std::thread::sleep(Duration::from_micros(random.random_range(0..50_000))),
        }
        signal(&owner, Signal::STOP);
        let at_stop = pipeline.entries();
        let mut next = start(&mut pipeline, number, edge(number));
        pipeline.add(&format!("after-{number}"), 1, RECORDS);
        // Its fence, and epochs.
        pipeline.wait_for_entries(at_stop + 3, &mut next);
        signal(&owner, Signal::CONT);
        let output = finish(owner);
        assert!(!output.status.success() && said(&output).contains("J001"), "seed {seed}, zombie {number}: {}", said(&output));
        owner = next;
    }
    pipeline.end(owner, 3 * PATIENCE);
    pipeline.check(&format!("seed {seed}"));
    pipeline.replay(&format!("seed {seed}"));
    println!("## {wanted} zombies wrote nothing more, {in_commit} of them were stopped in a commit");
    wanted
}

#[test]
fn a_process_that_was_overtaken_while_it_was_stopped_writes_nothing_more() {
    zombies(ZOMBIES);
}

#[test]
#[ignore = "runs as long as SEGNO_TORTURE_MINUTES says: make torture MINUTES=60"]
fn torture_of_zombies() {
    let mut done = 0;
    torture(|| {
        done += zombies(ZOMBIES);
        println!("{done} zombies wrote nothing more");
    });
}
