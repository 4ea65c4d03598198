//! Whole runs with the checkpoint store on an S3 server: through faults, kills and damage, the output is that of an
//! undisturbed run.

use crate::lab::{Lab, finish, plain, text};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_durable::checkpoint;
use segno_durable::journal;
use segno_durable::store::Objects;
use segno_proxy::http::{Act, HttpProxy};
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 12_000;
const KILLS: u64 = 25;
/// One request in so many meets a fault.
const FAULT_ONE_IN: u32 = 12;
/// Longer than any run here takes.
const PATIENCE: Duration = Duration::from_secs(100);
/// Time of a request that hangs: long for this machine, short for a test.
const REQUEST_TIME_MAX: &str = "1s";

pub fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) => value,
        Err(_) => panic!("{name} is not set: run the tests with `make test`, which starts an S3 server"),
    }
}

/// A lab whose store is a new prefix of the test bucket, reached through `endpoint`; and the store's objects, directly.
fn lab(records: usize, endpoint: &str) -> (Lab, Objects) {
    let mut lab = Lab::new(21, records);
    let objects = in_bucket(&mut lab, endpoint);
    (lab, objects)
}

/// Lets a lab's store be a new prefix of the test bucket.
pub fn in_bucket(lab: &mut Lab, endpoint: &str) -> Objects {
    let url = format!("s3://{}/segno-{}", variable("SEGNO_TEST_S3_BUCKET"), journal::nonce());
    lab.checkpoint_store = format!("store: \"{url}\"");
    let variables = |endpoint: &str| {
        [
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_ACCESS_KEY_ID", variable("AWS_ACCESS_KEY_ID")),
            ("AWS_SECRET_ACCESS_KEY", variable("AWS_SECRET_ACCESS_KEY")),
            ("AWS_TIMEOUT", REQUEST_TIME_MAX.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    };
    lab.variables = variables(endpoint).to_vec();
    let place = [lab.tenant.as_str(), "counts", "single"];
    let direct = variables(&variable("SEGNO_TEST_S3"));
    Objects::open_with(&url, Path::new("."), place, direct).expect("a store")
}

/// Output and dead letters of a run without any fault.
fn undisturbed(records: usize) -> (Vec<u8>, Vec<u8>) {
    let expected = Lab::new(21, records);
    expected.complete();
    expected.check();
    (expected.output(), expected.dead_letters())
}

fn any_fault(random: &mut StdRng) -> Act {
    let answer = |status, code: &str| Act::Answer { status, code: code.to_owned() };
    match random.random_range(0..20) {
        0..5 => Act::slow_down(),
        5..8 => answer(500, "InternalError"),
        8..10 => answer(403, "ExpiredToken"),
        10..14 => Act::ApplyThenAnswer { status: 503, code: "SlowDown".to_owned() },
        14..17 => Act::ApplyThenCut,
        17 => Act::CutBody { after: 30 },
        18 => Act::HideKeys { containing: "0".to_owned() },
        _ => Act::ApplyThenHang,
    }
}

#[test]
fn kills_under_random_faults_of_the_store_change_nothing() {
    let seed = rand::random::<u64>();
    println!("## kills over S3: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (output, dead) = undisturbed(RECORDS);
    let proxy = HttpProxy::start(&variable("SEGNO_TEST_S3")).expect("a proxy");
    let mut faults = StdRng::seed_from_u64(seed ^ 1);
    proxy.decide(move |_| match faults.random_range(0..FAULT_ONE_IN) {
        0 => any_fault(&mut faults),
        _ => Act::Pass,
    });
    let (mut kills, mut finished) = (0, 0);
    while kills < KILLS {
        let (lab, objects) = lab(RECORDS, &proxy.endpoint());
        loop {
            let wanted = proxy.seen().requests + random.random_range(1..150);
            let mut child = lab.command(plain(), &["run", "-q"]).spawn().expect("segno starts");
            // Told by requests, so that kills hit every phase; the run may end before.
            let met = (0..PATIENCE.as_millis() / 20).any(|_| {
                proxy.wait(Duration::from_millis(20), |seen| seen.requests >= wanted)
                    || child.try_wait().expect("a child").is_some()
            });
            assert!(met, "seed {seed}: neither an end nor {wanted} requests");
            if child.try_wait().expect("a child").is_some() {
                let run = finish(child);
                assert!(run.status.success(), "seed {seed}: {}", text(&run.stderr));
                break;
            }
            child.kill().expect("SIGKILL");
            finish(child);
            kills += 1;
            if random.random_range(0..3) == 0 {
                let _ = std::fs::remove_dir_all(lab.path("work"));
            }
        }
        finished += 1;
        assert!(lab.output() == output, "seed {seed}: the output differs");
        assert!(lab.dead_letters() == dead, "seed {seed}: the dead letters differ");
        lab.check();
        let end = journal::find_end(&objects, 0).expect("a number");
        journal::read_range(&objects, 1, end, Some("")).expect("an unbroken chain");
        let (code, said) = lab.replay();
        assert_eq!(code, Some(0), "seed {seed}: {said}");
    }
    let seen = proxy.seen();
    println!("## {kills} kills over {finished} runs, {} faults in {} requests", seen.faults, seen.requests);
    assert!(seen.faults > 50, "the faults were not there: {seen:?}");
}

#[test]
fn damaged_objects_in_the_bucket_are_found_and_the_older_checkpoint_is_used() {
    let (lab, objects) = lab(3_000, &variable("SEGNO_TEST_S3"));
    lab.complete();
    let output = lab.output();
    let newest = checkpoint::newest(&objects).expect("a number");
    assert!(newest >= 2, "the test needs an older checkpoint");
    let manifest = checkpoint::read(&objects, newest).expect("an answer").expect("a manifest");
    let older = checkpoint::read(&objects, newest - 1).expect("an answer").expect("a manifest");
    // What both share, such as a state file that did not change, leaves no older checkpoint for itself.
    let mut names: Vec<String> = manifest
        .files
        .iter()
        .filter(|file| older.files.iter().all(|other| other.sha256 != file.sha256))
        .map(|file| format!("files/{}", file.sha256))
        .collect();
    assert!(!names.is_empty(), "{manifest:?}");
    names.push(format!("manifest/{newest:06}"));
    for name in &names {
        let original = objects.get(name).expect("an answer").expect("an object");
        for damage in ["change", "cut", "delete"] {
            let _ = std::fs::remove_dir_all(lab.path("work"));
            let mut bytes = original.to_vec();
            match damage {
                "change" if !bytes.is_empty() => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x10;
                    objects.put(name, bytes.into()).expect("written");
                }
                "delete" => objects.delete(name).expect("deleted"),
                _ if bytes.is_empty() => objects.put(name, "x".into()).expect("written"),
                _ => {
                    bytes.truncate(original.len() / 2);
                    objects.put(name, bytes.into()).expect("written");
                }
            }
            let verified = lab.run(&["checkpoint", "verify"]);
            let run = lab.run(&["run", "-q"]);
            assert!(run.status.success(), "{damage} {name}: {}", text(&run.stderr));
            assert_eq!(verified.status.code(), Some(1), "{damage} {name}: {}", text(&verified.stdout));
            assert!(lab.output() == output, "{damage} {name}: the output differs");
            objects.put(name, original.clone()).expect("put back");
        }
    }
    let (code, said) = lab.replay();
    assert_eq!(code, Some(0), "{said}");
    println!("## {} objects, each changed, cut and deleted", names.len());
}

#[test]
fn a_store_that_answers_nothing_but_errors_pauses_the_run_until_it_is_well() {
    let proxy = HttpProxy::start(&variable("SEGNO_TEST_S3")).expect("a proxy");
    let (lab, _) = lab(3_000, &proxy.endpoint());
    let (output, _) = undisturbed(3_000);
    // Well at first; then errors for longer than one operation tries; then well again.
    let mut seen = 0;
    proxy.decide(move |_| {
        seen += 1;
        if (80..120).contains(&seen) { Act::slow_down() } else { Act::Pass }
    });
    let run = lab.run(&["run", "-o", "json"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a summary");
    assert!(summary["restarts"].as_u64() >= Some(1), "{summary}");
    assert!(lab.output() == output);
}

#[test]
fn what_stays_wrong_with_a_bucket_stops_the_run_with_its_code() {
    let (mut lab, _) = lab(100, &variable("SEGNO_TEST_S3"));
    lab.checkpoint_store = "store: \"s3://segno-no-such-bucket/x\"".to_owned();
    let run = lab.run(&["run", "-q"]);
    assert!(!run.status.success() && text(&run.stderr).contains("J020"), "{}", text(&run.stderr));
    let (mut lab, _) = self::lab(100, &variable("SEGNO_TEST_S3"));
    lab.variables.push(("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned()));
    let run = lab.run(&["run", "-q"]);
    assert!(!run.status.success() && text(&run.stderr).contains("J021"), "{}", text(&run.stderr));
}

#[test]
fn doctor_says_how_a_bucket_keeps_versions() {
    let proxy = HttpProxy::start(&variable("SEGNO_TEST_S3")).expect("a proxy");
    let (lab, _) = lab(100, &proxy.endpoint());
    let said = text(&lab.run(&["doctor"]).stdout);
    assert!(said.contains("racing writers wins") && said.contains("keeps versions"), "{said}");
    // What S3 answers for a bucket where it was never switched on has no status.
    proxy.first(1, "GET", "versioning", Act::Answer { status: 200, code: "OK".to_owned() });
    let said = text(&lab.run(&["doctor"]).stdout);
    assert!(said.contains("put-bucket-versioning"), "{said}");
    // Not being allowed to ask is no failure.
    proxy.first(1, "GET", "versioning", Act::Answer { status: 403, code: "AccessDenied".to_owned() });
    let doctor = lab.run(&["doctor"]);
    assert!(text(&doctor.stdout).contains("GetBucketVersioning") && doctor.status.success(), "{}", text(&doctor.stdout));
}
