//! Decisions of ownership, commit and recovery: facts in, decision out, no I/O.
//!
//! Owns: the rules. Each function takes what was read from the world and says what to do; each rule has a test that
//! is named after it.
//! Does not own: reading the facts or acting on the decisions (`shard`, `segno-durable`).

pub mod cadence;
pub mod change;
pub mod clock;
pub mod close;
pub mod end;
pub mod expect;
pub mod follow;
pub mod history;
pub mod merge;
pub mod ownership;
pub mod recovery;
pub mod restart;
pub mod retention;
pub mod split;
pub mod time;
pub mod writers;
