//! A plugin author's day, with the real toolchain: projects made in temporary folders, built, run, tested, broken.
//!
//! Owns: what `new`, `build`, `test` and `dev` promise together. Does not own: rules that a function shows (tests beside
//! it), the words of the tutorial (`tutorial`).
//!
//! Projects share one target folder, and the SDK of this checkout, so that it compiles once; two tests use what the command
//! carries.

use crate::lab::variable;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A build that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn good(self) -> Ran {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// A failure with this exit code, whose standard error has all these words.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) -> Ran {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {}", self.err);
        }
        self
    }

    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

pub struct Folder {
    pub root: tempfile::TempDir,
    /// Where cargo compiles.
    target: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        Folder { root: tempfile::tempdir().unwrap(), target: variable("CARGO_TARGET_DIR").join("author") }
    }

    /// With a target folder of its own: nothing is compiled yet.
    pub fn alone() -> Folder {
        let mut folder = Folder::new();
        folder.target = folder.path("target");
        folder
    }

    /// A project of this checkout's SDK.
    #[track_caller]
    pub fn with(name: &str, template: &str) -> Folder {
        let folder = Folder::new();
        let sdk = Path::new("../..").canonicalize().unwrap();
        folder.segno("", &["new", name, "--template", template, "--sdk", sdk.to_str().unwrap()]).good();
        folder
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>, inside: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root.path().join(inside)).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEGNO_") || name.starts_with("CARGO_")) {
            // The place of the registry's downloads is the machine's.
            // And so are the compilers of plugins in Python and JavaScript.
            if name != "CARGO_HOME" && !name.starts_with("SEGNO_COMPONENTIZE_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUSTFLAGS").env_remove("LD_LIBRARY_PATH");
        let own = Path::new(env!("CARGO_BIN_EXE_segno")).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([own].into_iter().chain(std::env::split_paths(&path))).unwrap();
        command.env("PATH", path).env("CARGO_TARGET_DIR", &self.target).env("XDG_CACHE_HOME", self.root.path().join("cache"));
        // What an interpreter compiles to is the same for each of these plugins.
        command.env("SEGNO_PLUGIN_CACHE", self.target.join("plugins"));
        command
    }

    pub fn segno(&self, inside: &str, args: &[&str]) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_segno"), inside);
        command.args(args);
        finish(command)
    }

    pub fn shell(&self, inside: &str, script: &str) -> Ran {
        let mut command = self.command("sh", inside);
        command.arg("-ec").arg(script);
        finish(command)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    pub fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} has no {old}");
        self.write(name, &text.replace(old, new));
    }
}

/// Everything that a new project of any language promises, before anything in it is changed.
#[track_caller]
pub fn works(folder: &Folder, name: &str, rows: usize) {
    let built = folder.segno(name, &["build", "-o", "json"]).good().json();
    assert_eq!(built[0]["imports"], serde_json::json!(["segno:stream/observe@1.0.0"]));
    folder.segno(name, &["validate", "pipeline.yaml"]).good();
    let ran = folder.segno(name, &["run", "-q", "pipeline.yaml"]).good();
    assert_eq!(ran.json().len(), rows, "{}", ran.out);
    let replayed = folder.segno(name, &["replay", "--from", "start", "--verify", "pipeline.yaml"]).good();
    assert!(replayed.out.contains("identical"), "{}", replayed.out);
    let done = folder.shell(name, "./ci.sh").good();
    assert!(done.out.contains("passed scenarios/first: 7 records, "), "{}", done.out);
    assert!(!done.err.contains("contract"), "the template's contract is not the plugin's: {}", done.err);
    assert!(folder.read(&format!("{name}/pipeline.schema.json")).contains("\"$schema\""));
    if name == "new-map" && built[0]["reproducible"] == false {
        makes_anew_what_changed(folder, name);
    }
}

