//! Nexmark query 11: bids of each session of a bidder; a session ends when nothing came for 10 seconds.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Merge, Panes, Session};

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

impl Merge for Count {
    fn merge(&mut self, other: &Self) {
        self.bids += other.bids;
    }
}

const WINDOWS: Session = Session::new(Duration::from_secs(10));

pub struct Sessions;

impl Transform for Sessions {
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

segno_sdk::plugin!(Sessions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_ten_seconds_of_silence() {
        let mut sessions = Harness::<Sessions>::new("{}").unwrap();
        for (second, bidder) in [(0, Some(1)), (9, Some(1)), (12, None), (19, Some(1))] {
            let row = row! { "bid.bidder": bidder }.key(if bidder.is_some() { "1" } else { "-" });
            sessions.push(row.at(Timestamp::from_millis(second * 1000)));
        }
        let bids: Vec<_> = sessions.run_to_end().rows().iter().map(|row| row.u64("bids")).collect();
        assert_eq!(bids, [2, 1]);
    }
}
