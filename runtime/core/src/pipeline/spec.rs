//! What a pipeline file says, as plain data: variables replaced, defaults filled in, units resolved.
//!
//! Owns: the shapes and the defaults. Does not own: reading the text (`file`), column names and types (`graph`),
//! opening anything that is named here.
//!
//! Invariants: step ids and sink names are unique and fit into object keys. A step reads the source or an earlier
//! step. Paths are as written; `Pipeline::path` makes them relative to the folder of the pipeline file.

use super::database::DatabaseUrl;
use crate::columns::Column;
use crate::source::{FilesSpec, SourceSpec, TimeColumn};
use crate::{Error, Place};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The version of the pipeline file.
pub const PIPELINE_VERSION: u64 = 1;
/// Tenant of a pipeline that names none.
pub const TENANT_DEFAULT: &str = "default";
/// Key groups of a step. Fixed and journalled: more lanes than cores cost a little, fewer leave cores idle.
pub const LANES_DEFAULT: u32 = 8;
/// Lanes of one step at most: each holds an instance's memory while it runs.
pub const LANES_MAX: u32 = 256;
/// Rows of one call: large enough that the crossing costs nothing, small enough to stay in the cache.
pub const BATCH_ROWS_DEFAULT: u32 = 1_024;
/// Rows of one call at most: offsets of a frame are 32 bits wide.
pub const BATCH_ROWS_MAX: u32 = 65_536;
/// Records of an epoch at most.
pub const EPOCH_RECORDS_DEFAULT: u64 = 262_144;

/// Timers that fire in an epoch, of those that waited when it began.
pub const EPOCH_TIMERS_DEFAULT: u64 = 50_000;
/// Bytes of input of an epoch at most: with what the steps add, an epoch fits into memory several times.
pub const EPOCH_BYTES_DEFAULT: u64 = 32 << 20;
pub const STATE_MEMORY_DEFAULT: u64 = 128 << 20;
pub const STATE_MEMORY_MIN: u64 = 16 << 20;
pub const STATE_MEMORY_MAX: u64 = 1 << 40;
/// Records of an epoch at most, whatever the file says: row numbers within an epoch are 32 bits wide.
pub const EPOCH_RECORDS_MAX: u64 = 1 << 26;
/// Bytes of an epoch at most, whatever the file says.
pub const EPOCH_BYTES_MAX: u64 = 4 << 30;
/// How long an epoch waits for more records. It bounds latency, and how often a quiet stream commits.
pub const EPOCH_DELAY_DEFAULT: Duration = Duration::from_millis(500);
/// Re-execution that a recovery may have to do.
pub const REPLAY_DEBT_DEFAULT: Duration = Duration::from_secs(10);
/// Checkpoints that are kept.
pub const CHECKPOINTS_KEEP_DEFAULT: u32 = 20;
/// Silence of a worker after which the others get its shards: above a long pause of a busy machine, below what a reader
/// of the output takes for an outage.
pub const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// A pipeline file without errors, or one of its stages. Not yet compared with its plugins: that is `graph::build`.
///
/// `repartition` steps cut a file into stages. Each is a pipeline like any other, with a name, shards and a history of its
/// own; a topic stands between two of them as a sink of the one in front and the source of the one behind.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The pipeline file.
    pub file: PathBuf,
    pub tenant: String,
    /// Of a stage behind a repartition step: `pipeline.step`, which no pipeline can be called.
    pub name: String,
    /// The repartition step that this stage begins with; `None`: the first stage.
    pub stage: Option<Stage>,
    /// The other stages, where this is the first one, each behind the one that it reads.
    pub later: Vec<Pipeline>,
    /// At least one; all are merged into one stream. Their numbers in the journal are their places here.
    pub sources: Vec<SourceBlock>,
    pub sharding: Sharding,
    pub worker: WorkerSpec,
    /// In an order in which each step comes after the one it reads.
    pub steps: Vec<StepSpec>,
    pub sinks: Vec<SinkSpec>,
    /// Where dead letters go; present wherever something says `on_error: dlq`. Its name is `dlq`.
    pub dlq: Option<SinkSpec>,
    pub checkpoint: CheckpointSpec,
    pub epoch: EpochSpec,
    pub state: StateSpec,
    /// Rows of one call at most.
    pub batch_rows: u32,
    /// Threads that run lanes; `None`: one for each core.
    pub threads: Option<u32>,
    /// Folder of the state store, the cache and the lock; `None`: the user's cache folder.
    pub work_dir: Option<PathBuf>,
    pub replay_detail: ReplayDetail,
    /// Columns whose values are not shown when a running pipeline is looked at.
    pub mask: Vec<String>,
    /// Values of variables that must never be shown (`variables::mask`).
    pub secrets: Vec<String>,
    /// What is allowed but risky.
    pub warnings: Vec<Error>,
    pub spots: Spots,
    /// The entry of the file that each source comes from.
    pub(super) source_entries: Vec<usize>,
}

