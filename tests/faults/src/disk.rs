//! Full and unwritable disks: the run says so, loses nothing, and goes on when there is space.
//!
//! Owns: small file systems in memory, mounted over the folders of a run; needs the right to mount. Does not own: errors
//! of single operations (segno-durable).

use crate::lab::{Lab, files, finish, text};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Larger than all that a run writes.
const ENOUGH: &str = "size=128m";
/// The first word of a failure that passes should come within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mounted folder; unmounted when the test ends, however it ends.
struct Mount(PathBuf);

fn mount(arguments: &[&str], folder: &Path) {
    let output = Command::new("mount").args(arguments).arg(folder).output().expect("mount is installed");
    assert!(output.status.success(), "this test must be allowed to mount (root, in a container CAP_SYS_ADMIN): {}", text(&output.stderr));
}

impl Mount {
    fn small(folder: PathBuf, size: &str) -> Mount {
        std::fs::create_dir_all(&folder).expect("a folder");
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "segno-test"], &folder);
        Mount(folder)
    }

    fn enlarge(&self) {
        mount(&["-o", &format!("remount,{ENOUGH}")], &self.0);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs until the obstacle is told by its code, removes it, and the same process goes on to the same end.
fn go_on(lab: &Lab, expected: &Lab, code: &str, remove: impl FnOnce()) {
    let said = lab.path("said");
    let mut command = lab.command(&["run"]);
    command.stderr(Stdio::from(std::fs::File::create(&said).expect("a file"))).stdout(Stdio::null());
    let mut child = command.spawn().expect("segno starts");
    let started = Instant::now();
    let read = || text(&std::fs::read(&said).unwrap_or_default());
    let told = |said: &str| said.contains(&format!("code=\"{code}\""));
    while child.try_wait().expect("a child").is_none() && !told(&read()) && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let before = read();
    remove();
    let output = finish(child);
    assert!(told(&before), "{code} is not told: {before}");
    assert!(!read().contains("panicked"), "{}", read());
    assert!(output.status.success(), "the run did not go on: {}", read());
    assert!(lab.output() == expected.output(), "the output differs; it said: {before}");
    assert!(lab.dead_letters() == expected.dead_letters(), "the dead letters differ; it said: {before}");
    lab.check();
    lab.replays();
}

/// Runs with little space in `folder` until the run says so, then gives it space.
fn fill(folder: &str, size: &str, code: &str) {
    let expected = Lab::new(51, 20_000);
    expected.complete();
    let lab = Lab::new(51, 20_000);
    let mount = Mount::small(lab.path(folder), size);
    go_on(&lab, &expected, code, || mount.enlarge());
}

#[test]
fn a_full_sink_folder_loses_nothing() {
    fill("out", "256k", "K003");
}

#[test]
fn a_full_checkpoint_store_loses_nothing() {
    fill("store", "256k", "J006");
}

#[test]
fn a_full_work_folder_loses_nothing() {
    fill("work", "256k", "J012");
}

#[test]
fn an_obstacle_in_the_sink_folder_is_waited_for() {
    let expected = Lab::new(53, 2_000);
    expected.complete();
    let lab = Lab::new(53, 2_000);
    // A folder has the name of a file that will be published.
    let obstacle = lab.path("out/out-single-000000000003.jsonl");
    std::fs::create_dir_all(&obstacle).expect("a folder");
    go_on(&lab, &expected, "K002", || std::fs::remove_dir(&obstacle).expect("an empty folder"));
}

#[test]
fn an_output_folder_that_cannot_be_written_is_refused_and_works_later() {
    let expected = Lab::new(52, 1_000);
    expected.complete();
    // A file in the way; permission bits do not stop root.
    let lab = Lab::new(52, 1_000);
    std::fs::write(lab.path("out"), "in the way").expect("a file");
    let run = lab.segno(&["run", "-q"]);
    assert!(!run.status.success() && text(&run.stderr).contains("K001"), "{}", text(&run.stderr));
    std::fs::remove_file(lab.path("out")).expect("a file");
    lab.complete();
    assert!(lab.output() == expected.output());
    // A file system that is read-only.
    let lab = Lab::new(52, 1_000);
    let mounted = Mount::small(lab.path("out"), "16m");
    mount(&["-o", "remount,ro"], &mounted.0);
    let run = lab.segno(&["run", "-q"]);
    assert!(!run.status.success() && text(&run.stderr).contains("K00"), "{}", text(&run.stderr));
    assert!(files(&lab.path("out")).is_empty());
    mount(&["-o", "remount,rw"], &mounted.0);
    lab.complete();
    assert!(lab.output() == expected.output());
    lab.replays();
}
