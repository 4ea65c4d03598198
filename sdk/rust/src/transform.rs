//! Owns the trait that a plugin implements and what it sees of the current record.
//! Does not own how batches become records (`engine`).

use core::fmt;
use std::borrow::Cow;

use crate::config::Config;
use crate::output::Outputs;
use crate::record::Input;
use crate::side::SideTables;
use crate::state::States;
use crate::timer::{Timer, Timers};

/// A plugin: what it reads, gives, keeps, and what it does with one record.
///
/// What `process` does may depend on its record, its key's state, its configuration and its side tables, and on
/// nothing else: instances come and go between batches, and batches are cut anywhere.
pub trait Transform: Sized + 'static {
    /// The step's `config:`; `()` when there is none.
    type Config: Config;
    /// The side tables handed to `init`; `()` when there are none.
    type Tables: SideTables;
    /// The columns that are read.
    type Input<'a>: Input<'a>;
    /// The ports that rows go to: [`Extend`](crate::Extend), [`Emit`](crate::Emit), [`Keep`](crate::Keep), or a struct
    /// of these with `#[derive(Outputs)]`.
    type Output: Outputs;
    /// What is kept for each key; `()` for a plugin without state.
    type State: States;
    /// True for a plugin that sets timers: the pipeline then has to say what the event time and the key of a record are.
    const TIMERS: bool = false;

    /// Makes the plugin, once. The memory after it is the template of every instance.
    ///
    /// # Errors
    /// The text is shown to the author of the pipeline: say which setting is wrong, and what would be right.
    fn init(config: Self::Config, tables: Self::Tables) -> Result<Self, String>;

    /// Takes one record.
    ///
    /// # Errors
    /// A rejected record takes the step's `on_error` way with its reason; the rows that it caused are dropped. Changes
    /// that it made to state stay: look first, then change.
    fn process(&mut self, record: Self::Input<'_>, ctx: &mut Context<'_, Self>) -> Outcome;

    /// Takes a timer that fires: once, between two records, when the watermark has reached its time, with the state of the
    /// key that it was set for. What it pushes must go to a port of kind [`PerKey`](crate::PerKey) or
    /// [`Emit`](crate::Emit).
    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        let _ = (timer, ctx);
    }
}

/// A transform with a name and a version. Implemented by [`plugin!`](crate::plugin).
pub trait Plugin: Transform {
    const NAME: &'static str;
    const VERSION: &'static str;
}

/// What surrounds the current record or timer.
pub struct Context<'c, T: Transform> {
    /// The ports.
    pub out: &'c mut T::Output,
    /// The state of the current record's or timer's key.
    pub state: &'c mut <T::State as States>::Tables,
    /// Timers of the current key, and the watermark. For plugins that say `const TIMERS: bool = true`.
    pub timers: &'c mut Timers,
}

/// What becomes of a record.
pub type Outcome = Result<(), Reject>;

/// Why a record is rejected. Made from a text, by `?` or by [`reject!`](crate::reject).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub(crate) reason: Cow<'static, str>,
}

impl From<&'static str> for Reject {
    fn from(reason: &'static str) -> Self {
        Self {
            reason: Cow::Borrowed(reason),
        }
    }
}

impl From<String> for Reject {
    fn from(reason: String) -> Self {
        Self {
            reason: Cow::Owned(reason),
        }
    }
}

impl From<fmt::Arguments<'_>> for Reject {
    fn from(reason: fmt::Arguments<'_>) -> Self {
        match reason.as_str() {
            Some(text) => text.into(),
            None => reason.to_string().into(),
        }
    }
}

/// Rejects the current record: `reject!("a delay of {} minutes is not plausible", flight.delay)`.
#[macro_export]
macro_rules! reject {
    ($($reason:tt)+) => {
        return ::core::result::Result::Err($crate::Reject::from(::core::format_args!($($reason)+)))
    };
}
