//! A storm of rebalances: before one has settled, the next member joins, leaves, sleeps or is killed, and records flow.

use crate::workers::{PARTITIONS, SESSION, Team, Worker, all_live};
use rand::RngExt;
use rand::seq::SliceRandom;
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
enum Blow {
    Join,
    Leave,
    /// Past its session, so that the group gives its shards away; then it is woken.
    Sleep,
    Kill,
}

/// In each of them every blow comes once.
const ROUNDS: usize = 5;
/// Between two blows, ms: shorter than a rebalance with its recovery.
const PAUSE_MS_MAX: u64 = 700;
const RECORDS_PER_BLOW: usize = 250;
const REBALANCES_MIN: usize = 10;

#[test]
fn a_storm_of_rebalances_while_records_flow_loses_and_doubles_nothing() {
    let seed = rand::random::<u64>();
    println!("## storm: seed {seed}");
    let mut team = Team::new(seed);
    team.write(600);
    let mut workers: Vec<Worker> = (0..3).map(|_| team.start()).collect();
    let mut asleep: Vec<(Worker, Instant)> = Vec::new();
    let mut said = String::new();
    let mut rebalances = 0;
    team.await_rows(&mut workers);
    for _ in 0..ROUNDS {
        let mut blows = [Blow::Join, Blow::Leave, Blow::Sleep, Blow::Kill];
        blows.shuffle(&mut team.random);
        for blow in blows {
            team.write(RECORDS_PER_BLOW);
            // Somebody is always there who may work.
            while workers.len() < 2 {
                workers.push(team.start());
                rebalances += 1;
            }
            let chosen = team.random.random_range(0..workers.len());
            match blow {
                Blow::Join => workers.push(team.start()),
                Blow::Leave => {
                    let worker = workers.swap_remove(chosen);
                    said.push_str(&worker.said());
                    assert_eq!(worker.leave(), Some(0), "seed {seed}");
                }
                Blow::Sleep => {
                    workers[chosen].signal(Signal::STOP);
                    asleep.push((workers.swap_remove(chosen), Instant::now()));
                }
                Blow::Kill => {
                    let mut worker = workers.swap_remove(chosen);
                    worker.kill();
                    said.push_str(&worker.said());
                }
            }
            rebalances += 1;
            let pause = team.random.random_range(0..PAUSE_MS_MAX);
            std::thread::sleep(Duration::from_millis(pause));
            while let Some(at) = asleep.iter().position(|(_, since)| since.elapsed() > SESSION * 2) {
                let (worker, _) = asleep.swap_remove(at);
                worker.signal(Signal::CONT);
                workers.push(worker);
                rebalances += 1;
            }
            all_live(&mut workers);
        }
    }
    for (worker, since) in asleep {
        // The group has missed it by then.
        std::thread::sleep((SESSION * 2).saturating_sub(since.elapsed()));
        worker.signal(Signal::CONT);
        workers.push(worker);
        rebalances += 1;
    }
    team.write(500);
    team.await_rows(&mut workers);
    for worker in workers {
        said.push_str(&worker.said());
        assert_eq!(worker.leave(), Some(0), "seed {seed}");
    }
    team.check(&format!("seed {seed}"));
    team.replay(&format!("seed {seed}"));
    let taken = said.matches("the shard is live").count();
    let lost = said.matches("what=Lost").count();
    println!("## storm: {rebalances} rebalances, {} records, {PARTITIONS} shards taken {taken} times, lost in sleep {lost} times", team.written);
    assert!(rebalances >= REBALANCES_MIN && taken > PARTITIONS as usize + REBALANCES_MIN && lost > 0, "no storm: {taken}, {lost}");
}
