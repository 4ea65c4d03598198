//! Counts flights and adds up their delays in windows of event time, for each key; flights that come too late go to a
//! port of their own.
//! It owns the windows. The key is the pipeline's, as in `key: origin`.
//! Invariant: sums are whole numbers, so that a result does not depend on the order of the records in its window.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Kind, Panes, Tumbling};

#[derive(Input)]
pub struct Flight {
    /// Minutes.
    delay: i64,
    #[segno(event_time)]
    at: Timestamp,
}

/// A window of a key.
#[derive(Output)]
pub struct Hour {
    window_start: Timestamp,
    window_end: Timestamp,
    flights: u64,
    mean_delay: f64,
    max_delay: i64,
    /// Whether late flights changed a result that was given before.
    update: bool,
}

#[derive(Outputs)]
pub struct Ports {
    hours: PerKey<Hour>,
    /// The flight as it came.
    late: Keep,
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

#[derive(Config)]
pub struct Settings {
    /// Minutes.
    #[segno(default = 60)]
    window: u64,
    /// How long after its end a window takes late flights, in minutes.
    #[segno(default = 0)]
    allowed_lateness: u64,
}

pub struct WindowedDelays {
    windows: Tumbling,
}

impl Transform for WindowedDelays {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Flight;
    type Output = Ports;
    type State = Panes<Delays>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let minutes = |minutes: u64| Duration::from_secs(minutes.min(1 << 32) * 60);
        if settings.window == 0 {
            return Err("window is 0 minutes; a window is longer than nothing".to_owned());
        }
        let mut windows = Tumbling::new(minutes(settings.window));
        if settings.allowed_lateness > 0 {
            windows = windows.allowed_lateness(minutes(settings.allowed_lateness));
        }
        Ok(Self { windows })
    }

    fn process(&mut self, flight: Flight, ctx: &mut Context<'_, Self>) -> Outcome {
        match self.windows.add(ctx.state, ctx.timers, flight.at) {
            Ok(delays) => {
                delays.flights += 1;
                delays.sum = delays.sum.saturating_add(flight.delay);
                delays.max = delays.max.max(flight.delay);
            }
            Err(_) => ctx.out.late.keep(),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in self.windows.fire(ctx.state, ctx.timers, timer) {
            ctx.out.hours.push(Hour {
                window_start: fired.window.start,
                window_end: fired.window.end,
                flights: fired.value.flights,
                mean_delay: fired.value.sum as f64 / fired.value.flights as f64,
                max_delay: fired.value.max,
                update: fired.kind == Kind::Update,
            });
        }
    }
}

segno_sdk::plugin!(WindowedDelays);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn flight(origin: &str, minutes: i64, delay: i64) -> segno_sdk::testing::Row {
        row! { "delay": delay }.key(origin).at(at(minutes))
    }

    /// (key, start in minutes, flights, largest delay, update)
    fn hours(result: &segno_sdk::testing::RunResult) -> Vec<(String, i64, u64, i64, bool)> {
        let hour = |row: &segno_sdk::testing::OutputRow| {
            let start = row.timestamp("window_start").micros() / 60_000_000;
            (row.key.clone(), start, row.u64("flights"), row.i64("max_delay"), row.bool("update"))
        };
        result.port("hours").iter().map(hour).collect()
    }

    #[test]
    fn an_hour_is_given_when_the_watermark_reaches_its_end() {
        let mut plugin = Harness::<WindowedDelays>::new("{}").unwrap();
        for (origin, minutes, delay) in [("ATL", 5, 1), ("BOS", 30, 2), ("ATL", 59, 3), ("ATL", 60, 4)] {
            plugin.push(flight(origin, minutes, delay));
        }
        let result = plugin.run();
        assert_eq!(hours(&result), [("ATL".to_owned(), 0, 2, 3, false), ("BOS".to_owned(), 0, 1, 2, false)]);
        // Before the flight at 1:00.
        assert!(result.port("hours").iter().all(|row| row.cause == 3));
        assert_eq!(hours(&plugin.run_to_end()), [("ATL".to_owned(), 60, 1, 4, false)]);
        assert_eq!(plugin.state("ATL", "windows"), None);
        assert_eq!(plugin.timers("ATL"), []);
    }

    #[test]
    fn a_late_flight_goes_to_its_port_or_changes_the_hour() {
        let late = [("ATL", 5, 1), ("ATL", 70, 2), ("ATL", 50, 9), ("ATL", 80, 3)];
        let mut strict = Harness::<WindowedDelays>::new("{}").unwrap();
        late.iter().for_each(|&(origin, minutes, delay)| strict.push(flight(origin, minutes, delay)));
        let result = strict.run();
        assert_eq!(hours(&result), [("ATL".to_owned(), 0, 1, 1, false)]);
        assert_eq!(result.port("late").len(), 1);
        assert_eq!(result.port("late")[0].cause, 2);

        let mut patient = Harness::<WindowedDelays>::new(r#"{"allowed_lateness": 15}"#).unwrap();
        late.iter().for_each(|&(origin, minutes, delay)| patient.push(flight(origin, minutes, delay)));
        let result = patient.run();
        assert_eq!(hours(&result), [("ATL".to_owned(), 0, 1, 1, false), ("ATL".to_owned(), 0, 2, 9, true)]);
        assert!(result.port("late").is_empty());
        patient.push(flight("ATL", 59, 1));
        assert_eq!(patient.run().port("late").len(), 1, "a quarter of an hour has passed");
    }
}
