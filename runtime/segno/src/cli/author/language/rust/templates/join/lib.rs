//! Joins orders with their payments, for each key of the pipeline: each pair when the later of both comes; an order that nobody
//! paid in time alone, when no payment can come any more.

use core::time::Duration;

use segno_sdk::join::{Interval, IntervalJoin, Side};
use segno_sdk::prelude::*;

/// The columns that the plugin reads: an order has a total, a payment what was paid.
#[derive(Input)]
pub struct Event {
    total_cents: Option<i64>,
    paid_cents: Option<i64>,
    #[segno(event_time)]
    at: Timestamp,
}

/// What is kept of an order while payments may come.
#[derive(State, Clone)]
pub struct Order {
    total_cents: i64,
}

/// What is kept of a payment while its order may come late.
#[derive(State, Clone)]
pub struct Payment {
    paid_cents: i64,
}

#[derive(Output)]
pub struct Paid {
    total_cents: i64,
    paid_cents: Option<i64>,
}

/// `config:` of the step.
#[derive(Config)]
pub struct Settings {
    /// The time within which an order is paid.
    #[segno(default = 60)]
    minutes: u64,
}

pub struct Join {
    join: IntervalJoin,
}

impl Transform for Join {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Event;
    type Output = PerKey<Paid>;
    type State = Interval<Order, Payment>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        if !(1..=1_000_000).contains(&settings.minutes) {
            return Err("config.minutes: 1 to 1000000 is expected".to_owned());
        }
        let time = Duration::from_secs(settings.minutes * 60);
        Ok(Self { join: IntervalJoin::within(Duration::ZERO, time).left_outer() })
    }

    fn process(&mut self, event: Event, ctx: &mut Context<'_, Self>) -> Outcome {
        let side = match (event.total_cents, event.paid_cents) {
            (Some(total_cents), None) => Side::Left(Order { total_cents }),
            (None, Some(paid_cents)) => Side::Right(Payment { paid_cents }),
            (Some(_), Some(_)) => reject!("an order and a payment at once"),
            (None, None) => reject!("neither an order nor a payment"),
        };
        // A record that is late is rejected: `?`.
        for (order, payment) in self.join.add(ctx.state, ctx.timers, event.at, side)? {
            ctx.out.push(Paid { total_cents: order.total_cents, paid_cents: Some(payment.paid_cents) });
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for (_, order) in self.join.fire(ctx.state, ctx.timers, timer) {
            ctx.out.push(Paid { total_cents: order.total_cents, paid_cents: None });
        }
    }
}

segno_sdk::plugin!(Join);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_nobody_paid_is_given_alone() {
        let mut plugin = Harness::<Join>::new("{}").unwrap();
        for (order, minute, total, paid) in [("a", 0, Some(900), None::<i64>), ("b", 1, Some(500), None), ("a", 60, None, Some(900))] {
            let at = Timestamp::from_millis(minute * 60_000);
            plugin.push(row! { "total_cents": total, "paid_cents": paid }.key(order).at(at));
        }
        let given = plugin.run_to_end();
        let rows: Vec<_> = given.rows().iter().map(|row| (row.i64("total_cents"), row.is_null("paid_cents"))).collect();
        assert_eq!(rows, [(900, false), (500, true)]);
    }
}
