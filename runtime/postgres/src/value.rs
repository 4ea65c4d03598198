//! Values of a side table: which of PostgreSQL's types each column type reads, and each value exactly or not at all.
//!
//! Owns: the columns that are put together. Does not own: statements and bounds (`side`).
//!
//! Invariant: a value is taken as it is in the database, or refused; none is rounded, cut or replaced.

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use segno_core::columns::ColumnType;
use segno_core::{Code, Error, Result};
use std::error::Error as StdError;
use std::sync::Arc;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

/// PostgreSQL counts from 2000-01-01; Segno from 1970-01-01.
const EPOCH_SHIFT_DAYS: i32 = 10_957;
const EPOCH_SHIFT_US: i64 = EPOCH_SHIFT_DAYS as i64 * 86_400_000_000;
/// What a value takes besides its own bytes, about: its place in a frame.
const CELL_BYTES: u64 = 8;

/// PostgreSQL's types that a column type reads, by their names in `pg_type`, and the type that they are sent as.
fn reads(ty: ColumnType) -> (&'static [&'static str], &'static str) {
    match ty {
        ColumnType::Bool => (&["bool"], "bool"),
        ColumnType::I32 | ColumnType::I64 | ColumnType::U32 => (&["int2", "int4", "int8"], "int8"),
        // Text, because their range is no type's of the client's.
        ColumnType::U64 | ColumnType::Decimal128 { .. } => (&["int2", "int4", "int8", "numeric"], "text"),
        ColumnType::F64 => (&["float4", "float8"], "float8"),
        ColumnType::Utf8 => (&["text", "varchar", "bpchar", "name"], "text"),
        ColumnType::Binary => (&["bytea"], "bytea"),
        ColumnType::Timestamp => (&["timestamptz"], "timestamptz"),
        ColumnType::Date => (&["date"], "date"),
    }
}

/// Why a column of this type cannot be read, and the expression that would convert it.
pub fn mismatch(ty: ColumnType, found: &str, quoted: &str) -> Option<String> {
    let (taken, sent) = reads(ty);
    if taken.contains(&found) {
        return None;
    }
    let convert = match (ty, found) {
        (ColumnType::Timestamp, "timestamp") => format!("{quoted} AT TIME ZONE 'UTC' AS {quoted}"),
        (ColumnType::U64 | ColumnType::Decimal128 { .. }, _) => format!("{quoted}::numeric AS {quoted}"),
        _ => format!("{quoted}::{sent} AS {quoted}"),
    };
    Some(convert)
}

/// What a column is selected as.
pub fn selected(ty: ColumnType, quoted: &str) -> String {
    format!("{quoted}::{}", reads(ty).1)
}

/// What a column is ordered by: text by its bytes, whatever the database's language is.
pub fn ordered(ty: ColumnType, quoted: &str) -> String {
    match ty {
        ColumnType::Utf8 => format!("{quoted}::text COLLATE \"C\""),
        _ => quoted.to_owned(),
    }
}

/// Microseconds or days since 2000, as they are sent.
struct Instant(i64);
struct Day(i32);

impl<'a> FromSql<'a> for Instant {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Instant, Box<dyn StdError + Sync + Send>> {
        Ok(Instant(i64::from_be_bytes(raw.try_into()?)))
    }
    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl<'a> FromSql<'a> for Day {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Day, Box<dyn StdError + Sync + Send>> {
        Ok(Day(i32::from_be_bytes(raw.try_into()?)))
    }
    fn accepts(ty: &Type) -> bool {
        *ty == Type::DATE
    }
}

enum Values {
    Bool(BooleanBuilder),
    I32(Int32Builder),
    U32(UInt32Builder),
    I64(Int64Builder),
    U64(UInt64Builder),
    F64(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Decimal(Decimal128Builder, u8, i8),
}

/// A column that is put together row by row.
pub struct Column {
    values: Values,
    ty: ColumnType,
    nullable: bool,
}

impl Column {
    pub fn new(ty: ColumnType, nullable: bool) -> Column {
        let values = match ty {
            ColumnType::Bool => Values::Bool(BooleanBuilder::new()),
            ColumnType::I32 => Values::I32(Int32Builder::new()),
            ColumnType::U32 => Values::U32(UInt32Builder::new()),
            ColumnType::I64 => Values::I64(Int64Builder::new()),
            ColumnType::U64 => Values::U64(UInt64Builder::new()),
            ColumnType::F64 => Values::F64(Float64Builder::new()),
            ColumnType::Utf8 => Values::Utf8(StringBuilder::new()),
            ColumnType::Binary => Values::Binary(BinaryBuilder::new()),
            ColumnType::Timestamp => Values::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnType::Date => Values::Date(Date32Builder::new()),
            ColumnType::Decimal128 { precision, scale } => Values::Decimal(Decimal128Builder::new(), precision, scale),
        };
        Column { values, ty, nullable }
    }

