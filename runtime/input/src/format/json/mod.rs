//! JSON: one object on each line, or one array of objects. The rules are in `docs/formats/json.md`.
//!
//! Owns: one record from its bytes to the columns, the fast way and the complete way.
//! Does not own: values of other formats; reading files.
//!
//! Invariant: the verdict on a record's well-formedness depends on its bytes only: not on the columns that are read,
//! nor on the records before it.

mod array;
mod lines;
mod parse;
pub(crate) mod scan;
mod shape;
mod tree;
mod values;

pub(crate) use array::JsonArray;
pub(crate) use lines::JsonLines;
pub(crate) use values::JsonValues;

use super::Window;
use super::rows::Rows;
use super::utf8::Utf8;
use parse::{Parser, is_white};
use scan::{PADDING, Scan};
use segno_core::Code;
use shape::Shapes;
use tree::{Record, Slot, Tree};

/// What lines and arrays have in common: the decoding of one record.
struct Records {
    tree: Tree,
    slots: Vec<Slot>,
    parser: Parser,
    shapes: Shapes,
    utf8: Utf8,
    record_bytes_max: usize,
}

/// A record's place in a window.
#[derive(Clone, Copy)]
struct Span {
    /// Start of the chunk's range.
    chunk: usize,
    start: usize,
    end: usize,
}

impl Records {
    fn new(rows: &Rows, record_bytes_max: usize) -> Records {
        let tree = Tree::new(&rows.plan);
        Records {
            slots: tree.new_slots(),
            tree,
            parser: Parser::default(),
            shapes: Shapes::default(),
            utf8: Utf8::default(),
            record_bytes_max,
        }
    }

    /// The place behind the closing brace of a record of a known shape.
    ///
    /// # Safety
    /// The window is padded, and `start` is in its data.
    #[inline(always)]
    unsafe fn walk<S: Scan>(
        &mut self,
        window: &Window<'_>,
        start: usize,
        array_end: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        debug_assert!(window.buf.len() >= window.len + PADDING);
        // SAFETY: the same promise.
        let end = unsafe {
            let Records { shapes, tree, parser, slots, .. } = self;
            shapes.walk::<S>(window.buf, start, array_end, tree, parser, slots)?
        };
        (end - start <= self.record_bytes_max && self.utf8.is_valid(window, start, end)).then_some(end)
    }

    /// Takes the record whose slots are filled.
    #[inline(always)]
    fn take(&mut self, window: &Window<'_>, span: Span, rows: &mut Rows) -> bool {
        let record = Record { tree: &self.tree, slots: &self.slots, buf: window.buf };
        let offset = window.base + span.start as u64;
        let place = ((span.start - span.chunk) as u32, (span.end - span.chunk) as u32);
        match rows.push(&record, offset, place) {
            Ok(()) => true,
            Err(flaw) => {
                rows.push_bad(offset, flaw, &window.buf[span.start..span.end]);
                false
            }
        }
    }

    /// The complete way: a record whose end is known.
    #[cold]
    #[inline(never)]
    fn complete(&mut self, window: &Window<'_>, span: Span, rows: &mut Rows) {
        let Span { start, end, .. } = span;
        let bytes = &window.buf[start..end];
        let offset = window.base + start as u64;
        if bytes.len() > self.record_bytes_max {
            return rows.push_bad(offset, super::too_long(self.record_bytes_max), bytes);
        }
        if !self.utf8.is_valid(window, start, end) {
            return rows.push_bad(offset, super::not_utf8(bytes), bytes);
        }
        let first = start + bytes.iter().take_while(|&&byte| is_white(byte)).count();
        let last = start + bytes.iter().rposition(|&byte| !is_white(byte)).map_or(0, |last| last + 1);
        if let Err(flaw) = self.parser.record(window.buf, first, last, &self.tree, &mut self.slots) {
            let reason = match flaw.code {
                Code::RecordNotObject => flaw.what,
                _ => format!("{} (at byte {} of the record)", flaw.what, flaw.at - start),
            };
            return rows.push_bad(offset, (flaw.code, reason), bytes);
        }
        if self.take(window, span, rows) {
            self.shapes.missed();
            self.shapes.learn(window.buf, start, last, &self.parser.marks);
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    // Exactly the features that `decode_avx2` and `walk_avx2` are compiled for.
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(test)]
mod tests;
