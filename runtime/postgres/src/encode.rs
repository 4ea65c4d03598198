//! Rows as `COPY … WITH (FORMAT binary)` reads them, and which row of each key is kept.
//!
//! Owns: the bytes of every column type. Does not own: SQL types (`table`), sending (`sink`).
//!
//! Invariants: every value is stored exactly or refused with the place where its row came from. The same rows give the
//! same bytes.

use crate::table::Table;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use bytes::{BufMut, BytesMut};
use segno_core::columns::{ColumnType, Schema};
use segno_core::sink::{Lineage, SinkRows};
use segno_core::{Code, Error, Result};
use std::collections::HashSet;

/// Opens a stream of rows: signature, flags, no header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Ends it.
pub const TRAILER: i16 = -1;

/// PostgreSQL counts from 2000-01-01; Segno from 1970-01-01.
const EPOCH_SHIFT_DAYS: i32 = 10_957;
const EPOCH_SHIFT_US: i64 = EPOCH_SHIFT_DAYS as i64 * 86_400_000_000;
/// 4713-11-24 BC until before 294277-01-01, µs since 2000: what timestamptz holds.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// 4713-11-24 BC until before 5874898-01-01, days since 2000: what date holds.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

const NULL: i32 = -1;

enum Values<'a> {
    Bool(&'a BooleanArray),
    I32(&'a Int32Array),
    U32(&'a UInt32Array),
    I64(&'a Int64Array),
    U64(&'a UInt64Array),
    F64(&'a Float64Array),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
    Decimal(&'a Decimal128Array, i8),
}

struct Cells<'a> {
    name: &'a str,
    array: &'a dyn Array,
    values: Values<'a>,
}

/// Columns of a batch, ready to be written row by row.
pub struct Rows<'a> {
    columns: Vec<Cells<'a>>,
    /// Given where it is written, and where messages can name it.
    lineage: Option<&'a Lineage>,
    with_lineage: bool,
}

impl<'a> Rows<'a> {
    pub fn new(rows: &SinkRows<'a>, table: &Table) -> Result<Rows<'a>> {
        let columns = rows.schema.columns.iter().enumerate().map(|(at, column)| {
            let array = rows.batch.column(at).as_ref();
            let values = values(array, column.ty).ok_or_else(|| {
                let found = array.data_type();
                Error::new(Code::Internal, format!("column \"{}\" is {found} where {} was said", column.name, column.ty))
            })?;
            Ok(Cells { name: &column.name, array, values })
        });
        let with_lineage = table.by_lineage();
        if with_lineage && rows.lineage.is_none_or(|lineage| lineage.rows.len() != rows.batch.num_rows()) {
            return Err(Error::new(Code::Internal, "rows for a table came without their lineage"));
        }
        Ok(Rows { columns: columns.collect::<Result<_>>()?, lineage: rows.lineage, with_lineage })
    }

    /// Appends one row.
    pub fn write(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        let lineage = self.lineage.filter(|_| self.with_lineage);
        out.put_i16((self.columns.len() + if lineage.is_some() { 4 } else { 0 }) as i16);
        for cells in &self.columns {
            if cells.array.is_null(row) {
                out.put_i32(NULL);
            } else {
                cells.values.write(row, out).map_err(|reason| self.refused(cells.name, row, reason))?;
            }
        }
        if let Some(lineage) = lineage {
            let origin = &lineage.rows[row];
            let (source, partition) = &lineage.partitions[origin.partition as usize];
            for text in [source, partition] {
                write_text(text.as_bytes(), out).map_err(|reason| self.refused("segno_partition", row, reason))?;
            }
            let offset = i64::try_from(origin.offset)
                .map_err(|_| self.refused("segno_offset", row, "an offset beyond what bigint holds"))?;
            for number in [offset, i64::from(origin.index)] {
                write_i64(number, out);
            }
        }
        Ok(())
    }

    /// Names the column and the record that caused the row.
    fn refused(&self, column: &str, row: usize, reason: &str) -> Error {
        let origin = self.lineage.and_then(|lineage| {
            let origin = lineage.rows.get(row)?;
            let (source, partition) = lineage.partitions.get(origin.partition as usize)?;
            Some(format!(", caused by {source} {partition} at offset {}", origin.offset))
        });
        let origin = origin.unwrap_or_default();
        Error::new(Code::RowRefused, format!("row {row}{origin}: column \"{column}\" holds {reason}"))
            .with_help("nothing of this epoch was committed; reject such rows in a step, or write the column as binary")
    }
}

fn values(array: &dyn Array, ty: ColumnType) -> Option<Values<'_>> {
    Some(match ty {
        ColumnType::Bool => Values::Bool(array.as_boolean_opt()?),
        ColumnType::I32 => Values::I32(array.as_primitive_opt::<Int32Type>()?),
        ColumnType::U32 => Values::U32(array.as_primitive_opt::<UInt32Type>()?),
        ColumnType::I64 => Values::I64(array.as_primitive_opt::<Int64Type>()?),
        ColumnType::U64 => Values::U64(array.as_primitive_opt::<UInt64Type>()?),
        ColumnType::F64 => Values::F64(array.as_primitive_opt::<Float64Type>()?),
        ColumnType::Utf8 => Values::Utf8(array.as_string_opt::<i32>()?),
        ColumnType::Binary => Values::Binary(array.as_binary_opt::<i32>()?),
        ColumnType::Timestamp => Values::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?),
        ColumnType::Date => Values::Date(array.as_primitive_opt::<Date32Type>()?),
        ColumnType::Decimal128 { scale, .. } => Values::Decimal(array.as_primitive_opt::<Decimal128Type>()?, scale),
    })
}

impl Values<'_> {
    fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), &'static str> {
        match self {
            Values::Bool(array) => {
                out.put_i32(1);
                out.put_u8(u8::from(array.value(row)));
            }
            Values::I32(array) => {
                out.put_i32(4);
                out.put_i32(array.value(row));
            }
            Values::U32(array) => write_i64(i64::from(array.value(row)), out),
            Values::I64(array) => write_i64(array.value(row), out),
            Values::U64(array) => write_numeric(i128::from(array.value(row)), 0, out),
            Values::F64(array) => {
                out.put_i32(8);
                out.put_f64(array.value(row));
            }
            Values::Utf8(array) => write_text(array.value(row).as_bytes(), out)?,
            Values::Binary(array) => write_bytes(array.value(row), out)?,
            Values::Timestamp(array) => {
                let time = array.value(row).checked_sub(EPOCH_SHIFT_US).filter(|time| TIMESTAMPS.contains(time));
                write_i64(time.ok_or("a time outside the range of timestamptz")?, out);
            }
            Values::Date(array) => {
                let day = array.value(row).checked_sub(EPOCH_SHIFT_DAYS).filter(|day| DATES.contains(day));
                out.put_i32(4);
                out.put_i32(day.ok_or("a day outside the range of date")?);
            }
            Values::Decimal(array, scale) => write_numeric(array.value(row), *scale, out),
        }
        Ok(())
    }
}

