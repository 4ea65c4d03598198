//! The boundary between Segno and its plugins: what crosses it, byte by byte.
//!
//! Specified for every language in `frame.md`; this crate is the Rust side of it, for hosts and plugins alike.
//! - [`ColumnType`]: what a column may hold
//! - [`FrameReader`], [`FrameWriter`]: columns of equal length as one run of bytes
//! - [`MessageReader`], [`MessageWriter`]: several frames in one flat list
//! - [`Description`]: what a plugin reads, gives and keeps
//! - [`EffectsReader`]: a plugin's answer, checked against its description
//! - [`StateWriter`], [`StateReader`]: one value of keyed state
//! - [`WireError`], [`Fault`]: every way in which such bytes can be wrong
//!
//! It owns the layout and its checks. It does not own Arrow, Wasm, or what an author of a plugin sees.
//! Invariant: no input makes it panic or read outside the bytes that it was given.

pub mod describe;
mod effects;
mod error;
mod frame;
pub mod json;
pub mod message;
mod short;
mod state;
mod types;

pub use describe::{Description, DescriptionError};
pub use effects::{BatchShape, EffectsReader};
pub use error::{Fault, Result, WireError};
pub use frame::{
    ALIGNMENT_BYTES, Bits, BoolBuilder, CANONICAL_NAN, Check, Column, ColumnBuilder,
    DESCRIPTOR_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_VERSION, Fixed, FixedBuilder,
    FrameReader, FrameWriter, Payload, Value, VarBuilder, canonical_f64,
};
pub use message::{MessageKind, MessageReader, MessageWriter, Section};
pub use short::same_bytes;
pub use state::{StateReader, StateValue, StateWriter, decode_state};
pub use types::{ColumnType, DECIMAL_PRECISION_MAX, UnknownType};