impl Pipeline {
    /// The stages one by one, each without the others.
    pub fn into_stages(mut self) -> Vec<Pipeline> {
        let later = std::mem::take(&mut self.later);
        std::iter::once(self).chain(later).collect()
    }

    /// The stage's name on the command line, where there are several.
    pub fn stage_name(&self) -> &str {
        self.stage.as_ref().map_or(FIRST_STAGE, |stage| &stage.id)
    }

    /// A path of the pipeline file, relative to that file's folder.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        join(&self.file, path.as_ref())
    }

    /// The source with its paths made relative to the process.
    pub fn source(&self, number: usize) -> SourceSpec {
        rooted(&self.file, &self.sources[number].spec)
    }

    /// The path of a source in the pipeline file.
    pub fn source_path(&self, number: usize) -> String {
        // A list of paths makes several sources of one entry.
        let entry = self.source_entries.get(number).copied().unwrap_or(number);
        format!("sources[{entry}]")
    }

    /// The path of a sink in the pipeline file.
    pub fn sink_path(&self, number: usize) -> String {
        format!("sinks[{number}]")
    }

    /// A place in the pipeline file, such as `steps[0].key`; the nearest part around it that is written there.
    pub fn place(&self, path: &str) -> Place {
        self.spots.place(path)
    }
}

/// `spec` with its paths taken relative to the folder of `file`.
pub fn rooted(file: &Path, spec: &SourceSpec) -> SourceSpec {
    match spec {
        SourceSpec::Files(files) => SourceSpec::Files(rooted_files(file, files)),
        SourceSpec::Nexmark(_) | SourceSpec::Kafka(_) => spec.clone(),
    }
}

/// `spec` with its path taken relative to the folder of `file`.
pub fn rooted_files(file: &Path, spec: &FilesSpec) -> FilesSpec {
    FilesSpec { path: join(file, Path::new(&spec.path)).to_string_lossy().into_owned(), ..spec.clone() }
}

fn join(file: &Path, path: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if path.is_relative() && !folder.as_os_str().is_empty() => {
            folder.join(path.strip_prefix("./").unwrap_or(path))
        }
        _ => path.to_path_buf(),
    }
}

/// How the first stage is called: the name of what it reads.
pub const FIRST_STAGE: &str = "source";

/// The name that event time has among the columns of a repartition topic. No plugin can read it: it is no column.
pub const ROW_TIME: &str = "segno.time";

/// A `repartition` step, with which a stage begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The step's id, which is also the name of the stage's source and of the sink in front.
    pub id: String,
    /// The number of the stage in front, 0 being the first.
    pub front: usize,
    /// What the step reads there.
    pub from: Upstream,
    /// The column whose value decides the partition.
    pub key: String,
    pub topic: String,
    /// Partitions of the topic, and shards of the stage.
    pub partitions: u32,
    /// How long rows are kept that no checkpoint needs.
    pub retention: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceBlock {
    /// Records come from here. Paths as written; `Pipeline::source` resolves them.
    pub spec: SourceSpec,
    /// Event time. All sources have one, or none has.
    pub time: Option<TimeColumn>,
    /// How much later than its successors a record may come.
    pub watermark_delay: Duration,
    /// Silence after which a partition no longer holds the others back. `None`: it holds them for ever.
    pub idle_timeout: Option<Duration>,
    /// Columns whose types the user declares.
    pub columns: Vec<Column>,
    /// What happens to records that cannot be decoded.
    pub on_error: OnError,
}

/// What happens to a record that cannot be processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The pipeline stops; nothing of the epoch is committed.
    #[default]
    Fail,
    /// It is counted and dropped.
    Skip,
    /// It goes to the dead letters with the reason and the original bytes.
    Dlq,
}

/// What a step or a sink reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    Source,
    /// `step` is an index into `Pipeline::steps`; without a port, the plugin's first one.
    Step { step: usize, port: Option<String> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Names the step's state; unique.
    pub id: String,
    /// The component, as written.
    pub plugin: PathBuf,
    pub from: Upstream,
    /// Handed to the plugin's `init` as JSON; `{}` when the file says nothing.
    pub config: serde_json::Value,
    pub tables: Vec<TableSpec>,
    /// Key columns; empty for a step without key.
    pub key: Vec<String>,
    /// Keyed state is forgotten when no record of its key came for so long, in event time. `None`: it is kept for ever.
    pub ttl: Option<Duration>,
    pub limits: LimitsSpec,
    pub on_error: OnError,
    /// How many rejects are no surprise. Decides no output, so it is no part of the plan.
    pub expect: Vec<Expectation>,
    pub lanes: u32,
}

