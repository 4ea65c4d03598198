//! Stores, journals and sinks: their rules, and the store against a real S3 server, also through a proxy that makes faults.
//!
//! `make test` starts the server and sets SEGNO_TEST_S3 (its endpoint), SEGNO_TEST_S3_BUCKET, AWS_ACCESS_KEY_ID and
//! AWS_SECRET_ACCESS_KEY. A test without them fails and says so.

mod conformance;
mod credentials;
mod faults;
mod gateway;
mod lab;
mod measure;
mod races;
mod refusals;
mod sinks;
