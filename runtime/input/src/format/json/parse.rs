//! The complete parser of one JSON record: the verdict, and the fields that are read.
//!
//! Owns: the grammar (RFC 8259), names that occur twice, the depth limit.
//! Does not own: where records begin and end (`lines`, `array`), UTF-8 (`checked`), conversion (`value`), nor the fast
//! path for records of a known shape (`shape`), which takes only what this parser takes.
//!
//! Invariants: the whole record is checked, whatever is read. Nothing is read behind `end`. Depth is bounded, so the
//! stack is.

use super::scan::{Base, Scan};
use super::tree::{Found, ROOT, Slot, Tree};
use crate::format::value::{excerpt, hex4, unescape};
use segno_core::Code;

/// Objects and arrays inside each other, the record itself included. As most libraries; each level costs stack.
pub(crate) const DEPTH_MAX: usize = 128;

/// Names of one object up to which each is compared with each; above, they are sorted.
const NAMES_COMPARED: usize = 16;

/// Why a record is not well-formed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flaw {
    pub code: Code,
    pub at: usize,
    pub what: String,
}

/// A value outside of arrays, for learning the record's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub start: usize,
    pub end: usize,
    pub slot: u16,
    /// Objects around it.
    pub depth: u16,
}

#[derive(Clone, Copy)]
struct Name {
    hash: u64,
    start: usize,
    end: usize,
    escaped: bool,
}

/// Memory that is used again for each record.
#[derive(Default)]
pub(crate) struct Parser {
    names: Vec<Name>,
    /// The values of the last record, when asked for.
    pub marks: Vec<Mark>,
    unescaped: Vec<u8>,
}

type Parsed<T> = Result<T, Box<Flaw>>;

struct Run<'a> {
    buf: &'a [u8],
    end: usize,
    tree: &'a Tree,
    slots: &'a mut [Slot],
    parser: &'a mut Parser,
}

/// Where the parser stands: outside the plan's tree, at a node of it, or inside an array, where nothing is read.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Node(usize),
    Unread,
    InArray,
}

impl Parser {
    /// Checks the record in `buf[start..end]`, without white space around it, and fills the slots of its fields.
    /// `buf` ends in padding, see `scan`.
    pub fn record(&mut self, buf: &[u8], start: usize, end: usize, tree: &Tree, slots: &mut [Slot]) -> Parsed<()> {
        slots.fill(Slot::default());
        self.names.clear();
        self.marks.clear();
        let mut run = Run { buf, end, tree, slots, parser: self };
        let object = run.peek(start) == b'{';
        let place = if object { Place::Node(ROOT) } else { Place::InArray };
        let after = run.value(start, place, 0)?.1;
        let after = run.skip_white(after);
        if after < end {
            return Err(run.flaw(after, "there are bytes after the end of the value"));
        }
        if !object {
            let what = format!("an object is wanted, not {}", excerpt(&buf[start..end]));
            return Err(Box::new(Flaw { code: Code::RecordNotObject, at: start, what }));
        }
        Ok(())
    }

    /// The closing quote of a text that goes on at `at`, checked; `None` when it is not well-formed.
    pub fn text(&mut self, buf: &[u8], at: usize, end: usize, tree: &Tree) -> Option<usize> {
        Run { buf, end, tree, slots: &mut [], parser: self }.string(at).ok().map(|(end, _)| end)
    }

    /// The end of the array that starts at `start`, checked; `None` when it is not well-formed. `depth` counts what is
    /// open around it.
    pub fn array(&mut self, buf: &[u8], start: usize, end: usize, tree: &Tree, depth: usize) -> Option<usize> {
        self.names.clear();
        let mut run = Run { buf, end, tree, slots: &mut [], parser: self };
        run.value(start, Place::InArray, depth).ok().map(|(_, after)| after)
    }
}