/// Where the same sources make other bytes, each build is a compile of the whole: it is not made without need.
#[track_caller]
fn makes_anew_what_changed(folder: &Folder, name: &str) {
    let component = || std::fs::read(folder.path(&format!("{name}/{}.wasm", name.replace('-', "_")))).or_else(|_| std::fs::read(folder.path(&format!("{name}/{name}.wasm")))).unwrap();
    folder.segno(name, &["build", "-q"]).good();
    let built = component();
    folder.segno(name, &["test"]).good();
    assert!(component() == built, "`segno test` made a component anew that was just made");
    let seconds = || folder.segno(name, &["dev", "--once", "-o", "json"]).good().json()[0]["build_seconds"].as_f64().unwrap();
    assert!(seconds() > 0.0, "another profile, another component");
    let sample = folder.read(&format!("{name}/sample.jsonl"));
    let first: String = sample.lines().take(1).map(|line| format!("{line}\n")).collect();
    folder.write(&format!("{name}/sample.jsonl"), &first);
    assert_eq!(seconds(), 0.0, "records are no source");
    folder.shell(name, "for file in *.py *.js; do [ ! -f $file ] || echo >> $file; done").good();
    assert!(seconds() > 0.0, "a source changed");
}

/// A plugin that does what the column `what` of its records asks for: of `refused` each is a dead letter that says what to do
/// instead, of `answered` each a row; and a replay is identical.
#[track_caller]
pub fn refuses(folder: &Folder, name: &str, refused: &[(&str, &str)], answered: &[(&str, &str)]) {
    let pipeline = folder.read(&format!("{name}/pipeline.yaml"));
    let pipeline = pipeline.replace("{ order: i64, customer: utf8, at: timestamp, quantity: i64, price_cents: i64 }", "{ what: utf8 }");
    folder.write(&format!("{name}/pipeline.yaml"), &pipeline.replace("    config: { discount_percent: 10 }\n", ""));
    let asked = refused.iter().chain(answered).map(|(what, _)| format!("{}\n", serde_json::json!({"what": what})));
    folder.write(&format!("{name}/sample.jsonl"), &asked.collect::<String>());
    folder.segno(name, &["build", "-q"]).good();
    let ran = folder.segno(name, &["run", "-q", "pipeline.yaml"]).good();
    let answers: Vec<String> = ran.json().iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    let letters = folder.shell(name, "cat .segno/dead-letters/*").good().json();
    assert_eq!((answers.len(), letters.len()), (answered.len(), refused.len()), "{answers:?} {letters:#?}");
    for ((what, said), letter) in refused.iter().zip(&letters) {
        assert_eq!(letter["code"], "P020", "{what}: {letter}");
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains(said), "{what}: {reason}");
    }
    for ((what, said), answer) in answered.iter().zip(&answers) {
        assert!(answer.starts_with(said), "{what}: {answer}");
    }
    let replayed = folder.segno(name, &["replay", "--from", "start", "--verify", "pipeline.yaml"]).good();
    assert!(replayed.out.contains("identical"), "{}", replayed.out);
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().expect("a command starts");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_map_works_before_anything_is_filled_in() {
    works(&Folder::with("new-map", "map"), "new-map", 6);
}

#[test]
fn a_filter_works_before_anything_is_filled_in() {
    works(&Folder::with("new-filter", "filter"), "new-filter", 4);
}

#[test]
fn a_window_works_before_anything_is_filled_in() {
    works(&Folder::with("new-window", "window"), "new-window", 4);
}

#[test]
fn a_join_works_before_anything_is_filled_in() {
    works(&Folder::with("new-join", "join"), "new-join", 4);
}

#[test]
fn the_same_sources_give_the_same_component_in_another_folder() {
    let digest = |folder: &Folder, inside: &str| {
        folder.segno("", &["new", "same"]).good();
        std::fs::create_dir_all(folder.path(inside)).unwrap();
        let at = format!("{inside}/same");
        std::fs::rename(folder.path("same"), folder.path(&at)).unwrap();
        let built = folder.segno(&at, &["build", "-q", "-o", "json"]).good().json();
        let bytes = std::fs::read(folder.path(&at).join("same.wasm")).unwrap();
        for path in [folder.root.path().to_str().unwrap(), "/.cargo/"] {
            assert!(!bytes.windows(path.len()).any(|part| part == path.as_bytes()), "{path} is in the component");
        }
        built[0]["sha256"].as_str().unwrap().to_owned()
    };
    // The SDK that the command carries; nothing is shared, not even what was compiled.
    let (one, other) = (Folder::alone(), Folder::alone());
    assert_eq!(digest(&one, "a"), digest(&other, "a much/longer folder"));
}

