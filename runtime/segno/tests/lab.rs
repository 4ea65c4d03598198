//! A pipeline in a folder of its own: skewed, disordered input in three partitions, a keyed count, small epochs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of this input takes less than a second; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

pub struct Lab {
    folder: tempfile::TempDir,
    /// Added to the pipeline file.
    pub settings: String,
    /// Where checkpoints go.
    pub checkpoint_store: String,
    /// Checkpoints that are kept.
    pub keep: u32,
    /// Added to the environment of every command.
    pub variables: Vec<(String, String)>,
    /// The steps, as items of the list; `COMPONENTS` is the folder of the plugins.
    pub steps: String,
    /// The columns of the output.
    pub columns: String,
    /// Further sinks, as items of the list.
    pub sinks: String,
    /// How late records may come.
    pub delay: String,
    /// The tenant that `settings` name, if any.
    pub tenant: String,
}

const STEPS: &str = "  - id: count
    plugin: \"COMPONENTS/keyed_count.wasm\"
    key: key
    on_error: dlq
";
const COLUMNS: &str = "id, key, price, bids, total_price";

/// What decides no output, and may differ between runs.
pub const SETTINGS: &str = "epoch: { max_records: 300 }\n";

impl Lab {
    /// `records` records in three files, the first with most of them; one in 500 lines is no record.
    pub fn new(seed: u64, records: usize) -> Lab {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut random = StdRng::seed_from_u64(seed);
        let mut files = [String::new(), String::new(), String::new()];
        for id in 0..records {
            let file = [0, 0, 0, 0, 0, 1, 1, 1, 2][random.random_range(0..9)];
            let disorder = random.random_range(0..5_000);
            let key = (random.random::<f64>().powi(4) * 2_000.0) as u32;
            let price = random.random_range(-100..1_000);
            let line = if random.random_range(0..500) == 0 {
                format!("{{\"id\":{id},\"key\":\"k{key}\",\"price\":broken}}\n")
            } else {
                format!("{{\"id\":{id},\"key\":\"k{key}\",\"price\":{price},\"at\":{}}}\n", id as i64 * 10 - disorder)
            };
            files[file].push_str(&line);
        }
        let lab = Lab {
            folder,
            settings: SETTINGS.to_owned(),
            checkpoint_store: "store: \"file://store\", ephemeral: true".to_owned(),
            keep: 1_000,
            variables: Vec::new(),
            steps: STEPS.to_owned(),
            columns: COLUMNS.to_owned(),
            sinks: String::new(),
            delay: "0s".to_owned(),
            tenant: "default".to_owned(),
        };
        for (number, text) in files.iter().enumerate() {
            std::fs::write(lab.path(&format!("in-{number}.jsonl")), text).expect("input");
        }
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn inputs(&self) -> Vec<PathBuf> {
        (0..3).map(|number| self.path(&format!("in-{number}.jsonl"))).collect()
    }

    /// Where the objects of the shard are.
    pub fn store(&self) -> PathBuf {
        self.path("store").join(&self.tenant).join("counts/single")
    }

    fn write_pipeline(&self) -> PathBuf {
        let components = variable("SEGNO_COMPONENTS");
        let text = format!(
            "version: 1
name: counts
source:
  files: {{ path: \"in-*.jsonl\" }}
  format: json
  time: /at
  watermark_delay: {}
  columns: {{ id: i64, key: utf8, at: timestamp }}
  on_error: dlq
steps:
{}sinks:
  - name: out
    files: {{ path: out }}
    columns: [{}]
{}dlq: {{ files: {{ path: dead }} }}
work_dir: work
checkpoint: {{ {}, replay_debt: 1ms, keep: {} }}
{}",
            self.delay,
            self.steps.replace("COMPONENTS", &components.display().to_string()),
            self.columns,
            self.sinks,
            self.checkpoint_store,
            self.keep,
            self.settings
        );
        let path = self.path("pipeline.yaml");
        std::fs::write(&path, text).expect("the pipeline file");
        path
    }

    pub fn command(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(args).arg(self.write_pipeline());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env_remove("FAILPOINTS").env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Output {
        finish(self.command(plain(), args).spawn().expect("segno starts"))
    }

    /// Runs the pipeline to the end of its input, successfully.
    pub fn complete(&self) -> serde_json::Value {
        let output = self.run(&["run", "-q", "-o", "json"]);
        assert!(output.status.success(), "the run failed: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a summary in JSON")
    }

    /// All published bytes of the sink, in the order of the files' names.
    pub fn output(&self) -> Vec<u8> {
        read_folder(&self.path("out"))
    }

    pub fn dead_letters(&self) -> Vec<u8> {
        read_folder(&self.path("dead"))
    }

    /// All state, as `state scan` prints it.
    pub fn state(&self) -> String {
        let mut command = Command::new(plain());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(["state", "scan", "-q", "--limit", "0"]).arg(self.write_pipeline()).arg("count");
        let output = command.output().expect("segno starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The independent checker agrees with the whole output.
    pub fn check(&self) {
        let mut command = Command::new(variable("SEGNO_CHECKER_BIN"));
        command.arg("counts").arg("--input").args(self.inputs());
        command.arg("--out").arg(self.path("out")).arg("--dead-letters").arg(self.path("dead"));
        let output = command.output().expect("the checker starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Replays everything from the start and gives the exit code and what was said.
    pub fn replay(&self) -> (Option<i32>, String) {
        let mut command = Command::new(plain());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(["replay", "--from", "start", "--verify"]).arg(self.write_pipeline());
        let output = command.output().expect("segno starts");
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    /// Numbered objects of a kind, such as `journal` or `manifest`.
    pub fn objects(&self, kind: &str) -> usize {
        std::fs::read_dir(self.store().join(kind)).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).count()
        })
    }
}

/// The command as it is released.
pub fn plain() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_segno"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The address that a process says that it listens on; what it says later is read by nobody, but read.
pub fn address_of(child: &mut Child) -> String {
    let mut said = BufReader::new(child.stderr.take().expect("standard error"));
    let address = loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).expect("a line") > 0, "it ended without saying where it listens");
        if let Some(rest) = line.split("http://").nth(1) {
            break rest.split('/').next().expect("an address").to_owned();
        }
    };
    // Without a reader it would stop at a full pipe.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    address
}

/// Waits for the end of a process; one that hangs is killed and fails the test.
pub fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            let output = child.wait_with_output().expect("a child");
            panic!("the command hung for {PATIENCE:?}; it said: {}", text(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("a child")
}

/// A copy of a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            // Sockets are none of the state.
            false if from.is_file() => drop(std::fs::copy(from, to).expect("copied")),
            false => {}
        }
    }
}

fn read_folder(folder: &Path) -> Vec<u8> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    names.sort();
    names.iter().flat_map(|name| std::fs::read(name).expect("output")).collect()
}
