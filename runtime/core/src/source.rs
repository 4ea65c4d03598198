//! The contract of a source: numbered partitions, offsets owned by the host, decoded chunks.
//!
//! Owns: what the epoch loop may ask of a source, what a source promises, and how a source is described.
//! Does not own: files, brokers, formats (`segno-input`).
//!
//! Invariants: reading a partition from an offset gives the same records whenever and in whatever pieces it is
//! read. Offsets grow strictly within a partition. A record that cannot be decoded is data (`Bad`), not an error.

use crate::Result;
use crate::columns::Column;
use crate::protocol::writers::Announcement;
use arrow_array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A partition of a source; `number` is its place in the source's list and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    /// What the user knows it by: a path, a topic's partition.
    pub name: String,
    /// Its number within its topic, which is its shard with `sharding: by_partition`. Files and generators are one topic.
    pub in_topic: u32,
}

/// Partitions that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSize {
    pub name: String,
    pub partitions: u32,
}

/// What a source must decode: the columns that somebody reads, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadPlan {
    pub columns: Vec<Column>,
    /// Event time, when the pipeline has one. Decoded into `Chunk::times`, whether or not it is also a column.
    pub time: Option<TimeColumn>,
}

/// Where a record's event time is and how it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeColumn {
    /// Path of the column, such as `date` or `bid.date_time`.
    pub name: String,
    /// `strftime`-style format of a text column; `None`: RFC 3339 text, a native timestamp, or `unit` since 1970.
    pub format: Option<String>,
    /// What an integer event time counts.
    pub unit: TimeUnit,
}

/// The event time of a pipeline whose records have none that counts: the logical time of the epoch that read them. No
/// column has this name.
pub const PROCESSING_TIME: &str = "segno.processing_time";

impl TimeColumn {
    /// Whether it names no column, but the logical time of the epoch.
    pub fn is_processing_time(&self) -> bool {
        self.name == PROCESSING_TIME
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeUnit {
    Seconds,
    #[default]
    Milliseconds,
    Microseconds,
}

/// Decoded records of one partition, in offset order.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub partition: u32,
    /// The good records, in the plan's columns, in canonical form.
    pub columns: RecordBatch,
    /// Event time of each good record, µs since 1970 UTC. Empty when the plan has no time.
    pub times: Vec<i64>,
    /// Offset of each good record.
    pub offsets: Vec<u64>,
    /// Records that could not be decoded, in offset order. A chunk may hold nothing else.
    pub bad: Vec<Bad>,
    /// What writers announced between the records, in offset order. They are no records, and lie between them.
    pub announced: Vec<Announced>,
    /// Original bytes, where the format keeps them.
    pub raw: Option<Raw>,
    /// Where this chunk's range starts: where reading began, or the `end` of the chunk before, or behind it when what
    /// lies between holds no record.
    pub start: u64,
    /// Where the next chunk starts.
    pub end: u64,
}

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    pub offset: u64,
    /// Number of good records of the chunk that come before it.
    pub before_row: u32,
    /// A stable code such as `D001`.
    pub code: crate::Code,
    pub reason: String,
    /// The original bytes, at most `BAD_BYTES_MAX` of them.
    pub bytes: Bytes,
}

/// An announcement of a writer, where a partition has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub offset: u64,
    /// Number of good records of the chunk that come before it.
    pub before_row: u32,
    pub announcement: Announcement,
}

/// Original bytes of a dead letter that are kept, in bytes. A longer record is cut, and the letter says so:
/// a dead letter must not be a way to fill the disk.
pub const BAD_BYTES_MAX: usize = 1 << 20;

/// The original bytes of a chunk: `bytes` is the whole range `start..end` of the partition where offsets are byte
/// offsets; `rows` holds for each good record where it lies in `bytes`.
#[derive(Clone, Debug)]
pub struct Raw {
    pub bytes: Bytes,
    /// Start and end in `bytes`, without the line's end.
    pub rows: Vec<(u32, u32)>,
    /// True where `bytes[0]` stands at offset `start` and offsets count bytes, so that a range of offsets can be
    /// cut out of `bytes`.
    pub offsets_are_bytes: bool,
}

