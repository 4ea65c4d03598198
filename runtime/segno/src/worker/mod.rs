//! From a pipeline file to running shards.
//!
//! - `load`, `plan`: what runs, and its archived form
//! - `tables`, `refresh`: side tables, read at the start and again
//! - `stages`: what flows from one stage of a pipeline to the next, running them beside each other
//! - `archive`, `sources`: programs of old epochs, sources with lasting names
//! - `layout`: which shards a pipeline has
//! - `history`, `open`: what a shard left behind, and taking it over
//! - `stored`: whether a changed plugin can read the state that is there
//! - `run`: running it, with restarts
//! - `letters`, `redrive`: dead letters, and putting them through the pipeline again
//! - `several`, `proposals`: the shards of this process, and who says which they are
//! - `replay`, `published`: executing history again, comparing it and published files with the journal
//!
//! Owns: the shards of one process. Does not own: the epoch loop (`shard`).

pub mod archive;
pub mod history;
pub mod layout;
pub mod letters;
pub mod load;
pub mod open;
pub mod plan;
pub mod proposals;
pub mod published;
pub mod refresh;
pub mod redrive;
pub mod replay;
pub mod run;
pub mod several;
pub mod sources;
pub mod stages;
pub mod stored;
pub mod tables;
