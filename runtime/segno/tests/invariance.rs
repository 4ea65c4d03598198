//! Output is a function of the input: batches, epochs, threads, restarts and the moment of arrival leave no trace.

use crate::lab::{Lab, finish, plain};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::Write;
use std::time::{Duration, Instant};

const RECORDS: usize = 8_000;

#[test]
fn batches_epochs_threads_and_restarts_leave_no_trace() {
    let seed = rand::random::<u64>();
    println!("## invariance: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let reference = Lab::new(3, RECORDS);
    reference.complete();
    reference.check();
    let (output, dead, state) = (reference.output(), reference.dead_letters(), reference.state());
    for round in 0..24 {
        let mut lab = Lab::new(3, RECORDS);
        let (rows, records, threads) =
            (random.random_range(1..=4_096), random.random_range(1..=4_000), random.random_range(1..=4));
        // Very small epochs are slow; a few of them show as much as many.
        let records = if round < 2 { 17 + round } else { records.max(100) };
        lab.settings = format!("batch_rows: {rows}\nepoch: {{ max_records: {records} }}\nthreads: {threads}\n");
        for _ in 0..random.random_range(0..3) {
            let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
            std::thread::sleep(Duration::from_millis(random.random_range(5..120)));
            let _ = child.kill();
            finish(child);
        }
        lab.complete();
        let setting = &lab.settings;
        assert!(lab.output() == output, "seed {seed}: the output differs with {setting}");
        assert!(lab.dead_letters() == dead, "seed {seed}: the dead letters differ with {setting}");
        assert!(lab.state() == state, "seed {seed}: the state differs with {setting}");
    }
}

/// Files that grow while they are read, one of which falls silent: the order follows from the logs and the journalled
/// silences, and a replay agrees.
#[test]
fn growing_files_and_a_silent_partition_replay_identically() {
    let lab = Lab::new(4, 3_000);
    let whole: Vec<Vec<u8>> = lab.inputs().iter().map(|path| std::fs::read(path).expect("input")).collect();
    for path in lab.inputs() {
        std::fs::write(path, b"").expect("an empty file");
    }
    let pipeline = lab.path("follow.yaml");
    let mut command = lab.command(plain(), &["run", "-q"]);
    let text = std::fs::read_to_string(lab.path("pipeline.yaml")).expect("the pipeline file");
    let text = text
        .replace("files: { path: \"in-*.jsonl\" }", "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 300ms")
        .replace("max_records: 300", "max_records: 300, max_delay: 20ms");
    std::fs::write(&pipeline, text).expect("the pipeline file");
    command = {
        let mut other = std::process::Command::new(command.get_program());
        other.args(["run", "-q"]).arg(&pipeline).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        other
    };
    let child = command.spawn().expect("segno starts");
    let mut files: Vec<_> =
        lab.inputs().iter().map(|path| std::fs::File::options().append(true).open(path).expect("input")).collect();
    for piece in 0..10 {
        for (number, bytes) in whole.iter().enumerate() {
            // The last partition falls silent after a third of its bytes, and never speaks again.
            if number == 2 && piece >= 3 {
                continue;
            }
            let (from, to) = (bytes.len() * piece / 10, bytes.len() * (piece + 1) / 10);
            files[number].write_all(&bytes[from..to]).expect("input");
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let records = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    let silent = whole[2][..whole[2].len() * 3 / 10].iter().filter(|&&byte| byte == b'\n').count();
    let wanted = records(&whole[0]) + records(&whole[1]) + silent;
    let started = Instant::now();
    while records(&lab.output()) + records(&lab.dead_letters()) < wanted {
        assert!(started.elapsed() < Duration::from_secs(60), "the silent partition holds the others for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("SIGTERM");
    let output = finish(child);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(lab.objects("manifest") > 0, "a stop makes a checkpoint");
    let replayed = std::process::Command::new(plain())
        .args(["replay", "--from", "start", "--verify"])
        .arg(&pipeline)
        .output()
        .expect("segno starts");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}
