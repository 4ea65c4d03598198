//! The vocabulary and the pure logic of Segno.
//!
//! Owns: errors and their codes, column types and schemas, the canonical form and its digests, key bytes,
//! the pipeline file and its graph, the contracts of sources and sinks, the names of shards, the partitioner of keys, the
//! persisted records, and the decisions of the commit protocol.
//!
//! Does not own: any I/O. Nothing here opens a file, reads a clock or starts a thread.

pub mod columns;
pub mod error;
pub mod partitioner;
pub mod persisted;
pub mod pipeline;
pub mod protocol;
pub mod shard;
pub mod sink;
pub mod source;

pub use error::{Code, Error, Kind, Place, Result};
