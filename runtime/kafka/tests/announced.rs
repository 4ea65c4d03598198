//! Event time behind a repartition step: writers announce how far they are, so windows close there as they would in one shard.

use crate::lab::*;
use crate::rekey::Example;
use crate::workers::all_live;
use rand::RngExt;
use rustix::process::Signal;
use segno_core::partitioner::partition_of;
use segno_core::protocol::time::time_text;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PARTITIONS: u32 = 3;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// 2026-01-01T00:00:00Z.
const BASE: i64 = 1_767_225_600 * SECOND;
/// How far records of a partition are out of order, as the source says.
const DELAY: i64 = 1_800 * SECOND;
const AIRPORTS: usize = 12;
const KILLS: usize = 6;

/// Flights, their sum of delays, the longest.
type Delays = (u64, i64, i64);

/// Flights by destination, whose hours are counted by origin behind a repartition step.
struct Flights {
    example: Example,
    input: String,
    hours: String,
    late: String,
    /// By origin and by destination, and the hour.
    origins: BTreeMap<(String, String), Delays>,
    destinations: BTreeMap<(String, String), Delays>,
    /// Time of the newest flight of all.
    now: i64,
}

/// Counts by the key of the step in front of it.
const HOURS: &str = "  - id: hours\n    plugin: \"${SEGNO_COMPONENTS}/windowed_delays.wasm\"\n    key: KEY\n";

impl Flights {
    fn new(seed: u64) -> Flights {
        Flights {
            example: Example::new(seed),
            input: topic("flights", PARTITIONS as i32, &[]),
            hours: topic("hours", 2, &[]),
            late: topic("late", 1, &[]),
            origins: BTreeMap::new(),
            destinations: BTreeMap::new(),
            now: BASE,
        }
    }

    /// `settings` are of the source's block, `until` goes into `kafka:`.
    fn write_file(&self, steps: &str, (until, settings): (&str, &str)) {
        let Flights { input, hours, late, .. } = self;
        let text = format!(
            "version: 1
name: hourly
tenant: \"${{TENANT}}\"
sharding: by_partition
worker: {{ session_timeout: \"${{SESSION_TIMEOUT}}\" }}
source:
  kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{input}]{until} }}
  format: json
  time: at
  watermark_delay: 30m{settings}
  columns: {{ at: timestamp, origin: utf8, destination: utf8, delay: i64 }}
steps:
{steps}sinks:
  - {{ name: hours, from: hours, kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {hours} }} }}
  - {{ name: late, from: hours.late, kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {late} }} }}
