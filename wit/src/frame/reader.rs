//! Owns checking and opening a frame.
//! Does not own the reading of a column (`column`).
//! Invariant: whatever the bytes, nothing here panics or reads outside them; what `parse` accepts can be read without
//! further checks.

use super::column::Column;
use super::{
    CANONICAL_NAN, DESCRIPTOR_BYTES, FLAG_VALIDITY, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_VERSION,
    aligned, u16_at, u32_at,
};
use crate::ColumnType;
use crate::error::{Fault, Result, WireError};

/// How much of a frame is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Header, descriptors and the place and length of each buffer.
    Layout,
    /// And every offset, every text value and every decimal's range: what a reader that does not trust the writer needs.
    Values,
    /// And the canonical form: nulls zero, tail bits zero, padding zero, one NaN, no needless bitmap.
    Canonical,
}

/// An opened frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameReader<'a> {
    bytes: &'a [u8],
    rows: usize,
    columns: usize,
}

impl<'a> FrameReader<'a> {
    /// Opens a frame from a writer that is not trusted. `check` below [`Check::Values`] is raised to it.
    pub fn parse(bytes: &'a [u8], check: Check) -> Result<Self> {
        let frame = Self::open(bytes)?;
        for (index, column) in frame.columns().enumerate() {
            check_values(&column).map_err(|error| error.at_column(index))?;
        }
        if check == Check::Canonical {
            frame.check_canonical()?;
        }
        Ok(frame)
    }

    /// Opens a frame, checking its layout only, as a plugin does with what its host gave it.
    ///
    /// # Safety
    /// The writer promises that offsets ascend from zero to the data's length and that text is UTF-8.
    pub unsafe fn parse_trusted(bytes: &'a [u8]) -> Result<Self> {
        Self::open(bytes)
    }

    fn open(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() < FRAME_HEADER_BYTES {
            return Err(Fault::FrameShort.into());
        }
        if u32_at(bytes, 0) != FRAME_MAGIC {
            return Err(Fault::FrameMagic.into());
        }
        if u16_at(bytes, 4) != FRAME_VERSION {
            return Err(Fault::FrameVersion.into());
        }
        let columns = u16_at(bytes, 6) as usize;
        let rows = u32_at(bytes, 8) as usize;
        if u32_at(bytes, 12) as usize != bytes.len() {
            return Err(Fault::FrameLength.into());
        }
        let mut cursor = (FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * columns) as u64;
        if (bytes.len() as u64) < cursor {
            return Err(Fault::FrameShort.into());
        }
        for index in 0..columns {
            check_descriptor(bytes, index, rows as u64, &mut cursor)
                .map_err(|fault| WireError::new(fault).at_column(index))?;
        }
        if aligned(cursor) != bytes.len() as u64 {
            return Err(Fault::BufferGap.into());
        }
        Ok(Self {
            bytes,
            rows,
            columns,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.columns
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let frame = *self;
        (0..self.columns).map(move |index| frame.column_unchecked(index))
    }

    /// A column by its place.
    #[inline]
    pub fn column(&self, index: usize) -> Option<Column<'a>> {
        (index < self.columns).then(|| self.column_unchecked(index))
    }

    /// A column by its place, if it has the declared type and, unless `nullable`, no null.
    pub fn expect(&self, index: usize, kind: ColumnType, nullable: bool) -> Result<Column<'a>> {
        let column = self
            .column(index)
            .ok_or(WireError::new(Fault::ColumnCount))?;
        if column.kind != kind {
            return Err(WireError::new(Fault::ColumnKind).at_column(index));
        }
        if !nullable && let Some(row) = column.first_null() {
            return Err(WireError::new(Fault::ColumnNull)
                .at_column(index)
                .at_row(row));
        }
        Ok(column)
    }

