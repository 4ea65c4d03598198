//! Joins of a stream with a table: its newest rows, and those that were valid.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::join::{AsOf, Latest, Temporal, TemporalJoin, Versions};
use segno_sdk::prelude::*;

use super::{Given, KEYS, SECOND, records, run, watermarks};

/// A record asks, upserts or deletes.
#[derive(Input)]
struct Record<'a> {
    what: &'a str,
    id: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(State, Clone)]
struct Id {
    id: i64,
}

#[derive(Output)]
struct Answer {
    id: Option<i64>,
}

struct Newest;

impl Transform for Newest {
    type Config = ();
    type Tables = ();
    type Input<'a> = Record<'a>;
    type Output = Extend<Answer>;
    type State = Latest<Id>;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let took = match record.what {
            "upsert" => ctx.state.or_default().upsert(record.at, Id { id: record.id }),
            "delete" => ctx.state.or_default().delete(record.at),
            _ => {
                ctx.out.push(Answer { id: ctx.state.get().and_then(Latest::row).map(|row| row.id) });
                true
            }
        };
        if !took {
            reject!("older than the newest");
        }
        Ok(())
    }
}

segno_sdk::plugin!(Newest);

#[derive(Config)]
struct Settings {
    /// Microseconds.
    lateness: u64,
}

struct Valid(AsOf);

impl Transform for Valid {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record<'a>;
    type Output = Extend<Answer>;
    type State = Versions<Id>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let table = AsOf::new().timer_number(2);
        Ok(Self(match settings.lateness {
            0 => table,
            lateness => table.allowed_lateness(Duration::from_micros(lateness)),
        }))
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        match record.what {
            "upsert" => self.0.upsert(ctx.state, ctx.timers, record.at, Id { id: record.id })?,
            "delete" => self.0.delete(ctx.state, ctx.timers, record.at)?,
            _ => {
                let row = self.0.row(ctx.state, ctx.timers, record.at)?;
                ctx.out.push(Answer { id: row.map(|row| row.id) });
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        self.0.fire(ctx.state, ctx.timers, timer);
    }
}

segno_sdk::plugin!(Valid);

#[derive(Output)]
struct Waited {
    record: i64,
    id: Option<i64>,
}

struct Certain(TemporalJoin);

impl Transform for Certain {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record<'a>;
    type Output = PerKey<Waited>;
    type State = Temporal<Id, Id>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let join = TemporalJoin::new().timer_number(2);
        Ok(Self(match settings.lateness {
            0 => join,
            lateness => join.allowed_lateness(Duration::from_micros(lateness)),
        }))
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let id = Id { id: record.id };
        match record.what {
            "upsert" => self.0.upsert(ctx.state, ctx.timers, record.at, id)?,
            "delete" => self.0.delete(ctx.state, ctx.timers, record.at)?,
            _ => self.0.add(ctx.state, ctx.timers, record.at, id)?,
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for (_, record, row) in self.0.fire(ctx.state, ctx.timers, timer) {
            ctx.out.push(Waited { record: record.id, id: row.map(|row| row.id) });
        }
    }
}

segno_sdk::plugin!(Certain);

fn what(record: &Given) -> &'static str {
    match record.kind {
        0 => "upsert",
        1 if record.value < 4 => "delete",
        1 => "upsert",
        _ => "ask",
    }
}

fn row(number: usize, record: &Given) -> segno_sdk::testing::Row {
    row! { "what": what(record), "id": number as i64 }
}

/// (the record that asked, the record that it saw)
type Answers = Vec<(usize, Option<usize>)>;

fn answers<T: segno_sdk::Plugin>(ran: &super::Ran<T>) -> Answers {
    ran.rows.iter().map(|row| (row.cause, (!row.is_null("id")).then(|| row.i64("id") as usize))).collect()
}

/// Changes of a record's key that came before it, the newest last.
fn changes(records: &[Given], number: usize, mut sees: impl FnMut(usize) -> bool) -> Vec<usize> {
    let before = (0..number).filter(|&other| records[other].key == records[number].key && what(&records[other]) != "ask");
    let mut changes: Vec<usize> = before.filter(|&other| sees(other)).collect();
    changes.sort_by_key(|&other| (records[other].at, other));
    changes
}

