//! Every fault of an object store under journal, generations and checkpoints: never lost, never doubled, never skipped.

use crate::lab::{author, disturbed, empty_journal, fence, file_of, fill, meta, noise};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use segno_core::persisted::JournalBody;
use segno_core::{Code, Kind};
use segno_durable::checkpoint::{self, Checkpoints};
use segno_durable::generation;
use segno_core::protocol::ownership::Claim;
use segno_durable::journal::{self, Journal};
use segno_durable::state::StateStore;
use segno_durable::store::{Created, Objects, PART_BYTES, WHOLE_BYTES_MAX};
use segno_proxy::http::{Act, Request};
use std::collections::BTreeMap;

fn answer(status: u16, code: &str) -> Act {
    Act::Answer { status, code: code.to_owned() }
}

fn apply_then_answer(status: u16, code: &str) -> Act {
    Act::ApplyThenAnswer { status, code: code.to_owned() }
}

/// Faults of one request that pass by themselves.
fn passing() -> Vec<Act> {
    vec![
        Act::slow_down(),
        answer(500, "InternalError"),
        answer(429, "TooManyRequests"),
        answer(400, "RequestTimeout"),
        answer(409, "ConditionalRequestConflict"),
        answer(403, "ExpiredToken"),
        answer(400, "ExpiredToken"),
        apply_then_answer(503, "SlowDown"),
        apply_then_answer(500, "InternalError"),
        apply_then_answer(409, "OperationAborted"),
        Act::ApplyThenHang,
        Act::ApplyThenCut,
        Act::Hang,
        Act::CutBody { after: 20 },
    ]
}

#[test]
fn an_append_under_any_fault_is_there_once_and_known_to_be_ours() {
    let (proxy, objects, direct) = disturbed();
    let mut journal = empty_journal(&objects);
    let mut appended = 0;
    for act in passing() {
        for times in [1, 2] {
            // An expired credential is renewed once; a second refusal in a row is a fact (`refusals`).
            if times == 2 && matches!(&act, Act::Answer { code, .. } if code == "ExpiredToken") {
                continue;
            }
            proxy.first(times, "PUT", "/journal/", act.clone());
            let outcome = journal.append(fence(appended + 1)).expect("an answer");
            assert!(matches!(outcome, Claim::Ours), "{act:?} {times} times: {outcome:?}");
            appended += 1;
        }
    }
    let entries = journal::read_range(&direct, 1, appended, Some("")).expect("an unbroken chain");
    assert_eq!(journal::find_end(&direct, 0).expect("a number"), appended, "no entry more");
    for (number, stored) in entries.iter().enumerate() {
        assert!(matches!(&stored.entry.body, JournalBody::Fence(found) if found.generation == number as u64 + 1));
    }
}

#[test]
fn a_generation_under_any_fault_is_taken_once_and_none_is_skipped() {
    let (proxy, objects, direct) = disturbed();
    for (number, act) in passing().into_iter().enumerate() {
        proxy.first(1, "PUT", "/generation/", act.clone());
        let taken = generation::take(&objects, "test", "journal").expect("a generation");
        assert_eq!(taken.generation, number as u64 + 1, "{act:?}");
        assert_eq!(generation::current(&direct).expect("a number"), taken.generation, "{act:?}");
    }
}

#[test]
fn a_checkpoint_under_any_fault_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (proxy, objects, direct) = disturbed();
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    let mut checkpoints = Checkpoints::new(objects, author(1), folder.path().join("images")).expect("checkpoints");
    let mut number = 0;
    for act in passing() {
        for target in ["/files/", "/manifest/"] {
            number += 1;
            fill(&state, number, 0..500);
            proxy.first(1, "PUT", target, act.clone());
            let manifest = checkpoints.start(&state, meta(number), u32::MAX).expect("an upload").wait();
            let manifest = manifest.unwrap_or_else(|error| panic!("{act:?} on {target}: {error}")).manifest;
            assert_eq!(manifest.number, number, "{act:?} on {target}: no number is skipped");
            assert_eq!(checkpoint::newest(&direct).expect("a number"), number);
            assert_eq!(checkpoint::verify(&direct, &manifest).expect("an answer").len(), 0, "{act:?} on {target}");
        }
    }
    // And restored under faults of reading.
    let manifest = checkpoint::read(&direct, number).expect("an answer").expect("a manifest");
    for act in [Act::slow_down(), answer(403, "ExpiredToken"), Act::ApplyThenCut, Act::Hang] {
        proxy.first(1, "GET", "/files/", act.clone());
        let target = folder.path().join(format!("restored {act:?}"));
        let through = checkpoints_store(&proxy.endpoint(), &direct);
        checkpoint::restore(&through, &manifest, &target).expect("restored");
        let restored = StateStore::open(&target).expect("a store");
        assert_eq!(restored.digest().expect("a digest"), state.digest().expect("a digest"), "{act:?}");
    }
}

