//! A pipeline in a folder of its own: skewed, disordered input in three partitions, a keyed step, small epochs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A run of this input takes a second; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// An environment variable that `make test` sets.
pub fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need and names it"),
    }
}

/// The root of the repository. Tests run in their crate's folder; a path from the time of compilation may be another
/// clone's, since clones share compiled tests.
pub fn repository() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| Path::new("../..").canonicalize().expect("the repository"));
    &ROOT
}

pub struct Lab {
    folder: tempfile::TempDir,
    pub step: String,
    /// Columns of the sink.
    pub columns: &'static str,
    /// Added to the pipeline file.
    pub settings: String,
}

impl Lab {
    /// `records` lines in three files, the first with most of them; one in 500 lines is no record.
    pub fn new(seed: u64, records: usize) -> Lab {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut random = StdRng::seed_from_u64(seed);
        let mut files = [String::new(), String::new(), String::new()];
        for id in 0..records {
            let file = [0, 0, 0, 0, 0, 1, 1, 1, 2][random.random_range(0..9)];
            let disorder: i64 = random.random_range(0..5_000);
            let key = (random.random::<f64>().powi(4) * 2_000.0) as u32;
            let price = random.random_range(-100..600);
            let broken = random.random_range(0..500) == 0;
            let price = if broken { "broken".to_owned() } else { price.to_string() };
            let line = format!("{{\"id\":{id},\"key\":\"k{key}\",\"price\":{price},\"at\":{}}}\n", id as i64 * 10 - disorder);
            files[file].push_str(&line);
        }
        let plugin = variable("SEGNO_COMPONENTS").join("keyed_count.wasm");
        let lab = Lab {
            folder,
            step: format!("plugin: \"{}\"\n    key: key\n    on_error: dlq", plugin.display()),
            columns: "[id, key, price, bids, total_price]",
            settings: "epoch: { max_records: 300 }\n".to_owned(),
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
        self.path("store/default/counts/single")
    }

    fn write_pipeline(&self) -> PathBuf {
        let text = format!(
            "version: 1
name: counts
source:
  files: {{ path: \"in-*.jsonl\" }}
  format: json
  time: /at
  columns: {{ id: i64, key: utf8, at: timestamp }}
  on_error: dlq
steps:
  - id: count
    {}
sinks:
  - name: out
    files: {{ path: out }}
    columns: {}
dlq: {{ files: {{ path: dead }} }}
work_dir: work
checkpoint: {{ store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }}
{}",
            self.step, self.columns, self.settings
        );
        let path = self.path("pipeline.yaml");
        std::fs::write(&path, text).expect("the pipeline file");
        path
    }

    /// The released command with these arguments, which end with the pipeline file.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(args).arg(self.write_pipeline()).env_remove("FAILPOINTS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn segno(&self, args: &[&str]) -> Output {
        finish(self.command(args).spawn().expect("segno starts"))
    }

    /// Runs the pipeline to the end of its input, successfully.
    pub fn complete(&self) {
        let output = self.segno(&["run", "-q"]);
        assert!(output.status.success(), "the run failed: {}", text(&output.stderr));
    }

    /// All published bytes of the sink, in the order of the files' names.
    pub fn output(&self) -> Vec<u8> {
        read_folder(&self.path("out"))
    }

    pub fn dead_letters(&self) -> Vec<u8> {
        read_folder(&self.path("dead"))
    }

    /// The independent checker agrees with the whole output.
    pub fn check(&self) {
        let mut command = Command::new(variable("SEGNO_CHECKER_BIN"));
        command.arg("counts").arg("--input").args(self.inputs());
        command.arg("--out").arg(self.path("out")).arg("--dead-letters").arg(self.path("dead"));
        let output = command.output().expect("the checker starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Replays everything from the start, and everything is identical.
    pub fn replays(&self) {
        let output = self.segno(&["replay", "--from", "start", "--verify"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }

    /// Objects of a kind, such as `journal` or `manifest`, in the order of their numbers.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        objects(&self.store().join(kind))
    }
}

/// The visible files of a folder, sorted; none if there is no folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let visible = |path: &PathBuf| path.is_file() && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(visible).collect();
    files.sort();
    files
}

/// The numbered objects of a folder, sorted. A name with anything else in it is the body of an object that is being created: it
/// is no object until it has its name, and whoever writes it removes it where another was first.
pub fn objects(folder: &Path) -> Vec<PathBuf> {
    let numbered = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    files(folder).into_iter().filter(numbered).collect()
}

pub fn read_folder(folder: &Path) -> Vec<u8> {
    files(folder).iter().flat_map(|name| std::fs::read(name).expect("output")).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
