//! Rejects flights that cannot have happened, with a reason; gives the others as they are.
//! It owns plausibility. Malformed records never get here: the host finds them.
//! Invariant: the first rule that a flight breaks, in the order of the code, is its reason.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Flight<'a> {
    /// Minutes after the scheduled departure; negative when early.
    delay: i64,
    /// Miles.
    distance: i64,
    origin: &'a str,
    destination: &'a str,
}

/// What is plausible.
#[derive(Config)]
pub struct Limits {
    /// Minutes. Nobody departs more than a day early.
    #[segno(default = -1440)]
    min_delay: i64,
    /// Minutes. The longest delays in the public records are about two days.
    #[segno(default = 2880)]
    max_delay: i64,
    /// Miles. No scheduled flight is longer than 9,600.
    #[segno(default = 9600)]
    max_distance: i64,
}

pub struct QualityGate {
    limits: Limits,
}

impl Transform for QualityGate {
    type Config = Limits;
    type Tables = ();
    type Input<'a> = Flight<'a>;
    type Output = Keep;
    type State = ();

    fn init(limits: Limits, _: ()) -> Result<Self, String> {
        if limits.min_delay > limits.max_delay {
            return Err(format!(
                "config.min_delay: {} is more than max_delay, {}; every flight would be rejected",
                limits.min_delay, limits.max_delay
            ));
        }
        if limits.max_distance <= 0 {
            return Err(format!(
                "config.max_distance: {} is not positive; every flight would be rejected",
                limits.max_distance
            ));
        }
        Ok(Self { limits })
    }

    #[inline]
    fn process(&mut self, flight: Flight<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let limits = &self.limits;
        for code in [flight.origin, flight.destination] {
            if !is_airport(code) {
                reject!("`{}` is not an airport code", code.escape_debug());
            }
        }
        if flight.delay < limits.min_delay || flight.delay > limits.max_delay {
            reject!(
                "a delay of {} minutes is not between {} and {}",
                flight.delay,
                limits.min_delay,
                limits.max_delay
            );
        }
        if flight.distance <= 0 || flight.distance > limits.max_distance {
            reject!(
                "a distance of {} miles is not between 1 and {}",
                flight.distance,
                limits.max_distance
            );
        }
        if flight.origin == flight.destination {
            reject!("it departs from where it arrives, {}", flight.origin);
        }
        ctx.out.keep();
        Ok(())
    }
}

/// Three to four capital letters or digits: IATA's codes, and the FAA's where a field has no other.
fn is_airport(code: &str) -> bool {
    (3..=4).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

segno_sdk::plugin!(QualityGate);

#[cfg(test)]
mod tests {
    use segno_sdk::testing::Row;

    use super::*;

    fn flight(origin: &str, destination: &str, delay: i64, distance: i64) -> Row {
        row! { "origin": origin, "destination": destination, "delay": delay, "distance": distance }
    }

    #[test]
    fn an_implausible_flight_is_rejected_with_its_first_reason() {
        let mut gate = Harness::<QualityGate>::new(r#"{"max_delay": 600}"#).unwrap();
        gate.push(flight("ATL", "BOS", 10, 946));
        gate.push(flight("ATL", "BOS", 601, 946));
        gate.push(flight("atl", "BOS", 601, 946));
        gate.push(flight("ATL", "BOS", 10, 0));
        gate.push(flight("ATL", "ATL", 10, 946));
        gate.push(flight("ATL", "", 10, 946));
        gate.push(flight("ATL", "BOS", 600, 9600));
        let result = gate.run();
        assert_eq!(result.causes(), [0, 6]);
        let rejects: Vec<_> = result
            .rejects
            .iter()
            .map(|reject| (reject.cause, &*reject.reason))
            .collect();
        assert_eq!(
            rejects,
            [
                (1, "a delay of 601 minutes is not between -1440 and 600"),
                (2, "`atl` is not an airport code"),
                (3, "a distance of 0 miles is not between 1 and 9600"),
                (4, "it departs from where it arrives, ATL"),
                (5, "`` is not an airport code"),
            ]
        );
    }

    #[test]
    fn limits_that_reject_everything_are_refused() {
        let refused = |config: &str| Harness::<QualityGate>::new(config).err().unwrap();
        assert_eq!(
            refused(r#"{"min_delay": 10, "max_delay": 5}"#),
            "config.min_delay: 10 is more than max_delay, 5; every flight would be rejected"
        );
        assert_eq!(
            refused(r#"{"max_distance": 0}"#),
            "config.max_distance: 0 is not positive; every flight would be rejected"
        );
        assert_eq!(
            refused(r#"{"max_dealy": 5}"#),
            "config.max_dealy: unknown field; did you mean `max_delay`?"
        );
    }
}
