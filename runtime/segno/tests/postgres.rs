//! Files to PostgreSQL under kills: every row once in the table, the same as in the files sink beside it.

use crate::lab::{Lab, finish, plain, text, variable};
use postgres::{Client, NoTls};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const RECORDS: usize = 12_000;
const KILLS: usize = 24;

/// A pipeline with two tables beside its files, in a schema of its own.
pub struct Tables {
    pub lab: Lab,
    client: Client,
    schema: String,
}

impl Tables {
    pub fn new(records: usize, epoch_records: usize) -> Tables {
        let url = match std::env::var("SEGNO_TEST_POSTGRES") {
            Ok(url) => url,
            Err(_) => panic!("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`, which starts a server"),
        };
        let schema = format!("segno_{:016x}", rand::random::<u64>());
        let mut client = Client::connect(&url, NoTls).expect("the server of the tests");
        client.batch_execute(&format!("CREATE SCHEMA {schema}")).expect("a schema");
        let mut lab = Lab::new(3, records);
        // Marks are told apart by the pipeline's tenant, and every run of the tests is one of its own.
        lab.tenant = schema.replace('_', "-");
        lab.settings = format!("tenant: {}\nepoch: {{ max_records: {epoch_records} }}\n", lab.tenant);
        for (name, table, key) in [("every", "scores", ""), ("last", "latest", ", key: [key]")] {
            lab.sinks.push_str(&format!(
                "  - name: {name}
    postgres: {{ url: \"{url}\", table: {schema}.{table}, create_table: true{key} }}
    columns: [id, key, price, bids, total_price]
"
            ));
        }
        Tables { lab, client, schema }
    }

    fn rows(&mut self, table: &str) -> Vec<Row> {
        let query = format!("SELECT id, key, price, bids::bigint, total_price FROM {}.{table} ORDER BY id", self.schema);
        let rows = self.client.query(&query, &[]).expect("rows");
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
    }

    fn edges(&mut self, binary: &Path, points: &str) -> bool {
        let child = self.lab.command(binary, &["run", "-q"]).env("FAILPOINTS", points).spawn().expect("segno starts");
        finish(child).status.success()
    }

    /// The tables hold what they must, and a replay agrees.
    fn check(&mut self) {
        self.compare();
        let (code, said) = self.lab.replay();
        assert_eq!(code, Some(0), "{said}");
    }

    /// The tables hold what is computed from the input without Segno: `check` for the files, and the files for tables.
    pub fn compare(&mut self) {
        self.lab.check();
        let mut expected: Vec<Row> = Vec::new();
        let mut last = BTreeMap::new();
        for line in self.lab.output().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let row: serde_json::Value = serde_json::from_slice(line).expect("a row in JSON");
            let number = |name: &str| row[name].as_i64().expect("a number");
            let key = row["key"].as_str().expect("a key").to_owned();
            expected.push((number("id"), key.clone(), number("price"), number("bids"), number("total_price")));
            last.insert(key, number("id"));
        }
        assert!(expected.len() > 1_000, "only {} rows", expected.len());
        let latest: Vec<Row> = {
            let mut rows: Vec<Row> = expected.iter().filter(|row| last[&row.1] == row.0).cloned().collect();
            rows.sort();
            rows
        };
        expected.sort();
        assert!(self.rows("scores") == expected, "the table differs from the files");
        assert!(self.rows("latest") == latest, "the table of last rows differs from the files");
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let marks = format!("DELETE FROM segno.marks WHERE table_name LIKE '{}.%'", self.schema);
        let _ = self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE; {marks}", self.schema));
    }
}

/// (id, key, price, bids, total_price)
type Row = (i64, String, i64, i64, i64);

#[test]
fn tables_hold_every_row_once_after_random_kills() {
    let seed = rand::random::<u64>();
    println!("## PostgreSQL, random kills: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kills, mut finished) = (0, 0);
    while kills < KILLS {
        let mut tables = Tables::new(RECORDS, 200);
        loop {
            let wanted = tables.lab.objects("journal") + random.random_range(1..15);
            let mut child = tables.lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
            let started = Instant::now();
            let mut ended = false;
            while !ended && tables.lab.objects("journal") < wanted && started.elapsed() < Duration::from_secs(60) {
                ended = child.try_wait().expect("a child").is_some();
                std::thread::sleep(Duration::from_micros(300));
            }
            // The moment of a kill is what is drawn here.
            std::thread::sleep(Duration::from_micros(random.random_range(0..10_000)));
            if child.try_wait().expect("a child").is_some() {
                let output = finish(child);
                assert!(output.status.success(), "seed {seed}: {}", text(&output.stderr));
                break;
            }
            child.kill().expect("SIGKILL");
            finish(child);
            kills += 1;
            if random.random_range(0..3) == 0 {
                let _ = std::fs::remove_dir_all(tables.lab.path("work"));
            }
        }
        finished += 1;
        tables.check();
    }
    println!("## PostgreSQL: {kills} kills over {finished} runs");
}

#[test]
fn tables_hold_every_row_once_after_kills_around_publication() {
    let binary = variable("SEGNO_TESTING_BIN");
    for edge in ["commit::after_journal", "commit::amid_publish", "commit::after_publish"] {
        // The second pass of the middle edge lies between the files and the first table, the third between tables.
        for passes in [0, 1, 2, 7] {
            let mut tables = Tables::new(3_000, 100);
            let fail = format!("{edge}={}return", if passes == 0 { String::new() } else { format!("{passes}*off->") });
            assert!(!tables.edges(&binary, &fail), "{fail} did not kill the process");
            if passes == 7 {
                let _ = std::fs::remove_dir_all(tables.lab.path("work"));
            }
            // And again amid the recovery of the first kill.
            assert!(!tables.edges(&binary, "recovery::before_live=return"), "{fail}: the second kill missed");
            tables.lab.complete();
            tables.check();
        }
    }
}

#[test]
fn a_table_that_was_dropped_stops_the_run_until_that_is_accepted() {
    let mut tables = Tables::new(2_000, 100);
    tables.lab.complete();
    let drop = format!("DROP TABLE {}.scores", tables.schema);
    tables.client.batch_execute(&drop).expect("the table is dropped");
    for _ in 0..2 {
        let output = tables.lab.run(&["run", "-q"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("K007"), "{}", text(&output.stderr));
    }
    let output = tables.lab.run(&["run", "-q", "--accept-change"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(tables.rows("scores").is_empty());
    tables.lab.complete();
}

#[test]
fn a_row_that_cannot_be_stored_stops_the_run_before_its_epoch_is_committed() {
    let mut tables = Tables::new(2_000, 100);
    let input = tables.lab.path("in-0.jsonl");
    let good = std::fs::read(&input).expect("input");
    let bad = b"{\"id\":9999,\"key\":\"a\\u0000b\",\"price\":1,\"at\":9999999}\n";
    std::fs::write(&input, [&good[..], bad].concat()).expect("input");
    let output = tables.lab.run(&["run", "-q"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("K022") && said.contains(&format!("offset {}", good.len())), "{said}");
    std::fs::write(&input, &good).expect("input");
    tables.lab.complete();
    tables.check();
}

#[test]
fn validate_compares_tables_unless_it_is_offline() {
    let mut tables = Tables::new(100, 100);
    let make = format!("CREATE TABLE {}.scores (id text)", tables.schema);
    tables.client.batch_execute(&make).expect("a table");
    let output = tables.lab.run(&["validate"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("K021") && said.contains("\"id\" is text") && said.contains("pipeline.yaml:"), "{said}");
    assert!(tables.lab.run(&["validate", "--offline"]).status.success());
}
