//! Adds to each flight the statistics of the delays of its key so far, itself included.
//! It owns the statistics. The key is the pipeline's, as in `key: [origin, hour]`.
//! Invariant: sums are whole numbers, so that the mean does not depend on the order of additions beyond the order of
//! the records.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Flight {
    /// Minutes.
    delay: i64,
}

#[derive(Output)]
pub struct Statistics {
    flights: u64,
    mean_delay: f64,
    min_delay: i64,
    max_delay: i64,
}

#[derive(State)]
#[segno(table = "stats", version = 1)]
pub struct Stats {
    count: u64,
    sum: i64,
    min: i64,
    max: i64,
}

pub struct RunningStats;

impl Transform for RunningStats {
    type Config = ();
    type Tables = ();
    type Input<'a> = Flight;
    type Output = Extend<Statistics>;
    type State = Stats;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, flight: Flight, ctx: &mut Context<'_, Self>) -> Outcome {
        let stats = ctx.state.or_insert_with(|| Stats {
            count: 0,
            sum: 0,
            min: i64::MAX,
            max: i64::MIN,
        });
        let Some(sum) = stats.sum.checked_add(flight.delay) else {
            reject!("the sum of the delays would no longer fit 64 bits");
        };
        stats.count += 1;
        stats.sum = sum;
        stats.min = stats.min.min(flight.delay);
        stats.max = stats.max.max(flight.delay);
        ctx.out.push(Statistics {
            flights: stats.count,
            mean_delay: stats.sum as f64 / stats.count as f64,
            min_delay: stats.min,
            max_delay: stats.max,
        });
        Ok(())
    }
}

segno_sdk::plugin!(RunningStats);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_statistics() {
        let mut stats = Harness::<RunningStats>::new("{}").unwrap();
        for (key, delay) in [("ATL 7", 10), ("BOS 7", -5), ("ATL 7", 20)] {
            stats.push(row! { "delay": delay }.key(key));
        }
        let result = stats.run();
        let last = &result.rows()[2];
        assert_eq!(last.u64("flights"), 2);
        assert_eq!(last.f64("mean_delay"), 15.0);
        assert_eq!((last.i64("min_delay"), last.i64("max_delay")), (10, 20));
        assert_eq!(result.rows()[1].f64("mean_delay"), -5.0);

        stats.push(row! { "delay": 0 }.key("ATL 7"));
        assert_eq!(stats.run().rows()[0].f64("mean_delay"), 10.0);
        let kept = stats.state("ATL 7", "stats").unwrap();
        assert_eq!((kept.u64("count"), kept.i64("sum")), (3, 30));
        assert_eq!((kept.i64("min"), kept.i64("max")), (0, 20));
        assert_eq!(stats.state("ORD 7", "stats"), None);
    }

    #[test]
    fn a_sum_that_would_overflow_rejects_the_record_and_keeps_the_state() {
        let mut stats = Harness::<RunningStats>::new("{}").unwrap();
        stats.push(row! { "delay": i64::MAX }.key("k"));
        stats.push(row! { "delay": 1 }.key("k"));
        let result = stats.run();
        assert_eq!(result.causes(), [0]);
        assert_eq!(result.rejects[0].cause, 1);
        assert_eq!(stats.state("k", "stats").unwrap().u64("count"), 1);
    }
}
