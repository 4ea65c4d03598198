//! Another key than that of the input: a repartition step (examples/rekey), killed at any point, with several workers.

use crate::lab::*;
use crate::whole::variable;
use crate::workers::{Worker, all_live};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use segno_core::partitioner::partition_of;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const CUSTOMERS: usize = 80;
const SHOPS: usize = 30;
const KILLS: usize = 8;
const PARTITIONS: u32 = 3;
/// As the example says.
const SHOP_PARTITIONS: usize = 5;

/// The example, with topics of its own, and what it must give.
pub struct Example {
    pub folder: tempfile::TempDir,
    pub tenant: String,
    orders: String,
    customer_totals: String,
    shop_totals: String,
    started: usize,
    pub random: StdRng,
    written: usize,
    /// Ids, numbers of orders and sums of each customer, in order.
    customers: BTreeMap<String, Vec<(u64, u64, i64)>>,
    /// Id, customer and price of each order of a shop.
    shops: BTreeMap<String, Vec<(u64, String, i64)>>,
}

impl Example {
    pub fn new(seed: u64) -> Example {
        Example {
            folder: tempfile::tempdir().expect("a folder"),
            tenant: name("t"),
            orders: topic("orders", PARTITIONS as i32, &[]),
            customer_totals: topic("customer-totals", 2, &[]),
            shop_totals: topic("shop-totals", 2, &[]),
            started: 0,
            random: StdRng::seed_from_u64(seed),
            written: 0,
            customers: BTreeMap::new(),
            shops: BTreeMap::new(),
        }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    /// The topic of the step.
    fn between(&self) -> String {
        format!("segno-{}-orders-by-shop", self.tenant)
    }

    /// The example's file with other words for some of its own.
    fn write_file(&self, changes: &[(&str, &str)]) {
        let path = std::path::absolute("../../examples/rekey/pipeline.yaml").expect("a folder");
        let mut text = std::fs::read_to_string(path).expect("the example");
        for (old, new) in changes {
            assert!(text.contains(old), "the example has no {old}");
            text = text.replacen(old, new, 1);
        }
        std::fs::write(self.file(), text).expect("the pipeline file");
    }

    fn command(&self, work: &str, args: &[&str]) -> Command {
        let mut command = Command::new(variable("SEGNO_BIN"));
        for arg in args {
            match *arg {
                "FILE" => command.arg(self.file()),
                arg => command.arg(arg),
            };
        }
        command.env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.env("KAFKA_BROKERS", brokers()).env("TENANT", &self.tenant).env("SESSION_TIMEOUT", "1500ms");
        command.env("ORDERS", &self.orders).env("CUSTOMER_TOTALS", &self.customer_totals).env("SHOP_TOTALS", &self.shop_totals);
        command.env("WORK_DIR", self.folder.path().join(work));
        command.env("STORE", format!("file://{}", self.folder.path().join("store").display()));
        command.stdin(Stdio::null());
        command
    }

    /// Starts a process with a work folder of its own.
    pub fn start(&mut self) -> Worker {
        self.started += 1;
        let log = self.folder.path().join(format!("log-{}", self.started));
        let mut command = self.command(&format!("work-{}", self.started), &["run", "FILE", "-v", "-q"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
        Worker::new(command.spawn().expect("segno starts"), log)
    }

    /// Runs a command to its end: exit code, and everything that it said.
    pub fn say(&self, work: &str, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(work, args).output().expect("segno starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }

    /// More orders, each in the partition of its customer.
    fn write(&mut self, orders: usize) {
        let mut lines = vec![Vec::new(); PARTITIONS as usize];
        for _ in 0..orders {
            let id = self.written as u64;
            let customer = format!("c{}", self.random.random_range(0..CUSTOMERS));
            let shop = format!("s{}", self.random.random_range(0..SHOPS));
            let price = self.random.random_range(1..500i64);
            let of_customer = self.customers.entry(customer.clone()).or_default();
            let (_, bids, total) = of_customer.last().copied().unwrap_or_default();
            of_customer.push((id, bids + 1, total + price));
            self.shops.entry(shop.clone()).or_default().push((id, customer.clone(), price));
            lines[partition_of(customer.as_bytes(), PARTITIONS) as usize]
                .push((customer, format!("{{\"id\":{id},\"shop\":\"{shop}\",\"price\":{price}}}")));
            self.written += 1;
        }
        for (partition, lines) in lines.iter().enumerate() {
            let records: Vec<_> = lines.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))).collect();
            produce(&self.orders, partition as i32, &records);
        }
    }

    /// Compares both outputs with a direct computation.
    fn check(&self, what: &str) {
        let rows = |topic: &str| {
            let mut found: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
            for record in read(topic) {
                let row = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
                found.entry(record.key.expect("a key")).or_default().push(row);
            }
            found
        };
        let number = |row: &serde_json::Value, column: &str| row[column].as_u64().expect("a number");
        // The order of a customer's orders is that of the input.
        let counted = |row: &serde_json::Value| (number(row, "id"), number(row, "bids"), row["total_price"].as_i64().expect("a sum"));
        let customers: BTreeMap<String, Vec<_>> =
            rows(&self.customer_totals).iter().map(|(key, rows)| (key.clone(), rows.iter().map(counted).collect())).collect();
        assert_eq!(customers, self.customers, "{what}");
        // Customers of a shop interleave: its rows are running totals of some order.
        let found = rows(&self.shop_totals);
        assert_eq!(found.keys().collect::<Vec<_>>(), self.shops.keys().collect::<Vec<_>>(), "{what}");
        for (shop, orders) in &self.shops {
            let orders: BTreeMap<u64, (&str, i64)> = orders.iter().map(|(id, customer, price)| (*id, (customer.as_str(), *price))).collect();
            let mut total = 0;
            let mut ids = Vec::new();
            for (count, row) in (1..).zip(&found[shop]) {
                let (customer, price) = orders[&number(row, "id")];
                total += price;
                assert_eq!((number(row, "bids"), row["total_price"].as_i64()), (count, Some(total)), "{what}: {shop}");
                assert_eq!(row["kafka.key"].as_str().or(row["kafka"]["key"].as_str()), Some(customer), "{what}: {shop}: {row}");
                ids.push(number(row, "id"));
            }
            ids.sort_unstable();
            assert!(ids.iter().eq(orders.keys()), "{what}: {shop} lost or doubled an order");
        }
    }

    fn await_rows(&self, workers: &mut [Worker]) {
        await_records(&self.customer_totals, self.written, 2 * PATIENCE, || all_live(workers));
        await_records(&self.shop_totals, self.written, 2 * PATIENCE, || all_live(workers));
    }
}

#[test]
fn a_repartition_step_changes_the_key_exactly_once_under_kills_of_two_workers() {
    let seed = rand::random::<u64>();
    println!("## repartition: seed {seed}");
    let what = format!("seed {seed}");
    let mut example = Example::new(seed);
    example.write_file(&[]);
    example.write(500);
    let mut workers = vec![example.start(), example.start()];
    for _ in 0..KILLS {
        let pause = example.random.random_range(0..2_500);
        std::thread::sleep(Duration::from_millis(pause));
        let killed = example.random.random_range(0..workers.len());
        workers[killed].kill();
        workers[killed] = example.start();
        example.write(300);
    }
    example.await_rows(&mut workers);
    for worker in workers {
        assert_eq!(worker.leave(), Some(0), "{what}");
    }
    example.check(&what);
    let (code, said) = example.say("none", &["replay", "FILE", "--verify", "-q"]);
    assert_eq!(code, Some(0), "{what}: {said}");
    assert_eq!(said.matches("identical").count(), PARTITIONS as usize + SHOP_PARTITIONS, "{what}: {said}");
    let (code, said) = example.say("none", &["replay", "FILE", "--verify", "-q", "--stage", "by-shop"]);
    assert_eq!((code, said.matches("stage by-shop, shard").count()), (Some(0), SHOP_PARTITIONS), "{what}: {said}");
    println!("## repartition: {KILLS} kills of two workers, {} orders, replay of both stages identical", example.written);
}

const UNTIL: (&str, &str) = ("topics: [\"${ORDERS:-orders}\"] }", "topics: [\"${ORDERS:-orders}\"], until: latest }");

#[test]
fn stages_end_one_after_the_other_and_every_command_knows_them() {
    let mut example = Example::new(57);
    example.write_file(&[UNTIL]);
    let (code, said) = example.say("work", &["validate", "FILE"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stage by-shop: by shop in 5 shards, through topic segno-"), "{said}");
    assert!(said.contains("writes id: i64, shop: utf8, kafka.key: utf8, price: i64 from customers."), "only what is read flows: {said}");
    for round in 0..2 {
        example.write(700);
        let (code, said) = example.say("work", &["run", "FILE"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("orders finished") && said.contains("orders.by-shop finished"), "{said}");
        example.check(&format!("round {round}"));
    }
    // State of a step is found in its stage, and in the shard of its key.
    let (shop, orders) = example.shops.iter().next().expect("a shop");
    let (code, said) = example.say("work", &["state", "get", "FILE", "-q", "-o", "json", "shops", shop]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("\"bids\":{}", orders.len())), "{} orders: {said}", orders.len());
    for (args, shards) in [(vec!["checkpoint", "list", "FILE"], 8), (vec!["checkpoint", "verify", "FILE", "--stage", "by-shop"], 5), (vec!["checkpoint", "create", "FILE", "--stage", "source"], 3)] {
        let (code, said) = example.say("work", &[&args[..], &["-q", "-o", "json"][..]].concat());
        assert_eq!(code, Some(0), "{args:?}: {said}");
        let found: std::collections::BTreeSet<(String, u64)> = said
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|line| Some((line["stage"].as_str().unwrap_or("source").to_owned(), line["shard"].as_u64()?)))
            .collect();
        assert_eq!(found.len(), shards, "{args:?}: {said}");
    }
    let (code, said) = example.say("work", &["replay", "FILE", "--stage", "shops"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("U014") && said.contains("source, by-shop"), "{said}");
}

#[test]
fn a_step_goes_on_through_another_topic_when_the_old_one_was_read() {
    let mut example = Example::new(63);
    example.write_file(&[UNTIL]);
    example.write(300);
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{said}");
    let other = format!("partitions: 5, topic: {} }}", name("between"));
    example.write_file(&[UNTIL, ("partitions: 5 }", &other)]);
    example.write(300);
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(78), "another topic is a change: {said}");
    let (code, said) = example.say("work", &["run", "FILE", "-q", "--accept-change"]);
    assert_eq!(code, Some(0), "{said}");
    example.check("through another topic");
    let (code, said) = example.say("none", &["replay", "FILE", "--verify", "-q"]);
    assert_eq!((code, said.matches("identical").count()), (Some(0), PARTITIONS as usize + SHOP_PARTITIONS), "{said}");
}

#[test]
fn a_running_pipeline_shows_its_stages() {
    let mut example = Example::new(58);
    example.write_file(&[]);
    example.write(100);
    let mut workers = vec![example.start()];
    example.await_rows(&mut workers);
    let (code, said) = example.say("work-1", &["status", "FILE", "-q", "-o", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let of = |pipeline: &str| said.lines().filter(|line| line.contains(&format!("\"pipeline\":\"{pipeline}\""))).count();
    assert_eq!((of("orders"), of("orders.by-shop")), (PARTITIONS as usize, SHOP_PARTITIONS), "{said}");
    let (code, said) = example.say("work-1", &["top", "FILE", "--count", "1", "-q", "-o", "json", "--stage", "by-shop"]);
    assert_eq!((code, said.lines().count()), (Some(0), SHOP_PARTITIONS), "{said}");
    assert_eq!(workers.remove(0).leave(), Some(0));
}

#[test]
fn a_topic_that_is_not_the_steps_own_is_refused() {
    let mut example = Example::new(59);
    example.write_file(&[]);
    make(&example.between(), 4, &[]);
    for command in ["validate", "run"] {
        let (code, said) = example.say("work", &[command, "FILE", "-q"]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("K014") && said.contains("has 4 partitions") && said.contains("pipeline.yaml:18"), "{said}");
    }
    // Compaction would remove rows that were not read.
    let compacted = topic("between", SHOP_PARTITIONS as i32, &[("cleanup.policy", "compact")]);
    example.write_file(&[("partitions: 5 }", &format!("partitions: 5, topic: {compacted} }}"))]);
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("K014") && said.contains("cleanup.policy=compact"), "{said}");
    // Rows of somebody else are not guessed at: the stage stops, and with it the process.
    let foreign = topic("between", SHOP_PARTITIONS as i32, &[]);
    produce(&foreign, 2, &[(Some("s1"), Some("{\"id\":1,\"price\":3}"))]);
    example.write_file(&[UNTIL, ("partitions: 5 }", &format!("partitions: 5, topic: {foreign} }}"))]);
    example.write(50);
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("D015") && said.contains("another version of the pipeline"), "{said}");
}

#[test]
fn columns_keep_their_types_and_rows_without_a_key_meet() {
    let input = topic("typed", 2, &[]);
    let output = topic("typed-out", 1, &[]);
    let mut example = Example::new(60);
    (example.orders, example.shop_totals) = (input.clone(), output.clone());
    let text = format!(
        "version: 1
name: orders
tenant: \"${{TENANT}}\"
sharding: by_partition
source:
  kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{input}], until: latest }}
  format: json
  time: at
  columns: {{ a: bool, b: i32, c: u64, d: f64, e: \"utf8?\", f: \"decimal128(38,9)\", at: timestamp, g: date, h: \"binary?\", kafka.offset: u64, kafka.headers.none: \"utf8?\" }}
steps:
  - id: by-shop
    repartition: {{ key: e, partitions: 4 }}
sinks:
  - kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {output}, key: e }}
work_dir: \"${{WORK_DIR}}\"
checkpoint: {{ store: \"${{STORE}}\", ephemeral: true }}
"
    );
    std::fs::write(example.file(), text).expect("the pipeline file");
    let value = |e: &str, number: u64| {
        format!(
            "{{\"a\":true,\"b\":-2147483648,\"c\":{},\"d\":-0.0,\"e\":{e},\"f\":12345678901234567890123456789.123456789,\"at\":\"2026-01-31T23:59:59.123456Z\",\"g\":\"1969-12-31\",\"h\":null}}",
            u64::MAX - number
        )
    };
    let keys = ["null", "\"\"", "\"a\\u0000\\nü\"", "null"];
    for (number, key) in keys.iter().enumerate() {
        values(&input, number as i32 % 2, std::iter::once(value(key, number as u64)));
    }
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{said}");
    let mut found = read(&output);
    found.sort_by_key(|record| std::cmp::Reverse(record.value.as_ref().and_then(|value| {
        serde_json::from_str::<serde_json::Value>(value).ok()?["c"].as_u64()
    })));
    assert_eq!(found.len(), keys.len());
    for (number, record) in found.iter().enumerate() {
        let given = record.value.as_deref().expect("a value");
        for exact in [
            format!("\"c\":{}", u64::MAX - number as u64),
            "\"b\":-2147483648".to_owned(),
            "\"d\":-0".to_owned(),
            format!("\"e\":{}", keys[number]),
            "12345678901234567890123456789.123456789".to_owned(),
            "2026-01-31T23:59:59.123456Z".to_owned(),
            "\"g\":\"1969-12-31\"".to_owned(),
            "\"h\":null".to_owned(),
        ] {
            assert!(given.contains(&exact), "{exact} is not in {given}");
        }
        // Event time goes on, to the millisecond that Kafka has.
        assert_eq!(record.timestamp, Some(1_769_903_999_123), "{given}");
        assert!(record.headers["segno-origin"].starts_with("by-shop/"), "{:?}", record.headers);
    }
    // Text without a character and no text at all have the partition of the empty key; what is between has the origin.
    let between = read(&example.between());
    let empty = partition_of(b"", 4) as i32;
    assert_eq!(between.iter().filter(|record| record.partition == empty && record.key.as_deref().unwrap_or_default().is_empty()).count(), 3);
    assert!(between.iter().all(|record| record.headers["segno-origin"].starts_with("source/typed-")), "{between:?}");
}

#[test]
fn behind_a_repartition_step_a_record_keeps_the_processing_time_of_the_stage_in_front() {
    const RECORDS: u64 = 300;
    let input = topic("read", 2, &[]);
    let output = topic("read-out", 1, &[]);
    let mut example = Example::new(61);
    (example.orders, example.shop_totals) = (input.clone(), output.clone());
    let text = format!(
        "version: 1
name: orders
tenant: \"${{TENANT}}\"
sharding: by_partition
source:
  kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{input}], until: latest }}
  format: json
  time: segno.processing_time
  columns: {{ n: u64, shop: utf8 }}
steps:
  - id: by-shop
    repartition: {{ key: shop, partitions: 3 }}
sinks:
  - kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {output}, key: shop }}
