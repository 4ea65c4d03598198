//! Time to live, against a reference that keeps every record.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::expire::{Kept, TimeToLive};
use segno_sdk::prelude::*;

use super::{Given, KEYS, SECOND, records, run, watermarks};

#[derive(Input)]
struct Record {
    #[segno(event_time)]
    at: Timestamp,
    keeps: bool,
}

#[derive(Output)]
struct Counted {
    records: u64,
}

#[derive(State, Default)]
struct Count {
    records: u64,
}

#[derive(Config)]
struct Settings {
    /// Seconds.
    live: u64,
}

/// Counts the records of a key, which some of them keep.
struct Counts(TimeToLive);

impl Transform for Counts {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = Extend<Counted>;
    type State = (Count, Kept);
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(TimeToLive::new(Duration::from_secs(settings.live)).timer_number(2)))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let (count, kept) = ctx.state;
        if record.keeps || count.get().is_none() {
            self.0.keep(kept, ctx.timers, record.at);
        }
        let count = count.or_default();
        count.records += 1;
        ctx.out.push(Counted { records: count.records });
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        let (count, kept) = ctx.state;
        if self.0.is_over(kept, ctx.timers, timer) {
            count.clear();
        }
    }
}

segno_sdk::plugin!(Counts);

/// What each record counts: those of its key since the key was forgotten last.
fn reference(records: &[Given], delay: i64, live: i64) -> Vec<u64> {
    let mut counted = Vec::new();
    let mut before = i64::MIN;
    // By key: records, and until when it is kept.
    let mut lives: [Option<(u64, i64)>; KEYS.len()] = [None; KEYS.len()];
    for (record, watermark) in records.iter().zip(watermarks(records, delay)) {
        if watermark > before {
            for one in &mut lives {
                *one = one.filter(|(_, until)| *until > watermark);
            }
            before = watermark;
        }
        let (count, until) = lives[record.key].unwrap_or((0, i64::MIN));
        let keeps = record.kind % 2 == 0 || count == 0;
        let until = if keeps { until.max(record.at + live) } else { until };
        lives[record.key] = Some((count + 1, until));
        counted.push(count + 1);
    }
    counted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn counts_begin_anew_when_nothing_kept_their_key(
        records in records(), live in 1..30_i64, delay in prop_oneof![Just(0), 0..20 * SECOND], cut in 0..60_usize,
    ) {
        let row = |_: usize, record: &Given| row! { "keeps": record.kind % 2 == 0 };
        let ran = run::<Counts>(&format!(r#"{{"live":{live}}}"#), delay, &records, cut, row);
        prop_assert!(ran.is_forgotten("kept") && ran.is_forgotten("count"));
        let counted: Vec<u64> = ran.rows.iter().map(|row| row.u64("records")).collect();
        prop_assert_eq!(counted, reference(&records, delay, live * SECOND));
    }
}

#[test]
fn the_end_of_a_life_is_not_part_of_it() {
    let records = [0, 9, 19, 28].map(|second| Given { key: 0, at: second * SECOND, kind: 0, value: 0 });
    let ran = run::<Counts>(r#"{"live":10}"#, 0, &records, 99, |_, _| row! { "keeps": true });
    let counted: Vec<u64> = ran.rows.iter().map(|row| row.u64("records")).collect();
    assert_eq!(counted, [1, 2, 1, 2]);
}
