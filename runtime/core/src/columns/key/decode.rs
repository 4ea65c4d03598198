//! Key bytes read back: as JSON for people, as columns for rows that a timer caused.
//!
//! Does not own: the encoding (`super`).
//!
//! Invariant: bytes that are no key of the types give `None`, and nothing panics.

use super::{NULL, VALUE, memchr_zero};
use crate::columns::ColumnType;
use crate::columns::schema::arrow_type;
use arrow_array::builder::{BinaryBuilder, BooleanBuilder, StringBuilder};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray};
use serde_json::Value;
use std::sync::Arc;

/// One column of one key.
enum Part {
    Null,
    /// A value of fixed width as it was before it was made to sort: its bits.
    Bits(u128),
    Bytes(Vec<u8>),
}

/// Takes one column's value off the front.
fn take_part(ty: ColumnType, rest: &mut &[u8]) -> Option<Part> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    match tag {
        NULL => return Some(Part::Null),
        VALUE => {}
        _ => return None,
    }
    if matches!(ty, ColumnType::Utf8 | ColumnType::Binary) {
        let mut text = Vec::new();
        loop {
            let at = memchr_zero(rest)?;
            text.extend_from_slice(&rest[..at]);
            let mark = *rest.get(at + 1)?;
            *rest = &rest[at + 2..];
            match mark {
                0x00 => return Some(Part::Bytes(text)),
                0xFF => text.push(0),
                _ => return None,
            }
        }
    }
    let width = if ty == ColumnType::Bool { 1 } else { ty.width()? };
    let (value, after) = rest.split_at_checked(width)?;
    *rest = after;
    let sorted = value.iter().fold(0u128, |sum, &byte| sum << 8 | u128::from(byte));
    Some(Part::Bits(match ty {
        ColumnType::Bool if sorted > 1 => return None,
        ColumnType::I32 | ColumnType::Date => sorted ^ 1 << 31,
        ColumnType::I64 | ColumnType::Timestamp => sorted ^ 1 << 63,
        ColumnType::F64 => {
            let bits = sorted as u64;
            u128::from(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
        }
        ColumnType::Decimal128 { .. } => sorted ^ 1 << 127,
        _ => sorted,
    }))
}

fn parts(types: &[ColumnType], bytes: &[u8]) -> Option<Vec<Part>> {
    let mut rest = bytes;
    let parts = types.iter().map(|ty| take_part(*ty, &mut rest)).collect::<Option<Vec<Part>>>()?;
    rest.is_empty().then_some(parts)
}

/// Reads a key back as JSON, one value per column: dates as days, timestamps as microseconds, decimals as text without
/// their scale, binary in hexadecimal, floats that are no number as text.
pub fn decode_key(types: &[ColumnType], bytes: &[u8]) -> Option<Vec<Value>> {
    let value = |(ty, part): (&ColumnType, Part)| {
        Some(match (part, ty) {
            (Part::Null, _) => Value::Null,
            (Part::Bytes(text), ColumnType::Utf8) => Value::String(String::from_utf8(text).ok()?),
            (Part::Bytes(bytes), _) => Value::String(hex::encode(bytes)),
            (Part::Bits(bits), ColumnType::Bool) => Value::Bool(bits == 1),
            (Part::Bits(bits), ColumnType::I32 | ColumnType::Date) => Value::from(bits as u32 as i32),
            (Part::Bits(bits), ColumnType::I64 | ColumnType::Timestamp) => Value::from(bits as u64 as i64),
            (Part::Bits(bits), ColumnType::F64) => {
                let value = f64::from_bits(bits as u64);
                if value.is_finite() { Value::from(value) } else { Value::String(value.to_string()) }
            }
            (Part::Bits(bits), ColumnType::Decimal128 { .. }) => Value::String((bits as i128).to_string()),
            (Part::Bits(bits), _) => Value::from(bits as u64),
        })
    };
    types.iter().zip(parts(types, bytes)?).map(value).collect()
}

/// Reads keys back as the columns that they were made of.
pub fn decode_columns<'k>(types: &[ColumnType], keys: impl Iterator<Item = &'k [u8]>) -> Option<Vec<ArrayRef>> {
    let mut columns: Vec<Vec<Part>> = types.iter().map(|_| Vec::new()).collect();
    for key in keys {
        for (column, part) in columns.iter_mut().zip(parts(types, key)?) {
            column.push(part);
        }
    }
    types.iter().zip(columns).map(|(ty, parts)| array(*ty, parts)).collect()
}

fn array(ty: ColumnType, parts: Vec<Part>) -> Option<ArrayRef> {
    macro_rules! primitive {
        ($arrow:ty, |$bits:ident| $value:expr) => {{
            let values = parts.into_iter().map(|part| match part {
                Part::Bits($bits) => Some($value),
                _ => None,
            });
            let array: PrimitiveArray<$arrow> = values.collect();
            Arc::new(array.with_data_type(arrow_type(ty))) as ArrayRef
        }};
    }
    Some(match ty {
        ColumnType::Bool => {
            let mut builder = BooleanBuilder::new();
            parts.iter().for_each(|part| match part {
                Part::Bits(bits) => builder.append_value(*bits == 1),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
        ColumnType::I32 => primitive!(Int32Type, |bits| bits as u32 as i32),
        ColumnType::Date => primitive!(Date32Type, |bits| bits as u32 as i32),
        ColumnType::U32 => primitive!(UInt32Type, |bits| bits as u32),
        ColumnType::I64 => primitive!(Int64Type, |bits| bits as u64 as i64),
        ColumnType::Timestamp => primitive!(TimestampMicrosecondType, |bits| bits as u64 as i64),
        ColumnType::U64 => primitive!(UInt64Type, |bits| bits as u64),
        ColumnType::F64 => primitive!(Float64Type, |bits| f64::from_bits(bits as u64)),
        ColumnType::Decimal128 { .. } => primitive!(Decimal128Type, |bits| bits as i128),
        ColumnType::Utf8 => {
            let mut builder = StringBuilder::new();
            for part in parts {
                match part {
                    Part::Bytes(bytes) => builder.append_value(String::from_utf8(bytes).ok()?),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        ColumnType::Binary => {
            let mut builder = BinaryBuilder::new();
            parts.iter().for_each(|part| match part {
                Part::Bytes(bytes) => builder.append_value(bytes),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        }
    })
}