#[test]
fn what_cannot_become_a_project_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("full")).unwrap();
    folder.write("full/notes.txt", "mine");
    folder.write("file", "");
    folder.segno("", &["new", "full"]).failed(2, &["[U007]", "full"]);
    folder.segno("", &["new", "file"]).failed(2, &["[U007]"]);
    assert_eq!(std::fs::read_dir(folder.path("full")).unwrap().count(), 1);
    for name in ["Big", "2x", "fn", "a b", "../up"] {
        folder.segno("", &["new", name]).failed(2, &["[U008]"]);
    }
    folder.segno("", &["new", "x", "--lang", "cobol"]).failed(2, &["[U009]", "\"cobol\"", "rust"]);
    folder.segno("", &["new", "x", "--sdk", "full"]).failed(2, &["[U010]"]);
    folder.segno("", &["new", "x", "--template", "cube"]).failed(2, &["map"]);
    assert!(!folder.path("x").exists());
    // /proc takes no folders, not even from root.
    folder.segno("../../proc", &["new", "x"]).failed(1, &["[U011]"]);
}

/// A folder with programs that say something.
fn programs(folder: &Folder, programs: &[(&str, &str)]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path("programs");
    std::fs::create_dir_all(&path).unwrap();
    for (name, says) in programs {
        std::fs::write(path.join(name), format!("#!/bin/sh\n{says}\n")).unwrap();
        std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    path
}

#[test]
fn a_missing_toolchain_is_named_with_the_way_to_get_it() {
    let folder = Folder::with("missing", "map");
    let with = |path: &Path, command: &[&str]| {
        let mut segno = folder.command(env!("CARGO_BIN_EXE_segno"), "missing");
        segno.args(command).env("PATH", path);
        finish(segno)
    };
    let nothing = programs(&folder, &[]);
    for command in [&["build"][..], &["test"], &["dev", "--once"]] {
        with(&nothing, command).failed(78, &["[P010]", "cargo cannot be started", "https://rustup.rs"]);
    }
    let only_cargo = programs(&folder, &[("cargo", "echo cargo 1.95.0")]);
    with(&only_cargo, &["build"]).failed(78, &["[P010]", "rustc cannot be started"]);
    let old = programs(&folder, &[("rustc", "[ $1 = --version ] && echo 'rustc 1.70.0 (abc 2023-06-01)' || echo /")]);
    with(&old, &["build"]).failed(78, &["[P013]", "rustc 1.70.0", "rustup update"]);
    let new = "[ $1 = --version ] && echo 'rustc 1.999.0 (abc 2040-01-01)' || echo /not/there";
    let no_target = programs(&folder, &[("rustc", new), ("rustup", "echo rustup 1")]);
    if !Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").exists() {
        with(&no_target, &["build"]).failed(78, &["[P010]", "no standard library", "rustup target add wasm32-unknown-unknown"]);
    }
}

#[test]
fn a_plugin_that_wants_the_operating_system_is_refused_by_name() {
    let folder = Folder::with("wants-wasi", "map");
    let clock = "#[link(wasm_import_module = \"wasi_snapshot_preview1\")]\n\
        unsafe extern \"C\" { fn clock_time_get(id: i32, precision: i64, at: *mut u64) -> i32; }\n\nsegno_sdk::plugin!";
    folder.replace("wants-wasi/src/lib.rs", "segno_sdk::plugin!", clock);
    let call = "let mut now = 0;\n        unsafe { clock_time_get(0, 0, &mut now) };\n        let full = now as i64 + order.quantity";
    folder.replace("wants-wasi/src/lib.rs", "let full = order.quantity", call);
    folder
        .segno("wants-wasi", &["build"])
        .failed(78, &["[P004]", "\"clock_time_get\" of \"wasi_snapshot_preview1\"", "the record's event time"]);
    assert!(!folder.path("wants-wasi/wants_wasi.wasm").exists());
}

#[test]
fn a_pipeline_that_names_another_port_is_refused_at_its_line() {
    let folder = Folder::with("other-port", "window");
    folder.replace("other-port/pipeline.yaml", "from: orders.windows", "from: orders.hours");
    folder.segno("other-port", &["build", "-q"]).good();
    let ran = folder.segno("other-port", &["run", "pipeline.yaml"]);
    ran.failed(78, &["hours", "windows", "pipeline.yaml:"]);
}

