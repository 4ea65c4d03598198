//! Owns writing a frame from whole buffers (a host's Arrow columns, a plugin's builders).
//! Does not own collecting values row by row (`builder`).
//! Invariant: whatever the caller's buffers hold in null slots, tail bits or NaNs, the frame is canonical.

use super::{
    ALIGNMENT_BYTES, DESCRIPTOR_BYTES, FLAG_VALIDITY, FRAME_HEADER_BYTES, FRAME_MAGIC,
    FRAME_VERSION, canonical_f64,
};
use crate::ColumnType;
use crate::error::{Fault, Result, WireError};

/// A run of bits that may start inside a byte, as in a slice of an Arrow array.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    pub bytes: &'a [u8],
    /// Bits to skip.
    pub offset: usize,
}

impl<'a> Bits<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// # Panics
    /// When there is no such bit.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        let at = self.offset + row;
        self.bytes[at / 8] & (1 << (at % 8)) != 0
    }
}

/// A column's values.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Little-endian values of a fixed width: exactly rows × width bytes.
    Fixed(&'a [u8]),
    /// The values of a bool column: at least as many bits as rows.
    Bits(Bits<'a>),
    /// `rows + 1` little-endian u32 or non-negative i32 offsets into `data`. They may start anywhere, and `data` may be
    /// longer than what they cover.
    Variable { offsets: &'a [u8], data: &'a [u8] },
}

/// Writes one frame at the end of a buffer.
///
/// The buffer's length must be a multiple of 8 when the frame begins (it is, inside a message).
#[derive(Debug)]
pub struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    rows: usize,
    columns: usize,
    written: usize,
}

impl<'o> FrameWriter<'o> {
    /// Reserves the header and the descriptors of exactly `columns` columns.
    pub fn begin(out: &'o mut Vec<u8>, rows: u32, columns: u16) -> Self {
        debug_assert!(out.len().is_multiple_of(ALIGNMENT_BYTES));
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
        out.extend_from_slice(&FRAME_VERSION.to_le_bytes());
        out.extend_from_slice(&columns.to_le_bytes());
        out.extend_from_slice(&rows.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.resize(
            start + FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * columns as usize,
            0,
        );
        Self {
            out,
            start,
            rows: rows as usize,
            columns: columns as usize,
            written: 0,
        }
    }

    /// Writes the next column. `validity` (1 = a value) may be given for columns without nulls; it is then left out.
    ///
    /// # Errors
    /// `DataLength`, `OffsetsOrder` or `OffsetsEnd` when the payload does not fit the type and the rows; `ColumnCount`
    /// when all columns have been written.
    pub fn column(
        &mut self,
        kind: ColumnType,
        validity: Option<Bits<'_>>,
        payload: Payload<'_>,
    ) -> Result<()> {
        let index = self.written;
        self.try_column(kind, validity, payload)
            .map_err(|error| error.at_column(index))
    }

    fn try_column(
        &mut self,
        kind: ColumnType,
        validity: Option<Bits<'_>>,
        payload: Payload<'_>,
    ) -> Result<()> {
        let validity = match validity {
            Some(bits) if bits.bytes.len() * 8 < bits.offset + self.rows => {
                return Err(Fault::DataLength.into());
            }
            Some(bits) => has_null(bits, self.rows).then_some(bits),
            None => None,
        };
        let mut column = self.begin_column(kind)?;
        if let Some(bits) = validity {
            column.validity(|out, rows| push_bits(out, bits, rows));
        }
        match payload {
            Payload::Fixed(data) => {
                let width = kind.width().ok_or(Fault::DataLength)?;
                if data.len() != column.rows * width {
                    return Err(Fault::DataLength.into());
                }
                column.data(|out| {
                    let at = out.len();
                    out.extend_from_slice(data);
                    if let Some(bits) = validity {
                        for row in (0..data.len() / width).filter(|&row| !bits.get(row)) {
                            out[at + row * width..][..width].fill(0);
                        }
                    }
                    if kind == ColumnType::F64 {
                        for value in out[at..].as_chunks_mut::<8>().0 {
                            *value = canonical_f64(f64::from_le_bytes(*value)).to_le_bytes();
                        }
                    }
                });
            }
            Payload::Bits(bits) => {
                if kind != ColumnType::Bool || bits.bytes.len() * 8 < bits.offset + column.rows {
                    return Err(Fault::DataLength.into());
                }
                let rows = column.rows;
                column.data(|out| {
                    let at = out.len();
                    push_bits(out, bits, rows);
                    if let Some(valid) = validity {
                        for row in (0..rows).filter(|&row| !valid.get(row)) {
                            out[at + row / 8] &= !(1 << (row % 8));
                        }
                    }
                });
            }
            Payload::Variable { offsets, data } => {
                if !kind.is_variable() || offsets.len() != 4 * (column.rows + 1) {
                    return Err(Fault::DataLength.into());
                }
                write_variable(column, offsets.as_chunks::<4>().0, data, validity)?;
            }
        }
        Ok(())
    }

    /// Starts the next column's descriptor; the buffers follow in the order validity, offsets, data.
    pub(crate) fn begin_column(&mut self, kind: ColumnType) -> Result<ColumnWriter<'_>> {
        if self.written == self.columns {
            return Err(Fault::ColumnCount.into());
        }
        let descriptor = self.start + FRAME_HEADER_BYTES + DESCRIPTOR_BYTES * self.written;
        self.written += 1;
        self.out[descriptor] = kind.tag();
        if let ColumnType::Decimal128 { precision, scale } = kind {
            self.out[descriptor + 2] = precision;
            self.out[descriptor + 3] = scale as u8;
        }
        Ok(ColumnWriter {
            out: self.out,
            start: self.start,
            descriptor,
            rows: self.rows,
        })
    }

