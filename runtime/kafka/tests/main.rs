//! Source and sink against a real broker.
//!
//! Owns: proofs that need a broker. Does not own: whole pipelines (`runtime/segno/tests`).
//!
//! `make test` starts the broker and sets SEGNO_TEST_KAFKA and SEGNO_TEST_SERVERS.

mod announced;
mod broker;
mod cluster;
mod conformance;
mod delayed;
mod expired;
mod lab;
mod pipeline;
mod redrive;
mod rejected;
mod rekey;
mod rows;
mod secured;
mod servers;
mod sink;
mod slow;
mod storm;
mod source;
mod whole;
mod workers;
mod zombies;