work_dir: \"${{WORK_DIR}}\"
epoch: {{ max_delay: 100ms, max_timers: 20 }}
checkpoint: {{ store: \"${{STORE}}\", ephemeral: true }}
"
        );
        std::fs::write(self.example.file(), text).expect("the pipeline file");
    }

    /// More flights, some minutes apart, out of order by less than the delay; only into partitions below `partitions`.
    fn write(&mut self, flights: usize, partitions: u32) {
        let mut lines = vec![Vec::new(); PARTITIONS as usize];
        let random = &mut self.example.random;
        for _ in 0..flights {
            let destination = loop {
                let destination = format!("D{}", random.random_range(0..AIRPORTS));
                if partition_of(destination.as_bytes(), PARTITIONS) < partitions {
                    break destination;
                }
            };
            let origin = format!("O{}", random.random_range(0..AIRPORTS));
            self.now += random.random_range(0..240) * SECOND;
            let at = self.now - random.random_range(0..DELAY / SECOND) * SECOND;
            let delay = random.random_range(-20..300i64);
            let hour = time_text(at.div_euclid(HOUR) * HOUR);
            for (all, key) in [(&mut self.origins, &origin), (&mut self.destinations, &destination)] {
                let (count, sum, max) = all.entry((key.clone(), hour.clone())).or_insert((0, 0, i64::MIN));
                (*count, *sum, *max) = (*count + 1, *sum + delay, delay.max(*max));
            }
            let value = format!("{{\"at\":\"{}\",\"origin\":\"{origin}\",\"destination\":\"{destination}\",\"delay\":{delay}}}", time_text(at));
            lines[partition_of(destination.as_bytes(), PARTITIONS) as usize].push((destination, value));
        }
        for (partition, lines) in lines.iter().enumerate() {
            let records: Vec<_> = lines.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))).collect();
            produce(&self.input, partition as i32, &records);
        }
    }

    /// Each hour was given once, and no flight came late.
    fn check(&self, key: &str, expected: &BTreeMap<(String, String), Delays>, what: &str) {
        let mut found = BTreeMap::new();
        for record in read(&self.hours) {
            let row: serde_json::Value = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
            let text = |name: &str| row[name].as_str().expect("text").to_owned();
            let flights = row["flights"].as_u64().expect("a number");
            let sum = (row["mean_delay"].as_f64().expect("a number") * flights as f64).round() as i64;
            let before = found.insert((text(key), text("window_start")), (flights, sum, row["max_delay"].as_i64().expect("a number")));
            assert_eq!((before, &row["update"]), (None, &serde_json::Value::Bool(false)), "{what}: {row}");
        }
        assert_eq!(&found, expected, "{what}");
        assert_eq!(read(&self.late).len(), 0, "{what}");
    }

    fn verify(&self, shards: usize, what: &str) {
        let (code, said) = self.example.say("none", &["replay", "FILE", "--verify", "-q"]);
        assert_eq!((code, said.matches("identical").count()), (Some(0), shards), "{what}: {said}");
    }

    /// Epochs in the journals of all stages.
    fn epochs(&self) -> usize {
        let store = self.example.folder.path().join("store").join(&self.example.tenant);
        let folders = |path: std::path::PathBuf| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        let entries = folders(store).flat_map(folders).flat_map(|shard| folders(shard.join("journal")));
        entries.filter(|entry| String::from_utf8_lossy(&std::fs::read(entry).expect("an entry")).contains("\"kind\":\"epoch\"")).count()
    }
}

fn by_origin() -> String {
    format!("  - {{ id: by-origin, repartition: {{ key: origin, partitions: 4 }} }}\n{}", HOURS.replace("KEY", "origin"))
}

const UNTIL: (&str, &str) = (", until: latest", "");

