//! Segno: a stream runtime whose transforms are sandboxed, deterministic WebAssembly components.
//!
//! - `shard`: the epoch loop: plan, execute, commit, recover
//! - `worker`: from a pipeline file to a running shard; replay
//! - `observe`: metrics, status, health
//! - `cli`: the command line
//! - `memory`: what the process keeps of memory that is free
//!
//! Owns: putting the parts together. The parts are crates of their own: `segno-core` (vocabulary and pure decisions),
//! `segno-input` (formats and sources), `segno-plugin` (the sandbox), `segno-durable` (state, journal, checkpoints, sinks),
//! `segno-kafka`, `segno-postgres`.

pub mod cli;
pub mod memory;
pub mod observe;
pub mod shard;
pub mod worker;
