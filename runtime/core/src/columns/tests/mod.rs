//! Tests of the columns, over random types, values, nulls and slices.
//!
//! Owns: the model (`Cell`) that arrays are built from and compared with.

mod digests;
mod frames;
mod keys;
mod text;

use super::ColumnType;
use super::schema::{arrow_type, column_type};
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{Field, Schema};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::sync::Arc;

/// One value, independent of how columns hold it.
#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Int(i128),
    Float(f64),
    Bytes(Vec<u8>),
}

impl Cell {
    /// The order of keys: null first, both zeros the same, NaN last.
    pub fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
            (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(b).unwrap(),
                (a, b) => a.cmp(&b),
            },
            (Cell::Null, Cell::Null) => Ordering::Equal,
            (Cell::Null, _) => Ordering::Less,
            (_, Cell::Null) => Ordering::Greater,
            _ => unreachable!("cells of one column"),
        }
    }
}

/// The same value to the bit; all NaNs are one.
impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Cell::Int(a), Cell::Int(b)) => a == b,
            (Cell::Bytes(a), Cell::Bytes(b)) => a == b,
            (Cell::Null, Cell::Null) => true,
            _ => false,
        }
    }
}

pub const TYPES: [ColumnType; 11] = [
    ColumnType::Bool,
    ColumnType::I32,
    ColumnType::U32,
    ColumnType::I64,
    ColumnType::U64,
    ColumnType::F64,
    ColumnType::Utf8,
    ColumnType::Binary,
    ColumnType::Timestamp,
    ColumnType::Date,
    ColumnType::Decimal128 { precision: 38, scale: 3 },
];

/// An array of exactly these values.
pub fn array(ty: ColumnType, cells: &[Cell]) -> ArrayRef {
    let int = |cell: &Cell| match cell {
        Cell::Int(value) => Some(*value),
        _ => None,
    };
    macro_rules! ints {
        ($array:ty, $native:ty) => {
            cells.iter().map(|cell| int(cell).map(|value| value as $native)).collect::<$array>()
        };
    }
    match ty {
        ColumnType::Bool => {
            Arc::new(cells.iter().map(|cell| int(cell).map(|value| value != 0)).collect::<BooleanArray>())
        }
        ColumnType::I32 => Arc::new(ints!(Int32Array, i32)),
        ColumnType::U32 => Arc::new(ints!(UInt32Array, u32)),
        ColumnType::I64 => Arc::new(ints!(Int64Array, i64)),
        ColumnType::U64 => Arc::new(ints!(UInt64Array, u64)),
        ColumnType::Date => Arc::new(ints!(Date32Array, i32)),
        ColumnType::Timestamp => Arc::new(ints!(TimestampMicrosecondArray, i64).with_data_type(arrow_type(ty))),
        ColumnType::Decimal128 { .. } => Arc::new(ints!(Decimal128Array, i128).with_data_type(arrow_type(ty))),
        ColumnType::F64 => Arc::new(
            cells
                .iter()
                .map(|cell| if let Cell::Float(value) = cell { Some(*value) } else { None })
                .collect::<Float64Array>(),
        ),
        ColumnType::Utf8 => {
            let mut builder = StringBuilder::new();
            for cell in cells {
                let Cell::Bytes(bytes) = cell else {
                    builder.append_null();
                    continue;
                };
                builder.append_value(std::str::from_utf8(bytes).expect("text"));
            }
            Arc::new(builder.finish())
        }
        ColumnType::Binary => {
            let mut builder = BinaryBuilder::new();
            for cell in cells {
                builder.append_option(if let Cell::Bytes(bytes) = cell { Some(bytes) } else { None });
            }
            Arc::new(builder.finish())
        }
    }
}

/// The values of an array.
pub fn cells(array: &ArrayRef) -> Vec<Cell> {
    let ty = column_type(array.data_type()).expect("a column of the host");
    (0..array.len())
        .map(|row| {
            if array.is_null(row) {
                return Cell::Null;
            }
            match ty {
                ColumnType::Bool => Cell::Int(i128::from(array.as_boolean().value(row))),
                ColumnType::I32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
                ColumnType::U32 => Cell::Int(array.as_primitive::<UInt32Type>().value(row).into()),
                ColumnType::I64 => Cell::Int(array.as_primitive::<Int64Type>().value(row).into()),
                ColumnType::U64 => Cell::Int(array.as_primitive::<UInt64Type>().value(row).into()),
                ColumnType::Date => Cell::Int(array.as_primitive::<Date32Type>().value(row).into()),
                ColumnType::Timestamp => Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row).into()),
                ColumnType::Decimal128 { .. } => Cell::Int(array.as_primitive::<Decimal128Type>().value(row)),
                ColumnType::F64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
                ColumnType::Utf8 => Cell::Bytes(array.as_string::<i32>().value(row).as_bytes().to_vec()),
                ColumnType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
            }
        })
        .collect()
}