/// What reading further gives.
#[derive(Debug)]
pub enum Next {
    Chunk(Chunk),
    /// Nothing now; more may come (a growing file, a live topic).
    Waiting,
    /// Nothing more will ever come.
    End,
}

/// How much one call may return. A chunk holds at least one record, or says that there is none in its range.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    pub rows: usize,
    pub bytes: usize,
}

pub trait PartitionReader: Send {
    fn next(&mut self, limit: ReadLimit) -> Result<Next>;
}

pub trait Source: Send + Sync {
    /// The name in the pipeline file.
    fn name(&self) -> &str;

    /// All partitions known now. Numbers never change; later calls may add some at the end.
    fn partitions(&self) -> Result<Vec<Partition>>;

    /// Whether the source's settings still name what holds this partition. Where they do not, the change was accepted.
    fn names(&self, _partition: &str) -> bool {
        true
    }

    /// How many partitions each topic has now.
    fn topics(&self) -> Result<Vec<TopicSize>> {
        Ok(vec![TopicSize { name: self.name().to_owned(), partitions: self.partitions()?.len() as u32 }])
    }

    /// Where a partition begins that was never read; `later`: others of this source were read before it appeared. Asked
    /// once: the journal keeps the answer.
    fn first_offset(&self, _partition: u32, _later: bool) -> Result<u64> {
        Ok(0)
    }

    /// The first offset that is left, for sources that lose records with time.
    fn first_left(&self, _partition: u32) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Reads a partition from an offset (`first_offset`, or a `Chunk::end` or a record's offset seen before).
    /// `mark` is what `mark` gave for that offset, or `None` at first. Errors when the partition's bytes before
    /// the offset are not what they were (a changed or truncated file).
    fn open(&self, partition: u32, offset: u64, mark: Option<u64>, plan: &ReadPlan) -> Result<Box<dyn PartitionReader>>;

    /// A fingerprint of the partition's identity and of the bytes just before `offset`, journalled with it.
    fn mark(&self, partition: u32, offset: u64) -> Result<u64>;

    /// The offset behind the newest record of a partition, where that can be told cheaply. For people; decides nothing.
    fn end(&self, _partition: u32) -> Option<u64> {
        None
    }

    /// Tells outsiders how far committed reading is: (partition, offset). Advice only, nothing is read back from it.
    fn advise(&self, _positions: &[(u32, u64)]) {}

    /// Nobody asks for records of these partitions before these offsets any more, also after a crash: a source whose records are
    /// Segno's own may remove them.
    fn release(&self, _needed: &[(u32, u64)]) {}

    /// Digest of everything that decides what this source gives (settings, seed), for the configuration digest.
    fn identity(&self) -> String;
}

/// Where a source's records come from: plain data, resolved (no variables, paths absolute or relative to the
/// process).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourceSpec {
    Files(FilesSpec),
    Nexmark(NexmarkSpec),
    Kafka(KafkaSpec),
}

