//! Topics as a source: each partition of each topic is a partition, named `topic/number`.
//!
//! Owns: which partitions there are and their numbers, where they begin and end, whether a topic is the one of before.
//! Does not own: reading (`reader`), decoding (`segno-input`), what was read (the journal).
//!
//! Invariants: partitions are assigned, never subscribed to, and the broker decides no offset. Only committed records
//! are read. Numbers never change; partitions that appear later come behind.

use crate::client::{ConsumerClient, REQUEST_TIMEOUT, serve, settings};
use crate::queue::PartitionQueue;
use crate::reader::Reader;
use crate::topics::{self, Topic};
use crate::trim::{Needed, Trim};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use segno_core::source::{KafkaSpec, KafkaStart, Partition, PartitionReader, ReadPlan, Source, TopicSize};
use segno_core::{Code, Error, Result};
use segno_input::format::messages::Messages;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a partition that librdkafka fetches ahead, in KiB: some chunks, so that a reader never waits for the network.
const FETCHED_AHEAD_KIB: &str = "16384";
/// How soon a partition is fetched again after its queue was full, in ms. The default, a second, starves the reader.
const FETCH_BACKOFF_MS: &str = "10";
/// Between two questions to a partition that has no leader.
const LEADER_WAIT: Duration = Duration::from_millis(100);

pub struct KafkaSource {
    spec: KafkaSpec,
    known: Mutex<Known>,
    trim: Trim,
}

struct Known {
    /// The client for partitions that are opened next.
    consumer: Arc<ConsumerClient>,
    /// Partitions that it has: a client assigns each once.
    assigned: BTreeSet<u32>,
    /// The client that reads each partition.
    readers: BTreeMap<u32, Arc<ConsumerClient>>,
    /// Topic and partition, in the order of their numbers; only grows.
    partitions: Vec<(String, u32)>,
    /// Ids of topics.
    ids: BTreeMap<String, u64>,
    /// Where partitions ended when the source was opened, for `until: latest`.
    ends: BTreeMap<u32, u64>,
}

fn consumer(spec: &KafkaSpec) -> Result<Arc<ConsumerClient>> {
    let mut config: ClientConfig = settings(&spec.connection);
    let group = spec.group.clone().unwrap_or_else(|| format!("segno-{}", spec.name));
    let ahead = ["queued.max.messages.kbytes", "fetch.queue.backoff.ms"];
    for (name, value) in ahead.iter().zip([FETCHED_AHEAD_KIB, FETCH_BACKOFF_MS]) {
        if !spec.connection.settings.contains_key(*name) {
            config.set(*name, value);
        }
    }
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    ConsumerClient::open(&config, &spec.connection).map(Arc::new)
}

impl KafkaSource {
    pub fn open(spec: &KafkaSpec) -> Result<KafkaSource> {
        let known = Known {
            consumer: consumer(spec)?,
            assigned: BTreeSet::new(),
            readers: BTreeMap::new(),
            partitions: Vec::new(),
            ids: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        let source = KafkaSource { spec: spec.clone(), known: Mutex::new(known), trim: Trim::default() };
        source.find()?;
        if spec.until_latest {
            let mut known = source.known();
            for number in 0..known.partitions.len() as u32 {
                let (topic, partition) = known.partition(number)?;
                let (_, high) = watermarks(&known.consumer, &topic, partition)?;
                known.ends.insert(number, high);
            }
        }
        Ok(source)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the cluster for partitions.
    fn find(&self) -> Result<()> {
        let mut known = self.known();
        let consumer = Arc::clone(&known.consumer);
        for Topic { name, id, partitions } in topics::describe(consumer.client(), &self.spec.topics, || serve(&consumer))? {
            match known.ids.insert(name.clone(), id) {
                Some(before) if before != id => return Err(replaced(&name)),
                _ => {}
            }
            for partition in 0..partitions {
                if !known.partitions.iter().any(|one| (one.0.as_str(), one.1) == (&name, partition)) {
                    known.partitions.push((name.clone(), partition));
                }
            }
        }
        Ok(())
    }
}

fn replaced(topic: &str) -> Error {
    Error::new(Code::TopicReplaced, format!("topic \"{topic}\" is not the one that was read before"))
        .with_help("its records are other ones: restore the topic, or run the pipeline under another name")
}

impl Known {
    fn partition(&self, number: u32) -> Result<(String, u32)> {
        self.partitions
            .get(number as usize)
            .cloned()
            .ok_or_else(|| Error::new(Code::Internal, format!("there is no partition of number {number}")))
    }

    /// Partitions of a topic.
    fn size(&self, topic: &str) -> u32 {
        self.partitions.iter().filter(|(one, _)| one == topic).count() as u32
    }

}

fn failed(consumer: &ConsumerClient, error: &KafkaError, what: &str) -> Error {
    serve(consumer);
    consumer.context().error(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), what)
}

/// A request about a partition, made again while its leader changes: a topic that was just made has none for a moment.
fn asked<T>(meanwhile: impl Fn(), request: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    let until = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let error = match request() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let passes = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::ReplicaNotAvailable)
        );
        if !passes || Instant::now() >= until {
            return Err(error);
        }
        meanwhile();
        std::thread::sleep(LEADER_WAIT);
    }
}

