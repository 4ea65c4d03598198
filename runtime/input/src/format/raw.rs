//! Raw lines: each line is one record with the single column `value`.
//!
//! Owns: lines as values. An empty line is a record, too.
//! Does not own: what the bytes mean. Only a pipeline that reads `value` as text makes lines that are not UTF-8 bad.

use super::rows::{Fields, Rows};
use super::value::Value;
use super::{Decoder, Stop, Window, line_content, not_utf8, too_long};
use segno_core::Result;
use segno_core::columns::ColumnType;
use segno_core::source::ReadLimit;

/// The name of the only column.
pub const RAW_COLUMN: &str = "value";

pub(crate) struct RawLines {
    line_bytes_max: usize,
    as_text: bool,
}

impl RawLines {
    pub fn new(rows: &Rows, line_bytes_max: usize) -> RawLines {
        let as_text = rows.plan.columns.iter().any(|column| column.column.ty != ColumnType::Binary);
        RawLines { line_bytes_max, as_text: as_text || rows.plan.time.is_some() }
    }
}

struct Line<'a>(&'a [u8]);

impl Fields for Line<'_> {
    fn value(&self, _field: usize) -> Value<'_> {
        Value::Loose(self.0)
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}

impl Decoder for RawLines {
    fn decode(
        &mut self,
        window: &Window<'_>,
        chunk: usize,
        limit: ReadLimit,
        rows: &mut Rows,
    ) -> Result<(usize, Stop)> {
        let complete = window.complete_lines(chunk);
        let mut at = chunk;
        while at < complete {
            if rows.records() > 0 && (rows.records() >= limit.rows || at - chunk >= limit.bytes) {
                return Ok((at, Stop::Limit));
            }
            let line_end = memchr::memchr(b'\n', &window.buf[at..complete]).map_or(complete, |n| at + n);
            let end = line_content(window.buf, at, line_end);
            let bytes = &window.buf[at..end];
            let offset = window.base + at as u64;
            if bytes.len() > self.line_bytes_max {
                rows.push_bad(offset, too_long(self.line_bytes_max), bytes);
            } else if self.as_text && simdutf8::basic::from_utf8(bytes).is_err() {
                rows.push_bad(offset, not_utf8(bytes), bytes);
            } else if let Err(flaw) = rows.push(&Line(bytes), offset, ((at - chunk) as u32, (end - chunk) as u32)) {
                rows.push_bad(offset, flaw, bytes);
            }
            at = (line_end + 1).min(window.len);
        }
        let too_long = window.len - at > self.line_bytes_max + 1;
        Ok((at, if too_long { Stop::TooLong } else { Stop::More }))
    }
}
