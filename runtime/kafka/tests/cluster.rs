//! Three brokers, of which one is killed again and again, and one pipeline that goes through all of it.

use crate::lab::*;
use crate::servers::Brokers;
use crate::whole::*;
use rand::RngExt;
use std::time::Instant;

/// Brokers killed in one run of the test command.
const KILLS: usize = 10;

/// Records that are written before a broker is killed, so that epochs are committed while it is.
const RECORDS: usize = 3_000;

const BROKERS: i32 = 3;

/// Leader of a partition, and how many replicas are in sync.
fn leader(topic: &str, partition: i32) -> (i32, usize) {
    let (leader, in_sync) = partitions(topic).swap_remove(partition as usize);
    (leader, in_sync.len())
}

/// The broker that coordinates the transactions of an id: where its partition of the coordinators' log leads.
fn coordinator(id: &str) -> i32 {
    const LOG: &str = "__transaction_state";
    const PARTITIONS: i32 = 4;
    // Java's hash of a text.
    let hash = id.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    leader(LOG, hash.saturating_abs() % PARTITIONS).0
}

/// Kills brokers under a running pipeline; gives how many led the output, and how many coordinated its transactions.
fn kills(brokers: &Brokers, wanted: usize) -> (usize, usize) {
    let mut pipeline = Pipeline { until: "", ..Pipeline::new(rand::random()) };
    let id = format!("segno-default-{}-single-out", pipeline.output);
    let mut child = pipeline.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts");
    let (mut leaders, mut coordinators) = (0, 0);
    for round in 0..wanted {
        let before = pipeline.entries();
        pipeline.add(&format!("round-{round}"), round as i32 % PARTITIONS, RECORDS);
        // Epochs are under way.
        pipeline.wait_for_entries(before + 2, &mut child);
        let (leads, coordinates) = (leader(&pipeline.output, 0).0, coordinator(&id));
        let victim = [leads, coordinates, rand::rng().random_range(1..=BROKERS)][round % 3];
        leaders += usize::from(victim == leads);
        coordinators += usize::from(victim == coordinates);
        brokers.kill(victim);
        brokers.start_again(victim);
    }
    pipeline.end(child, 6 * PATIENCE);
    pipeline.check("brokers killed");
    pipeline.replay("brokers killed");
    (leaders, coordinators)
}

/// With fewer replicas in sync than the topic wants, the pipeline waits; then it goes on.
fn too_few_replicas(brokers: &Brokers) {
    let short = ", transaction_timeout: 5s".to_owned();
    let output = Pipeline::with_output(53, &[("min.insync.replicas", "3")]);
    let mut pipeline = Pipeline { until: "", sink_settings: short, ..output };
    let mut child = pipeline.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts");
    pipeline.wait_for_entries(4, &mut child);
    let victim = leader(&pipeline.output, 1).0;
    brokers.kill(victim);
    let started = Instant::now();
    while leader(&pipeline.output, 1).1 == BROKERS as usize {
        assert!(started.elapsed() < PATIENCE, "the broker is still in sync");
    }
    pipeline.add("without", 1, RECORDS);
    let waits = || pipeline.status("SEGNO_BIN")["health"] == "paused";
    while !waits() {
        assert!(started.elapsed() < 3 * PATIENCE, "the pipeline does not wait: {}", pipeline.status("SEGNO_BIN"));
        assert!(child.try_wait().expect("a child").is_none(), "the run ended: {}", said(&finish(child)));
    }
    assert!(read(&pipeline.output).len() < pipeline.rows(), "the rows were taken by too few replicas");
    brokers.start_again(victim);
    pipeline.end(child, 3 * PATIENCE);
    pipeline.check("too few replicas");
    pipeline.replay("too few replicas");
}

#[test]
fn killed_leaders_and_coordinators_and_too_few_replicas_lose_and_double_nothing() {
    let brokers = Brokers::start(BROKERS as usize);
    use_brokers(brokers.known().kafka.bootstrap);
    let started = Instant::now();
    let (leaders, coordinators) = kills(&brokers, KILLS);
    println!(
        "## {KILLS} brokers of three killed in one run, {leaders} led the output, {coordinators} coordinated its transactions"
    );
    assert!(leaders > 0 && coordinators > 0);
    too_few_replicas(&brokers);
    println!("## and one killed that the output's topic could not do without; {:.0} s", started.elapsed().as_secs_f64());
}

#[test]
#[ignore = "runs as long as SEGNO_TORTURE_MINUTES says: make torture MINUTES=60"]
fn torture_of_brokers() {
    let brokers = Brokers::start(BROKERS as usize);
    use_brokers(brokers.known().kafka.bootstrap);
    let mut done = 0;
    torture(|| {
        kills(&brokers, KILLS);
        done += KILLS;
        println!("{done} brokers of three killed");
    });
}
