//! JSON lines: one object on each line.
//!
//! Owns: where lines end; blank lines; the byte order mark.
//! Does not own: the record (`Records`).
//!
//! Invariant: a record starts at the start of its line, so that reading may begin at any line.

use super::parse::is_white;
use super::{Records, Span};
use crate::format::rows::Rows;
use crate::format::json::scan::Scan;
use crate::format::{BYTE_ORDER_MARK, Decoder, Stop, Window, line_content};
use segno_core::Result;
use segno_core::source::ReadLimit;

pub(crate) struct JsonLines {
    records: Records,
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

impl JsonLines {
    pub fn new(rows: &Rows, line_bytes_max: usize) -> JsonLines {
        JsonLines {
            records: Records::new(rows, line_bytes_max),
            #[cfg(target_arch = "x86_64")]
            avx2: super::has_avx2(),
        }
    }

    /// Without the processor's wider instructions, for tests.
    #[cfg(test)]
    pub fn plain(mut self) -> JsonLines {
        #[cfg(target_arch = "x86_64")]
        {
            self.avx2 = false;
        }
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn decode_avx2(&mut self, window: &Window<'_>, at: usize, limit: ReadLimit, rows: &mut Rows) -> (usize, Stop) {
        self.decode_with::<super::scan::x86::Avx2>(window, at, limit, rows)
    }

    fn decode_base(&mut self, window: &Window<'_>, at: usize, limit: ReadLimit, rows: &mut Rows) -> (usize, Stop) {
        self.decode_with::<super::scan::Base>(window, at, limit, rows)
    }

    #[inline(always)]
    fn decode_with<S: Scan>(
        &mut self,
        window: &Window<'_>,
        chunk: usize,
        limit: ReadLimit,
        rows: &mut Rows,
    ) -> (usize, Stop) {
        let buf = window.buf;
        let complete = window.complete_lines(chunk);
        let mut at = chunk;
        if window.base == 0 && at == 0 && buf.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        while at < complete {
            if rows.records() >= limit.rows || (at - chunk >= limit.bytes && rows.records() > 0) {
                return (at, Stop::Limit);
            }
            let line_end = |from: usize| memchr::memchr(b'\n', &buf[from..complete]).map_or(complete, |n| from + n);
            // SAFETY: windows are padded, and `at` is in the data.
            if let Some(end) = unsafe { self.records.walk::<S>(window, at, line_end) } {
                // A line feed follows also where the input ends: the padding.
                let next = match (buf[end], buf[end + 1]) {
                    (b'\n', _) => end + 1,
                    (b'\r', b'\n') => end + 2,
                    _ => 0,
                };
                if next != 0 {
                    self.records.shapes.hit();
                    self.records.take(window, Span { chunk, start: at, end }, rows);
                    at = next.min(window.len);
                    continue;
                }
            }
            let line_end = line_end(at);
            let end = line_content(buf, at, line_end);
            if !buf[at..end].iter().all(|&byte| is_white(byte)) {
                self.records.complete(window, Span { chunk, start: at, end }, rows);
            }
            at = (line_end + 1).min(window.len);
        }
        let pending = window.len - at;
        // One byte more may be the carriage return of the line's end.
        if pending > self.records.record_bytes_max + 1 { (at, Stop::TooLong) } else { (at, Stop::More) }
    }
}

impl Decoder for JsonLines {
    fn decode(&mut self, window: &Window<'_>, at: usize, limit: ReadLimit, rows: &mut Rows) -> Result<(usize, Stop)> {
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: the processor has these instructions, `new` asked it.
            return Ok(unsafe { self.decode_avx2(window, at, limit, rows) });
        }
        Ok(self.decode_base(window, at, limit, rows))
    }
}
