//! The fast path: records that look like earlier ones.
//!
//! Records of one stream have few shapes: the same names in the same order with the same white space, around other
//! values. A shape is kept as the literal bytes between the values; a record of a known shape is checked by comparing
//! literals and by checking each value. Everything that the complete parser would check is so checked: structure,
//! names (also that none occurs twice: they are the learned record's), escapes, control characters, numbers.
//!
//! Owns: the shapes, as a trie of literals, and the walk over it.
//! Does not own: the verdict on anything that it does not know: that is the complete parser's (`parse`).
//!
//! Invariants: what this path takes, the complete parser takes, with the same slots. A literal holds whole names,
//! colons, braces and white space. A value is never a non-empty object, so that at most one child of a node fits.
//! What was learned changes speed only. Its size is bounded.

use super::parse::{Mark, Parser};
use super::scan::{LITERAL_BYTES, PADDING, Scan};
use super::tree::{Found, Slot, Tree};

/// Nodes of the trie; a stream with more has no shapes worth learning. Tests reach this limit and the next ones.
const NODES_MAX: usize = if cfg!(test) { 100 } else { 2048 };
/// Ways in which a record may go on at one place. A stream with more uses names as values.
const CHILDREN_MAX: usize = if cfg!(test) { 3 } else { 8 };
/// Values of a record that is learned.
const VALUES_MAX: usize = 256;
/// Records in a row that no shape fits, after which shapes are forgotten and learned anew.
const MISSES_MAX: u32 = if cfg!(test) { 10 } else { 256 };

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    /// Into `literals`.
    literal: u32,
    length: u32,
    /// A bit for each byte of the literal's first piece.
    mask: u32,
    first_child: u32,
    next_sibling: u32,
    slot: u16,
    /// Objects open around the value.
    depth: u8,
    /// The record ends with this literal; no value follows.
    last: bool,
}

#[derive(Default)]
pub(crate) struct Shapes {
    nodes: Vec<Node>,
    literals: Vec<[u8; LITERAL_BYTES]>,
    first: Option<u32>,
    misses: u32,
}

/// Where a value ends; `None` when it is not one that this path takes.
type Value = Option<(Found, usize)>;

