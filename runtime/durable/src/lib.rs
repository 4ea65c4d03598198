//! Everything of Segno that must survive: state, journal, checkpoints, and the sinks that the journal commits.
//!
//! - `store`: the object store and the names of its objects
//! - `layout`: how a pipeline is divided among shards
//! - `generation`, `journal`: who owns a shard and what it has committed
//! - `state`: keyed state in RocksDB
//! - `checkpoint`, `hashes`: images of the state in the object store
//! - `collection`, `archived`: removing what no kept checkpoint needs
//! - `sink`: files, standard output, blackhole
//! - `synced`: files that a power failure does not take
//! - `lock`: one process at a time on one machine
//!
//! Owns: every write that recovery relies on. It is the only crate that names `rocksdb` and `object_store`.
//! Does not own: when anything is written (the epoch loop), nor what recovery decides (`segno_core::protocol`).

mod archived;
pub mod checkpoint;
mod collection;
pub mod generation;
mod hashes;
pub mod journal;
pub mod layout;
pub mod lock;
pub mod sink;
pub mod state;
pub mod store;
mod synced;

/// A place where tests stop, fail or kill the process. Compiled away without the feature `testing`.
#[macro_export]
macro_rules! fail_point {
    ($name:expr) => {
        #[cfg(feature = "testing")]
        $crate::failing::hit($name);
    };
}

#[cfg(feature = "testing")]
pub mod failing;

#[cfg(test)]
mod tests;
