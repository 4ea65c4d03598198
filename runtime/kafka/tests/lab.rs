//! Topics of a test's own, and an independent way to write and read them.

/// Waits for an answer that another thread completes.
pub use pollster::block_on as wait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use segno_core::columns::{Column, ColumnType};
use segno_core::source::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// As the cluster says: 1 with one broker, 3 with three.
const REPLICAS_DEFAULT: TopicReplication<'static> = TopicReplication::Fixed(-1);

thread_local! {
    static OTHER: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Everything that this thread does here goes to another broker from now on.
pub fn use_brokers(address: String) {
    OTHER.with_borrow_mut(|other| *other = Some(address));
}

pub fn brokers() -> String {
    if let Some(other) = OTHER.with_borrow(Clone::clone) {
        return other;
    }
    std::env::var("SEGNO_TEST_KAFKA")
        .unwrap_or_else(|_| panic!("SEGNO_TEST_KAFKA is not set: run the tests with `make test`, which starts a broker"))
}

pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    config
}

pub fn connection() -> KafkaConnection {
    KafkaConnection { brokers: brokers(), settings: BTreeMap::new() }
}

pub fn admin() -> AdminClient<DefaultClientContext> {
    config().create().expect("an admin client")
}

/// A name that no other test has.
pub fn name(what: &str) -> String {
    format!("{what}-{:016x}", rand::random::<u64>())
}

pub fn topic(what: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = name(what);
    make(&name, partitions, settings);
    name
}

pub fn make(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    // Timestamps here are of 1970: retention by time would remove such records at its next round.
    let mut topic = NewTopic::new(name, partitions, REPLICAS_DEFAULT).set("retention.ms", "-1");
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let mut is_late = false;
    for _ in 0..3 {
        match wait(admin().create_topics([&topic], &AdminOptions::new().operation_timeout(Some(PATIENCE)))) {
            // A broker that is very busy answers too late, and has made it all the same.
            Ok(made) if is_late && matches!(made[0], Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return,
            Ok(made) => {
                made[0].as_ref().expect("a topic");
                return;
            }
            Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut)) => is_late = true,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    panic!("the broker gives no answer");
}

/// Writes records, each with an optional key and value; returns when the broker has them.
pub fn produce(topic: &str, partition: i32, records: &[(Option<&str>, Option<&str>)]) {
    let producer: BaseProducer = config().set("message.max.bytes", "20000000").create().expect("a producer");
    for (number, (key, value)) in records.iter().enumerate() {
        send(&producer, topic, partition, *key, *value, 1_000 + number as i64);
    }
    producer.flush(PATIENCE).expect("written");
}

pub fn values(topic: &str, partition: i32, values: impl Iterator<Item = String>) {
    let values: Vec<String> = values.collect();
    let records: Vec<_> = values.iter().map(|value| (None, Some(value.as_str()))).collect();
    produce(topic, partition, &records);
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, key: Option<&str>, value: Option<&str>, timestamp: i64) {
    let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition).timestamp(timestamp);
    (record.key, record.payload) = (key, value);
    while let Err((error, again)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
        producer.poll(Duration::from_millis(10));
        record = again;
    }
}

/// Writes records in one transaction, and commits or aborts it.
pub fn transaction(topic: &str, partition: i32, values: &[&str], commit: bool) {
    let open = open_transaction(&name("txn"), topic, partition, values);
    match commit {
        true => open.commit_transaction(PATIENCE).expect("committed"),
        false => open.abort_transaction(PATIENCE).expect("aborted"),
    }
}

/// Writes records in a transaction that stays open.
pub fn open_transaction(id: &str, topic: &str, partition: i32, values: &[&str]) -> BaseProducer {
    let producer: BaseProducer = config().set("transactional.id", id).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("a transactional id");
    producer.begin_transaction().expect("a transaction");
    for value in values {
        send(&producer, topic, partition, None, Some(value), 1_000);
    }
    producer.flush(PATIENCE).expect("written");
    producer
}

/// A record as an independent reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: Option<i64>,
    pub headers: BTreeMap<String, String>,
}

/// What librdkafka tells while brokers come and go, and gets over by itself.
fn passes(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::*;
    matches!(
        error.rdkafka_error_code(),
        Some(
            BrokerTransportFailure
                | AllBrokersDown
                | OperationTimedOut
                | LeaderNotAvailable
                | NotLeaderForPartition
                | UnknownPartition
        )
    )
}

/// Leader and replicas in sync of each partition, once all have a leader.
pub fn partitions(topic: &str) -> Vec<(i32, Vec<i32>)> {
    let consumer: BaseConsumer = config().create().expect("a consumer");
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "{topic} has no leaders");
        match consumer.fetch_metadata(Some(topic), PATIENCE) {
            Ok(found) => {
                let found = found.topics()[0].partitions().iter().map(|one| (one.id(), one.leader(), one.isr().to_vec()));
                let mut found: Vec<(i32, i32, Vec<i32>)> = found.collect();
                found.sort_unstable_by_key(|(id, ..)| *id);
                if !found.is_empty() && found.iter().all(|(_, leader, _)| *leader >= 0) {
                    return found.into_iter().map(|(_, leader, in_sync)| (leader, in_sync)).collect();
                }
            }
            Err(error) => assert!(passes(&error), "{topic}: {error}"),
        }
    }
}

