//! Windows in event time: which records belong together, and when their result is given.
//!
//! - [`Tumbling`]: windows of one size, one after the other
//! - [`Sliding`]: windows of one size that start at every slide
//! - [`Session`]: records that follow each other without a gap
//!
//! Owns: the windows of a key and their timers. Does not own: what is kept for a window (the plugin's own state, `A`).
//!
//! A window holds the records whose event time is at its start or after it, and before its end. Its result is given when
//! the watermark reaches its end, once, before every record that moves the watermark further. A window without records
//! gives nothing.
//!
//! ```
//! use core::time::Duration;
//! use segno_sdk::prelude::*;
//! use segno_sdk::window::{Panes, Tumbling};
//!
//! #[derive(Input)]
//! struct Bid {
//!     price: i64,
//!     #[segno(event_time)]
//!     at: Timestamp,
//! }
//!
//! /// What is kept for each window of a key.
//! #[derive(State, Default, Clone)]
//! struct Highest {
//!     price: i64,
//! }
//!
//! #[derive(Output)]
//! struct Row {
//!     window_end: Timestamp,
//!     price: i64,
//! }
//!
//! struct HighestBid;
//! const WINDOWS: Tumbling = Tumbling::new(Duration::from_secs(10));
//!
//! impl Transform for HighestBid {
//!     type Config = ();
//!     type Tables = ();
//!     type Input<'a> = Bid;
//!     type Output = PerKey<Row>;
//!     type State = Panes<Highest>;
//!     const TIMERS: bool = true;
//!
//!     fn init(_: (), _: ()) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
//!         // A record of a window that was closed is rejected: `?`.
//!         let highest = WINDOWS.add(ctx.state, ctx.timers, bid.at)?;
//!         highest.price = highest.price.max(bid.price);
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
//!         for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
//!             ctx.out.push(Row { window_end: fired.window.end, price: fired.value.price });
//!         }
//!     }
//! }
//! # segno_sdk::plugin!(HighestBid);
//! # let mut harness = Harness::<HighestBid>::new("{}").unwrap();
//! # for (second, price) in [(1, 5), (9, 7), (12, 1)] {
//! #     harness.push(row! { "price": price }.key("a").at(Timestamp::from_millis(second * 1000)));
//! # }
//! # let result = harness.run_to_end();
//! # let prices: Vec<_> = result.rows().iter().map(|row| row.i64("price")).collect();
//! # assert_eq!(prices, [7, 1]);
//! ```
//!
//! **Late records.** A record is late for a window when the watermark has reached the window's end, plus the allowed
//! lateness. [`Tumbling::add`] and its like then give [`Late`]: with `?` the record is rejected (and goes the step's
//! `on_error` way, counted); match on it to count it, or to push it to a port of late records. With an allowed lateness
//! the window is kept for so long, and each change gives its result again, as [`Kind::Update`].
//!
//! **Counters.** `late_records`, `windows` (results that were given) and `window_updates` are counted for the step; `segno
//! status` and the metrics show them.

mod panes;
mod session;
mod sliding;
mod tumbling;

use crate::observe::count;
use crate::time::Timestamp;
use crate::timer::{Timer, Timers};

pub use crate::late::Late;
pub use panes::{Merge, Panes};
pub use session::Session;
pub use sliding::Sliding;
pub use tumbling::Tumbling;

/// A span of event time; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Which result of a window it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Before the window ends; more may come.
    Early,
    /// The window's end is reached.
    OnTime,
    /// Late records changed a result that was given.
    Update,
}

/// The result of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired<A> {
    pub window: Window,
    pub kind: Kind,
    pub value: A,
}

/// Results that are given are counted, by whether the window was open.
fn counted<A>(fired: Vec<Fired<A>>) -> Vec<Fired<A>> {
    let updates = fired.iter().filter(|one| one.kind == Kind::Update).count() as u64;
    for (name, number) in [("windows", fired.len() as u64 - updates), ("window_updates", updates)] {
        if number > 0 {
            count(name, number);
        }
    }
    fired
}

/// Kinds of timers, as numbers behind the first one: of window ends, of early results, and of windows that late records
/// change.
const END: u32 = 0;
const EARLY: u32 = 1;
const UPDATE: u32 = 2;

/// What all kinds of windows have in common.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// All in microseconds.
    lateness: i64,
    early: Option<i64>,
    /// The number of the timers of window ends, the first of three.
    number: u32,
}

impl Rules {
    const NEW: Rules = Rules { lateness: 0, early: None, number: 0 };

    fn next_early(&self, time: Timestamp) -> Option<Timestamp> {
        self.early.map(|every| time.floor(every).after(every))
    }

    /// Asks for the first early result of a window that a record opened.
    fn set_early(&self, timers: &mut Timers, time: Timestamp, end: Timestamp) {
        if let Some(next) = self.next_early(time).filter(|next| *next < end) {
            timers.set(next, self.number + EARLY);
        }
    }

    /// Whether a window that ends there takes no record any more, not even a late one.
    #[inline]
    fn over(&self, timers: &Timers, end: Timestamp) -> bool {
        timers.reached(end.after(self.lateness))
    }

    /// Which of the three kinds of timers one is; nothing for those of others.
    fn kind_of(&self, timer: Timer) -> Option<u32> {
        timer.number.checked_sub(self.number).filter(|kind| *kind <= UPDATE)
    }
}

/// Settings that all kinds of windows have.
macro_rules! settings {
    () => {
        /// Keeps a window for so long after its end: late records change it, and each change gives its result again.
        pub const fn allowed_lateness(mut self, lateness: core::time::Duration) -> Self {
            self.rules.lateness = crate::time::micros_or_none(lateness);
            self
        }

        /// Gives the result of a window that has changed at every multiple of this event time, before it ends.
        pub const fn early_every(mut self, interval: core::time::Duration) -> Self {
            self.rules.early = Some(crate::time::micros(interval));
            self
        }

        /// The first of the three numbers of its timers; 0 if not given. For plugins that have timers of their own, or several
        /// kinds of windows.
        pub const fn timer_number(mut self, number: u32) -> Self {
            self.rules.number = number;
            self
        }
    };
}
use settings;