#[test]
fn a_panic_names_its_line_its_record_and_the_command_that_repeats_it() {
    let folder = Folder::with("panics", "map");
    let lines = folder.read("panics/src/lib.rs");
    folder.replace("panics/src/lib.rs", "let full = ", "let pages = 100 / (order.quantity - 3);\n        let full = pages - pages + ");
    let line = lines.lines().position(|line| line.contains("let full = ")).unwrap() + 1;
    let tested = folder.segno("panics", &["test"]).failed(1, &["[P060]", "1 of 1 scenario"]);
    let place = format!("the plugin panicked at src/lib.rs:{line}:");
    for words in [&place, "attempt to divide by zero", "\"order\":4", "/input.jsonl/"] {
        assert!(tested.out.contains(words), "no {words} in {}", tested.out);
    }
    let again = tested.out.lines().find_map(|line| line.trim().strip_prefix("again ")).expect("a command").trim().to_owned();
    let repeated = folder.shell("panics", &again);
    assert_eq!(repeated.code, 1, "{}", repeated.err);
    assert!(repeated.out.contains(&place) && !repeated.out.contains("\"order\":1"), "{}", repeated.out);
    // Alone, the record is still that of its file, and the command the one that was run.
    let lines = |out: &str| -> Vec<String> {
        out.lines().map(str::trim).filter(|line| line.starts_with("record ") || line.starts_with("again ")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&repeated.out), lines(&tested.out), "{}", repeated.out);
    // The loop shows the same on the sample, and its own command.
    let round = folder.segno("panics", &["dev", "--once"]);
    assert!(round.code == 1 && round.out.contains(&place) && round.out.contains("\"order\":1"), "{}\n{}", round.out, round.err);
    let again = round.out.lines().find_map(|line| line.trim().strip_prefix("again ")).expect("a command").trim().to_owned();
    let repeated = folder.shell("panics", &again);
    assert!(repeated.out.contains(&place) && lines(&repeated.out) == lines(&round.out), "{}\n{}", round.out, repeated.out);
    folder.segno("panics", &["dev", "--once", "--record", "5"]).failed(2, &["[U012]", "offset 5"]);
}

#[test]
fn the_loop_says_where_a_run_would_stop_and_when_nothing_came_through() {
    let folder = Folder::with("stops", "map");
    let yaml = folder.read("stops/pipeline.yaml");
    let strict: String = yaml.lines().filter(|line| !line.contains("on_error")).map(|line| format!("{line}\n")).collect();
    assert_ne!(strict, yaml);
    folder.segno("stops", &["dev", "--once"]).good();
    folder.write("stops/pipeline.yaml", &strict);
    let round = folder.segno("stops", &["dev", "--once"]);
    assert!(round.code == 1 && round.out.contains("`segno run` stops at the first (on_error: fail) (1)"), "{}\n{}", round.out, round.err);
    assert!(!round.out.contains("── dead letters"), "{}", round.out);
    folder.write("stops/pipeline.yaml", &yaml);
    folder.write("stops/sample.jsonl", "{\"order\":1,\"customer\":\"a\",\"at\":\"2024-05-01T10:05:00Z\",\"quantity\":0,\"price_cents\":1}\n");
    folder.segno("stops", &["dev", "--once"]).failed(1, &["no record came through"]);
}