/// The first offset, and the one behind the last committed record.
fn watermarks(consumer: &ConsumerClient, topic: &str, partition: u32) -> Result<(u64, u64)> {
    let found = asked(|| serve(consumer), || consumer.fetch_watermarks(topic, partition as i32, REQUEST_TIMEOUT));
    let (low, high) = found.map_err(|error| failed(consumer, &error, &format!("the offsets of {topic}/{partition} cannot be read")))?;
    Ok((low.max(0) as u64, high.max(0) as u64))
}

/// The first offset whose record has a time, ms, or a later one.
pub(crate) fn offset_at(consumer: &ConsumerClient, topic: &str, partition: u32, ms: i64) -> Result<u64> {
    let mut wanted = TopicPartitionList::new();
    let failed = |error: KafkaError| failed(consumer, &error, &format!("the offset of a time in {topic}/{partition} cannot be read"));
    wanted.add_partition_offset(topic, partition as i32, Offset::Offset(ms)).map_err(failed)?;
    let found = asked(|| serve(consumer), || consumer.offsets_for_times(wanted.clone(), REQUEST_TIMEOUT)).map_err(failed)?;
    match found.elements().first().map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => Ok(offset.max(0) as u64),
        // No record is that young.
        _ => Ok(watermarks(consumer, topic, partition)?.1),
    }
}

