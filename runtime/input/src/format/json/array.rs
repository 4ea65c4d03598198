//! One JSON array of objects, streamed element by element; it may stand on one line and be of any length.
//!
//! Owns: where elements begin and end, and the array's own grammar.
//! Does not own: the record (`Records`).
//!
//! Invariants: an element ends at the first comma or closing bracket outside of its own texts, objects and arrays;
//! all before it is one record, good or bad. The state at an offset follows from the byte before it that is no white
//! space, so that reading may begin at any record. What breaks the array itself (it is not closed, or something
//! follows it) is an error, because what is lost behind it cannot be kept as a bad record.

use super::parse::is_white;
use super::scan::Scan;
use super::{Records, Span};
use crate::format::rows::Rows;
use crate::format::{BYTE_ORDER_MARK, Decoder, Stop, Window};
use segno_core::source::ReadLimit;
use segno_core::{Code, Error, Result};

/// Where in the array reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of the file.
    Begin,
    /// Behind `[`.
    First,
    /// Behind a comma.
    Next,
    /// Behind the last element.
    After,
    /// Behind something that ends in `]`: the array, or an element that is an array.
    Bracket,
    /// Behind the array's closing bracket.
    Closed,
}

pub(crate) struct JsonArray {
    records: Records,
    state: State,
    finder: Finder,
    path: String,
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

impl JsonArray {
    /// `before` is the last byte before the place where reading begins that is no white space; `None` at the start of
    /// the file.
    pub fn new(rows: &Rows, record_bytes_max: usize, path: &str, before: Option<u8>) -> JsonArray {
        JsonArray {
            records: Records::new(rows, record_bytes_max),
            state: match before {
                None => State::Begin,
                Some(b'[') => State::First,
                Some(b',') => State::Next,
                Some(b']') => State::Bracket,
                Some(_) => State::After,
            },
            finder: Finder::default(),
            path: path.to_owned(),
            #[cfg(target_arch = "x86_64")]
            avx2: super::has_avx2(),
        }
    }

