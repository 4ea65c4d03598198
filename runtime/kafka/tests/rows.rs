//! Rows of a database under several workers that read them at different times: a shard never goes back to older ones.
//!
//! Each row of output names the version of the rows that its epoch was executed with. A worker reads them when it starts.

use crate::lab::*;
use crate::whole::variable;
use crate::workers::{Worker, all_live, await_that};
use postgres::{Client, NoTls};
use segno_core::partitioner::partition_of;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PARTITIONS: u32 = 4;
const KEYS: usize = 40;

struct Team {
    folder: tempfile::TempDir,
    client: Client,
    schema: String,
    name: String,
    input: String,
    output: String,
    /// The shard of each record, by id.
    shards: Vec<u32>,
    started: usize,
}

impl Team {
    fn new() -> Team {
        let url = std::env::var("SEGNO_TEST_POSTGRES").expect("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`");
        let mut client = Client::connect(&url, NoTls).expect("the server of the tests");
        let name = name("rows");
        let schema = name.replace('-', "_");
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; SET search_path = {schema};
                 CREATE TABLE airports (iata char(3) PRIMARY KEY, name text NOT NULL, city text, state text);
                 INSERT INTO airports VALUES ('ATL', '1', 'Atlanta', NULL)"
            ))
            .expect("a table");
        let team = Team {
            folder: tempfile::tempdir().expect("a folder"),
            client,
            schema,
            name,
            input: topic("in", PARTITIONS as i32, &[]),
            output: topic("out", 1, &[]),
            shards: Vec::new(),
            started: 0,
        };
        let text = format!(
            "version: 1
name: {name}
sharding: by_partition
worker: {{ session_timeout: 1500ms }}
source:
  kafka: {{ brokers: \"{brokers}\", topics: [{input}] }}
  format: json
  columns: {{ id: i64, date: timestamp, origin: utf8, destination: utf8 }}
steps:
  - id: enrich
    plugin: \"{components}/enrich.wasm\"
    tables:
      airports:
        postgres: {{ url: \"{url}\", table: {schema}.airports }}
sinks:
  - name: out
    kafka: {{ brokers: \"{brokers}\", topic: {output} }}
    columns: [id, origin_name]
work_dir: \"work-${{WORKER:-none}}\"
epoch: {{ max_records: 20, max_delay: 20ms }}
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 20ms, keep: 1000 }}
",
            name = team.name,
            brokers = brokers(),
            input = team.input,
            components = variable("SEGNO_COMPONENTS").display(),
            schema = team.schema,
            output = team.output,
        );
        std::fs::write(team.file(), text).expect("the pipeline file");
        team
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    fn change(&mut self, version: u32) {
        self.client.batch_execute(&format!("UPDATE airports SET name = '{version}'")).expect("an update");
    }

    fn write(&mut self, records: usize) {
        let mut lines: Vec<Vec<(String, String)>> = vec![Vec::new(); PARTITIONS as usize];
        for _ in 0..records {
            let id = self.shards.len();
            let key = format!("k{}", id % KEYS);
            let shard = partition_of(key.as_bytes(), PARTITIONS);
            let value = format!("{{\"id\":{id},\"date\":\"2026-01-01T00:00:00Z\",\"origin\":\"ATL\",\"destination\":\"ATL\"}}");
            lines[shard as usize].push((key, value));
            self.shards.push(shard);
        }
        for (shard, lines) in lines.iter().enumerate() {
            let records: Vec<_> = lines.iter().map(|(key, value)| (Some(key.as_str()), Some(value.as_str()))).collect();
            produce(&self.input, shard as i32, &records);
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(args).arg(self.file()).env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.stdin(Stdio::null());
        command
    }

    fn start(&mut self) -> Worker {
        self.started += 1;
        let log = self.folder.path().join(format!("log-{}", self.started));
        let mut command = self.command(&["run", "-v", "-q"]);
        command.env("WORKER", self.started.to_string()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).expect("a log"));
        Worker::new(command.spawn().expect("segno starts"), log)
    }

    /// Who took each shard last, as the store says.
    fn owners(&self) -> BTreeMap<u32, u32> {
        crate::workers::owners(self.folder.path(), &self.name, PARTITIONS)
    }

    fn await_rows(&self, workers: &mut [Worker]) {
        await_records(&self.output, self.shards.len(), 2 * PATIENCE, || all_live(workers));
    }

    /// Every record once; the versions of each shard in the order of its records, none before an older one.
    fn versions(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut seen: BTreeMap<usize, u32> = BTreeMap::new();
        for record in read(&self.output) {
            let row: serde_json::Value = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
            let version = row["origin_name"].as_str().and_then(|name| name.parse().ok()).expect("a version");
            let id = row["id"].as_u64().expect("an id") as usize;
            assert_eq!(seen.insert(id, version), None, "record {id} came twice");
        }
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), (0..self.shards.len()).collect::<Vec<_>>());
        let mut versions: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (id, version) in seen {
            let of_shard = versions.entry(self.shards[id]).or_default();
            assert!(of_shard.last().is_none_or(|last| *last <= version), "shard {}: {version} after {of_shard:?}", self.shards[id]);
            if of_shard.last() != Some(&version) {
                of_shard.push(version);
            }
        }
        versions
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let _ = self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}

#[test]
fn a_shard_that_comes_to_a_worker_with_older_rows_goes_on_with_the_newer_ones() {
    let mut team = Team::new();
    team.write(200);
    let mut workers = vec![team.start()];
    team.await_rows(&mut workers);
    // The second worker reads newer rows, and is given some shards.
    team.change(2);
    workers.push(team.start());
    let [old, new] = [workers[0].id(), workers[1].id()];
    let owners = |team: &Team| team.owners().into_values().collect::<BTreeSet<u32>>();
    await_that(&mut workers, "both have shards", || owners(&team) == BTreeSet::from([old, new]));
    team.write(200);
    team.await_rows(&mut workers);
    let moved: Vec<u32> = team.owners().into_iter().filter(|(_, owner)| *owner == new).map(|(shard, _)| shard).collect();
    for (shard, versions) in team.versions() {
        assert_eq!(versions, if moved.contains(&shard) { vec![1, 2] } else { vec![1] }, "shard {shard}, moved {moved:?}");
    }
    // They come back to the first one, which has older rows: once orderly, once after a kill.
    for ending in 0..2 {
        let mut newer = workers.pop().expect("the second");
        if ending == 0 {
            assert_eq!(newer.leave(), Some(0));
        } else {
            newer.kill();
        }
        await_that(&mut workers, "the first has all", || owners(&team) == BTreeSet::from([old]));
        team.write(200);
        team.await_rows(&mut workers);
        let versions = team.versions();
        assert!(moved.iter().all(|shard| versions[shard] == [1, 2]), "moved {moved:?}: {versions:?}");
        assert!(workers[0].said().contains("the rows of the journal were read later"), "{}", workers[0].said());
        if ending == 0 {
            workers.push(team.start());
            let ids = BTreeSet::from([old, workers[1].id()]);
            await_that(&mut workers, "both have shards again", || owners(&team) == ids);
            team.write(200);
            team.await_rows(&mut workers);
        }
    }
    // Whoever starts now has the newest rows, and takes everything.
    team.change(3);
    workers.push(team.start());
    workers.remove(0).kill();
    let newest = workers[0].id();
    await_that(&mut workers, "the newest has all", || owners(&team) == BTreeSet::from([newest]));
    team.write(200);
    team.await_rows(&mut workers);
    assert!(team.versions().values().all(|versions| versions.last() == Some(&3)), "{:?}", team.versions());
    assert_eq!(workers.remove(0).leave(), Some(0));
    let output = team.command(&["replay", "--from", "start", "--verify"]).output().expect("segno starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    println!("## {} records, {} of {PARTITIONS} shards went to newer rows and back", team.shards.len(), moved.len());
}
