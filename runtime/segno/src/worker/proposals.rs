//! Who says which shards this process runs.
//!
//! Owns: the choice between all of them and those that the consumer group of the workers proposes.
//! Does not own: the group (`segno_kafka::Group`). A proposal decides nothing: who owns a shard, the generation says.

use super::load::Loaded;
use segno_core::Result;
use segno_core::source::SourceSpec;
use segno_kafka::{Change, Group};
use std::time::Duration;

pub enum Proposals {
    /// Nobody else can have them: files, or a generator. `None` once they were given out.
    All(Option<Vec<u32>>),
    Group(Group),
}

impl Proposals {
    /// Topics are shared by all processes that run the pipeline; the first topic stands for the others.
    pub fn new(loaded: &Loaded, shards: u32) -> Result<Proposals> {
        let pipeline = &loaded.pipeline;
        let lead = pipeline.sources.iter().find_map(|source| match &source.spec {
            SourceSpec::Kafka(kafka) => Some(kafka),
            _ => None,
        });
        match lead.and_then(|kafka| Some((kafka, kafka.topics.first()?))) {
            Some((kafka, topic)) => {
                let group = format!("segno-workers-{}-{}", pipeline.tenant, pipeline.name);
                let timeout = pipeline.worker.session_timeout;
                Ok(Proposals::Group(Group::join(&kafka.connection, &group, topic, timeout)?))
            }
            None => Ok(Proposals::All(Some((0..shards).collect()))),
        }
    }

    /// What changes; waits for it so long at most. Each change is answered before the next one is asked for.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Change>> {
        match self {
            Proposals::All(shards) => match shards.take() {
                Some(shards) => Ok(Some(Change::take(shards))),
                None => {
                    std::thread::sleep(wait);
                    Ok(None)
                }
            },
            Proposals::Group(group) => group.next(wait),
        }
    }

    pub fn answer(&self, change: Change) -> Result<()> {
        match self {
            Proposals::All(_) => Ok(()),
            Proposals::Group(group) => group.answer(change),
        }
    }

    /// Whether a process without shards may get some.
    pub fn may_give_more(&self) -> bool {
        match self {
            Proposals::All(shards) => shards.is_some(),
            Proposals::Group(_) => true,
        }
    }

    /// Whether other processes may have had the shards before.
    pub fn are_shared(&self) -> bool {
        matches!(self, Proposals::Group(_))
    }
}