    /// Takes the value at `at` of a row; its bytes, about, or why it cannot be taken.
    pub fn take(&mut self, row: &Row, at: usize) -> Result<u64, String> {
        let ty = self.ty;
        let lost = |error: tokio_postgres::Error| format!("a value that cannot be read ({error})");
        let beyond = |value: &dyn std::fmt::Display| format!("{value}, which {ty} does not hold");
        macro_rules! value {
            ($builder:expr, $sent:ty, $convert:expr) => {{
                let value: Option<$sent> = row.try_get(at).map_err(lost)?;
                match value {
                    Some(value) => {
                        $builder.append_value($convert(value)?);
                        CELL_BYTES
                    }
                    None if self.nullable => {
                        $builder.append_null();
                        CELL_BYTES
                    }
                    None => return Err(format!("null, and the plugin wants {ty}")),
                }
            }};
        }
        Ok(match &mut self.values {
            Values::Bool(builder) => value!(builder, bool, Ok::<bool, String>),
            Values::I32(builder) => value!(builder, i64, |value| i32::try_from(value).map_err(|_| beyond(&value))),
            Values::U32(builder) => value!(builder, i64, |value| u32::try_from(value).map_err(|_| beyond(&value))),
            Values::I64(builder) => value!(builder, i64, Ok::<i64, String>),
            Values::U64(builder) => {
                value!(builder, &str, |text: &str| {
                    let whole = decimal(text, 0).and_then(|value| u64::try_from(value).ok());
                    whole.ok_or_else(|| beyond(&text))
                })
            }
            Values::F64(builder) => value!(builder, f64, Ok::<f64, String>),
            Values::Utf8(builder) => {
                let bytes = row.try_get::<_, Option<&str>>(at).map_err(lost)?.map_or(0, str::len) as u64;
                value!(builder, &str, Ok::<&str, String>) + bytes
            }
            Values::Binary(builder) => {
                let bytes = row.try_get::<_, Option<&[u8]>>(at).map_err(lost)?.map_or(0, <[u8]>::len) as u64;
                value!(builder, &[u8], Ok::<&[u8], String>) + bytes
            }
            Values::Timestamp(builder) => value!(builder, Instant, |Instant(us)| match us {
                i64::MIN | i64::MAX => Err(beyond(&"infinity")),
                us => us.checked_add(EPOCH_SHIFT_US).ok_or_else(|| beyond(&"a time too far away")),
            }),
            Values::Date(builder) => value!(builder, Day, |Day(day)| match day {
                i32::MIN | i32::MAX => Err(beyond(&"infinity")),
                day => day.checked_add(EPOCH_SHIFT_DAYS).ok_or_else(|| beyond(&"a day too far away")),
            }),
            Values::Decimal(builder, precision, scale) => {
                value!(builder, &str, |text: &str| {
                    let limit = 10i128.checked_pow(u32::from(*precision));
                    let value = decimal(text, *scale).filter(|value| limit.is_none_or(|limit| value.abs() < limit));
                    value.ok_or_else(|| beyond(&text))
                }) + CELL_BYTES
            }
        })
    }

    pub fn finish(self) -> Result<ArrayRef> {
        Ok(match self.values {
            Values::Bool(mut builder) => Arc::new(builder.finish()) as ArrayRef,
            Values::I32(mut builder) => Arc::new(builder.finish()),
            Values::U32(mut builder) => Arc::new(builder.finish()),
            Values::I64(mut builder) => Arc::new(builder.finish()),
            Values::U64(mut builder) => Arc::new(builder.finish()),
            Values::F64(mut builder) => Arc::new(builder.finish()),
            Values::Utf8(mut builder) => Arc::new(builder.finish()),
            Values::Binary(mut builder) => Arc::new(builder.finish()),
            Values::Timestamp(mut builder) => Arc::new(builder.finish()),
            Values::Date(mut builder) => Arc::new(builder.finish()),
            Values::Decimal(mut builder, precision, scale) => {
                let typed = builder.finish().with_precision_and_scale(precision, scale);
                Arc::new(typed.map_err(|error| {
                    Error::new(Code::Internal, "a decimal column cannot be put together").with_cause(error)
                })?)
            }
        })
    }
}

/// The number × 10^scale, where that is whole and fits.
fn decimal(text: &str, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let mut unscaled: i128 = format!("{whole}{part}").parse().ok()?;
    let shift = i32::from(scale) - i32::try_from(part.len()).ok()?;
    let power = 10i128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 {
        unscaled = unscaled.checked_mul(power)?;
    } else if unscaled % power == 0 {
        unscaled /= power;
    } else {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn a_decimal_is_taken_exactly_or_not_at_all() {
        for (text, scale, expected) in [
            ("12.50", 2, Some(1250)),
            ("-0.01", 2, Some(-1)),
            ("12.505", 2, None),
            ("12.500", 1, Some(125)),
            ("1200", -2, Some(12)),
            ("1250", -2, None),
            ("0", 38, Some(0)),
            ("170141183460469231731687303715884105728", 0, None),
            ("NaN", 2, None),
            ("Infinity", 0, None),
        ] {
            assert_eq!(decimal(text, scale), expected, "{text} with scale {scale}");
        }
    }
}
