//! Owns the column types that may cross the boundary: their tags, widths and names.
//! Does not own how a column is laid out (`frame`), nor which Arrow type a host maps a column to.
//! Invariant: tags and names are persisted (frames, plugin descriptions); they are never reused or changed.

use core::fmt;
use core::str::FromStr;

/// The type of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// One bit for each row, least significant bit first.
    Bool,
    I32,
    I64,
    U64,
    /// IEEE 754 binary64; the only NaN is `0x7ff8000000000000`.
    F64,
    /// 32-bit offsets and UTF-8 bytes.
    Utf8,
    /// 32-bit offsets and bytes.
    Binary,
    /// Microseconds since 1970-01-01T00:00:00 UTC, signed 64-bit.
    Timestamp,
    /// Days since 1970-01-01, signed 32-bit.
    Date,
    /// A signed 128-bit integer scaled by `10^-scale`.
    Decimal128 {
        precision: u8,
        scale: i8,
    },
    /// Only in control columns (causes, key indices); a plugin cannot declare it.
    U32,
}

/// Digits that a signed 128-bit integer always holds.
pub const DECIMAL_PRECISION_MAX: u8 = 38;

impl ColumnType {
    /// The tag in a column descriptor.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Bool => 1,
            Self::I32 => 2,
            Self::I64 => 3,
            Self::U64 => 4,
            Self::F64 => 5,
            Self::Utf8 => 6,
            Self::Binary => 7,
            Self::Timestamp => 8,
            Self::Date => 9,
            Self::Decimal128 { .. } => 10,
            Self::U32 => 11,
        }
    }

    /// The type of a descriptor, or nothing when the tag is unknown. `precision` and `scale` are read for
    /// decimals only; whether they are in range is [`ColumnType::is_valid`].
    pub const fn from_tag(tag: u8, precision: u8, scale: i8) -> Option<Self> {
        Some(match tag {
            1 => Self::Bool,
            2 => Self::I32,
            3 => Self::I64,
            4 => Self::U64,
            5 => Self::F64,
            6 => Self::Utf8,
            7 => Self::Binary,
            8 => Self::Timestamp,
            9 => Self::Date,
            10 => Self::Decimal128 { precision, scale },
            11 => Self::U32,
            _ => return None,
        })
    }

    /// False for a decimal whose precision is not 1 to 38, or whose scale is not between -precision and precision.
    pub const fn is_valid(self) -> bool {
        match self {
            Self::Decimal128 { precision, scale } => {
                precision >= 1
                    && precision <= DECIMAL_PRECISION_MAX
                    && scale.unsigned_abs() <= precision
            }
            _ => true,
        }
    }

    /// Bytes of one value, or nothing for bits and for values of varying length.
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::I32 | Self::Date | Self::U32 => Some(4),
            Self::I64 | Self::U64 | Self::F64 | Self::Timestamp => Some(8),
            Self::Decimal128 { .. } => Some(16),
            Self::Bool | Self::Utf8 | Self::Binary => None,
        }
    }

    /// True for the types with an offsets buffer.
    pub const fn is_variable(self) -> bool {
        matches!(self, Self::Utf8 | Self::Binary)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F64 => "f64",
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::U32 => "u32",
            Self::Decimal128 { precision, scale } => {
                return write!(f, "decimal128({precision},{scale})");
            }
        })
    }
}

/// The text is not the name of a column type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownType;

impl fmt::Display for UnknownType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a column type; known are bool, i32, i64, u64, f64, utf8, binary, timestamp, date, decimal128(precision,scale)",
        )
    }
}

impl std::error::Error for UnknownType {}

impl FromStr for ColumnType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        Ok(match text {
            "bool" => Self::Bool,
            "i32" => Self::I32,
            "i64" => Self::I64,
            "u64" => Self::U64,
            "f64" => Self::F64,
            "utf8" => Self::Utf8,
            "binary" => Self::Binary,
            "timestamp" => Self::Timestamp,
            "date" => Self::Date,
            "u32" => Self::U32,
            _ => {
                let (precision, scale) = text
                    .strip_prefix("decimal128(")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .and_then(|rest| rest.split_once(','))
                    .ok_or(UnknownType)?;
                let decimal = Self::Decimal128 {
                    precision: precision.trim().parse().map_err(|_| UnknownType)?,
                    scale: scale.trim().parse().map_err(|_| UnknownType)?,
                };
                if decimal.is_valid() {
                    decimal
                } else {
                    return Err(UnknownType);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_name_and_its_tag() {
        let decimal = ColumnType::Decimal128 {
            precision: 38,
            scale: -3,
        };
        for tag in 1..=11 {
            let kind = ColumnType::from_tag(tag, 38, -3).unwrap();
            assert_eq!(kind.tag(), tag);
            assert_eq!(kind.to_string().parse::<ColumnType>(), Ok(kind));
        }
        assert_eq!(decimal.to_string(), "decimal128(38,-3)");
        assert_eq!(ColumnType::from_tag(0, 0, 0), None);
        assert_eq!(ColumnType::from_tag(12, 0, 0), None);
    }

    #[test]
    fn a_decimal_out_of_range_has_no_name() {
        for text in [
            "decimal128(0,0)",
            "decimal128(39,0)",
            "decimal128(4,5)",
            "decimal128(4)",
            "decimal128",
            "string",
            "",
        ] {
            assert_eq!(text.parse::<ColumnType>(), Err(UnknownType), "{text}");
        }
    }
}
