//! Nexmark query 5, second step: the auctions of a window with most bids; all of them, when several have as many.
//!
//! The key is the window's end. Rows of a window have the last instant of it as their event time, so the timer of its end
//! comes after all of them.

use segno_sdk::prelude::*;
use segno_sdk::top::{Top, TopN};

#[derive(Input)]
pub struct Bids {
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
    window_start: Timestamp,
    window_end: Timestamp,
    bids: u64,
}

#[derive(Output)]
pub struct Hottest {
    window_start: Timestamp,
    auction: i64,
    bids: u64,
}

#[derive(State, Default)]
pub struct Most {
    window_start: Timestamp,
    auctions: Top<u64, Auction>,
}

#[derive(State)]
pub struct Auction {
    id: i64,
}

const MOST: TopN = TopN::new(1).with_ties();

pub struct HottestAuctions;

impl Transform for HottestAuctions {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bids;
    type Output = PerKey<Hottest>;
    type State = Most;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, row: Bids, ctx: &mut Context<'_, Self>) -> Outcome {
        let Some(id) = row.auction else { return Ok(()) };
        let most = ctx.state.or_default();
        if most.auctions.rows().is_empty() {
            most.window_start = row.window_start;
            ctx.timers.set(row.window_end, 0);
        }
        MOST.add(&mut most.auctions, row.bids, || Auction { id });
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, ctx: &mut Context<'_, Self>) {
        if let Some(most) = ctx.state.get() {
            for auction in most.auctions.rows() {
                ctx.out.push(Hottest { window_start: most.window_start, auction: auction.value.id, bids: auction.score });
            }
        }
        ctx.state.clear();
    }
}

segno_sdk::plugin!(HottestAuctions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_auctions_with_most_bids_are_given() {
        let mut hottest = Harness::<HottestAuctions>::new("{}").unwrap();
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        for (auction, bids) in [(1, 2u64), (2, 5), (3, 4), (4, 5)] {
            let row = row! { "bid.auction": Some(auction), "window_start": at(0), "window_end": at(10), "bids": bids };
            hottest.push(row.key("10").at(Timestamp::from_micros(at(10).micros() - 1)));
        }
        let rows: Vec<_> = hottest.run_to_end().rows().iter().map(|row| (row.i64("auction"), row.u64("bids"))).collect();
        assert_eq!(rows, [(2, 5), (4, 5)]);
    }
}
