//! Messages of a broker: each value is one record, and beside it stand key, topic, partition, offset, timestamp and
//! headers.
//!
//! Owns: the way from messages to a `Chunk`. Does not own: the columns named `kafka.…` (`beside`), fetching
//! (`segno-kafka`), the verdict on a value (`json`, `csv`, `raw`).
//!
//! Invariants: one message is one record, good or bad. The verdict on its value comes first, that on what stands beside
//! it second. A plan that reads nothing beside the value pays nothing for it.

mod beside;
mod carried;

use super::csv::{Csv, RowParser};
use super::json::JsonValues;
use super::json::scan::PADDING;
use super::plan::Plan;
use super::raw::RAW_COLUMN;
use super::rows::{Fields, Rows};
use super::value::Value;
use super::{Window, not_utf8, too_long};
use beside::{Beside, is_beside};
use carried::Rows as CarriedRows;
use bytes::Bytes;
use segno_core::columns::{ColumnType, Schema};
use segno_core::source::{Chunk, FormatSpec, ReadPlan};
use segno_core::{Code, Error, Result};
use std::sync::Arc;

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
    Rows(CarriedRows),
}

impl Messages {
    /// `topic` and `partition` are what the columns of these names say. `keys_over`: each record must be in the partition
    /// of its key, of so many; the plan then reads the key.
    pub fn new(
        plan: &ReadPlan,
        format: &FormatSpec,
        record_bytes_max: usize,
        (topic, partition): (&str, u32),
        keys_over: Option<u32>,
    ) -> Result<Messages> {
        // Rows hold whatever flowed in front of them, the original record's key among it.
        let is_beside = |name: &str| is_beside(name) && !matches!(format, FormatSpec::Rows { .. });
        let part = |beside: bool| ReadPlan {
            columns: plan.columns.iter().filter(|column| is_beside(&column.name) == beside).cloned().collect(),
            time: plan.time.clone().filter(|time| is_beside(&time.name) == beside),
        };
        let values = Rows::new(Arc::new(Plan::new(&part(false))?));
        let decoded = match format {
            FormatSpec::Json => Format::Json(Box::new(JsonValues::new(&values, record_bytes_max))),
            FormatSpec::Csv { header: Some(names), delimiter } => {
                let parser = RowParser::new(*delimiter, record_bytes_max);
                Format::Csv(Box::new(Csv::new(&values, parser, topic, Some(names))?))
            }
            FormatSpec::Rows { columns } => Format::Rows(CarriedRows::new(columns, &values)?),
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
            false => Some(Beside::new(&needed, topic, partition, keys_over)?),
        };
        let schema = Schema::new(plan.columns.clone()).to_arrow();
        Ok(Messages {
            values,
            format: decoded,
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
        self.beside.as_ref().map(Beside::headers)
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
            beside.push(timestamp_ms, std::iter::once(key).chain(headers));
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
        // A dead letter of rows shows their columns, which people can read.
        let raw = Some(raw).filter(|_| !matches!(self.format, Format::Rows(_)));
        let mut chunk = self.values.finish(partition, start, end, raw)?;
        // Decoding counted in places of the buffer.
        let numbers = self.numbers(&chunk.offsets);
        for (offset, &number) in chunk.offsets.iter_mut().zip(&numbers) {
            *offset = self.offsets[number as usize];
        }
        let beside = chunk.bad.iter_mut().map(|bad| &mut bad.offset);
        self.place(beside.collect());
        self.place(chunk.announced.iter_mut().map(|announced| &mut announced.offset).collect());
        if let Some(raw) = &mut chunk.raw {
            raw.offsets_are_bytes = false;
        }
        if let Some(beside) = &mut self.beside {
            beside.complete(&mut chunk, &numbers, &self.schema, &self.order)?;
        }
        self.places.clear();
        self.offsets.clear();
        self.without.clear();
        Ok(chunk)
    }

    /// Makes ascending places of the buffer the offsets of their messages.
    fn place(&self, offsets: Vec<&mut u64>) {
        let places: Vec<u64> = offsets.iter().map(|offset| **offset).collect();
        for (offset, number) in offsets.into_iter().zip(self.numbers(&places)) {
            *offset = self.offsets[number as usize];
        }
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
            Format::Rows(rows) => each(places, without, |(start, end), has_value| {
                let bytes = if has_value { &buf[start..end] } else { b"" };
                rows.one(bytes, start as u64, values);
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

#[cfg(test)]
mod tests;