    #[cold]
    fn broken(&self, at: u64, what: &str) -> Error {
        Error::new(Code::SourceFormat, format!("{}: {what} (byte {at} of the file)", self.path))
            .with_help("Nothing is lost: the records before that place that are not in the output yet come when the file is whole. Get it again, or mend its end.")
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn walk_avx2(&mut self, window: &Window<'_>, at: usize) -> Option<usize> {
        // SAFETY: windows are padded, and `at` is in the data.
        unsafe { self.records.walk::<super::scan::x86::Avx2>(window, at, |_| window.len) }
    }

    /// A record of a known shape and the comma or bracket behind it.
    #[inline]
    fn walk(&mut self, window: &Window<'_>, at: usize) -> Option<(usize, usize)> {
        #[cfg(target_arch = "x86_64")]
        let end = if self.avx2 {
            // SAFETY: the processor has these instructions, `new` asked it.
            unsafe { self.walk_avx2(window, at)? }
        } else {
            self.walk_with::<super::scan::Base>(window, at)?
        };
        #[cfg(not(target_arch = "x86_64"))]
        let end = self.walk_with::<super::scan::Base>(window, at)?;
        let after = skip_white(window, end);
        (after < window.len && matches!(window.buf[after], b',' | b']')).then_some((end, after))
    }

    fn walk_with<S: Scan>(&mut self, window: &Window<'_>, at: usize) -> Option<usize> {
        // SAFETY: windows are padded, and `at` is in the data.
        unsafe { self.records.walk::<S>(window, at, |_| window.len) }
    }

    /// Reads one element, which starts at `at`. Returns where to go on, or why not.
    fn element(&mut self, window: &Window<'_>, chunk: usize, at: usize, rows: &mut Rows) -> Result<usize, Stop> {
        let after = match self.walk(window, at) {
            Some((end, after)) => {
                self.finder.last = b'}';
                self.records.shapes.hit();
                self.records.take(window, Span { chunk, start: at, end }, rows);
                after
            }
            None => {
                self.finder = Finder::default();
                let data = &window.buf[at..window.len];
                let Some(length) = self.finder.feed(data) else {
                    return Err(match data.len() > self.records.record_bytes_max {
                        true => Stop::TooLong,
                        false => Stop::More,
                    });
                };
                let end = at + trim_white_end(&data[..length]).len();
                self.records.complete(window, Span { chunk, start: at, end }, rows);
                at + length
            }
        };
        Ok(self.separator(window.buf[after], after))
    }

    /// Behind the comma; a closing bracket is left for the state that checks it.
    fn separator(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            b',' => {
                self.state = State::Next;
                at + 1
            }
            // A damaged text may end so. Reading that began here would take its last byte for the array's.
            _ if matches!(self.finder.last, b',' | b'[') => {
                self.state = State::Bracket;
                at + 1
            }
            _ => {
                self.state = State::After;
                at
            }
        }
    }
}

impl Decoder for JsonArray {
    fn decode(
        &mut self,
        window: &Window<'_>,
        chunk: usize,
        limit: ReadLimit,
        rows: &mut Rows,
    ) -> Result<(usize, Stop)> {
        let buf = window.buf;
        let mut at = chunk;
        loop {
            let reached = rows.records() >= limit.rows || at - chunk >= limit.bytes;
            if reached && rows.records() > 0 {
                return Ok((at, Stop::Limit));
            }
            let next = skip_white(window, at);
            if next == window.len {
                return Ok((if self.state == State::Begin { at } else { next }, Stop::More));
            }
            let byte = buf[next];
            let offset = window.base + next as u64;
            match (self.state, byte) {
                (State::Begin, _) => {
                    let bracket = skip_white(window, next + usize::from(buf.starts_with(BYTE_ORDER_MARK)) * 3);
                    if bracket < window.len {
                        // The source has looked: this is the opening bracket.
                        self.state = State::First;
                        at = bracket + 1;
                    } else {
                        return Ok((at, Stop::More));
                    }
                }
                (State::First, b']') | (State::After | State::Bracket, b']') => {
                    let rest = skip_white(window, next + 1);
                    if rest < window.len {
                        if rows.records() > 0 {
                            return Ok((at, Stop::Limit));
                        }
                        let place = window.base + rest as u64;
                        return Err(self.broken(place, "bytes follow the array's closing bracket"));
                    }
                    if !window.last {
                        return Ok((at, Stop::More));
                    }
                    self.state = State::Closed;
                    at = rest;
                }
                (State::After | State::Bracket | State::Closed, _) => {
                    if rows.records() > 0 {
                        return Ok((at, Stop::Limit));
                    }
                    return Err(self.broken(offset, "the array's closing bracket is wanted here"));
                }
                (State::First | State::Next, b',') => {
                    let flaw = (Code::RecordMalformed, "an element is missing before this comma".to_owned());
                    rows.push_bad(offset, flaw, &buf[next..=next]);
                    self.state = State::Next;
                    at = next + 1;
                }
                (State::Next, b']') => {
                    let flaw = (Code::RecordMalformed, "an element is missing after the last comma".to_owned());
                    rows.push_bad(offset, flaw, &buf[next..=next]);
                    self.state = State::Bracket;
                    at = next + 1;
                }
                (State::First | State::Next, _) => match self.element(window, chunk, next, rows) {
                    Ok(after) => at = after,
                    Err(stop) => return Ok((next, stop)),
                },
            }
        }
    }

    fn skip(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.finder.feed(bytes)?;
        Some(self.separator(bytes[end], end))
    }

    fn begin_skip(&mut self) {
        self.finder = Finder::default();
    }

    fn content<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end: &[u8] = match self.state {
            State::Next => b",",
            State::Bracket => b"]",
            _ => b"",
        };
        trim_white_end(bytes.strip_suffix(end).unwrap_or(bytes))
    }

    fn finish(&self, end: u64) -> Result<()> {
        match self.state {
            State::Closed | State::Bracket | State::Begin => Ok(()),
            _ => Err(self.broken(end, "the file ends before the array is closed")),
        }
    }
}

/// Looks for the end of an element, piece by piece.
#[derive(Clone, Copy, Default)]
struct Finder {
    depth: u64,
    in_text: bool,
    escaped: bool,
    /// The last byte that is no white space.
    last: u8,
}

impl Finder {
    /// The place of the comma or bracket that ends the element.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if !self.in_text && self.depth == 0 && matches!(byte, b',' | b']') {
                return Some(at);
            }
            if !is_white(byte) {
                self.last = byte;
            }
            if self.in_text {
                match byte {
                    _ if self.escaped && byte != b'\n' => self.escaped = false,
                    b'\\' => self.escaped = true,
                    // No text holds a line feed: one that seems to was not closed, and its damage ends here.
                    b'"' | b'\n' => (self.in_text, self.escaped) = (false, false),
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }
}

fn skip_white(window: &Window<'_>, mut at: usize) -> usize {
    while at < window.len && is_white(window.buf[at]) {
        at += 1;
    }
    at
}

fn trim_white_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| !is_white(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}
