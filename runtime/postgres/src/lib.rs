//! PostgreSQL: a table as a sink.
//!
//! Owns: everything of the PostgreSQL client. Does not own: the contract (`segno_core::sink`).

mod sink;

pub use sink::PostgresSink;
