//! Bids of a price on every so many auctions: a filter over two columns, as the benchmarks want it. Nexmark's query 2 is
//! `plugins/nexmark/q2`.
//! It gives a bid as it is; nothing but the two columns crosses the boundary.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    #[segno(name = "bid.auction")]
    auction: i64,
    #[segno(name = "bid.price")]
    price: i64,
}

#[derive(Config)]
pub struct Settings {
    /// Auctions whose number is a multiple of this are kept.
    #[segno(default = 123)]
    every: i64,
    /// Bids below this price are dropped, whatever the auction.
    #[segno(default = 0)]
    min_price: i64,
}

pub struct FilterBids {
    settings: Settings,
}

impl Transform for FilterBids {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Keep;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        if settings.every <= 0 {
            return Err(format!("config.every: {} is not positive", settings.every));
        }
        Ok(Self { settings })
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if bid.auction % self.settings.every == 0 && bid.price >= self.settings.min_price {
            ctx.out.keep();
        }
        Ok(())
    }
}

segno_sdk::plugin!(FilterBids);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_above_the_price_are_kept() {
        let mut filter = Harness::<FilterBids>::new(r#"{"min_price": 5}"#).unwrap();
        for (auction, price) in [(123, 5), (124, 5), (246, 4), (0, 9), (-123, 6)] {
            filter.push(row! { "bid.auction": auction, "bid.price": price });
        }
        assert_eq!(filter.run().causes(), [0, 3, 4]);
    }

    #[test]
    fn a_step_of_zero_is_refused() {
        assert_eq!(
            Harness::<FilterBids>::new(r#"{"every": 0}"#).err().unwrap(),
            "config.every: 0 is not positive"
        );
    }
}
