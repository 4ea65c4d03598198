//! `sharding: by_partition` in one process: each file is a shard of its own.

use crate::lab::{Lab, SETTINGS, finish, plain, text, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

const SHARDS: usize = 3;

const BY_PARTITION: &str = "sharding: by_partition\n";

fn sharded(seed: u64, records: usize) -> Lab {
    let mut lab = Lab::new(seed, records);
    lab.settings.push_str(BY_PARTITION);
    lab
}

/// What a direct computation gives for a file: rows and dead letters.
fn direct(lab: &Lab, file: usize) -> (String, usize) {
    let mut totals: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    let (mut rows, mut bad) = (String::new(), 0);
    let input = std::fs::read_to_string(&lab.inputs()[file]).expect("input");
    for line in input.lines() {
        let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else {
            bad += 1;
            continue;
        };
        let (id, key, price) = (&record["id"], record["key"].as_str().expect("a key"), record["price"].as_i64().expect("a price"));
        let (bids, total) = totals.entry(key.to_owned()).or_default();
        (*bids, *total) = (*bids + 1, *total + price);
        rows.push_str(&format!("{{\"id\":{id},\"key\":\"{key}\",\"price\":{price},\"bids\":{bids},\"total_price\":{total}}}\n"));
    }
    (rows, bad)
}

/// What was published of a shard, in the order of its epochs.
fn published(lab: &Lab, folder: &str, sink: &str, shard: usize) -> String {
    let entries = std::fs::read_dir(lab.path(folder)).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{sink}-{shard}-"))));
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).expect("output")).collect()
}

fn check(lab: &Lab) {
    for shard in 0..SHARDS {
        let (rows, bad) = direct(lab, shard);
        assert!(published(lab, "out", "out", shard) == rows, "shard {shard} differs from the direct computation");
        assert_eq!(published(lab, "dead", "dlq", shard).lines().count(), bad, "dead letters of shard {shard}");
    }
}

/// A command with a number of arguments before and after the pipeline file.
fn ask(lab: &Lab, args: &[&str], after: &[&str]) -> Output {
    lab.command(plain(), args).args(after).output().expect("segno starts")
}

#[test]
fn each_shard_gives_what_its_partition_alone_gives() {
    let lab = sharded(31, 6_000);
    let summary = lab.complete();
    assert_eq!(summary["shards"].as_object().map(|shards| shards.len()), Some(SHARDS), "{summary}");
    assert_eq!(summary["totals"]["records"], 6_000);
    check(&lab);
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("identical").count(), SHARDS, "{said}");
}

#[test]
fn kills_of_a_process_with_several_shards_change_nothing() {
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    let lab = sharded(seed, 6_000);
    let mut kills = 0;
    while kills < 12 {
        let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
        std::thread::sleep(Duration::from_millis(random.random_range(20..250)));
        if child.try_wait().expect("a child").is_some() {
            assert!(finish(child).status.success());
            break;
        }
        child.kill().expect("SIGKILL");
        finish(child);
        kills += 1;
        if random.random_range(0..4) == 0 {
            let _ = std::fs::remove_dir_all(lab.path("work"));
        }
    }
    lab.complete();
    check(&lab);
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "seed {seed}: {said}");
    println!("## several shards in one process: {kills} kills, seed {seed}");
}

