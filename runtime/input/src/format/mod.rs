//! Formats: bytes to columns.
//!
//! Owns: what is common to the text formats: the window of bytes that a decoder sees, and how it says where it
//! stopped.
//! Does not own: files, blocks and offsets on disk (`source`).
//!
//! Invariants: what a decoder makes of the bytes does not depend on where windows begin and end. Nothing panics,
//! whatever the bytes.

pub(crate) mod csv;
pub(crate) mod json;
pub mod messages;
pub(crate) mod number;
pub mod parquet;
pub(crate) mod plan;
pub(crate) mod raw;
pub(crate) mod rows;
pub(crate) mod time;
pub(crate) mod utf8;
pub(crate) mod value;

use rows::Rows;
use segno_core::source::ReadLimit;
use segno_core::{Code, Result};

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A stretch of a partition's bytes.
pub(crate) struct Window<'a> {
    /// The data, and `json::scan::PADDING` line feeds behind it.
    pub buf: &'a [u8],
    /// Bytes of data.
    pub len: usize,
    /// Offset of the first byte in the partition.
    pub base: u64,
    /// Nothing comes after the data, so its last line needs no line feed.
    pub last: bool,
}

impl Window<'_> {
    /// Where the last whole line ends.
    fn complete_lines(&self, at: usize) -> usize {
        match self.last {
            true => self.len,
            false => memchr::memrchr(b'\n', &self.buf[at..self.len]).map_or(at, |last| at + last + 1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The limit is reached.
    Limit,
    /// The rest of the window is no whole record.
    More,
    /// The record at this place is longer than is allowed, and its end is not in the window.
    TooLong,
}

pub(crate) trait Decoder: Send {
    /// Decodes records from `at` on. Returns the place behind the last one and why it stopped there.
    fn decode(&mut self, window: &Window<'_>, at: usize, limit: ReadLimit, rows: &mut Rows) -> Result<(usize, Stop)>;

    /// Where to go on after a record that is too long, in the next bytes of it; called with the whole record, from its
    /// start, piece by piece.
    fn skip(&mut self, bytes: &[u8]) -> Option<usize> {
        memchr::memchr(b'\n', bytes).map(|end| end + 1)
    }

    /// A record that is too long starts.
    fn begin_skip(&mut self) {}

    /// What was skipped, without what ends it.
    fn content<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Called where the input ends.
    fn finish(&self, _end: u64) -> Result<()> {
        Ok(())
    }
}

/// The end of a line's content: without the carriage return before its line feed.
fn line_content(buf: &[u8], start: usize, line_end: usize) -> usize {
    line_end - usize::from(line_end > start && buf[line_end - 1] == b'\r')
}

#[cold]
pub(crate) fn too_long(record_bytes_max: usize) -> (Code, String) {
    (Code::RecordTooLong, format!("the record is longer than line_bytes_max, which is {record_bytes_max} bytes"))
}

#[cold]
fn not_utf8(bytes: &[u8]) -> (Code, String) {
    let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), |_| bytes.len());
    (Code::RecordNotUtf8, format!("the bytes from byte {at} of the record on are not UTF-8"))
}
