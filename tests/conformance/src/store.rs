//! The rules of an object store.
//!
//! Owns: what journal, generations and checkpoints rely on, as tests. Does not own: what the objects mean.

use bytes::Bytes;
use segno_durable::store::{Created, Objects, WHOLE_BYTES_MAX, count_winners};
use std::collections::BTreeSet;

/// A store with nothing in it.
pub trait Fixture: Sync {
    fn new() -> Self;

    /// Opens it as a process does that starts.
    fn open(&self) -> Objects;
}

#[macro_export]
macro_rules! store_rules {
    ($fixture:ty) => {
        $crate::rules! { store, $fixture:
            what_is_absent_is_told_and_deleted_already
            a_create_succeeds_once_and_others_see_whose_it_is
            of_racing_writers_one_wins_and_all_others_see_it
            a_put_overwrites_and_every_process_reads_it
            names_are_listed_below_their_folder
            a_large_object_is_written_and_read_in_parts
            conditional_create_is_proven_and_remembered
        }
    };
}

const RACES: usize = 20;
const RACERS: usize = 16;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Bytes that do not repeat and are the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

pub fn what_is_absent_is_told_and_deleted_already<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    assert_eq!(objects.get("a/1").expect("an answer"), None);
    assert_eq!(objects.head("a/1").expect("an answer"), None);
    objects.delete("a/1").expect("what is absent is deleted already");
    assert!(objects.list("a").expect("names").is_empty());
}

pub fn a_create_succeeds_once_and_others_see_whose_it_is<F: Fixture>() {
    let fixture = F::new();
    let (objects, other) = (fixture.open(), fixture.open());
    assert_eq!(objects.create("a/1", bytes("first")).expect("an answer"), Created::Ours);
    // The answer to a create may be lost after it was applied: what is there decides, and bytes are unique.
    assert_eq!(objects.create("a/1", bytes("first")).expect("an answer"), Created::Ours);
    assert_eq!(other.create("a/1", bytes("second")).expect("an answer"), Created::Theirs(bytes("first")));
    assert_eq!(objects.get("a/1").expect("an answer"), Some(bytes("first")), "a lost create changes nothing");
}

pub fn of_racing_writers_one_wins_and_all_others_see_it<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    for race in 0..RACES {
        let name = format!("journal/{race:012}");
        let results: Vec<(Bytes, Created)> = std::thread::scope(|scope| {
            let write = |writer: usize| {
                let (objects, name) = (objects.clone(), name.clone());
                scope.spawn(move || {
                    let body = Bytes::from(format!("writer {writer}"));
                    (body.clone(), objects.create(&name, body).expect("an answer"))
                })
            };
            let writers: Vec<_> = (0..RACERS).map(write).collect();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        let winners: BTreeSet<&Bytes> =
            results.iter().filter(|(_, created)| *created == Created::Ours).map(|(body, _)| body).collect();
        assert_eq!(winners.len(), 1, "race {race}");
        for (_, created) in &results {
            assert!(
                *created == Created::Ours || winners.iter().any(|body| *created == Created::Theirs((*body).clone())),
                "race {race}: {created:?}"
            );
        }
    }
}

pub fn a_put_overwrites_and_every_process_reads_it<F: Fixture>() {
    let fixture = F::new();
    let (objects, other) = (fixture.open(), fixture.open());
    objects.put("a/2", bytes("one")).expect("written");
    objects.put("a/2", bytes("second")).expect("overwritten");
    assert_eq!(other.get("a/2").expect("an answer"), Some(bytes("second")));
    assert_eq!(other.head("a/2").expect("an answer"), Some(6));
    objects.put("a/empty", Bytes::new()).expect("written");
    assert_eq!(other.head("a/empty").expect("an answer"), Some(0));
    assert_eq!(other.get_sized("a/empty", 0).expect("an answer"), Some(Bytes::new()));
    other.delete("a/2").expect("deleted");
    assert_eq!(objects.get("a/2").expect("an answer"), None);
}

pub fn names_are_listed_below_their_folder<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    for name in ["a/1", "a/2", "ab/3", "b/4"] {
        objects.put(name, bytes("x")).expect("written");
    }
    let names: BTreeSet<String> = objects.list("a").expect("names").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1", "2"].map(str::to_owned).into());
}

pub fn a_large_object_is_written_and_read_in_parts<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    // With an end that fills no part.
    let large = Bytes::from(noise(WHOLE_BYTES_MAX + 12_345));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &large).expect("written");
    let length = large.len() as u64;
    objects.put_file("files/large", file.path(), length).expect("written");
    assert_eq!(objects.head("files/large").expect("an answer"), Some(length));
    assert!(objects.get_sized("files/large", length).expect("an answer") == Some(large.clone()));
    assert!(objects.get("files/large").expect("an answer") == Some(large));
    let other = objects.get_sized("files/large", length + 1).expect("an answer").expect("an object");
    assert_ne!(other.len() as u64, length + 1, "an object of another length is not made to fit");
}

pub fn conditional_create_is_proven_and_remembered<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    assert_eq!(count_winners(&objects).expect("a race"), 1);
    objects.prove_conditional_create().expect("proven");
    objects.prove_conditional_create().expect("proven, and remembered");
}