    /// Ends the frame.
    ///
    /// # Errors
    /// `ColumnCount` when fewer columns were written than announced, `FrameTooLarge` past 4 GiB.
    pub fn finish(self) -> Result<()> {
        if self.written != self.columns {
            return Err(Fault::ColumnCount.into());
        }
        pad(self.out);
        let length =
            u32::try_from(self.out.len() - self.start).map_err(|_| Fault::FrameTooLarge)?;
        self.out[self.start + 12..self.start + 16].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// One column being written.
pub(crate) struct ColumnWriter<'w> {
    out: &'w mut Vec<u8>,
    start: usize,
    descriptor: usize,
    pub(crate) rows: usize,
}

impl ColumnWriter<'_> {
    fn buffer(&mut self, field: usize, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        pad(self.out);
        let at = self.out.len();
        // A frame past 4 GiB is refused by `finish`; until then a wrapped offset is never read.
        self.out[self.descriptor + field..][..4]
            .copy_from_slice(&((at - self.start) as u32).to_le_bytes());
        write(self.out);
        self.out.len() - at
    }

    pub(crate) fn validity(&mut self, write: impl FnOnce(&mut Vec<u8>, usize)) {
        let rows = self.rows;
        self.out[self.descriptor + 1] |= FLAG_VALIDITY;
        self.buffer(4, |out| write(out, rows));
    }

    pub(crate) fn offsets(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.buffer(8, write);
    }

    pub(crate) fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let length = self.buffer(12, write) as u32;
        self.out[self.descriptor + 16..][..4].copy_from_slice(&length.to_le_bytes());
    }
}

fn write_variable(
    mut column: ColumnWriter<'_>,
    offsets: &[[u8; 4]],
    data: &[u8],
    validity: Option<Bits<'_>>,
) -> Result<()> {
    let at = |row: usize| u32::from_le_bytes(offsets[row]) as usize;
    let rows = column.rows;
    let (first, last) = (at(0), at(rows));
    if let Some(row) = (0..rows).find(|&row| at(row) > at(row + 1)) {
        return Err(WireError::new(Fault::OffsetsOrder).at_row(row));
    }
    if last > data.len() {
        return Err(WireError::new(Fault::OffsetsEnd).at_row(rows.saturating_sub(1)));
    }
    let hidden = |row: usize| validity.is_some_and(|bits| !bits.get(row)) && at(row) != at(row + 1);
    if !(0..rows).any(hidden) {
        column.offsets(|out| {
            if first == 0 {
                out.extend_from_slice(offsets.as_flattened());
            } else {
                out.extend((0..=rows).flat_map(|row| ((at(row) - first) as u32).to_le_bytes()));
            }
        });
        column.data(|out| out.extend_from_slice(&data[first..last]));
        return Ok(());
    }
    // Some null hides bytes, which must not reach the frame: copy value by value.
    column.offsets(|out| {
        let mut end = 0_u32;
        out.extend_from_slice(&end.to_le_bytes());
        for row in 0..rows {
            if !hidden(row) {
                end += (at(row + 1) - at(row)) as u32;
            }
            out.extend_from_slice(&end.to_le_bytes());
        }
    });
    column.data(|out| {
        for row in (0..rows).filter(|&row| !hidden(row)) {
            out.extend_from_slice(&data[at(row)..at(row + 1)]);
        }
    });
    Ok(())
}

/// The bits from `offset` on as whole bytes; what is past the last row is left as it is.
fn shifted<'a>(bits: Bits<'a>, rows: usize) -> impl Iterator<Item = u8> + use<'a> {
    let (skip, shift) = (bits.offset / 8, bits.offset % 8);
    let bytes = &bits.bytes[skip..];
    (0..rows.div_ceil(8)).map(move |index| {
        let low = bytes[index] >> shift;
        match bytes.get(index + 1) {
            Some(byte) if shift > 0 => low | byte << (8 - shift),
            _ => low,
        }
    })
}

fn has_null(bits: Bits<'_>, rows: usize) -> bool {
    let tail = if rows.is_multiple_of(8) {
        0
    } else {
        0xff << (rows % 8)
    };
    let last = rows.div_ceil(8).saturating_sub(1);
    shifted(bits, rows)
        .enumerate()
        .any(|(index, byte)| (if index == last { byte | tail } else { byte }) != 0xff)
}

fn push_bits(out: &mut Vec<u8>, bits: Bits<'_>, rows: usize) {
    let at = out.len();
    out.extend(shifted(bits, rows));
    if !rows.is_multiple_of(8) {
        out[at + rows / 8] &= (1 << (rows % 8)) - 1;
    }
}

pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT_BYTES), 0);
}