impl Run<'_> {
    #[inline]
    fn peek(&self, at: usize) -> u8 {
        // Zero is valid nowhere, so it stands for the end.
        if at < self.end { self.buf[at] } else { 0 }
    }

    #[inline]
    fn skip_white(&self, mut at: usize) -> usize {
        while is_white(self.peek(at)) {
            at += 1;
        }
        at
    }

    #[cold]
    fn flaw(&self, at: usize, what: &str) -> Box<Flaw> {
        let what = if at < self.end { what.to_owned() } else { format!("the record ends too early: {what}") };
        Box::new(Flaw { code: Code::RecordMalformed, at, what })
    }

    /// `(what was found, where it ends)`; a value outside of arrays is put into its slot.
    fn value(&mut self, at: usize, place: Place, depth: usize) -> Parsed<(Found, usize)> {
        let (found, after) = match self.peek(at) {
            b'"' => {
                let (end, escaped) = self.string(at + 1)?;
                (if escaped { Found::Escaped } else { Found::Text }, end + 1)
            }
            b'-' | b'0'..=b'9' => self.number(at)?,
            b't' => (Found::True, self.word(at, b"true")?),
            b'f' => (Found::False, self.word(at, b"false")?),
            b'n' => (Found::Null, self.word(at, b"null")?),
            b'{' => return self.object(at, place, depth + 1),
            b'[' => (Found::Array, self.elements(at, depth + 1)?),
            _ => return Err(self.flaw(at, "a value is wanted here")),
        };
        if place != Place::InArray {
            self.put(found, at, after, place, depth);
        }
        Ok((found, after))
    }

    fn put(&mut self, found: Found, start: usize, after: usize, place: Place, depth: usize) {
        let mut slot = self.tree.sink();
        if let Place::Node(node) = place {
            slot = self.tree.node(node).slot.min(slot);
        }
        let quotes = usize::from(matches!(found, Found::Text | Found::Escaped));
        self.slots[slot as usize] = Slot { found, start: (start + quotes) as u32, end: (after - quotes) as u32 };
        self.parser.marks.push(Mark { start, end: after, slot, depth: depth as u16 });
    }

    fn deeper(&self, at: usize, depth: usize) -> Parsed<()> {
        if depth > DEPTH_MAX {
            let what = format!("objects and arrays are nested deeper than {DEPTH_MAX}");
            return Err(Box::new(Flaw { code: Code::NestingTooDeep, at, what }));
        }
        Ok(())
    }

    fn object(&mut self, start: usize, place: Place, depth: usize) -> Parsed<(Found, usize)> {
        self.deeper(start, depth)?;
        let first_name = self.parser.names.len();
        let mut at = self.skip_white(start + 1);
        if self.peek(at) == b'}' {
            at += 1;
        } else {
            loop {
                if self.peek(at) != b'"' {
                    return Err(self.flaw(at, "a name in quotes is wanted here"));
                }
                let (end, escaped) = self.string(at + 1)?;
                let child = self.name(at + 1, end, escaped, place);
                at = self.skip_white(end + 1);
                if self.peek(at) != b':' {
                    return Err(self.flaw(at, "a colon is wanted after a name"));
                }
                at = self.skip_white(at + 1);
                at = self.value(at, child, depth)?.1;
                at = self.skip_white(at);
                match self.peek(at) {
                    b',' => at = self.skip_white(at + 1),
                    b'}' => {
                        at += 1;
                        break;
                    }
                    _ => return Err(self.flaw(at, "a comma or a closing brace is wanted here")),
                }
            }
        }
        self.unique(first_name)?;
        if let Place::Node(node) = place
            && node != ROOT
        {
            let slot = self.tree.node(node).slot as usize;
            self.slots[slot] = Slot { found: Found::Object, start: start as u32, end: at as u32 };
        }
        Ok((Found::Object, at))
    }

    fn elements(&mut self, start: usize, depth: usize) -> Parsed<usize> {
        self.deeper(start, depth)?;
        let mut at = self.skip_white(start + 1);
        if self.peek(at) == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at, Place::InArray, depth)?.1;
            at = self.skip_white(at);
            match self.peek(at) {
                b',' => at = self.skip_white(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(self.flaw(at, "a comma or a closing bracket is wanted here")),
            }
        }
    }

    /// The closing quote of the text whose first byte is at `at`, and whether it holds escapes.
    fn string(&self, mut at: usize) -> Parsed<(usize, bool)> {
        let mut escaped = false;
        loop {
            // SAFETY: `at` is at most `end`, and the buffer is padded.
            at = unsafe { Base::special(self.buf, at) };
            if at >= self.end {
                return Err(self.flaw(self.end, "a text is not closed"));
            }
            match self.buf[at] {
                b'"' => return Ok((at, escaped)),
                b'\\' => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                _ => return Err(self.flaw(at, "a control character stands in a text without an escape")),
            }
        }
    }

    /// Behind the escape whose backslash is at `at`.
    fn escape(&self, at: usize) -> Parsed<usize> {
        match self.peek(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => {
                let code = self.unicode(at)?;
                match code {
                    0xD800..0xDC00 => {
                        if self.peek(at + 6) != b'\\'
                            || self.peek(at + 7) != b'u'
                            || !(0xDC00..0xE000).contains(&self.unicode(at + 6)?)
                        {
                            return Err(self.flaw(at, "the first half of a surrogate pair has no second half"));
                        }
                        Ok(at + 12)
                    }
                    0xDC00..0xE000 => Err(self.flaw(at, "the second half of a surrogate pair has no first half")),
                    _ => Ok(at + 6),
                }
            }
            _ => Err(self.flaw(at, "there is no such escape")),
        }
    }

    fn unicode(&self, at: usize) -> Parsed<u32> {
        match (at + 2..at + 6).all(|place| self.peek(place).is_ascii_hexdigit()) {
            true => Ok(hex4(&self.buf[at + 2..at + 6])),
            false => Err(self.flaw(at, "four hexadecimal digits are wanted after \\u")),
        }
    }

    fn number(&self, start: usize) -> Parsed<(Found, usize)> {
        let first = start + usize::from(self.buf[start] == b'-');
        let mut at = self.digits(first);
        if at == first {
            return Err(self.flaw(at, "a digit is wanted here"));
        }
        if self.buf[first] == b'0' && at > first + 1 {
            return Err(self.flaw(first, "a number has a leading zero"));
        }
        let mut found = Found::Int;
        if self.peek(at) == b'.' {
            found = Found::Number;
            let end = self.digits(at + 1);
            if end == at + 1 {
                return Err(self.flaw(end, "a digit is wanted after the decimal point"));
            }
            at = end;
        }
        if matches!(self.peek(at), b'e' | b'E') {
            found = Found::Number;
            let sign = usize::from(matches!(self.peek(at + 1), b'+' | b'-'));
            let end = self.digits(at + 1 + sign);
            if end == at + 1 + sign {
                return Err(self.flaw(end, "a digit is wanted in the exponent"));
            }
            at = end;
        }
        Ok((found, at))
    }

    #[inline]
    fn digits(&self, mut at: usize) -> usize {
        while self.peek(at).is_ascii_digit() {
            at += 1;
        }
        at
    }

    fn word(&self, at: usize, word: &[u8]) -> Parsed<usize> {
        match self.buf[at..self.end].starts_with(word) {
            true => Ok(at + word.len()),
            false => Err(self.flaw(at, "a value is wanted here")),
        }
    }

    /// Remembers a name of the current object, and finds its place in the plan's tree.
    fn name(&mut self, start: usize, end: usize, escaped: bool, object: Place) -> Place {
        let bytes = match escaped {
            false => &self.buf[start..end],
            true => {
                self.parser.unescaped.clear();
                unescape(&self.buf[start..end], &mut self.parser.unescaped);
                &self.parser.unescaped
            }
        };
        let child = match object {
            Place::Node(node) => self.tree.child(node, bytes).map_or(Place::Unread, Place::Node),
            other => other,
        };
        self.parser.names.push(Name { hash: quick_hash(bytes), start, end, escaped });
        child
    }

    /// Forgets the names from `first` on, which are those of one object, after checking that none occurs twice.
    fn unique(&mut self, first: usize) -> Parsed<()> {
        let buf = self.buf;
        let names = &mut self.parser.names[first..];
        let twice = if names.len() <= NAMES_COMPARED {
            names.iter().enumerate().find(|(at, name)| {
                names[..*at].iter().any(|other| other.hash == name.hash && text_of(buf, other) == text_of(buf, name))
            })
        } else {
            names.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| text_of(buf, a).cmp(&text_of(buf, b))));
            let pair = names.windows(2).position(|pair| {
                pair[0].hash == pair[1].hash && text_of(buf, &pair[0]) == text_of(buf, &pair[1])
            });
            pair.map(|at| (at, &names[at]))
        };
        if let Some((_, name)) = twice {
            let what = format!("the name \"{}\" occurs twice in one object", excerpt(&buf[name.start..name.end]));
            return Err(Box::new(Flaw { code: Code::DuplicateName, at: name.start, what }));
        }
        self.parser.names.truncate(first);
        Ok(())
    }
}

/// White space between values.
#[inline]
pub(crate) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn text_of<'a>(buf: &'a [u8], name: &Name) -> std::borrow::Cow<'a, [u8]> {
    let body = &buf[name.start..name.end];
    if !name.escaped {
        return body.into();
    }
    let mut text = Vec::new();
    unescape(body, &mut text);
    text.into()
}

/// Tells names apart cheaply; equal hashes are compared byte by byte.
fn quick_hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut rest = bytes;
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ u64::from_le_bytes(*eight)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        rest = more;
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash
}
