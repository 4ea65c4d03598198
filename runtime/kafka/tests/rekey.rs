//! Another key than that of the input: two pipelines and a topic between them (examples/rekey), killed on both sides.

use crate::lab::*;
use crate::whole::variable;
use crate::workers::{Worker, all_live};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_core::partitioner::partition_of;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

const RECORDS: usize = 3_000;
const CUSTOMERS: usize = 80;
const SHOPS: usize = 30;
const KILLS: usize = 6;

struct Example {
    folder: tempfile::TempDir,
    orders: String,
    by_shop: String,
    totals: String,
    started: usize,
}

impl Example {
    /// Starts a process of one of the two pipelines.
    fn start(&mut self, file: &str) -> Worker {
        self.started += 1;
        let log = self.folder.path().join(format!("log-{}", self.started));
        let path = std::path::absolute("../../examples/rekey").expect("a folder").join(file);
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(["run", "-v", "-q"]).arg(path).env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.env("KAFKA_BROKERS", brokers()).env("TENANT", &self.by_shop).env("SESSION_TIMEOUT", "1500ms");
        command.env("ORDERS", &self.orders).env("ORDERS_BY_SHOP", &self.by_shop).env("SHOP_TOTALS", &self.totals);
        command.env("WORK_DIR", self.folder.path().join(format!("work-{}", self.started)));
        command.env("STORE", format!("file://{}", self.folder.path().join("store").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
        Worker::new(command.spawn().expect("segno starts"), log)
    }
}

#[test]
fn two_pipelines_and_a_topic_between_them_change_the_key_exactly_once() {
    let seed = rand::random::<u64>();
    println!("## another key: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut example = Example {
        folder: tempfile::tempdir().expect("a folder"),
        orders: topic("orders", 3, &[]),
        by_shop: topic("orders-by-shop", 5, &[]),
        totals: topic("shop-totals", 2, &[]),
        started: 0,
    };
    let mut prices: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut lines = vec![Vec::new(); 3];
    for id in 0..RECORDS {
        let (customer, shop) = (format!("c{}", random.random_range(0..CUSTOMERS)), format!("s{}", random.random_range(0..SHOPS)));
        let price = random.random_range(1..500i64);
        let place = partition_of(customer.as_bytes(), 3) as usize;
        lines[place].push((customer, format!("{{\"id\":{id},\"shop\":\"{shop}\",\"price\":{price}}}")));
        prices.entry(shop).or_default().push(price);
    }
    let orders = example.orders.clone();
    let write = |part: usize| {
        for (partition, lines) in lines.iter().enumerate() {
            let part = lines.chunks(lines.len().div_ceil(KILLS + 1)).nth(part).unwrap_or_default();
            let records: Vec<_> = part.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))).collect();
            produce(&orders, partition as i32, &records);
        }
    };
    let files = ["spread.yaml", "spread.yaml", "count.yaml", "count.yaml"];
    let mut workers: Vec<Worker> = files.iter().map(|file| example.start(file)).collect();
    for part in 0..KILLS {
        write(part);
        std::thread::sleep(Duration::from_millis(random.random_range(0..2_000)));
        let killed = random.random_range(0..files.len());
        workers[killed].kill();
        workers[killed] = example.start(files[killed]);
    }
    write(KILLS);
    await_records(&example.totals, RECORDS, 2 * PATIENCE, || all_live(&mut workers));
    for worker in workers {
        assert_eq!(worker.leave(), Some(0));
    }
    // Customers of a shop interleave, so its rows are compared as running totals of some order.
    let mut found: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for record in read(&example.totals) {
        let row = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
        found.entry(record.key.expect("a key")).or_default().push(row);
    }
    let mut ids: Vec<u64> = found.values().flatten().filter_map(|row| row["id"].as_u64()).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..RECORDS as u64), "seed {seed}: an order is missing or doubled");
    for (shop, mut prices) in prices {
        let rows = &found[&shop];
        let mut steps = Vec::new();
        for (number, row) in (1..).zip(rows) {
            assert_eq!(row["bids"].as_u64(), Some(number), "seed {seed}: {shop}");
            let before = steps.iter().sum::<i64>();
            steps.push(row["total_price"].as_i64().expect("a total") - before);
        }
        steps.sort_unstable();
        prices.sort_unstable();
        assert_eq!(steps, prices, "seed {seed}: {shop}");
    }
    println!("## another key: {KILLS} kills of 4 workers of two pipelines, {RECORDS} orders");
}