epoch: {{ max_records: 7 }}
work_dir: \"${{WORK_DIR}}\"
checkpoint: {{ store: \"${{STORE}}\", ephemeral: true }}
"
    );
    std::fs::write(example.file(), text).expect("the pipeline file");
    for partition in 0..2 {
        let records = (0..RECORDS).filter(|n| n % 2 == partition);
        values(&input, partition as i32, records.map(|n| format!("{{\"n\":{n},\"shop\":\"s{}\"}}", n % 11)));
    }
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{said}");
    // When each offset was read, as the journals of the stage in front have it.
    let mut read_at: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    let store = example.folder.path().join("store").join(&example.tenant).join("orders");
    for partition in 0..2 {
        let entries = std::fs::read_dir(store.join(partition.to_string()).join("journal")).expect("a journal");
        let bytes = entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("an entry"));
        let entries = bytes.filter_map(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        for epoch in entries.map(|entry| entry["body"].clone()).filter(|body| body["kind"] == "epoch") {
            let offset = |end: &str| epoch[end]["partitions"][0]["offset"].as_u64().unwrap_or(0);
            read_at.extend((offset("from")..offset("to")).map(|offset| ((partition, offset), epoch["logical_time_ms"].as_i64().expect("a time"))));
        }
    }
    let found = read(&output);
    assert_eq!(found.len(), RECORDS as usize);
    for record in found {
        let row: serde_json::Value = serde_json::from_str(record.value.as_deref().expect("a value")).expect("JSON");
        let n = row["n"].as_u64().expect("a number");
        assert_eq!(record.timestamp, read_at.get(&(n % 2, n / 2)).copied(), "{row}");
    }
    let times: std::collections::BTreeSet<i64> = read_at.into_values().collect();
    assert!(times.len() > 5, "the stage in front read all of it within {} epochs", times.len());
    let (code, said) = example.say("none", &["replay", "FILE", "--verify", "-q"]);
    assert_eq!((code, said.matches("identical").count()), (Some(0), 5), "{said}");
}

