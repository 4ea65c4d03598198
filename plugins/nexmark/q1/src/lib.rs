//! Nexmark query 1: every bid with its price in euros, at a fixed rate.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    /// Cents of a dollar; nothing in events that are no bids.
    #[segno(name = "bid.price")]
    price: Option<i64>,
}

#[derive(Output)]
pub struct Converted {
    /// Cents of a euro.
    price_euro: f64,
}

/// Euros for a dollar.
const RATE: f64 = 0.908;

pub struct Prices;

impl Transform for Prices {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Extend<Converted>;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if let Some(price) = bid.price {
            ctx.out.push(Converted { price_euro: price as f64 * RATE });
        }
        Ok(())
    }
}

segno_sdk::plugin!(Prices);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_alone_are_converted() {
        let mut prices = Harness::<Prices>::new("{}").unwrap();
        [None, Some(1000)].into_iter().for_each(|price| prices.push(row! { "bid.price": price }));
        let result = prices.run();
        assert_eq!(result.causes(), [1]);
        assert_eq!(result.rows()[0].f64("price_euro"), 908.0);
    }
}