#[test]
fn a_difference_is_shown_line_by_line_until_it_is_recorded() {
    let folder = Folder::with("differs", "map");
    folder.replace("differs/src/lib.rs", "full * self.settings.discount_percent / 100", "1");
    let tested = folder.segno("differs", &["test"]).failed(1, &["[P060]", "--update"]);
    for words in ["--- expected/orders.out.jsonl", "+++ found/orders.out.jsonl", "\"total_cents\":810", "\"total_cents\":899"] {
        assert!(tested.out.contains(words), "no {words} in {}", tested.out);
    }
    let updated = folder.segno("differs", &["test", "--update"]).good();
    assert!(!updated.err.contains("contract.json"), "it is as it was: {}", updated.err);
    folder.segno("differs", &["test"]).good();
    // Without what is expected, nothing passes.
    std::fs::remove_dir_all(folder.path("differs/scenarios/first/expected")).unwrap();
    let tested = folder.segno("differs", &["test"]).failed(1, &["[P060]"]);
    assert!(tested.out.contains("nothing is expected yet"), "{}", tested.out);
    folder.segno("differs", &["test", "--update"]).good();
    // A budget is a promise, too.
    folder.write("differs/scenarios/first/scenario.yaml", "fuel_per_record: 3\n");
    let tested = folder.segno("differs", &["test"]).failed(1, &["[P060]"]);
    assert!(tested.out.contains("3 are allowed"), "{}", tested.out);
    folder.segno("differs", &["test", "--scenario", "second"]).failed(78, &["[P061]", "second"]);
    // What is wrong in one scenario is said at that scenario, and the others are run.
    folder.write("differs/scenarios/first/scenario.yaml", "config: { discount_percent: 101 }\n");
    folder.shell("differs", "cp -r scenarios/first scenarios/later && rm scenarios/later/scenario.yaml && cp -r scenarios/first scenarios/empty && : > scenarios/empty/input.jsonl && mkdir scenarios/bare && cp -r scenarios/later scenarios/unread && echo 'fuel: 3' > scenarios/unread/scenario.yaml").good();
    folder.segno("differs", &["test", "--update"]).failed(1, &["[P060]", "4 of 5 scenarios failed", "nothing that could be recorded"]);
    let tested = folder.segno("differs", &["test"]).failed(1, &["[P060]", "4 of 5 scenarios failed"]);
    assert!(!tested.out.contains("follow: true"), "{}", tested.out);
    for words in ["FAILED scenarios/empty: it does not run", "[S005]", "scenarios/empty\n", "FAILED scenarios/bare: it does not run", "has no input", "FAILED scenarios/unread: it does not run", "unread/scenario.yaml", "FAILED scenarios/first: it does not run", "[P009]", "0 to 100", "first/scenario.yaml", "passed scenarios/later"] {
        assert!(tested.out.contains(words), "no {words} in {}", tested.out);
    }
}

#[test]
fn a_check_on_given_records_says_why_none_came_through() {
    let folder = Folder::with("checked", "join");
    folder.segno("checked", &["build", "-q"]).good();
    let check = |more: &[&str]| folder.segno("checked", &[&["check", "checked.wasm"], more].concat());
    let sample = folder.shell("checked", "ls *.jsonl").good().out.trim().to_owned();
    check(&[]).good();
    check(&["--key", "unread"]).good();
    let asked = check(&["--input", &sample]);
    assert!(asked.code != 0 && asked.err.contains("add --time COLUMN"), "{} {}", asked.out, asked.err);
    let given = check(&["--input", &sample, "--time", "at"]).good();
    assert!(given.out.contains("may run") && !given.out.contains(" 0 rows"), "{}", given.out);
    folder.write("checked/bad.jsonl", "{\"order\":1,\"at\":\"2024-05-01T10:05:00Z\",\"total_cents\":\"x\"}\n");
    let vain = check(&["--input", "bad.jsonl", "--time", "at"]);
    assert!(vain.code == 1 && vain.out.contains("no record came through") && vain.out.contains("rejected   1 time"), "{} {}", vain.out, vain.err);
    check(&["--input", &sample, "--time", "nosuch"]).failed(78, &["--time nosuch: no record has such a field", &sample]);
    check(&["--input", &sample, "--time", "at", "--key", "nosuch"]).failed(78, &["--key nosuch: no record has such a field"]);
    check(&["--input", "not-there", "--time", "at"]).failed(78, &["--input:", "one JSON object on each line"]);
    folder.write("checked/empty.jsonl", "");
    check(&["--input", "empty.jsonl", "--time", "at"]).failed(78, &["it is empty"]);
    // A plugin without event time: what is named is read as one all the same.
    let folder = Folder::with("plain", "map");
    folder.segno("plain", &["build", "-q"]).good();
    folder.write("plain/text.jsonl", "{\"order\":1,\"customer\":\"a\",\"at\":\"2024-05-01T10:05:00Z\",\"quantity\":1,\"price_cents\":100}\n");
    let check = |column: &str| folder.segno("plain", &["check", "plain.wasm", "--input", "text.jsonl", "--time", column]);
    check("at").good();
    let vain = check("customer");
    assert!(vain.code == 1 && vain.out.contains("no record came through"), "{} {}", vain.out, vain.err);
}

