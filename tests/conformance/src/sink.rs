//! The rules of a sink.
//!
//! Owns: what `segno_core::sink` promises, as tests, and a shard so small that it is all calls: it stages, remembers what
//! is committed, publishes, crashes between any two calls, and recovers. Does not own: stores, brokers, databases.

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use segno_core::Code;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::persisted::StagedObject;
use segno_core::sink::{Held, Lineage, Ownership, RowOrigin, Sink, SinkRows};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A place that tests can write to and look at.
pub trait Fixture {
    fn new() -> Self;

    /// Opens the sink for a shard, as a process does that starts. Its rows have the columns of `schema`.
    fn open(&self, shard: &str) -> Box<dyn Sink>;

    /// The column `id` of every row that a reader sees now, in its order.
    fn visible(&self) -> Vec<i64>;

    /// Told apart from those of other tests that share the place.
    fn pipeline(&self) -> String {
        "conformance".to_owned()
    }

    /// False: the sink forgets its rows.
    fn keeps(&self) -> bool {
        true
    }
}

/// A sink that is told apart from its readers: its rows are there once.
pub trait ExactlyOnce: Fixture {
    /// What a writer is told that was overtaken, where it must be told.
    const OVERTAKEN: Option<Code>;
}

/// All sinks.
#[macro_export]
macro_rules! sink_rules {
    ($fixture:ty) => {
        $crate::rules! { sink, $fixture:
            rows_keep_their_order_within_an_epoch_and_epochs_follow_each_other
            an_epoch_without_rows_shows_nothing_and_stops_nothing
            epochs_may_be_left_out
            an_epoch_that_is_published_again_is_there_once
        }
    };
}

/// Beside `sink_rules!`: sinks that say `exactly_once`.
#[macro_export]
macro_rules! exactly_once_rules {
    ($fixture:ty) => {
        $crate::rules! { sink, $fixture:
            nothing_is_visible_before_it_is_published
            a_crash_between_any_two_calls_loses_and_doubles_nothing
            a_writer_that_was_overtaken_publishes_nothing
            shards_do_not_disturb_each_other
        }
    };
}

/// Beside `exactly_once_rules!`: sinks that keep their own mark.
#[macro_export]
macro_rules! marked_sink_rules {
    ($fixture:ty) => {
        $crate::rules! { sink, $fixture:
            a_sink_that_was_never_started_holds_nothing
            a_mark_tells_the_last_epoch_and_never_goes_back
            an_older_or_equal_generation_does_not_take_over
        }
    };
}

pub fn schema() -> Schema {
    Schema::new(vec![Column::new("id", ColumnType::I64, false), Column::new("key", ColumnType::Utf8, true)])
}

/// Rows of an epoch; each has an id that no other row has.
pub struct Rows {
    schema: Schema,
    batch: RecordBatch,
    lineage: Lineage,
}

impl Rows {
    pub fn new(ids: &[i64]) -> Rows {
        let key = |id: &i64| (id % 3 != 0).then(|| format!("k{}", id % 5));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(ids.to_vec())), Arc::new(StringArray::from_iter(ids.iter().map(key)))];
        // One record caused all rows of the epoch.
        let offset = ids.first().map_or(0, |id| id.unsigned_abs());
        let rows = (0..).zip(ids).map(|(index, _)| RowOrigin { partition: 0, offset, index, time: None }).collect();
        let lineage = Lineage { partitions: vec![("events".to_owned(), "in/0".to_owned())], rows };
        let schema = schema();
        Rows { batch: RecordBatch::try_new(schema.to_arrow(), columns).expect("columns as the schema says"), schema, lineage }
    }

    pub fn at(&self, epoch: u64) -> SinkRows<'_> {
        SinkRows { epoch, schema: &self.schema, batch: &self.batch, written: 2, lineage: Some(&self.lineage), told: None }
    }
}

fn owner<F: Fixture>(fixture: &F, shard: &str, generation: u64) -> Ownership {
    Ownership { tenant: "t".to_owned(), pipeline: fixture.pipeline(), shard: shard.to_owned(), generation }
}

/// The process was killed here.
struct Killed;

/// A shard: what its journal says, and when its process is killed.
struct Shard<'a, F> {
    fixture: &'a F,
    name: &'static str,
    generation: u64,
    /// Epochs with their ids and what was staged for them.
    journal: BTreeMap<u64, (Vec<i64>, Vec<StagedObject>)>,
    calls: usize,
    /// Before so many calls.
    kills: Vec<usize>,
}

