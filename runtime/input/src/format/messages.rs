//! Messages of a broker: each value is one record, and beside it stand key, topic, partition, offset, timestamp and
//! headers.
//!
//! Owns: the way from messages to a `Chunk`; the columns named `kafka.…`.
//! Does not own: fetching (`segno-kafka`), the verdict on a value (`json`, `csv`, `raw`).
//!
//! Invariants: one message is one record, good or bad. The verdict on its value comes first, that on what stands beside
//! it second. A plan that reads nothing beside the value pays nothing for it.

use super::csv::{Csv, RowParser};
use super::json::JsonValues;
use super::json::scan::PADDING;
use super::plan::Plan;
use super::raw::RAW_COLUMN;
use super::rows::{Fields, Rows, internal};
use super::value::Value;
use super::{Window, not_utf8, too_long};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::source::{BAD_BYTES_MAX, Bad, Chunk, FormatSpec, ReadPlan};
use segno_core::{Code, Error, Result};
use std::sync::Arc;

/// Columns of this prefix stand beside the value.
const BESIDE: &str = "kafka.";
const HEADERS: &str = "kafka.headers.";
const NAMES: [&str; 5] = ["kafka.key", "kafka.topic", "kafka.partition", "kafka.offset", "kafka.timestamp"];

/// Messages of one partition on their way into a chunk.
pub struct Messages {
    values: Rows,
    format: Format,
    record_bytes_max: usize,
    /// The values, each followed by a line feed.
    buf: Vec<u8>,
    /// Where each value stands in `buf`.
    places: Vec<(u32, u32)>,
    offsets: Vec<u64>,
    /// Messages without a value, by their number.
    without: Vec<u32>,
    beside: Option<Beside>,
    schema: arrow_schema::SchemaRef,
    /// For each column of the plan: whether it stands beside the value, and its place there or in the values.
    order: Vec<(bool, usize)>,
}

enum Format {
    Json(Box<JsonValues>),
    Csv(Box<Csv>),
    Raw { as_text: bool, nullable: bool },
}

/// What stands beside the values.
struct Beside {
    rows: Rows,
    topic: String,
    partition: u64,
    kinds: Vec<Kind>,
    headers: Vec<String>,
    wants_key: bool,
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

impl Messages {
    /// `topic` and `partition` are what the columns of these names say.
    pub fn new(plan: &ReadPlan, format: &FormatSpec, record_bytes_max: usize, topic: &str, partition: u32) -> Result<Messages> {
        let is_beside = |name: &str| name.starts_with(BESIDE);
        let part = |beside: bool| ReadPlan {
            columns: plan.columns.iter().filter(|column| is_beside(&column.name) == beside).cloned().collect(),
            time: plan.time.clone().filter(|time| is_beside(&time.name) == beside),
        };
        let values = Rows::new(Arc::new(Plan::new(&part(false))?));
        let format = match format {
            FormatSpec::Json => Format::Json(Box::new(JsonValues::new(&values, record_bytes_max))),
            FormatSpec::Csv { header: Some(names), delimiter } => {
                let parser = RowParser::new(*delimiter, record_bytes_max);
                Format::Csv(Box::new(Csv::new(&values, parser, topic, Some(names))?))
            }
            FormatSpec::Raw => {
                if let Some(field) = values.plan.fields.iter().find(|field| *field != RAW_COLUMN) {
                    return Err(Error::new(Code::SourceColumn, format!("raw messages of {topic} have no column `{field}`"))
                        .with_help(format!("The columns of the format raw are `{RAW_COLUMN}` and those beside the value.")));
                }
                let columns = &values.plan.columns;
                Format::Raw {
                    as_text: columns.iter().any(|column| column.column.ty != ColumnType::Binary) || values.plan.time.is_some(),
                    nullable: columns.iter().all(|column| column.column.nullable) && values.plan.time.is_none(),
                }
            }
            FormatSpec::Csv { header: None, .. } | FormatSpec::Parquet => {
                return Err(Error::new(Code::SourceSetting, format!("{topic}: messages cannot have this format"))
                    .with_help("use json, raw, or csv with the names of its columns"));
            }
        };
        let places = |beside: bool| plan.columns.iter().filter(move |column| is_beside(&column.name) == beside);
        let order = plan.columns.iter().map(|column| {
            let beside = is_beside(&column.name);
            (beside, places(beside).position(|one| one.name == column.name).unwrap_or(0))
        });
        let order = order.collect();
        let needed = part(true);
        let beside = match needed.columns.is_empty() && needed.time.is_none() {
            true => None,
            false => Some(Beside::new(&needed, topic, partition)?),
        };
        let schema = Schema::new(plan.columns.clone()).to_arrow();
        Ok(Messages {
            values,
            format,
            record_bytes_max,
            buf: Vec::new(),
            places: Vec::new(),
            offsets: Vec::new(),
            without: Vec::new(),
            beside,
            schema,
            order,
        })
    }

