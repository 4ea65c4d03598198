//! From a pipeline file to a running shard.
//!
//! - `load`, `plan`: what runs, and its archived form
//! - `archive`, `sources`: programs of old epochs, sources with lasting names
//! - `history`, `open`: what a shard left behind, and taking it over
//! - `run`: running it, with restarts
//! - `replay`: executing history again and comparing
//!
//! Owns: the shards of one process. Does not own: the epoch loop (`shard`).

pub mod archive;
pub mod history;
pub mod load;
pub mod open;
pub mod plan;
pub mod replay;
pub mod run;
pub mod sources;