/// At most so many rejects among so many records of a step's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    pub rejects: u64,
    /// Records of a window. Windows follow each other in the step's input, wherever epochs end.
    pub over: u64,
    pub otherwise: Otherwise,
}

/// What happens when a step rejects more than is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// The run ends before the epoch is committed.
    #[default]
    Stop,
    /// It is said and counted.
    Warn,
}

/// A side table: rows handed to `init`.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    pub name: String,
    pub from: TableOrigin,
}

/// Where the rows of a side table come from.
#[derive(Clone, Debug, PartialEq)]
pub enum TableOrigin {
    /// A finite file; path as written, `rooted_files` resolves it.
    Files(FilesSpec),
    /// A database. Other rows are another version of the table, not another pipeline.
    Postgres(PostgresTableSpec),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostgresTableSpec {
    #[serde(skip)]
    pub url: DatabaseUrl,
    pub rows: TableRows,
    /// How often a running pipeline reads it again. `None`: at its start only.
    #[serde(skip)]
    pub refresh: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableRows {
    /// `table` or `schema.table`.
    Table(String),
    /// A SELECT.
    Query(String),
}

/// Limits of a step. `None`: the engine's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSpec {
    /// Units of fuel for each record of a call.
    pub fuel_per_record: Option<u64>,
    /// Units of fuel for `init`.
    pub fuel_init: Option<u64>,
    /// Time that one call may take. Guards against a stuck plugin; decides no output silently.
    pub deadline: Option<Duration>,
    /// Bytes of linear memory.
    pub memory: Option<u64>,
    /// Elements of all tables together.
    pub tables: Option<u64>,
    /// Bytes that one call may return.
    pub output_bytes: Option<u64>,
    /// State changes of one call.
    pub mutations: Option<u64>,
    /// Log lines of one call; further ones are counted and dropped.
    pub log_lines: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SinkSpec {
    /// Unique in the pipeline; in journal, metrics and object names.
    pub name: String,
    pub from: Upstream,
    /// Columns that are written; `None`: all that flow here.
    pub columns: Option<Vec<String>>,
    pub kind: SinkKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// A folder with one object for each epoch, published atomically.
    Files { path: PathBuf, format: SinkFormat },
    /// At least once.
    Stdout { format: SinkFormat },
    /// Counts and digests rows, and keeps none.
    Blackhole,
    /// A topic; the rows of an epoch and the epoch's number in one transaction.
    Kafka(KafkaSinkSpec),
    /// A table; the rows of an epoch and the epoch's number in one transaction.
    Postgres(PostgresSinkSpec),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KafkaSinkSpec {
    #[serde(skip)]
    pub connection: crate::source::KafkaConnection,
    pub topic: String,
    pub format: SinkFormat,
    /// The column that is the record's key: text or bytes as they are, other types as JSON writes them. `None`: no key.
    pub key: Option<String>,
    /// Headers by name, each from a column; a null value gives no header.
    pub headers: BTreeMap<String, String>,
    /// Value, key and headers of a row together; larger rows are rejected. `None` in plans of before it was there: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_bytes_max: Option<u64>,
    /// Whether each epoch announces the shard's watermark in every partition: somebody behind a repartition topic needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub announces: bool,
    /// After this time without progress the broker gives a transaction up.
    #[serde(skip)]
    pub transaction_timeout: Duration,
}

/// Default of `row_bytes_max`: what a topic takes unless it was told otherwise (1 MiB), less what frames a row.
pub const ROW_BYTES_DEFAULT: u64 = 1_000_000;
/// The largest value of `row_bytes_max`: a row is held in memory several times.
pub const ROW_BYTES_MAX: u64 = 256 << 20;

/// Default of `transaction_timeout`; the broker's own limit is 15 minutes.
pub const TRANSACTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostgresSinkSpec {
    #[serde(skip)]
    pub url: DatabaseUrl,
    /// `table` or `schema.table`.
    pub table: String,
    /// Columns of the primary key that the user chose: the last row of each key wins. Empty: every row is kept, under
    /// (source, partition, offset, index) of the record that caused it.
    pub key: Vec<String>,
    /// True: the table is made when it is not there.
    #[serde(skip)]
    pub create_table: bool,
}

impl SinkKind {
    /// The word of the pipeline file; also the sink's name, where it has none.
    pub fn word(&self) -> &'static str {
        match self {
            SinkKind::Files { .. } => "files",
            SinkKind::Stdout { .. } => "stdout",
            SinkKind::Blackhole => "blackhole",
            SinkKind::Kafka(_) => "kafka",
            SinkKind::Postgres(_) => "postgres",
        }
    }

    /// Whether somebody behind it follows the shard's watermark.
    pub fn announces(&self) -> bool {
        matches!(self, SinkKind::Kafka(KafkaSinkSpec { announces: true, .. }))
    }

    /// Whether it is the topic of a repartition step.
    pub fn is_repartition(&self) -> bool {
        matches!(self, SinkKind::Kafka(KafkaSinkSpec { format: SinkFormat::Rows, .. }))
    }

    /// Columns that are needed besides the written ones: keys and headers.
    pub fn reads(&self) -> Vec<&str> {
        match self {
            SinkKind::Kafka(kafka) => kafka.key.iter().chain(kafka.headers.values()).map(String::as_str).collect(),
            SinkKind::Postgres(postgres) => postgres.key.iter().map(String::as_str).collect(),
            SinkKind::Files { .. } | SinkKind::Stdout { .. } | SinkKind::Blackhole => Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// One object on each line.
    #[default]
    Json,
    /// With a header row.
    Csv,
    /// The bytes of the single column, each followed by a line feed.
    Raw,
    /// As the source behind a repartition step reads them (`columns::carried`). No pipeline file says it.
    Rows,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointSpec {
    pub store: StoreUrl,
    /// The user accepts that a local folder dies with its machine.
    pub ephemeral: bool,
    /// Re-execution that a recovery may have to do: decides when a checkpoint is made.
    pub replay_debt: Duration,
    /// Checkpoints that are kept; at least 1.
    pub keep: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A local folder, as written after `file://`.
    File(PathBuf),
    /// The whole URL: `s3://bucket/prefix`.
    S3(String),
}

/// When an epoch closes: whichever comes first. Decides no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSpec {
    pub max_records: u64,
    pub max_bytes: u64,
    pub max_delay: Duration,
    pub max_timers: u64,
}

impl Default for EpochSpec {
    fn default() -> EpochSpec {
        EpochSpec {
            max_records: EPOCH_RECORDS_DEFAULT,
            max_bytes: EPOCH_BYTES_DEFAULT,
            max_delay: EPOCH_DELAY_DEFAULT,
            max_timers: EPOCH_TIMERS_DEFAULT,
        }
    }
}

/// How keyed state is kept on this machine. Decides no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// Memory of the store of a shard, bytes: half for blocks of its files, half for changes not yet in a file.
    pub memory: u64,
}

impl Default for StateSpec {
    fn default() -> StateSpec {
        StateSpec { memory: STATE_MEMORY_DEFAULT }
    }
}

/// How the input is divided among shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharding {
    /// One shard has all of the input.
    #[default]
    One,
    /// Shard n has partition n of every topic.
    ByPartition,
}

/// What processes that share the shards of a pipeline agree upon. Decides no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Silence after which the others get a worker's shards.
    pub session_timeout: Duration,
}

impl Default for WorkerSpec {
    fn default() -> WorkerSpec {
        WorkerSpec { session_timeout: SESSION_TIMEOUT_DEFAULT }
    }
}

/// How exactly a difference found by a replay can be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayDetail {
    /// To a block of 64 rows.
    #[default]
    Block,
    /// To the row.
    Row,
}

/// Where each part of the pipeline file is written.
#[derive(Clone, Debug)]
pub struct Spots {
    file: PathBuf,
    text: Arc<str>,
    spans: BTreeMap<String, Range<usize>>,
}

impl Spots {
    pub fn new(file: impl Into<PathBuf>, text: Arc<str>) -> Spots {
        Spots { file: file.into(), text, spans: BTreeMap::new() }
    }

    /// The same places under other paths: `name` gives the new one of each, or none.
    pub fn renamed(&self, name: impl Fn(&str) -> Option<String>) -> Spots {
        let spans = self.spans.iter().filter_map(|(path, span)| Some((name(path)?, span.clone()))).collect();
        Spots { file: self.file.clone(), text: Arc::clone(&self.text), spans }
    }

    pub fn insert(&mut self, path: String, span: Range<usize>) {
        self.spans.insert(path, span);
    }

    /// True when the path is written in the file.
    pub fn has(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    /// The place of a path such as `steps[0].key`, or of the nearest part around it.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        let span = loop {
            if let Some(span) = self.spans.get(path) {
                break span.clone();
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => break 0..0,
            }
        };
        Place { file: self.file.clone(), text: Arc::clone(&self.text), span }
    }
}
