//! CSV (RFC 4180) with a header row or with given names. The rules are in `docs/formats/csv.md`.
//!
//! Owns: rows and fields; which field is which column.
//! Does not own: typing of a field's text (`value`), reading files.
//!
//! Invariants: a row starts at the start of a line, so that reading may begin at any row. A row whose quotes cannot be
//! understood is bad in its first line only; reading goes on at the next line, so that one quote too many does not
//! swallow what follows. Verdicts on quotes, UTF-8 and the number of fields do not depend on the columns read.

use super::plan::Plan;
use super::rows::{Fields, Rows};
use super::utf8::Utf8;
use super::value::Value;
use super::{BYTE_ORDER_MARK, Decoder, Stop, Window, line_content, not_utf8, too_long};
use segno_core::source::ReadLimit;
use segno_core::{Code, Error, Result};

pub(crate) struct Csv {
    rows: RowParser,
    /// Column of the file for each field of the plan; `None` until the header row was read.
    map: Option<Vec<Option<usize>>>,
    width: usize,
    utf8: Utf8,
    path: String,
}

/// How to read one row.
pub(crate) struct RowParser {
    delimiter: u8,
    row_bytes_max: usize,
    fields: Vec<Field>,
    /// Text of fields in which a doubled quote stands for one.
    unquoted: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Quoted,
    /// In `unquoted`.
    Resolved,
}

/// How far a row goes.
#[derive(Debug, PartialEq)]
enum Row {
    /// `(end of its content, start of the next row)`
    Whole(usize, usize),
    Incomplete,
    /// Its first line is longer than is allowed.
    TooLong,
    /// Its quotes cannot be understood: what, and where.
    Malformed(&'static str, usize),
}

impl RowParser {
    pub fn new(delimiter: u8, row_bytes_max: usize) -> RowParser {
        RowParser { delimiter, row_bytes_max, fields: Vec::new(), unquoted: Vec::new() }
    }

    /// Reads the row at `at` into `fields`.
    fn row(&mut self, window: &Window<'_>, at: usize) -> Row {
        self.fields.clear();
        self.unquoted.clear();
        let buf = window.buf;
        let bound = window.len.min(at.saturating_add(self.row_bytes_max + 2));
        let cut = bound < window.len;
        let mut start = at;
        loop {
            let (field, end) = if start < bound && buf[start] == b'"' {
                match self.quoted(window, start, bound) {
                    Ok(found) => found,
                    Err(Some((what, place))) => return Row::Malformed(what, place),
                    Err(None) if window.last && !cut => {
                        return Row::Malformed("a quoted field is not closed", start);
                    }
                    Err(None) => return self.unfinished(window, at, cut),
                }
            } else {
                let mut end = start;
                while end < bound && buf[end] != self.delimiter && buf[end] != b'\n' {
                    end += 1;
                }
                (Field { start, end, kind: Kind::Plain }, end)
            };
            if end < bound && buf[end] == self.delimiter {
                self.fields.push(field);
                start = end + 1;
                continue;
            }
            if end == bound && (cut || !window.last) {
                return self.unfinished(window, at, cut);
            }
            // The line's end, or the end of the input, which has a line feed behind it.
            let content = match field.kind {
                Kind::Plain => line_content(buf, field.start, end),
                _ => end,
            };
            self.fields.push(Field { end: if field.kind == Kind::Plain { content } else { field.end }, ..field });
            let next = match buf[end] {
                b'\r' => end + 2,
                _ => end + 1,
            };
            return match content - at > self.row_bytes_max {
                true => self.unfinished(window, at, true),
                false => Row::Whole(content, next.min(window.len)),
            };
        }
    }

    fn unfinished(&self, window: &Window<'_>, at: usize, cut: bool) -> Row {
        if !cut {
            return Row::Incomplete;
        }
        let bound = window.len.min(at + self.row_bytes_max + 2);
        match memchr::memchr(b'\n', &window.buf[at..bound]) {
            Some(end) if line_content(window.buf, at, at + end) - at <= self.row_bytes_max => {
                Row::Malformed("the row does not end within line_bytes_max", at)
            }
            _ => Row::TooLong,
        }
    }

