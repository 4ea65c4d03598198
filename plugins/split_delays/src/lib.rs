//! Splits flights by their delay: those on time go to the port `on_time` as they are, late ones to the port `late`, one
//! row for each thing that a passenger may claim.
//! It owns what is late. It does not own plausibility (`quality_gate`).
//! Invariant: a flight is on one port, never on both; a late flight has a row for each threshold that it reached.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Flight<'a> {
    /// Minutes after the scheduled departure; negative when early.
    delay: i64,
    origin: &'a str,
}

/// What is late, in minutes.
#[derive(Config)]
pub struct Thresholds {
    /// From here on a flight is late.
    #[segno(default = 15)]
    late: i64,
    /// From here on a passenger may claim a meal.
    #[segno(default = 120)]
    meal: i64,
    /// From here on a passenger may claim a refund.
    #[segno(default = 300)]
    refund: i64,
}

/// A late flight. `claim` is null for the first row of a flight.
#[derive(Output)]
pub struct Late<'a> {
    origin: &'a str,
    delay: i64,
    claim: Option<&'a str>,
}

#[derive(Outputs)]
pub struct Split {
    on_time: Keep,
    late: Emit<Late<'static>>,
}

pub struct SplitDelays {
    thresholds: Thresholds,
}

impl Transform for SplitDelays {
    type Config = Thresholds;
    type Tables = ();
    type Input<'a> = Flight<'a>;
    type Output = Split;
    type State = ();

    fn init(thresholds: Thresholds, _: ()) -> Result<Self, String> {
        let Thresholds { late, meal, refund } = thresholds;
        if late > meal || meal > refund {
            return Err(format!("config: late, meal and refund must rise, and are {late}, {meal} and {refund}"));
        }
        Ok(Self { thresholds })
    }

    #[inline]
    fn process(&mut self, flight: Flight<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let Flight { delay, origin } = flight;
        if delay < self.thresholds.late {
            ctx.out.on_time.keep();
            return Ok(());
        }
        let claims = [(self.thresholds.meal, "meal"), (self.thresholds.refund, "refund")];
        ctx.out.late.push(Late { origin, delay, claim: None });
        for (from, claim) in claims {
            if delay >= from {
                ctx.out.late.push(Late { origin, delay, claim: Some(claim) });
            }
        }
        if origin.is_empty() {
            reject!("a late flight without an origin: nobody knows whom to pay");
        }
        Ok(())
    }
}

segno_sdk::plugin!(SplitDelays);

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: impl IntoIterator<Item = segno_sdk::testing::Row>) -> segno_sdk::testing::RunResult {
        let mut split = Harness::<SplitDelays>::new("{}").unwrap();
        rows.into_iter().for_each(|row| split.push(row));
        split.run()
    }

    #[test]
    fn a_flight_is_on_one_port_and_a_late_one_has_a_row_for_each_threshold() {
        let result = split([
            row! { "delay": 14i64, "origin": "ATL" },
            row! { "delay": 15i64, "origin": "BOS" },
            row! { "delay": 300i64, "origin": "SEA" },
        ]);
        let causes = |port: &str| -> Vec<usize> { result.port(port).iter().map(|row| row.cause).collect() };
        assert_eq!(causes("on_time"), [0]);
        assert_eq!(causes("late"), [1, 2, 2, 2]);
        let late = result.port("late");
        let claims: Vec<Option<&str>> = late.iter().map(|row| (!row.is_null("claim")).then(|| row.text("claim"))).collect();
        assert_eq!(claims, [None, None, Some("meal"), Some("refund")]);
    }

    #[test]
    fn what_a_rejected_flight_gave_before_is_taken_back() {
        let result = split([row! { "delay": 500i64, "origin": "" }, row! { "delay": 20i64, "origin": "ATL" }]);
        assert_eq!(result.rejects.len(), 1);
        assert_eq!(result.port("late").len(), 1);
    }

    #[test]
    fn thresholds_that_fall_are_refused() {
        assert!(Harness::<SplitDelays>::new(r#"{"late": 60, "meal": 30}"#).is_err());
    }
}
