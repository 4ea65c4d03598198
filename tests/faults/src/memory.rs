//! A process that gets no more memory: it ends, and the next one goes on as after a kill.
//!
//! Owns: the limit of a running process. Does not own: limits of plugins (scenarios), the kernel's own choice of a victim,
//! which is a SIGKILL and tested as one.

use crate::lab::{Lab, finish};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
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
        // A backtrace of the standard library takes memory, and waits for ever where it gets none.
        let mut command = lab.command(&["run", "-q"]);
        let mut child = command.env_remove("RUST_BACKTRACE").spawn().expect("segno starts");
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