impl SourceSpec {
    /// The source's name in the pipeline file.
    pub fn name(&self) -> &str {
        match self {
            SourceSpec::Files(files) => &files.name,
            SourceSpec::Nexmark(nexmark) => &nexmark.name,
            SourceSpec::Kafka(kafka) => &kafka.name,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilesSpec {
    pub name: String,
    /// One file, or a glob (`*`, `?`, `[…]`, `**`). Each file is a partition.
    pub path: String,
    pub format: FormatSpec,
    /// True: the files grow; their end means `Waiting`. False: their end is the end.
    pub follow: bool,
    /// The longest record of a text format, in bytes; a longer one is a bad record.
    pub line_bytes_max: usize,
    /// Columns whose type the user declares. CSV: a column that is not declared is text. JSON: for checking only.
    pub columns: Vec<Column>,
    /// Partitions seen by earlier runs, in the order of their numbers (from the journal), so that a number never
    /// changes when a new file sorts before an old one. Empty at first.
    pub known_partitions: Vec<String>,
}

/// Default of `line_bytes_max`, in bytes: far above any sane record, far below what memory bears.
pub const LINE_BYTES_MAX: usize = 1 << 20;

impl FilesSpec {
    pub fn new(name: impl Into<String>, path: impl Into<String>, format: FormatSpec) -> FilesSpec {
        FilesSpec {
            name: name.into(),
            path: path.into(),
            format,
            follow: false,
            line_bytes_max: LINE_BYTES_MAX,
            columns: Vec::new(),
            known_partitions: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FormatSpec {
    /// One object on each line, or one array of objects; a file says which by its first character.
    Json,
    Csv {
        /// Names of the columns; `None`: the first row of each file is the header.
        header: Option<Vec<String>>,
        delimiter: u8,
    },
    /// Each line is one record with the single column `value: binary`.
    Raw,
    Parquet,
    /// Rows of a repartition topic (`columns::carried`), which hold these columns. No pipeline file says it.
    Rows { columns: Vec<Column> },
}

/// Topics of a Kafka cluster; each partition of each topic is a partition, an offset is a Kafka offset. Beside the
/// columns of the value, a record has `kafka.key`, `kafka.topic`, `kafka.partition`, `kafka.offset`, `kafka.timestamp` and
/// `kafka.headers.NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KafkaSpec {
    pub name: String,
    pub topics: Vec<String>,
    pub format: FormatSpec,
    /// The longest value, in bytes; a longer one is a bad record.
    pub record_bytes_max: usize,
    pub columns: Vec<Column>,
    /// How to reach the cluster; no part of the pipeline's identity, and never archived: it may hold secrets.
    #[serde(skip)]
    pub connection: KafkaConnection,
    /// Where a partition that was never read begins. Journalled with the first epoch, so no part of the identity.
    #[serde(skip)]
    pub start: KafkaStart,
    /// Consumer group to which offsets are committed as advice for monitoring tools; nothing is read back from it.
    #[serde(skip)]
    pub group: Option<String>,
    /// True: the input ends where the partitions ended when the run began. False: it never ends.
    #[serde(skip)]
    pub until_latest: bool,
    /// A topic of Segno's own: what is older, and no checkpoint needs, is removed.
    #[serde(skip)]
    pub trim_after: Option<Duration>,
    /// What the user says about producers; `check_keys` is what follows from it.
    #[serde(skip)]
    pub partitioner: Partitioner,
    /// True: a record that is not in the partition of its key, or has none, is a bad record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_keys: bool,
}

/// How producers choose the partition of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// From the key, as Java's producer does.
    #[default]
    Murmur2,
    /// In a way that Segno does not know; the user knows that a key stays in its partition.
    Unchecked,
}

/// How to reach a Kafka cluster.
#[derive(Clone, Default, PartialEq)]
pub struct KafkaConnection {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Settings of librdkafka, such as `security.protocol`. May hold secrets.
    pub settings: std::collections::BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secret.
        let names: Vec<&String> = self.settings.keys().collect();
        f.debug_struct("KafkaConnection").field("brokers", &self.brokers).field("settings", &names).finish()
    }
}

/// Where a Kafka partition that was never read begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KafkaStart {
    #[default]
    Earliest,
    Latest,
    /// The first record with this timestamp or a later one, ms since 1970 UTC.
    Timestamp(i64),
    /// By `topic/partition`; the others begin with their earliest record.
    Offsets(std::collections::BTreeMap<String, u64>),
}

/// A seeded Nexmark generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NexmarkSpec {
    pub name: String,
    pub seed: u64,
    /// Number of events in all partitions together; `None`: without end.
    pub events: Option<u64>,
    pub partitions: u32,
    /// Events per second of event time, in all partitions together.
    pub events_per_second: u64,
    /// Event time of the first event, µs since 1970 UTC.
    pub start_micros: i64,
    /// `None`: persons, auctions and bids in the proportions 1:3:46.
    pub only: Option<NexmarkKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NexmarkKind {
    Person,
    Auction,
    Bid,
}

impl NexmarkSpec {
    pub fn new(name: impl Into<String>, seed: u64, events: Option<u64>) -> NexmarkSpec {
        NexmarkSpec {
            name: name.into(),
            seed,
            events,
            partitions: 1,
            events_per_second: 10_000,
            // 2015-07-15T00:00:00Z, the first event of the original generator.
            start_micros: 1_436_918_400_000_000,
            only: None,
        }
    }
}
