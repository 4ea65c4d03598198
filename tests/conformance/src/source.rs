//! The rules of a source.
//!
//! Owns: what `segno_core::source` promises to the epoch loop, as tests. Does not own: formats, files, brokers.
//!
//! Invariant: partition 0 of a fixture's source holds a few records, some of them bad, and ranges of offsets without
//! any where the source can have such ranges.

use crate::read::{ALL, Given, Stop, read};
use segno_core::Code;
use segno_core::source::{Next, PartitionReader, ReadLimit, ReadPlan, Source};

/// A source that tests can make, read and change.
pub trait Fixture {
    fn new() -> Self;

    /// Opens it as a process does that starts.
    fn open(&self) -> Box<dyn Source>;

    /// The same place with another setting that decides what it gives.
    fn open_otherwise(&self) -> Box<dyn Source>;

    fn plan(&self) -> ReadPlan;

    /// What partition 0 holds: the values of each good record, separated by `|`; the code of each bad one.
    fn records(&self) -> Vec<String>;

    /// Where partition 0 stops for now, for a source that waits there; `None`: the source ends.
    fn stops_at(&self) -> Option<u64>;

    /// Makes partition 0 another one from its first record on, and gives the code that a reader is told.
    fn change(&mut self) -> Code;
}

/// A source to whose partition 0 records come later.
pub trait Growing: Fixture {
    /// Adds a good record, and gives its values.
    fn grow(&mut self) -> String;
}

#[macro_export]
macro_rules! source_rules {
    ($fixture:ty) => {
        $crate::rules! { source, $fixture:
            every_record_is_given_once_with_its_values
            limits_of_a_read_do_not_change_what_is_given
            reading_from_any_position_gives_the_rest
            ranges_follow_each_other_up_to_the_end
            the_end_is_said_as_often_as_it_is_asked_for
            two_readers_of_a_partition_do_not_disturb_each_other
            columns_that_nobody_reads_change_no_position
            partitions_keep_their_numbers
            a_partition_that_is_not_there_is_an_error
            a_mark_is_the_same_for_every_process
            a_source_that_changed_is_refused_with_its_code
            settings_that_decide_what_is_given_are_part_of_the_identity
        }
    };
}

/// Beside `source_rules!`.
#[macro_export]
macro_rules! growing_source_rules {
    ($fixture:ty) => {
        $crate::rules! { source, $fixture:
            what_comes_later_is_given_to_who_waits_and_to_who_returns
            what_comes_later_changes_no_mark
        }
    };
}

/// Pieces of every kind: single records, a few, those of few bytes.
const PIECES: [&[ReadLimit]; 4] = [
    &[ReadLimit { rows: 1, bytes: usize::MAX }],
    &[ReadLimit { rows: usize::MAX, bytes: 1 }],
    &[ReadLimit { rows: 3, bytes: 64 }, ReadLimit { rows: 1, bytes: 1 }],
    &[ReadLimit { rows: 2, bytes: 1_000 }, ALL],
];

fn reader<F: Fixture>(fixture: &F, source: &dyn Source, offset: u64, mark: Option<u64>) -> Box<dyn PartitionReader> {
    match source.open(0, offset, mark, &fixture.plan()) {
        Ok(reader) => reader,
        Err(error) => panic!("at {offset}: {error}"),
    }
}

fn stop<F: Fixture>(fixture: &F) -> Stop {
    fixture.stops_at().map_or(Stop::AtEnd, Stop::At)
}

fn first(source: &dyn Source) -> u64 {
    source.first_offset(0, false).expect("a first offset")
}

/// Everything, as a process gives it that starts at the beginning.
fn whole<F: Fixture>(fixture: &F, limits: &[ReadLimit]) -> Given {
    let source = fixture.open();
    let from = first(&*source);
    read(&mut *reader(fixture, &*source, from, None), from, limits, stop(fixture))
}

