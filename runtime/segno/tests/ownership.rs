//! One owner at a time: the lock on this machine, the generation everywhere.

use crate::lab::{Lab, finish, plain, text, variable};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A pipeline that runs until it is stopped: its input may grow.
fn follow(lab: &Lab) -> Child {
    lab.command(plain(), &["run", "-q"]);
    let path = lab.path("pipeline.yaml");
    let text = std::fs::read_to_string(&path).expect("the pipeline file").replace(
        "files: { path: \"in-*.jsonl\" }",
        "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 100ms",
    );
    std::fs::write(lab.path("follow.yaml"), text).expect("the pipeline file");
    start(lab, &[])
}

fn start(lab: &Lab, flags: &[&str]) -> Child {
    Command::new(plain())
        .args(["run", "-q"])
        .args(flags)
        .arg(lab.path("follow.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("segno starts")
}

fn wait_for(what: &str, mut met: impl FnMut() -> bool) {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(child: Child) -> std::process::Output {
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    finish(child)
}

#[test]
fn a_second_process_is_refused_and_told_who_runs() {
    let lab = Lab::new(5, 1_000);
    let first = follow(&lab);
    wait_for("the first commit", || lab.objects("journal") > 1);
    let second = finish(start(&lab, &[]));
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("J005") && said.contains(&first.id().to_string()), "{said}");
    assert!(stop(first).status.success());
}

#[test]
fn after_a_take_over_the_first_process_commits_nothing_more() {
    let lab = Lab::new(6, 1_000);
    let first = follow(&lab);
    let lines = |bytes: Vec<u8>| bytes.iter().filter(|&&byte| byte == b'\n').count();
    wait_for("all of the input", || lines(lab.output()) + lines(lab.dead_letters()) == 1_000);
    let second = start(&lab, &["--take-over"]);
    wait_for("the second generation", || lab.objects("generation") == 2);
    let fence = lab.objects("journal");
    wait_for("the second fence", || lab.objects("journal") >= fence.max(2));
    // Both see new records; only one may commit them.
    let mut file = std::fs::File::options().append(true).open(&lab.inputs()[0]).expect("input");
    for id in 0..100 {
        writeln!(file, "{{\"id\":{id},\"key\":\"new\",\"price\":1,\"at\":{}}}", 1_000_000 + id).expect("input");
    }
    let output = finish(first);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("J001"), "{}", text(&output.stderr));
    wait_for("the new records", || lines(lab.output()) + lines(lab.dead_letters()) == 1_100);
    // The first is gone, and its lock with it: the second still owns the pipeline.
    let third = finish(start(&lab, &[]));
    assert!(text(&third.stderr).contains("J005") && text(&third.stderr).contains(&second.id().to_string()));
    let output = stop(second);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let generations = lab.objects("generation");
    let last = follow(&lab);
    wait_for("the last generation", || lab.objects("generation") > generations);
    let output = stop(last);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let left: Vec<_> = std::fs::read_dir(lab.path("work")).expect("the work folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("take-over")), "{left:?}");
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_process_that_sleeps_before_its_generation_does_not_take_the_pipeline_back() {
    let lab = Lab::new(8, 1_000);
    stop(follow(&lab));
    let generations = lab.objects("generation");
    let sleeper = Command::new(variable("SEGNO_TESTING_BIN"))
        .args(["run", "-q"])
        .arg(lab.path("follow.yaml"))
        .env("FAILPOINTS", "recovery::before_generation=1*return(stop)")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("segno starts");
    let stat = format!("/proc/{}/stat", sleeper.id());
    wait_for("the sleep", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")));
    let second = start(&lab, &["--take-over"]);
    wait_for("the second generation", || lab.objects("generation") == generations + 1);
    let id = rustix::process::Pid::from_raw(sleeper.id() as i32).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::CONT).expect("it continues");
    let output = finish(sleeper);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("J005") && said.contains(&second.id().to_string()), "{said}");
    assert_eq!(lab.objects("generation"), generations + 1, "the sleeper took no generation");
    assert!(stop(second).status.success());
}