fn write_i64(value: i64, out: &mut BytesMut) {
    out.put_i32(8);
    out.put_i64(value);
}

fn write_bytes(bytes: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
    out.put_i32(i32::try_from(bytes.len()).map_err(|_| "more bytes than a field can hold")?);
    out.put_slice(bytes);
    Ok(())
}

fn write_text(text: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
    if text.contains(&0) {
        return Err("a NUL character, which PostgreSQL cannot store in text");
    }
    write_bytes(text, out)
}

/// `value × 10^-scale` as groups of four decimal digits around the decimal point.
fn write_numeric(value: i128, scale: i8, out: &mut BytesMut) {
    const POSITIVE: u16 = 0;
    const NEGATIVE: u16 = 0x4000;
    // At most 39 digits and a shift of up to three.
    let mut groups = [0u16; 12];
    // Digits after the point must fill whole groups; a negative scale appends zeros before it.
    let (after, mut shift) = match scale {
        0.. => ((scale as usize).div_ceil(4), (4 - scale as u32 % 4) % 4),
        _ => (0, 0),
    };
    let zeros = if scale < 0 { scale.unsigned_abs() as usize } else { 0 };
    let mut rest = value.unsigned_abs();
    let mut count = 0;
    let mut skipped = 0;
    if zeros > 0 {
        shift = (zeros % 4) as u32;
        skipped = zeros / 4;
    }
    // The first group takes 4 - shift digits, so that no multiplication can overflow.
    if rest > 0 {
        let split = 10u128.pow(4 - shift);
        groups[0] = (rest % split) as u16 * 10u16.pow(shift);
        rest /= split;
        count = 1;
        while rest > 0 {
            groups[count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
    }
    // Stored most significant first; zeros at the end are left out.
    let trimmed = groups[..count].iter().take_while(|&&group| group == 0).count();
    let digits = &groups[trimmed..count];
    let weight = count as i32 - 1 - after as i32 + skipped as i32;
    out.put_i32(8 + 2 * digits.len() as i32);
    out.put_i16(digits.len() as i16);
    out.put_i16(if digits.is_empty() { 0 } else { weight as i16 });
    out.put_u16(if value < 0 { NEGATIVE } else { POSITIVE });
    out.put_i16(i16::from(scale.max(0)));
    for &group in digits.iter().rev() {
        out.put_u16(group);
    }
}

/// The last row of each key, in the rows' order. Keys are equal where PostgreSQL has them equal.
pub fn last_of_each_key(batch: &RecordBatch, schema: &Schema, key: &[String]) -> Result<Vec<u32>> {
    let columns = key.iter().map(|name| {
        let at = schema.index_of(name);
        at.and_then(|at| values(batch.column(at).as_ref(), schema.columns[at].ty))
            .ok_or_else(|| Error::new(Code::Internal, format!("rows came without the key column \"{name}\"")))
    });
    let columns: Vec<Values<'_>> = columns.collect::<Result<_>>()?;
    let mut bytes = BytesMut::new();
    let mut ends = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        for values in &columns {
            match values {
                // -0 and 0 are one key.
                Values::F64(array) => bytes.put_f64(array.value(row) + 0.0),
                values => values
                    .write(row, &mut bytes)
                    .map_err(|reason| Error::new(Code::RowRefused, format!("row {row}: the key holds {reason}")))?,
            }
        }
        ends.push(bytes.len());
    }
    let mut seen = HashSet::with_capacity(batch.num_rows());
    let mut kept: Vec<u32> = Vec::with_capacity(batch.num_rows());
    for row in (0..batch.num_rows()).rev() {
        let start = if row == 0 { 0 } else { ends[row - 1] };
        if seen.insert(&bytes[start..ends[row]]) {
            kept.push(row as u32);
        }
    }
    kept.reverse();
    Ok(kept)
}
