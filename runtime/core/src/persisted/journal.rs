//! Journal entries of a shard: one object each, numbered without gaps, each made by conditional create.
//!
//! Invariants: an entry names the digest of the entry before it (a chain). Two entries never hash alike, because each
//! carries its writer and a nonce.

use crate::protocol::writers::{Activity, Writers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the entry format.
pub const JOURNAL_VERSION: u32 = 1;

/// One numbered journal object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub version: u32,
    /// Number of the entry in the journal, from 1.
    pub sequence: u64,
    /// Digest of the previous entry's bytes (SHA-256, hex); of nothing for the first.
    pub previous: String,
    pub author: Author,
    pub body: JournalBody,
}

/// Who wrote an authority object. The nonce makes every body unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub generation: u64,
    /// Host name and process id, for people.
    pub writer: String,
    /// 16 random bytes, hex.
    pub nonce: String,
}

impl std::fmt::Display for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (generation {})", self.writer, self.generation)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalBody {
    /// A new generation took the shard: entries of older generations cannot follow.
    Fence(Fence),
    Epoch(Box<EpochRecord>),
    /// A change of components, configuration or graph, at an epoch boundary with a checkpoint.
    Change(Change),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fence {
    pub generation: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The last epoch before the change; a checkpoint of it exists.
    pub after_epoch: u64,
    pub before: Identity,
    pub after: Identity,
    /// What the user accepted, in words.
    pub accepted: Vec<String>,
}

/// Everything but the input that decides output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// SHA-256 of each step's component, by step id.
    pub components: BTreeMap<String, String>,
    /// SHA-256 of the resolved pipeline (sources, graph, step configuration, side tables), archived under it.
    pub configuration: String,
    /// Host parts that can change an answer: engine, decoders, key encoding, merge.
    pub engine: String,
    /// Side tables that come from databases. `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableVersions>,
}

/// Which rows of databases a pipeline works with: data, not a part of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVersions {
    /// SHA-256 of the resolved pipeline without their rows: where it is the same, `configuration` differs in rows only.
    pub program: String,
    /// By `step.table`.
    pub versions: BTreeMap<String, TableVersion>,
}

/// The rows of one table, as they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVersion {
    /// SHA-256 of the rows as `init` gets them.
    pub sha256: String,
    pub rows: u64,
    /// When they were read, ms since 1970 UTC, by the database's clock: processes that read the same database compare it.
    pub read_at_ms: i64,
}

/// A closed epoch: what was read, decided and written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1, without gaps.
    pub epoch: u64,
    pub identity: Identity,
    /// Where the epoch starts and ends.
    pub from: Position,
    pub to: Position,
    /// Partitions held idle through the epoch: (source, partition).
    pub idle: Vec<(u32, u32)>,
    /// When the epoch was cut, ms since 1970 UTC. With processing time it never goes back, and is the event time of the
    /// epoch's records: the only clock a plugin may ever see.
    pub logical_time_ms: i64,
    /// Watermark before and after, µs since 1970 UTC.
    pub watermark_in: Option<i64>,
    pub watermark_out: Option<i64>,
    /// Rows a call gets at most.
    pub batch_rows: u32,
    /// Lanes of each step.
    pub lanes: BTreeMap<String, u32>,
    pub facts: Facts,
    pub digests: Digests,
    pub counts: Counts,
    /// Where the windows of the steps' expectations stand after the epoch, in the order of (step, over).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect_windows: Vec<ExpectWindow>,
    /// What each sink staged, by sink name; published after this record exists.
    pub outputs: BTreeMap<String, Vec<StagedObject>>,
    /// The sidecar object with block or row digests; empty when it holds nothing.
    pub detail: Option<DetailRef>,
}

/// The window of a step's input that an expectation looks at, as far as it is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectWindow {
    pub step: String,
    /// Records of a whole window.
    pub over: u64,
    /// Records of this window so far, and how many of them the step rejected.
    pub records: u64,
    pub rejects: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<FirstReject>,
}

/// The first rejected record of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstReject {
    pub source: String,
    /// Name of the partition.
    pub partition: String,
    pub offset: u64,
    pub code: String,
    pub reason: String,
}