#[test]
fn what_a_plugin_remembers_outside_of_its_state_is_found() {
    let folder = Folder::with("remembers", "map");
    folder.replace("remembers/src/lib.rs", "pub struct Price {\n", "pub struct Price {\n    seen: i64,\n");
    folder.replace("remembers/src/lib.rs", "Ok(Self { settings })", "Ok(Self { settings, seen: 0 })");
    folder.replace("remembers/src/lib.rs", "let full = ", "self.seen += 1;\n        let full = self.seen + ");
    let records: String = (0..120).map(|order| format!("{{\"order\":{order},\"customer\":\"a\",\"at\":\"2024-05-01T10:05:00Z\",\"quantity\":1,\"price_cents\":100}}\n")).collect();
    folder.write("remembers/scenarios/first/input.jsonl", &records);
    // Recording it would hide it.
    let tested = folder.segno("remembers", &["test", "--update"]).failed(1, &["[P060]"]);
    assert!(tested.out.contains("[P051]") && tested.out.contains("no keyed state"), "{}", tested.out);
    // Both answers are shown.
    let check = ["check", "remembers.wasm", "--config", "{\"discount_percent\":10}"];
    folder.segno("remembers", &check).failed(1, &["[P051]", "calls of 1024 rows give {", "calls of 7 rows give {", "\"total_cents\":"]);
    // A map whose order is seen, and differs from map to map: the build warns, and what finds it names it.
    folder.replace("remembers/src/lib.rs", "        self.seen += 1;\n", "        let words: std::collections::HashMap<i64, i64> = (0..50).map(|word| (word, word)).collect();\n        self.seen = *words.values().next().unwrap_or(&0);\n");
    let built = folder.segno("remembers", &["build", "-o", "json"]).good().json();
    assert!(built[0]["warning"].as_str().is_some_and(|warning| warning.contains("segno_sdk::HashMap")), "{built:?}");
    let tested = folder.segno("remembers", &["test", "--update"]).failed(1, &["[P060]"]);
    assert!(tested.out.contains("[P051]") && tested.out.contains("segno_sdk::HashMap"), "{}", tested.out);
    folder.segno("remembers", &check).failed(1, &["[P051]", "segno_sdk::HashMap"]);
    folder.replace("remembers/src/lib.rs", "std::collections::HashMap<", "segno_sdk::HashMap<");
    let built = folder.segno("remembers", &["build", "-o", "json"]).good().json();
    assert!(built[0]["warning"].is_null(), "{built:?}");
    folder.segno("remembers", &check).good();
    // What was not tried is not said to be without memory.
    let untried = folder.segno("remembers", &["check", "remembers.wasm", "--config", "{\"discount_percent\":\"x\"}"]);
    assert!(untried.code != 0 && !untried.out.contains("may run"), "{} {}", untried.out, untried.err);
}

#[test]
fn a_column_that_others_rely_on_does_not_go_unnoticed() {
    let folder = Folder::with("breaks", "window");
    folder.replace("breaks/src/lib.rs", "    from: Timestamp,\n", "    since: Timestamp,\n");
    folder.replace("breaks/src/lib.rs", "from: fired", "since: fired");
    folder.segno("breaks", &["test"]).failed(1, &["[P062]", "the column windows.from is gone", "contract.json"]);
    let recorded = folder.segno("breaks", &["test", "--update"]).good();
    assert!(recorded.err.contains("breaks whoever relied on it") && recorded.err.contains("the column windows.from is gone"), "{}", recorded.err);
    folder.segno("breaks", &["test"]).good();
    // State is no matter of opinion: --update does not record it.
    folder.replace("breaks/src/lib.rs", "pub struct Sum {\n    orders: u64,", "pub struct Sum {\n    orders: i64,");
    folder.replace("breaks/src/lib.rs", "orders: fired.value.orders,", "orders: fired.value.orders as u64,");
    folder.segno("breaks", &["test"]).failed(1, &["[P063]", "version"]);
    folder.segno("breaks", &["test", "--update"]).failed(1, &["[P063]"]);
}

