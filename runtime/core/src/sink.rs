//! The contract of a sink: an epoch's rows are staged, the journal names what was staged, then it is published.
//!
//! Two ways lead to exactly once, and `take_over` says which one a sink goes:
//! - it stages durably before the journal entry, and publication only makes visible what was staged (files);
//! - it keeps its own high-water epoch, in the same atomic write as the rows (Kafka, PostgreSQL). Staging does nothing;
//!   after the journal entry the rows and the epoch's number are written in one transaction. After a crash the journal
//!   tells which epochs the sink lacks, and re-execution gives their rows again.
//!
//! Owns: what the epoch loop may ask of a sink.
//! Does not own: files, object stores (`segno-durable`), brokers (`segno-kafka`), databases (`segno-postgres`).
//!
//! Invariants: nothing of an epoch is visible to a reader before its journal entry exists. `publish` is idempotent, so
//! recovery may roll it forward any number of times. A writer of an older generation publishes nothing after
//! `take_over`.

use crate::Result;
use crate::columns::{Column, ColumnType, Schema};
use crate::persisted::StagedObject;
use crate::protocol::writers::Told;
use arrow_array::builder::{BooleanBuilder, StringBuilder, TimestampMicrosecondBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::sync::Arc;

/// The rows of one epoch for one sink, in their final order.
pub struct SinkRows<'a> {
    pub epoch: u64,
    pub schema: &'a Schema,
    pub batch: &'a RecordBatch,
    /// The first so many columns are the row; the others are keys and headers that are not part of it.
    pub written: usize,
    /// Where each row came from; given to sinks that want it (`Sink::wants_lineage`).
    pub lineage: Option<&'a Lineage>,
    /// How far event time is behind the epoch, where the epoch moved it; given to sinks that announce it (`Sink::announces`).
    pub told: Option<Told>,
}

/// Where rows came from: (source, partition, offset) of the record that caused each, and its place among the rows that
/// this record caused in this sink. Together they are a key: the same on every replay, never given twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Names of source and partition.
    pub partitions: Vec<(String, String)>,
    /// One per row.
    pub rows: Vec<RowOrigin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowOrigin {
    /// Index into `Lineage::partitions`.
    pub partition: u32,
    pub offset: u64,
    /// 0 for the first row that the record caused, 1 for the next, …
    pub index: u32,
    /// Event time of the record, µs since 1970 UTC, where it has one.
    pub time: Option<i64>,
}

/// Who writes: decided by the generation, named in what is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    pub tenant: String,
    pub pipeline: String,
    pub shard: String,
    pub generation: u64,
}

/// What a sink holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The journal tells: what it names is rolled forward from what was staged.
    AsStaged,
    /// The last epoch whose rows the sink holds, kept in the same atomic write as they are.
    Through(u64),
    /// The sink keeps its own mark, and has none: nothing was ever published here.
    Nothing,
}

pub trait Sink: Send {
    /// Its name in journal and metrics: unique in the pipeline.
    fn name(&self) -> &str;

    /// False for sinks that may repeat rows after a crash (stdout).
    fn exactly_once(&self) -> bool;

    /// True when `SinkRows::lineage` must be given.
    fn wants_lineage(&self) -> bool {
        false
    }

    /// True when `SinkRows::told` must be given, and an epoch without rows that has it must be published.
    fn announces(&self) -> bool {
        false
    }

    /// Fences every writer of an older generation, and tells what the sink holds. Called once, before anything else, by
    /// the owner of the shard, after the journal was fenced.
    fn take_over(&mut self, _owner: &Ownership) -> Result<Held> {
        Ok(Held::AsStaged)
    }

    /// Follows a `take_over` that found nothing, when the journal agrees: the sink starts after this epoch, and writes
    /// its mark. Until then it has none, so that a lost mark stays lost.
    fn start_after(&mut self, _epoch: u64) -> Result<()> {
        Ok(())
    }

    /// Makes the rows durable under unique names that no reader sees. Empty when there is nothing to publish, and for
    /// sinks that keep their own mark.
    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>>;

