//! Nexmark query 18: the last bid of each bidder on each auction, given with each bid that becomes the last.
//! A bid that happened before the last one is left out; of bids of the same time, the later one in the input is the last.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    /// Nothing in events that are no bids.
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(State)]
pub struct Last {
    at: Timestamp,
}

pub struct LastBids;

impl Transform for LastBids {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Keep;
    type State = Last;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if bid.auction.is_some() && ctx.state.get().is_none_or(|last| last.at <= bid.at) {
            ctx.state.set(Last { at: bid.at });
            ctx.out.keep();
        }
        Ok(())
    }
}

segno_sdk::plugin!(LastBids);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_that_is_older_than_the_last_is_left_out() {
        let mut last = Harness::<LastBids>::new("{}").unwrap();
        for (second, key) in [(1, "a"), (3, "a"), (2, "a"), (3, "a"), (2, "b")] {
            last.push(row! { "bid.auction": Some(1) }.key(key).at(Timestamp::from_millis(second * 1000)));
        }
        assert_eq!(last.run().causes(), [0, 1, 3, 4]);
    }
}
