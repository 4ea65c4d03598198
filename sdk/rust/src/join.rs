//! Joins of two streams, and of a stream with a table that changes.
//!
//! - [`IntervalJoin`]: records of two streams whose times are near each other
//! - [`Sides`]: records of two streams that are in one window, with the windows of [`crate::window`]
//! - [`Latest`]: a table; a record sees the newest row
//! - [`AsOf`]: a table; a record sees the row that was valid at its event time, of those that have come
//! - [`TemporalJoin`]: the same; a record waits until that row is certain
//!
//! Owns: which records wait for which, and for how long. Does not own which side a record is of: a step has one input, into
//! which the pipeline merges both, and the plugin tells them apart by their columns. What is joined has the same key.
//!
//! [The cookbook](crate::cookbook) has an example.
//!
//! What waits is kept in lists, each of which is read and written with its key: they are for some hundreds of records of a
//! key at a time. The state types that hold two kinds of values have one version: raise both when one grows.

mod as_of;
mod held;
mod interval;
mod latest;
mod sides;
mod temporal;
mod versions;

pub use as_of::AsOf;
pub use interval::{Interval, IntervalJoin, Pairs};
pub use latest::Latest;
pub use sides::Sides;
pub use temporal::{Temporal, TemporalJoin};
pub use versions::Versions;

/// Which of the two streams a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side<L, R> {
    Left(L),
    Right(R),
}

const fn newest(left: u16, right: u16) -> u16 {
    if left > right { left } else { right }
}
