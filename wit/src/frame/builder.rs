//! Owns collecting a column's values row by row.
//! Does not own laying the column out (`writer`).
//! Invariants: a builder holds canonical values only; it never gives memory back, so that a plugin that reuses one
//! does not allocate from its second batch on.

use super::writer::ColumnWriter;
use super::{FrameWriter, canonical_f64};
use crate::ColumnType;
use crate::error::{Fault, Result};

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
    /// The bytes of many.
    fn flatten(values: &[Self::Bytes]) -> &[u8];
}

macro_rules! fixed {
    ($($type:ty, $width:literal, |$value:ident| $canonical:expr;)*) => {$(
        impl Fixed for $type {
            type Bytes = [u8; $width];
            #[inline]
            fn to_bytes(self) -> [u8; $width] {
                let $value = self;
                $canonical.to_le_bytes()
            }
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
    #[inline]
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
    at: u32,
    length: u32,
    from_source: bool,
}

/// Texts or byte strings.
///
/// A value that lies in the source (the batch that a plugin reads) is not copied when it is pushed: the builder notes
/// where it lies, joins neighbours, and copies once into the answer. Forwarding a whole column is one copy.
#[derive(Clone, Debug, Default)]
pub struct VarBuilder {
    /// The end of each value.
    ends: Vec<[u8; 4]>,
    end: u32,
    runs: Vec<Run>,
    own: Vec<u8>,
    validity: Validity,
    source_at: usize,
    source_bytes: usize,
    overflow: bool,
}

impl VarBuilder {
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        if !value.is_empty() {
            // Wraps to a large number when the value lies before the source.
            let at = value.as_ptr().addr().wrapping_sub(self.source_at);
            let from_source = at < self.source_bytes && value.len() <= self.source_bytes - at;
            let at = if from_source {
                at
            } else {
                let at = self.own.len();
                self.own.extend_from_slice(value);
                at
            };
            self.push_run(at, value.len(), from_source);
        }
        self.ends.push(self.end.to_le_bytes());
    }

    #[inline]
    fn push_run(&mut self, at: usize, length: usize, from_source: bool) {
        let (Ok(at), Ok(length)) = (u32::try_from(at), u32::try_from(length)) else {
            self.overflow = true;
            return;
        };
        let Some(end) = self.end.checked_add(length) else {
            self.overflow = true;
            return;
        };
        self.end = end;
        if let Some(last) = self.runs.last_mut()
            && last.from_source == from_source
            && last.at + last.length == at
        {
            last.length += length;
        } else {
            self.runs.push(Run {
                at,
                length,
                from_source,
            });
        }
    }
}

impl ColumnBuilder for VarBuilder {
    fn rows(&self) -> usize {
        self.ends.len()
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.ends.len());
        self.ends.push(self.end.to_le_bytes());
    }

    fn truncate(&mut self, rows: usize) {
        if rows >= self.ends.len() {
            return;
        }
        self.ends.truncate(rows);
        let end = self.ends.last().map_or(0, |end| u32::from_le_bytes(*end));
        let mut surplus = self.end - end;
        self.end = end;
        while surplus > 0
            && let Some(last) = self.runs.last_mut()
        {
            let cut = surplus.min(last.length);
            last.length -= cut;
            surplus -= cut;
            if !last.from_source {
                self.own.truncate(last.at as usize + last.length as usize);
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
        self.own.clear();
        self.validity.clear();
        self.overflow = false;
        self.source_at = source.as_ptr().addr();
        self.source_bytes = source.len();
    }

    fn write(&self, kind: ColumnType, source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()> {
        if self.overflow {
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
            for run in &self.runs {
                let bytes = if run.from_source { source } else { &self.own };
                out.extend_from_slice(&bytes[run.at as usize..][..run.length as usize]);
            }
        });
        Ok(())
    }
}