fn checkpoints_store(endpoint: &str, like: &Objects) -> Objects {
    crate::lab::open(like.url(), endpoint)
}

#[test]
fn a_fault_that_stays_stops_transiently_and_what_was_not_acknowledged_is_decided_by_reading() {
    for act in passing() {
        let (proxy, objects, direct) = disturbed();
        let mut journal = empty_journal(&objects);
        assert!(matches!(journal.append(fence(1)).expect("an answer"), Claim::Ours));
        // Neither written nor read: nothing can be known.
        let stays = act.clone();
        proxy.decide(move |request: &Request| if request.target.contains("/journal/") { stays.clone() } else { Act::Pass });
        let error = journal.append(fence(2)).expect_err("no answer");
        assert_eq!(error.kind(), Kind::Transient, "{act:?}: {error}");
        proxy.heal();
        // What a restart does: look where the journal ends, and go on from there.
        let end = journal::find_end(&direct, 0).expect("a number");
        let applied = !matches!(act, Act::Answer { .. } | Act::Hang | Act::CutBody { .. });
        assert_eq!(end, if applied { 2 } else { 1 }, "{act:?}");
        let last = journal::read_entry(&direct, end).expect("an answer").expect("an entry");
        let mut again = Journal::new(objects, author(2), end, last.digest);
        assert!(matches!(again.append(fence(3)).expect("an answer"), Claim::Ours));
        journal::read_range(&direct, 1, end + 1, Some("")).expect("an unbroken chain");
    }
}

#[test]
fn a_stale_listing_decides_nothing() {
    let (proxy, objects, direct) = disturbed();
    let mut journal = empty_journal(&direct);
    for number in 1..=40 {
        assert!(matches!(journal.append(fence(number)).expect("an answer"), Claim::Ours));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    let mut checkpoints = Checkpoints::new(direct.clone(), author(1), folder.path().join("images")).expect("checkpoints");
    for epoch in 1..=5 {
        fill(&state, epoch, 0..10);
        checkpoints.start(&state, meta(epoch), u32::MAX).expect("an upload").wait().expect("a manifest");
    }
    for hidden in ["/journal/00000000002", "/journal/00000000004", "/manifest/000005", "/manifest/", "/journal/", "/"] {
        proxy.decide(move |request: &Request| {
            if request.method == "GET" && request.target.contains("list-type=2") {
                Act::HideKeys { containing: hidden.to_owned() }
            } else {
                Act::Pass
            }
        });
        // Without the hints, listings are asked.
        direct.delete("journal-hint").expect("deleted");
        direct.delete("manifest-hint").expect("deleted");
        let before = proxy.seen().faults;
        assert_eq!(journal::find_end(&objects, 0).expect("a number"), 40, "hidden {hidden}");
        assert_eq!(checkpoint::newest(&objects).expect("a number"), 5, "hidden {hidden}");
        assert_eq!(proxy.seen().faults - before, 2, "both listings were asked");
    }
}

#[test]
fn a_torn_upload_leaves_nothing_visible() {
    let (proxy, objects, direct) = disturbed();
    let body = Bytes::from(noise(WHOLE_BYTES_MAX + 1));
    let file = file_of(&body);
    let put = |name: &str| objects.put_file(name, file.path(), body.len() as u64);
    // A part that is torn once is sent again, alone.
    proxy.first(1, "PUT", "partNumber=2", Act::CutBody { after: PART_BYTES / 2 });
    let before = proxy.seen().requests;
    put("files/once").expect("written");
    assert_eq!(proxy.seen().requests - before, 6, "begin, three parts, one of them twice, complete");
    assert!(direct.get("files/once").expect("an answer") == Some(body.clone()));
    // One that is torn every time fails the upload.
    proxy.decide(|request: &Request| {
        if request.target.contains("partNumber=2") { Act::CutBody { after: PART_BYTES / 2 } } else { Act::Pass }
    });
    assert_eq!(put("files/never").expect_err("torn").code(), Code::StoreUnusable);
    assert_eq!(direct.head("files/never").expect("an answer"), None);
    // The answer to the last request is lost after it was applied.
    proxy.first(1, "POST", "uploadId=", Act::ApplyThenCut);
    put("files/complete").expect("written");
    assert!(direct.get("files/complete").expect("an answer") == Some(body));
    // An object in one request is not there either when its body was cut.
    proxy.decide(|request: &Request| if request.method == "PUT" { Act::CutBody { after: 100 } } else { Act::Pass });
    objects.put("files/small", Bytes::from(noise(1_000))).expect_err("torn");
    assert_eq!(objects.create("journal/1", Bytes::from(noise(1_000))).expect_err("torn").code(), Code::StoreUnusable);
    assert_eq!(direct.head("files/small").expect("an answer"), None);
    assert_eq!(direct.head("journal/1").expect("an answer"), None);
}

#[test]
fn an_answer_that_comes_late_does_not_undo_who_won() {
    // Our create was applied, and its answer lost; meanwhile nobody else can take the name.
    let (proxy, objects, direct) = disturbed();
    proxy.first(1, "PUT", "/journal/", Act::ApplyThenCut);
    let (ours, theirs) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));
    assert_eq!(objects.create("journal/1", ours.clone()).expect("an answer"), Created::Ours);
    assert_eq!(direct.create("journal/1", theirs.clone()).expect("an answer"), Created::Theirs(ours));
    // Theirs was applied while ours got an error: we lost, and see it.
    assert_eq!(direct.create("journal/2", theirs.clone()).expect("an answer"), Created::Ours);
    proxy.first(1, "PUT", "/journal/", answer(500, "InternalError"));
    assert_eq!(objects.create("journal/2", Bytes::from_static(b"late")).expect("an answer"), Created::Theirs(theirs));
}

