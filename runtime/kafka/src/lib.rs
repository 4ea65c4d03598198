//! Kafka: topics as a source, a topic as a sink.
//!
//! - `client`, `topics`, `queue`: librdkafka, its errors as codes, what it lacks a safe way for
//! - `source`, `reader`: partitions of topics as partitions of a source
//! - `group`: which shards each of several processes is given
//! - `letters`: dead letters, read back
//! - `stage`, `trim`: the topic of a repartition step, and what of it goes
//! - `sink`, `producer`, `marks`, `records`: an epoch's rows and its number in one transaction
//!
//! Owns: everything of librdkafka. Does not own: formats (`segno-input`), the contracts (`segno_core::{source, sink}`).

mod client;
mod group;
mod letters;
mod marks;
#[cfg(feature = "testing")]
mod planted;
mod producer;
mod queue;
mod reader;
mod records;
mod sink;
mod source;
mod stage;
mod topics;
mod trim;

pub use group::{Change, Group, What};
pub use letters::letters;
pub use records::oversized;
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use stage::{Topic, check_topic};
