//! The pipeline file: read, checked, and turned into a graph.
//!
//! - `spec`: what a pipeline file says, as plain data
//! - `graph`: the checked graph

mod fields;
mod file;
pub mod graph;
pub mod schema;
mod shape;
mod show;
mod spec;
mod tree;
mod units;
pub mod variables;

pub use spec::*;