impl<F: Fixture> Shard<'_, F> {
    fn new<'a>(fixture: &'a F, name: &'static str) -> Shard<'a, F> {
        Shard { fixture, name, generation: 0, journal: BTreeMap::new(), calls: 0, kills: Vec::new() }
    }

    fn before_a_call(&mut self) -> Result<(), Killed> {
        self.calls += 1;
        if self.kills.contains(&self.calls) { Err(Killed) } else { Ok(()) }
    }

    /// Opens the sink as the next owner, and rolls forward what the journal names.
    fn recover(&mut self) -> Result<Box<dyn Sink>, Killed> {
        self.generation += 1;
        self.before_a_call()?;
        let mut sink = self.fixture.open(self.name);
        self.before_a_call()?;
        let held = sink.take_over(&owner(self.fixture, self.name, self.generation)).expect("taken over");
        let from = match held {
            Held::AsStaged => 1,
            Held::Through(epoch) => epoch + 1,
            Held::Nothing => {
                assert!(self.journal.is_empty(), "the mark is lost");
                self.before_a_call()?;
                sink.start_after(0).expect("started");
                1
            }
        };
        for (epoch, (ids, staged)) in self.journal.clone().range(from..) {
            self.before_a_call()?;
            sink.publish(&Rows::new(ids).at(*epoch), staged).expect("rolled forward");
        }
        self.before_a_call()?;
        sink.discard_uncommitted().expect("discarded");
        Ok(sink)
    }

    fn live(&mut self) -> Box<dyn Sink> {
        self.recover().unwrap_or_else(|Killed| panic!("nobody is killed here"))
    }

    fn epoch(&mut self, sink: &mut dyn Sink, epoch: u64, ids: &[i64]) -> Result<(), Killed> {
        let rows = Rows::new(ids);
        self.before_a_call()?;
        let staged = sink.stage(&rows.at(epoch)).expect("staged");
        self.before_a_call()?;
        self.journal.insert(epoch, (ids.to_vec(), staged.clone()));
        self.before_a_call()?;
        sink.publish(&rows.at(epoch), &staged).expect("published");
        Ok(())
    }

    fn commit(&mut self, sink: &mut dyn Sink, epoch: u64, ids: &[i64]) {
        self.epoch(sink, epoch, ids).unwrap_or_else(|Killed| panic!("nobody is killed here"));
    }
}

/// What a reader must see of these ids.
fn expected<F: Fixture>(fixture: &F, ids: impl IntoIterator<Item = i64>) -> Vec<i64> {
    if fixture.keeps() { ids.into_iter().collect() } else { Vec::new() }
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

pub fn rows_keep_their_order_within_an_epoch_and_epochs_follow_each_other<F: Fixture>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sink = shard.live();
    let many: Vec<i64> = (100..1_100).rev().collect();
    for (epoch, ids) in [(1, &[3, 1, 2][..]), (2, &[9, 4]), (3, &many)] {
        shard.commit(&mut *sink, epoch, ids);
    }
    assert_eq!(fixture.visible(), expected(&fixture, [3, 1, 2, 9, 4].into_iter().chain(many)));
}

pub fn an_epoch_without_rows_shows_nothing_and_stops_nothing<F: Fixture>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sink = shard.live();
    for (epoch, ids) in [(1, &[][..]), (2, &[1, 2]), (3, &[]), (4, &[3])] {
        shard.commit(&mut *sink, epoch, ids);
    }
    drop(sink);
    shard.live();
    assert_eq!(fixture.visible(), expected(&fixture, 1..=3));
}

pub fn epochs_may_be_left_out<F: Fixture>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sink = shard.live();
    shard.commit(&mut *sink, 2, &[1]);
    shard.commit(&mut *sink, 1_000_000, &[2]);
    drop(sink);
    let mut sink = shard.live();
    shard.commit(&mut *sink, 1_000_007, &[3]);
    assert_eq!(fixture.visible(), expected(&fixture, 1..=3));
}

pub fn an_epoch_that_is_published_again_is_there_once<F: Fixture>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sink = shard.live();
    shard.commit(&mut *sink, 1, &[1, 2]);
    shard.commit(&mut *sink, 2, &[3]);
    for _ in 0..2 {
        for (epoch, (ids, staged)) in &shard.journal {
            sink.publish(&Rows::new(ids).at(*epoch), staged).expect("published again");
        }
    }
    drop(sink);
    let mut sink = shard.live();
    for (epoch, (ids, staged)) in &shard.journal {
        sink.publish(&Rows::new(ids).at(*epoch), staged).expect("published by the next owner");
    }
    shard.commit(&mut *sink, 3, &[4]);
    assert_eq!(fixture.visible(), expected(&fixture, 1..=4));
}

pub fn nothing_is_visible_before_it_is_published<F: ExactlyOnce>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sink = shard.live();
    assert!(sink.exactly_once());
    let rows = Rows::new(&[1, 2]);
    let staged = sink.stage(&rows.at(1)).expect("staged");
    assert_eq!(fixture.visible(), [0; 0]);
    // Nobody committed it: the next owner stages the epoch again, with other rows.
    drop((sink, staged));
    let mut sink = shard.live();
    assert_eq!(fixture.visible(), [0; 0]);
    shard.commit(&mut *sink, 1, &[7]);
    assert_eq!(fixture.visible(), expected(&fixture, [7]));
}