pub fn every_record_is_given_once_with_its_values<F: Fixture>() {
    let fixture = F::new();
    let given = whole(&fixture, &[ALL]);
    assert_eq!(given.error, None);
    let wanted = fixture.records();
    // Of bad records, the code only.
    let told = |text: &String| match text.split_once(' ') {
        Some((code, _)) if wanted.iter().any(|wanted| wanted == code) => code.to_owned(),
        _ => text.clone(),
    };
    let texts: Vec<String> = given.records.iter().map(|(_, text, _)| told(text)).collect();
    assert_eq!(texts, wanted);
    assert!(texts.len() > 5, "too few records to say anything");
}

pub fn limits_of_a_read_do_not_change_what_is_given<F: Fixture>() {
    let fixture = F::new();
    let wanted = whole(&fixture, &[ALL]);
    for limits in PIECES {
        let given = whole(&fixture, limits);
        assert_eq!((given.records, given.error), (wanted.records.clone(), None), "{limits:?}");
    }
}

pub fn reading_from_any_position_gives_the_rest<F: Fixture>() {
    let fixture = F::new();
    let wanted = whole(&fixture, PIECES[0]);
    let mut positions: Vec<u64> = wanted.records.iter().map(|(offset, ..)| *offset).chain(wanted.ends.iter().copied()).collect();
    positions.sort_unstable();
    positions.dedup();
    let source = fixture.open();
    for position in positions {
        let mark = source.mark(0, position).expect("a mark");
        let rest: Vec<_> = wanted.records.iter().filter(|(offset, ..)| *offset >= position).cloned().collect();
        let mut reader = reader(&fixture, &*source, position, Some(mark));
        let given = read(&mut *reader, position, PIECES[2], stop(&fixture));
        assert_eq!((given.records, given.error), (rest, None), "from {position}");
    }
}

pub fn ranges_follow_each_other_up_to_the_end<F: Fixture>() {
    let fixture = F::new();
    for limits in PIECES {
        // `read` compares each start with the end before it.
        let given = whole(&fixture, limits);
        assert!(given.ends.is_sorted_by(|before, after| before < after), "{:?}", given.ends);
        if let Some(stop) = fixture.stops_at() {
            assert_eq!(given.ends.last(), Some(&stop), "what holds no record is run over, too");
        }
    }
}

pub fn the_end_is_said_as_often_as_it_is_asked_for<F: Fixture>() {
    let fixture = F::new();
    let source = fixture.open();
    let from = first(&*source);
    let mut live = reader(&fixture, &*source, from, None);
    let given = read(&mut *live, from, &[ALL], stop(&fixture));
    let end = *given.ends.last().expect("a chunk");
    let returned = reader(&fixture, &*source, end, Some(source.mark(0, end).expect("a mark")));
    for mut reader in [live, returned] {
        for _ in 0..3 {
            match (reader.next(ALL).expect("an answer"), fixture.stops_at()) {
                (Next::End, None) | (Next::Waiting, Some(_)) => {}
                (other, _) => panic!("{other:?} at the end"),
            }
        }
    }
}

pub fn two_readers_of_a_partition_do_not_disturb_each_other<F: Fixture>() {
    let fixture = F::new();
    let wanted = whole(&fixture, PIECES[0]);
    let source = fixture.open();
    let from = first(&*source);
    let middle = wanted.ends[wanted.ends.len() / 2];
    let mut one = reader(&fixture, &*source, from, None);
    let mut other = reader(&fixture, &*source, middle, None);
    let rest: Vec<_> = wanted.records.iter().filter(|(offset, ..)| *offset >= middle).cloned().collect();
    // Both have begun before either goes on.
    let (begun, other_begun) = (one.next(PIECES[0][0]).expect("an answer"), other.next(PIECES[0][0]).expect("an answer"));
    for (reader, begun, from, wanted) in [(&mut one, begun, from, &wanted.records), (&mut other, other_begun, middle, &rest)] {
        let mut records = Vec::new();
        let mut from = from;
        if let Next::Chunk(chunk) = begun {
            crate::read::see(&chunk, &mut records);
            from = chunk.end;
        }
        records.extend(read(&mut **reader, from, PIECES[0], stop(&fixture)).records);
        assert_eq!(records, *wanted);
    }
}

