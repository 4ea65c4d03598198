//! Which Parquet types fit which columns, and their values one by one.
//!
//! Owns: the table of types; a column of a batch as values.
//! Does not own: reading the file (`super`), conversions of single values (`value`, `time`).
//!
//! Invariant: what `fits` takes, `View` can read; a value that does not fit is a problem of its row.

use crate::format::value::Value;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use segno_core::columns::ColumnType;

/// A column of a batch, brought down to few types.
enum Typed {
    Bool(arrow_array::BooleanArray),
    Signed(arrow_array::Int64Array),
    Unsigned(arrow_array::UInt64Array),
    Float(arrow_array::Float64Array),
    Text(arrow_array::StringArray),
    Bytes(arrow_array::BinaryArray),
    Decimal(arrow_array::Decimal128Array, i8),
    Date(arrow_array::Date32Array),
    /// Integers, and `(factor, divisor)` that make µs of them.
    Time(arrow_array::Int64Array, i64, i64),
}

pub(super) struct View {
    typed: Typed,
    /// Of the column and of every structure around it.
    nulls: Option<NullBuffer>,
}

impl View {
    pub fn new(batch: &RecordBatch, way: &[String]) -> Result<View, arrow_schema::ArrowError> {
        let lost = || arrow_schema::ArrowError::SchemaError(format!("column {} is lost", way.join(".")));
        let mut names = way.iter();
        let mut array: ArrayRef =
            names.next().and_then(|name| batch.column_by_name(name)).ok_or_else(lost)?.clone();
        let mut nulls = array.logical_nulls();
        for name in names {
            array = array.as_struct_opt().and_then(|outer| outer.column_by_name(name)).ok_or_else(lost)?.clone();
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
        }
        let cast = |to: &DataType| arrow_cast::cast(&array, to);
        let typed = match reduced(array.data_type()) {
            Some(Reduced::Bool) => Typed::Bool(array.as_boolean().clone()),
            Some(Reduced::Signed) => Typed::Signed(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            Some(Reduced::Unsigned) => Typed::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            Some(Reduced::Float) => Typed::Float(cast(&DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            Some(Reduced::Text) => Typed::Text(cast(&DataType::Utf8)?.as_string::<i32>().clone()),
            Some(Reduced::Bytes) => Typed::Bytes(cast(&DataType::Binary)?.as_binary::<i32>().clone()),
            Some(Reduced::Decimal(precision, scale)) => {
                let wide = cast(&DataType::Decimal128(precision, scale))?;
                Typed::Decimal(wide.as_primitive::<Decimal128Type>().clone(), scale)
            }
            Some(Reduced::Date) => Typed::Date(cast(&DataType::Date32)?.as_primitive::<Date32Type>().clone()),
            Some(Reduced::Time(factor, divisor)) => {
                Typed::Time(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone(), factor, divisor)
            }
            None => return Err(lost()),
        };
        Ok(View { typed, nulls })
    }

    #[inline]
    pub fn value(&self, row: usize) -> Value<'_> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Value::Null;
        }
        match &self.typed {
            Typed::Bool(array) => Value::Bool(array.value(row)),
            Typed::Signed(array) => Value::Signed(array.value(row)),
            Typed::Unsigned(array) => Value::Unsigned(array.value(row)),
            Typed::Float(array) => Value::Float(array.value(row)),
            Typed::Text(array) => Value::Text(array.value(row).as_bytes()),
            Typed::Bytes(array) => Value::Bytes(array.value(row)),
            Typed::Decimal(array, scale) => Value::Decimal(array.value(row), *scale),
            Typed::Date(array) => Value::Days(array.value(row)),
            Typed::Time(array, factor, divisor) => match array.value(row).checked_mul(*factor) {
                Some(scaled) => Value::Micros(scaled.div_euclid(*divisor)),
                None => Value::FarTime,
            },
        }
    }
}

enum Reduced {
    Bool,
    Signed,
    Unsigned,
    Float,
    Text,
    Bytes,
    Decimal(u8, i8),
    Date,
    Time(i64, i64),
}

fn reduced(ty: &DataType) -> Option<Reduced> {
    use DataType::*;
    Some(match ty {
        Boolean => Reduced::Bool,
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => Reduced::Signed,
        UInt64 => Reduced::Unsigned,
        Float16 | Float32 | Float64 => Reduced::Float,
        Utf8 | LargeUtf8 | Utf8View => Reduced::Text,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Reduced::Bytes,
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) => {
            Reduced::Decimal(*precision, *scale)
        }
        Date32 | Date64 => Reduced::Date,
        Timestamp(TimeUnit::Second, _) => Reduced::Time(1_000_000, 1),
        Timestamp(TimeUnit::Millisecond, _) => Reduced::Time(1_000, 1),
        Timestamp(TimeUnit::Microsecond, _) => Reduced::Time(1, 1),
        Timestamp(TimeUnit::Nanosecond, _) => Reduced::Time(1, 1_000),
        Dictionary(_, values) => match reduced(values)? {
            Reduced::Text => Reduced::Text,
            Reduced::Bytes => Reduced::Bytes,
            _ => return None,
        },
        _ => return None,
    })
}

/// The column type that a Parquet column is, when nobody wants another.
pub(super) fn natural(ty: &DataType) -> Option<ColumnType> {
    Some(match reduced(ty)? {
        Reduced::Bool => ColumnType::Bool,
        Reduced::Signed if matches!(ty, DataType::Int8 | DataType::Int16 | DataType::Int32) => ColumnType::I32,
        Reduced::Signed if matches!(ty, DataType::UInt8 | DataType::UInt16) => ColumnType::I32,
        Reduced::Signed => ColumnType::I64,
        Reduced::Unsigned => ColumnType::U64,
        Reduced::Float => ColumnType::F64,
        Reduced::Text => ColumnType::Utf8,
        Reduced::Bytes => ColumnType::Binary,
        Reduced::Decimal(precision, scale) => ColumnType::Decimal128 { precision, scale },
        Reduced::Date => ColumnType::Date,
        Reduced::Time(..) => ColumnType::Timestamp,
    })
}

/// Whether values of a Parquet type can be read as a column type: exactly, or each value that cannot is bad.
pub(super) fn fits(ty: &DataType, wanted: ColumnType) -> bool {
    use ColumnType::*;
    let Some(reduced) = reduced(ty) else { return false };
    match reduced {
        Reduced::Bool => wanted == Bool,
        Reduced::Signed | Reduced::Unsigned => {
            matches!(wanted, I32 | I64 | U32 | U64 | F64 | Timestamp | Decimal128 { .. })
        }
        Reduced::Float => wanted == F64,
        Reduced::Text => matches!(wanted, Utf8 | Binary | Timestamp | Date | Decimal128 { .. }),
        Reduced::Bytes => wanted == Binary,
        Reduced::Decimal(..) => matches!(wanted, Decimal128 { .. } | F64 | I32 | I64 | U32 | U64),
        Reduced::Date => matches!(wanted, Date | Timestamp),
        Reduced::Time(..) => wanted == Timestamp,
    }
}
