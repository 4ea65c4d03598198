//! Joins of two streams: by an interval, and by windows.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::join::{Interval, IntervalJoin, Side, Sides};
use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

use super::{Given, KEYS, SECOND, records, run, watermarks};

#[derive(Input)]
struct Record {
    id: i64,
    left: bool,
    #[segno(event_time)]
    at: Timestamp,
}

impl Record {
    fn side(&self) -> Side<Id, Id> {
        let id = Id { id: self.id };
        if self.left { Side::Left(id) } else { Side::Right(id) }
    }
}

#[derive(State, Clone)]
struct Id {
    id: i64,
}

#[derive(Output)]
struct Row {
    left: i64,
    right: Option<i64>,
}

#[derive(Config)]
struct Settings {
    /// Microseconds.
    lower: i64,
    upper: i64,
    lateness: u64,
    left_outer: bool,
}

struct ByInterval(IntervalJoin);

impl Transform for ByInterval {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Row>;
    type State = Interval<Id, Id>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let mut join = IntervalJoin::between(settings.lower, settings.upper).timer_number(1);
        if settings.lateness > 0 {
            join = join.allowed_lateness(Duration::from_micros(settings.lateness));
        }
        Ok(Self(if settings.left_outer { join.left_outer() } else { join }))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        for (left, right) in self.0.add(ctx.state, ctx.timers, record.at, record.side())? {
            ctx.out.push(Row { left: left.id, right: Some(right.id) });
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for (_, left) in self.0.fire(ctx.state, ctx.timers, timer) {
            ctx.out.push(Row { left: left.id, right: None });
        }
    }
}

segno_sdk::plugin!(ByInterval);

#[derive(Config)]
struct OfWindows {
    left_outer: bool,
}

struct ByWindow(bool);
const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(10));

impl Transform for ByWindow {
    type Config = OfWindows;
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Row>;
    type State = Panes<Sides<Id, Id>>;
    const TIMERS: bool = true;

    fn init(settings: OfWindows, _: ()) -> Result<Self, String> {
        Ok(Self(settings.left_outer))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        WINDOWS.add(ctx.state, ctx.timers, record.at)?.add(record.side());
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            if self.0 {
                fired.value.left_outer().for_each(|(left, right)| ctx.out.push(Row { left: left.id, right: right.map(|one| one.id) }));
            } else {
                fired.value.inner().for_each(|(left, right)| ctx.out.push(Row { left: left.id, right: Some(right.id) }));
            }
        }
    }
}

segno_sdk::plugin!(ByWindow);

fn is_left(record: &Given) -> bool {
    record.kind < 2
}

fn row(number: usize, record: &Given) -> segno_sdk::testing::Row {
    row! { "id": number as i64, "left": is_left(record) }
}

/// (what caused it, left, right), by the records' numbers.
type Pair = (usize, usize, Option<usize>);

fn pairs<T: segno_sdk::Plugin>(ran: &super::Ran<T>) -> Vec<Pair> {
    let pair = |row: &segno_sdk::testing::OutputRow| {
        let right = (!row.is_null("right")).then(|| row.i64("right") as usize);
        (row.cause, row.i64("left") as usize, right)
    };
    ran.rows.iter().map(pair).collect()
}

struct Join {
    lower: i64,
    upper: i64,
    lateness: i64,
    left_outer: bool,
}