#[test]
fn a_failed_shard_stops_alone() {
    let lab = sharded(32, 3_000);
    // A journal entry that was replaced: this shard cannot go on.
    lab.complete();
    let entry = lab.path("store/default/counts/1/journal/000000000002");
    std::fs::write(&entry, "nonsense").expect("damage");
    std::fs::remove_dir_all(lab.path("work")).expect("the work folder");
    std::fs::remove_dir_all(lab.path("store/default/counts/1/manifest")).expect("manifests");
    for file in lab.inputs() {
        let line = "{\"id\":1,\"key\":\"late\",\"price\":1,\"at\":99999999}\n";
        let whole = std::fs::read_to_string(&file).expect("input") + line;
        std::fs::write(&file, whole).expect("input");
    }
    let output = lab.run(&["run", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("J007"), "{}", text(&output.stderr));
    for (shard, rows) in [(0, 1), (1, 0), (2, 1)] {
        assert_eq!(published(&lab, "out", "out", shard).matches("late").count(), rows, "shard {shard}");
    }
}

#[test]
fn commands_speak_of_one_shard_or_of_all() {
    let lab = sharded(33, 3_000);
    lab.complete();
    let lines = |output: &Output| text(&output.stdout).lines().count();
    let keys = |after: &[&str]| ask(&lab, &["state", "scan", "-q", "--limit", "0"], &[&["count"], after].concat());
    let apart: usize = (0..SHARDS).map(|shard| lines(&keys(&["--shard", &shard.to_string()]))).sum();
    assert!(apart > SHARDS);
    assert_eq!(lines(&keys(&[])), apart);
    let listed = ask(&lab, &["checkpoint", "list", "-o", "json"], &[]);
    let checkpoints: Vec<serde_json::Value> =
        text(&listed.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(checkpoints.iter().filter(|one| one["shard"] == 2).count(), lines(&ask(&lab, &["checkpoint", "list", "-o", "json"], &["--shard", "2"])));
    assert_eq!(ask(&lab, &["checkpoint", "verify"], &[]).status.code(), Some(0));
    let one = ask(&lab, &["checkpoint", "inspect", "-o", "json"], &["1", "--shard", "2"]);
    assert_eq!((one.status.code(), lines(&one)), (Some(0), 1));
    assert_eq!(lines(&ask(&lab, &["checkpoint", "create", "-q"], &[])), SHARDS);
    let letters: usize = (0..SHARDS).map(|shard| direct(&lab, shard).1).sum();
    assert_eq!(lines(&ask(&lab, &["dlq", "show", "-o", "json"], &["--limit", "0"])), letters);
    assert_eq!(lines(&ask(&lab, &["dlq", "show", "-o", "json"], &["--limit", "0", "--shard", "0"])), direct(&lab, 0).1);
    let replayed = ask(&lab, &["replay", "-o", "json"], &["--shard", "1"]);
    assert_eq!((replayed.status.code(), lines(&replayed)), (Some(0), 1));
    let none = ask(&lab, &["replay"], &["--shard", "7"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("U005"), "{}", text(&none.stderr));
}

#[test]
fn another_sharding_and_another_number_of_partitions_never_start_over() {
    let mut lab = sharded(34, 1_000);
    lab.complete();
    let divided = std::mem::replace(&mut lab.settings, SETTINGS.to_owned());
    let output = lab.run(&["run", "-q"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("J024"), "{}", text(&output.stderr));
    lab.settings = divided;
    std::fs::copy(&lab.inputs()[0], lab.path("in-3.jsonl")).expect("a fourth file");
    let output = lab.run(&["run", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("S016"), "{}", text(&output.stderr));
    std::fs::remove_file(lab.path("in-3.jsonl")).expect("as it was");
    lab.complete();
    check(&lab);

    let mut single = Lab::new(35, 1_000);
    single.complete();
    single.settings.push_str(BY_PARTITION);
    assert!(text(&single.run(&["run", "-q"]).stderr).contains("J024"));
}

/// Runs the pipeline over files that may grow, until it is stopped.
fn follow(lab: &Lab, flags: &[&str]) -> std::process::Child {
    lab.command(plain(), &["run"]);
    let path = lab.path("pipeline.yaml");
    let follow = std::fs::read_to_string(&path)
        .expect("the pipeline file")
        .replace("files: { path: \"in-*.jsonl\" }", "files: { path: \"in-*.jsonl\", follow: true }\n  idle_timeout: 100ms");
    std::fs::write(lab.path("follow.yaml"), follow).expect("the pipeline file");
    let mut command = std::process::Command::new(plain());
    command.args(["run", "-q"]).args(flags).arg(lab.path("follow.yaml")).env("SEGNO_PLUGIN_CACHE", variable("SEGNO_COMPONENTS").join("cache"));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("segno starts")
}

fn terminate(child: std::process::Child) -> Output {
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("a process id");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("SIGTERM");
    finish(child)
}

/// What the processes of this machine show, by shard, when they have read so many records.
fn await_records(lab: &Lab, wanted: u64) -> Vec<serde_json::Value> {
    let started = std::time::Instant::now();
    loop {
        let output = ask(lab, &["status", "-q", "-o", "json"], &[]);
        let statuses: Vec<serde_json::Value> =
            text(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if statuses.iter().filter_map(|status| status["records"].as_u64()).sum::<u64>() == wanted {
            return statuses;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{wanted} records are not read: {statuses:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_shards_of_a_running_process_are_seen_apart() {
    let lab = sharded(36, 1_000);
    let child = follow(&lab, &[]);
    let statuses = await_records(&lab, 1_000);
    let shards: Vec<&str> = statuses.iter().filter_map(|status| status["shard"].as_str()).collect();
    assert_eq!(shards, ["0", "1", "2"]);
    let one = ask(&lab, &["status", "-q", "-o", "json"], &["--shard", "1"]);
    assert_eq!(text(&one.stdout).lines().count(), 1);
    assert!(terminate(child).status.success());
}

#[test]
fn shards_that_nobody_shares_are_refused_to_a_second_process_and_taken_over_only_when_asked() {
    let lab = sharded(37, 1_000);
    let first = follow(&lab, &[]);
    await_records(&lab, 1_000);
    let second = finish(follow(&lab, &[]));
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("J005"), "{}", text(&second.stderr));
    let third = follow(&lab, &["--take-over"]);
    let generations = |shard: usize| {
        let folder = lab.path(&format!("store/default/counts/{shard}/generation"));
        std::fs::read_dir(folder).map_or(0, |entries| entries.count())
    };
    let started = std::time::Instant::now();
    while (0..SHARDS).any(|shard| generations(shard) < 2) {
        assert!(started.elapsed() < Duration::from_secs(60), "the shards are not taken over");
        std::thread::sleep(Duration::from_millis(5));
    }
    for file in lab.inputs() {
        let line = "{\"id\":1,\"key\":\"late\",\"price\":1,\"at\":99999999}\n";
        let mut file = std::fs::File::options().append(true).open(file).expect("input");
        std::io::Write::write_all(&mut file, line.as_bytes()).expect("input");
    }
    let first = finish(first);
    assert_eq!(first.status.code(), Some(1));
    assert!(text(&first.stderr).contains("J001"), "{}", text(&first.stderr));
    let started = std::time::Instant::now();
    while (0..SHARDS).any(|shard| !published(&lab, "out", "out", shard).contains("late")) {
        assert!(started.elapsed() < Duration::from_secs(60), "the new records are not written");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(terminate(third).status.success());
    check(&lab);
}