    /// Names of the headers to give with each message; `None`: nothing beside the value is read.
    pub fn wants(&self) -> Option<&[String]> {
        self.beside.as_ref().map(|beside| beside.headers.as_slice())
    }

    pub fn wants_key(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.wants_key)
    }

    /// Takes a message; offsets ascend. `None`: it has no value.
    #[inline]
    pub fn push(&mut self, offset: u64, value: Option<&[u8]>) {
        let start = self.buf.len() as u32;
        match value {
            Some(value) => self.buf.extend_from_slice(value),
            None => self.without.push(self.offsets.len() as u32),
        }
        self.places.push((start, self.buf.len() as u32));
        self.buf.push(b'\n');
        self.offsets.push(offset);
    }

    /// What stands beside the message pushed last, when the plan wants it.
    pub fn push_beside<'a>(
        &mut self,
        timestamp_ms: Option<i64>,
        key: Option<&'a [u8]>,
        headers: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        if let Some(beside) = &mut self.beside {
            beside.timestamps.push(timestamp_ms);
            for piece in std::iter::once(key).chain(headers) {
                let start = beside.bytes.len();
                beside.pieces.push(piece.map(|piece| {
                    beside.bytes.extend_from_slice(piece);
                    (start, beside.bytes.len())
                }));
            }
        }
    }

    pub fn records(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes of the values taken since the last chunk.
    pub fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// Decodes what was taken; `start..end` is the range of offsets that it came from.
    pub fn finish(&mut self, partition: u32, start: u64, end: u64) -> Result<Chunk> {
        let len = self.buf.len();
        self.buf.resize(len + PADDING, b'\n');
        self.decode(len);
        let capacity = self.buf.len();
        let raw = Bytes::from(std::mem::replace(&mut self.buf, Vec::with_capacity(capacity))).slice(..len);
        let mut chunk = self.values.finish(partition, start, end, Some(raw))?;
        // Decoding counted in places of the buffer.
        let mut numbers = self.numbers(&chunk.offsets);
        for (offset, &number) in chunk.offsets.iter_mut().zip(&numbers) {
            *offset = self.offsets[number as usize];
        }
        let bad: Vec<u64> = chunk.bad.iter().map(|bad| bad.offset).collect();
        for (bad, number) in chunk.bad.iter_mut().zip(self.numbers(&bad)) {
            bad.offset = self.offsets[number as usize];
        }
        if let Some(raw) = &mut chunk.raw {
            raw.offsets_are_bytes = false;
        }
        if let Some(beside) = &mut self.beside {
            beside.complete(&mut chunk, &mut numbers, &self.schema, &self.order)?;
            beside.clear();
        }
        self.places.clear();
        self.offsets.clear();
        self.without.clear();
        Ok(chunk)
    }

    /// The numbers of the messages at ascending places of the buffer.
    fn numbers(&self, places: &[u64]) -> Vec<u32> {
        if places.len() == self.places.len() {
            return (0..places.len() as u32).collect();
        }
        let mut number = 0;
        let find = |&place: &u64| {
            while u64::from(self.places[number as usize].0) < place {
                number += 1;
            }
            number
        };
        places.iter().map(find).collect()
    }

    fn decode(&mut self, len: usize) {
        let Messages { values, format, record_bytes_max, buf, places, without, .. } = self;
        let window = Window { buf, len, base: 0, last: true };
        match format {
            Format::Json(json) => {
                let mut from = 0;
                for &number in without.iter() {
                    json.decode(&window, &places[from..number as usize], values);
                    values.push_bad(u64::from(places[number as usize].0), no_value(), b"");
                    from = number as usize + 1;
                }
                json.decode(&window, &places[from..], values);
            }
            Format::Csv(csv) => each(places, without, |place @ (start, end), has_value| match has_value {
                true => csv.one(&window, start, end, values),
                false => values.push_bad(place.0 as u64, no_value(), b""),
            }),
            Format::Raw { as_text, nullable } => each(places, without, |(start, end), has_value| {
                let (offset, bytes) = (start as u64, &buf[start..end]);
                if !has_value && !*nullable {
                    values.push_bad(offset, no_value(), b"");
                } else if bytes.len() > *record_bytes_max {
                    values.push_bad(offset, too_long(*record_bytes_max), bytes);
                } else if *as_text && simdutf8::basic::from_utf8(bytes).is_err() {
                    values.push_bad(offset, not_utf8(bytes), bytes);
                } else if let Err(flaw) =
                    values.push(&Whole(has_value.then_some(bytes)), offset, (start as u32, end as u32))
                {
                    values.push_bad(offset, flaw, bytes);
                }
            }),
        }
    }
}

