//! What stands beside the value of a message: key, topic, partition, offset, timestamp, headers.
//!
//! Owns: the columns named `kafka.…`, and the verdict on them. Does not own: values (`messages`).
//!
//! Invariant: a key or a header that is read as text and is none makes its message bad, whatever its value says.

use crate::format::not_utf8;
use crate::format::plan::Plan;
use crate::format::rows::{Fields, Rows, internal};
use crate::format::value::Value;
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use segno_core::columns::{Column, ColumnType};
use segno_core::partitioner::partition_of;
use segno_core::source::{BAD_BYTES_MAX, Bad, Chunk, ReadPlan};
use segno_core::{Code, Error, Result};
use std::sync::Arc;

/// Columns of this prefix stand beside the value.
const BESIDE: &str = "kafka.";
const HEADERS: &str = "kafka.headers.";
const NAMES: [&str; 5] = ["kafka.key", "kafka.topic", "kafka.partition", "kafka.offset", "kafka.timestamp"];

pub(super) fn is_beside(name: &str) -> bool {
    name.starts_with(BESIDE)
}

/// What stands beside the values.
pub(super) struct Beside {
    rows: Rows,
    topic: String,
    partition: u64,
    /// Each key belongs to one of so many partitions, and must be there.
    keys_over: Option<u32>,
    kinds: Vec<Kind>,
    headers: Vec<String>,
    /// For each message: timestamp, and key and headers as places in `bytes`.
    timestamps: Vec<Option<i64>>,
    pieces: Vec<Option<(usize, usize)>>,
    bytes: Vec<u8>,
}

/// What a field of the plan is, and whether something reads it as text.
#[derive(Clone, Copy)]
enum Kind {
    Key { text: bool },
    Topic,
    Partition,
    Offset,
    Timestamp,
    Header { number: usize, text: bool },
}

impl Beside {
    pub fn new(plan: &ReadPlan, topic: &str, partition: u32, keys_over: Option<u32>) -> Result<Beside> {
        let rows = Rows::new(Arc::new(Plan::new(plan)?));
        let mut headers: Vec<String> = Vec::new();
        let mut kinds = Vec::new();
        for name in &rows.plan.fields {
            // Text is checked to be UTF-8 wherever a column or the event time wants more than bytes.
            let is_text = |column: &Column| column.name == *name && column.ty != ColumnType::Binary;
            let text = plan.columns.iter().any(is_text) || plan.time.as_ref().is_some_and(|time| time.name == *name);
            kinds.push(match (name.as_str(), name.strip_prefix(HEADERS)) {
                ("kafka.key", _) => Kind::Key { text },
                ("kafka.topic", _) => Kind::Topic,
                ("kafka.partition", _) => Kind::Partition,
                ("kafka.offset", _) => Kind::Offset,
                ("kafka.timestamp", _) => Kind::Timestamp,
                (_, Some(header)) if !header.is_empty() => {
                    headers.push(header.to_owned());
                    Kind::Header { number: headers.len() - 1, text }
                }
                _ => {
                    return Err(Error::new(Code::SourceColumn, format!("messages have no column `{name}`"))
                        .with_help(format!("Beside the value stand {} and {HEADERS}NAME.", NAMES.join(", "))));
                }
            });
        }
        Ok(Beside {
            rows,
            topic: topic.to_owned(),
            partition: u64::from(partition),
            keys_over,
            kinds,
            headers,
            timestamps: Vec::new(),
            pieces: Vec::new(),
            bytes: Vec::new(),
        })
    }

    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Takes what stands beside a message: its timestamp, then key and headers.
    pub fn push<'a>(&mut self, timestamp_ms: Option<i64>, pieces: impl Iterator<Item = Option<&'a [u8]>>) {
        self.timestamps.push(timestamp_ms);
        for piece in pieces {
            let start = self.bytes.len();
            self.pieces.push(piece.map(|piece| {
                self.bytes.extend_from_slice(piece);
                (start, self.bytes.len())
            }));
        }
    }

    /// Key (0) or header (from 1) of a message.
    fn piece(&self, number: usize, piece: usize) -> Option<&[u8]> {
        let (start, end) = self.pieces.get(number * (1 + self.headers.len()) + piece).copied().flatten()?;
        Some(&self.bytes[start..end])
    }

    /// What is wrong with the partition of a message, if anything is.
    fn misplaced(&self, number: usize) -> Option<(Code, String)> {
        let partitions = self.keys_over?;
        let reason = match self.piece(number, 0) {
            None => format!("the record has no key, so nothing says that it belongs to partition {}", self.partition),
            Some(key) => match partition_of(key, partitions) {
                wanted if u64::from(wanted) == self.partition => return None,
                wanted => format!(
                    "the record is in partition {} of {}, and its key belongs to partition {wanted} of {partitions} (murmur2)",
                    self.partition, self.topic
                ),
            },
        };
        Some((Code::RecordMisplaced, reason))
    }

    /// Puts the columns that stand beside the value into a chunk of values, and forgets what was pushed. `numbers` are
    /// those of its good messages.
    pub fn complete(
        &mut self,
        chunk: &mut Chunk,
        numbers: &[u32],
        schema: &arrow_schema::SchemaRef,
        order: &[(bool, usize)],
    ) -> Result<()> {
        let rows = Rows::new(Arc::clone(&self.rows.plan));
        let mut rows = std::mem::replace(&mut self.rows, rows);
        let mut kept = Vec::with_capacity(numbers.len());
        let mut refused = Vec::new();
        for (row, &number) in numbers.iter().enumerate() {
            let message = Message { beside: self, number: number as usize, offset: chunk.offsets[row] };
            let flaw = message.not_text().map(not_utf8);
            let flaw = flaw.or_else(|| self.misplaced(number as usize));
            let flaw = flaw.or_else(|| rows.push(&message, message.offset, (0, 0)).err());
            kept.push(flaw.is_none());
            refused.extend(flaw.map(|flaw| (row, flaw)));
        }
        let beside = rows.finish(chunk.partition, chunk.start, chunk.end, None)?;
        self.rows = rows;
        self.timestamps.clear();
        self.pieces.clear();
        self.bytes.clear();
        if !refused.is_empty() {
            refuse(chunk, &kept, refused)?;
        }
        if !beside.times.is_empty() {
            chunk.times = beside.times;
        }
        let column = |&(is_beside, place): &(bool, usize)| -> ArrayRef {
            let batch = if is_beside { &beside.columns } else { &chunk.columns };
            batch.column(place).clone()
        };
        let columns = order.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.offsets.len()));
        chunk.columns = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(internal)?;
        Ok(())
    }
}

