//! Key bytes: an order-preserving encoding of key columns, specified in `docs/formats/keys.md` and kept for ever.
//!
//! Owns: the encoding, the distinct keys of a batch, the lane of a key.
//! Does not own: where keys are stored.
//!
//! Invariants: the bytes of two keys compare as the keys do, column by column; null comes first. Different keys have
//! different bytes. A lane is a function of the key bytes and the number of lanes alone.

mod decode;

use super::ColumnType;
use super::schema::column_type;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use twox_hash::XxHash3_64;

pub use decode::{decode_columns, decode_key};

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// Many keys, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    /// One more than there are keys.
    offsets: Vec<u32>,
}

impl<'k> FromIterator<&'k [u8]> for Keys {
    fn from_iter<I: IntoIterator<Item = &'k [u8]>>(keys: I) -> Keys {
        let mut found = Keys::default();
        keys.into_iter().for_each(|key| {
            found.push(key);
        });
        found
    }
}

impl Keys {
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: usize) -> &[u8] {
        &self.bytes[self.offsets[key] as usize..self.offsets[key + 1] as usize]
    }

    /// Adds a key, and gives its number.
    pub fn push(&mut self, key: &[u8]) -> u32 {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.bytes.extend_from_slice(key);
        self.offsets.push(self.bytes.len() as u32);
        self.offsets.len() as u32 - 2
    }

    /// The keys of some rows, in their order.
    pub fn gather(&self, rows: &[u32]) -> Keys {
        let mut keys = Keys { bytes: Vec::new(), offsets: Vec::with_capacity(rows.len() + 1) };
        keys.offsets.push(0);
        for &row in rows {
            keys.bytes.extend_from_slice(self.get(row as usize));
            keys.offsets.push(keys.bytes.len() as u32);
        }
        keys
    }
}

/// The key of every row.
pub fn encode_keys(columns: &[ArrayRef], rows: usize) -> Keys {
    let mut keys = Keys { bytes: Vec::with_capacity(rows * 16), offsets: Vec::with_capacity(rows + 1) };
    keys.offsets.push(0);
    let writers: Vec<(ColumnType, &ArrayRef)> =
        columns.iter().map(|array| (column_type(array.data_type()).expect("a column of the host"), array)).collect();
    for row in 0..rows {
        for (ty, array) in &writers {
            encode_value(&mut keys.bytes, *ty, array, row);
        }
        keys.offsets.push(keys.bytes.len() as u32);
    }
    keys
}

fn encode_value(out: &mut Vec<u8>, ty: ColumnType, array: &ArrayRef, row: usize) {
    if array.is_null(row) {
        out.push(NULL);
        return;
    }
    out.push(VALUE);
    match ty {
        ColumnType::Bool => out.push(u8::from(array.as_boolean().value(row))),
        ColumnType::I32 => signed32(out, array.as_primitive::<Int32Type>().value(row)),
        ColumnType::Date => signed32(out, array.as_primitive::<Date32Type>().value(row)),
        ColumnType::U32 => out.extend_from_slice(&array.as_primitive::<UInt32Type>().value(row).to_be_bytes()),
        ColumnType::I64 => signed64(out, array.as_primitive::<Int64Type>().value(row)),
        ColumnType::Timestamp => signed64(out, array.as_primitive::<TimestampMicrosecondType>().value(row)),
        ColumnType::U64 => out.extend_from_slice(&array.as_primitive::<UInt64Type>().value(row).to_be_bytes()),
        ColumnType::F64 => {
            // Both zeros are one key; NaN is canonical and comes last.
            let value = array.as_primitive::<Float64Type>().value(row) + 0.0;
            let bits = if value.is_nan() { segno_wire::CANONICAL_NAN } else { value.to_bits() };
            let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        ColumnType::Decimal128 { .. } => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            out.extend_from_slice(&((value as u128) ^ (1 << 127)).to_be_bytes());
        }
        ColumnType::Utf8 => escaped(out, array.as_string::<i32>().value(row).as_bytes()),
        ColumnType::Binary => escaped(out, array.as_binary::<i32>().value(row)),
    }
}

fn signed32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&((value as u32) ^ (1 << 31)).to_be_bytes());
}

fn signed64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
}

/// A zero byte becomes 0x00 0xFF, the end is 0x00 0x00, so that a prefix comes before what it is a prefix of.
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = memchr_zero(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0x00, 0xFF]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0x00, 0x00]);
}

fn memchr_zero(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(0, bytes)
}

/// The lane of a key: CRC-32C of its bytes modulo the number of lanes.
pub fn lane_of(key: &[u8], lanes: u32) -> u32 {
    crc32c::crc32c(key) % lanes.max(1)
}

/// The distinct keys of some rows.
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    /// For each row the number of its key, in the order of first appearance.
    pub row_keys: Vec<u32>,
    /// For each key the first row that has it.
    pub first_rows: Vec<u32>,
}

/// Finds them with an open hash table over XXH3 of the key bytes. The order of keys does not depend on the hash.
pub fn distinct(keys: &Keys) -> Distinct {
    const EMPTY: u32 = u32::MAX;
    let mut found = Distinct { row_keys: Vec::with_capacity(keys.len()), first_rows: Vec::new() };
    let mut table = vec![(0u64, EMPTY); 1024];
    for row in 0..keys.len() {
        let key = keys.get(row);
        let hash = XxHash3_64::oneshot(key);
        if found.first_rows.len() * 2 >= table.len() {
            let larger = table.len() * 4;
            let old = std::mem::replace(&mut table, vec![(0, EMPTY); larger]);
            for entry in old.into_iter().filter(|entry| entry.1 != EMPTY) {
                let mut at = entry.0 as usize & (larger - 1);
                while table[at].1 != EMPTY {
                    at = (at + 1) & (larger - 1);
                }
                table[at] = entry;
            }
        }
        let mask = table.len() - 1;
        let mut at = hash as usize & mask;
        let number = loop {
            match table[at] {
                (_, EMPTY) => {
                    let number = found.first_rows.len() as u32;
                    table[at] = (hash, number);
                    found.first_rows.push(row as u32);
                    break number;
                }
                (other, number) if other == hash && keys.get(found.first_rows[number as usize] as usize) == key => {
                    break number;
                }
                _ => at = (at + 1) & mask,
            }
        };
        found.row_keys.push(number);
    }
    found
}
