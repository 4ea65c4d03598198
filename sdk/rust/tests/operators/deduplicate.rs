//! Deduplication, by the key and by ids within one.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::deduplicate::{Deduplicate, Seen, SeenIds};
use segno_sdk::prelude::*;

use super::{Given, KEYS, SECOND, records, run, watermarks};

#[derive(Input)]
struct Record {
    id: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Config)]
struct Settings {
    /// Seconds.
    horizon: u64,
    after_last: bool,
}

fn rule(settings: &Settings) -> Deduplicate {
    let horizon = Duration::from_secs(settings.horizon);
    let rule = if settings.after_last { Deduplicate::after_last(horizon) } else { Deduplicate::after_first(horizon) };
    rule.timer_number(3)
}

struct ByKey(Deduplicate);

impl Transform for ByKey {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = Keep;
    type State = Seen;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(rule(&settings)))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        if self.0.is_first(ctx.state, ctx.timers, record.at)? {
            ctx.out.keep();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        self.0.fire(ctx.state, ctx.timers, timer);
    }
}

segno_sdk::plugin!(ByKey);

struct ById(Deduplicate);

impl Transform for ById {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = Keep;
    type State = SeenIds<i64>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(rule(&settings)))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        if self.0.is_first_of(ctx.state, ctx.timers, record.at, record.id)? {
            ctx.out.keep();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        self.0.fire_ids(ctx.state, ctx.timers, timer);
    }
}

segno_sdk::plugin!(ById);

/// Records that are given, and those that are late: each id has generations of records, one of which may be remembered.
fn reference(records: &[Given], delay: i64, horizon: i64, after_last: bool, id: impl Fn(&Given) -> i64) -> (Vec<usize>, Vec<usize>) {
    let (mut given, mut late) = (Vec::new(), Vec::new());
    let mut generations: Vec<(i64, Vec<i64>)> = Vec::new();
    for (number, (record, watermark)) in records.iter().zip(watermarks(records, delay)).enumerate() {
        let last = generations.iter_mut().rfind(|generation| generation.0 == id(record));
        let until = |times: &[i64]| if after_last { times.iter().max().unwrap() + horizon } else { times[0] + horizon };
        match last {
            Some((_, times)) if until(times) > watermark => times.push(record.at),
            _ if record.at + horizon <= watermark => late.push(number),
            _ => {
                generations.push((id(record), vec![record.at]));
                given.push(number);
            }
        }
    }
    (given, late)
}

fn causes<T: segno_sdk::Plugin>(ran: &super::Ran<T>) -> Vec<usize> {
    ran.rows.iter().map(|row| row.cause).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_first_records_of_keys_and_ids_are_those_of_the_reference(
        records in records(), horizon in 1..30_i64, after_last: bool, delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let config = format!(r#"{{"horizon":{horizon},"after_last":{after_last}}}"#);
        let row = |_: usize, record: &Given| row! { "id": record.value };
        let horizon = horizon * SECOND;

        let ran = run::<ByKey>(&config, delay, &records, cut, row);
        let wanted = reference(&records, delay, horizon, after_last, |record| record.key as i64);
        prop_assert!(ran.is_forgotten("seen"));
        prop_assert_eq!((causes(&ran), ran.rejects), wanted);

        let ran = run::<ById>(&config, delay, &records, cut, row);
        let wanted = reference(&records, delay, horizon, after_last, |record| record.key as i64 * 100 + record.value);
        prop_assert!(ran.is_forgotten("seen_ids"));
        prop_assert_eq!((causes(&ran), ran.rejects), wanted);
    }

    /// What the documentation promises, of records that are not late.
    #[test]
    fn no_two_records_of_a_key_are_given_that_are_nearer_than_the_horizon(
        records in records(), horizon in 1..30_i64, after_last: bool, delay in 0..20 * SECOND,
    ) {
        let config = format!(r#"{{"horizon":{horizon},"after_last":{after_last}}}"#);
        let given = causes(&run::<ByKey>(&config, delay, &records, 99, |_, _| row! { "id": 0 }));
        let seen = watermarks(&records, delay);
        let in_time: Vec<&Given> = given.iter().filter(|&&number| records[number].at >= seen[number]).map(|&number| &records[number]).collect();
        for (number, one) in in_time.iter().enumerate() {
            for other in in_time[..number].iter().filter(|other| other.key == one.key) {
                prop_assert!((one.at - other.at).abs() >= horizon * SECOND, "{other:?} and {one:?}");
            }
        }
    }
}

#[test]
fn the_end_of_the_horizon_is_not_part_of_it() {
    for (after_last, wanted) in [(false, vec![0, 2]), (true, vec![0])] {
        let records: Vec<Given> = [0, 9, 10].map(|second| Given { key: 0, at: second * SECOND, kind: 0, value: 0 }).to_vec();
        let ran = run::<ByKey>(&format!(r#"{{"horizon":10,"after_last":{after_last}}}"#), 0, &records, 99, |_, _| row! { "id": 0 });
        assert_eq!(causes(&ran), wanted);
        assert_eq!(ran.rows[0].key, KEYS[0]);
    }
}
