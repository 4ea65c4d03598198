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
pub(super) struct Validity {
    bits: Vec<u8>,
    nulls: usize,
}

impl Validity {
    /// Adds a null as row `row`; the rows before it that were never mentioned are values.
    pub(super) fn push_null(&mut self, row: usize) {
        self.extend_to(row + 1);
        self.bits[row / 8] &= !(1 << (row % 8));
        self.nulls += 1;
    }

    fn extend_to(&mut self, rows: usize) {
        self.bits.resize(rows.div_ceil(8), 0xff);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
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

    pub(super) fn clear(&mut self) {
        self.bits.clear();
        self.nulls = 0;
    }

    pub(super) fn write(&self, column: &mut ColumnWriter<'_>) {
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
