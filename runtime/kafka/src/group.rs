//! The workers' group: which shards each process of a pipeline is given.
//!
//! Owns: membership in a consumer group that reads one topic; partition n of it stands for shard n.
//! Does not own: what a shard reads (`source`), who owns it (the generation), ending it.
//!
//! Invariants: nothing is fetched and no offset is committed: the group only proposes. A change is answered when the
//! shards have followed it; until then the group waits, and other members keep what they have (cooperative rebalancing).

use crate::client::{ConsumerClient, Context, code_of, settings};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use segno_core::source::KafkaConnection;
use segno_core::{Code, Error, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A member that asks for no change for so long is taken for dead, ms: the library's default. Giving shards up is bounded
/// below it.
const POLL_INTERVAL_MS_MAX: u128 = 300_000;
/// Signs of life in a session: two may be lost.
const HEARTBEATS: u32 = 4;
/// Between two signs of life, however long a session is: the answer to one says that shards are to be given up.
const HEARTBEAT_MAX: Duration = Duration::from_secs(1);

/// What happens to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// This process is to run them.
    Take,
    /// Another process is to run them, and waits until they are released here.
    Release,
    /// The session ended: another process may run them already.
    Lost,
}

pub struct Change {
    pub what: What,
    pub shards: Vec<u32>,
    /// As the library wants it back.
    list: TopicPartitionList,
}

impl Change {
    /// Shards that nobody disputes.
    pub fn take(shards: Vec<u32>) -> Change {
        Change { what: What::Take, shards, list: TopicPartitionList::new() }
    }
}

pub struct Group {
    consumer: ConsumerClient<Member>,
}

#[derive(Default)]
struct Member {
    context: Context,
    /// Changes that are not answered yet; true: more partitions.
    changes: Mutex<VecDeque<(bool, TopicPartitionList)>>,
    leaving: AtomicBool,
}

impl Group {
    /// Joins; the first change comes when the group has settled.
    pub fn join(connection: &KafkaConnection, group: &str, topic: &str, session_timeout: Duration) -> Result<Group> {
        let mut config: ClientConfig = settings(connection);
        let session = session_timeout.as_millis();
        config
            .set("group.id", group)
            .set("session.timeout.ms", session.to_string())
            .set("heartbeat.interval.ms", (session_timeout / HEARTBEATS).min(HEARTBEAT_MAX).as_millis().to_string())
            .set("max.poll.interval.ms", POLL_INTERVAL_MS_MAX.max(session).to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest")
            .set("allow.auto.create.topics", "false");
        let consumer = ConsumerClient::open_with(&config, Member::default())?;
        consumer
            .subscribe(&[topic])
            .map_err(|error| failed(&consumer, &error, "the workers' group cannot be joined"))?;
        Ok(Group { consumer })
    }

    /// The next change; waits for it so long at most.
    pub fn next(&self, wait: Duration) -> Result<Option<Change>> {
        let waiting = || lock(&self.consumer.context().changes).pop_front();
        let mut found = waiting();
        if found.is_none() {
            match self.consumer.poll(wait) {
                // The library tries again by itself; what only a person can mend is told.
                Some(Err(error)) => {
                    let told = failed(&self.consumer, &error, "the workers' group does not answer");
                    match told.code() {
                        Code::KafkaDenied | Code::TopicMissing => return Err(told),
                        _ => tracing::info!("{told}"),
                    }
                }
                // A record that came before the partition was paused.
                Some(Ok(_)) | None => {}
            }
            found = waiting();
        }
        Ok(found.map(|(more, list)| {
            let what = match more {
                true => What::Take,
                false if self.consumer.assignment_lost() => What::Lost,
                false => What::Release,
            };
            let shards = list.elements().iter().map(|element| element.partition() as u32).collect();
            Change { what, shards, list }
        }))
    }

    /// Tells the group that a change was followed.
    pub fn answer(&self, change: Change) -> Result<()> {
        let mut list = change.list;
        let answered = match change.what {
            What::Take => list
                .set_all_offsets(Offset::End)
                .and_then(|()| self.consumer.incremental_assign(&list))
                .and_then(|()| self.consumer.pause(&list)),
            What::Release | What::Lost => self.consumer.incremental_unassign(&list),
        };
        answered.map_err(|error| failed(&self.consumer, &error, "the workers' group cannot be answered"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The consumer leaves the group when it is dropped, and answers for itself.
        self.consumer.context().leaving.store(true, Ordering::Relaxed);
        lock(&self.consumer.context().changes).clear();
    }
}

fn failed(consumer: &BaseConsumer<Member>, error: &KafkaError, what: &str) -> Error {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    match code_of(code) {
        Code::KafkaDenied | Code::TopicMissing => Error::new(code_of(code), what).with_cause(error),
        _ => consumer.context().context.error(code, what),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        ClientContext::log(&self.context, level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.context, error, reason);
    }
}

impl ConsumerContext for Member {
    /// Puts the change aside: it is answered by `answer`.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let more = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if !self.leaving.load(Ordering::Relaxed) {
            lock(&self.changes).push_back((more, list.clone()));
            return;
        }
        let answered = match more {
            true => consumer.incremental_assign(list),
            false => consumer.incremental_unassign(list),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "leaving the workers' group");
        }
    }
}
