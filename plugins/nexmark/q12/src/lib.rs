//! Nexmark query 12: bids of each bidder in windows of 10 seconds of processing time.
//!
//! The plugin counts in windows of event time; that it is processing time is said by the pipeline
//! (`time: segno.processing_time`).

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Bid {
    /// Nothing in events that are no bids.
    #[segno(name = "bid.bidder")]
    bidder: Option<i64>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Row {
    bids: u64,
    start: Timestamp,
    end: Timestamp,
}

#[derive(State, Default, Clone)]
pub struct Count {
    bids: u64,
}

const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(10));

pub struct Windows;

impl Transform for Windows {
    type Config = ();
    type Tables = ();
    type Input<'a> = Bid;
    type Output = PerKey<Row>;
    type State = Panes<Count>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        if bid.bidder.is_some() {
            WINDOWS.add(ctx.state, ctx.timers, bid.at)?.bids += 1;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            ctx.out.push(Row { bids: fired.value.bids, start: fired.window.start, end: fired.window.end });
        }
    }
}

segno_sdk::plugin!(Windows);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_at_a_multiple_of_ten_seconds() {
        let mut windows = Harness::<Windows>::new("{}").unwrap();
        for (second, bidder) in [(11, Some(1)), (19, Some(1)), (19, None), (20, Some(1))] {
            let row = row! { "bid.bidder": bidder }.key(if bidder.is_some() { "1" } else { "-" });
            windows.push(row.at(Timestamp::from_millis(second * 1000)));
        }
        let bids: Vec<_> = windows.run_to_end().rows().iter().map(|row| row.u64("bids")).collect();
        assert_eq!(bids, [2, 1]);
    }
}
