//! Nexmark query 7: the bids with the highest price of each 10 seconds; all of them, when several have the same.
//!
//! The highest of all bids needs one place that sees them all: the pipeline's key is `event_type`, one value for all bids.
//! State of one key stays in the plugin's hands for a whole batch, so that this is cheap; it does not go to several cores.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::top::{Top, TopN};
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Bid<'a> {
    /// Nothing in events that are no bids; so are the others.
    #[segno(name = "bid.price")]
    price: Option<i64>,
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
    #[segno(name = "bid.bidder")]
    bidder: Option<i64>,
    #[segno(name = "bid.extra")]
    extra: Option<&'a str>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Row<'a> {
    auction: i64,
    price: i64,
    bidder: i64,
    date_time: Timestamp,
    extra: &'a str,
}

#[derive(State, Clone)]
pub struct Kept {
    auction: i64,
    bidder: i64,
    at: Timestamp,
    extra: String,
}

const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(10));
const HIGHEST: TopN = TopN::new(1).with_ties();

pub struct HighestBids;

impl Transform for HighestBids {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid<'a>;
    type Output = Emit<Row<'static>>;
    type State = Panes<Top<i64, Kept>>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let (Some(price), Some(auction), Some(bidder)) = (bid.price, bid.auction, bid.bidder) else { return Ok(()) };
        let top = WINDOWS.add(ctx.state, ctx.timers, bid.at)?;
        let kept = || Kept { auction, bidder, at: bid.at, extra: bid.extra.unwrap_or_default().to_owned() };
        HIGHEST.add(top, price, kept);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            for bid in fired.value.rows() {
                let Kept { auction, bidder, at, extra } = &bid.value;
                ctx.out.push(Row { auction: *auction, price: bid.score, bidder: *bidder, date_time: *at, extra });
            }
        }
    }
}

segno_sdk::plugin!(HighestBids);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bids_of_the_highest_price_are_given() {
        let mut highest = Harness::<HighestBids>::new("{}").unwrap();
        for (second, price) in [(1, 5), (2, 9), (8, 9), (9, 7), (10, 1)] {
            let row = row! { "bid.price": Some(price), "bid.auction": Some(second), "bid.bidder": Some(0), "bid.extra": Some("x") };
            highest.push(row.key("2").at(Timestamp::from_millis(second * 1000)));
        }
        let rows: Vec<_> = highest.run_to_end().rows().iter().map(|row| (row.i64("auction"), row.i64("price"))).collect();
        assert_eq!(rows, [(2, 9), (8, 9), (10, 1)]);
    }
}
