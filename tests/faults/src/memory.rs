//! A process that gets no more memory, or no more threads: it ends, and the next one goes on as after a kill.
//!
//! Owns: the limits of a process. Does not own: limits of plugins (scenarios), the kernel's own choice of a victim,
//! which is a SIGKILL and tested as one.

use crate::lab::{Lab, finish, text, variable};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Epochs that are committed before memory ends: amid the start, early, and late.
const MOMENTS: [usize; 4] = [1, 3, 12, 40];
/// So many epochs come in a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_process_that_gets_no_more_memory_ends_and_loses_nothing() {
    let lab = Lab::new(71, 20_000);
    let mut starved = 0;
    for moment in MOMENTS {
        // A backtrace of the standard library takes memory, and would wait for ever where it gets none.
        let mut command = lab.command(&["run", "-q"]);
        let mut child = command.env("RUST_BACKTRACE", "1").spawn().expect("segno starts");
        let started = Instant::now();
        while lab.objects("journal").len() < moment && child.try_wait().expect("a child").is_none() {
            assert!(started.elapsed() < PATIENCE, "epoch {moment} did not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Less than it has: nothing more is given, and what it has stays.
        let none = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        let limited = prlimit(Some(Pid::from_child(&child)), Resource::Data, none).is_ok();
        let output = finish(child);
        starved += usize::from(limited && !output.status.success());
    }
    println!("## {starved} of {} runs ended for want of memory", MOMENTS.len());
    assert!(starved > 0, "no run wanted more memory");
    lab.complete();
    lab.check();
    lab.replays();
}

/// A user without rights and, mostly, without processes: the limit of threads is one of a user, and root has none.
const NOBODY: u32 = 65_534;
/// Threads that are allowed: from too few to start, in steps, to enough for everything.
const THREADS: [u32; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 60];

#[test]
fn a_process_that_gets_no_more_threads_ends_with_a_code_and_loses_nothing() {
    let mut lab = Lab::new(72, 3_000);
    let plugin = lab.path("keyed_count.wasm");
    let program = lab.path("segno");
    std::fs::copy(variable("SEGNO_COMPONENTS").join("keyed_count.wasm"), &plugin).expect("a plugin that nobody may read");
    std::fs::copy(variable("SEGNO_BIN"), &program).expect("a program that nobody may run");
    lab.step = format!("plugin: \"{}\"\n    key: key\n    on_error: dlq", plugin.display());
    lab.command(&["run", "-q"]);
    let pipeline = lab.path("pipeline.yaml");
    for path in [lab.path("."), pipeline.clone()] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root");
    }
    let mut ended = Vec::new();
    for threads in THREADS {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups", "prlimit"]);
        command.arg(format!("--nproc={threads}")).arg(&program).args(["run", "-q", "--threads", "4"]).arg(&pipeline);
        command.env("HOME", lab.path(".")).env_remove("SEGNO_CACHE").env("SEGNO_PLUGIN_CACHE", lab.path("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = finish(command.spawn().expect("setpriv and prlimit"));
        let said = text(&output.stderr);
        // C++ has no other answer than an abort; everything else is an error with a code.
        let aborted = output.status.signal() == Some(Signal::ABORT.as_raw());
        let coded = output.status.code() == Some(1) && said.contains("R900");
        assert!(output.status.success() || aborted || coded, "{threads} threads, {:?}: {said}", output.status);
        ended.push((threads, output.status.code().map_or("abort".to_owned(), |code| code.to_string())));
    }
    println!("## threads that are allowed, and how the process ends: {ended:?}");
    assert!(ended[0].1 != "0", "a process of one thread got all that it wanted");
    assert_eq!(ended.last().map(|(_, end)| end.as_str()), Some("0"));
    lab.check();
}
