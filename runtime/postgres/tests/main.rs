//! Sinks and side tables against a real server, whose address is in SEGNO_TEST_POSTGRES; `make test` starts one.
//!
//! Owns: proofs that need PostgreSQL. Does not own: whole runs of the command (`runtime/segno/tests/postgres.rs`).

mod conformance;
mod faults;
mod lab;
mod refusals;
mod secured;
mod side;
mod types;
mod writing;
