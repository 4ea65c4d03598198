//! Conditional create on the S3 server: of many writers, one wins, and all others see what it wrote.

use crate::lab::{direct, disturbed};
use bytes::Bytes;
use segno_core::Code;
use segno_durable::journal::nonce;
use segno_durable::store::{Created, Objects};
use segno_proxy::http::Act;

const RACES: usize = 200;
const WRITERS: usize = 32;

fn race(objects: &Objects, name: &str) -> Vec<(Bytes, Created)> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let body = Bytes::from(format!("writer {writer} {}", nonce()));
                scope.spawn(move || (body.clone(), objects.create(name, body).expect("an answer")))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    })
}

#[test]
fn every_race_of_32_writers_has_one_winner_whom_all_others_see() {
    let objects = direct();
    for number in 0..RACES {
        let name = format!("journal/{number:012}");
        let results = race(&objects, &name);
        let winners: Vec<&Bytes> =
            results.iter().filter(|(_, created)| *created == Created::Ours).map(|(body, _)| body).collect();
        assert_eq!(winners.len(), 1, "race {number}");
        for (_, created) in &results {
            assert!(*created == Created::Ours || *created == Created::Theirs(winners[0].clone()), "race {number}: {created:?}");
        }
        assert_eq!(objects.get(&name).expect("an answer").as_ref(), Some(winners[0]));
    }
    println!("## {RACES} races of {WRITERS} writers, one winner each");
}

#[test]
fn a_store_that_creates_twice_is_refused_at_the_start() {
    let (proxy, objects, direct) = disturbed();
    // Tells each writer that its object was created, and keeps nothing: as a server that ignores the condition would.
    proxy.decide(|request| match (request.method.as_str(), request.target.contains("/probe/")) {
        ("PUT", true) => Act::ApplyThenAnswer { status: 200, code: "OK".to_owned() },
        _ => Act::Pass,
    });
    assert_eq!(objects.prove_conditional_create().expect_err("an unsafe store").code(), Code::StoreUnsafe);
    // Nothing was remembered: the next start asks again.
    proxy.heal();
    objects.prove_conditional_create().expect("a store that keeps its word");
    let before = proxy.seen().requests;
    objects.prove_conditional_create().expect("remembered");
    assert_eq!(proxy.seen().requests - before, 1, "a later start reads one object");
    // Through another address it is another store.
    direct.prove_conditional_create().expect("raced again");
}
