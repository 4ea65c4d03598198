//! Owns collecting a column's values row by row.
//! Does not own laying the column out (`writer`).
//! Invariants: a builder holds canonical values only; it never gives memory back, so that a plugin that reuses one
//! does not allocate from its second batch on.

use super::writer::ColumnWriter;
use super::{FrameWriter, canonical_f64};
use crate::ColumnType;
use crate::error::{Fault, Result};
use crate::short::append;

/// Validity bits, made only when the first null comes.
#[derive(Clone, Debug, Default)]
struct Validity {
    bits: Vec<u8>,
    nulls: usize,
}

impl Validity {
    /// Adds a null as row `row`; the rows before it that were never mentioned are values.
    fn push_null(&mut self, row: usize) {
        self.extend_to(row + 1);
        self.bits[row / 8] &= !(1 << (row % 8));
        self.nulls += 1;
    }

    fn extend_to(&mut self, rows: usize) {
        self.bits.resize(rows.div_ceil(8), 0xff);
    }

    fn truncate(&mut self, rows: usize) {
        if self.nulls == 0 {
            return;
        }
        self.bits.truncate(rows.div_ceil(8));
        if !rows.is_multiple_of(8) && self.bits.len() == rows.div_ceil(8) {
            self.bits[rows / 8] |= 0xff << (rows % 8);
        }
        self.nulls = self
            .bits
            .iter()
            .map(|byte| byte.count_zeros() as usize)
            .sum();
    }

    fn clear(&mut self) {
        self.bits.clear();
        self.nulls = 0;
    }

    fn write(&self, column: &mut ColumnWriter<'_>) {
        if self.nulls > 0 {
            column.validity(|out, rows| {
                let at = out.len();
                out.extend_from_slice(&self.bits);
                out.resize(at + rows.div_ceil(8), 0xff);
                if !rows.is_multiple_of(8) {
                    out[at + rows / 8] &= (1 << (rows % 8)) - 1;
                }
            });
        }
    }
}

/// What every builder can do.
pub trait ColumnBuilder: Default {
    /// Rows so far.
    fn rows(&self) -> usize;
    fn push_null(&mut self);
    /// Forgets the rows from `rows` on.
    fn truncate(&mut self, rows: usize);
    /// Forgets everything but the memory, and says where text and bytes may be borrowed from.
    fn begin(&mut self, source: &[u8]);
    /// Writes the column. `source` is what [`ColumnBuilder::begin`] was given.
    fn write(&self, kind: ColumnType, source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()>;
}

/// A value of fixed width.
pub trait Fixed: Copy + Default {
    /// Its little-endian bytes.
    type Bytes: Copy + Default;
    /// Its canonical little-endian bytes.
    fn to_bytes(self) -> Self::Bytes;
    /// Appends its canonical little-endian bytes.
    fn append(self, out: &mut Vec<u8>);
    /// The bytes of many.
    fn flatten(values: &[Self::Bytes]) -> &[u8];
}

macro_rules! fixed {
    ($($type:ty, $width:literal, |$value:ident| $canonical:expr;)*) => {$(
        impl Fixed for $type {
            type Bytes = [u8; $width];
            #[inline(always)]
            fn to_bytes(self) -> [u8; $width] {
                let $value = self;
                $canonical.to_le_bytes()
            }
            #[inline(always)]
            fn append(self, out: &mut Vec<u8>) {
                // An array, not a slice: its length is known, so that this is one store and no call.
                out.extend_from_slice(&self.to_bytes());
            }
            #[inline(always)]
            fn flatten(values: &[[u8; $width]]) -> &[u8] {
                values.as_flattened()
            }
        }
    )*};
}

fixed! {
    i32, 4, |value| value;
    u32, 4, |value| value;
    i64, 8, |value| value;
    u64, 8, |value| value;
    f64, 8, |value| canonical_f64(value);
    i128, 16, |value| value;
}

/// Values of a fixed width.
#[derive(Clone, Debug)]
pub struct FixedBuilder<T: Fixed> {
    values: Vec<T::Bytes>,
    validity: Validity,
}

impl<T: Fixed> Default for FixedBuilder<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            validity: Validity::default(),
        }
    }
}

impl<T: Fixed> FixedBuilder<T> {
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        self.values.push(value.to_bytes());
    }
}

impl<T: Fixed> ColumnBuilder for FixedBuilder<T> {
    fn rows(&self) -> usize {
        self.values.len()
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.values.len());
        self.values.push(T::default().to_bytes());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.validity.truncate(rows);
    }

    fn begin(&mut self, _source: &[u8]) {
        self.values.clear();
        self.validity.clear();
    }

    fn write(&self, kind: ColumnType, _source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()> {
        let data = T::flatten(&self.values);
        let mut column = frame.begin_column(kind)?;
        if kind
            .width()
            .is_none_or(|width| data.len() != column.rows * width)
        {
            return Err(Fault::DataLength.into());
        }
        self.validity.write(&mut column);
        column.data(|out| out.extend_from_slice(data));
        Ok(())
    }
}

/// Bools.
#[derive(Clone, Debug, Default)]
pub struct BoolBuilder {
    bits: Vec<u8>,
    rows: usize,
    validity: Validity,
}

impl BoolBuilder {
    #[inline]
    pub fn push(&mut self, value: bool) {
        if self.rows.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(byte) = self.bits.last_mut() {
            *byte |= u8::from(value) << (self.rows % 8);
        }
        self.rows += 1;
    }
}