/// The first offset of each partition of a topic.
fn first_offsets(topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = config().set("group.id", name("first")).create().expect("a client");
    let first = |partition| consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("offsets").0;
    (0..SHOP_PARTITIONS as i32).map(first).collect()
}

#[test]
fn the_topic_of_a_step_loses_what_no_checkpoint_needs_and_nothing_else() {
    let mut example = Example::new(62);
    let changes = [("partitions: 5 }", "partitions: 5, retention: 0s }"), ("ephemeral: true }", "ephemeral: true, replay_debt: 1ms, keep: 2 }")];
    example.write_file(&changes);
    let between = example.between();
    let mut worker = vec![example.start()];
    let started = std::time::Instant::now();
    // A kill now and then: what a recovery reads again must be there.
    let (mut rounds, mut firsts) = (0, vec![0]);
    while rounds < 6 || firsts.contains(&0) {
        assert!(started.elapsed() < 2 * PATIENCE, "not all is trimmed: {firsts:?}");
        example.write(200);
        if rounds % 3 == 1 {
            worker[0].kill();
            worker[0] = example.start();
        }
        example.await_rows(&mut worker);
        rounds += 1;
        firsts = first_offsets(&between);
    }
    assert_eq!(worker.remove(0).leave(), Some(0));
    example.check("trimmed");
    // Not further than the oldest checkpoint of each shard.
    let store = example.folder.path().join("store").join(&example.tenant).join("orders.by-shop");
    for (shard, first) in first_offsets(&between).into_iter().enumerate() {
        let manifests = std::fs::read_dir(store.join(shard.to_string()).join("manifest")).expect("manifests");
        let bytes = manifests.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a manifest"));
        let read = bytes.map(|text| serde_json::from_str::<serde_json::Value>(text.lines().next().expect("a line")).expect("JSON"));
        let oldest = read.map(|manifest| {
            let offset = manifest["position"]["partitions"][0]["offset"].as_i64().expect("an offset");
            (manifest["number"].as_u64().expect("a number"), offset)
        });
        let (number, offset) = oldest.min().expect("a checkpoint");
        assert!(first > 0 && first <= offset, "shard {shard}: {first}, {offset}");
        let (shard, number) = (shard.to_string(), number.to_string());
        let replay = ["replay", "FILE", "--verify", "-q", "--stage", "by-shop", "--shard", &shard, "--from", &number];
        let (code, said) = example.say("none", &replay);
        assert!(code == Some(0) && said.contains("identical"), "{said}");
    }
    println!("## repartition: trimmed to {:?} in {rounds} rounds", first_offsets(&between));
    // With times of events nobody can tell how long a row has been there: such a topic is its maker's.
    let theirs = topic("between", SHOP_PARTITIONS as i32, &[]);
    let mut example = Example::new(63);
    example.write_file(&[changes[0], changes[1], UNTIL, ("retention: 0s }", &format!("retention: 0s, topic: {theirs} }}"))]);
    for _ in 0..4 {
        example.write(100);
        let (code, said) = example.say("work", &["run", "FILE", "-q"]);
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(first_offsets(&theirs), [0; SHOP_PARTITIONS]);
}

#[test]
fn dead_letters_of_a_stage_are_listed_and_redriven_in_it_each_once() {
    const RECORDS: u64 = 200;
    let input = topic("flights", 2, &[]);
    let output = topic("flights-out", 1, &[]);
    let mut example = Example::new(64);
    (example.orders, example.shop_totals) = (input.clone(), output.clone());
    let text = |most: u32| {
        format!(
            "version: 1
name: orders
tenant: \"${{TENANT}}\"
sharding: by_partition
source:
  kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{input}], until: latest }}
  format: json
  columns: {{ id: u64, origin: utf8, destination: utf8, delay: i64, distance: i64 }}
  on_error: dlq
steps:
  - id: by-origin
    repartition: {{ key: origin, partitions: 3 }}
  - id: gate
    plugin: \"${{SEGNO_COMPONENTS}}/quality_gate.wasm\"
    config: {{ max_distance: {most} }}
    on_error: dlq
sinks:
  - kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {output}, key: origin }}
    columns: [id, origin]