pub fn a_crash_between_any_two_calls_loses_and_doubles_nothing<F: ExactlyOnce>() {
    let epochs: [(u64, &[i64]); 3] = [(1, &[1, 2]), (2, &[3, 4, 5]), (3, &[6])];
    let run = |kills: Vec<usize>| {
        let fixture = F::new();
        let mut shard = Shard { kills: kills.clone(), ..Shard::new(&fixture, "single") };
        loop {
            let life = (|| {
                let mut sink = shard.recover()?;
                for (epoch, ids) in epochs {
                    if !shard.journal.contains_key(&epoch) {
                        shard.epoch(&mut *sink, epoch, ids)?;
                    }
                }
                Ok::<(), Killed>(())
            })();
            if life.is_ok() {
                break;
            }
        }
        assert_eq!(fixture.visible(), expected(&fixture, 1..=6), "killed before calls {kills:?}");
        shard.calls
    };
    let calls = run(Vec::new());
    for kill in 1..=calls {
        // And once more in the recovery.
        run(vec![kill, kill + 3]);
    }
}

pub fn a_writer_that_was_overtaken_publishes_nothing<F: ExactlyOnce>() {
    let fixture = F::new();
    let mut shard = Shard::new(&fixture, "single");
    let mut sleeper = shard.live();
    shard.commit(&mut *sleeper, 1, &[1]);
    let rows = Rows::new(&[90, 91]);
    let staged = sleeper.stage(&rows.at(2)).expect("staged");
    let mut owner = shard.live();
    let woken = sleeper.publish(&rows.at(2), &staged).map_err(|error| error.code());
    assert_eq!(woken.err(), F::OVERTAKEN);
    sleeper.discard_uncommitted().expect("nothing of the owner's");
    shard.commit(&mut *owner, 2, &[2]);
    shard.commit(&mut *owner, 3, &[3]);
    assert_eq!(sorted(fixture.visible()), expected(&fixture, 1..=3));
    drop((sleeper, owner));
    shard.live();
    assert_eq!(sorted(fixture.visible()), expected(&fixture, 1..=3));
}

pub fn shards_do_not_disturb_each_other<F: ExactlyOnce>() {
    let fixture = F::new();
    let (mut one, mut other) = (Shard::new(&fixture, "0"), Shard::new(&fixture, "1"));
    let (mut one_sink, mut other_sink) = (one.live(), other.live());
    one.commit(&mut *one_sink, 1, &[1]);
    other.commit(&mut *other_sink, 1, &[2]);
    // Staged by the one while the other recovers.
    let rows = Rows::new(&[3]);
    let staged = one_sink.stage(&rows.at(2)).expect("staged");
    drop(other_sink);
    let mut other_sink = other.live();
    one_sink.publish(&rows.at(2), &staged).expect("published");
    other.commit(&mut *other_sink, 2, &[4]);
    assert_eq!(sorted(fixture.visible()), expected(&fixture, 1..=4));
}

fn take_over<F: Fixture>(fixture: &F, generation: u64) -> (Box<dyn Sink>, segno_core::Result<Held>) {
    let mut sink = fixture.open("single");
    let held = sink.take_over(&owner(fixture, "single", generation));
    (sink, held)
}

pub fn a_sink_that_was_never_started_holds_nothing<F: ExactlyOnce>() {
    let fixture = F::new();
    for generation in [1, 2] {
        assert_eq!(take_over(&fixture, generation).1.expect("taken over"), Held::Nothing);
    }
    let (mut sink, held) = take_over(&fixture, 3);
    assert_eq!(held.expect("taken over"), Held::Nothing);
    sink.start_after(7).expect("started");
    assert_eq!(take_over(&fixture, 4).1.expect("taken over"), Held::Through(7));
}

pub fn a_mark_tells_the_last_epoch_and_never_goes_back<F: ExactlyOnce>() {
    let fixture = F::new();
    let (mut sink, held) = take_over(&fixture, 1);
    assert_eq!(held.expect("taken over"), Held::Nothing);
    sink.start_after(0).expect("started");
    for (epoch, id, wanted) in [(3, 1, 3), (5, 2, 5), (4, 90, 5), (5, 91, 5)] {
        sink.publish(&Rows::new(&[id]).at(epoch), &[]).expect("published");
        drop(sink);
        let generation = 10 * wanted + id as u64;
        let held;
        (sink, held) = take_over(&fixture, generation);
        assert_eq!(held.expect("taken over"), Held::Through(wanted), "after epoch {epoch}");
    }
    assert_eq!(fixture.visible(), [1, 2], "an epoch at or below the mark is not written");
}

pub fn an_older_or_equal_generation_does_not_take_over<F: ExactlyOnce>() {
    let fixture = F::new();
    let (mut owner, held) = take_over(&fixture, 5);
    assert_eq!(held.expect("taken over"), Held::Nothing);
    owner.start_after(0).expect("started");
    owner.publish(&Rows::new(&[1]).at(1), &[]).expect("published");
    // A generation is taken once in a store: an equal one is of another store.
    for generation in [4, 5] {
        let refused = take_over(&fixture, generation).1.expect_err("an owner that is not the newest");
        assert_eq!(Some(refused.code()), F::OVERTAKEN, "generation {generation}");
    }
    owner.publish(&Rows::new(&[2]).at(2), &[]).expect("it is the owner still");
    assert_eq!(fixture.visible(), [1, 2]);
}