/// Moves good records of a chunk to its bad ones.
#[cold]
fn refuse(chunk: &mut Chunk, kept: &[bool], refused: Vec<(usize, (Code, String))>) -> Result<()> {
    for (row, (code, reason)) in refused {
        let bytes = match &chunk.raw {
            Some(raw) => {
                let (start, end) = raw.rows[row];
                Bytes::copy_from_slice(&raw.bytes[start as usize..(end as usize).min(start as usize + BAD_BYTES_MAX)])
            }
            None => Bytes::new(),
        };
        chunk.bad.push(Bad { offset: chunk.offsets[row], before_row: 0, code, reason, bytes });
    }
    let mask = BooleanArray::from(kept.to_vec());
    chunk.columns = match chunk.columns.num_columns() {
        0 => {
            let options = RecordBatchOptions::new().with_row_count(Some(mask.true_count()));
            RecordBatch::try_new_with_options(chunk.columns.schema(), Vec::new(), &options).map_err(internal)?
        }
        _ => filter_record_batch(&chunk.columns, &mask).map_err(internal)?,
    };
    fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
        let mut kept = kept.iter();
        values.retain(|_| kept.next().copied().unwrap_or(true));
    }
    keep(&mut chunk.times, kept);
    keep(&mut chunk.offsets, kept);
    if let Some(raw) = &mut chunk.raw {
        keep(&mut raw.rows, kept);
    }
    chunk.bad.sort_by_key(|bad| bad.offset);
    for bad in &mut chunk.bad {
        bad.before_row = chunk.offsets.partition_point(|&offset| offset < bad.offset) as u32;
    }
    Ok(())
}

struct Message<'a> {
    beside: &'a Beside,
    number: usize,
    offset: u64,
}

impl Message<'_> {
    /// A key or a header that is read as text and is none.
    fn not_text(&self) -> Option<&[u8]> {
        let wanted = self.beside.kinds.iter().filter_map(|kind| match *kind {
            Kind::Key { text: true } => self.beside.piece(self.number, 0),
            Kind::Header { number, text: true } => self.beside.piece(self.number, 1 + number),
            _ => None,
        });
        wanted.into_iter().find(|bytes| simdutf8::basic::from_utf8(bytes).is_err())
    }

    fn bytes(&self, piece: usize, text: bool) -> Value<'_> {
        match self.beside.piece(self.number, piece) {
            None => Value::Null,
            // Loose: a key such as 17 may stand for a number.
            Some(bytes) if text => Value::Loose(bytes),
            Some(bytes) => Value::Bytes(bytes),
        }
    }
}

impl Fields for Message<'_> {
    fn value(&self, field: usize) -> Value<'_> {
        match self.beside.kinds[field] {
            Kind::Key { text } => self.bytes(0, text),
            Kind::Header { number, text } => self.bytes(1 + number, text),
            Kind::Topic => Value::Text(self.beside.topic.as_bytes()),
            Kind::Partition => Value::Unsigned(self.beside.partition),
            Kind::Offset => Value::Unsigned(self.offset),
            Kind::Timestamp => match self.beside.timestamps.get(self.number).copied().flatten() {
                Some(ms) => ms.checked_mul(1_000).map_or(Value::FarTime, Value::Micros),
                None => Value::Null,
            },
        }
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}
