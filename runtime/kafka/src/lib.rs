//! Kafka: topics as a source, a topic as a sink.
//!
//! Owns: everything of librdkafka. Does not own: formats (`segno-input`), the contracts (`segno_core::{source, sink}`).

mod sink;
mod source;

pub use sink::KafkaSink;
pub use source::KafkaSource;
