//! The command line as a shell sees it: exit codes, and what goes to which stream.
//!
//! The pipelines here have no steps, so that no component is needed.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Standard output as JSON lines.
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Standard error as JSON lines.
    fn errors(&self) -> Vec<Value> {
        self.err.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// A pipeline from `in.jsonl` to `sink`, and its input.
    fn new(sink: &str, more: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("in.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":oops}\n{\"a\":2,\"b\":null}\n");
        folder.write(
            "p.yaml",
            &format!(
                "version: 1\nname: copy\nsource:\n  files: in.jsonl\n  format: json\n  columns: {{ a: i64, b: \"utf8?\" }}\n  on_error: dlq\nsinks: [{sink}]\ndlq: {{ files: dead }}\ncheckpoint: {{ store: \"file://./store\", ephemeral: true }}\nwork_dir: work\n{more}"
            ),
        );
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_segno"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEGNO_")) {
            command.env_remove(name);
        }
        command.env("SEGNO_PLUGIN_CACHE", self.path("cache"));
        command
    }

    fn segno(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn published(&self) -> Vec<String> {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(self.path("out")).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        names.sort();
        names.iter().flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

#[test]
fn a_valid_pipeline_is_described_on_standard_output() {
    let folder = Folder::new("{ files: out }", "");
    let text = folder.segno(&["-q", "validate", "p.yaml"]);
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    assert!(text.out.starts_with("p.yaml is valid\n"), "{}", text.out);
    let json = folder.segno(&["-q", "-o", "json", "validate", "p.yaml"]);
    assert_eq!(json.json()[0]["valid"], true);
    assert_eq!(json.json()[0]["warnings"][0], "C016");
    let with_variable = folder.command(&["-q", "validate"]).env("SEGNO_PIPELINE", "p.yaml").env("SEGNO_OUTPUT", "json").output().unwrap();
    assert_eq!(with_variable.stdout, json.out.as_bytes());
    for yes in ["1", "true", "yes"] {
        let quiet = folder.command(&["validate", "p.yaml"]).env("SEGNO_QUIET", yes).output().unwrap();
        assert_eq!((quiet.status.code(), quiet.stderr.len()), (Some(0), 0), "{yes}");
    }
    assert!(!folder.path("work").exists() && !folder.path("out").exists(), "validate writes nothing");
}

#[test]
fn errors_of_the_file_end_with_78_and_an_object_each() {
    let folder = Folder::new("{ fiels: out }", "thraeds: 2\n");
    let ran = folder.segno(&["-o", "json", "run", "p.yaml"]);
    assert_eq!((ran.code, ran.out.as_str()), (78, ""));
    let errors = ran.errors();
    let found: Vec<_> = errors.iter().map(|error| (error["code"].as_str().unwrap(), error["line"].as_u64().unwrap())).collect();
    assert_eq!(found, [("C003", 8), ("C003", 12)]);
    assert_eq!(errors[1]["help"], "did you mean \"threads\"?");
    assert_eq!(errors[1]["file"], "p.yaml");
    let text = folder.segno(&["run", "p.yaml"]);
    assert!(text.err.contains("12 | thraeds: 2\n   | ^^^^^^^\n"), "{}", text.err);
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let folder = Folder::new("{ files: out }", "");
    for args in [&["rnu"][..], &["run"], &["run", "p.yaml", "--threads", "0"], &["replay", "p.yaml", "--from", "end"], &["explain", "X999"], &["state", "scan", "p.yaml", "nope"]] {
        let ran = folder.segno(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?} {}", ran.err);
    }
}

#[test]
fn rows_on_standard_output_are_alone_there() {
    let folder = Folder::new("{ stdout: {} }", "");
    let ran = folder.segno(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out, "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n");
    assert!(ran.err.contains("copy finished") && ran.err.contains("warning[C017]"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_and_its_rows_come_again() {
    let folder = Folder::new("{ stdout: {} }", "");
    let mut child =
        folder.command(&["-q", "-o", "json", "run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("K006"));
    assert_eq!(folder.segno(&["-q", "run", "p.yaml"]).out.lines().count(), 2);
}

#[test]
fn a_run_can_be_looked_at_from_every_side() {
    let folder = Folder::new("{ files: out }", "");
    let ran = folder.segno(&["-q", "-o", "json", "run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let summary = &ran.json()[0];
    assert_eq!((&summary["totals"]["records"], &summary["totals"]["dead_letters"]), (&3.into(), &1.into()));
    assert_eq!(folder.published(), ["{\"a\":1,\"b\":\"x\"}", "{\"a\":2,\"b\":null}"]);

    let list = folder.segno(&["-o", "json", "checkpoint", "list", "p.yaml"]).json();
    assert_eq!((list.len(), &list[0]["number"], &list[0]["epoch"]), (1, &1.into(), &1.into()));
    let inspect = folder.segno(&["-o", "json", "checkpoint", "inspect", "p.yaml", "1"]).json();
    assert_eq!(inspect[0]["epoch"], 1);
    assert_eq!(folder.segno(&["checkpoint", "verify", "p.yaml"]).code, 0);

    let replay = folder.segno(&["-o", "json", "replay", "p.yaml", "--verify"]);
    assert_eq!((replay.code, &replay.json()[0]["identical"]), (0, &true.into()));
    let from_end = folder.segno(&["replay", "p.yaml", "--from", "1", "--verify"]);
    assert_eq!(from_end.code, 0, "{}", from_end.err);

    let groups = folder.segno(&["-o", "json", "dlq", "list", "p.yaml"]).json();
    assert_eq!((&groups[0]["code"], &groups[0]["count"]), (&"D001".into(), &1.into()));
    let letters = folder.segno(&["-o", "json", "dlq", "show", "p.yaml", "--code", "d001"]).json();
    assert_eq!((&letters[0]["offset"], &letters[0]["value"]), (&16.into(), &"{\"a\":oops}".into()));
    assert!(folder.segno(&["dlq", "show", "p.yaml", "--code", "D002"]).out.is_empty());

    let again = folder.segno(&["-q", "run", "p.yaml"]);
    assert!(again.code == 0 && again.out.contains("nothing new"), "{}", again.out);
    assert_eq!(folder.published().len(), 2);
    assert_eq!(folder.segno(&["-q", "checkpoint", "create", "p.yaml"]).code, 0);
}

#[test]
fn a_damaged_checkpoint_is_found_and_named() {
    let folder = Folder::new("{ files: out }", "");
    assert_eq!(folder.segno(&["-q", "run", "p.yaml"]).code, 0);
    let files = folder.path("store/default/copy/single/files");
    let largest = std::fs::read_dir(files).unwrap().flatten().max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let verify = folder.segno(&["-o", "json", "checkpoint", "verify", "p.yaml"]);
    assert_eq!((verify.code, &verify.json()[0]["intact"]), (1, &false.into()));
    assert_eq!(verify.errors()[0]["code"], "J013");
    let archive = folder.path("store/default/copy/single/archive");
    let archived = std::fs::read_dir(archive).unwrap().flatten().next().unwrap().path();
    std::fs::write(&archived, b"other").unwrap();
    let verify = folder.segno(&["-o", "json", "checkpoint", "verify", "p.yaml"]);
    assert_eq!(verify.json()[1]["intact"], false);
    assert!(verify.errors().iter().any(|error| error["code"] == "J014"), "{}", verify.err);
    let missing = folder.segno(&["-o", "json", "checkpoint", "verify", "p.yaml", "9"]);
    assert_eq!((missing.code, &missing.errors()[0]["code"]), (1, &"R009".into()));
}

#[test]
fn changed_input_makes_a_replay_fail() {
    let folder = Folder::new("{ files: out }", "");
    assert_eq!(folder.segno(&["-q", "run", "p.yaml"]).code, 0);
    folder.write("in.jsonl", "{\"a\":9,\"b\":\"x\"}\n{\"a\":oops}\n{\"a\":2,\"b\":null}\n");
    let replay = folder.segno(&["-o", "json", "replay", "p.yaml", "--verify"]);
    assert_eq!(replay.code, 1, "{}{}", replay.out, replay.err);
}

/// A running `segno run`, which is killed when the test ends early.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(folder: &Folder, args: &[&str]) -> Running {
        let mut child = folder.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Running { child, log }
    }

    /// Reads the log until a line holds the words.
    fn wait_for(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended before \"{words}\"");
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn growing(folder: &Folder) {
    let yaml = std::fs::read_to_string(folder.path("p.yaml")).unwrap();
    folder.write("p.yaml", &yaml.replace("files: in.jsonl", "files: { path: in.jsonl, follow: true }"));
}

fn wait_until(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed().as_secs() < 60, "it did not happen");
        std::thread::yield_now();
    }
}

fn rows(folder: &Folder) -> usize {
    if folder.path("out").exists() { folder.published().len() } else { 0 }
}

#[test]
fn a_command_line_that_is_not_understood_is_a_json_error_where_json_is_asked_for() {
    let folder = Folder::new("{ files: out }", "");
    for words in [&["-o", "json", "run"][..], &["run", "--output=json", "--no-such-flag"], &["-ojson", "nonsense"]] {
        let ran = folder.segno(words);
        let error = ran.errors().pop().expect("an error");
        assert_eq!((ran.code, &error["code"], ran.out.as_str()), (2, &Value::from("U006"), ""), "{error}");
    }
    assert!(folder.segno(&["run", "--no-such-flag"]).err.contains("--no-such-flag"));
}

#[test]
fn a_second_process_is_refused_and_told_who_runs() {
    let folder = Folder::new("{ files: out }", "");
    growing(&folder);
    let mut first = Running::start(&folder, &["run", "p.yaml", "--log", "info"]);
    first.wait_for("recovering");
    let second = folder.segno(&["-o", "json", "-q", "run", "p.yaml"]);
    assert_eq!(second.code, 1);
    let error = second.errors().pop().unwrap();
    assert_eq!(error["code"], "J005");
    assert!(error["message"].as_str().unwrap().contains(&format!("process {} ", first.child.id())), "{error}");
    assert!(error["help"].as_str().unwrap().contains("--take-over"));
}

#[test]
fn a_process_that_was_taken_over_commits_nothing_more() {
    let folder = Folder::new("{ files: out }", "");
    growing(&folder);
    let mut first = Running::start(&folder, &["-o", "json", "run", "p.yaml", "--log", "info"]);
    first.wait_for("recovering");
    wait_until(|| rows(&folder) == 2);
    let mut second = Running::start(&folder, &["run", "p.yaml", "--take-over", "--log", "info"]);
    second.wait_for("recovering");
    let mut file = std::fs::File::options().append(true).open(folder.path("in.jsonl")).unwrap();
    file.write_all(b"{\"a\":3}\n").unwrap();
    first.wait_for("J001");
    assert_eq!(first.child.wait().unwrap().code(), Some(1));
    wait_until(|| rows(&folder) == 3);
    second.signal("-INT");
    assert_eq!(second.child.wait().unwrap().code(), Some(0));
    assert_eq!(folder.published(), ["{\"a\":1,\"b\":\"x\"}", "{\"a\":2,\"b\":null}", "{\"a\":3,\"b\":null}"]);
    let replay = folder.segno(&["replay", "p.yaml", "--verify"]);
    assert!(replay.code == 0 && replay.out.starts_with("identical"), "{}{}", replay.out, replay.err);
}

#[test]
fn a_signal_ends_a_run_in_good_order() {
    let folder = Folder::new("{ files: out }", "");
    growing(&folder);
    for (signal, more, expected) in [("-INT", "", 2), ("-TERM", "{\"a\":3}\n", 3)] {
        let mut file = std::fs::File::options().append(true).open(folder.path("in.jsonl")).unwrap();
        file.write_all(more.as_bytes()).unwrap();
        let mut running = Running::start(&folder, &["run", "p.yaml", "--log", "info"]);
        running.wait_for("recovering");
        wait_until(|| rows(&folder) == expected);
        running.signal(signal);
        assert_eq!(running.child.wait().unwrap().code(), Some(0), "{signal}");
        let epochs = folder.segno(&["-o", "json", "checkpoint", "list", "p.yaml"]).json();
        assert!(!epochs.is_empty(), "{signal} makes a checkpoint");
    }
    let replay = folder.segno(&["replay", "p.yaml", "--verify"]);
    assert!(replay.code == 0 && replay.out.starts_with("identical"), "{}{}", replay.out, replay.err);
}

#[test]
fn a_changed_pipeline_is_refused_until_it_is_accepted() {
    let folder = Folder::new("{ files: out }", "");
    assert_eq!(folder.segno(&["-q", "run", "p.yaml"]).code, 0);
    let yaml = std::fs::read_to_string(folder.path("p.yaml")).unwrap();
    folder.write("p.yaml", &yaml.replace("{ files: out }", "{ files: out, columns: [b] }"));
    let refused = folder.segno(&["-o", "json", "-q", "run", "p.yaml"]);
    assert_eq!((refused.code, refused.errors().pop().unwrap()["code"].clone()), (78, "J004".into()));
    let accepted = folder.segno(&["-q", "run", "p.yaml", "--accept-change"]);
    assert_eq!(accepted.code, 0, "{}", accepted.err);
    let replay = folder.segno(&["replay", "p.yaml", "--verify"]);
    assert_eq!(replay.code, 0, "{}", replay.err);
}

#[test]
fn help_of_all_kinds_is_data() {
    let folder = Folder::new("{ files: out }", "");
    let explain = folder.segno(&["explain", "[c003]"]);
    assert!(explain.code == 0 && explain.out.starts_with("C003: "), "{}", explain.out);
    assert!(folder.segno(&["-o", "json", "explain"]).json().len() > 50);
    let schema: Value = serde_json::from_str(&folder.segno(&["schema"]).out).unwrap();
    assert_eq!(schema["properties"]["version"]["const"], 1);
    assert!(folder.segno(&["completions", "bash"]).out.contains("segno"));
    let config = folder.segno(&["-q", "config", "show", "--resolved", "p.yaml"]);
    folder.write("again.yaml", &config.out);
    assert_eq!(folder.segno(&["-q", "config", "show", "--resolved", "again.yaml"]).out, config.out);
    let doctor = folder.segno(&["-o", "json", "doctor", "p.yaml"]);
    let checks = doctor.json();
    let store = checks.iter().find(|check| check["check"] == "checkpoint store").unwrap();
    assert_eq!(store["health"], "good", "{store}");
    assert!(Path::new(&folder.path("p.yaml")).exists());
}

#[test]
fn a_secret_is_not_shown() {
    let folder = Folder::new("{ files: \"out-${SINK_TOKEN}\" }", "");
    let ran = folder.command(&["config", "show", "--resolved", "p.yaml"]).env("SINK_TOKEN", "hunter2").output().unwrap();
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(shown.contains("out-********") && !shown.contains("hunter2"), "{shown}");
    let unset = folder.segno(&["-o", "json", "validate", "p.yaml"]);
    assert_eq!((unset.code, unset.errors()[0]["code"].clone()), (78, "C006".into()));
}
