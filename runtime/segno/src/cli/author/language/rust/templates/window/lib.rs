//! Counts orders and adds up what they are worth in windows of event time, for each key of the pipeline; orders that come
//! too late go to a port of their own.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

/// The columns that the plugin reads.
#[derive(Input)]
pub struct Order {
    quantity: i64,
    price_cents: i64,
    #[segno(event_time)]
    at: Timestamp,
}

/// A window of a key.
#[derive(Output)]
pub struct Window {
    from: Timestamp,
    orders: u64,
    total_cents: i64,
}

#[derive(Outputs)]
pub struct Ports {
    windows: PerKey<Window>,
    /// The order as it came.
    late: Keep,
}

/// What is kept for each key and window.
#[derive(State, Default, Clone)]
pub struct Sum {
    orders: u64,
    total_cents: i64,
}

/// `config:` of the step.
#[derive(Config)]
pub struct Settings {
    #[segno(default = 60)]
    minutes: u64,
}

pub struct Hourly {
    windows: Tumbling,
}

impl Transform for Hourly {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Order;
    type Output = Ports;
    type State = Panes<Sum>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        if !(1..=1_000_000).contains(&settings.minutes) {
            return Err("config.minutes: 1 to 1000000 is expected".to_owned());
        }
        Ok(Self { windows: Tumbling::new(Duration::from_secs(settings.minutes * 60)) })
    }

    fn process(&mut self, order: Order, ctx: &mut Context<'_, Self>) -> Outcome {
        if order.quantity <= 0 {
            reject!("a quantity of {}", order.quantity);
        }
        match self.windows.add(ctx.state, ctx.timers, order.at) {
            Ok(sum) => {
                sum.orders += 1;
                sum.total_cents += order.quantity * order.price_cents;
            }
            Err(_) => ctx.out.late.keep(),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in self.windows.fire(ctx.state, ctx.timers, timer) {
            ctx.out.windows.push(Window {
                from: fired.window.start,
                orders: fired.value.orders,
                total_cents: fired.value.total_cents,
            });
        }
    }
}

segno_sdk::plugin!(Hourly);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_its_orders() {
        let mut plugin = Harness::<Hourly>::new("{}").unwrap();
        for minute in [5, 50, 70] {
            let at = Timestamp::from_millis(minute * 60_000);
            plugin.push(row! { "quantity": 1, "price_cents": 100 }.key("ann").at(at));
        }
        let given = plugin.run_to_end();
        let orders: Vec<u64> = given.port("windows").iter().map(|row| row.u64("orders")).collect();
        assert_eq!(orders, [2, 1]);
    }
}
