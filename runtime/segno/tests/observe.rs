//! A running pipeline as it is seen from outside: status, metrics, health.

use crate::lab::{Lab, address_of, finish, plain, text};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RECORDS: usize = 2_000;

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a server");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The value of a series that has all of these parts.
fn series(metrics: &str, parts: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn status(lab: &Lab) -> std::process::Output {
    let mut command = Command::new(plain());
    command.args(["status", "-q", "-o", "json"]).arg(lab.path("follow.yaml"));
    command.output().expect("segno starts")
}

#[test]
fn a_running_pipeline_tells_what_it_does_and_a_stopped_one_that_it_does_not_run() {
    let lab = Lab::new(61, RECORDS);
    lab.command(plain(), &["run"]);
    let pipeline = std::fs::read_to_string(lab.path("pipeline.yaml")).expect("the pipeline file");
    let pipeline = pipeline.replace(
        "files: { path: \"in-*.jsonl\" }",
        "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 100ms",
    );
    std::fs::write(lab.path("follow.yaml"), pipeline).expect("the pipeline file");
    assert!(text(&status(&lab).stderr).contains("R011"), "nothing runs yet");
    let mut child = Command::new(plain())
        .args(["run", "--listen", "127.0.0.1:0"])
        .arg(lab.path("follow.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("segno starts");
    let address = address_of(&mut child);
    assert!(get(&address, "/health/live").contains(" 200 "));
    let started = Instant::now();
    let seen = loop {
        let output = status(&lab);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if seen["records"] == RECORDS {
            break seen;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{seen}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((&seen["health"], &seen["process"]), (&"live".into(), &child.id().into()));
    assert_eq!(seen["partitions"].as_array().map(Vec::len), Some(3));
    assert!(get(&address, "/health/ready").contains(" 200 "));

    // A second process is refused, and takes nothing from the first.
    let mut second = Command::new(plain());
    let second = second.args(["run", "-q"]).arg(lab.path("follow.yaml")).output().expect("segno starts");
    assert!(text(&second.stderr).contains("J005"), "{}", text(&second.stderr));
    assert!(status(&lab).status.success(), "the status of the first is lost");

    let metrics = get(&address, "/metrics");
    let labels = ["tenant=\"default\"", "pipeline=\"counts\"", "shard=\"single\""];
    let of = |name: &str| series(&metrics, &[name, labels[0], labels[1], labels[2]]).unwrap_or_else(|| panic!("{name}: {metrics}"));
    assert_eq!(of("segno_records_total"), RECORDS as f64);
    let letters = lab.dead_letters().iter().filter(|&&byte| byte == b'\n').count();
    assert!(letters > 0);
    assert_eq!(of("segno_dead_letters_total"), letters as f64);
    assert_eq!(series(&metrics, &["segno_rows_total", "name=\"out\""]), Some((RECORDS - letters) as f64));
    assert!(of("segno_commit_seconds_count") >= of("segno_epochs_total") && of("segno_epochs_total") >= 1.0);
    assert!(of("segno_fuel_total") > 0.0 && of("segno_watermark_seconds") > 0.0);
    assert_eq!(series(&metrics, &["segno_health", "name=\"live\""]), Some(1.0));
    let documented = include_str!("../../../docs/metrics.md");
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let name = line.split(' ').next().expect("a name");
        assert!(documented.contains(&format!("`{name}")), "docs/metrics.md does not list {name}");
    }

    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("SIGTERM");
    assert!(finish(child).status.success());
    assert!(text(&status(&lab).stderr).contains("R011"), "it does not run any more");
}

#[test]
fn an_address_that_is_taken_is_refused_before_anything_is_read() {
    let lab = Lab::new(62, 100);
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = taken.local_addr().expect("an address").to_string();
    let output = lab.run(&["run", "-q", "--listen", &address]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("R012"), "{}", text(&output.stderr));
    assert_eq!(lab.objects("journal"), 0);
}
