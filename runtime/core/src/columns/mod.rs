//! Typed columns: types and schemas, frames, canonical form, digests and key bytes.
//!
//! Owns: how a value is typed, compared and hashed inside the host.
//! Does not own: how bytes of a format become columns (`segno-input`), nor the frame's layout (`segno-wire`).

pub mod carried;
pub mod csv;
pub mod digest;
pub mod frame;
pub mod json;
pub mod key;
pub mod schema;

#[cfg(test)]
mod tests;

pub use schema::{Column, ColumnType, Schema};
