//! The rules of a journal and of the generations that own it.
//!
//! Owns: what recovery relies on, as tests, through every store. Does not own: the store's operations (`store`).

use crate::store::Fixture;
use bytes::Bytes;
use segno_core::Code;
use segno_core::persisted::{Author, Fence, JournalBody};
use segno_core::protocol::ownership::Claim;
use segno_durable::generation;
use segno_durable::journal::{self, Journal};
use segno_durable::store::Objects;

#[macro_export]
macro_rules! journal_rules {
    ($fixture:ty) => {
        $crate::rules! { journal, $fixture:
            entries_are_numbered_and_chained_and_every_process_reads_them
            of_two_journals_at_one_place_one_appends_and_the_other_learns_who
            writers_that_compete_append_each_entry_once
            an_entry_that_is_there_already_names_who_wrote_it
            the_end_is_found_whatever_the_hint_says
            entries_that_were_collected_are_no_gap_and_all_of_them_are
            a_gap_a_replaced_and_a_damaged_entry_have_their_codes
            details_are_read_back_or_known_to_be_gone
            generations_are_taken_once_each
        }
    };
}

const WRITERS: usize = 4;
const ENTRIES_EACH: usize = 5;

fn author(generation: u64) -> Author {
    Author { generation, writer: "test".to_owned(), nonce: journal::nonce() }
}

fn fence(generation: u64) -> JournalBody {
    JournalBody::Fence(Fence { generation })
}

fn empty(objects: &Objects, generation: u64) -> Journal {
    Journal::new(objects.clone(), author(generation), 0, String::new())
}

fn name(sequence: u64) -> String {
    format!("journal/{sequence:012}")
}

fn written(objects: &Objects, entries: u64) -> Journal {
    let mut journal = empty(objects, 1);
    for _ in 0..entries {
        assert_eq!(journal.append(fence(1)).expect("an answer"), Claim::Ours);
        journal.leave_hint().expect("a hint");
    }
    journal
}

pub fn entries_are_numbered_and_chained_and_every_process_reads_them<F: Fixture>() {
    let fixture = F::new();
    let journal = written(&fixture.open(), 5);
    let other = fixture.open();
    assert_eq!(journal::find_end(&other, 0).expect("a number"), 5);
    let entries = journal::read_range(&other, 1, 5, Some("")).expect("entries");
    assert!(entries.iter().zip(1..).all(|(stored, sequence)| stored.entry.sequence == sequence));
    assert_eq!((journal.sequence(), journal.chain()), (5, entries[4].digest.as_str()));
    assert_eq!(journal::read_range(&other, 3, 5, Some(&entries[1].digest)).expect("entries").len(), 3);
    assert!(journal::read_entry(&other, 6).expect("an answer").is_none());
}

pub fn of_two_journals_at_one_place_one_appends_and_the_other_learns_who<F: Fixture>() {
    let fixture = F::new();
    let (mut first, mut second) = (empty(&fixture.open(), 1), empty(&fixture.open(), 2));
    assert_eq!(first.append(fence(1)).expect("an answer"), Claim::Ours);
    match second.append(fence(2)).expect("an answer") {
        Claim::Theirs(author) => assert_eq!(author.generation, 1),
        Claim::Ours => panic!("both hold entry 1"),
    }
    assert_eq!((first.sequence(), second.sequence()), (1, 0));
}

pub fn writers_that_compete_append_each_entry_once<F: Fixture>() {
    let fixture = F::new();
    let append_all = |generation: u64| {
        let objects = fixture.open();
        for _ in 0..ENTRIES_EACH {
            loop {
                let end = journal::find_end(&objects, 0).expect("a number");
                let last = if end == 0 { None } else { journal::read_entry(&objects, end).expect("an answer") };
                let chain = last.map_or(String::new(), |stored| stored.digest);
                let mut journal = Journal::new(objects.clone(), author(generation), end, chain);
                if journal.append(fence(generation)).expect("an answer") == Claim::Ours {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for writer in 1..=WRITERS as u64 {
            let append_all = &append_all;
            scope.spawn(move || append_all(writer));
        }
    });
    let last = (WRITERS * ENTRIES_EACH) as u64;
    let entries = journal::read_range(&fixture.open(), 1, last, Some("")).expect("an unbroken chain");
    assert_eq!(journal::find_end(&fixture.open(), 0).expect("a number"), last);
    for writer in 1..=WRITERS as u64 {
        let own = entries.iter().filter(|stored| stored.entry.author.generation == writer).count();
        assert_eq!(own, ENTRIES_EACH, "writer {writer}");
    }
}

pub fn an_entry_that_is_there_already_names_who_wrote_it<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    let mut journal = empty(&objects, 3);
    assert_eq!(journal.append(fence(3)).expect("an answer"), Claim::Ours);
    // As a process sees it that got no answer, was started again, and appends: the nonce tells the two apart.
    let there = journal::read_entry(&objects, 1).expect("an answer").expect("an entry");
    match empty(&objects, 3).append(fence(3)).expect("an answer") {
        Claim::Theirs(author) => assert_eq!(author, there.entry.author),
        Claim::Ours => panic!("entry 1 was written twice"),
    }
}

pub fn the_end_is_found_whatever_the_hint_says<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    assert_eq!(journal::find_end(&objects, 0).expect("a number"), 0);
    written(&objects, 77);
    for hint in [Some("64"), Some("1"), Some("9999"), Some("nonsense"), None] {
        match hint {
            Some(hint) => objects.put("journal-hint", Bytes::from(hint)).expect("the hint"),
            None => objects.delete("journal-hint").expect("the hint"),
        }
        assert_eq!(journal::find_end(&objects, 0).expect("a number"), 77, "hint {hint:?}");
    }
}