/// What an independent reader meets.
enum Met {
    Record(Read),
    /// Nothing more in this partition for now.
    End(i32),
    Nothing,
}

/// An independent reader of a topic's committed records, from the first one on.
struct Follower {
    topic: String,
    consumer: BaseConsumer,
    partitions: usize,
}

impl Follower {
    fn new(topic: &str) -> Follower {
        let consumer: BaseConsumer = config()
            .set("group.id", "independent")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let partitions = partitions(topic).len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&list).expect("assigned");
        Follower { topic: topic.to_owned(), consumer, partitions }
    }

    fn next(&self) -> Met {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => Met::Record(Read {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(text),
                value: message.payload().map(text),
                timestamp: message.timestamp().to_millis(),
                headers: message.headers().map_or(BTreeMap::new(), |headers| {
                    headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect()
                }),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => Met::End(partition),
            Some(Err(error)) if passes(&error) => Met::Nothing,
            Some(Err(error)) => panic!("{}: {error}", self.topic),
            None => Met::Nothing,
        }
    }
}

/// All committed records of a topic, by partition and offset.
pub fn read(topic: &str) -> Vec<Read> {
    let follower = Follower::new(topic);
    let (mut found, mut ended) = (Vec::new(), BTreeSet::new());
    let started = Instant::now();
    while ended.len() < follower.partitions {
        assert!(started.elapsed() < PATIENCE, "{topic} was not read to its end");
        match follower.next() {
            Met::Record(record) => found.push(record),
            Met::End(partition) => drop(ended.insert(partition)),
            Met::Nothing => {}
        }
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}

/// Waits until a topic has so many committed records; `meanwhile` is asked again and again.
pub fn await_records(topic: &str, wanted: usize, patience: Duration, mut meanwhile: impl FnMut()) {
    let follower = Follower::new(topic);
    let started = Instant::now();
    let mut found = 0;
    while found < wanted {
        meanwhile();
        assert!(started.elapsed() < patience, "{topic} has {found} records, and {wanted} are wanted");
        found += usize::from(matches!(follower.next(), Met::Record(_)));
    }
}

pub fn spec(topics: &[&str]) -> KafkaSpec {
    KafkaSpec {
        name: "events".to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        format: FormatSpec::Json,
        record_bytes_max: LINE_BYTES_MAX,
        columns: Vec::new(),
        connection: connection(),
        start: KafkaStart::Earliest,
        group: None,
        until_latest: false,
        trim_after: None,
        partitioner: Partitioner::default(),
        check_keys: false,
    }
}

pub fn plan(columns: &[(&str, ColumnType, bool)]) -> ReadPlan {
    let column = |(name, ty, nullable): &(&str, ColumnType, bool)| Column::new(*name, *ty, *nullable);
    ReadPlan { columns: columns.iter().map(column).collect(), time: None }
}

pub const SMALL: ReadLimit = ReadLimit { rows: 7, bytes: 300 };
pub const LARGE: ReadLimit = ReadLimit { rows: 16_384, bytes: 4 << 20 };

/// What a reader gave.
#[derive(Debug, Default, PartialEq)]
pub struct Given {
    /// Offset and the value's bytes of good records.
    pub good: Vec<(u64, String)>,
    /// Offset and code of bad ones.
    pub bad: Vec<(u64, &'static str)>,
    /// Where the next read starts.
    pub end: u64,
}

/// Reads until `wanted` records were given and the reader waits, or ends.
pub fn drain(reader: &mut dyn PartitionReader, from: u64, limit: ReadLimit, wanted: usize) -> Given {
    let mut given = Given { end: from, ..Given::default() };
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "only {} of {wanted} records came", given.good.len() + given.bad.len());
        match reader.next(limit).expect("a chunk") {
            Next::Chunk(chunk) => {
                assert!(chunk.start >= given.end && chunk.end > chunk.start, "ranges follow each other");
                given.end = chunk.end;
                let raw = chunk.raw.expect("raw bytes are kept");
                let value =
                    |&(start, end): &(u32, u32)| String::from_utf8_lossy(&raw.bytes[start as usize..end as usize]).into_owned();
                given.good.extend(chunk.offsets.iter().copied().zip(raw.rows.iter().map(value)));
                given.bad.extend(chunk.bad.iter().map(|bad| (bad.offset, bad.code.name())));
            }
            Next::Waiting if given.good.len() + given.bad.len() >= wanted => return given,
            Next::Waiting => {}
            Next::End => return given,
        }
    }
}
