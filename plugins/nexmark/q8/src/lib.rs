//! Nexmark query 8: persons who opened an auction in the same 10 seconds in which they came; a join of windows with the
//! key `party`. A person is given once for a window, however many auctions there are.

use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Panes, Tumbling};

#[derive(Input)]
pub struct Event<'a> {
    /// Nothing in auctions.
    #[segno(name = "person.name")]
    name: Option<&'a str>,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Row {
    name: String,
    window_start: Timestamp,
}

#[derive(State, Default, Clone)]
pub struct Seen {
    name: Option<String>,
    auction: bool,
}

const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(10));

pub struct NewSellers;

impl Transform for NewSellers {
    type Config = ();
    type Tables = ();
    type Input<'a> = Event<'a>;
    type Output = PerKey<Row>;
    type State = Panes<Seen>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, event: Event<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let seen = WINDOWS.add(ctx.state, ctx.timers, event.at)?;
        match event.name {
            Some(name) => seen.name = Some(name.to_owned()),
            None => seen.auction = true,
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            if let (Some(name), true) = (fired.value.name, fired.value.auction) {
                ctx.out.push(Row { name, window_start: fired.window.start });
            }
        }
    }
}

segno_sdk::plugin!(NewSellers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_to_be_in_one_window() {
        let mut sellers = Harness::<NewSellers>::new("{}").unwrap();
        for (second, party, name) in
            [(1, "1", Some("Kate")), (2, "2", Some("Paul")), (3, "1", None), (4, "1", None), (11, "2", None), (12, "3", None)]
        {
            sellers.push(row! { "person.name": name }.key(party).at(Timestamp::from_millis(second * 1000)));
        }
        let result = sellers.run_to_end();
        assert_eq!(result.rows().len(), 1);
        assert_eq!((&*result.rows()[0].key, result.rows()[0].text("name")), ("1", "Kate"));
    }
}