/// A position of a shard in its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub partitions: Vec<PartitionPosition>,
    /// The last timer that fired, when the epoch ends inside a burst of timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer_cursor: Option<TimerCursor>,
    /// What whoever follows this shard's watermark was told of its partitions.
    #[serde(default, skip_serializing_if = "Activity::is_active")]
    pub activity: Activity,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    pub source: u32,
    pub partition: u32,
    /// The partition's name when it was first seen.
    pub name: String,
    /// Offset of the next record.
    pub offset: u64,
    /// The source's fingerprint of what lies before the offset, hex.
    pub mark: String,
    /// Largest event time seen, µs; `None` before the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_max: Option<i64>,
    /// What its writers announced before the offset, in a repartition topic.
    #[serde(default, skip_serializing_if = "Writers::is_empty")]
    pub writers: Writers,
}

/// The last timer that fired of an instant that is not over: the instant is the watermark + 1 µs. Steps before this one have
/// passed through it, steps behind have not. A timer is identified by (time, key, timer), in the order in which timers fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerCursor {
    pub step: String,
    pub time: i64,
    /// Key bytes, hex.
    pub key: String,
    pub timer: u32,
}

/// Decisions that do not follow from the input logs. Applied, not decided again, on replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Lanes in which a call failed: the exact calls that were made and what was rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lane_scripts: Vec<LaneScript>,
    /// Partitions that appeared at this epoch's start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_partitions: Vec<(u32, u32)>,
    /// Records that were gone before they were read, and that the user gave up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostRange>,
    /// Dead letters that the epoch put through the pipeline again. It reads nothing else and moves no position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<Redrive>,
    /// Facts from outside (schema ids, versions of side inputs), by kind; each kind has its own version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<ExternalFact>,
}

/// The dead letters of one step that an epoch put through the pipeline again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The step that rejected them, and at which they enter; `None`: they could not be decoded, and enter at the source.
    pub step: Option<String>,
    pub partitions: Vec<RedrivenPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivenPartition {
    pub source: u32,
    pub partition: u32,
    /// In the order of offsets.
    pub letters: Vec<RedrivenLetter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedrivenLetter {
    /// Offset of the record.
    pub offset: u64,
    /// The epoch in which it was rejected.
    pub epoch: u64,
    /// How many rows of the record the step rejected then.
    pub letters: u32,
}

/// Offsets of a partition that no epoch read: from one before which everything was read to the first that was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    pub source: u32,
    pub partition: u32,
    pub from: u64,
    /// The first offset that is read again.
    pub to: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalFact {
    pub kind: String,
    pub version: u32,
    pub value: serde_json::Value,
}

/// The calls of one lane of one step in one epoch, where they were not simply "every `batch_rows` rows".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneScript {
    pub step: String,
    pub lane: u32,
    pub calls: Vec<ScriptedCall>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScriptedCall {
    /// Rows and due timers of the lane that this call takes, following the call before.
    pub rows: u32,
    /// True when the call was made on a fresh instance.
    pub fresh: bool,
    /// Set when the rows (always one) were rejected without a call on replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Verdict>,
}

/// Why a record was rejected after a failing call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub code: String,
    pub reason: String,
}

/// Digests over canonical values, hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// XXH3-128 of the bytes read, per (source, partition) with records in the epoch.
    pub input: Vec<InputDigest>,
    /// BLAKE3 of each sink's rows, by sink name.
    pub output: BTreeMap<String, String>,
    /// BLAKE3 of each keyed step's changes (key, table, value), in key order, by step id.
    pub state: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDigest {
    pub source: u32,
    pub partition: u32,
    pub digest: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read, good and bad.
    pub records: u64,
    pub bytes: u64,
    /// Rows written, by sink name (the dead-letter sink is `dlq`).
    pub rows_out: BTreeMap<String, u64>,
    /// Sinks in which the watermark was announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<String>,
    pub dead_letters: u64,
    pub skipped: u64,
    /// Records that each step rejected, whatever became of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u64>,
    /// Offsets that were given up before this epoch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Timers that fired, by step id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timers: BTreeMap<String, u64>,
    /// Fuel used, by step id. Never compared on replay across engines.
    pub fuel: BTreeMap<String, u64>,
    /// Counters of plugins: `step.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}

/// An object that a sink staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedObject {
    /// Where it was staged, relative to the sink's root.
    pub staged: String,
    /// Its final name, relative to the sink's root.
    pub target: String,
    pub sha256: String,
    pub bytes: u64,
    pub rows: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailRef {
    pub object: String,
    pub sha256: String,
    pub bytes: u64,
}
