//! Every operator of the SDK that has timers, over the same records, each with timers of its own numbers. Tests only.
//!
//! Invariant: each operator says what it made of every record and timer, so that a state or a timer that is lost, or of
//! another operator, shows in the output.

use core::time::Duration;

use segno_sdk::deduplicate::{Deduplicate, Seen, SeenIds};
use segno_sdk::join::{AsOf, Interval, IntervalJoin, Side, Sides, Temporal, TemporalJoin, Versions};
use segno_sdk::prelude::*;
use segno_sdk::rate::{Bucket, RateLimit};
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Record {
    id: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Row<'r> {
    /// The operator.
    by: &'r str,
    left: i64,
    right: Option<i64>,
}

#[derive(State, Clone)]
pub struct Id {
    id: i64,
}

pub struct Operators;

const ONCE: Deduplicate = Deduplicate::after_first(Duration::from_millis(700)).timer_number(10);
const ONCE_EACH: Deduplicate = Deduplicate::after_last(Duration::from_secs(2)).timer_number(11);
const NEAR: IntervalJoin = IntervalJoin::between(-300_000, 900_000).left_outer().timer_number(12);
const VALID: AsOf = AsOf::new().allowed_lateness(Duration::from_secs(1)).timer_number(13);
const LIMIT: RateLimit = RateLimit::new(3, Duration::from_secs(1)).timer_number(14);
const CERTAIN: TemporalJoin = TemporalJoin::new().timer_number(20);
const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(1)).allowed_lateness(Duration::from_secs(1)).timer_number(15);

impl Transform for Operators {
    type Config = ();
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Row<'static>>;
    type State = (Seen, SeenIds<i64>, Interval<Id, Id>, Versions<Id>, Bucket, Panes<Sides<Id, Id>>, Temporal<Id, Id>);
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, Record { id, at }: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let (seen, ids, near, versions, bucket, windows, certain) = &mut *ctx.state;
        let mut push = |by, left, right| ctx.out.push(Row { by, left, right });
        match ONCE.is_first(seen, ctx.timers, at) {
            Ok(first) => push("once", id, Some(i64::from(first))),
            Err(_) => push("once, late", id, None),
        }
        match ONCE_EACH.is_first_of(ids, ctx.timers, at, id % 7) {
            Ok(first) => push("once each", id, Some(i64::from(first))),
            Err(_) => push("once each, late", id, None),
        }
        let side = || if id % 3 == 0 { Side::Left(Id { id }) } else { Side::Right(Id { id }) };
        match NEAR.add(near, ctx.timers, at, side()) {
            Ok(pairs) => pairs.for_each(|(left, right)| push("near", left.id, Some(right.id))),
            Err(_) => push("near, late", id, None),
        }
        let version = match id % 5 {
            0 => VALID.upsert(versions, ctx.timers, at, Id { id }),
            1 if id % 2 == 0 => VALID.delete(versions, ctx.timers, at),
            _ => VALID.row(versions, ctx.timers, at).map(|row| push("valid", id, row.map(|row| row.id))),
        };
        if version.is_err() {
            push("valid, late", id, None);
        }
        let waits = match id % 5 {
            0 => CERTAIN.upsert(certain, ctx.timers, at, Id { id }),
            1 if id % 2 == 0 => CERTAIN.delete(certain, ctx.timers, at),
            _ => CERTAIN.add(certain, ctx.timers, at, Id { id }),
        };
        if waits.is_err() {
            push("certain, late", id, None);
        }
        push("limit", id, Some(i64::from(LIMIT.allows(bucket, ctx.timers, at, (id % 3) as u32))));
        match WINDOWS.add(windows, ctx.timers, at) {
            Ok(sides) => sides.add(side()),
            Err(_) => push("window, late", id, None),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        let (seen, ids, near, versions, bucket, windows, certain) = &mut *ctx.state;
        ONCE.fire(seen, ctx.timers, timer);
        ONCE_EACH.fire_ids(ids, ctx.timers, timer);
        for (_, left) in NEAR.fire(near, ctx.timers, timer) {
            ctx.out.push(Row { by: "near, alone", left: left.id, right: None });
        }
        VALID.fire(versions, ctx.timers, timer);
        for (_, record, row) in CERTAIN.fire(certain, ctx.timers, timer) {
            ctx.out.push(Row { by: "certain", left: record.id, right: row.map(|row| row.id) });
        }
        LIMIT.fire(bucket, ctx.timers, timer);
        for fired in WINDOWS.fire(windows, ctx.timers, timer) {
            for (left, right) in fired.value.left_outer() {
                ctx.out.push(Row { by: "window", left: left.id, right: right.map(|right| right.id) });
            }
        }
    }
}

segno_sdk::plugin!(Operators);
