//! Clocks that are wrong: by a day, stepping in the middle of a run, other ones in each process. Wall time decides nothing.
//!
//! Owns: processes whose wall clock is shifted (libfaketime, which `make setup` installs). Does not own: ages of objects
//! by the store's clock (`segno-durable`), workers of a Kafka group (`segno-kafka`).

use crate::lab::{Lab, files, finish, text, variable};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
const HOUR_S: i64 = 3_600;
/// How far off the clocks of the runs are, hours: back and forth, so that each sees times of the one before that lie ahead.
pub const HOURS: [i64; 5] = [26, -26, 0, 700, -700];
/// Of the input: some hundred epochs.
const RECORDS: usize = 40_000;

fn library() -> PathBuf {
    let triples = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let found = triples.map(|triple| triple.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is not installed: run `make setup`")
}

/// A file that says how far off a process's wall clock is, in seconds, and may say something else at any moment.
pub struct Clock(PathBuf);

impl Clock {
    pub fn new(path: PathBuf, seconds: i64) -> Clock {
        let clock = Clock(path);
        clock.set(seconds);
        clock
    }

    pub fn set(&self, seconds: i64) {
        // Whole or not at all: a process may be reading it.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("a clock");
        std::fs::rename(next, &self.0).expect("a clock");
    }

    pub fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &self.0);
        // Monotonic time is what a kernel keeps right. The file is looked at each time.
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1")
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis() as i64
}

/// How far off the clock of each epoch was, in hours, as the journal has it.
fn hours_journalled(lab: &Lab) -> Vec<i64> {
    let now = now_ms();
    let entry = |path: &PathBuf| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).expect("an entry")).expect("JSON");
    let time = |path: &PathBuf| entry(path)["body"]["logical_time_ms"].as_i64();
    lab.objects("journal").iter().filter_map(time).map(|time| (time - now).div_euclid(HOUR_MS) + 1).collect()
}

fn await_entries(lab: &Lab, entries: usize, child: &mut Child) {
    let started = Instant::now();
    while lab.objects("journal").len() < entries {
        assert!(started.elapsed() < PATIENCE, "entry {entries} does not come");
        if child.try_wait().expect("a child").is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clocks_that_are_days_off_and_step_back_and_forth_change_nothing() {
    let undisturbed = Lab::new(81, RECORDS);
    undisturbed.complete();
    let lab = Lab::new(81, RECORDS);
    for (run, hours) in HOURS.into_iter().enumerate() {
        let clock = Clock::new(lab.path("clock"), hours * HOUR_S);
        let mut child = clock.of(&mut lab.command(&["run", "-q"])).spawn().expect("segno starts");
        // Steps by an hour and back, while epochs are committed; then it is killed.
        for step in 1..=4 {
            await_entries(&lab, lab.objects("journal").len() + 4, &mut child);
            clock.set((hours + [-1, 1][step % 2]) * HOUR_S);
        }
        let _ = child.kill();
        let output = finish(child);
        assert!(output.status.code().is_none_or(|code| code == 0), "{}", text(&output.stderr));
        if run % 2 == 1 {
            // What it goes on from, it has from the store.
            let _ = std::fs::remove_dir_all(lab.path("work"));
        }
    }
    let clock = Clock::new(lab.path("clock"), -26 * HOUR_S);
    let output = finish(clock.of(&mut lab.command(&["run", "-q"])).spawn().expect("segno starts"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let journalled = hours_journalled(&lab);
    for hours in HOURS {
        assert!(journalled.iter().any(|seen| (seen - hours).abs() <= 1), "no epoch was made {hours} hours off: {journalled:?}");
    }
    let back = journalled.windows(2).filter(|two| two[1] < two[0]).count();
    assert!(back > HOURS.len(), "the clock stepped back {back} times");
    assert!(lab.output() == undisturbed.output(), "the output differs");
    assert!(lab.dead_letters() == undisturbed.dead_letters(), "the dead letters differ");
    lab.check();
    lab.replays();
}

#[test]
fn who_owns_a_pipeline_does_not_depend_on_whose_clock_is_ahead() {
    for (first, second) in [(26, -26), (-26, 26)] {
        let lab = Lab::new(82, RECORDS);
        let clock = Clock::new(lab.path("first"), first * HOUR_S);
        let mut overtaken = clock.of(&mut lab.command(&["run", "-q"])).spawn().expect("segno starts");
        await_entries(&lab, 5, &mut overtaken);
        let pid = Pid::from_child(&overtaken);
        kill_process(pid, Signal::STOP).expect("a signal");
        // Another machine, with a work folder of its own.
        let file = std::fs::read_to_string(lab.path("pipeline.yaml")).expect("the pipeline file");
        std::fs::write(lab.path("elsewhere.yaml"), file.replace("work_dir: work", "work_dir: elsewhere")).expect("a file");
        let mut command = Command::new(variable("SEGNO_BIN"));
        command.args(["run", "-q"]).arg(lab.path("elsewhere.yaml")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let clock = Clock::new(lab.path("second"), second * HOUR_S);
        let output = finish(clock.of(&mut command).spawn().expect("segno starts"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (entries, published) = (lab.objects("journal").len(), files(&lab.path("out")).len());
        kill_process(pid, Signal::CONT).expect("a signal");
        let output = finish(overtaken);
        assert!(!output.status.success() && text(&output.stderr).contains("J001"), "{}", text(&output.stderr));
        assert_eq!((lab.objects("journal").len(), files(&lab.path("out")).len()), (entries, published));
        lab.check();
        lab.replays();
    }
}