#[test]
fn windows_behind_a_repartition_step_are_those_of_one_shard_under_kills_of_two_workers() {
    let seed = rand::random::<u64>();
    println!("## windows behind a repartition: seed {seed}");
    let what = format!("seed {seed}");
    let mut flights = Flights::new(seed);
    flights.write_file(&by_origin(), ("", ""));
    flights.write(400, PARTITIONS);
    let mut workers = vec![flights.example.start(), flights.example.start()];
    for _ in 0..KILLS {
        let pause = flights.example.random.random_range(0..2_500);
        std::thread::sleep(Duration::from_millis(pause));
        let killed = flights.example.random.random_range(0..workers.len());
        workers[killed].kill();
        workers[killed] = flights.example.start();
        flights.write(200, PARTITIONS);
    }
    // Hours close while the workers run: all but those near the end of some partition.
    let closed = |flights: &Flights| {
        let end = time_text(flights.now - 4 * DELAY - 2 * HOUR);
        flights.origins.keys().filter(|(_, hour)| *hour < end).count()
    };
    await_records(&flights.hours, closed(&flights), 2 * PATIENCE, || all_live(&mut workers));
    for worker in workers {
        assert_eq!(worker.leave(), Some(0), "{what}");
    }
    flights.write_file(&by_origin(), UNTIL);
    let (code, said) = flights.example.say("last", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{what}: {said}");
    flights.check("origin", &flights.origins, &what);
    flights.verify(PARTITIONS as usize + 4, &what);
    println!("## windows behind a repartition: {KILLS} kills of two workers, {} windows, replay identical", flights.origins.len());
}

#[test]
fn a_partition_without_records_holds_no_window_once_it_has_ended_and_a_second_run_finds_nothing_to_do() {
    let mut flights = Flights::new(71);
    flights.write_file(&by_origin(), UNTIL);
    flights.write(500, PARTITIONS - 1);
    for round in 0..2 {
        let (code, said) = flights.example.say("work", &["run", "FILE", "-q"]);
        assert_eq!(code, Some(0), "{said}");
        flights.check("origin", &flights.origins, &format!("round {round}"));
    }
    let epochs = flights.epochs();
    let (code, said) = flights.example.say("work", &["run", "FILE", "-q"]);
    assert_eq!((code, flights.epochs()), (Some(0), epochs), "{said}");
    flights.verify(PARTITIONS as usize + 4, "two runs");
}

#[test]
fn an_idle_partition_holds_no_window_behind_a_repartition_step() {
    let mut flights = Flights::new(72);
    flights.write_file(&by_origin(), ("", "\n  idle_timeout: 3s"));
    // The third partition has nothing, and the second ends early: time goes on with the first.
    flights.write(200, PARTITIONS - 1);
    flights.write(200, 1);
    let mut workers = vec![flights.example.start()];
    let end = time_text(flights.now - DELAY - 2 * HOUR);
    let closed = flights.origins.keys().filter(|(_, hour)| *hour < end).count();
    assert!(closed > 50, "{closed} hours");
    await_records(&flights.hours, closed, 2 * PATIENCE, || all_live(&mut workers));
    assert_eq!(workers.remove(0).leave(), Some(0));
    flights.verify(PARTITIONS as usize + 4, "idle");
}

#[test]
fn a_stage_between_two_repartition_steps_passes_on_how_far_time_is() {
    let mut flights = Flights::new(73);
    let steps = format!(
        "  - {{ id: by-origin, repartition: {{ key: origin, partitions: 4 }} }}\n  - {{ id: by-destination, repartition: {{ key: destination, partitions: 2 }} }}\n{}",
        HOURS.replace("KEY", "destination")
    );
    flights.write_file(&steps, UNTIL);
    flights.write(500, PARTITIONS);
    let (code, said) = flights.example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{said}");
    flights.check("destination", &flights.destinations, "two steps");
    flights.verify(PARTITIONS as usize + 4 + 2, "two steps");
}

/// A shard that another process still reads in front holds the end of time behind, however long that process sleeps.
#[test]
fn a_process_that_ends_before_another_ends_no_window_of_it() {
    let mut flights = Flights::new(75);
    flights.write_file(&by_origin(), UNTIL);
    // No member is given up while it sleeps, and there is enough to read for two.
    let text = std::fs::read_to_string(flights.example.file()).expect("the pipeline file");
    let text = text.replace("${SESSION_TIMEOUT}", "30s").replace("max_timers: 20", "max_timers: 20, max_records: 10");
    std::fs::write(flights.example.file(), text).expect("the pipeline file");
    flights.write(2_500, PARTITIONS);
    let mut first = flights.example.start();
    let mut second = flights.example.start();
    let started = Instant::now();
    while !(first.said().contains("recovering") && second.said().contains("recovering")) {
        assert!(started.elapsed() < PATIENCE, "{}{}", first.said(), second.said());
        assert!(first.is_alive() && second.is_alive(), "one had everything: {}{}", first.said(), second.said());
        std::thread::sleep(Duration::from_millis(1));
    }
    second.signal(Signal::STOP);
    assert_eq!(first.end(), Some(0));
    let early = read(&flights.hours).len();
    second.signal(Signal::CONT);
    assert_eq!(second.end(), Some(0));
    flights.check("origin", &flights.origins, "a sleeper");
    // Fewer, unless the machine was so slow that the sleeper was given up and its shard was read here.
    println!("## a sleeper in front of a repartition: {early} of {} windows before it woke", flights.origins.len());
    flights.verify(PARTITIONS as usize + 4, "a sleeper");
}

/// Two runs of a counter behind a repartition step whose state ends after two hours: counts of the shop "ours".
fn counted(seed: u64, rounds: &[&dyn Fn(&mut dyn FnMut(i32, i64, &str))]) -> Vec<u64> {
    let example = Example::new(seed);
    let (input, output) = (topic("orders", PARTITIONS as i32, &[]), topic("totals", 1, &[]));
    let text = format!(
        "version: 1
name: counted
tenant: \"${{TENANT}}\"
sharding: by_partition
source:
  kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{input}], until: latest }}
  format: json
  time: at
  columns: {{ at: timestamp, shop: utf8, price: i64 }}
