//! Nexmark query 5, first step: bids of each auction in windows of 10 seconds that start every 2 seconds.
//! The second step, `q5_hottest`, gets a row for each auction and window, and picks.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Merge, Panes, Sliding};

#[derive(Input)]
pub struct Bid {
    /// Nothing in events that are no bids.
    #[segno(name = "bid.auction")]
    auction: Option<i64>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Bids {
    window_start: Timestamp,
    window_end: Timestamp,
    bids: u64,
}

#[derive(State, Default, Clone)]
pub struct Count {
    bids: u64,
}

impl Merge for Count {
    fn merge(&mut self, other: &Self) {
        self.bids += other.bids;
    }
}

const WINDOWS: Sliding = Sliding::new(Duration::from_secs(10), Duration::from_secs(2));

pub struct BidsOfAuctions;

impl Transform for BidsOfAuctions {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = PerKey<Bids>;
    type State = Panes<Count>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if bid.auction.is_some() {
            WINDOWS.add(ctx.state, ctx.timers, bid.at)?.bids += 1;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            let (window_start, window_end) = (fired.window.start, fired.window.end);
            ctx.out.push(Bids { window_start, window_end, bids: fired.value.bids });
        }
    }
}

segno_sdk::plugin!(BidsOfAuctions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_counts_in_five_windows() {
        let mut bids = Harness::<BidsOfAuctions>::new("{}").unwrap();
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        for (second, auction) in [(20, Some(1)), (21, Some(1)), (21, None), (22, Some(1))] {
            bids.push(row! { "bid.auction": auction }.key(if auction.is_some() { "1" } else { "-" }).at(at(second)));
        }
        let counted: Vec<_> =
            bids.run_to_end().rows().iter().map(|row| (row.timestamp("window_end").micros() / 1_000_000, row.u64("bids"))).collect();
        assert_eq!(counted, [(22, 2), (24, 3), (26, 3), (28, 3), (30, 3), (32, 1)]);
    }
}