impl ColumnBuilder for BoolBuilder {
    fn rows(&self) -> usize {
        self.rows
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.rows);
        self.push(false);
    }

    fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.rows = rows;
            self.bits.truncate(rows.div_ceil(8));
            if !rows.is_multiple_of(8) {
                self.bits[rows / 8] &= (1 << (rows % 8)) - 1;
            }
            self.validity.truncate(rows);
        }
    }

    fn begin(&mut self, _source: &[u8]) {
        self.bits.clear();
        self.rows = 0;
        self.validity.clear();
    }

    fn write(&self, kind: ColumnType, _source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()> {
        let mut column = frame.begin_column(kind)?;
        if kind != ColumnType::Bool || self.rows != column.rows {
            return Err(Fault::DataLength.into());
        }
        self.validity.write(&mut column);
        column.data(|out| out.extend_from_slice(&self.bits));
        Ok(())
    }
}

/// A run of bytes to copy.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: RunFrom,
    length: usize,
}

/// Where a run lies.
#[derive(Clone, Copy, Debug)]
enum RunFrom {
    /// So many bytes into the source.
    Source(usize),
    /// Right after the last run of our own.
    Own,
}

/// Texts or byte strings.
///
/// A value that lies in the source (the batch that a plugin reads) is not copied when it is pushed: the builder notes
/// where it lies, joins neighbours, and copies once into the answer. Forwarding a whole column is one copy.
#[derive(Clone, Debug, Default)]
pub struct VarBuilder {
    /// The end of each value, as it will be in the frame if that is not too large.
    ends: Vec<[u8; 4]>,
    end: u64,
    /// Finished runs; the current one is `run_from` and what came since `run_start`.
    runs: Vec<Run>,
    run_from: Option<usize>,
    run_start: u64,
    /// The address at which a value continues the current run of the source; 0 when that is not one.
    run_next: usize,
    own: Vec<u8>,
    validity: Validity,
    source_at: usize,
    source_end: usize,
}

impl VarBuilder {
    #[inline(always)]
    pub fn push(&mut self, value: &[u8]) {
        // The common case first: the value lies in the source, right after the one before it.
        let at = value.as_ptr().addr();
        if at == self.run_next && value.len() <= self.source_end - at {
            self.run_next = at + value.len();
        } else {
            self.push_apart(value);
        }
        self.end += value.len() as u64;
        self.ends.push((self.end as u32).to_le_bytes());
    }

    /// Notes or copies a value that does not continue a run of the source.
    fn push_apart(&mut self, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let at = value.as_ptr().addr();
        if at >= self.source_at && at < self.source_end && value.len() <= self.source_end - at {
            self.close_run();
            self.run_from = Some(at - self.source_at);
            self.run_next = at + value.len();
        } else {
            if self.run_from.is_some() {
                self.close_run();
            }
            append(&mut self.own, value);
        }
    }

    /// Adds a value that `write` appends, and gives it.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.run_from.is_some() {
            self.close_run();
        }
        let at = self.own.len();
        write(&mut self.own);
        let value = &self.own[at..];
        self.end += value.len() as u64;
        self.ends.push((self.end as u32).to_le_bytes());
        value
    }

    fn current_run(&self) -> Run {
        Run {
            from: self.run_from.map_or(RunFrom::Own, RunFrom::Source),
            length: (self.end - self.run_start) as usize,
        }
    }

    fn close_run(&mut self) {
        let run = self.current_run();
        if run.length > 0 {
            self.runs.push(run);
        }
        self.run_start = self.end;
        self.run_from = None;
        self.run_next = 0;
    }
}

impl ColumnBuilder for VarBuilder {
    fn rows(&self) -> usize {
        self.ends.len()
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.ends.len());
        self.ends.push((self.end as u32).to_le_bytes());
    }

    fn truncate(&mut self, rows: usize) {
        if rows >= self.ends.len() {
            return;
        }
        self.close_run();
        // Ends are kept modulo 2^32; what goes is known exactly all the same, because it came in one record.
        let end = rows
            .checked_sub(1)
            .map_or(0, |last| u32::from_le_bytes(self.ends[last]));
        let mut surplus = u64::from((self.end as u32).wrapping_sub(end));
        if rows == 0 {
            surplus = self.end;
        }
        self.ends.truncate(rows);
        self.end -= surplus;
        self.run_start = self.end;
        while surplus > 0
            && let Some(last) = self.runs.last_mut()
        {
            let cut = last.length.min(surplus as usize);
            last.length -= cut;
            surplus -= cut as u64;
            if matches!(last.from, RunFrom::Own) {
                self.own.truncate(self.own.len() - cut);
            }
            if last.length == 0 {
                self.runs.pop();
            }
        }
        self.validity.truncate(rows);
    }

    fn begin(&mut self, source: &[u8]) {
        self.ends.clear();
        self.end = 0;
        self.runs.clear();
        self.run_from = None;
        self.run_start = 0;
        self.run_next = 0;
        self.own.clear();
        self.validity.clear();
        self.source_at = source.as_ptr().addr();
        self.source_end = self.source_at + source.len();
    }

    fn write(&self, kind: ColumnType, source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()> {
        if self.end > u64::from(u32::MAX) {
            return Err(Fault::FrameTooLarge.into());
        }
        let mut column = frame.begin_column(kind)?;
        if !kind.is_variable() || self.ends.len() != column.rows {
            return Err(Fault::DataLength.into());
        }
        self.validity.write(&mut column);
        column.offsets(|out| {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(self.ends.as_flattened());
        });
        column.data(|out| {
            out.reserve(self.end as usize);
            let mut own = &self.own[..];
            for run in self.runs.iter().copied().chain([self.current_run()]) {
                let bytes = match run.from {
                    RunFrom::Source(at) => &source[at..at + run.length],
                    RunFrom::Own => own.split_off(..run.length).unwrap_or_default(),
                };
                append(out, bytes);
            }
        });
        Ok(())
    }
}