pub fn columns_that_nobody_reads_change_no_position<F: Fixture>() {
    let fixture = F::new();
    let wanted = whole(&fixture, &[ALL]);
    let source = fixture.open();
    let from = first(&*source);
    let mut reader = source.open(0, from, None, &ReadPlan::default()).expect("a reader");
    let given = read(&mut *reader, from, &[ALL], stop(&fixture));
    let offsets = |given: &Given| given.records.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>();
    assert_eq!((offsets(&given), given.ends.last()), (offsets(&wanted), wanted.ends.last()));
}

pub fn partitions_keep_their_numbers<F: Fixture>() {
    let fixture = F::new();
    let (source, again) = (fixture.open(), fixture.open());
    let partitions = source.partitions().expect("partitions");
    assert!(partitions.iter().enumerate().all(|(number, partition)| partition.number == number as u32), "{partitions:?}");
    assert_eq!(partitions, again.partitions().expect("partitions"));
    let topics = source.topics().expect("topics");
    assert_eq!(topics.iter().map(|topic| topic.partitions as usize).sum::<usize>(), partitions.len());
    for partition in partitions {
        let from = source.first_offset(partition.number, false).expect("a first offset");
        let mut reader = source.open(partition.number, from, None, &fixture.plan()).expect("a reader");
        if let Next::Chunk(chunk) = reader.next(ALL).expect("an answer") {
            assert_eq!(chunk.partition, partition.number);
        }
    }
}

pub fn a_partition_that_is_not_there_is_an_error<F: Fixture>() {
    let fixture = F::new();
    let source = fixture.open();
    let beyond = source.partitions().expect("partitions").len() as u32;
    assert!(source.open(beyond, 0, None, &fixture.plan()).is_err());
}

pub fn a_mark_is_the_same_for_every_process<F: Fixture>() {
    let fixture = F::new();
    let (source, again) = (fixture.open(), fixture.open());
    for end in whole(&fixture, PIECES[0]).ends {
        assert_eq!(source.mark(0, end).expect("a mark"), again.mark(0, end).expect("a mark"), "at {end}");
    }
}

pub fn a_source_that_changed_is_refused_with_its_code<F: Fixture>() {
    let mut fixture = F::new();
    let source = fixture.open();
    let ends = whole(&fixture, PIECES[0]).ends;
    let marks: Vec<(u64, u64)> = ends.iter().map(|&end| (end, source.mark(0, end).expect("a mark"))).collect();
    let wanted = fixture.change();
    let changed = fixture.open();
    for (end, mark) in marks {
        let found =
            changed.open(0, end, Some(mark), &fixture.plan()).map(drop).expect_err("another source was taken for the old one");
        assert_eq!(found.code(), wanted, "at {end}: {found}");
        assert!(found.help().is_some(), "what to do is said: {found}");
    }
}

pub fn settings_that_decide_what_is_given_are_part_of_the_identity<F: Fixture>() {
    let fixture = F::new();
    assert_eq!(fixture.open().identity(), fixture.open().identity());
    assert_ne!(fixture.open().identity(), fixture.open_otherwise().identity());
}

pub fn what_comes_later_is_given_to_who_waits_and_to_who_returns<F: Growing>() {
    let mut fixture = F::new();
    let source = fixture.open();
    let from = first(&*source);
    let mut waiting = reader(&fixture, &*source, from, None);
    let given = read(&mut *waiting, from, &[ALL], stop(&fixture));
    let end = *given.ends.last().expect("a chunk");
    let mark = source.mark(0, end).expect("a mark");
    let added: Vec<String> = (0..3).map(|_| fixture.grow()).collect();
    let returned = fixture.open();
    let returned = reader(&fixture, &*returned, end, Some(mark));
    for mut reader in [waiting, returned] {
        let later = read(&mut *reader, end, PIECES[0], stop(&fixture));
        assert_eq!(later.records.into_iter().map(|(_, text, _)| text).collect::<Vec<_>>(), added);
    }
}

pub fn what_comes_later_changes_no_mark<F: Growing>() {
    let mut fixture = F::new();
    let ends = whole(&fixture, PIECES[0]).ends;
    let marks = |source: Box<dyn Source>| ends.iter().map(|&end| source.mark(0, end).expect("a mark")).collect::<Vec<_>>();
    let before = marks(fixture.open());
    fixture.grow();
    assert_eq!(marks(fixture.open()), before);
}
