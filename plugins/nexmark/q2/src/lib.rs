//! Nexmark query 2: bids on every 123rd auction.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    /// Nothing in events that are no bids.
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
}

pub struct Chosen;

impl Transform for Chosen {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Keep;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if bid.auction.is_some_and(|auction| auction % 123 == 0) {
            ctx.out.keep();
        }
        Ok(())
    }
}

segno_sdk::plugin!(Chosen);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_123rd_auction_is_kept() {
        let mut chosen = Harness::<Chosen>::new("{}").unwrap();
        [Some(122), Some(123), None, Some(246)].into_iter().for_each(|auction| chosen.push(row! { "bid.auction": auction }));
        assert_eq!(chosen.run().causes(), [1, 3]);
    }
}
