//! An epoch's rows as records of a topic: value, key, headers, timestamp, partition.
//!
//! Owns: what of a row goes where; dead letters with the header names of Kafka Connect; announcements behind the rows.
//! Does not own: formats of values (`segno_core::columns`), sending (`producer`).
//!
//! Invariant: a function of the rows, their lineage and the number of partitions, so a replay gives the same records.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use segno_core::partitioner::partition_of;
use segno_core::columns::carried::{Writer, write_announcement};
use segno_core::columns::csv::write_csv_row;
use segno_core::columns::json::{write_json_lines, write_plain};
use segno_core::columns::schema::column_type;
use segno_core::columns::ColumnType;
use segno_core::pipeline::{KafkaSinkSpec, SinkFormat};
use segno_core::protocol::writers::Announcement;
use segno_core::sink::{DEAD_LETTER_SINK, Ownership, RowOrigin, SinkRows};
use segno_core::{Code, Error, Result};
use std::io::Write;

/// The record that caused a row, in a header of each: `source/partition/offset/index`.
pub(crate) const ORIGIN: &str = "segno-origin";

/// A dead letter that is not whole has it.
pub(crate) const TRUNCATED: &str = "segno-truncated";

/// Whose dead letter it is, beside the pipeline's name: several pipelines may share a topic.
pub(crate) const TENANT: &str = "segno-tenant";

/// The epoch in which a dead letter was rejected.
pub(crate) const EPOCH: &str = "segno-epoch";

/// A row on its way into a topic.
pub(crate) struct Record<'a> {
    pub value: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    /// Value of the header `ORIGIN`; an announcement has none.
    pub origin: Option<&'a [u8]>,
    /// The other headers.
    pub headers: &'a [(String, Vec<u8>)],
    /// ms since 1970 UTC.
    pub timestamp: Option<i64>,
    pub partition: i32,
}

/// The rows of an epoch, ready to be sent.
pub(crate) struct Records<'a> {
    rows: &'a SinkRows<'a>,
    values: Vec<u8>,
    /// Ends of the values in `values`; `None`: no value.
    ends: Vec<Option<usize>>,
    key: Option<usize>,
    headers: Vec<(String, usize)>,
    letters: bool,
    /// Rows without a key go where an empty key goes, and not where rows of their origin go.
    nulls_meet: bool,
    /// Dead letters are cut to it; other rows were compared with it before the journal named them.
    limit: Option<usize>,
    partitions: u32,
    /// Behind the rows, in every partition.
    announcement: Option<Vec<u8>>,
}

/// A character of text as JSON has at most so many bytes for each of its own (`\u0000`); base64 has fewer.
const JSON_BYTES_PER_BYTE: usize = 6;
/// Any other value has fewer bytes, with its quotes and commas.
const VALUE_BYTES_MAX: usize = 64;

/// Rows that are larger than the sink takes, each with its bytes: value, key and headers without `segno-origin`.
///
/// A function of the rows and the plan, so that a replay rejects the same rows.
pub fn oversized(spec: &KafkaSinkSpec, rows: &SinkRows<'_>) -> Result<Vec<(usize, usize)>> {
    let Some(limit) = spec.row_bytes_max.and_then(|limit| usize::try_from(limit).ok()) else { return Ok(Vec::new()) };
    // Nearly always no row can be too large, and nothing has to be encoded to know that.
    if (2 + spec.headers.len()) * bytes_at_most(rows.batch) <= limit {
        return Ok(Vec::new());
    }
    let records = Records::new("", spec, 1, rows)?;
    let mut found = Vec::new();
    records.each(&Ownership::default(), |row, record| {
        let headers = record.headers.iter().filter(|(name, _)| name != ORIGIN);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len) + headers;
        if bytes > limit {
            found.push((row, bytes));
        }
        Ok::<(), Error>(())
    })?;
    Ok(found)
}

/// More than any row of a batch has, encoded once in whatever format.
fn bytes_at_most(batch: &RecordBatch) -> usize {
    let mut bytes = 0;
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let longest = match column_type(array.data_type()) {
            Some(ColumnType::Utf8) => array.as_string::<i32>().offsets().lengths().max(),
            Some(ColumnType::Binary) => array.as_binary::<i32>().offsets().lengths().max(),
            _ => None,
        };
        bytes += JSON_BYTES_PER_BYTE * (field.name().len() + longest.unwrap_or(0)) + VALUE_BYTES_MAX;
    }
    bytes
}