/// One writer of several: every operation is in the journal once, whatever the store answered.
fn write_all(objects: &Objects, writer: u64, operations: u64) {
    let mut next = 1;
    'open: loop {
        let Ok(end) = journal::find_end(objects, 0) else { continue };
        let Ok(entries) = journal::read_range(objects, 1, end, Some("")) else { continue };
        // As recovery does: what the journal holds was done, whether or not this process was told.
        let done = |operation: u64| {
            entries.iter().any(|stored| matches!(&stored.entry.body, JournalBody::Fence(found) if found.generation == operation))
        };
        while next <= operations && done(writer * 1_000 + next) {
            next += 1;
        }
        let chain = entries.last().map_or(String::new(), |stored| stored.digest.clone());
        let mut journal = Journal::new(objects.clone(), author(writer), end, chain);
        while next <= operations {
            match journal.append(fence(writer * 1_000 + next)) {
                Ok(Claim::Ours) => next += 1,
                Ok(Claim::Theirs(_)) => continue 'open,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Transient, "{error}");
                    continue 'open;
                }
            }
        }
        return;
    }
}

#[test]
fn writers_that_compete_under_random_faults_lose_nothing_and_double_nothing() {
    const WRITERS: u64 = 3;
    const OPERATIONS: u64 = 25;
    let seed = rand::random::<u64>();
    println!("## competing writers: seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (proxy, objects, direct) = disturbed();
    let acts = passing();
    proxy.decide(move |_| match random.random_range(0..100) {
        0..25 => acts[random.random_range(0..acts.len())].clone(),
        _ => Act::Pass,
    });
    std::thread::scope(|scope| {
        for writer in 1..=WRITERS {
            let objects = &objects;
            scope.spawn(move || write_all(objects, writer, OPERATIONS));
        }
    });
    let end = journal::find_end(&direct, 0).expect("a number");
    let entries = journal::read_range(&direct, 1, end, Some("")).expect("an unbroken chain");
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    for stored in &entries {
        if let JournalBody::Fence(found) = &stored.entry.body {
            *times.entry(found.generation).or_default() += 1;
        }
    }
    let expected: BTreeMap<u64, u64> =
        (1..=WRITERS).flat_map(|writer| (1..=OPERATIONS).map(move |n| (writer * 1_000 + n, 1))).collect();
    assert_eq!(times, expected, "seed {seed}");
    println!("## {} entries, {} faults in {} requests", entries.len(), proxy.seen().faults, proxy.seen().requests);
}
