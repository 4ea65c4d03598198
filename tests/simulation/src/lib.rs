//! A world in which the decisions of the protocol run: workers, an object store, two sinks, and everything that may
//! happen to them.
//!
//! - `planted`: known mistakes, each behind a switch
//! - `store`, `sinks`: what is outside of the workers
//! - `worker`: what a worker holds, and where it stands
//! - `world`: the actions, one at a time
//! - `open`, `commit`, `upload`: the steps of a worker
//! - `check`: what must hold after every action
//!
//! Owns: the world. Two explorers use it: `tests/model.rs` visits every state within small bounds, `tests/seeds.rs` goes
//! far, one random way for each seed.
//! Does not own: decisions. They are those of `segno_core::protocol`, the same that the runtime runs.
//!
//! Invariant: everything is a value. No clock, no thread, no randomness: an action leads from one world to one other.

pub mod check;
mod commit;
mod open;
pub mod planted;
pub mod sinks;
pub mod store;
mod upload;
pub mod worker;
pub mod world;