impl Source for KafkaSource {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        // What appears later lies behind the end.
        if !self.spec.until_latest
            && let Err(error) = self.find()
        {
            match error.code() {
                Code::KafkaUnreachable => tracing::warn!(code = error.code().name(), "{error}; no new partitions are seen"),
                _ => return Err(error),
            }
        }
        let one = |(number, (topic, in_topic)): (u32, &(String, u32))| Partition {
            number,
            name: format!("{topic}/{in_topic}"),
            in_topic: *in_topic,
        };
        Ok((0..).zip(&self.known().partitions).map(one).collect())
    }

    fn names(&self, partition: &str) -> bool {
        partition.rsplit_once('/').is_none_or(|(topic, _)| self.spec.topics.iter().any(|one| one == topic))
    }

    fn topics(&self) -> Result<Vec<TopicSize>> {
        let known = self.known();
        let size = |name: &String| TopicSize { name: name.clone(), partitions: known.size(name) };
        Ok(self.spec.topics.iter().map(size).collect())
    }

    fn first_offset(&self, number: u32, later: bool) -> Result<u64> {
        let known = self.known();
        let (topic, partition) = known.partition(number)?;
        let (low, high) = watermarks(&known.consumer, &topic, partition)?;
        match &self.spec.start {
            KafkaStart::Earliest => Ok(low),
            // A partition that was added is found a little after its first records.
            KafkaStart::Latest if later => Ok(low),
            KafkaStart::Latest => Ok(high),
            KafkaStart::Timestamp(ms) => offset_at(&known.consumer, &topic, partition, *ms),
            KafkaStart::Offsets(offsets) => Ok(offsets.get(&format!("{topic}/{partition}")).copied().unwrap_or(low)),
        }
    }

    fn first_left(&self, number: u32) -> Result<Option<u64>> {
        let known = self.known();
        let (topic, partition) = known.partition(number)?;
        Ok(Some(watermarks(&known.consumer, &topic, partition)?.0))
    }

    fn open(&self, number: u32, offset: u64, mark: Option<u64>, plan: &ReadPlan) -> Result<Box<dyn PartitionReader>> {
        let mut known = self.known();
        let (topic, partition) = known.partition(number)?;
        if mark.is_some_and(|mark| known.ids.get(&topic) != Some(&mark)) {
            return Err(replaced(&topic));
        }
        let keys_over = self.spec.check_keys.then(|| known.size(&topic));
        let place = (topic.as_str(), partition);
        let messages = Messages::new(plan, &self.spec.format, self.spec.record_bytes_max, place, keys_over)?;
        if !known.assigned.insert(number) {
            known.consumer = consumer(&self.spec)?;
            known.assigned = BTreeSet::from([number]);
        }
        let reader = Arc::clone(&known.consumer);
        known.readers.insert(number, reader);
        let headers = messages.wants().unwrap_or_default().iter().map(|name| CString::new(name.as_str()));
        let headers = headers.collect::<Result<_, _>>().map_err(|_| Error::new(Code::SourceColumn, "the name of a header holds a zero"))?;
        let end = known.ends.get(&number).copied();
        let queue = PartitionQueue::assign(&known.consumer, &topic, partition, offset)?;
        Ok(Box::new(Reader { topic, partition, number, queue, messages, headers, position: offset, end, at_end: false, silent_since: None }))
    }

    fn mark(&self, number: u32, _offset: u64) -> Result<u64> {
        let known = self.known();
        let (topic, _) = known.partition(number)?;
        Ok(known.ids.get(&topic).copied().unwrap_or(0))
    }

    fn end(&self, number: u32) -> Option<u64> {
        let known = self.known();
        let (topic, partition) = known.partition(number).ok()?;
        let end = PartitionQueue::known_end(known.readers.get(&number)?, &topic, partition)?;
        Some(known.ends.get(&number).map_or(end, |last| end.min(*last)))
    }

    fn advise(&self, positions: &[(u32, u64)]) {
        if self.spec.group.is_none() {
            return;
        }
        let known = self.known();
        let mut list = TopicPartitionList::new();
        for &(number, offset) in positions {
            if let Ok((topic, partition)) = known.partition(number) {
                let _ = list.add_partition_offset(&topic, partition as i32, Offset::Offset(offset as i64));
            }
        }
        if let Err(error) = known.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "the group was not told how far reading is");
        }
    }

    fn release(&self, needed: &[(u32, u64)]) {
        let Some(retention) = self.spec.trim_after else { return };
        let known = self.known();
        let places = needed.iter().filter_map(|&(number, offset)| {
            let (topic, partition) = known.partition(number).ok()?;
            Some(Needed { topic, partition, offset })
        });
        self.trim.start(&self.spec.connection, &known.consumer, retention, places.collect());
    }

    fn identity(&self) -> String {
        let KafkaSpec { name, topics, format, record_bytes_max, columns, check_keys, .. } = &self.spec;
        let checked = if *check_keys { " check_keys" } else { "" };
        format!("kafka name={name:?} topics={topics:?} format={format:?} record_bytes_max={record_bytes_max} columns={columns:?}{checked}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_partition_without_a_leader_is_asked_until_it_has_one() {
        let times = Cell::new(0);
        let asked_with = |code: RDKafkaErrorCode| {
            times.set(0);
            asked(|| (), || {
                times.set(times.get() + 1);
                if times.get() < 3 { Err(KafkaError::MetadataFetch(code)) } else { Ok(()) }
            })
        };
        assert!(asked_with(RDKafkaErrorCode::NotLeaderForPartition).is_ok());
        assert_eq!(times.get(), 3);
        assert!(asked_with(RDKafkaErrorCode::TopicAuthorizationFailed).is_err());
        assert_eq!(times.get(), 1, "what does not pass is said at once");
    }
}
