//! Owns reading one column in place.
//! Does not own finding and checking it (`reader`).
//! Invariants: slices have the lengths that the type and the number of rows require; after any check but
//! `Check::Layout`, offsets ascend within the data and text is UTF-8.

use crate::ColumnType;

/// One column of a frame, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    pub(super) kind: ColumnType,
    pub(super) rows: usize,
    pub(super) validity: Option<&'a [u8]>,
    pub(super) offsets: &'a [[u8; 4]],
    pub(super) data: &'a [u8],
}

/// One value, whatever its type. For tools and tests; hot paths use the typed accessors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    I32(i32),
    I64(i64),
    U64(u64),
    F64(f64),
    Utf8(&'a str),
    Binary(&'a [u8]),
    /// Microseconds since 1970, UTC.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
    /// The unscaled integer.
    Decimal128(i128),
    U32(u32),
}

impl<'a> Column<'a> {
    pub fn kind(&self) -> ColumnType {
        self.kind
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The validity bitmap (1 = a value, 0 = null; least significant bit first), or nothing when no row is null.
    pub fn validity(&self) -> Option<&'a [u8]> {
        self.validity
    }

    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        match self.validity {
            None => true,
            Some(bits) => bits[row / 8] & (1 << (row % 8)) != 0,
        }
    }

    /// The number of nulls.
    pub fn nulls(&self) -> usize {
        let Some(bits) = self.validity else { return 0 };
        let whole = self.rows / 8;
        let mut valid: usize = bits[..whole]
            .iter()
            .map(|byte| byte.count_ones() as usize)
            .sum();
        if !self.rows.is_multiple_of(8) {
            valid += (bits[whole] & ((1 << (self.rows % 8)) - 1)).count_ones() as usize;
        }
        self.rows - valid
    }

    /// The first null, if any.
    pub fn first_null(&self) -> Option<usize> {
        self.validity?;
        (0..self.rows).find(|&row| !self.is_valid(row))
    }

    /// The data buffer: values, bits, or the bytes that the offsets point into.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The offsets of a utf8 or binary column as `rows + 1` little-endian u32; empty for other types.
    pub fn offsets(&self) -> &'a [[u8; 4]] {
        self.offsets
    }

    /// The values of a column whose width is `N` bytes, in little-endian bytes; nothing when the width is another.
    /// Reading through this needs no alignment and costs the same.
    #[inline]
    pub fn values<const N: usize>(&self) -> Option<&'a [[u8; N]]> {
        (self.kind.width() == Some(N)).then_some(self.data.as_chunks::<N>().0)
    }

    /// The values of an i64 or timestamp column in place; nothing for another type, on a big-endian machine, or when
    /// the frame does not start at a multiple of 8 in memory.
    pub fn i64s(&self) -> Option<&'a [i64]> {
        if !matches!(self.kind, ColumnType::I64 | ColumnType::Timestamp)
            || cfg!(target_endian = "big")
        {
            return None;
        }
        // SAFETY: any 8 bytes are an i64; `align_to` gives only aligned values, and we take it only when it took all.
        let (before, values, after) = unsafe { self.data.align_to::<i64>() };
        (before.is_empty() && after.is_empty()).then_some(values)
    }

    /// One value of a fixed-width column as `N` little-endian bytes.
    ///
    /// # Panics
    /// When the row does not exist or `N` is not the type's width.
    #[inline]
    pub fn fixed_at<const N: usize>(&self, row: usize) -> [u8; N] {
        self.data.as_chunks::<N>().0[row]
    }

    /// One value of a bool column.
    ///
    /// # Panics
    /// When the row does not exist.
    #[inline]
    pub fn bool_at(&self, row: usize) -> bool {
        self.data[row / 8] & (1 << (row % 8)) != 0
    }

    /// The bytes of one value of a utf8 or binary column.
    ///
    /// # Panics
    /// When the row does not exist or the column has no offsets.
    #[inline]
    pub fn bytes_at(&self, row: usize) -> &'a [u8] {
        let from = u32::from_le_bytes(self.offsets[row]) as usize;
        let to = u32::from_le_bytes(self.offsets[row + 1]) as usize;
        &self.data[from..to]
    }

    /// One value of a utf8 column.
    ///
    /// # Panics
    /// When the row does not exist or the column is not text.
    #[inline]
    pub fn str_at(&self, row: usize) -> &'a str {
        assert!(
            self.kind == ColumnType::Utf8,
            "a text value is read from a {} column",
            self.kind
        );
        // SAFETY: the column is text, and `FrameReader` either checked every text value or was told by its caller,
        // under `unsafe`, that they are UTF-8.
        unsafe { core::str::from_utf8_unchecked(self.bytes_at(row)) }
    }

    /// One value of any type.
    ///
    /// # Panics
    /// When the row does not exist.
    pub fn value_at(&self, row: usize) -> Value<'a> {
        assert!(
            row < self.rows,
            "row {row} of a column of {} rows",
            self.rows
        );
        if !self.is_valid(row) {
            return Value::Null;
        }
        match self.kind {
            ColumnType::Bool => Value::Bool(self.bool_at(row)),
            ColumnType::I32 => Value::I32(i32::from_le_bytes(self.fixed_at(row))),
            ColumnType::I64 => Value::I64(i64::from_le_bytes(self.fixed_at(row))),
            ColumnType::U64 => Value::U64(u64::from_le_bytes(self.fixed_at(row))),
            ColumnType::F64 => Value::F64(f64::from_le_bytes(self.fixed_at(row))),
            ColumnType::Utf8 => Value::Utf8(self.str_at(row)),
            ColumnType::Binary => Value::Binary(self.bytes_at(row)),
            ColumnType::Timestamp => Value::Timestamp(i64::from_le_bytes(self.fixed_at(row))),
            ColumnType::Date => Value::Date(i32::from_le_bytes(self.fixed_at(row))),
            ColumnType::Decimal128 { .. } => {
                Value::Decimal128(i128::from_le_bytes(self.fixed_at(row)))
            }
            ColumnType::U32 => Value::U32(u32::from_le_bytes(self.fixed_at(row))),
        }
    }
}
