//! Replay finds what differs, and names it.

use crate::lab::{Lab, finish, plain, text, variable};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn entropy_that_leaks_into_one_call_is_found_and_named() {
    let mut lab = Lab::new(12, 3_000);
    lab.settings = "epoch: { max_records: 300 }\nreplay_detail: row\n".to_owned();
    let child = lab
        .command(&variable("SEGNO_TESTING_BIN"), &["run", "-q"])
        .env("SEGNO_PLANT_ENTROPY", "1")
        .spawn()
        .expect("segno starts");
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (code, said) = lab.replay();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("DIFFERENT") && said.contains("R001"), "{said}");
    assert!(said.contains("count") && said.contains("in-") && said.contains("offset"), "no record is named: {said}");
    assert!(said.contains("total_price") || said.contains("price"), "no field is named: {said}");
}

#[test]
fn an_untouched_history_replays_from_every_checkpoint() {
    let lab = Lab::new(13, 3_000);
    lab.complete();
    let checkpoints = lab.objects("manifest");
    assert!(checkpoints >= 2);
    for number in 1..=checkpoints {
        let output = lab.run(&["replay", "--verify", "--from", &number.to_string()]);
        assert!(output.status.success(), "from {number}: {}", text(&output.stderr));
    }
    assert_eq!(lab.replay().0, Some(0));
}

#[test]
fn a_changed_byte_of_the_input_is_found() {
    let lab = Lab::new(14, 2_000);
    lab.complete();
    let path = &lab.inputs()[1];
    let bytes = std::fs::read(path).expect("input");
    let input = String::from_utf8(bytes).expect("text");
    // Same length, another price: only digests can tell.
    let at = input.find("\"price\":1").expect("a price") + 8;
    let mut changed = input.into_bytes();
    changed[at] = b'2';
    std::fs::write(path, changed).expect("input");
    let (code, said) = lab.replay();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in-1.jsonl"), "{said}");
}

/// Which file was ready first while an epoch was read must leave no trace: neither for replays nor for recovery.
#[test]
fn files_without_event_time_follow_each_other_within_an_epoch_whichever_was_ready_first() {
    let mut lab = Lab::new(16, 60_000);
    lab.settings = "epoch: { max_records: 5000 }\nreplay_detail: row\n".to_owned();
    lab.command(plain(), &["run"]);
    let path = lab.path("no-time.yaml");
    let pipeline = std::fs::read_to_string(lab.path("pipeline.yaml")).expect("the pipeline file");
    let pipeline = pipeline.replace("  time: /at\n  watermark_delay: 0s\n", "").replace("replay_debt: 1ms", "replay_debt: 1h");
    std::fs::write(&path, pipeline).expect("the pipeline file");
    let segno = |args: &[&str]| {
        let output = Command::new(plain()).args(args).arg(&path).output().expect("segno starts");
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    };
    // Killed without a checkpoint, and its disk lost: all of it is executed again.
    let mut child = Command::new(plain()).args(["run", "-q"]).arg(&path).spawn().expect("segno starts");
    let started = Instant::now();
    while lab.objects("journal") < 7 && child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "no epoch was committed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    finish(child);
    std::fs::remove_dir_all(lab.path("work")).expect("the work folder");
    segno(&["run", "-q"]);
    for _ in 0..4 {
        segno(&["replay", "-q", "--from", "start", "--verify"]);
    }
}