steps:
  - {{ id: by-shop, repartition: {{ key: shop, partitions: 2 }} }}
  - {{ id: shops, plugin: \"${{SEGNO_COMPONENTS}}/keyed_count.wasm\", key: shop, ttl: 2h }}
sinks:
  - {{ kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {output}, key: shop }} }}
work_dir: \"${{WORK_DIR}}\"
epoch: {{ max_records: 10 }}
checkpoint: {{ store: \"${{STORE}}\", ephemeral: true }}
"
    );
    std::fs::write(example.file(), text).expect("the pipeline file");
    for round in rounds {
        let mut lines = vec![Vec::new(); PARTITIONS as usize];
        round(&mut |partition, minute, shop| {
            let at = time_text(BASE + minute * 60 * SECOND);
            lines[partition as usize].push(format!("{{\"at\":\"{at}\",\"shop\":\"{shop}\",\"price\":1}}"));
        });
        for (partition, lines) in lines.into_iter().enumerate() {
            values(&input, partition as i32, lines.into_iter());
        }
        let (code, said) = example.say("work", &["run", "FILE", "-q"]);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = example.say("none", &["replay", "FILE", "--verify", "-q"]);
    assert_eq!((code, said.matches("identical").count()), (Some(0), PARTITIONS as usize + 2), "{said}");
    let ours = read(&output).into_iter().filter(|record| record.key.as_deref() == Some("ours"));
    let row = |record: Read| serde_json::from_str::<serde_json::Value>(&record.value.expect("a value")).expect("JSON");
    ours.map(|record| row(record)["bids"].as_u64().expect("a number")).collect()
}

#[test]
fn state_behind_a_repartition_step_ends_with_its_ttl() {
    // The shop is heard of at 0:00, 1:00, 2:59, and next at 5:30; others move time in every partition.
    let round = |minute: i64, ours: usize| {
        move |write: &mut dyn FnMut(i32, i64, &str)| {
            (0..ours).for_each(|_| write(1, minute, "ours"));
            (0..PARTITIONS as i32).for_each(|partition| write(partition, minute, "other"));
        }
    };
    let rounds = [round(0, 2), round(60, 1), round(179, 1), round(300, 0), round(330, 1)];
    assert_eq!(counted(74, &rounds.each_ref().map(|round| round as &dyn Fn(&mut dyn FnMut(i32, i64, &str)))), [1, 2, 3, 4, 1]);
}

#[test]
fn a_shard_that_ended_yesterday_is_waited_for_today() {
    // Shard 0 is far ahead at once, while shard 1 has a lot to read before it comes to the shop.
    let yesterday = |write: &mut dyn FnMut(i32, i64, &str)| (0..PARTITIONS as i32).for_each(|partition| write(partition, 0, "ours"));
    let today = |write: &mut dyn FnMut(i32, i64, &str)| {
        write(0, 3_000, "other");
        write(2, 3_000, "other");
        (0..400).for_each(|_| write(1, 1, "other"));
        write(1, 60, "ours");
    };
    assert_eq!(counted(76, &[&yesterday, &today]), [1, 2, 3, 4]);
}
