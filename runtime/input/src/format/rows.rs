//! The growing columns of a chunk.
//!
//! Owns: the values of good records, the bad ones, and their finish as Arrow arrays in canonical form.
//! Does not own: finding the values (`json`, `csv`, …), nor their conversion (`value`, `time`).
//!
//! Invariants: all columns are equally long after every record, good or bad. A null slot holds zero, or no bytes.

use super::plan::Plan;
use super::time::to_date;
use super::value::{
    Problem, Value, is_text, to_bool, to_decimal, to_f64, to_i64, to_i128, unescape,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use segno_core::columns::{ColumnType, Schema};
use segno_core::protocol::writers::Announcement;
use segno_core::source::{Announced, BAD_BYTES_MAX, Bad, Chunk, Raw};
use segno_core::{Code, Error, Result};
use std::sync::Arc;

/// What a format knows of one record.
pub(crate) trait Fields {
    /// The value of a field of the plan.
    fn value(&self, field: usize) -> Value<'_>;

    /// For a missing field: what stands, in the way of its path, where an object should be.
    fn blocked(&self, field: usize) -> Option<(&str, Value<'_>)>;
}

pub(crate) struct Rows {
    pub plan: Arc<Plan>,
    schema: SchemaRef,
    columns: Vec<Column>,
    times: Vec<i64>,
    offsets: Vec<u64>,
    spans: Vec<(u32, u32)>,
    bad: Vec<Bad>,
    announced: Vec<Announced>,
}

impl Rows {
    pub fn new(plan: Arc<Plan>) -> Rows {
        let schema = Schema::new(plan.columns.iter().map(|c| c.column.clone()).collect());
        let columns = plan.columns.iter().map(|c| Column::new(c.column.ty)).collect();
        Rows {
            plan,
            schema: schema.to_arrow(),
            columns,
            times: Vec::new(),
            offsets: Vec::new(),
            spans: Vec::new(),
            bad: Vec::new(),
            announced: Vec::new(),
        }
    }

    /// Good and bad records.
    #[inline]
    pub fn records(&self) -> usize {
        self.offsets.len() + self.bad.len()
    }

    /// Takes a record, or returns why it is bad; then nothing of it is left behind.
    #[inline(always)]
    pub fn push(&mut self, fields: &impl Fields, offset: u64, span: (u32, u32)) -> Result<(), (Code, String)> {
        let Rows { plan, columns, times, .. } = self;
        let mut problem = None;
        for (at, (column, builder)) in plan.columns.iter().zip(&mut *columns).enumerate() {
            let value = fields.value(column.field);
            let outcome = match value {
                Value::Missing | Value::Null | Value::Empty => {
                    null(column.column.nullable, column.column.ty, value, builder)
                }
                _ => builder.push(&value, &column.parser),
            };
            if let Err(found) = outcome {
                problem = Some((Some(at), found));
                break;
            }
            if value == Value::Missing && fields.blocked(column.field).is_some() {
                problem = Some((Some(at), Problem::Missing));
                break;
            }
        }
        if problem.is_none()
            && let Some(time) = &plan.time
        {
            let micros = match (time.column.map(|at| &columns[at]), fields.value(time.field)) {
                (_, Value::Missing) => Err(Problem::Missing),
                (_, Value::Null | Value::Empty) => Err(Problem::Null),
                (Some(Column { values: Values::Timestamp(values), .. }), _) => {
                    values.last().copied().ok_or(Problem::Missing)
                }
                (_, value) => time.parser.micros(&value),
            };
            match micros {
                Ok(micros) => times.push(micros),
                Err(found) => problem = Some((None, found)),
            }
        }
        match problem {
            None => {
                self.offsets.push(offset);
                self.spans.push(span);
                Ok(())
            }
            Some((column, problem)) => Err(self.take_back(fields, column, problem)),
        }
    }

    #[cold]
    fn take_back(&mut self, fields: &impl Fields, column: Option<usize>, problem: Problem) -> (Code, String) {
        let rows = self.offsets.len();
        for builder in &mut self.columns {
            builder.truncate(rows);
        }
        let field = match column {
            Some(at) => self.plan.columns[at].field,
            None => self.plan.time.as_ref().map_or(0, |time| time.field),
        };
        let value = fields.value(field);
        if value == Value::Missing
            && let Some((parent, found)) = fields.blocked(field)
        {
            return self.plan.blocked(field, parent, &found);
        }
        self.plan.flaw(column, problem, &value)
    }

    #[cold]
    pub fn push_bad(&mut self, offset: u64, (code, reason): (Code, String), bytes: &[u8]) {
        self.bad.push(Bad {
            offset,
            before_row: self.offsets.len() as u32,
            code,
            reason,
            // Copied: a slice would keep a whole block alive for one bad record.
            bytes: Bytes::copy_from_slice(&bytes[..bytes.len().min(BAD_BYTES_MAX)]),
        });
    }

    pub fn push_announced(&mut self, offset: u64, announcement: Announcement) {
        self.announced.push(Announced { offset, before_row: self.offsets.len() as u32, announcement });
    }

    /// The chunk, leaving this empty. `raw` is the range's bytes, where they are kept.
    pub fn finish(&mut self, partition: u32, start: u64, end: u64, raw: Option<Bytes>) -> Result<Chunk> {
        let rows = self.offsets.len();
        let arrays: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .zip(&self.plan.columns)
            .map(|(builder, column)| builder.finish(column.column.ty))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(internal)?;
        let take = |spans: &mut Vec<(u32, u32)>| std::mem::replace(spans, Vec::with_capacity(rows));
        let spans = take(&mut self.spans);
        Ok(Chunk {
            partition,
            columns,
            times: std::mem::replace(&mut self.times, Vec::with_capacity(rows)),
            offsets: std::mem::replace(&mut self.offsets, Vec::with_capacity(rows)),
            bad: std::mem::take(&mut self.bad),
            announced: std::mem::take(&mut self.announced),
            raw: raw.map(|bytes| Raw { bytes, rows: spans, offsets_are_bytes: true }),
            start,
            end,
        })
    }
}

/// Only a fault of this crate makes arrays and schema disagree; it stops the pipeline instead of the process.
pub(crate) fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::new(Code::SourceFormat, "decoded columns do not fit together; this is a fault of Segno").with_cause(error)
}

#[inline]
fn null(nullable: bool, ty: ColumnType, value: Value<'_>, builder: &mut Column) -> Result<(), Problem> {
    if nullable {
        builder.push_null();
        return Ok(());
    }
    match value {
        Value::Empty if is_text(ty) => {
            builder.push_bytes(b"");
            Ok(())
        }
        Value::Missing => Err(Problem::Missing),
        _ => Err(Problem::Null),
    }
}

pub(crate) struct Column {
    values: Values,
    /// Empty as long as no value is null.
    valid: Vec<bool>,
}

enum Values {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F64(Vec<f64>),
    /// Ends of the values in `data`.
    Bytes { ends: Vec<i32>, data: Vec<u8> },
    I128(Vec<i128>, u8, i8),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
}

impl Column {
    pub fn new(ty: ColumnType) -> Column {
        let values = match ty {
            ColumnType::Bool => Values::Bool(Vec::new()),
            ColumnType::I32 => Values::I32(Vec::new()),
            ColumnType::U32 => Values::U32(Vec::new()),
            ColumnType::I64 => Values::I64(Vec::new()),
            ColumnType::U64 => Values::U64(Vec::new()),
            ColumnType::F64 => Values::F64(Vec::new()),
            ColumnType::Utf8 | ColumnType::Binary => Values::Bytes { ends: Vec::new(), data: Vec::new() },
            ColumnType::Timestamp => Values::Timestamp(Vec::new()),
            ColumnType::Date => Values::Date(Vec::new()),
            ColumnType::Decimal128 { precision, scale } => Values::I128(Vec::new(), precision, scale),
        };
        Column { values, valid: Vec::new() }
    }

    #[inline(always)]
    fn push(&mut self, value: &Value<'_>, parser: &super::time::TimeParser) -> Result<(), Problem> {
        match &mut self.values {
            Values::I64(values) => values.push(to_i64(value)?),
            Values::Bytes { ends, data } => {
                match value {
                    Value::Text(text) | Value::Loose(text) | Value::Bytes(text) => data.extend_from_slice(text),
                    Value::Escaped(body) => unescape(body, data),
                    _ => return Err(Problem::WrongType),
                }
                ends.push(data.len() as i32);
            }
            Values::F64(values) => values.push(to_f64(value)?),
            Values::I32(values) => values.push(narrow(to_i64(value)?)?),
            Values::U32(values) => values.push(narrow(to_i64(value)?)?),
            Values::U64(values) => values.push(u64::try_from(to_i128(value)?).map_err(|_| Problem::NotHeld)?),
            Values::Bool(values) => values.push(to_bool(value)?),
            Values::Timestamp(values) => values.push(parser.micros(value)?),
            Values::Date(values) => values.push(to_date(parser, value)?),
            Values::I128(values, precision, scale) => values.push(to_decimal(value, *precision, *scale)?),
        }
        if !self.valid.is_empty() {
            self.valid.push(true);
        }
        Ok(())
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if let Values::Bytes { ends, data } = &mut self.values {
            data.extend_from_slice(bytes);
            ends.push(data.len() as i32);
            if !self.valid.is_empty() {
                self.valid.push(true);
            }
        }
    }

    fn push_null(&mut self) {
        if self.valid.is_empty() {
            self.valid.resize(self.len(), true);
        }
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::I32(values) | Values::Date(values) => values.push(0),
            Values::U32(values) => values.push(0),
            Values::I64(values) | Values::Timestamp(values) => values.push(0),
            Values::U64(values) => values.push(0),
            Values::F64(values) => values.push(0.0),
            Values::Bytes { ends, data } => ends.push(data.len() as i32),
            Values::I128(values, ..) => values.push(0),
        }
        self.valid.push(false);
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Bool(values) => values.len(),
            Values::I32(values) | Values::Date(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::I64(values) | Values::Timestamp(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Bytes { ends, .. } => ends.len(),
            Values::I128(values, ..) => values.len(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::I32(values) | Values::Date(values) => values.truncate(rows),
            Values::U32(values) => values.truncate(rows),
            Values::I64(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::U64(values) => values.truncate(rows),
            Values::F64(values) => values.truncate(rows),
            Values::Bytes { ends, data } => {
                ends.truncate(rows);
                data.truncate(ends.last().map_or(0, |&end| end as usize));
            }
            Values::I128(values, ..) => values.truncate(rows),
        }
        self.valid.truncate(rows);
        if self.valid.iter().all(|&valid| valid) {
            // So that the null buffer's presence does not tell of a record that was taken back.
            self.valid.clear();
        }
    }

    fn finish(&mut self, ty: ColumnType) -> ArrayRef {
        let nulls = match self.valid.is_empty() {
            true => None,
            false => Some(NullBuffer::from(std::mem::take(&mut self.valid))),
        };
        fn all<T>(values: &mut Vec<T>) -> Vec<T> {
            let next = Vec::with_capacity(values.len());
            std::mem::replace(values, next)
        }
        match &mut self.values {
            Values::Bool(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(all(values)), nulls)),
            Values::I32(values) => Arc::new(Int32Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::U32(values) => Arc::new(UInt32Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::I64(values) => Arc::new(Int64Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::U64(values) => Arc::new(UInt64Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::F64(values) => Arc::new(Float64Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::Date(values) => Arc::new(Date32Array::new(ScalarBuffer::from(all(values)), nulls)),
            Values::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::new(ScalarBuffer::from(all(values)), nulls).with_timezone("UTC"),
            ),
            Values::I128(values, precision, scale) => {
                let array = Decimal128Array::new(ScalarBuffer::from(all(values)), nulls);
                // Precision and scale were checked when the column was declared; values fit the precision.
                match array.clone().with_precision_and_scale(*precision, *scale) {
                    Ok(array) => Arc::new(array),
                    Err(_) => Arc::new(array),
                }
            }
            Values::Bytes { ends, data } => {
                let mut offsets = Vec::with_capacity(ends.len() + 1);
                offsets.push(0);
                offsets.extend_from_slice(ends);
                ends.clear();
                // SAFETY: the ends are lengths of a vector that only grew, in order.
                let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets)) };
                let data = arrow_buffer::Buffer::from_vec(all(data));
                if ty == ColumnType::Binary {
                    return Arc::new(BinaryArray::new(offsets, data, nulls));
                }
                // SAFETY: every text value was checked to be UTF-8 with its record, and escapes resolve to UTF-8.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, data, nulls) })
            }
        }
    }
}

fn narrow<T: TryFrom<i64>>(wide: i64) -> Result<T, Problem> {
    T::try_from(wide).map_err(|_| Problem::NotHeld)
}