impl Shapes {
    /// Walks a record of a known shape, which starts at `start`; `line_end` bounds arrays. Returns the place behind
    /// its closing brace, or nothing when no shape fits.
    ///
    /// # Safety
    /// `buf` ends in padding behind its data, and `start` is in the data.
    #[inline(always)]
    pub unsafe fn walk<S: Scan>(
        &self,
        buf: &[u8],
        start: usize,
        line_end: impl Fn(usize) -> usize,
        tree: &Tree,
        parser: &mut Parser,
        slots: &mut [Slot],
    ) -> Option<usize> {
        let mut next = self.first?;
        let mut at = start;
        slots.fill(Slot::default());
        'values: loop {
            while next != NONE {
                let node = &self.nodes[next as usize];
                // SAFETY: `at` is in the data: literals and values hold no byte of the padding.
                if unsafe { !S::matches(buf, at, &self.literals[node.literal as usize], node.mask) }
                    || (node.length as usize > LITERAL_BYTES && !self.rest_matches(node, buf, at))
                {
                    next = node.next_sibling;
                    continue;
                }
                let value = at + node.length as usize;
                if node.last {
                    return Some(value);
                }
                let Some(&byte) = buf.get(value) else { return None };
                // SAFETY: a byte that starts a value is in the data.
                let parsed = unsafe {
                    match byte {
                        b'"' => text::<S>(buf, value, tree, parser),
                        b'0'..=b'9' | b'-' => number::<S>(buf, value),
                        b'n' => word(buf, value, b"null", Found::Null),
                        b't' => word(buf, value, b"true", Found::True),
                        b'f' => word(buf, value, b"false", Found::False),
                        b'[' => parser
                            .array(buf, value, line_end(value), tree, node.depth as usize)
                            .map(|end| (Found::Array, end)),
                        _ => None,
                    }
                };
                let Some((found, end)) = parsed else {
                    next = node.next_sibling;
                    continue;
                };
                let quotes = usize::from(byte == b'"');
                slots[node.slot as usize] =
                    Slot { found, start: (value + quotes) as u32, end: (end - quotes) as u32 };
                at = end;
                next = node.first_child;
                continue 'values;
            }
            return None;
        }
    }

    #[cold]
    #[inline(never)]
    fn rest_matches(&self, node: &Node, buf: &[u8], at: usize) -> bool {
        let pieces = &self.literals[node.literal as usize..];
        let literal = pieces.as_flattened().get(..node.length as usize);
        buf.get(at..at + node.length as usize) == literal
    }

    /// Counts what no shape fitted, and forgets shapes that fit nothing any more.
    pub fn missed(&mut self) {
        self.misses += 1;
        if self.misses > MISSES_MAX {
            *self = Shapes::default();
        }
    }

    pub fn hit(&mut self) {
        self.misses = 0;
    }

    /// Learns a good record from the places of its values; `end` is behind its closing brace.
    pub fn learn(&mut self, buf: &[u8], start: usize, end: usize, marks: &[Mark]) {
        if marks.len() > VALUES_MAX || self.nodes.len() + marks.len() + 1 > NODES_MAX {
            return;
        }
        let mut parent = None;
        let mut at = start;
        for mark in marks {
            match self.step(parent, &buf[at..mark.start], Some(mark)) {
                Some(node) => parent = Some(node),
                None => return,
            }
            at = mark.end;
        }
        self.step(parent, &buf[at..end], None);
    }

    /// The child of `parent` for a literal and the value behind it, new if there is none; nothing when there are too
    /// many.
    fn step(&mut self, parent: Option<u32>, literal: &[u8], mark: Option<&Mark>) -> Option<u32> {
        let first = match parent {
            Some(parent) => self.nodes[parent as usize].first_child,
            None => self.first.unwrap_or(NONE),
        };
        let mut last = NONE;
        let mut next = first;
        let mut children = 0;
        while next != NONE {
            let node = &self.nodes[next as usize];
            let bytes = &self.literals[node.literal as usize..].as_flattened()[..node.length as usize];
            if bytes == literal && node.last == mark.is_none() {
                return Some(next);
            }
            last = next;
            next = node.next_sibling;
            children += 1;
        }
        if children == CHILDREN_MAX || literal.is_empty() {
            return None;
        }
        let node = self.nodes.len() as u32;
        let place = self.literals.len() as u32;
        for piece in literal.chunks(LITERAL_BYTES) {
            let mut padded = [0; LITERAL_BYTES];
            padded[..piece.len()].copy_from_slice(piece);
            self.literals.push(padded);
        }
        let compared = literal.len().min(LITERAL_BYTES);
        self.nodes.push(Node {
            literal: place,
            length: literal.len() as u32,
            mask: (u64::MAX >> (64 - compared)) as u32,
            first_child: NONE,
            next_sibling: NONE,
            slot: mark.map_or(0, |mark| mark.slot),
            depth: mark.map_or(0, |mark| mark.depth as u8),
            last: mark.is_none(),
        });
        match (last, parent) {
            (NONE, Some(parent)) => self.nodes[parent as usize].first_child = node,
            (NONE, None) => self.first = Some(node),
            (last, _) => self.nodes[last as usize].next_sibling = node,
        }
        Some(node)
    }
}

/// # Safety
/// As `Shapes::walk`.
#[inline(always)]
unsafe fn text<S: Scan>(buf: &[u8], quote: usize, tree: &Tree, parser: &mut Parser) -> Value {
    // SAFETY: the quote is in the data, so the place behind it is at most its end.
    let end = unsafe { S::special(buf, quote + 1) };
    match buf[end] {
        b'"' => Some((Found::Text, end + 1)),
        b'\\' => parser.text(buf, end, buf.len() - PADDING, tree).map(|end| (Found::Escaped, end + 1)),
        _ => None,
    }
}

/// # Safety
/// As `Shapes::walk`.
#[inline(always)]
unsafe fn number<S: Scan>(buf: &[u8], start: usize) -> Value {
    let first = start + usize::from(buf[start] == b'-');
    // SAFETY: every byte that was passed is in the data.
    let mut at = unsafe { S::digits(buf, first) };
    if at == first || (buf[first] == b'0' && at != first + 1) {
        return None;
    }
    let mut found = Found::Int;
    if buf[at] == b'.' {
        found = Found::Number;
        let fraction = at + 1;
        // SAFETY: as above.
        at = unsafe { S::digits(buf, fraction) };
        if at == fraction {
            return None;
        }
    }
    if matches!(buf[at], b'e' | b'E') {
        found = Found::Number;
        let digits = at + 1 + usize::from(matches!(buf[at + 1], b'+' | b'-'));
        // SAFETY: as above.
        at = unsafe { S::digits(buf, digits) };
        if at == digits {
            return None;
        }
    }
    Some((found, at))
}

#[inline(always)]
fn word(buf: &[u8], at: usize, word: &[u8], found: Found) -> Value {
    (&buf[at..at + word.len()] == word).then_some((found, at + word.len()))
}
