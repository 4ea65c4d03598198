//! Side tables of a database: read at the start, archived, changed under a pipeline that stops, runs or is killed.
//!
//! The table `airports` has one airport whose name is its version, v0001 and so on, so that each row of output shows
//! which rows its epoch was executed with.

use crate::lab::{finish, plain, text, variable};
use postgres::{Client, NoTls};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An event that is waited for comes in a second or two; after this time it does not come.
const PATIENCE: Duration = Duration::from_secs(60);
const EPOCH_RECORDS: usize = 50;
const KILLS: usize = 12;

struct Dimension {
    folder: tempfile::TempDir,
    client: Client,
    schema: String,
    url: String,
    records: usize,
    version: u32,
    /// Of the table in the pipeline file.
    postgres: String,
    /// Added to the source.
    source: &'static str,
    /// Added to the step.
    step: &'static str,
    /// Checkpoints that are kept.
    keep: u32,
}

impl Dimension {
    fn new() -> Dimension {
        let url = match std::env::var("SEGNO_TEST_POSTGRES") {
            Ok(url) => url,
            Err(_) => panic!("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`, which starts a server"),
        };
        let schema = format!("side_{:016x}", rand::random::<u64>());
        let mut client = Client::connect(&url, NoTls).expect("the server of the tests");
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; SET search_path = {schema};
                 CREATE TABLE airports (iata char(3) PRIMARY KEY, name text NOT NULL, city text, state text, opened date);
                 INSERT INTO airports VALUES ('ATL', 'v0001', 'Atlanta', NULL, '1926-09-15')"
            ))
            .expect("a table");
        let folder = tempfile::tempdir().expect("a folder for the test");
        let postgres = format!("{{ url: \"{url}\", table: {schema}.airports }}");
        Dimension { folder, client, schema, url, records: 0, version: 1, postgres, source: "", step: "", keep: 1_000 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&mut self, records: usize) {
        let path = self.path("in.jsonl");
        let mut file = std::fs::File::options().create(true).append(true).open(path).expect("input");
        let mut lines = String::new();
        for id in self.records..self.records + records {
            lines.push_str(&format!(
                "{{\"id\":{id},\"date\":\"2026-01-01T00:00:00Z\",\"origin\":\"ATL\",\"destination\":\"ATL\"}}\n"
            ));
        }
        self.records += records;
        file.write_all(lines.as_bytes()).expect("input");
    }

    /// Another version of the table.
    fn change(&mut self) {
        self.version += 1;
        let statement = format!("UPDATE airports SET name = 'v{:04}'", self.version);
        self.client.batch_execute(&statement).expect("an update");
    }

    fn pipeline(&self) -> PathBuf {
        let text = format!(
            "version: 1
name: flights
source:
  files: {{ path: in.jsonl{} }}
  format: json
  columns: {{ id: i64, date: timestamp, origin: utf8, destination: utf8 }}
steps:
  - id: enrich
    plugin: \"{}/enrich.wasm\"{}
    tables:
      airports:
        postgres: {}
sinks:
  - files: out
    columns: [id, origin_name]
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true, keep: {} }}
epoch: {{ max_records: {EPOCH_RECORDS}, max_delay: 50ms }}
",
            self.source,
            variable("SEGNO_COMPONENTS").display(),
            self.step,
            self.postgres,
            self.keep,
        );
        let path = self.path("pipeline.yaml");
        std::fs::write(&path, text).expect("the pipeline file");
        path
    }

    fn command(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(args).arg(self.pipeline());
        command.env_remove("FAILPOINTS").env("SEGNO_PLUGIN_CACHE", self.path("cache"));
        command.env("WRONG_PASSWORD", "hunter2");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        finish(self.command(plain(), args).spawn().expect("segno starts"))
    }

    fn complete(&self) -> serde_json::Value {
        let output = self.run(&["run", "-q", "-o", "json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a summary in JSON")
    }

    /// Replays everything, although the table is not what it was.
    fn replay(&self) {
        let output = self.run(&["replay", "--from", "start", "--verify", "-q"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }

    /// (id, version) of each row of each published file.
    fn epochs(&self) -> Vec<Vec<(usize, u32)>> {
        let entries =
            std::fs::read_dir(self.path("out")).map_or_else(|_| Vec::new(), |entries| entries.flatten().collect());
        let mut files: Vec<PathBuf> = entries.iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        let row = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row in JSON");
            let version = row["origin_name"].as_str().and_then(|name| name.strip_prefix('v')).expect("a version");
            (row["id"].as_u64().expect("an id") as usize, version.parse().expect("a number"))
        };
        let rows = |file: &PathBuf| std::fs::read_to_string(file).expect("output").lines().map(row).collect();
        files.iter().map(rows).collect()
    }

    /// Every record once and in order, one version in each epoch, never an older one after a newer one. Gives the
    /// versions.
    fn versions(&self) -> Vec<u32> {
        let epochs = self.epochs();
        let ids: Vec<usize> = epochs.iter().flatten().map(|row| row.0).collect();
        assert_eq!(ids, (0..self.records).collect::<Vec<_>>());
        let mut versions: Vec<u32> = Vec::new();
        for epoch in &epochs {
            let version = epoch[0].1;
            assert!(epoch.iter().all(|row| row.1 == version), "an epoch with two versions: {epoch:?}");
            assert!(versions.last().is_none_or(|last| *last <= version), "v{version} after {versions:?}");
            if versions.last() != Some(&version) {
                versions.push(version);
            }
        }
        versions
    }

    /// What the journal's changes say.
    fn changes(&self) -> Vec<serde_json::Value> {
        let journal = self.path("store/default/flights/single/journal");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(journal).expect("a journal").flatten().map(|entry| entry.path()).collect();
        files.sort();
        let entry = |file: &PathBuf| serde_json::from_slice::<serde_json::Value>(&std::fs::read(file).ok()?).ok();
        files
            .iter()
            .filter_map(entry)
            .map(|entry| entry["body"].clone())
            .filter(|body| body["kind"] == "change")
            .collect()
    }

    fn status(&self) -> Option<serde_json::Value> {
        let output = self.run(&["status", "-q", "-o", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Drop for Dimension {
    fn drop(&mut self) {
        let _ = self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}

fn wait_for(what: &str, child: &mut Child, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        if let Some(status) = child.try_wait().expect("a child") {
            panic!("it ended with {status} before {what}");
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn other_rows_take_effect_between_two_epochs_at_a_restart_and_need_no_acceptance() {
    let mut dimension = Dimension::new();
    dimension.append(120);
    dimension.complete();
    // The same rows, in another place of the file and read again, are no change.
    dimension.client.batch_execute("UPDATE airports SET name = name").expect("the same rows");
    dimension.client.batch_execute("VACUUM FULL airports").expect("another place");
    dimension.append(30);
    dimension.complete();
    assert!(dimension.changes().is_empty(), "{:?}", dimension.changes());
    dimension.change();
    dimension.append(80);
    dimension.complete();
    assert_eq!(dimension.versions(), [1, 2]);
    let changes = dimension.changes();
    assert_eq!(changes.len(), 1, "{changes:?}");
    let (before, after) = (&changes[0]["before"], &changes[0]["after"]);
    assert_eq!(before["tables"]["program"], after["tables"]["program"]);
    let version = &after["tables"]["versions"]["enrich.airports"];
    assert_eq!(version["rows"], 1);
    assert_ne!(before["tables"]["versions"]["enrich.airports"]["sha256"], version["sha256"]);
    assert!(changes[0]["accepted"][0].as_str().is_some_and(|what| what.contains("enrich.airports")), "{changes:?}");
    // A recovery without local state, and a replay: neither asks the database for what was.
    dimension.client.batch_execute("DROP TABLE airports").expect("the table is dropped");
    dimension.replay();
    let checkpoint = text(&dimension.run(&["checkpoint", "inspect"]).stdout);
    assert!(checkpoint.contains("side table     enrich.airports: 1 rows"), "{checkpoint}");
}

#[test]
fn rows_that_no_kept_checkpoint_needs_leave_the_archive() {
    const VERSIONS: u32 = 5;
    let mut dimension = Dimension::new();
    dimension.keep = 1;
    let archive = dimension.path("store/default/flights/single/archive");
    let archived = || std::fs::read_dir(&archive).map_or_else(|_| Vec::new(), |files| files.flatten().collect());
    for version in 1..=VERSIONS {
        if version > 1 {
            dimension.change();
        }
        dimension.append(60);
        // Longer ago than any upload takes.
        for object in archived() {
            let file = std::fs::File::options().write(true).open(object.path()).expect("an object");
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(2 * 3600)).expect("a time");
        }
        dimension.complete();
    }
    // The component, the plan, and its init message with the rows.
    assert_eq!(archived().len(), 3, "{:?}", archived());
    // Rows of an earlier time come back: they are archived again, and a recovery without local state has them.
    dimension.version = 0;
    dimension.change();
    dimension.append(60);
    let _ = std::fs::remove_dir_all(dimension.path("work"));
    dimension.complete();
    let verified = dimension.run(&["checkpoint", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    let list = text(&dimension.run(&["checkpoint", "list", "-o", "json"]).stdout);
    let number = list.lines().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["number"].as_u64());
    dimension.append(60);
    dimension.keep = 1_000;
    dimension.complete();
    let from = number.expect("a checkpoint").to_string();
    let replayed = dimension.run(&["replay", "--from", &from, "--verify", "-q"]);
    assert!(replayed.status.success(), "{}{}", text(&replayed.stdout), text(&replayed.stderr));
}

#[test]
fn a_shard_goes_on_with_the_rows_of_the_journal_where_they_were_read_later() {
    let mut dimension = Dimension::new();
    dimension.append(60);
    dimension.complete();
    dimension.change();
    dimension.append(60);
    dimension.complete();
    // As in a worker that read long ago: its database says so. The shard comes to it with newer rows.
    dimension.change();
    dimension.append(60);
    let long_ago = "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2020-01-01' $$";
    dimension.client.batch_execute(long_ago).expect("a clock");
    let now = dimension.postgres.clone();
    let path = format!("/segno?options=-c%20search_path%3D{}%2Cpg_catalog\"", dimension.schema);
    dimension.postgres = now.replace("/segno\"", &path);
    assert_ne!(dimension.postgres, now);
    let output = dimension.run(&["run", "-q"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("the rows of the journal were read later"), "{}", text(&output.stderr));
    assert_eq!(dimension.versions(), [1, 2]);
    dimension.postgres = now;
    dimension.append(60);
    dimension.complete();
    assert_eq!(dimension.versions(), [1, 2, 3]);
    dimension.replay();
}

#[test]
fn other_rows_excuse_no_other_change() {
    let mut dimension = Dimension::new();
    dimension.append(10);
    dimension.complete();
    dimension.change();
    dimension.append(10);
    dimension.step = "\n    config: { unknown_airport: reject }";
    let refused = dimension.run(&["run", "-q"]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("J004"), "{}", text(&refused.stderr));
    // Another statement is another program, even where it gives the same rows.
    dimension.step = "";
    dimension.postgres =
        format!("{{ url: \"{}\", query: \"SELECT * FROM {}.airports\" }}", dimension.url, dimension.schema);
    let refused = dimension.run(&["run", "-q"]);
    assert!(text(&refused.stderr).contains("J004"), "{}", text(&refused.stderr));
    let accepted = dimension.run(&["run", "-q", "--accept-change"]);
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    assert_eq!(dimension.versions(), [1, 2]);
    dimension.replay();
}

#[test]
fn kills_around_a_change_of_the_rows_change_nothing_else() {
    let binary = variable("SEGNO_TESTING_BIN");
    // An epoch that the journal has and no reader, one that nobody has, and one whose state was not applied.
    for edge in ["commit::after_journal", "commit::after_stage", "commit::amid_publish"] {
        for recovery in
            ["recovery::after_fence", "recovery::amid_reexecution", "recovery::before_live", "commit::after_journal"]
        {
            let mut dimension = Dimension::new();
            dimension.append(400);
            let killed = |dimension: &Dimension, points: &str| {
                let child = dimension.command(&binary, &["run", "-q"]).env("FAILPOINTS", points).spawn();
                !finish(child.expect("segno starts")).status.success()
            };
            assert!(killed(&dimension, &format!("{edge}=2*off->return")), "{edge}");
            let _ = std::fs::remove_dir_all(dimension.path("work"));
            dimension.change();
            // Killed amid the recovery that meets the new rows; then the rows change once more.
            assert!(killed(&dimension, &format!("{recovery}=return")), "{edge}, {recovery}");
            dimension.change();
            dimension.complete();
            let versions = dimension.versions();
            assert_eq!((versions[0], versions.last()), (1, Some(&3)), "{edge}, {recovery}: {versions:?}");
            dimension.client.batch_execute("DROP TABLE airports").expect("the table is dropped");
            dimension.replay();
        }
    }
}

#[test]
fn random_kills_and_changes_of_the_rows_keep_every_epoch_with_one_version() {
    let seed = rand::random::<u64>();
    println!("## side tables, random kills: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut dimension = Dimension::new();
    dimension.append(4_000);
    for kill in 0..KILLS {
        let published = dimension.epochs().len();
        let mut child = dimension.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
        let wanted = published + random.random_range(0..5);
        let started = Instant::now();
        while dimension.path("out").read_dir().map_or(0, Iterator::count) < wanted && started.elapsed() < PATIENCE {
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        // The moment of a kill is what is drawn here.
        std::thread::sleep(Duration::from_micros(random.random_range(0..20_000)));
        let _ = child.kill();
        finish(child);
        dimension.change();
        if kill % 3 == 0 {
            let _ = std::fs::remove_dir_all(dimension.path("work"));
        }
    }
    dimension.complete();
    let versions = dimension.versions();
    println!("## side tables: {} versions in the output, seed {seed}", versions.len());
    dimension.replay();
}

#[test]
fn a_running_pipeline_reads_its_rows_again_and_status_says_which_it_uses() {
    let mut dimension = Dimension::new();
    dimension.postgres = dimension.postgres.replace(" }", ", refresh: 1s }");
    dimension.source = ", follow: true";
    dimension.append(70);
    let said = dimension.path("said.txt");
    let mut command = dimension.command(plain(), &["run", "-q"]);
    let mut child = command.stderr(std::fs::File::create(&said).expect("a file")).spawn().expect("segno starts");
    wait_for("the first rows", &mut child, || dimension.epochs().iter().map(Vec::len).sum::<usize>() == 70);
    let digest = |dimension: &Dimension| dimension.status().map(|status| status["tables"]["enrich.airports"].clone());
    let first = digest(&dimension).expect("a status");
    assert_eq!(first["rows"], 1, "{first}");
    assert!(first["read_at_ms"].as_i64().is_some_and(|at| at > 1_700_000_000_000), "{first}");
    dimension.change();
    // Rows without a reader decide nothing: records come until an epoch has the new version.
    let started = Instant::now();
    while dimension.epochs().last().is_none_or(|rows| rows[0].1 == 1) {
        assert!(started.elapsed() < PATIENCE, "the new rows did not come");
        let expected = dimension.records + 1;
        dimension.append(1);
        wait_for("a row", &mut child, || dimension.epochs().iter().map(Vec::len).sum::<usize>() == expected);
    }
    let second = digest(&dimension).expect("a status");
    assert_ne!(first["sha256"], second["sha256"]);
    // A refresh that fails changes nothing: the table is gone, and the pipeline goes on.
    dimension.client.batch_execute("ALTER TABLE airports RENAME TO elsewhere").expect("the table is renamed");
    let told = || std::fs::read_to_string(&said).is_ok_and(|said| said.contains("goes on with the rows that it has"));
    wait_for("a failed refresh", &mut child, told);
    dimension.append(60);
    wait_for("rows without a table", &mut child, || {
        dimension.epochs().iter().map(Vec::len).sum::<usize>() == dimension.records
    });
    let status = dimension.status().expect("a status");
    assert_eq!(status["tables"]["enrich.airports"]["sha256"], second["sha256"]);
    assert!(status["failed_refreshes"].as_u64() > Some(0), "{status}");
    assert!(status["refresh_problem"].as_str().is_some_and(|why| why.contains("airports")), "{status}");
    let shown = text(&dimension.run(&["status"]).stdout);
    assert!(shown.contains("side table   enrich.airports: 1 rows"), "{shown}");
    assert!(shown.contains("refresh      failed"), "{shown}");
    // The table is back: so is a refresh that succeeds.
    dimension.client.batch_execute("ALTER TABLE elsewhere RENAME TO airports").expect("the table is renamed");
    let well = |dimension: &Dimension| dimension.status().is_some_and(|status| status["refresh_problem"].is_null());
    wait_for("a refresh that succeeds", &mut child, || well(&dimension));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("SIGTERM");
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(dimension.versions(), [1, 2]);
    dimension.replay();
}

#[test]
fn what_cannot_be_a_side_table_is_refused_with_code_place_and_advice() {
    let mut dimension = Dimension::new();
    dimension.append(10);
    let (url, schema) = (dimension.url.clone(), dimension.schema.clone());
    let address =
        url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("user@host/database").0.to_owned();
    let query = |query: &str| format!("{{ url: \"{url}\", query: \"{query}\" }}");
    let table = |table: &str| format!("{{ url: \"{url}\", table: {schema}.{table} }}");
    let cases = [
        (table("nowhere"), 78, "C032", "does not exist", "correct table or query"),
        (query("SELECT iata, name, city FROM airports"), 78, "C032", "does not exist", "correct table or query"),
        (
            query(&format!("SELECT iata, name, city FROM {schema}.airports")),
            78,
            "C032",
            "the column \"state\" is missing",
            "it has iata, name, city",
        ),
        (
            query(&format!("SELECT opened AS iata, name, city, state FROM {schema}.airports")),
            78,
            "C032",
            "\"iata\" is date, and the plugin wants utf8",
            "\"iata\"::text AS \"iata\"",
        ),
        (
            query(&format!("SELECT iata, NULL::text AS name, city, state FROM {schema}.airports")),
            78,
            "C032",
            "holds null, and the plugin wants utf8",
            "mend the row",
        ),
        (
            query(&format!("SELECT * FROM {schema}.airports WHERE false")),
            78,
            "P009",
            "is empty",
            "look at config and tables",
        ),
        (
            query(
                "SELECT n::text AS iata, repeat('x', 1048576) AS name, null::text AS city, null::text AS state FROM generate_series(1, 300) AS n",
            ),
            78,
            "C032",
            "more than 256 MiB",
            "choose rows and columns with query",
        ),
        (query("SELECT 1/0::int AS iata, name, city, state FROM airports"), 78, "C032", "does not exist", "correct"),
        (query("SELEC"), 78, "C032", "syntax error", "correct table or query"),
        (
            format!("{{ url: \"postgres://segno:${{WRONG_PASSWORD}}@{address}/segno\", table: airports }}"),
            78,
            "K020",
            "password authentication failed",
            "correct url",
        ),
        (
            "{ url: \"postgres://segno:${WRONG_PASSWORD}@127.0.0.1:1/segno\", table: airports }".to_owned(),
            1,
            "S017",
            "refused",
            "start the pipeline again",
        ),
    ];
    for (postgres, exit, code, what, advice) in cases {
        dimension.postgres = postgres;
        for args in [&["validate"][..], &["run", "-q"]] {
            let output = dimension.run(args);
            let said = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
            let shown = format!("{} {args:?}: {said}", dimension.postgres);
            assert_eq!(output.status.code(), Some(exit), "{shown}");
            for part in [code, what, advice, "step \"enrich\"", "pipeline.yaml:1"] {
                assert!(said.contains(part), "{part:?} is not in {shown}");
            }
            assert!(!said.contains("hunter2"), "{shown}");
        }
        // Without a server nothing is known of the rows, and the rest is checked.
        let offline = dimension.run(&["validate", "--offline"]);
        assert!(offline.status.success(), "{}", text(&offline.stderr));
    }
    assert!(!dimension.path("out").exists() || dimension.epochs().is_empty(), "something ran");
}

#[test]
fn the_pipeline_is_shown_without_the_password() {
    let dimension = Dimension::new();
    let shown = text(&dimension.run(&["config", "show"]).stdout);
    assert!(shown.contains(&format!("table: {}.airports", dimension.schema)), "{shown}");
    assert!(!shown.contains("segno:segno@"), "{shown}");
}
