//! Bytes from outside become typed columns.
//!
//! Owns: the formats (`format`) and the sources (`source`).
//! Does not own: the merge of partitions, epochs, or anything after decoding.
//!
//! Invariants: memory is bounded whatever the size of the input. Nothing panics, whatever the bytes.

pub mod format;
pub mod source;
