//! Rows as CSV (RFC 4180, line feeds) and as raw bytes.
//!
//! Owns: quoting. Values are written as JSON writes them, without quotes where CSV needs none; null is an empty field,
//! an empty text is `""`.

use super::ColumnType;
use super::json::write_plain;
use super::schema::column_type;
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

/// Writes a header (when asked) and one line per row.
pub fn write_csv(out: &mut Vec<u8>, rows: &RecordBatch, header: bool) {
    if header {
        for (number, field) in rows.schema_ref().fields().iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            quoted(out, field.name().as_bytes());
        }
        out.push(b'\n');
    }
    for row in 0..rows.num_rows() {
        write_csv_row(out, rows, row);
        out.push(b'\n');
    }
}

/// One row without a line feed.
pub fn write_csv_row(out: &mut Vec<u8>, rows: &RecordBatch, row: usize) {
    for (number, array) in rows.columns().iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        if array.is_null(row) {
            continue;
        }
        match column_type(array.data_type()).expect("a column of the host") {
            ColumnType::Utf8 => quoted(out, array.as_string::<i32>().value(row).as_bytes()),
            ty => write_plain(out, ty, array, row),
        }
    }
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    if !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The rows do not have exactly one text or binary column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOneColumn;

/// Writes the bytes of the single column, each value followed by a line feed; nulls are skipped.
pub fn write_raw(out: &mut Vec<u8>, rows: &RecordBatch) -> Result<(), NotOneColumn> {
    let [array] = rows.columns() else { return Err(NotOneColumn) };
    for row in (0..rows.num_rows()).filter(|&row| array.is_valid(row)) {
        match column_type(array.data_type()) {
            Some(ColumnType::Utf8) => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
            Some(ColumnType::Binary) => out.extend_from_slice(array.as_binary::<i32>().value(row)),
            _ => return Err(NotOneColumn),
        }
        out.push(b'\n');
    }
    Ok(())
}