    /// Makes an epoch visible whose entry is in the journal: what was staged under its final names, or the rows and the
    /// epoch's number in one atomic write. At recovery called again for epochs that the sink may lack. Epochs that have
    /// nothing for the sink are left out, so a mark may be older than the last epoch.
    fn publish(&mut self, rows: &SinkRows<'_>, staged: &[StagedObject]) -> Result<()>;

    /// Removes what was staged by epochs that were never committed. Called after recovery, when this process owns
    /// the shard.
    fn discard_uncommitted(&mut self) -> Result<()>;

    /// The published bytes of an object, where the sink can be read back (`replay --verify` names fields with it).
    fn read_back(&self, _object: &StagedObject) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// The name of the dead-letter sink in journal and metrics.
pub const DEAD_LETTER_SINK: &str = "dlq";

/// A record that was rejected: where it came from, why, and its original bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub source: String,
    /// Name of the partition: a path.
    pub partition: String,
    pub offset: u64,
    /// Event time, µs since 1970 UTC, where the record has one.
    pub time: Option<i64>,
    /// The step that rejected it; `None`: it could not be decoded.
    pub step: Option<String>,
    pub code: String,
    pub reason: String,
    /// SHA-256 of the component that rejected it.
    pub component: Option<String>,
    /// The original bytes, at most `source::BAD_BYTES_MAX`; where a format keeps none, the decoded columns as JSON.
    pub value: Vec<u8>,
}

/// Names a record in logs, dead letters and Kafka headers: the same on every run and replay.
pub fn record_id(source: &str, partition: &str, offset: u64) -> String {
    format!("{source}/{partition}/{offset}")
}

/// The columns of dead letters. `value` holds the bytes when they are UTF-8 without NUL (which not every sink can store),
/// else `value_base64` does. They do not hold
/// the epoch: output does not depend on where epochs end (the name of the published object tells it).
pub fn dead_letter_schema() -> Schema {
    let text = |name: &str, nullable| Column::new(name, ColumnType::Utf8, nullable);
    Schema::new(vec![
        text("source", false),
        text("partition", false),
        Column::new("offset", ColumnType::U64, false),
        Column::new("time", ColumnType::Timestamp, true),
        text("step", true),
        text("code", false),
        text("reason", false),
        text("component", true),
        text("value", true),
        text("value_base64", true),
        Column::new("truncated", ColumnType::Bool, false),
    ])
}

/// Dead letters as rows of `dead_letter_schema`.
pub fn dead_letter_batch(letters: &[DeadLetter]) -> RecordBatch {
    let mut texts: [StringBuilder; 8] = std::array::from_fn(|_| StringBuilder::new());
    let [source, partition, step, code, reason, component, value, value_base64] = &mut texts;
    let mut offset = UInt64Builder::new();
    let mut time = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut truncated = BooleanBuilder::new();
    for letter in letters {
        source.append_value(&letter.source);
        partition.append_value(&letter.partition);
        offset.append_value(letter.offset);
        time.append_option(letter.time);
        step.append_option(letter.step.as_deref());
        code.append_value(&letter.code);
        reason.append_value(letter.reason.replace('\0', "\\0"));
        component.append_option(letter.component.as_deref());
        let text = std::str::from_utf8(&letter.value).ok().filter(|text| !text.contains('\0'));
        value.append_option(text);
        value_base64.append_option(text.is_none().then(|| BASE64.encode(&letter.value)));
        truncated.append_value(letter.value.len() >= crate::source::BAD_BYTES_MAX);
    }
    let [source, partition, step, code, reason, component, value, value_base64] =
        texts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
    let columns: Vec<ArrayRef> = vec![
        source,
        partition,
        Arc::new(offset.finish()),
        Arc::new(time.finish()),
        step,
        code,
        reason,
        component,
        value,
        value_base64,
        Arc::new(truncated.finish()),
    ];
    RecordBatch::try_new(dead_letter_schema().to_arrow(), columns).expect("columns as the schema says")
}
