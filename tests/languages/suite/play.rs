//! A scenario, run by the command: a pipeline file with a sink for each port, kills on the way, what is published, what is
//! kept, what is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::languages::Language;
use crate::{DLQ, folder};

const PORTS: [&str; 5] = ["kept", "noted", "echo", "computed", "result"];
/// At the end of the input all timers have fired, which other tests show; a window that is left was not let go.
const TABLES: [&str; 2] = ["memory", "windows"];
/// What plugins in interpreters need; the limits themselves are tested elsewhere.
const LIMITS: &str = "{ fuel_per_record: 1G, fuel_init: 100G, deadline: 60s, memory: 1GiB }";
/// The text of `failing`.
const TOLD: &str = "told to fail at ";

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stop {
    Never,
    /// Killed after an epoch is in the journal, before it is published.
    Killed,
    /// The same, and the local state is lost: what the last checkpoint lacks is executed again.
    StateLost,
}

pub struct Setting {
    pub name: &'static str,
    pub batch_rows: u32,
    pub threads: u32,
    pub lanes: u32,
    pub epoch: u32,
    pub stop: Stop,
}

/// What came of a run. A file's lines by its name: each port, `dlq`, `state`.
pub struct Found {
    pub files: BTreeMap<String, Vec<String>>,
    /// The digests of each epoch's outputs and state.
    pub epochs: Vec<String>,
    pub logs: Vec<String>,
    pub counters: Value,
}

pub struct Scenario {
    pub name: String,
    folder: PathBuf,
    settings: Value,
}

impl Scenario {
    pub fn all() -> Vec<Scenario> {
        let entries = std::fs::read_dir(folder().join("scenarios")).expect("scenarios");
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        let read = |folder: PathBuf| {
            let text = std::fs::read_to_string(folder.join("scenario.json")).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let settings = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            Scenario { name: folder.file_name().expect("a name").to_string_lossy().into_owned(), folder, settings }
        };
        folders.into_iter().map(read).collect()
    }

    /// The columns whose value is a language's own.
    fn own(&self) -> Vec<&str> {
        self.settings["own"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub fn has_own(&self) -> bool {
        !self.own().is_empty()
    }

    /// Replaces what is a language's own.
    pub fn mask(&self, files: &mut BTreeMap<String, Vec<String>>) {
        let own = self.own();
        if own.is_empty() {
            return;
        }
        for line in files.values_mut().flatten() {
            let mut row: Value = serde_json::from_str(line).expect("a row");
            own.iter().for_each(|name| {
                if let Some(value) = row.get_mut(*name) {
                    *value = json!("*");
                }
            });
            *line = row.to_string();
        }
    }

    pub fn expected(&self) -> BTreeMap<String, Vec<String>> {
        let entries = std::fs::read_dir(self.folder.join("expected")).unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()));
        entries.flatten().map(|entry| (stem(&entry.path()), lines(&entry.path()))).collect()
    }

    pub fn logs(&self) -> Option<Vec<String>> {
        Some(self.settings.get("logs")?.as_array()?.iter().map(ToString::to_string).collect())
    }

    pub fn counters(&self) -> Option<Value> {
        self.settings.get("counters").cloned()
    }

    /// Writes what was found as what is expected.
    pub fn record(&self, files: &BTreeMap<String, Vec<String>>, logs: &[String], counters: &Value) {
        let expected = self.folder.join("expected");
        let _ = std::fs::remove_dir_all(&expected);
        std::fs::create_dir_all(&expected).expect("a folder");
        for (name, lines) in files {
            std::fs::write(expected.join(format!("{name}.jsonl")), lines.iter().map(|line| format!("{line}\n")).collect::<String>())
                .expect("a file");
        }
        let mut settings = self.settings.clone();
        if self.logs().is_some() {
            settings["logs"] = logs.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line")).collect();
        }
        if self.counters().is_some() {
            settings["counters"] = counters.clone();
        }
        if settings != self.settings {
            let text = serde_json::to_string_pretty(&settings).expect("JSON");
            std::fs::write(self.folder.join("scenario.json"), text + "\n").expect("a file");
        }
    }
}

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