impl Join {
    /// Pairs in the order of records, the left ones that are alone, and late records.
    fn reference(&self, records: &[Given], delay: i64) -> (Vec<Pair>, Vec<Pair>, Vec<usize>) {
        let seen = watermarks(records, delay);
        let late = |number: &usize| records[*number].at + self.lateness < seen[*number];
        let (late, taken): (Vec<usize>, Vec<usize>) = (0..records.len()).partition(late);
        let mut joined = Vec::new();
        for &number in &taken {
            let one = &records[number];
            let other = |&&other: &&usize| {
                let other = &records[other];
                let (left, right) = if is_left(one) { (one, other) } else { (other, one) };
                let after = right.at - left.at;
                other.key == one.key && is_left(one) != is_left(other) && (self.lower..=self.upper).contains(&after)
            };
            let mut others: Vec<usize> = taken.iter().take_while(|&&earlier| earlier < number).filter(other).copied().collect();
            others.sort_by_key(|&number| (records[number].at, number));
            joined.extend(others.into_iter().map(|other| {
                if is_left(one) { (number, number, Some(other)) } else { (number, other, Some(number)) }
            }));
        }
        let mut alone = Vec::new();
        for &number in taken.iter().filter(|&&number| self.left_outer && is_left(&records[number])) {
            if joined.iter().all(|pair| pair.1 != number) {
                // Given before the first record after it that moves the watermark so far that no partner can come.
                let over = |later: &usize| seen[*later] > records[number].at + self.upper + self.lateness;
                let moved = |later: &usize| seen[*later] > seen[number];
                let cause = (number + 1..records.len()).find(|later| over(later) && moved(later));
                alone.push((cause.unwrap_or(records.len()), number, None));
            }
        }
        alone.sort_unstable();
        (joined, alone, late)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn interval_joins_are_those_of_the_reference(
        records in records(), lower in -20..20_i64, span in 0..30_i64, fine in 0..3_i64, left_outer: bool,
        lateness in prop_oneof![Just(0), 0..20 * SECOND], delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let join = Join { lower: lower * SECOND, upper: (lower + span) * SECOND + fine, lateness, left_outer };
        let config = format!(r#"{{"lower":{},"upper":{},"lateness":{lateness},"left_outer":{left_outer}}}"#, join.lower, join.upper);
        let ran = run::<ByInterval>(&config, delay, &records, cut, row);
        let (joined, mut alone): (Vec<Pair>, Vec<Pair>) = pairs(&ran).into_iter().partition(|pair| pair.2.is_some());
        alone.sort_unstable();
        let wanted = join.reference(&records, delay);
        prop_assert!(ran.is_forgotten("interval_join"));
        prop_assert_eq!((joined, alone, ran.rejects), wanted);
    }

    #[test]
    fn windowed_joins_are_those_of_the_reference(records in records(), left_outer: bool, delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize) {
        let ran = run::<ByWindow>(&format!(r#"{{"left_outer":{left_outer}}}"#), delay, &records, cut, row);
        let seen = watermarks(&records, delay);
        let end = |number: usize| (records[number].at.div_euclid(10 * SECOND) + 1) * 10 * SECOND;
        let (late, taken): (Vec<usize>, Vec<usize>) = (0..records.len()).partition(|&number| end(number) <= seen[number]);
        let mut windows: Vec<(i64, usize)> = taken.iter().map(|&number| (end(number), records[number].key)).collect();
        windows.sort_unstable();
        windows.dedup();
        let mut wanted = Vec::new();
        for window in windows {
            let of_side = |left: bool| {
                let wanted = |number: &&usize| (end(**number), records[**number].key) == window && is_left(&records[**number]) == left;
                taken.iter().filter(wanted).copied().collect::<Vec<usize>>()
            };
            let (lefts, rights) = (of_side(true), of_side(false));
            for left in lefts {
                wanted.extend(rights.iter().map(|&right| (left, Some(right))));
                if rights.is_empty() && left_outer {
                    wanted.push((left, None));
                }
            }
        }
        let found: Vec<_> = pairs(&ran).into_iter().map(|(_, left, right)| (left, right)).collect();
        prop_assert!(ran.is_forgotten("windows"));
        prop_assert_eq!((found, ran.rejects), (wanted, late));
    }
}

#[test]
fn both_ends_of_an_interval_are_part_of_it() {
    let given = |at: i64, kind: usize| Given { key: 0, at, kind, value: 0 };
    // One left record at 10 s, right ones around the bounds of two and three seconds.
    let (low, high) = (8 * SECOND, 13 * SECOND);
    let records = [given(low - 1, 3), given(low, 3), given(10 * SECOND, 0), given(high, 3), given(high + 1, 3)];
    let config = format!(r#"{{"lower":{},"upper":{},"lateness":0,"left_outer":true}}"#, -2 * SECOND, 3 * SECOND);
    let ran = run::<ByInterval>(&config, 0, &records, 99, row);
    assert_eq!(pairs(&ran), [(2, 2, Some(1)), (3, 2, Some(3))]);
    assert_eq!(ran.rows[0].key, KEYS[0]);
}

#[test]
fn an_interval_that_ends_before_it_begins_is_refused_when_it_is_made() {
    assert!(std::panic::catch_unwind(|| IntervalJoin::between(1, 0)).is_err());
    let all = IntervalJoin::within(Duration::ZERO, Duration::ZERO);
    assert!(format!("{all:?}").contains("lower: 0, upper: 0"));
}