pub fn entries_that_were_collected_are_no_gap_and_all_of_them_are<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    written(&objects, 40);
    let collect = |sequences: std::ops::RangeInclusive<u64>| {
        sequences.for_each(|sequence| objects.delete(&name(sequence)).expect("an entry"));
    };
    // The end must not be taken for the beginning; nor when the hint names an entry that was collected.
    for (through, hint) in [(10, "32"), (35, "32"), (36, "1")] {
        collect(1..=through);
        objects.put("journal-hint", Bytes::from(hint)).expect("the hint");
        assert_eq!(journal::find_end(&objects, 0).expect("a number"), 40, "collected through {through}");
        assert_eq!(journal::first_left(&objects).expect("a number"), through + 1);
    }
    assert_eq!(journal::read_range(&objects, 37, 40, None).expect("entries").len(), 4);
    assert_eq!(journal::read_range(&objects, 36, 40, None).expect_err("an entry is gone").code(), Code::JournalGap);
    // All of them is not the same as none: a new journal would start over silently.
    collect(37..=40);
    assert_eq!(journal::find_end(&objects, 0).expect_err("a journal that was removed").code(), Code::JournalGap);
}

pub fn a_gap_a_replaced_and_a_damaged_entry_have_their_codes<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    written(&objects, 5);
    let original = objects.get(&name(3)).expect("an answer").expect("an entry");
    let text = String::from_utf8(original.to_vec()).expect("JSON");
    let code = || journal::read_range(&objects, 1, 5, Some("")).expect_err("an error").code();
    objects.delete(&name(3)).expect("deleted");
    assert_eq!(code(), Code::JournalGap);
    for (what, bytes, wanted) in [
        ("cut", original.slice(..original.len() - 3), Code::JournalDamaged),
        ("empty", Bytes::new(), Code::JournalDamaged),
        ("replaced", Bytes::from(text.replace("\"writer\":\"test\"", "\"writer\":\"else\"")), Code::JournalChain),
        ("of another number", Bytes::from(text.replace("\"sequence\":3", "\"sequence\":4")), Code::JournalDamaged),
        ("of a newer version", Bytes::from(text.replace("\"version\":1", "\"version\":99")), Code::NewerFormat),
    ] {
        objects.put(&name(3), bytes).expect("written");
        assert_eq!(code(), wanted, "{what}");
    }
    objects.put(&name(3), original).expect("written");
    let foreign = journal::read_range(&objects, 2, 5, Some("another")).expect_err("an error").code();
    assert_eq!(foreign, Code::JournalChain, "the entry before the first is checked too");
    assert_eq!(journal::read_range(&objects, 1, 5, Some("")).expect("itself again").len(), 5);
}

pub fn details_are_read_back_or_known_to_be_gone<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    let journal = written(&objects, 1);
    let (one, other) =
        (journal.put_detail(7, b"one".to_vec()).expect("written"), journal.put_detail(7, b"other".to_vec()).expect("written"));
    assert_eq!(
        journal::read_detail(&objects, &one).expect("an answer").as_deref(),
        Some(b"one".as_slice()),
        "two writers of one epoch"
    );
    objects.put(&other.object, Bytes::from_static(b"othar")).expect("damaged");
    assert_eq!(journal::read_detail(&objects, &other).expect("an answer"), None);
    objects.delete(&one.object).expect("collected");
    assert_eq!(journal::read_detail(&objects, &one).expect("an answer"), None);
}

pub fn generations_are_taken_once_each<F: Fixture>() {
    let fixture = F::new();
    let objects = fixture.open();
    let mut taken: Vec<u64> = std::thread::scope(|scope| {
        let take = |_| {
            let objects = objects.clone();
            scope.spawn(move || generation::take(&objects, "test", "journal").expect("a generation").generation)
        };
        let takers: Vec<_> = (0..8).map(take).collect();
        takers.into_iter().map(|taker| taker.join().expect("a taker")).collect()
    });
    taken.sort_unstable();
    assert_eq!(taken, (1..=8).collect::<Vec<u64>>());
    for hint in ["1", "nonsense"] {
        objects.put("generation-hint", Bytes::from(hint)).expect("the hint");
        assert_eq!(generation::current(&fixture.open()).expect("a number"), 8, "the hint only saves probes");
    }
    objects.delete("generation-hint").expect("the hint");
    assert_eq!(generation::current(&objects).expect("a number"), 8);
}
