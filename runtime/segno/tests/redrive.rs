//! Dead letters go through the pipeline again: each once, from the step that rejected it, however often it is killed.

use crate::lab::{finish, plain, text, variable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Records of each of two files.
const RECORDS: usize = 300;

/// One of eleven airports.
fn origin(id: u64) -> String {
    format!("AA{}", char::from(b'A' + (id % 11) as u8))
}

/// Flights through a gate and a count: the gate rejects long distances, the count rejects a price of null.
struct Flights {
    folder: tempfile::TempDir,
}

impl Flights {
    fn new() -> Flights {
        let flights = Flights { folder: tempfile::tempdir().expect("a folder") };
        for file in 0..2 {
            let line = |at: usize| {
                let id = at * 2 + file;
                let distance = if id % 5 == 0 { 5_000 } else { 500 };
                let price = if id % 7 == 0 { "null".to_owned() } else { id.to_string() };
                let broken = if id % 90 == 8 { "," } else { "" };
                format!(
                    "{{{broken}\"id\":{id},\"origin\":\"{}\",\"destination\":\"XXX\",\"delay\":1,\"distance\":{distance},\"price\":{price},\"at\":{id}}}\n",
                    origin(id as u64)
                )
            };
            let lines: String = (0..RECORDS).map(line).collect();
            std::fs::write(flights.path(&format!("in-{file}.jsonl")), lines).expect("input");
        }
        let pipeline = format!(
            "version: 1
name: flights
source:
  files: \"in-*.jsonl\"
  format: json
  time: /at
  columns: {{ id: i64, origin: utf8, price: \"i64?\", at: timestamp }}
  on_error: dlq
steps:
  - id: gate
    plugin: \"{0}/quality_gate.wasm\"
    config:
      max_distance: ${{MAX_DISTANCE:-1000}}
    on_error: dlq
  - id: count
    plugin: \"{0}/keyed_count.wasm\"
    key: origin
    on_error: dlq
sinks:
  - {{ name: out, files: out, columns: [id, origin, bids] }}
dlq: {{ files: dead }}
work_dir: work
epoch: {{ max_records: 20 }}
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
",
            variable("SEGNO_COMPONENTS").display()
        );
        std::fs::write(flights.path("pipeline.yaml"), pipeline).expect("the pipeline file");
        flights
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, binary: &Path, max_distance: u32, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(args).arg(self.path("pipeline.yaml")).env("MAX_DISTANCE", max_distance.to_string());
        command.env_remove("FAILPOINTS").env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn execute(&self, max_distance: u32, args: &[&str]) -> Output {
        finish(self.command(plain(), max_distance, args).spawn().expect("segno starts"))
    }

    /// A command that succeeds, and what it prints as JSON.
    fn succeed(&self, max_distance: u32, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["-q", "-o", "json"]).collect();
        let output = self.execute(max_distance, &args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn rows(&self, folder: &str) -> Vec<serde_json::Value> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        let whole: String = files.iter().map(|file| std::fs::read_to_string(file).expect("rows")).collect();
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// How often each record is in the output, and the largest count of each key.
    fn output(&self) -> (BTreeMap<u64, u32>, BTreeMap<String, u64>) {
        let (mut ids, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for row in self.rows("out") {
            *ids.entry(row["id"].as_u64().expect("an id")).or_default() += 1;
            let count: &mut u64 = counts.entry(row["origin"].as_str().expect("a key").to_owned()).or_default();
            *count = (*count).max(row["bids"].as_u64().expect("a count"));
        }
        (ids, counts)
    }

    /// Every record that can be taken is there once, and was counted once.
    fn check(&self) {
        let (ids, counts) = self.output();
        let good: Vec<u64> = (0..2 * RECORDS as u64).filter(|id| id % 7 != 0 && id % 90 != 8).collect();
        assert_eq!(ids, good.iter().map(|&id| (id, 1)).collect());
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for id in &good {
            *expected.entry(origin(*id)).or_default() += 1;
        }
        assert_eq!(counts, expected);
    }
}

const REDRIVE: &[&str] = &["dlq", "redrive", "--accept-change"];

#[test]
fn letters_of_a_step_that_was_mended_are_taken_once_and_a_replay_agrees() {
    let flights = Flights::new();
    flights.succeed(1000, &["run"]);
    let rejected = |step: &str| flights.rows("dead").iter().filter(|letter| letter["step"] == step).count() as u64;
    let (gate, count) = (rejected("gate"), rejected("count"));
    let undecodable = flights.rows("dead").len() as u64 - gate - count;
    assert!(gate > 100 && count > 50 && undecodable > 0, "{gate} {count} {undecodable}");
    let numbers = |report: &serde_json::Value| ["redriven", "rejected_again", "already"].map(|name| report[name].as_u64().expect("a number"));
    // Some letters of the gate have a price of null: the count rejects them when they get there.
    let null = (0..2 * RECORDS).filter(|id| id % 35 == 0 && id % 90 != 8).count() as u64;
    // First the one record that `show` gives a command for.
    let shown = flights.execute(9000, &["dlq", "show", "--step", "gate", "--limit", "2"]);
    let command = text(&shown.stdout).lines().filter_map(|line| line.trim().strip_prefix("again ")).last().expect("a command").trim().to_owned();
    let words: Vec<&str> = command.split_whitespace().collect();
    let ["segno", "dlq", "redrive", _, "--record", record] = words[..] else { panic!("{command}") };
    let report = flights.succeed(9000, &["dlq", "redrive", "--accept-change", "--record", record]);
    assert_eq!(numbers(&report), [1, 0, 0], "{record}");
    let none = flights.execute(9000, &["dlq", "redrive", "--record", "source/in-0.jsonl/1"]);
    assert!(none.status.code() == Some(2) && text(&none.stderr).contains("U012"), "{}", text(&none.stderr));
    let report = flights.succeed(9000, &["dlq", "redrive", "--step", "gate"]);
    assert_eq!(numbers(&report), [gate - 1, null, 1]);
    flights.check();

    // Nothing is left of the gate; everything else is rejected again, for the reasons it had.
    let before = flights.output();
    assert_eq!(numbers(&flights.succeed(9000, &["dlq", "redrive", "--step", "gate"])), [0, 0, gate]);
    let rest = undecodable + count + null;
    assert_eq!(numbers(&flights.succeed(9000, &["dlq", "redrive"])), [rest, rest, gate]);
    assert_eq!(flights.output(), before);

    let checkpoints = text(&flights.execute(9000, &["checkpoint", "list", "-o", "json"]).stdout);
    let middle = (checkpoints.lines().count() / 2).to_string();
    for from in ["start", &middle] {
        let replayed = flights.succeed(9000, &["replay", "--verify", "--from", from]);
        assert_eq!(replayed["identical"], true, "from {from}: {replayed}");
    }

    // The next run reads on where the last one ended.
    let input = flights.path("in-0.jsonl");
    let id = 2 * RECORDS;
    let more = format!("{{\"id\":{id},\"origin\":\"AAA\",\"destination\":\"XXX\",\"delay\":1,\"distance\":1,\"price\":1,\"at\":99999}}\n");
    std::fs::write(&input, std::fs::read_to_string(&input).expect("input") + &more).expect("input");
    assert_eq!(flights.succeed(9000, &["run"])["totals"]["records"], 1);

    // Whoever wants a letter twice says so.
    let twice = flights.succeed(9000, &["dlq", "redrive", "--again", "--step", "gate"]);
    assert_eq!(twice["redriven"].as_u64(), Some(gate));
    assert!(flights.output().0.values().any(|&times| times == 2));
}

#[test]
fn a_redrive_that_is_killed_at_every_edge_and_repeated_takes_each_letter_once() {
    let binary = variable("SEGNO_TESTING_BIN");
    let edges = ["before_stage", "after_stage", "after_detail", "after_journal", "amid_publish", "after_publish", "after_apply"];
    for edge in edges {
        for passes in [0, 3] {
            let flights = Flights::new();
            flights.succeed(1000, &["run"]);
            let fail = format!("commit::{edge}={}return", if passes == 0 { String::new() } else { format!("{passes}*off->") });
            let child = flights.command(&binary, 9000, REDRIVE).env("FAILPOINTS", &fail).spawn().expect("segno starts");
            assert!(!finish(child).status.success(), "{fail} did not kill the process");
            if passes == 0 {
                // The state comes back from checkpoint and journal, and its marks with it.
                std::fs::remove_dir_all(flights.path("work")).expect("the work folder");
            }
            flights.succeed(9000, REDRIVE);
            flights.check();
            let replayed = flights.succeed(9000, &["replay", "--from", "start", "--verify"]);
            assert_eq!(replayed["identical"], true, "{fail}: {replayed}");
        }
    }
}

#[test]
fn letters_go_through_another_plugin_and_the_pipeline_keeps_its_own() {
    let flights = Flights::new();
    flights.succeed(1000, &["run"]);
    let lenient = format!("gate={}", variable("SEGNO_COMPONENTS").join("lenient.wasm").display());
    let report = flights.succeed(1000, &["dlq", "redrive", "--step", "gate", "--with", &lenient]);
    assert!(report["redriven"].as_u64() > Some(100), "{report}");
    flights.check();
    // What the pipeline is was not changed, whatever is left of it.
    std::fs::remove_dir_all(flights.path("work")).expect("the work folder");
    assert_eq!(flights.succeed(1000, &["run"])["totals"]["records"], 0);
    assert_eq!(flights.succeed(1000, &["replay", "--from", "start", "--verify"])["identical"], true);
    let changed = flights.execute(9000, &["run"]);
    assert!(text(&changed.stderr).contains("J004"), "{}", text(&changed.stderr));
}

#[test]
fn a_pipeline_that_runs_is_not_redriven() {
    let flights = Flights::new();
    let file = flights.path("pipeline.yaml");
    let pipeline = std::fs::read_to_string(&file).expect("the pipeline file");
    let follow = "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 50ms";
    std::fs::write(&file, pipeline.replace("files: \"in-*.jsonl\"", follow)).expect("the pipeline file");
    let mut running = flights.command(plain(), 1000, &["run", "-q"]).spawn().expect("segno starts");
    let has_letters = || {
        let entries = flights.path("dead").read_dir();
        entries.is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_file())))
    };
    while !has_letters() {
        assert!(running.try_wait().expect("a child").is_none(), "the pipeline ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let refused = flights.execute(1000, &["dlq", "redrive"]);
    assert!(text(&refused.stderr).contains("J005"), "{}", text(&refused.stderr));
    running.kill().expect("SIGKILL");
    finish(running);
    assert!(flights.execute(1000, &["dlq", "redrive"]).status.success());
}