dlq: {{ files: \"${{WORK_DIR}}/dead\" }}
work_dir: \"${{WORK_DIR}}\"
checkpoint: {{ store: \"${{STORE}}\", ephemeral: true }}
"
        )
    };
    for partition in 0..2 {
        let record = |id: u64| match id % 50 {
            7 => "{oops".to_owned(),
            _ => format!("{{\"id\":{id},\"delay\":1,\"distance\":{},\"origin\":\"A{:02}\",\"destination\":\"XXX\"}}", if id % 5 == 0 { 5_000 } else { 500 }, id % 11),
        };
        values(&input, partition as i32, (0..RECORDS).filter(|id| id % 2 == partition).map(record));
    }
    let far = (0..RECORDS).filter(|id| id % 5 == 0).count() as u64;
    let undecodable = (0..RECORDS).filter(|id| id % 50 == 7).count() as u64;
    std::fs::write(example.file(), text(1_000)).expect("the pipeline file");
    let (code, said) = example.say("work", &["run", "FILE", "-q"]);
    assert_eq!(code, Some(0), "{said}");
    let json = |example: &Example, args: &[&str]| {
        let (code, said) = example.say("work", &[args, &["FILE", "-q", "-o", "json"]].concat());
        assert_eq!(code, Some(0), "{args:?}: {said}");
        said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")).collect::<Vec<_>>()
    };
    let count = |groups: &[serde_json::Value]| groups.iter().map(|group| group["count"].as_u64().expect("a count")).sum::<u64>();
    let all = json(&example, &["dlq", "list"]);
    assert_eq!(count(&all), far + undecodable, "{all:?}");
    assert_eq!(count(&json(&example, &["dlq", "list", "--stage", "source"])), undecodable);
    let of_gate = json(&example, &["dlq", "list", "--stage", "by-origin"]);
    assert_eq!((count(&of_gate), &of_gate[0]["step"]), (far, &"gate".into()));
    // One of them by the command that `show` gives, then the rest of the stage.
    std::fs::write(example.file(), text(9_000)).expect("the pipeline file");
    let (_, shown) = example.say("work", &["dlq", "show", "FILE", "--stage", "by-origin", "--limit", "1"]);
    let again = shown.lines().find_map(|line| line.trim().strip_prefix("again ")).expect("a command").to_owned();
    let record = again.split_whitespace().last().expect("a record");
    let redriven = |reports: &[serde_json::Value], what: &str| reports.iter().map(|report| report[what].as_u64().expect("a number")).sum::<u64>();
    let one = json(&example, &["dlq", "redrive", "--accept-change", "--stage", "by-origin", "--record", record]);
    assert_eq!((redriven(&one, "redriven"), redriven(&one, "rejected_again")), (1, 0), "{record}: {one:?}");
    let rest = json(&example, &["dlq", "redrive", "--stage", "by-origin"]);
    assert_eq!((redriven(&rest, "redriven"), redriven(&rest, "already")), (far - 1, 1), "{rest:?}");
    // Those of the first stage are what they were.
    let first = json(&example, &["dlq", "redrive", "--stage", "source"]);
    assert_eq!((redriven(&first, "redriven"), redriven(&first, "rejected_again")), (undecodable, undecodable), "{first:?}");
    let mut ids: Vec<u64> = read(&output)
        .into_iter()
        .map(|record| serde_json::from_str::<serde_json::Value>(&record.value.expect("a value")).expect("JSON")["id"].as_u64().expect("an id"))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..RECORDS).filter(|id| id % 50 != 7).collect::<Vec<_>>());
    let (code, said) = example.say("work", &["replay", "FILE", "--verify", "-q"]);
    assert_eq!((code, said.matches("identical").count()), (Some(0), 5), "{said}");
}