fn component(language: &Language) -> PathBuf {
    let path = variable("SEGNO_COMPONENTS").join(format!("conformance_{}.wasm", language.name));
    assert!(path.is_file(), "{} is not there: `make build` makes it, where the toolchain of the language is found", path.display());
    path
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// The lines of a folder's files, in the order of their names.
fn published(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    files.sort();
    files.iter().flat_map(|file| lines(file)).collect()
}

/// A run that a test waits for; compiled plugins are kept beside the components.
fn command(binary: &str, args: &[&str], at: &Path) -> Command {
    let mut command = Command::new(variable(binary));
    command.args(args).arg(at.join("pipeline.yaml")).env_remove("FAILPOINTS");
    command.env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("segno starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn success(command: Command) -> Result<Output, String> {
    let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let output = output(command);
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("{shown} ended with {}: {}{}", output.status, text(&output.stderr), text(&output.stdout))),
    }
}

fn write_pipeline(at: &Path, language: &Language, config: &Value, delay: &str, setting: &Setting) {
    let &Setting { batch_rows, threads, lanes, epoch, .. } = setting;
    let sinks: String =
        PORTS.iter().map(|port| format!("  - {{ name: {port}, from: conformance.{port}, files: {port} }}\n")).collect();
    let pipeline = format!(
        "version: 1
name: conformance
source:
  files: input.jsonl
  format: json
  time: /time
  watermark_delay: {delay}
  columns: {{ key: utf8, time: timestamp }}
steps:
  - id: conformance
    plugin: \"{}\"
    key: key
    lanes: {lanes}
    config: {config}
    tables: {{ cities: {{ path: \"{}\" }} }}
    limits: {LIMITS}
    on_error: dlq
sinks:
{sinks}dlq: {{ files: dlq }}
batch_rows: {batch_rows}
threads: {threads}
epoch: {{ max_records: {epoch} }}
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true, keep: 1000 }}
",
        component(language).display(),
        folder().join("cities.jsonl").display(),
    );
    std::fs::write(at.join("pipeline.yaml"), pipeline).expect("the pipeline file");
}

/// Runs a scenario to its end, over a kill where the setting has one, and replays it.
pub fn run(language: &Language, scenario: &Scenario, setting: &Setting) -> Result<Found, String> {
    let at = tempfile::tempdir().expect("a folder");
    let at = at.path();
    std::fs::copy(scenario.folder.join("input.jsonl"), at.join("input.jsonl")).expect("the input");
    let delay = scenario.settings["watermark_delay"].as_str().unwrap_or("0s");
    write_pipeline(at, language, &scenario.settings["config"], delay, setting);
    if setting.stop != Stop::Never {
        let mut killed = command("SEGNO_TESTING_BIN", &["run", "-q"], at);
        let epochs = lines(&at.join("input.jsonl")).len() / setting.epoch as usize / 2;
        killed.env("FAILPOINTS", format!("commit::after_journal={epochs}*off->return"));
        let output = output(killed);
        if output.status.success() {
            return Err("the kill missed".to_owned());
        }
        if setting.stop == Stop::StateLost {
            std::fs::remove_dir_all(at.join("work")).expect("local state");
        }
    }
    let ran = success(command("SEGNO_BIN", &["run", "--log", "off,plugin=trace", "-o", "json"], at))?;
    let mut files: BTreeMap<String, Vec<String>> = PORTS.iter().map(|port| ((*port).to_owned(), published(&at.join(port)))).collect();
    let letters = published(&at.join(DLQ)).iter().map(|line| letter(language, line)).collect::<Result<_, _>>()?;
    files.insert(DLQ.to_owned(), letters);
    files.insert("state".to_owned(), state(at)?);
    files.retain(|_, lines| !lines.is_empty());
    let counters = counters(at);
    success(command("SEGNO_BIN", &["replay", "-q", "--from", "start", "--verify"], at))?;
    Ok(Found { files, epochs: epochs(at), logs: logs(&text(&ran.stderr)), counters })
}

/// A dead letter without what differs between languages: the component, and the text of a failure.
fn letter(language: &Language, line: &str) -> Result<String, String> {
    let mut letter: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
    letter["component"] = json!("-");
    if letter["code"] == "P020" {
        let reason = letter["reason"].as_str().unwrap_or_default();
        let value: Value = serde_json::from_str(letter["value"].as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
        if language.tells_failures && !reason.contains(&format!("{TOLD}{}", value["id"])) {
            return Err(format!("the failure does not tell the plugin's text `{TOLD}{}`: {line}", value["id"]));
        }
        letter["reason"] = json!("*");
    }
    Ok(letter.to_string())
}

fn state(at: &Path) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for table in TABLES {
        let mut scan = command("SEGNO_BIN", &["state", "scan", "-q", "-o", "json", "--limit", "0", "--table", table], at);
        scan.arg("conformance");
        let rows = text(&success(scan)?.stdout);
        all.extend(rows.lines().map(|row| format!("{{\"table\":\"{table}\",\"row\":{row}}}")));
    }
    Ok(all)
}

/// The journal's entries about epochs.
fn committed(at: &Path) -> Vec<Value> {
    let journal = at.join("store/default/conformance/single/journal");
    let mut entries: Vec<PathBuf> = std::fs::read_dir(journal).expect("a journal").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let read = |entry: PathBuf| {
        let text = std::fs::read_to_string(&entry).expect("an entry");
        let entry: Value = serde_json::from_str(&text).expect("an entry in JSON");
        (entry["body"]["kind"] == "epoch").then(|| entry["body"].clone())
    };
    entries.into_iter().filter_map(read).collect()
}

/// The digests of each epoch.
fn epochs(at: &Path) -> Vec<String> {
    let shown = |body: Value| {
        json!({"epoch": body["epoch"], "output": body["digests"]["output"], "state": body["digests"]["state"]}).to_string()
    };
    committed(at).into_iter().map(shown).collect()
}

/// What the plugin logged, sorted: lanes have no order among each other.
fn logs(said: &str) -> Vec<String> {
    let told = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_plugin = told.filter(|line| line["target"] == "plugin");
    let mut lines: Vec<String> = of_plugin.map(|line| json!([line["plugin_level"], line["message"]]).to_string()).collect();
    lines.sort();
    lines
}

/// The sums of the step's counters, as the journal has them.
fn counters(at: &Path) -> Value {
    let mut sums = BTreeMap::<String, u64>::new();
    for body in committed(at) {
        for (name, count) in body["counts"]["counters"].as_object().into_iter().flatten() {
            *sums.entry(name.clone()).or_default() += count.as_u64().expect("a count");
        }
    }
    json!(sums)
}

/// The component describes itself as all of them do.
pub fn describes(language: &Language) {
    let mut inspect = Command::new(variable("SEGNO_BIN"));
    inspect.args(["inspect", "-o", "json"]).arg(component(language));
    let shown = inspect.output().expect("segno starts");
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let mut found = shown["description"].clone();
    let wanted: Value = serde_json::from_slice(include_bytes!("description.json")).expect("JSON");
    let object = found.as_object_mut().expect("an object");
    object.remove("name");
    object.remove("version");
    for (field, wanted) in wanted.as_object().expect("an object") {
        assert_eq!(&found[field], wanted, "the description of {}: `{field}`", language.name);
    }
    assert_eq!(found.as_object().map(|found| found.len()), wanted.as_object().map(|wanted| wanted.len()));
}

/// The configurations that are refused, and not with the text that refused.jsonl has.
pub fn refuses(language: &Language) -> Vec<String> {
    let at = tempfile::tempdir().expect("a folder");
    let record = "{\"key\":\"a\",\"time\":\"2024-05-01T00:00:00Z\",\"id\":0}\n";
    std::fs::write(at.path().join("input.jsonl"), record).expect("the input");
    let setting = Setting { name: "", batch_rows: 1024, threads: 1, lanes: 1, epoch: 1, stop: Stop::Never };
    // Errors may be wrapped anywhere.
    let flat = |text: &str| text.split(|c: char| c.is_whitespace() || c == '│').collect::<String>();
    let mut wrong = Vec::new();
    for line in lines(&folder().join("refused.jsonl")) {
        let case: Value = serde_json::from_str(&line).expect("a case");
        write_pipeline(at.path(), language, &case["config"], "0s", &setting);
        let output = output(command("SEGNO_BIN", &["run", "-q"], at.path()));
        let says = case["says"].as_str().expect("a text");
        if output.status.success() || !flat(&text(&output.stderr)).contains(&flat(says)) {
            wrong.push(format!(
                "{} must refuse {}\n  with {says}\n  and ended with {}: {}",
                language.name,
                case["config"],
                output.status,
                text(&output.stderr)
            ));
        }
    }
    wrong
}
