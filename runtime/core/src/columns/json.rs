//! Rows as JSON lines, the same bytes for the same values always.
//!
//! Owns: how each type is written. Does not own: where the bytes go (sinks).
//!
//! Rules: fields in column order; a nested column keeps its path as its name (`"bid.price"`); null is `null`; f64 in the
//! shortest form that reads back the same, and NaN and infinities as null, since JSON has none; timestamps RFC 3339 in
//! UTC with as many digits of a second as needed (0, 3 or 6); dates `YYYY-MM-DD`; decimals and binary as text (binary in
//! base64).

use super::ColumnType;
use super::schema::column_type;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::io::Write;

/// Writes one object per row, each followed by a line feed.
pub fn write_json_lines(out: &mut Vec<u8>, rows: &RecordBatch) {
    let writers = writers(rows);
    for row in 0..rows.num_rows() {
        write_row(out, &writers, row);
        out.push(b'\n');
    }
}

/// One row as an object, without a line feed.
pub fn row_to_json(rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_row(&mut out, &writers(rows), row);
    out
}

struct Writer<'a> {
    /// `"name":`, escaped.
    name: Vec<u8>,
    ty: ColumnType,
    array: &'a ArrayRef,
}

fn writers(rows: &RecordBatch) -> Vec<Writer<'_>> {
    rows.schema_ref()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, array)| {
            let mut name = Vec::new();
            write_text(&mut name, field.name());
            name.push(b':');
            Writer { name, ty: column_type(array.data_type()).expect("a column of the host"), array }
        })
        .collect()
}

fn write_row(out: &mut Vec<u8>, writers: &[Writer<'_>], row: usize) {
    out.push(b'{');
    for (number, writer) in writers.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&writer.name);
        write_value(out, writer.ty, writer.array, row);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, ty: ColumnType, array: &ArrayRef, row: usize) {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match ty {
        ColumnType::Utf8 => write_text(out, array.as_string::<i32>().value(row)),
        ColumnType::Bool | ColumnType::I32 | ColumnType::U32 | ColumnType::I64 | ColumnType::U64 => {
            write_plain(out, ty, array, row);
        }
        ColumnType::F64 if !array.as_primitive::<Float64Type>().value(row).is_finite() => {
            out.extend_from_slice(b"null");
        }
        ColumnType::F64 => write_plain(out, ty, array, row),
        _ => {
            out.push(b'"');
            write_plain(out, ty, array, row);
            out.push(b'"');
        }
    }
}

/// A value as plain text, without quotes: what CSV writes, and what JSON puts between quotes where it must.
pub fn write_plain(out: &mut Vec<u8>, ty: ColumnType, array: &ArrayRef, row: usize) {
    // Writing to a Vec cannot fail.
    let _ = match ty {
        ColumnType::Bool => write!(out, "{}", array.as_boolean().value(row)),
        ColumnType::I32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        ColumnType::U32 => write!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        ColumnType::I64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        ColumnType::U64 => write!(out, "{}", array.as_primitive::<UInt64Type>().value(row)),
        ColumnType::F64 => {
            out.extend_from_slice(ryu::Buffer::new().format(array.as_primitive::<Float64Type>().value(row)).as_bytes());
            Ok(())
        }
        ColumnType::Utf8 => out.write_all(array.as_string::<i32>().value(row).as_bytes()),
        ColumnType::Binary => out.write_all(BASE64.encode(array.as_binary::<i32>().value(row)).as_bytes()),
        ColumnType::Timestamp => {
            write_timestamp(out, array.as_primitive::<TimestampMicrosecondType>().value(row));
            Ok(())
        }
        ColumnType::Date => {
            let (year, month, day) = civil(i64::from(array.as_primitive::<Date32Type>().value(row)));
            write_date(out, year, month, day);
            Ok(())
        }
        ColumnType::Decimal128 { scale, .. } => {
            write_decimal(out, array.as_primitive::<Decimal128Type>().value(row), scale);
            Ok(())
        }
    };
}

fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    if scale <= 0 {
        let _ = write!(out, "{value}");
        out.extend(std::iter::repeat_n(b'0', if value == 0 { 0 } else { usize::from(scale.unsigned_abs()) }));
        return;
    }
    let scale = scale as usize;
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let _ = write!(out, "{}{whole}.{fraction}", if value < 0 { "-" } else { "" });
}

/// RFC 3339 in UTC; years beyond 0..=9999 carry a sign.
fn write_timestamp(out: &mut Vec<u8>, micros: i64) {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    write_date(out, year, month, day);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let _ = write!(out, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = match (fraction, fraction % 1000) {
        (0, _) => Ok(()),
        (_, 0) => write!(out, ".{:03}", fraction / 1000),
        _ => write!(out, ".{fraction:06}"),
    };
    out.push(b'Z');
}

fn write_date(out: &mut Vec<u8>, year: i64, month: u32, day: u32) {
    let _ = if (0..=9999).contains(&year) {
        write!(out, "{year:04}-{month:02}-{day:02}")
    } else {
        write!(out, "{year:+07}-{month:02}-{day:02}")
    };
}

/// Days since 1970-01-01 to (year, month, day) of the proleptic Gregorian calendar. A timestamp in µs reaches the year
/// 294,247, beyond what date crates accept.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        if short.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}