fn row_of(records: &[Given], change: Option<&usize>) -> Option<usize> {
    change.copied().filter(|&number| what(&records[number]) == "upsert")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_record_sees_the_newest_row_that_came_before_it(records in records(), cut in 0..60_usize) {
        let ran = run::<Newest>("{}", 0, &records, cut, row);
        let (mut wanted, mut old) = (Answers::new(), Vec::new());
        for (number, record) in records.iter().enumerate() {
            let newest = changes(&records, number, |_| true).last().copied();
            if what(record) == "ask" {
                wanted.push((number, row_of(&records, newest.as_ref())));
            } else if newest.is_some_and(|newest| records[newest].at > record.at) {
                old.push(number);
            }
        }
        prop_assert_eq!((answers(&ran), ran.rejects), (wanted, old));
    }

    #[test]
    fn a_record_sees_the_row_that_was_valid_at_its_time(
        records in records(), lateness in prop_oneof![Just(0), 0..20 * SECOND], delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let mut ran = run::<Valid>(&format!(r#"{{"lateness":{lateness}}}"#), delay, &records, cut, row);
        let (mut wanted, mut late) = (Answers::new(), Vec::new());
        for (number, (record, watermark)) in records.iter().zip(watermarks(&records, delay)).enumerate() {
            let known = changes(&records, number, |other| !late.contains(&other));
            if what(record) == "ask" {
                if record.at + lateness < watermark {
                    late.push(number);
                } else {
                    let valid = known.iter().rfind(|&&other| records[other].at <= record.at);
                    wanted.push((number, row_of(&records, valid)));
                }
            } else if known.iter().any(|&other| records[other].at > record.at && records[other].at + lateness <= watermark) {
                late.push(number);
            }
        }
        prop_assert_eq!((answers(&ran), std::mem::take(&mut ran.rejects)), (wanted, late));
        only_the_last_version_is_kept(&ran, "versions");
    }

    #[test]
    fn a_record_that_waits_sees_every_version_that_is_not_late(
        records in records(), lateness in prop_oneof![Just(0), 0..20 * SECOND], delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let ran = run::<Certain>(&format!(r#"{{"lateness":{lateness}}}"#), delay, &records, cut, row);
        let seen = watermarks(&records, delay);
        let (mut waiting, mut late) = (Vec::new(), Vec::new());
        for (number, record) in records.iter().enumerate() {
            let known = changes(&records, number, |other| !late.contains(&other));
            let is_late = match what(record) {
                "ask" => record.at + lateness < seen[number],
                _ => known.iter().any(|&other| records[other].at > record.at && records[other].at + lateness <= seen[number]),
            };
            if is_late {
                late.push(number);
            } else if what(record) == "ask" {
                waiting.push(number);
            }
        }
        let answer = |&number: &usize| {
            let record = &records[number];
            let answered = (number..records.len()).find(|&later| seen[later] > record.at + lateness).unwrap_or(records.len());
            let mut known: Vec<usize> = (0..answered)
                .filter(|other| records[*other].key == record.key && records[*other].at <= record.at && what(&records[*other]) != "ask")
                .filter(|other| !late.contains(other))
                .collect();
            known.sort_by_key(|&other| (records[other].at, other));
            // Before the record that moved the watermark past its time, in the order of times, then of keys.
            (answered, record.at, record.key, number, row_of(&records, known.last()))
        };
        let mut wanted: Vec<_> = waiting.iter().map(answer).collect();
        wanted.sort_unstable();
        let found: Vec<_> = ran.rows.iter().map(|row| {
            let number = row.i64("record") as usize;
            (row.cause, records[number].at, records[number].key, number, (!row.is_null("id")).then(|| row.i64("id") as usize))
        }).collect();
        only_the_last_version_is_kept(&ran, "temporal_join");
        prop_assert_eq!((found, ran.rejects), (wanted, late));
    }
}

/// At the end of time no record can ask for any other.
fn only_the_last_version_is_kept<T: segno_sdk::Plugin>(ran: &super::Ran<T>, table: &str) {
    for state in KEYS.iter().filter_map(|key| ran.harness.state(key, table)) {
        let segno_sdk::testing::Values::List(versions) = state.get("versions").expect("versions") else { panic!("a list") };
        assert_eq!(versions.len(), 1);
    }
}

#[test]
fn a_version_is_valid_from_its_own_time_on() {
    let given = |second: i64, kind: usize| Given { key: 0, at: second * SECOND, kind, value: 9 };
    // Versions at 1 s and 3 s; asked before, at, between and at, within a delay that keeps them all.
    let records = [given(1, 0), given(3, 0), given(0, 3), given(1, 3), given(2, 3), given(3, 3)];
    let ran = run::<Valid>(r#"{"lateness":0}"#, 60 * SECOND, &records, 99, row);
    assert_eq!(answers(&ran), [(2, None), (3, Some(0)), (4, Some(0)), (5, Some(1))]);
}

#[test]
fn a_record_is_answered_before_its_version_is_dropped() {
    let given = |at: i64, kind: usize| Given { key: 0, at, kind, value: 9 };
    // The next version begins a microsecond after the record: both are over at the same instant.
    let records = [given(SECOND, 0), given(2 * SECOND, 3), given(2 * SECOND + 1, 0), given(9 * SECOND, 0)];
    let ran = run::<Certain>(r#"{"lateness":0}"#, SECOND, &records, 99, row);
    assert_eq!((ran.rows.len(), ran.rows[0].i64("record"), ran.rows[0].is_null("id")), (1, 1, false));
    assert_eq!(ran.rows[0].i64("id"), 0);
}