/// Values of state are read by the table's columns: ones that another shape wrote would be read wrongly, and nothing would tell.
#[test]
fn state_of_another_shape_is_refused_by_a_run_whatever_is_accepted() {
    let folder = Folder::with("shapes", "window");
    let run = |flags: &[&str]| folder.segno("shapes", &[&["run", "-q", "pipeline.yaml"], flags].concat());
    let another = || {
        let more = folder.read("shapes/sample.jsonl") + "{\"order\":8,\"customer\":\"ann\",\"at\":\"2024-05-02T10:05:00Z\",\"quantity\":1,\"price_cents\":5}\n";
        folder.write("shapes/sample.jsonl", &more);
        folder.segno("shapes", &["build", "-q"]).good();
    };
    folder.segno("shapes", &["build", "-q"]).good();
    run(&[]).good();
    let good = folder.read("shapes/src/lib.rs");
    assert!(good.contains("pub struct Sum {\n    orders: u64,\n    total_cents: i64,\n}"));
    for (columns, said) in [
        ("total_cents: i64,\n    orders: u64,", "in another order"),
        ("orders: u64,\n    total_cents: i64,\n    more: u64,", "more is new"),
    ] {
        folder.write("shapes/src/lib.rs", &good.replace("Sum {\n    orders: u64,\n    total_cents: i64,\n}", &format!("Sum {{\n    {columns}\n}}")));
        another();
        // Also before anything is accepted: what would be refused then is not advised.
        run(&[]).failed(1, &["[P063]", said]);
        run(&["--accept-change"]).failed(1, &["[P063]", "step \"orders\"", said, "windows", "since"]);
    }
    // With a version of its own, a column may be appended.
    let newer = good.replace("pub struct Sum {\n    orders: u64,\n    total_cents: i64,\n}", "#[segno(version = 2)]\npub struct Sum {\n    orders: u64,\n    total_cents: i64,\n    #[segno(since = 2)]\n    more: u64,\n}");
    folder.write("shapes/src/lib.rs", &newer);
    another();
    run(&["--accept-change"]).good();
}

/// `segno dev`, ended when dropped.
struct Loop(Child);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_change_is_seen_without_a_command() {
    let folder = Folder::with("loops", "map");
    let mut command = folder.command(env!("CARGO_BIN_EXE_segno"), "loops");
    command.args(["dev", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Loop(command.spawn().unwrap());
    let (sender, said) = std::sync::mpsc::channel();
    let out = BufReader::new(child.0.stdout.take().unwrap());
    let err = BufReader::new(child.0.stderr.take().unwrap());
    let send = |reader: Box<dyn BufRead + Send>| {
        let sender = sender.clone();
        std::thread::spawn(move || reader.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    };
    send(Box::new(out));
    send(Box::new(err));
    // The next line that has these words.
    let wait = |words: &str| {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = said.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap_or_else(|_| panic!("never {words}"));
            if line.contains(words) {
                return line;
            }
        }
    };
    wait("\"total_cents\":810");
    let mut took = Vec::new();
    for discount in 1..=3 {
        let started = Instant::now();
        folder.write("loops/pipeline.yaml", &folder.read("loops/pipeline.yaml"));
        let old = if discount == 1 { "full - full".to_owned() } else { format!("full + {} - full", discount - 1) };
        folder.replace("loops/src/lib.rs", &old, &format!("full + {discount} - full"));
        wait(&format!("\"total_cents\":{}", 810 + discount));
        took.push(started.elapsed());
    }
    println!("## a change was visible after {:.1}, {:.1} and {:.1} s", took[0].as_secs_f64(), took[1].as_secs_f64(), took[2].as_secs_f64());
    // What does not compile ends nothing.
    folder.replace("loops/src/lib.rs", "full + 3", "full + three");
    wait("P011");
    folder.replace("loops/src/lib.rs", "full + three", "full + 4");
    wait("\"total_cents\":814");
    folder.write("loops/sample.jsonl", &folder.read("loops/sample.jsonl").replace("\"quantity\":2", "\"quantity\":4"));
    wait("\"total_cents\":1624");
}
