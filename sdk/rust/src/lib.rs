//! Write a plugin for Segno: a deterministic function over records, in ordinary Rust.
//!
//! ```
//! use segno_sdk::prelude::*;
//!
//! /// The columns that the plugin reads. Text is borrowed from the batch.
//! #[derive(Input)]
//! struct Flight<'a> {
//!     origin: &'a str,
//!     delay: i64,
//! }
//!
//! /// The columns that it adds.
//! #[derive(Output)]
//! struct Running {
//!     flights: u64,
//!     mean_delay: f64,
//! }
//!
//! /// What it keeps for each key. The pipeline says what the key is.
//! #[derive(State, Default)]
//! struct Stats {
//!     flights: u64,
//!     delay_sum: i64,
//! }
//!
//! #[derive(Config)]
//! struct Settings {
//!     #[segno(default = 1440)]
//!     max_delay: i64,
//! }
//!
//! struct RunningMean {
//!     settings: Settings,
//! }
//!
//! impl Transform for RunningMean {
//!     type Config = Settings;
//!     type Tables = ();
//!     type Input<'a> = Flight<'a>;
//!     type Output = Extend<Running>;
//!     type State = Stats;
//!
//!     fn init(settings: Settings, _: ()) -> Result<Self, String> {
//!         Ok(Self { settings })
//!     }
//!
//!     #[inline]
//!     fn process(&mut self, flight: Flight<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
//!         if flight.delay > self.settings.max_delay {
//!             reject!("{}: a delay of {} minutes is not plausible", flight.origin, flight.delay);
//!         }
//!         let stats = ctx.state.or_default();
//!         stats.flights += 1;
//!         stats.delay_sum += flight.delay;
//!         ctx.out.push(Running {
//!             flights: stats.flights,
//!             mean_delay: stats.delay_sum as f64 / stats.flights as f64,
//!         });
//!         Ok(())
//!     }
//! }
//!
//! segno_sdk::plugin!(RunningMean);
//!
//! # fn main() {
//! // A test needs no runtime and no sandbox; the harness goes through the same bytes.
//! let mut harness = Harness::<RunningMean>::new(r#"{"max_delay": 600}"#).unwrap();
//! harness.push(row! { "origin": "ATL", "delay": 10 }.key("ATL"));
//! harness.push(row! { "origin": "ATL", "delay": 20 }.key("ATL"));
//! harness.push(row! { "origin": "ATL", "delay": 700 }.key("ATL"));
//! let result = harness.run();
//! assert_eq!(result.rows()[1].f64("mean_delay"), 15.0);
//! assert_eq!(result.rejects[0].reason, "ATL: a delay of 700 minutes is not plausible");
//! assert_eq!(harness.state("ATL", "stats").unwrap().u64("flights"), 2);
//! # }
//! ```
//!
//! A plugin that works with event time says `const TIMERS: bool = true` and implements `on_timer`. The SDK's operators keep
//! their state and timers in the plugin's: [`window`], [`join`], [`deduplicate`], [`expire`], [`top`], [`rate`] and [`salt`].
//!
//! A plugin's crate is a library of two kinds, `crate-type = ["cdylib", "rlib"]`: the module that becomes a component,
//! and ordinary Rust for tests. `#[inline]` on `process` lets the compiler build it into the loop over the records, which
//! is worth a nanosecond or two for each.
//!
//! It owns what an author sees, and runs it over the messages of `segno-wire`. It does not own the layout of those
//! messages, the sandbox, or how a component is built.

extern crate self as segno_sdk;

#[doc = include_str!("../../../docs/operators.md")]
pub mod cookbook {}

// What the first page shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod collections;
mod config;
pub mod deduplicate;
mod engine;
pub mod expire;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod join;
mod late;
pub mod observe;
mod output;
pub mod rate;
mod record;
pub mod salt;
mod side;
mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
mod timer;
pub mod top;
mod transform;
pub mod window;

pub use collections::{HashMap, HashSet};
pub use config::{Config, ConfigError, Place};
pub use engine::{Engine, INPUT_PORT};
pub use late::Late;
pub use observe::{Level, count};
pub use output::{Emit, Extend, Keep, Output, OutputField, Outputs, PerKey, Port, SINGLE_PORT};
pub use record::{Input, InputField};
pub use segno_sdk_derive::{Config, Input, Output, Outputs, State, TableRow};
pub use side::{SideTables, Table, TableKey, TableRow};
pub use state::{Keyed, State, StateField, States};
pub use time::{Date, Decimal, Timestamp};
pub use timer::{Timer, Timers};
pub use transform::{Context, Outcome, Plugin, Reject, Transform};

/// What the macros write; not for authors.
#[doc(hidden)]
pub mod derive {
    pub use crate::config::{field, members, word};
    pub use crate::output::{OutputColumns, column_spec as output_spec, describe_port, write_port};
    pub use crate::record::{column_spec as input_spec, open_column, open_times};
    pub use crate::state::{column_spec as state_spec, decode_field};
    pub use segno_wire::describe::{ColumnSpec, OutputPort, StateColumn};
    pub use segno_wire::json::Json;
    pub use segno_wire::{
        Column, ColumnBuilder, FrameReader, FrameWriter, MessageWriter, StateReader, StateWriter,
        WireError,
    };
}

/// Everything that a plugin needs.
pub mod prelude {
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::row;
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::testing::Harness;
    pub use crate::{
        Config, Context, Date, Decimal, Emit, Extend, Input, Keep, Level, Outcome, Output, Outputs,
        PerKey, Plugin as _, Reject, State, Table, TableRow, Timer, Timers, Timestamp, Transform, count, log, reject,
    };
}

/// Makes a transform the plugin of its crate: gives it the crate's name and version, and, when compiled to wasm32, the
/// exports of a component.
#[macro_export]
macro_rules! plugin {
    ($transform:ty) => {
        impl $crate::Plugin for $transform {
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static INSTANCE: $crate::guest::Instance<$transform> = $crate::guest::Instance::new();

            #[unsafe(link_section = "component-type:segno:stream@1.0.0:transform")]
            #[used]
            static COMPONENT_TYPE: [u8; $crate::guest::COMPONENT_TYPE.len()] =
                $crate::guest::COMPONENT_TYPE;

            #[unsafe(export_name = "describe")]
            extern "C" fn describe() -> *const u8 {
                INSTANCE.describe()
            }

            #[unsafe(export_name = "init")]
            unsafe extern "C" fn init(at: *const u8, length: usize) -> *const u8 {
                unsafe { INSTANCE.init(at, length) }
            }

            #[unsafe(export_name = "process")]
            unsafe extern "C" fn process(at: *const u8, length: usize) -> *const u8 {
                unsafe { INSTANCE.process(at, length) }
            }

            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn cabi_realloc(
                old: *mut u8,
                old_length: usize,
                alignment: usize,
                length: usize,
            ) -> *mut u8 {
                unsafe { $crate::guest::lend(old, old_length, alignment, length) }
            }
        };
    };
}
