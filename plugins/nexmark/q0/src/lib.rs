//! Nexmark query 0: every bid as it came. What it costs is what reading and the boundary cost.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Event {
    event_type: i32,
}

/// The `event_type` of a bid.
const BID: i32 = 2;

pub struct Bids;

impl Transform for Bids {
    type Config = ();
    type Tables = ();
    type Input<'a> = Event;
    type Output = Keep;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, event: Event, ctx: &mut Context<'_, Self>) -> Outcome {
        if event.event_type == BID {
            ctx.out.keep();
        }
        Ok(())
    }
}

segno_sdk::plugin!(Bids);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_alone_are_kept() {
        let mut bids = Harness::<Bids>::new("{}").unwrap();
        [2, 0, 1, 2].into_iter().for_each(|kind| bids.push(row! { "event_type": kind }));
        assert_eq!(bids.run().causes(), [0, 3]);
    }
}
