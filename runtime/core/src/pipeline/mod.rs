//! The pipeline file: read, checked, and turned into a graph.
//!
//! - `spec`: what a pipeline file says, as plain data
//! - `graph`: the checked graph

pub mod graph;
mod spec;

pub use spec::*;
