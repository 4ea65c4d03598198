//! Adds to each bid the number of bids of its key so far: the smallest plugin with state, to measure keyed updates.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    price: i64,
}

#[derive(Output)]
pub struct Counted {
    bids: u64,
    total_price: i64,
}

#[derive(State, Default)]
#[segno(table = "counts")]
pub struct Counts {
    bids: u64,
    total_price: i64,
}

pub struct KeyedCount;

impl Transform for KeyedCount {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Extend<Counted>;
    type State = Counts;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        let counts = ctx.state.or_default();
        counts.bids += 1;
        counts.total_price = counts.total_price.wrapping_add(bid.price);
        ctx.out.push(Counted {
            bids: counts.bids,
            total_price: counts.total_price,
        });
        Ok(())
    }
}

segno_sdk::plugin!(KeyedCount);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_apart() {
        let mut count = Harness::<KeyedCount>::new("{}").unwrap();
        for (key, price) in [("a", 5), ("b", 1), ("a", 7)] {
            count.push(row! { "price": price }.key(key));
        }
        let result = count.run();
        let seen: Vec<_> = result
            .rows()
            .iter()
            .map(|row| (row.u64("bids"), row.i64("total_price")))
            .collect();
        assert_eq!(seen, [(1, 5), (1, 1), (2, 12)]);
    }
}