    /// The index exists; `open` has checked all that is computed here.
    fn column_unchecked(&self, index: usize) -> Column<'a> {
        let at = FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * index;
        let field = |offset: usize| u32_at(self.bytes, at + offset) as usize;
        let kind =
            ColumnType::from_tag(self.bytes[at], self.bytes[at + 2], self.bytes[at + 3] as i8)
                .expect("the type was checked when the frame was opened");
        let validity = (self.bytes[at + 1] & FLAG_VALIDITY != 0)
            .then(|| &self.bytes[field(4)..field(4) + self.rows.div_ceil(8)]);
        let offsets = if kind.is_variable() {
            self.bytes[field(8)..field(8) + 4 * (self.rows + 1)]
                .as_chunks::<4>()
                .0
        } else {
            &[]
        };
        Column {
            kind,
            rows: self.rows,
            validity,
            offsets,
            data: &self.bytes[field(12)..field(12) + field(16)],
        }
    }

    fn check_canonical(&self) -> Result<()> {
        let mut end = FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * self.columns;
        for (index, column) in self.columns().enumerate() {
            check_canonical(&column).map_err(|error| error.at_column(index))?;
            let at = FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * index;
            let field = |offset: usize| u32_at(self.bytes, at + offset) as usize;
            let buffers = [
                column.validity.map(|bits| (field(4), bits.len())),
                column
                    .kind
                    .is_variable()
                    .then(|| (field(8), 4 * column.offsets.len())),
                Some((field(12), column.data.len())),
            ];
            for (start, length) in buffers.into_iter().flatten() {
                if self.bytes[end..start].iter().any(|&byte| byte != 0) {
                    return Err(WireError::new(Fault::Padding).at_column(index));
                }
                end = start + length;
            }
        }
        if self.bytes[end..].iter().any(|&byte| byte != 0) {
            return Err(Fault::Padding.into());
        }
        Ok(())
    }
}

/// Checks one descriptor and moves `cursor` to the end of the column's last buffer. 64-bit, so that nothing overflows.
fn check_descriptor(bytes: &[u8], index: usize, rows: u64, cursor: &mut u64) -> Result<(), Fault> {
    let at = FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * index;
    let (tag, flags, precision, scale) =
        (bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3] as i8);
    let kind = ColumnType::from_tag(tag, precision, scale).ok_or(Fault::TypeUnknown)?;
    let has_parameters = matches!(kind, ColumnType::Decimal128 { .. });
    if !kind.is_valid() || (!has_parameters && (precision != 0 || scale != 0)) {
        return Err(Fault::TypeParameters);
    }
    if flags & !FLAG_VALIDITY != 0 {
        return Err(Fault::FlagsUnknown);
    }
    if u32_at(bytes, at + 20) != 0 {
        return Err(Fault::FrameReserved);
    }
    let data_bytes = u64::from(u32_at(bytes, at + 16));
    let expected_bytes = match kind.width() {
        Some(width) => rows * width as u64,
        None if kind == ColumnType::Bool => rows.div_ceil(8),
        None => data_bytes,
    };
    if data_bytes != expected_bytes {
        return Err(Fault::DataLength);
    }
    let buffers = [
        (4, (flags & FLAG_VALIDITY != 0).then(|| rows.div_ceil(8))),
        (8, kind.is_variable().then(|| 4 * (rows + 1))),
        (12, Some(data_bytes)),
    ];
    for (field, length) in buffers {
        let start = u64::from(u32_at(bytes, at + field));
        let Some(length) = length else {
            if start != 0 {
                return Err(Fault::BufferUnexpected);
            }
            continue;
        };
        if !start.is_multiple_of(super::ALIGNMENT_BYTES as u64) {
            return Err(Fault::BufferMisaligned);
        }
        if start < *cursor {
            return Err(Fault::BufferOverlap);
        }
        if start + length > bytes.len() as u64 {
            return Err(Fault::BufferBounds);
        }
        if start != aligned(*cursor) {
            return Err(Fault::BufferGap);
        }
        *cursor = start + length;
    }
    Ok(())
}

