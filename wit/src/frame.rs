//! Owns the frame: columns of equal length as one run of bytes (see `frame.md`).
//! Does not own what a frame is for (`message`), nor the meaning of its columns.
//! Invariant: the place of every buffer follows from the descriptors, so that two frames with the same values in
//! canonical form are the same bytes.

mod builder;
mod column;
mod reader;
mod variable;
mod writer;

pub use builder::{BoolBuilder, ColumnBuilder, Fixed, FixedBuilder};
pub use column::{Column, Value};
pub use reader::{Check, FrameReader};
pub use variable::VarBuilder;
pub(crate) use writer::pad;
pub use writer::{Bits, FrameWriter, Payload};

/// "SGN1", little-endian.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SGN1");
/// The version of the layout.
pub const FRAME_VERSION: u16 = 1;
/// Bytes before the first descriptor.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Bytes of one column's descriptor.
pub const DESCRIPTOR_BYTES: usize = 24;
/// Every buffer and section starts at a multiple of this many bytes, so that 64-bit values can be read in place.
pub const ALIGNMENT_BYTES: usize = 8;
/// The bits of the only NaN.
pub const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

/// Descriptor flag: the column has a validity bitmap.
pub(crate) const FLAG_VALIDITY: u8 = 1;

pub(crate) const fn aligned(at: u64) -> u64 {
    at.next_multiple_of(ALIGNMENT_BYTES as u64)
}

#[inline(always)]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The canonical form of a floating-point number: every NaN becomes [`CANONICAL_NAN`].
///
/// On the bits, because a choice between whole numbers is one instruction without a branch, also in a sandbox.
#[inline(always)]
pub const fn canonical_f64(value: f64) -> f64 {
    let bits = value.to_bits();
    let is_nan = bits & (u64::MAX >> 1) > f64::INFINITY.to_bits();
    f64::from_bits(if is_nan { CANONICAL_NAN } else { bits })
}
