//! The mark of a Kafka sink: the number of its last epoch, in the topic `segno-marks`.
//!
//! Owns: the topic, the mark's form, reading it back. Does not own: the transaction it is written in (`producer`).
//!
//! Invariants: a broker has `begin` before any row of the epoch's transaction is sent, and all rows before `end` is, so a
//! transaction of which a part was committed shows. The topic is compacted: the last mark of a sink stays for ever.

use crate::client::{ConsumerClient, Context, REQUEST_TIMEOUT, settings, wrong_setting};
use crate::queue::{BATCH, Fetched, PartitionQueue};
use crate::topics;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use segno_core::partitioner::partition_of;
use segno_core::sink::Ownership;
use segno_core::source::KafkaConnection;
use segno_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const MARKS: &str = "segno-marks";

/// Partitions of the topic when Segno makes it. An open transaction holds up the reading of a partition, so sinks should
/// seldom share one.
const PARTITIONS: u32 = 16;

/// Only whole segments are compacted, and what is not compacted is read at every take-over.
const SEGMENT_BYTES: &str = "16777216";

/// How long the marks of other sinks may hold up reading: their transactions end by then, or are given up.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// How long one wait within it lasts.
const READ_WAIT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Edge {
    Begin,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub epoch: u64,
    pub generation: u64,
    pub rows: u64,
    pub mark: Edge,
}

/// Where a sink's marks are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub key: String,
    pub partition: u32,
}

pub(crate) struct Marks {
    connection: KafkaConnection,
    partitions: u32,
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

impl Marks {
    /// Makes the topic, if it is missing, and checks it.
    pub fn open(connection: &KafkaConnection) -> Result<Marks> {
        let admin: AdminClient<Context> =
            settings(connection).create_with_context(Context::new(connection)).map_err(|error| wrong_setting(&error))?;
        let names = [MARKS.to_owned()];
        let found = match topics::describe(admin.inner(), &names, || {}) {
            Err(error) if error.code() == Code::TopicMissing => {
                topics::create(&admin, MARKS, PARTITIONS, &[("cleanup.policy", "compact"), ("segment.bytes", SEGMENT_BYTES)])?
            }
            found => found?,
        };
        check(&admin)?;
        let partitions = found.first().map_or(0, |topic| topic.partitions);
        Ok(Marks { connection: connection.clone(), partitions })
    }

    pub fn place(&self, owner: &Ownership, sink: &str) -> Place {
        let key = format!("{}/{}/{}/{sink}", owner.tenant, owner.pipeline, owner.shard);
        Place { partition: partition_of(key.as_bytes(), self.partitions), key }
    }

    /// The last mark of a sink. Called after every older producer of it was fenced: then no other mark can appear.
    pub fn read(&self, place: &Place) -> Result<Option<Mark>> {
        let what = || format!("the marks in {MARKS}/{} cannot be read", place.partition);
        let client = |isolation: &str| -> Result<Arc<ConsumerClient>> {
            let mut config = settings(&self.connection);
            config
                .set("group.id", "segno-marks")
                .set("isolation.level", isolation)
                .set("auto.offset.reset", "error")
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true");
            ConsumerClient::open(&config, &self.connection).map(Arc::new)
        };
        // The true end: what belongs to open transactions, too.
        let all = client("read_uncommitted")?;
        let watermarks = all.fetch_watermarks(MARKS, place.partition as i32, REQUEST_TIMEOUT);
        let (low, high) = watermarks.map_err(|error| all.context().error(code(&error), &what()))?;
        if low >= high {
            return Ok(None);
        }
        let committed = client("read_committed")?;
        let mut queue = PartitionQueue::assign(&committed, MARKS, place.partition, low.max(0) as u64)?;
        let until = Instant::now() + READ_TIMEOUT;
        let mut position = low.max(0) as u64;
        let mut last: Option<Mark> = None;
        let mut failed = None;
        while position < high as u64 {
            queue.take(BATCH, READ_WAIT, |fetched| match fetched {
                Fetched::Message(message) => {
                    position = message.offset() + 1;
                    if message.key() == Some(place.key.as_bytes()) {
                        let mark = serde_json::from_slice(message.value().unwrap_or_default());
                        match mark {
                            Ok(mark) => last = Some(mark),
                            Err(error) => drop(failed.get_or_insert(
                                Error::new(Code::MarkTorn, format!("the mark of {} cannot be read", place.key)).with_cause(error),
                            )),
                        }
                    }
                }
                Fetched::End(offset) => position = position.max(offset),
                Fetched::Failed(code) => drop(failed.get_or_insert_with(|| committed.context().error(code, &what()))),
            });
            queue.serve();
            if let Some(error) = failed.take() {
                return Err(error);
            }
            if Instant::now() > until {
                return Err(committed.context().error(RDKafkaErrorCode::OperationTimedOut, &what()));
            }
        }
        match last {
            Some(Mark { mark: Edge::Begin, epoch, .. }) => Err(Error::new(
                Code::MarkTorn,
                format!("{MARKS} says that epoch {epoch} of {} was begun, and not that it was ended", place.key),
            )
            .with_help("`segno explain K008` says what to compare before going on")),
            last => Ok(last),
        }
    }
}

/// Marks that time out of the topic would make a written sink look new.
fn check(admin: &AdminClient<Context>) -> Result<()> {
    match topics::setting(admin, MARKS, "cleanup.policy")? {
        Some(policy) => check_policy(&policy),
        // Without the right to see it, it is the operator's affair.
        None => Ok(()),
    }
}

fn check_policy(policy: &str) -> Result<()> {
    if policy == "compact" {
        return Ok(());
    }
    Err(Error::new(Code::MarksTopic, format!("the topic {MARKS} has cleanup.policy={policy}"))
        .with_help(format!("kafka-configs.sh --alter --topic {MARKS} --add-config cleanup.policy=compact")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_must_not_run_out_of_their_topic() {
        assert!(check_policy("compact").is_ok());
        for policy in ["delete", "compact,delete", ""] {
            assert_eq!(check_policy(policy).unwrap_err().code(), Code::MarksTopic, "{policy}");
        }
    }
}