    /// A quoted field and the place of the delimiter or line end behind it. `Err(None)`: not closed before `bound`.
    fn quoted(
        &mut self,
        window: &Window<'_>,
        start: usize,
        bound: usize,
    ) -> Result<(Field, usize), Option<(&'static str, usize)>> {
        let buf = window.buf;
        // The line feed behind the data is the row's end only where the input ends.
        let unknown = |place: usize| place >= window.len && !window.last;
        let first = self.unquoted.len();
        let mut kind = Kind::Quoted;
        let mut from = start + 1;
        loop {
            let quote = from + buf.get(from..bound).and_then(|rest| memchr::memchr(b'"', rest)).ok_or(None)?;
            match buf[quote + 1] {
                _ if unknown(quote + 1) => return Err(None),
                b'"' => {
                    kind = Kind::Resolved;
                    self.unquoted.extend_from_slice(&buf[from..=quote]);
                    from = quote + 2;
                    continue;
                }
                byte if byte == self.delimiter || byte == b'\n' => {}
                b'\r' if unknown(quote + 2) => return Err(None),
                b'\r' if buf[quote + 2] == b'\n' => {}
                _ => return Err(Some(("a closing quote is followed by something else than a delimiter", quote))),
            }
            let field = match kind {
                Kind::Resolved => {
                    self.unquoted.extend_from_slice(&buf[from..quote]);
                    Field { start: first, end: self.unquoted.len(), kind }
                }
                _ => Field { start: start + 1, end: quote, kind },
            };
            return Ok((field, quote + 1));
        }
    }

    /// The header row at the start of a file, and where the rows begin; `None` when it is not there as a whole.
    pub fn header(&mut self, window: &Window<'_>, path: &str) -> Result<Option<(Vec<String>, usize)>> {
        let broken = |what: &str| {
            Error::new(Code::SourceFormat, format!("{path}: the header row cannot be read: {what}"))
                .with_help("The first row must name the columns; without one, give the names as `header:`.")
        };
        let mut at = if window.buf.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        loop {
            if at >= window.len {
                return Ok(None);
            }
            match self.row(window, at) {
                Row::Whole(end, next) if end == at => at = next,
                Row::Whole(_, next) => {
                    let names = (0..self.fields.len()).map(|column| {
                        let bytes = self.text(window.buf, column);
                        std::str::from_utf8(bytes).map(|name| name.trim().to_owned())
                    });
                    let names = names.collect::<Result<Vec<String>, _>>().map_err(|_| broken("it is not UTF-8"))?;
                    return Ok(Some((names, next)));
                }
                Row::Incomplete => return Ok(None),
                Row::TooLong => return Err(broken("it is longer than line_bytes_max")),
                Row::Malformed(what, _) => return Err(broken(what)),
            }
        }
    }

    fn text<'a>(&'a self, buf: &'a [u8], column: usize) -> &'a [u8] {
        let field = &self.fields[column];
        match field.kind {
            Kind::Resolved => &self.unquoted[field.start..field.end],
            _ => &buf[field.start..field.end],
        }
    }
}

impl Csv {
    /// `header`: the names, when they are given or known; else the first row is the header.
    pub fn new(rows: &Rows, parser: RowParser, path: &str, header: Option<&[String]>) -> Result<Csv> {
        let mut csv =
            Csv { rows: parser, map: None, width: 0, utf8: Utf8::default(), path: path.to_owned() };
        if let Some(names) = header {
            csv.learn(names, &rows.plan)?;
        }
        Ok(csv)
    }

    fn learn(&mut self, names: &[String], plan: &Plan) -> Result<()> {
        let mut map = Vec::with_capacity(plan.fields.len());
        for (field, wanted) in plan.fields.iter().enumerate() {
            let mut places = names.iter().enumerate().filter(|(_, name)| *name == wanted).map(|(at, _)| at);
            let place = places.next();
            if places.next().is_some() {
                return Err(self.column(wanted, "two columns have this name", names));
            }
            let needed = plan.columns.iter().any(|column| column.field == field && !column.column.nullable)
                || plan.time.as_ref().is_some_and(|time| time.field == field);
            if place.is_none() && needed {
                return Err(self.column(wanted, "there is no such column", names));
            }
            map.push(place);
        }
        self.width = names.len();
        self.map = Some(map);
        Ok(())
    }

    #[cold]
    fn column(&self, wanted: &str, what: &str, names: &[String]) -> Error {
        Error::new(Code::SourceColumn, format!("{}: column `{wanted}`: {what}", self.path))
            .with_help(format!("The file has these columns: {}.", names.join(", ")))
    }
}

struct Record<'a> {
    csv: &'a Csv,
    map: &'a [Option<usize>],
    buf: &'a [u8],
}