fn each(places: &[(u32, u32)], without: &[u32], mut message: impl FnMut((usize, usize), bool)) {
    let mut without = without.iter().peekable();
    for (number, &(start, end)) in (0..).zip(places) {
        let has_value = without.next_if(|&&next| next == number).is_none();
        message((start as usize, end as usize), has_value);
    }
}

#[cold]
fn no_value() -> (Code, String) {
    (Code::RecordWithoutValue, "the message has no value (it is a tombstone)".to_owned())
}

/// A raw value.
struct Whole<'a>(Option<&'a [u8]>);

impl Fields for Whole<'_> {
    fn value(&self, _field: usize) -> Value<'_> {
        self.0.map_or(Value::Null, Value::Loose)
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}

impl Beside {
    fn new(plan: &ReadPlan, topic: &str, partition: u32) -> Result<Beside> {
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
        let wants_key = kinds.iter().any(|kind| matches!(kind, Kind::Key { .. }));
        Ok(Beside {
            rows,
            topic: topic.to_owned(),
            partition: u64::from(partition),
            kinds,
            headers,
            wants_key,
            timestamps: Vec::new(),
            pieces: Vec::new(),
            bytes: Vec::new(),
        })
    }

    fn clear(&mut self) {
        self.timestamps.clear();
        self.pieces.clear();
        self.bytes.clear();
    }

    /// Key (0) or header (from 1) of a message.
    fn piece(&self, number: usize, piece: usize) -> Option<&[u8]> {
        let (start, end) = self.pieces.get(number * (1 + self.headers.len()) + piece).copied().flatten()?;
        Some(&self.bytes[start..end])
    }

    /// Puts the columns that stand beside the value into a chunk of values. `numbers` are those of its good messages.
    fn complete(
        &mut self,
        chunk: &mut Chunk,
        numbers: &mut Vec<u32>,
        schema: &arrow_schema::SchemaRef,
        order: &[(bool, usize)],
    ) -> Result<()> {
        let mut rows = std::mem::replace(&mut self.rows, Rows::new(Arc::new(Plan { fields: Vec::new(), columns: Vec::new(), time: None })));
        let mut kept = Vec::with_capacity(numbers.len());
        let mut refused = Vec::new();
        for (row, &number) in numbers.iter().enumerate() {
            let message = Message { beside: self, number: number as usize, offset: chunk.offsets[row] };
            let flaw = match message.not_text() {
                Some(bytes) => Some(not_utf8(bytes)),
                None => rows.push(&message, message.offset, (0, 0)).err(),
            };
            kept.push(flaw.is_none());
            refused.extend(flaw.map(|flaw| (row, flaw)));
        }
        let beside = rows.finish(chunk.partition, chunk.start, chunk.end, None)?;
        self.rows = rows;
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
