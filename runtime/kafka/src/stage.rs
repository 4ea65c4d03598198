//! The topic of a repartition step: made when it is not there, refused when it is another one.
//!
//! Owns: what the topic must be like. Does not own: what it holds (`segno_core::columns::carried`), writing and reading it, which
//! is done as with any other topic (`sink`, `source`).
//!
//! Invariant: a topic that is there is not changed.

use crate::client::{Context, settings, wrong_setting};
use crate::topics;
use rdkafka::admin::AdminClient;
use segno_core::source::KafkaConnection;
use segno_core::{Code, Error, Result};

/// What is kept: everything. Rows that time out before they are read would be lost; how far reading must be able to go back, only
/// the checkpoints of the stage behind know.
const SETTINGS: [(&str, &str); 4] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1"), BROKERS_TIME];

/// With it the age of a row is how long it has been there, whatever its event time is.
pub(crate) const BROKERS_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// Whether the topic was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    There,
    Made,
    /// It is not there, and was not to be made.
    Missing,
}

/// Compares a topic with what a step says of it, and makes it where `make` says so.
pub fn check_topic(connection: &KafkaConnection, topic: &str, step: &str, partitions: u32, make: bool) -> Result<Topic> {
    let admin: AdminClient<Context> =
        settings(connection).create_with_context(Context::new(connection)).map_err(|error| wrong_setting(&error))?;
    let (found, what) = match topics::describe(admin.inner(), &[topic.to_owned()], || {}) {
        Ok(found) => (found, Topic::There),
        Err(error) if error.code() != Code::TopicMissing => return Err(error),
        Err(_) if !make => return Ok(Topic::Missing),
        Err(_) => (topics::create(&admin, topic, partitions, &SETTINGS)?, Topic::Made),
    };
    let there = found.first().map_or(0, |topic| topic.partitions);
    if there != partitions {
        return Err(Error::new(
            Code::StageTopic,
            format!("step \"{step}\": its topic \"{topic}\" has {there} partitions, and partitions: says {partitions}"),
        )
        .with_help(format!("write partitions: {there}, or name another topic with topic:")));
    }
    match topics::setting(&admin, topic, "cleanup.policy")? {
        Some(policy) if policy != "delete" => Err(Error::new(
            Code::StageTopic,
            format!("step \"{step}\": its topic \"{topic}\" has cleanup.policy={policy}, which removes rows that were not read"),
        )
        .with_help(format!("kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete"))),
        _ => Ok(what),
    }
}
