//! Nexmark query 17: statistics of each auction and day, given anew with each bid.
//! A mean is a whole number, as SQL has it for whole numbers.

use core::time::Duration;

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    /// Nothing in events that are no bids; so is the price.
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
    #[segno(name = "bid.price")]
    price: Option<i64>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Row {
    auction: i64,
    day: Timestamp,
    total_bids: u64,
    rank1_bids: u64,
    rank2_bids: u64,
    rank3_bids: u64,
    min_price: i64,
    max_price: i64,
    avg_price: i64,
    sum_price: i64,
}

#[derive(State, Default)]
pub struct Days {
    days: Vec<Day>,
}

#[derive(State)]
pub struct Day {
    day: Timestamp,
    ranks1: u64,
    ranks2: u64,
    ranks3: u64,
    min: i64,
    max: i64,
    sum: i64,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub struct Statistics;

impl Transform for Statistics {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Emit<Row>;
    type State = Days;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        let (Some(auction), Some(price)) = (bid.auction, bid.price) else { return Ok(()) };
        let micros = bid.at.micros();
        let day = Timestamp::from_micros(micros - micros.rem_euclid(DAY.as_micros() as i64));
        let days = &mut ctx.state.or_default().days;
        let at = days.iter().rposition(|known| known.day == day).unwrap_or_else(|| {
            days.push(Day { day, ranks1: 0, ranks2: 0, ranks3: 0, min: price, max: price, sum: 0 });
            days.len() - 1
        });
        let day = &mut days[at];
        match price {
            ..10_000 => day.ranks1 += 1,
            10_000..1_000_000 => day.ranks2 += 1,
            1_000_000.. => day.ranks3 += 1,
        }
        day.min = day.min.min(price);
        day.max = day.max.max(price);
        day.sum = day.sum.saturating_add(price);
        let total = day.ranks1 + day.ranks2 + day.ranks3;
        ctx.out.push(Row {
            auction,
            day: day.day,
            total_bids: total,
            rank1_bids: day.ranks1,
            rank2_bids: day.ranks2,
            rank3_bids: day.ranks3,
            min_price: day.min,
            max_price: day.max,
            avg_price: day.sum / total as i64,
            sum_price: day.sum,
        });
        Ok(())
    }
}

segno_sdk::plugin!(Statistics);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bid_gives_its_day_anew() {
        let mut statistics = Harness::<Statistics>::new("{}").unwrap();
        for (hour, price) in [(1, 9_999), (2, 10_000), (25, 1_000_000), (3, 20_001)] {
            let row = row! { "bid.auction": Some(1), "bid.price": Some(price) };
            statistics.push(row.key("1").at(Timestamp::from_millis(hour * 3_600_000)));
        }
        let result = statistics.run();
        let row = |row: &segno_sdk::testing::OutputRow| {
            let ranks = (row.u64("rank1_bids"), row.u64("rank2_bids"), row.u64("rank3_bids"));
            (row.u64("total_bids"), ranks, row.i64("min_price"), row.i64("avg_price"))
        };
        let rows: Vec<_> = result.rows().iter().map(row).collect();
        assert_eq!(
            rows,
            [(1, (1, 0, 0), 9_999, 9_999), (2, (1, 1, 0), 9_999, 9_999), (1, (0, 0, 1), 1_000_000, 1_000_000), (3, (1, 2, 0), 9_999, 13_333)]
        );
    }
}
