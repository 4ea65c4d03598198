//! Counts flights and adds up their delays in hours of event time, for each airport and salt: the first of two steps.
//! It owns the parts. An hour of a key is given once, so that the second step counts nothing twice.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Flight {
    /// Minutes.
    delay: i64,
    #[segno(event_time)]
    at: Timestamp,
}

/// A part of an hour: whole numbers, which can be added up in any order.
#[derive(Output)]
pub struct Part {
    flights: u64,
    delay_sum: i64,
    delay_max: i64,
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

pub struct PartialDelays;

impl Transform for PartialDelays {
    type Config = ();
    type Tables = ();
    type Input<'a> = Flight;
    type Output = PerKey<Part>;
    type State = Panes<Delays>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, flight: Flight, ctx: &mut Context<'_, Self>) -> Outcome {
        let delays = HOURS.add(ctx.state, ctx.timers, flight.at)?;
        delays.flights += 1;
        delays.sum = delays.sum.saturating_add(flight.delay);
        delays.max = delays.max.max(flight.delay);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in HOURS.fire(ctx.state, ctx.timers, timer) {
            let Delays { flights, sum, max } = fired.value;
            ctx.out.push(Part { flights, delay_sum: sum, delay_max: max });
        }
    }
}

segno_sdk::plugin!(PartialDelays);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_a_salt_is_given_once() {
        let mut plugin = Harness::<PartialDelays>::new("{}").unwrap();
        for (minute, salt, delay) in [(0, "ATL 0", 5), (1, "ATL 1", 7), (59, "ATL 0", -2), (60, "ATL 0", 1), (10, "ATL 0", 9)] {
            plugin.push(row! { "delay": delay }.key(salt).at(Timestamp::from_millis(minute * 60_000)));
        }
        let result = plugin.run_to_end();
        let part = |row: &segno_sdk::testing::OutputRow| (row.key.clone(), row.u64("flights"), row.i64("delay_sum"), row.i64("delay_max"));
        let parts: Vec<_> = result.rows().iter().map(part).collect();
        assert_eq!(parts, [("ATL 0".to_owned(), 2, 3, 5), ("ATL 1".to_owned(), 1, 7, 7), ("ATL 0".to_owned(), 1, 1, 1)]);
        assert_eq!(result.rejects.len(), 1, "the flight of 0:10 is late");
    }
}
