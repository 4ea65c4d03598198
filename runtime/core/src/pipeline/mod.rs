//! The pipeline file: read, checked, and turned into a graph.
//!
//! - `spec`: what a pipeline file says, as plain data
//! - `database`: what the URL of a database says
//! - `graph`: the checked graph

mod database;
mod fields;
mod file;
pub mod graph;
pub mod schema;
mod shape;
mod show;
mod spec;
mod tree;
pub mod units;
pub mod variables;

pub use fields::{list, nearest};
pub use database::{ClientIdentity, DatabaseUrl, ServerCheck, Tls, UrlRefused};
pub use spec::*;
