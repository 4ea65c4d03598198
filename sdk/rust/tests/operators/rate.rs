//! Rate limits.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::prelude::*;
use segno_sdk::rate::{Bucket, RateLimit};

use super::{Given, KEYS, SECOND, records, run, watermarks};

#[derive(Input)]
struct Record {
    cost: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Config)]
struct Settings {
    tokens: u64,
    /// Milliseconds.
    per: u64,
    burst: u64,
}

struct Limited(RateLimit);

impl Transform for Limited {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = Keep;
    type State = Bucket;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let limit = RateLimit::new(settings.tokens as u32, Duration::from_millis(settings.per));
        Ok(Self(limit.burst(settings.burst as u32).timer_number(7)))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        if self.0.allows(ctx.state, ctx.timers, record.at, record.cost as u32) {
            ctx.out.keep();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        self.0.fire(ctx.state, ctx.timers, timer);
    }
}

segno_sdk::plugin!(Limited);

/// A record is allowed when in no time that ends with it more is taken than a full bucket and what came back in it.
fn reference(records: &[Given], delay: i64, tokens: i64, per: i64, burst: i64) -> Vec<usize> {
    let mut taken: Vec<Vec<(i64, i64)>> = vec![Vec::new(); KEYS.len()];
    let mut allowed = Vec::new();
    for (number, (record, watermark)) in records.iter().zip(watermarks(records, delay)).enumerate() {
        let taken = &mut taken[record.key];
        let now = taken.last().map_or(i64::MIN, |last| last.0).max(record.at).max(watermark);
        taken.push((now, record.value));
        let fits = (0..taken.len()).all(|first| {
            let costs: i64 = taken[first..].iter().map(|one| one.1).sum();
            i128::from(costs) * i128::from(per) <= i128::from(burst) * i128::from(per) + i128::from(now - taken[first].0) * i128::from(tokens)
        });
        if fits {
            allowed.push(number);
        }
        if !fits || record.value == 0 {
            taken.pop();
        }
    }
    allowed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn records_that_are_allowed_are_those_of_the_reference(
        records in records(), tokens in 1..9_i64, per in 1..20_000_i64, burst in 1..12_i64, delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let config = format!(r#"{{"tokens":{tokens},"per":{per},"burst":{burst}}}"#);
        let ran = run::<Limited>(&config, delay, &records, cut, |_, record| row! { "cost": record.value });
        let allowed: Vec<usize> = ran.rows.iter().map(|row| row.cause).collect();
        prop_assert_eq!(allowed, reference(&records, delay, tokens, per * 1_000, burst));
        prop_assert!(ran.is_forgotten("bucket"));
    }
}

#[test]
fn a_token_is_there_at_the_instant_at_which_it_is_complete() {
    // Three tokens in a second: the first one is complete after 333,333 and a third microseconds.
    let at = [0, 333_333, 333_334];
    let records = at.map(|at| Given { key: 0, at, kind: 0, value: 1 });
    let ran = run::<Limited>(r#"{"tokens":3,"per":1000,"burst":1}"#, 0, &records, 99, |_, record| row! { "cost": record.value });
    assert_eq!(ran.rows.iter().map(|row| row.cause).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn limits_that_cannot_be_are_refused_when_they_are_made() {
    let second = Duration::from_secs(1);
    for made in [
        std::panic::catch_unwind(|| RateLimit::new(0, second)),
        std::panic::catch_unwind(|| RateLimit::new(1, Duration::ZERO)),
        std::panic::catch_unwind(|| RateLimit::new(1, second).burst(0)),
        std::panic::catch_unwind(|| RateLimit::new(1, second * 86_400 * 365).burst(u32::MAX)),
    ] {
        assert!(made.is_err());
    }
}

#[test]
fn a_bucket_is_not_forgotten_before_it_is_full() {
    // Full again at 1 s after the first record, at 2 s after the second.
    let at = [0, 500_000, 1_200_000, 1_300_000];
    let records = at.map(|at| Given { key: 0, at, kind: 0, value: 1 });
    let ran = run::<Limited>(r#"{"tokens":1,"per":1000,"burst":2}"#, 0, &records, 99, |_, record| row! { "cost": record.value });
    assert_eq!(ran.rows.iter().map(|row| row.cause).collect::<Vec<_>>(), [0, 1, 2]);
}
