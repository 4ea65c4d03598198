//! `segno tap`: records on their way past a step of a pipeline that really runs.
//!
//! Owns: that what is seen is what passed, that looking changes nothing, what is hidden, and scenarios of real records.
//! Does not own: what stands for hidden values (tests beside `shard::tap`).

use crate::author::Folder;
use crate::lab::{Lab, address_of, finish, plain, text};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A pipeline that reads growing files.
struct Running {
    child: Option<Child>,
    address: String,
}

impl Running {
    /// Returns when it answers.
    fn start(file: &Path) -> Running {
        let mut child = Command::new(plain())
            .args(["run", "--listen", "127.0.0.1:0"])
            .arg(file)
            .env("SEGNO_PLUGIN_CACHE", file.with_file_name("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("segno starts");
        let address = address_of(&mut child);
        Running { child: Some(child), address }
    }

    fn stop(mut self) {
        let child = self.child.take().expect("it runs");
        let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("SIGTERM");
        assert!(finish(child).status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Appends lines, made from a number that grows, until `work` is done.
fn while_lines_come<T>(file: &Path, line: impl Fn(u64) -> String + Sync, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = OpenOptions::new().append(true).create(true).open(file).expect("the input");
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let lines: String = (0..20).map(|one| line(number * 20 + one) + "\n").collect();
                file.write_all(lines.as_bytes()).expect("the input grows");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn following(lab: &Lab, more: &str) -> std::path::PathBuf {
    lab.command(plain(), &["run"]);
    let text = std::fs::read_to_string(lab.path("pipeline.yaml")).expect("the pipeline file");
    let text = text.replace("files: { path: \"in-*.jsonl\" }", "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 50ms");
    let file = lab.path("follow.yaml");
    std::fs::write(&file, text + more).expect("the pipeline file");
    file
}

fn tap(file: &Path, args: &[&str]) -> Vec<Value> {
    let output = finish(
        Command::new(plain())
            .args(["tap", "-q", "-o", "json"])
            .arg(file)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("segno starts"),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn record(number: u64) -> String {
    format!("{{\"id\":{},\"key\":\"k{}\",\"price\":{number},\"at\":{}}}", 1_000_000 + number, number % 7, 1_000_000 + number * 10)
}

#[test]
fn what_is_seen_is_what_passed_and_looking_changes_nothing() {
    let lab = Lab::new(71, 200);
    let file = following(&lab, "");
    let running = Running::start(&file);
    let seen = while_lines_come(&lab.path("in-0.jsonl"), record, || {
        (0..5).flat_map(|_| tap(&file, &["count", "--limit", "12"])).collect::<Vec<_>>()
    });
    assert_eq!(seen.len(), 60);
    running.stop();
    let output = text(&lab.output());
    let published: std::collections::BTreeSet<String> =
        output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON").to_string()).collect();
    for one in &seen {
        let input = std::fs::read(lab.path(one["partition"].as_str().expect("a file"))).expect("the input");
        let (offset, rows) = (one["offset"].as_u64().expect("an offset") as usize, one["input"].as_array().expect("rows"));
        assert_eq!(rows.len(), 1, "{one}");
        let line = input[offset..].split(|&byte| byte == b'\n').next().expect("a line");
        let original: Value = serde_json::from_slice(line).expect("a record");
        assert_eq!((&original["id"], &original["key"]), (&rows[0]["id"], &rows[0]["key"]), "{one}");
        let given = &one["output"]["out"][0];
        assert_eq!(given["id"], rows[0]["id"], "{one}");
        assert!(published.contains(&given.to_string()), "{given} was never published");
    }
    let mut replay = Command::new(plain());
    let replay = replay.args(["replay", "--from", "start", "--verify"]).arg(&file).output().expect("segno starts");
    assert!(replay.status.success(), "{}", text(&replay.stderr));
}

#[test]
fn what_is_hidden_leaves_the_process_nowhere_and_keys_stay_keys() {
    let lab = Lab::new(72, 50);
    let file = following(&lab, "mask: key\n");
    let running = Running::start(&file);
    let seen = while_lines_come(&lab.path("in-0.jsonl"), record, || {
        // Records are nothing for who can reach the port that metrics are scraped from.
        let mut stream = TcpStream::connect(&running.address).expect("a server");
        write!(stream, "GET /tap/counts/all/count/5 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        (0..3).flat_map(|_| tap(&file, &["count", "--limit", "100"])).collect::<Vec<_>>()
    });
    running.stop();
    let mut stand_ins = std::collections::BTreeMap::new();
    assert!(!seen.is_empty());
    for one in &seen {
        let (row, given) = (&one["input"][0], &one["output"]["out"][0]);
        let hidden = row["key"].as_str().expect("text");
        assert!(hidden.starts_with("hidden-") && given["key"] == row["key"], "{one}");
        // Those that were there before have other keys.
        let Some(number) = row["id"].as_u64().expect("a number").checked_sub(1_000_000) else { continue };
        let key = number % 7;
        assert_eq!(stand_ins.entry(key).or_insert(hidden.to_owned()), hidden, "{one}");
    }
    let different: std::collections::BTreeSet<&String> = stand_ins.values().collect();
    assert_eq!((different.len(), stand_ins.len()), (7, 7));
    assert!(text(&lab.output()).contains("\"key\":\"k3\""), "sinks get the values all the same");
}

#[test]
fn timers_are_seen_with_what_they_give() {
    let mut lab = Lab::new(73, 50);
    lab.steps = "  - id: count\n    plugin: \"COMPONENTS/timed.wasm\"\n    key: key\n".to_owned();
    lab.columns = "key, what, id, time, watermark, bucket".to_owned();
    let file = following(&lab, "");
    let running = Running::start(&file);
    let seen = while_lines_come(&lab.path("in-0.jsonl"), record, || {
        (0..10).flat_map(|_| tap(&file, &["count", "--limit", "100"])).collect::<Vec<_>>()
    });
    running.stop();
    let (timers, records): (Vec<&Value>, Vec<&Value>) = seen.iter().partition(|one| one["source"] == "count");
    assert!(!timers.is_empty() && !records.is_empty(), "{} timers, {} records", timers.len(), records.len());
    let given = |timer: &Value| timer["output"]["out"].as_array().cloned().unwrap_or_default();
    assert!(timers.iter().any(|timer| !given(timer).is_empty()), "no timer gave anything");
    for timer in timers {
        assert!(timer["partition"].as_str().is_some_and(|name| name.starts_with("timer/")), "{timer}");
        assert_eq!(timer["input"], serde_json::json!([]), "{timer}");
        assert!(given(timer).iter().all(|row| row["what"] == "timer"), "{timer}");
    }
}

/// A timer is named by its key, and a plugin may say anything of what it reads.
#[test]
fn what_is_hidden_is_in_no_name_of_a_timer_and_in_no_reason() {
    let mut lab = Lab::new(74, 50);
    lab.steps = "  - id: count\n    plugin: \"COMPONENTS/timed.wasm\"\n    key: key\n".to_owned();
    lab.columns = "key, what, id, time, watermark, bucket".to_owned();
    let file = following(&lab, "mask: key\n");
    let running = Running::start(&file);
    let seen = while_lines_come(&lab.path("in-0.jsonl"), record, || {
        (0..10).flat_map(|_| tap(&file, &["count", "--limit", "100"])).collect::<Vec<_>>()
    });
    running.stop();
    let names: Vec<&str> = seen.iter().filter_map(|one| one["partition"].as_str()).filter(|name| name.starts_with("timer/")).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!((0..7).all(|key| !name.contains(&hex::encode(format!("k{key}\0")))), "{name}");
        assert!(name.contains("/hidden-"), "{name}");
    }

    let folder = Folder::with("reasons", "filter");
    folder.segno("", &["build", "reasons"]).good();
    folder.write("in.jsonl", "");
    folder.write("live.yaml", &live("reasons/reasons.wasm", "quantity"));
    let running = Running::start(&folder.path("live.yaml"));
    let line = |number: u64| format!("{{\"order\":{number},\"customer\":\"a\",\"at\":0,\"quantity\":0,\"price_cents\":5}}");
    let rejected = while_lines_come(&folder.path("in.jsonl"), line, || tap(&folder.path("live.yaml"), &["cheap", "--limit", "5"]));
    running.stop();
    assert_eq!(rejected.len(), 5);
    for one in rejected {
        assert_eq!(one["rejected"], serde_json::json!([{"code": "P050", "reason": "********"}]), "{one}");
    }
}

/// A pipeline over `in.jsonl`, which grows, with one step `cheap`.
fn live(plugin: &str, mask: &str) -> String {
    format!(
        "version: 1
name: live
source:
  files: {{ path: in.jsonl, follow: true }}
  format: json
  columns: {{ order: i64, customer: utf8, at: timestamp, quantity: i64, price_cents: i64 }}
  on_error: skip
steps:
  - {{ id: cheap, plugin: {plugin}, config: {{ min_cents: 1000 }}, on_error: dlq }}
sinks: [ {{ files: out }} ]
dlq: {{ files: dead }}
mask: [ {mask} ]
checkpoint: {{ store: \"file://store\", ephemeral: true }}
work_dir: work
"
    )
}

#[test]
fn real_records_become_a_scenario() {
    let folder = Folder::with("orders", "filter");
    folder.segno("", &["build", "orders"]).good();
    let sample = folder.read("orders/sample.jsonl");
    folder.write("in.jsonl", "");
    folder.write("live.yaml", &live("orders/orders.wasm", "customer"));
    let lines: Vec<&str> = sample.lines().collect();
    // In no order, since a sample is spread evenly.
    let line = |number: u64| lines[(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % lines.len()].to_owned();
    let save = ["tap", "live.yaml", "cheap", "--limit", "14", "--save", "live", "--project", "orders"];
    folder.segno("", &save).failed(1, &["R011", "nothing runs"]);
    // Records that have passed do not pass again: a plugin that cannot be built is told before they are waited for.
    folder.replace("orders/src/lib.rs", "segno_sdk::plugin!", "segno_sdk::plug!");
    folder.segno("", &save).failed(1, &["[P011]", "plug"]);
    folder.replace("orders/src/lib.rs", "segno_sdk::plug!", "segno_sdk::plugin!");
    let running = Running::start(&folder.path("live.yaml"));
    while_lines_come(&folder.path("in.jsonl"), line, || {
        folder.segno("", &["tap", "live.yaml", "cheep"]).failed(2, &["U002", "its steps are: cheap"]);
        let saved = folder.segno("", &save).good();
        assert!(saved.err.contains("scenarios/live has"), "{}", saved.err);
        let rejected = (0..100).any(|_| {
            folder.segno("", &["tap", "live.yaml", "cheap", "--limit", "20"]).good().out.contains("  rejected   [P050] a quantity of 0\n")
        });
        assert!(rejected, "rejected records are not seen");
        // What is there is not changed, and what cannot be read is not left behind.
        folder.segno("", &save).failed(78, &["P061", "exists"]);
        let pipeline = folder.read("orders/pipeline.yaml");
        folder.write("orders/pipeline.yaml", &pipeline.replace("  on_error: dlq\nsteps", "  time: when\n  on_error: dlq\nsteps"));
        let vain = ["tap", "live.yaml", "cheap", "--limit", "5", "--save", "vain", "--project", "orders"];
        folder.segno("", &vain).failed(78, &["P061", "rejects every record"]);
        assert!(!folder.path("orders/scenarios/vain").exists());
        folder.write("orders/pipeline.yaml", &pipeline);
    });
    running.stop();
    let input = folder.read("orders/scenarios/live/input.jsonl");
    assert!(input.lines().count() >= 12 && !input.contains("ann"), "{input}");
    let tested = folder.segno("", &["test", "orders", "-o", "json"]).good();
    let live = tested.json().into_iter().find(|one| one["scenario"] == "live").expect("the scenario");
    assert_eq!(live["passed"], true, "{live}");
    // The loop of `dev` runs on it, too.
    let dev = folder.segno("", &["dev", "orders", "--once", "--scenario", "live", "-o", "json"]).good();
    assert_eq!(dev.json()[0]["records"], live["records"]);
}