fn check_values(column: &Column<'_>) -> Result<()> {
    if column.kind.is_variable() {
        check_offsets(column)?;
    }
    if column.kind == ColumnType::Utf8 {
        check_utf8(column)?;
    }
    if let ColumnType::Decimal128 { precision, .. } = column.kind {
        let limit = 10_i128.pow(u32::from(precision));
        for (row, value) in column.data.as_chunks::<16>().0.iter().enumerate() {
            let value = i128::from_le_bytes(*value);
            if value <= -limit || value >= limit {
                return Err(WireError::new(Fault::DecimalRange).at_row(row));
            }
        }
    }
    Ok(())
}

fn check_offsets(column: &Column<'_>) -> Result<()> {
    let offsets = column.offsets;
    if u32::from_le_bytes(offsets[0]) != 0 {
        return Err(WireError::new(Fault::OffsetsStart).at_row(0));
    }
    let pairs = || offsets.iter().zip(&offsets[1..]);
    let decreases =
        |(from, to): (&[u8; 4], &[u8; 4])| u32::from_le_bytes(*from) > u32::from_le_bytes(*to);
    // Without an early exit the loop becomes vector instructions; the second pass runs for bad frames only.
    if pairs().fold(false, |bad, pair| bad | decreases(pair)) {
        let row = pairs().position(decreases).unwrap_or(0);
        return Err(WireError::new(Fault::OffsetsOrder).at_row(row));
    }
    if u32::from_le_bytes(offsets[column.rows]) as usize != column.data.len() {
        return Err(WireError::new(Fault::OffsetsEnd).at_row(column.rows.saturating_sub(1)));
    }
    Ok(())
}

/// Text is checked as a whole and then cut: a value is UTF-8 when the whole is and it starts at a character.
fn check_utf8(column: &Column<'_>) -> Result<()> {
    if column.data.is_ascii() {
        return Ok(());
    }
    let row_of = |at: usize| {
        let next = column
            .offsets
            .partition_point(|offset| u32::from_le_bytes(*offset) as usize <= at);
        next.saturating_sub(1).min(column.rows.saturating_sub(1))
    };
    let text = core::str::from_utf8(column.data)
        .map_err(|error| WireError::new(Fault::Utf8Invalid).at_row(row_of(error.valid_up_to())))?;
    match column
        .offsets
        .iter()
        .position(|offset| !text.is_char_boundary(u32::from_le_bytes(*offset) as usize))
    {
        None => Ok(()),
        Some(row) => Err(WireError::new(Fault::Utf8Invalid).at_row(row)),
    }
}

fn check_canonical(column: &Column<'_>) -> Result<()> {
    let rows = column.rows;
    let tail_is_zero = |bits: &[u8]| rows.is_multiple_of(8) || bits[rows / 8] >> (rows % 8) == 0;
    if let Some(bits) = column.validity {
        if !tail_is_zero(bits) {
            return Err(Fault::TailBits.into());
        }
        if column.nulls() == 0 {
            return Err(Fault::ValidityNeedless.into());
        }
        for row in (0..rows).filter(|&row| !column.is_valid(row)) {
            let is_zero = match column.kind.width() {
                Some(width) => column.data[row * width..][..width]
                    .iter()
                    .all(|&byte| byte == 0),
                None if column.kind == ColumnType::Bool => !column.bool_at(row),
                None => column.offsets[row] == column.offsets[row + 1],
            };
            if !is_zero {
                return Err(WireError::new(Fault::NullSlot).at_row(row));
            }
        }
    }
    if column.kind == ColumnType::Bool && !tail_is_zero(column.data) {
        return Err(Fault::TailBits.into());
    }
    if column.kind == ColumnType::F64 {
        for (row, value) in column.data.as_chunks::<8>().0.iter().enumerate() {
            let bits = u64::from_le_bytes(*value);
            if f64::from_bits(bits).is_nan() && bits != CANONICAL_NAN {
                return Err(WireError::new(Fault::NanPayload).at_row(row));
            }
        }
    }
    Ok(())
}