impl Fields for Record<'_> {
    #[inline]
    fn value(&self, field: usize) -> Value<'_> {
        let Some(column) = self.map[field] else { return Value::Missing };
        let text = self.csv.rows.text(self.buf, column);
        if text.is_empty() && self.csv.rows.fields[column].kind == Kind::Plain {
            return Value::Empty;
        }
        Value::Loose(text)
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}

impl Decoder for Csv {
    fn decode(
        &mut self,
        window: &Window<'_>,
        chunk: usize,
        limit: ReadLimit,
        rows: &mut Rows,
    ) -> Result<(usize, Stop)> {
        let mut at = chunk;
        if window.base == 0 && at == 0 && window.buf.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
        }
        if self.map.is_none() {
            match self.rows.header(window, &self.path)? {
                Some((names, next)) => {
                    self.learn(&names, &rows.plan)?;
                    at = next;
                }
                None => return Ok((if window.last { window.len } else { chunk }, Stop::More)),
            }
        }
        let Some(map) = self.map.take() else { return Ok((at, Stop::More)) };
        let stop = loop {
            if at >= window.len {
                break Stop::More;
            }
            if rows.records() > 0 && (rows.records() >= limit.rows || at - chunk >= limit.bytes) {
                break Stop::Limit;
            }
            let offset = window.base + at as u64;
            let (end, next, flaw) = match self.rows.row(window, at) {
                Row::Whole(end, next) if end == at => {
                    at = next;
                    continue;
                }
                Row::Whole(end, next) => (end, next, self.check(window, at, end)),
                Row::Incomplete => break Stop::More,
                bad => {
                    let line_end = match memchr::memchr(b'\n', &window.buf[at..window.len]) {
                        Some(length) => at + length,
                        None if window.last => window.len,
                        None if window.len - at > self.rows.row_bytes_max + 1 => break Stop::TooLong,
                        None => break Stop::More,
                    };
                    let end = line_content(window.buf, at, line_end);
                    let flaw = match bad {
                        Row::Malformed(what, place) if end - at <= self.rows.row_bytes_max => {
                            (Code::RecordMalformed, format!("{what} (at byte {} of the row)", place - at))
                        }
                        _ => too_long(self.rows.row_bytes_max),
                    };
                    (end, line_end + 1, Some(flaw))
                }
            };
            let outcome = match flaw {
                Some(flaw) => Err(flaw),
                None => {
                    let place = ((at - chunk) as u32, (end - chunk) as u32);
                    rows.push(&Record { csv: self, map: &map, buf: window.buf }, offset, place)
                }
            };
            if let Err(flaw) = outcome {
                rows.push_bad(offset, flaw, &window.buf[at..end]);
            }
            at = next.min(window.len);
        };
        self.map = Some(map);
        Ok((at, stop))
    }
}

impl Csv {
    /// Decodes the one row of `buf[start..end]`, behind which stands a line feed: a message.
    pub fn one(&mut self, window: &Window<'_>, start: usize, end: usize, rows: &mut Rows) {
        let bytes = &window.buf[start..end];
        let alone = Window { buf: &window.buf[start..], len: end - start, base: 0, last: true };
        let max = self.rows.row_bytes_max;
        let flaw = match self.rows.row(&alone, 0) {
            Row::Whole(_, next) if bytes[next..].iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                self.utf8 = Utf8::default();
                self.check(&alone, 0, end - start)
            }
            Row::Whole(_, next) => Some((Code::RecordMalformed, format!("a second row begins at byte {next} of the message"))),
            Row::Malformed(what, place) if bytes.len() <= max => {
                Some((Code::RecordMalformed, format!("{what} (at byte {place} of the row)")))
            }
            _ => Some(too_long(max)),
        };
        let Some(map) = self.map.take() else { return };
        let outcome = match flaw {
            Some(flaw) => Err(flaw),
            None => rows.push(&Record { csv: self, map: &map, buf: alone.buf }, start as u64, (start as u32, end as u32)),
        };
        self.map = Some(map);
        if let Err(flaw) = outcome {
            rows.push_bad(start as u64, flaw, bytes);
        }
    }

    /// What is wrong with a row as a whole.
    #[inline]
    fn check(&mut self, window: &Window<'_>, at: usize, end: usize) -> Option<(Code, String)> {
        if !self.utf8.is_valid(window, at, end) {
            return Some(not_utf8(&window.buf[at..end]));
        }
        let found = self.rows.fields.len();
        (found != self.width).then(|| {
            let reason = format!("the row has {found} fields, but the header has {}", self.width);
            (Code::WrongFieldCount, reason)
        })
    }
}