impl<'a> Records<'a> {
    pub fn new(name: &str, spec: &KafkaSinkSpec, partitions: u32, rows: &'a SinkRows<'a>) -> Result<Records<'a>> {
        let letters = name == DEAD_LETTER_SINK;
        let column = |name: &String| {
            rows.schema
                .index_of(name)
                .ok_or_else(|| Error::new(Code::Internal, format!("column {name} did not come to the sink")))
        };
        let mut records = Records {
            rows,
            values: Vec::new(),
            ends: Vec::with_capacity(rows.batch.num_rows()),
            key: spec.key.as_ref().filter(|_| !letters).map(column).transpose()?,
            headers: Vec::new(),
            letters,
            nulls_meet: false,
            limit: spec.row_bytes_max.and_then(|limit| usize::try_from(limit).ok()),
            partitions,
            announcement: None,
        };
        if letters {
            records.letter_values();
            return Ok(records);
        }
        for (header, name) in &spec.headers {
            records.headers.push((header.clone(), column(name)?));
        }
        if spec.format == SinkFormat::Rows {
            records.carried()?;
            return Ok(records);
        }
        let written: Vec<usize> = (0..rows.written).collect();
        let written = rows.batch.project(&written).map_err(|error| {
            Error::new(Code::Internal, "the columns of a sink cannot be cut").with_cause(error)
        })?;
        records.encode(&written, spec.format)?;
        Ok(records)
    }

    /// With what the epoch announces to whoever follows writer `writer` of `writers`.
    pub fn announced_by(self, writer: u32, writers: u32) -> Records<'a> {
        let announcement = self.rows.told.map(|told| write_announcement(Announcement { writer, writers, told }));
        Records { announcement, ..self }
    }

    /// Rows as the stage behind reads them, each with its event time.
    fn carried(&mut self) -> Result<()> {
        let rows = self.rows;
        self.nulls_meet = true;
        let written: Vec<usize> = (0..rows.written).collect();
        let batch = rows.batch.project(&written).map_err(|error| {
            Error::new(Code::Internal, "the columns of a repartition step cannot be cut").with_cause(error)
        })?;
        let writer = Writer::new(&rows.schema.columns[..rows.written], &batch);
        for row in 0..batch.num_rows() {
            let time = self.origin(row).and_then(|(_, origin)| origin.time);
            writer.write(&mut self.values, row, time);
            self.values.push(b'\n');
            self.ends.push(Some(self.values.len()));
        }
        Ok(())
    }

    fn encode(&mut self, written: &RecordBatch, format: SinkFormat) -> Result<()> {
        let Records { values, ends, .. } = self;
        match format {
            SinkFormat::Json => {
                write_json_lines(values, written);
                // Text is escaped, so a line feed stands only behind an object. It is no part of the value.
                ends.extend(values.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| Some(at + 1)));
            }
            SinkFormat::Csv => {
                for row in 0..written.num_rows() {
                    write_csv_row(values, written, row);
                    values.push(b'\n');
                    ends.push(Some(values.len()));
                }
            }
            SinkFormat::Rows => {}
            SinkFormat::Raw => {
                let [array] = written.columns() else {
                    return Err(Error::new(Code::RawColumns, "format raw writes one column, and the sink has several"));
                };
                for row in 0..written.num_rows() {
                    ends.push(array.is_valid(row).then(|| {
                        plain(values, array, row);
                        values.push(b'\n');
                        values.len()
                    }));
                }
            }
        }
        Ok(())
    }

    /// The original bytes of dead letters.
    fn letter_values(&mut self) {
        for row in 0..self.rows.batch.num_rows() {
            if let Some(text) = self.text("value", row) {
                self.values.extend_from_slice(text.as_bytes());
            } else if let Some(bytes) = self.text("value_base64", row).and_then(|text| BASE64.decode(text).ok()) {
                self.values.extend_from_slice(&bytes);
            }
            self.values.push(b'\n');
            self.ends.push(Some(self.values.len()));
        }
    }

    fn text(&self, column: &str, row: usize) -> Option<&'a str> {
        let array = self.rows.batch.column_by_name(column)?.as_string_opt::<i32>()?;
        array.is_valid(row).then(|| array.value(row))
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn origin(&self, row: usize) -> Option<(&'a (String, String), RowOrigin)> {
        let lineage = self.rows.lineage?;
        let origin = *lineage.rows.get(row)?;
        Some((lineage.partitions.get(origin.partition as usize)?, origin))
    }

    /// Where a row came from, for its header and for errors.
    pub fn origin_text(&self, row: usize) -> String {
        match self.origin(row) {
            Some(((source, partition), origin)) => format!("{source}/{partition}/{}/{}", origin.offset, origin.index),
            None => format!("row {row}"),
        }
    }

    /// The row with the largest value, and its bytes.
    pub fn largest(&self) -> Option<(usize, usize)> {
        let mut start = 0;
        let sizes = self.ends.iter().enumerate().filter_map(|(row, end)| {
            let end = (*end)?;
            Some((row, end - 1 - std::mem::replace(&mut start, end)))
        });
        sizes.max_by_key(|&(_, bytes)| bytes)
    }

    /// Calls `send` for each row, then for the announcements.
    pub fn each<E>(&self, owner: &Ownership, mut send: impl FnMut(usize, Record<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut start = 0;
        let mut key = Vec::new();
        let mut headers = Vec::new();
        let mut text = Vec::new();
        let places = self.places();
        for (row, end) in self.ends.iter().enumerate() {
            let mut value = end.map(|end| &self.values[std::mem::replace(&mut start, end)..end - 1]);
            key.clear();
            headers.clear();
            let origin = self.origin(row);
            let has_key = self.key.is_some_and(|column| {
                let array = self.rows.batch.column(column);
                array.is_valid(row) && {
                    plain(&mut key, array, row);
                    true
                }
            });
            for (header, column) in &self.headers {
                let array = self.rows.batch.column(*column);
                if array.is_valid(row) {
                    let mut value = Vec::new();
                    plain(&mut value, array, row);
                    headers.push((header.clone(), value));
                }
            }
            text.clear();
            match origin {
                Some((_, origin)) => {
                    text.extend_from_slice(&places[origin.partition as usize].0);
                    // Memory takes what is written.
                    let _ = write!(text, "{}/{}", origin.offset, origin.index);
                }
                None => text.extend_from_slice(self.origin_text(row).as_bytes()),
            }
            if self.letters {
                self.letter_headers(row, owner, &mut headers);
                let others: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                let beside = ORIGIN.len() + text.len() + others;
                let room = self.limit.map_or(usize::MAX, |limit| limit.saturating_sub(beside));
                if let Some(whole) = value.filter(|value| value.len() > room) {
                    value = Some(&whole[..room]);
                    headers.push((TRUNCATED.to_owned(), b"true".to_vec()));
                }
            }
            let partition = match (has_key, origin) {
                (true, _) => partition_of(&key, self.partitions) as i32,
                (false, _) if self.nulls_meet => partition_of(b"", self.partitions) as i32,
                // Rows of one partition keep their order, and a replay puts them where they were.
                (false, Some((_, origin))) => places[origin.partition as usize].1,
                (false, None) => 0,
            };
            let timestamp = origin.and_then(|(_, origin)| origin.time).map(|micros| micros.div_euclid(1_000));
            let timestamp = timestamp.filter(|&ms| ms >= 0);
            let key = has_key.then_some(key.as_slice());
            send(row, Record { value, key, origin: Some(&text), headers: &headers, timestamp, partition })?;
        }
        for partition in 0..self.announcement.as_ref().map_or(0, |_| self.partitions as i32) {
            let value = self.announcement.as_deref();
            send(self.len(), Record { value, key: None, origin: None, headers: &[], timestamp: None, partition })?;
        }
        Ok(())
    }

    /// For each partition that rows come from: the beginning of their origin, and where rows without a key go.
    fn places(&self) -> Vec<(Vec<u8>, i32)> {
        let partitions = self.rows.lineage.map_or(&[][..], |lineage| &lineage.partitions);
        let place = |(source, partition): &(String, String)| {
            let mut text = format!("{source}/{partition}");
            let target = partition_of(text.as_bytes(), self.partitions) as i32;
            text.push('/');
            (text.into_bytes(), target)
        };
        partitions.iter().map(place).collect()
    }

    /// The names are those of Kafka Connect, so that its tools find their way.
    fn letter_headers(&self, row: usize, owner: &Ownership, headers: &mut Vec<(String, Vec<u8>)>) {
        let mut put = |name: &str, value: &str| headers.push((name.to_owned(), value.as_bytes().to_vec()));
        let step = self.text("step", row);
        let code = self.text("code", row).unwrap_or_default();
        if let Some(((source, partition), origin)) = self.origin(row) {
            let (topic, number) = match partition.rsplit_once('/') {
                Some((topic, number)) if number.parse::<u32>().is_ok() => (topic, number),
                _ => (partition.as_str(), "0"),
            };
            put("__connect.errors.topic", topic);
            put("__connect.errors.partition", number);
            put("__connect.errors.offset", &origin.offset.to_string());
            put("segno-source", source);
        }
        put("__connect.errors.connector.name", &owner.pipeline);
        put(TENANT, &owner.tenant);
        put("__connect.errors.task.id", &owner.shard);
        put("__connect.errors.stage", if step.is_some() { "TRANSFORMATION" } else { "VALUE_CONVERTER" });
        put("__connect.errors.class.name", step.unwrap_or("segno"));
        put("__connect.errors.exception.class.name", code);
        put("__connect.errors.exception.message", self.text("reason", row).unwrap_or_default());
        put("segno-code", code);
        put(EPOCH, &self.rows.epoch.to_string());
        if let Some(step) = step {
            put("segno-step", step);
        }
        if let Some(component) = self.text("component", row) {
            put("segno-component", component);
        }
        let truncated = self.rows.batch.column_by_name("truncated").and_then(|array| array.as_boolean_opt());
        if truncated.is_some_and(|truncated| truncated.value(row)) {
            put(TRUNCATED, "true");
        }
    }
}

/// Text and bytes as they are, other types as JSON writes them.
fn plain(out: &mut Vec<u8>, array: &arrow_array::ArrayRef, row: usize) {
    match column_type(array.data_type()) {
        Some(ColumnType::Utf8) => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        Some(ColumnType::Binary) => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        Some(ty) => write_plain(out, ty, array, row),
        // Columns of the host have no other types.
        None => drop(out.write_all(b"")),
    }
}
