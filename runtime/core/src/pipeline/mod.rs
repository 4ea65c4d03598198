//! The pipeline file: parsed, resolved, and turned into a checked graph.

pub mod graph;
