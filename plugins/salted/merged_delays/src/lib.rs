//! Puts the hours of an airport together from those of its salts: the second of two steps.
//! It owns the sums. The rows of an hour have the last instant of it as their event time, so they are in the same window, and
//! its timer comes after all of them.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Part {
    flights: u64,
    delay_sum: i64,
    delay_max: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Hour {
    window_start: Timestamp,
    window_end: Timestamp,
    flights: u64,
    mean_delay: f64,
    max_delay: i64,
}

#[derive(State, Clone)]
pub struct Delays {
    flights: u64,
    sum: i64,
    max: i64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { flights: 0, sum: 0, max: i64::MIN }
    }
}

const HOURS: Tumbling = Tumbling::new(Duration::from_secs(3600));

pub struct MergedDelays;

impl Transform for MergedDelays {
    type Config = ();
    type Tables = ();
    type Input<'a> = Part;
    type Output = PerKey<Hour>;
    type State = Panes<Delays>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, part: Part, ctx: &mut Context<'_, Self>) -> Outcome {
        let delays = HOURS.add(ctx.state, ctx.timers, part.at)?;
        delays.flights += part.flights;
        delays.sum = delays.sum.saturating_add(part.delay_sum);
        delays.max = delays.max.max(part.delay_max);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in HOURS.fire(ctx.state, ctx.timers, timer) {
            let Delays { flights, sum, max } = fired.value;
            ctx.out.push(Hour {
                window_start: fired.window.start,
                window_end: fired.window.end,
                flights,
                mean_delay: sum as f64 / flights as f64,
                max_delay: max,
            });
        }
    }
}

segno_sdk::plugin!(MergedDelays);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_hour_are_added_up() {
        let mut plugin = Harness::<MergedDelays>::new("{}").unwrap();
        let last = |hour: i64| Timestamp::from_micros(hour * 3_600_000_000 - 1);
        for (hour, flights, sum, max) in [(1, 2u64, 3, 5), (1, 1, 7, 7), (2, 1, 1, 1)] {
            plugin.push(row! { "flights": flights, "delay_sum": sum, "delay_max": max }.key("ATL").at(last(hour)));
        }
        let result = plugin.run_to_end();
        let hour = |row: &segno_sdk::testing::OutputRow| (row.u64("flights"), row.f64("mean_delay"), row.i64("max_delay"));
        assert_eq!(result.rows().iter().map(hour).collect::<Vec<_>>(), [(3, 10.0 / 3.0, 7), (1, 1.0, 1)]);
    }
}
