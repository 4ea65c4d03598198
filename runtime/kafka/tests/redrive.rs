//! Dead letters in a topic are listed, shown and put through the pipeline again, each once.

use crate::lab::*;
use crate::whole::{finish, said, variable};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PARTITIONS: i32 = 2;
const RECORDS: usize = 200;

/// Bids of which every fifth has a price that the step rejects, as long as it does.
struct Bids {
    folder: tempfile::TempDir,
    name: String,
    input: String,
    output: String,
}

impl Bids {
    fn new(sharding: &str, dead: &str) -> Bids {
        let bids = Bids {
            folder: tempfile::tempdir().expect("a folder"),
            name: name("bids"),
            input: topic("in", PARTITIONS, &[]),
            output: topic("out", PARTITIONS, &[]),
        };
        let input = &bids.input;
        for partition in 0..PARTITIONS as usize {
            let line = |at: usize| {
                let id = at * PARTITIONS as usize + partition;
                let price = if id % 5 == 0 { 20 } else { 1 };
                let bracket = if id == 7 { "" } else { "}" };
                format!("{{\"id\":{id},\"key\":\"k{partition}\",\"price\":{price}{bracket}")
            };
            let (key, lines) = (format!("k{partition}"), (0..RECORDS / PARTITIONS as usize).map(line).collect::<Vec<_>>());
            let records: Vec<_> = lines.iter().map(|line| (Some(key.as_str()), Some(line.as_str()))).collect();
            produce(input, partition as i32, &records);
        }
        let text = format!(
            "version: 1
name: {name}
{sharding}
source:
  kafka: {{ brokers: \"{brokers}\", topics: [{input}], until: latest, partitioner: unchecked }}
  format: json
  columns: {{ id: i64, key: utf8, kafka.key: utf8 }}
  on_error: dlq
steps:
  - id: second
    plugin: \"{components}/hostile.wasm\"
    key: [key, kafka.key]
    config:
      mode: reject
      price: ${{PRICE:-20}}
    on_error: dlq
sinks:
  - kafka: {{ brokers: \"{brokers}\", topic: {output} }}
    columns: [id, bids]
dlq: {{ kafka: {{ brokers: \"{brokers}\", topic: {dead} }} }}
work_dir: work
epoch: {{ max_records: 13 }}
checkpoint: {{ store: \"file://store\", ephemeral: true, keep: 1000 }}
",
            name = bids.name,
            brokers = brokers(),
            components = variable("SEGNO_COMPONENTS").display(),
            output = bids.output,
        );
        std::fs::write(bids.file(), text).expect("the pipeline file");
        bids
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    fn command(&self, binary: &str, price: u32, args: &[&str]) -> Command {
        let mut command = Command::new(variable(binary));
        command.args(args).arg(self.file()).env("PRICE", price.to_string()).env_remove("FAILPOINTS");
        command.env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a command that succeeds prints, line by line.
    fn succeed(&self, price: u32, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = args.iter().copied().chain(["-q", "-o", "json"]).collect();
        let output = finish(self.command("SEGNO_BIN", price, &args).spawn().expect("segno starts"));
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// How often each record is in the output.
    fn rows(&self) -> BTreeMap<u64, u32> {
        let mut rows = BTreeMap::new();
        for record in read(&self.output) {
            let row: Value = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
            *rows.entry(row["id"].as_u64().expect("an id")).or_default() += 1;
        }
        rows
    }

    fn check(&self) {
        let expected = (0..RECORDS as u64).filter(|id| *id != 7).map(|id| (id, 1)).collect();
        assert_eq!(self.rows(), expected);
    }
}

#[test]
fn letters_of_a_topic_are_listed_and_those_of_others_in_it_are_not() {
    let dead = topic("dead", 3, &[]);
    let other = Bids::new("", &dead);
    other.succeed(20, &["run"]);
    let bids = Bids::new("", &dead);
    bids.succeed(20, &["run"]);
    let rejected = (RECORDS / 5) as u64;
    let listed = bids.succeed(20, &["dlq", "list"]);
    let counts: BTreeMap<&str, u64> = listed.iter().map(|group| (group["code"].as_str().expect("a code"), group["count"].as_u64().expect("a count"))).collect();
    assert_eq!(counts.values().sum::<u64>(), rejected + 1, "{listed:?}");
    assert_eq!(counts.get("P050"), Some(&rejected), "{listed:?}");
    let shown = bids.succeed(20, &["dlq", "show", "--step", "second", "--limit", "0"]);
    assert_eq!(shown.len() as u64, rejected);
    for letter in shown {
        let value: Value = serde_json::from_str(letter["value"].as_str().expect("the original bytes")).expect("JSON");
        let id = value["id"].as_u64().expect("an id");
        assert_eq!((id % 5, letter["offset"].as_u64()), (0, Some(id / 2)), "{letter}");
        let partition = letter["partition"].as_str().expect("a partition");
        assert!(partition.ends_with(&format!("/{}", id % 2)) && letter["epoch"].as_u64() > Some(0), "{letter}");
        assert_eq!(letter["record"], format!("source/{partition}/{}", id / 2));
        assert!(letter["component"].as_str().is_some_and(|digest| digest.len() == 64), "{letter}");
    }
}

#[test]
fn letters_of_a_topic_are_redriven_once_whatever_is_killed() {
    for (sharding, fail) in [
        ("", "commit::after_journal=return"),
        ("", "commit::after_publish=1*off->return"),
        ("sharding: by_partition", "commit::amid_publish=1*off->return"),
    ] {
        let bids = Bids::new(sharding, &topic("dead", 1, &[]));
        bids.succeed(20, &["run"]);
        let redrive = &["dlq", "redrive", "--accept-change", "--step", "second"];
        let killed = bids.command("SEGNO_TESTING_BIN", 666, redrive).env("FAILPOINTS", fail).spawn().expect("segno starts");
        assert!(!finish(killed).status.success(), "{fail} did not kill the process");
        bids.succeed(666, redrive);
        bids.check();
        let again = bids.succeed(666, redrive);
        assert_eq!((again[0]["redriven"].as_u64(), again[0]["already"].as_u64()), (Some(0), Some((RECORDS / 5) as u64)), "{again:?}");
        let replayed = bids.succeed(666, &["replay", "--from", "start", "--verify"]);
        assert!(replayed.iter().all(|shard| shard["identical"] == true), "{sharding} {fail}: {replayed:?}");
    }
}

#[test]
fn a_letter_whose_record_is_gone_stops_the_redrive_and_the_others_can_be_chosen() {
    let bids = Bids::new("", &topic("dead", 1, &[]));
    bids.succeed(20, &["run"]);
    // Four records of partition 0 go, of which the first one alone has a letter.
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bids.input, 0, Offset::Offset(4)).expect("a partition");
    wait(admin().delete_records(&list, &AdminOptions::new())).expect("deleted");
    let redrive = ["dlq", "redrive", "--accept-change", "--step", "second"];
    let output = finish(bids.command("SEGNO_BIN", 666, &redrive).spawn().expect("segno starts"));
    let words = said(&output);
    let gone = format!("offsets 0 to 3 of {}/0 are gone", bids.input);
    assert!(output.status.code() == Some(1) && words.contains("S012") && words.contains(&gone), "{words}");
    assert!(words.contains("--record") && !words.contains("--accept-data-loss"), "{words}");
    // Nothing was taken: all the others are still there to be chosen.
    let shown = bids.succeed(666, &["dlq", "show", "--step", "second", "--limit", "0"]);
    let gone = shown.iter().find(|letter| letter["record"].as_str().is_some_and(|record| record.ends_with("/0/0"))).expect("its letter");
    let value: Value = serde_json::from_str(gone["value"].as_str().expect("the original bytes")).expect("JSON");
    assert_eq!(value["id"], 0, "{gone}");
    let epoch = gone["epoch"].as_u64().expect("an epoch");
    let mut chosen = vec![vec!["--epoch".to_owned(), format!("{}..", epoch + 1)]];
    for letter in shown.iter().filter(|letter| letter["epoch"] == epoch && letter["record"] != gone["record"]) {
        chosen.push(vec!["--record".to_owned(), letter["record"].as_str().expect("a record").to_owned()]);
    }
    let mut redriven = 0;
    for choice in &chosen {
        let args: Vec<&str> = redrive.into_iter().chain(choice.iter().map(String::as_str)).collect();
        let report = bids.succeed(666, &args);
        assert_eq!(report[0]["already"], 0, "{report:?}");
        redriven += report[0]["redriven"].as_u64().expect("a count");
    }
    assert_eq!(redriven, (RECORDS / 5 - 1) as u64);
    let expected = (1..RECORDS as u64).filter(|id| *id != 7).map(|id| (id, 1)).collect();
    assert_eq!(bids.rows(), expected);
}
