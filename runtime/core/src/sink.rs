//! The contract of a sink: an epoch's rows are staged, the journal names what was staged, then it is published.
//!
//! Owns: what the epoch loop may ask of a sink.
//! Does not own: files, object stores (`segno-durable`), databases.
//!
//! Invariants: nothing staged is visible to a reader before `publish`. `publish` is idempotent, so recovery may
//! roll it forward any number of times. Names of published objects are a function of (sink, shard, epoch).

use crate::Result;
use crate::columns::{Column, ColumnType, Schema};
use crate::persisted::StagedObject;
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
}

pub trait Sink: Send {
    /// Its name in journal and metrics: unique in the pipeline.
    fn name(&self) -> &str;

    /// False for sinks that may repeat rows after a crash (stdout).
    fn exactly_once(&self) -> bool;

    /// Makes the rows durable under unique names that no reader sees. Empty when there is nothing to publish.
    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>>;

    /// Makes staged objects visible under their final names; at recovery called again for epochs whose record is in
    /// the journal.
    fn publish(&mut self, staged: &[StagedObject]) -> Result<()>;

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

/// The columns of dead letters. `value` holds the bytes when they are UTF-8, else `value_base64` does. They do not hold
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
        reason.append_value(&letter.reason);
        component.append_option(letter.component.as_deref());
        let text = std::str::from_utf8(&letter.value).ok();
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