fn some_int(from: i128, to: i128) -> BoxedStrategy<Cell> {
    prop_oneof![2 => from..=to, 2 => (-3).max(from)..=3i128, 1 => Just(from), 1 => Just(to)].prop_map(Cell::Int).boxed()
}

/// A value of a type, often an edge or a small one, so that equal values are frequent.
pub fn cell(ty: ColumnType) -> BoxedStrategy<Cell> {
    const DECIMAL: i128 = 10i128.pow(38) - 1;
    let value = match ty {
        ColumnType::Bool => some_int(0, 1).prop_map(|cell| match cell {
            Cell::Int(value) => Cell::Int(value & 1),
            cell => cell,
        }).boxed(),
        ColumnType::I32 | ColumnType::Date => some_int(i32::MIN.into(), i32::MAX.into()),
        ColumnType::U32 => some_int(0, u32::MAX.into()),
        ColumnType::I64 | ColumnType::Timestamp => some_int(i64::MIN.into(), i64::MAX.into()),
        ColumnType::U64 => some_int(0, u64::MAX.into()),
        ColumnType::Decimal128 { .. } => some_int(-DECIMAL, DECIMAL),
        ColumnType::F64 => prop_oneof![
            3 => any::<u64>().prop_map(f64::from_bits),
            3 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY,
                f64::MIN_POSITIVE, 5e-324, -5e-324, f64::MAX, f64::MIN]),
        ]
        .prop_map(Cell::Float)
        .boxed(),
        ColumnType::Utf8 => prop_oneof![
            2 => "[a\\x00-\\x1f\"\\\\,é😀]{0,4}".prop_map(|text: String| text),
            1 => "\\PC{0,40}".prop_map(|text: String| text),
        ]
        .prop_map(|text| Cell::Bytes(text.into_bytes()))
        .boxed(),
        ColumnType::Binary => {
            let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()];
            prop::collection::vec(byte, 0..6).prop_map(Cell::Bytes).boxed()
        }
    };
    prop_oneof![1 => Just(Cell::Null), 5 => value].boxed()
}

pub fn some_type() -> impl Strategy<Value = ColumnType> {
    prop::sample::select(TYPES.to_vec())
}

/// Columns of `rows` values each: `(type, values)`.
pub fn columns(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(ColumnType, Vec<Cell>)>> {
    (prop::collection::vec(some_type(), 1..4), rows).prop_flat_map(|(types, rows)| {
        types
            .into_iter()
            .map(|ty| prop::collection::vec(cell(ty), rows..=rows).prop_map(move |cells| (ty, cells)))
            .collect::<Vec<_>>()
    })
}

/// The same values as a slice that begins `skip` rows into its buffers.
pub fn sliced(ty: ColumnType, cells: &[Cell], skip: usize) -> ArrayRef {
    let around: Vec<Cell> = cells.iter().chain(cells).cycle().take(skip).chain(cells).chain(cells).cloned().collect();
    array(ty, &around).slice(skip.min(around.len() - 2 * cells.len()), cells.len())
}

pub fn batch(columns: &[(ColumnType, Vec<Cell>)]) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(number, (ty, _))| Field::new(format!("c{number}"), arrow_type(*ty), true))
        .collect();
    let arrays = columns.iter().map(|(ty, cells)| array(*ty, cells)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}

/// A fixture as JSON.
pub fn fixture(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("a fixture is JSON")
}

/// A value as fixtures write it: integers of any size as text, floats as the hex of their bits.
pub fn fixture_cell(ty: ColumnType, value: &serde_json::Value) -> Cell {
    let Some(text) = value.as_str() else { return Cell::Null };
    match ty {
        ColumnType::Utf8 => Cell::Bytes(text.as_bytes().to_vec()),
        ColumnType::Binary => Cell::Bytes(hex::decode(text).expect("hex")),
        ColumnType::F64 => Cell::Float(f64::from_bits(u64::from_str_radix(text, 16).expect("hex"))),
        _ => Cell::Int(text.parse().expect("an integer")),
    }
}
