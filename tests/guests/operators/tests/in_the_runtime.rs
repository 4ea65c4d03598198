//! The operators of the SDK in the runtime give the rows that they give in its test harness, and leave no state and no timer
//! behind where they should not; over small epochs and batches, and with a kill on the way. `SEGNO_BIN` and
//! `SEGNO_COMPONENTS` name the command and the plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use operators::Operators;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_sdk::testing::{Harness, Row};
use segno_sdk::{Timestamp, row};

const RECORDS: i64 = 6_000;
/// Microseconds: what the pipeline waits.
const DELAY: i64 = 1_700_000;

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

/// (key, id, event time in ms): skewed, out of order by more than the pipeline waits, with ties and gaps.
fn records(seed: u64) -> Vec<(String, i64, i64)> {
    let mut random = StdRng::seed_from_u64(seed);
    let record = |id: i64| {
        let key = (random.random::<f64>().powi(3) * 60.0) as u32;
        let at = id * 15 + id / 1_000 * 20_000 - random.random_range(0..4_000);
        (format!("k{key}"), id, if random.random_bool(0.3) { at / 100 * 100 } else { at })
    };
    (0..RECORDS).map(record).collect()
}

struct Pipeline {
    file: PathBuf,
}

impl Pipeline {
    fn write(folder: &Path, records: &[(String, i64, i64)]) -> Self {
        let lines: String =
            records.iter().map(|(key, id, at)| format!("{{\"key\":\"{key}\",\"id\":{id},\"at\":{at}}}\n")).collect();
        std::fs::write(folder.join("in.jsonl"), lines).expect("input");
        let text = format!(
            "version: 1
name: operators
source:
  files: {{ path: in.jsonl }}
  format: json
  time: /at
  watermark_delay: {DELAY}us
  columns: {{ id: i64, key: utf8, at: timestamp }}
steps:
  - {{ id: operators, plugin: \"{}/operators.wasm\", key: key }}
sinks:
  - {{ name: out, files: {{ path: out }}, columns: [key, by, left, right] }}
epoch: {{ max_records: 170 }}
batch_rows: 90
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true }}
",
            variable("SEGNO_COMPONENTS").display()
        );
        let file = folder.join("pipeline.yaml");
        std::fs::write(&file, text).expect("the pipeline file");
        Self { file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(arguments).arg(&self.file).env("SEGNO_PLUGIN_CACHE", self.file.with_file_name("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn finished(output: Output) -> String {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.file.with_file_name("out")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        files
    }

    /// Runs to the end; the first run is killed when it has published some epochs.
    fn run(&self) -> Vec<String> {
        let mut first = self.command(&["run", "-q"]).spawn().expect("segno starts");
        let started = Instant::now();
        while self.files().len() < 5 && first.try_wait().expect("a child").is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is published");
            std::thread::yield_now();
        }
        assert!(first.try_wait().expect("a child").is_none(), "the run ended before it was killed");
        first.kill().expect("SIGKILL");
        first.wait().expect("a child");
        Self::finished(self.command(&["run", "-q"]).output().expect("segno starts"));
        let rows = self.files().into_iter().flat_map(|file| {
            let text = std::fs::read_to_string(file).expect("output");
            text.lines().map(published).collect::<Vec<_>>()
        });
        rows.collect()
    }
}

fn shown(key: &str, by: &str, left: i64, right: Option<i64>) -> String {
    format!("{key} {by}: {left} {right:?}")
}

fn published(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).expect("a row");
    let text = |name: &str| row[name].as_str().expect("a text");
    shown(text("key"), text("by"), row["left"].as_i64().expect("a number"), row["right"].as_i64())
}

/// What the harness gives, and the keys that it keeps something for at the end.
fn in_the_harness(records: &[(String, i64, i64)]) -> (Vec<String>, Vec<String>) {
    let mut harness = Harness::<Operators>::setup("{}").watermark_delay(DELAY).start().expect("the plugin starts");
    for (key, id, at) in records {
        let record: Row = row! { "id": *id }.key(key).at(Timestamp::from_millis(*at));
        harness.push(record);
    }
    let result = harness.run_to_end();
    let rows = result.rows().iter().map(|row| {
        let right = (!row.is_null("right")).then(|| row.i64("right"));
        shown(&row.key, row.text("by"), row.i64("left"), right)
    });
    let keys: BTreeMap<&str, ()> = records.iter().map(|(key, _, _)| (&**key, ())).collect();
    let forgotten = ["seen", "seen_ids", "interval_join", "bucket", "windows"];
    for key in keys.keys() {
        assert!(harness.timers(key).is_empty(), "{key}");
        assert!(forgotten.iter().all(|table| harness.state(key, table).is_none()), "{key}");
    }
    let kept = keys.keys().filter(|key| harness.state(key, "versions").is_some());
    (rows.collect(), kept.map(|key| (*key).to_owned()).collect())
}

#[test]
fn operators_give_in_the_runtime_what_they_give_in_the_test_harness() {
    for seed in [5, rand::random::<u64>()] {
        println!("## seed {seed}");
        let folder = tempfile::tempdir().expect("a folder");
        let records = records(seed);
        let pipeline = Pipeline::write(folder.path(), &records);
        let ((wanted, kept), found) = (in_the_harness(&records), pipeline.run());
        if let Some(row) = wanted.iter().zip(&found).position(|(one, other)| one != other) {
            panic!("seed {seed}: row {row} is\n{}\nand in the harness\n{}", found[row], wanted[row]);
        }
        assert_eq!(found.len(), wanted.len(), "seed {seed}");
        // Every operator did everything that it can do.
        for by in [
            "once: ", "once, late: ", "once each: ", "near: ", "near, late: ", "near, alone: ", "valid: ", "valid, late: ", "certain: ", "certain, late: ", "limit: ",
            "window: ", "window, late: ",
        ] {
            assert!(found.iter().any(|row| row.contains(by)), "seed {seed}: no row `{by}`");
        }
        let scan = |table: &str| {
            let arguments = ["state", "scan", "--table", table];
            Pipeline::finished(pipeline.command(&arguments).arg("operators").output().expect("segno starts"))
        };
        for table in ["seen", "seen_ids", "interval_join", "bucket", "windows", "timers"] {
            assert_eq!(scan(table).lines().count(), 0, "seed {seed}: {table} is not empty");
        }
        assert_eq!(scan("versions").lines().count(), kept.len(), "seed {seed}");
    }
}
