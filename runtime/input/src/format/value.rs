//! One value as a format found it, and its exact conversion into the types of columns.
//!
//! Owns: which value fits which type; text from JSON escapes.
//! Does not own: where values come from, digits (`number`), times (`time`).
//!
//! Invariants: a conversion is exact or it is a `Problem`; the one exception is a decimal fraction read as `f64`,
//! which is the nearest double, as everywhere. No conversion panics, whatever the bytes.

use super::number::{Decimal, is_loose_number, parse_i64};
use segno_core::columns::ColumnType;

/// A value as it stands in the record. Slices are the original bytes, already known to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Missing,
    Null,
    Bool(bool),
    /// A number without fraction and exponent.
    Int(&'a [u8]),
    Number(&'a [u8]),
    /// Text without escapes, UTF-8.
    Text(&'a [u8]),
    /// Text with JSON escapes in it, all of them valid.
    Escaped(&'a [u8]),
    Array(&'a [u8]),
    Object(&'a [u8]),
    /// A CSV field: text that stands for any type.
    Loose(&'a [u8]),
    /// A CSV field with nothing in it, not even quotes.
    Empty,
    /// The values of typed formats.
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    /// An integer and how many of its digits stand behind the point.
    Decimal(i128, i8),
    /// µs since 1970 UTC.
    Micros(i64),
    /// Days since 1970.
    Days(i32),
    Bytes(&'a [u8]),
    /// A time that µs in 64 bits cannot hold.
    FarTime,
}

/// Why a value does not fit its column; turned into a code and a reason by `Plan::flaw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Missing,
    Null,
    WrongType,
    Unparsable,
    NotHeld,
}

/// Bytes of a found value that a reason shows.
const EXCERPT_BYTES: usize = 48;

impl Value<'_> {
    /// For a reason: the kind of the value and a short excerpt.
    pub fn describe(&self) -> String {
        match self {
            Value::Missing => "missing".to_owned(),
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(bytes) | Value::Number(bytes) => format!("the number {}", excerpt(bytes)),
            Value::Text(bytes) | Value::Escaped(bytes) | Value::Loose(bytes) => {
                format!("the text \"{}\"", excerpt(bytes))
            }
            Value::Array(bytes) => format!("the array {}", excerpt(bytes)),
            Value::Object(bytes) => format!("the object {}", excerpt(bytes)),
            Value::Empty => "empty".to_owned(),
            Value::Signed(number) => format!("the number {number}"),
            Value::Unsigned(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Decimal(digits, scale) => format!("the number {digits}e{}", -i32::from(*scale)),
            Value::Micros(micros) => format!("the time {micros} µs since 1970"),
            Value::Days(days) => format!("the date {days} days since 1970"),
            Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Value::FarTime => "a time farther from 1970 than 290,000 years".to_owned(),
        }
    }
}

/// The start of some bytes as printable text, cut at a character.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let cut = bytes.len() > EXCERPT_BYTES;
    let mut text: String = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES)])
        .trim_end_matches('\u{FFFD}')
        .chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect();
    if cut {
        text.push('…');
    }
    text
}

pub(crate) fn to_bool(value: &Value<'_>) -> Result<bool, Problem> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Loose(text) => match text.trim_ascii() {
            t if t.eq_ignore_ascii_case(b"true") => Ok(true),
            t if t.eq_ignore_ascii_case(b"false") => Ok(false),
            _ => Err(Problem::Unparsable),
        },
        _ => Err(Problem::WrongType),
    }
}

/// Integers of every width pass through here; the caller narrows.
#[inline(always)]
pub(crate) fn to_i64(value: &Value<'_>) -> Result<i64, Problem> {
    match value {
        Value::Int(digits) => match parse_i64(digits) {
            Some(value) => Ok(value),
            None => Err(Problem::NotHeld),
        },
        Value::Signed(number) => Ok(*number),
        _ => to_i128(value).and_then(|wide| i64::try_from(wide).map_err(|_| Problem::NotHeld)),
    }
}

/// Integers that may not fit an `i64`.
pub(crate) fn to_i128(value: &Value<'_>) -> Result<i128, Problem> {
    to_scaled(value, 0)
}

/// `value × 10^scale` as an integer, exactly.
pub(crate) fn to_scaled(value: &Value<'_>, scale: i32) -> Result<i128, Problem> {
    match value {
        Value::Int(digits) | Value::Number(digits) => Decimal::of(digits).scaled(scale).ok_or(Problem::NotHeld),
        Value::Loose(text) => {
            let text = text.trim_ascii();
            if !is_loose_number(text) {
                return Err(Problem::Unparsable);
            }
            Decimal::of(text).scaled(scale).ok_or(Problem::NotHeld)
        }
        Value::Signed(number) => Decimal::new(i128::from(*number), 0).scaled(scale).ok_or(Problem::NotHeld),
        Value::Unsigned(number) => Decimal::new(i128::from(*number), 0).scaled(scale).ok_or(Problem::NotHeld),
        Value::Decimal(digits, places) => Decimal::new(*digits, *places).scaled(scale).ok_or(Problem::NotHeld),
        _ => Err(Problem::WrongType),
    }
}

pub(crate) fn to_decimal(value: &Value<'_>, precision: u8, scale: i8) -> Result<i128, Problem> {
    let as_number = match value {
        // A decimal as text is how JSON carries money.
        Value::Text(text) => Value::Loose(text),
        other => *other,
    };
    let scaled = to_scaled(&as_number, i32::from(scale))?;
    let limit = 10u128.pow(u32::from(precision.min(38)));
    if scaled.unsigned_abs() < limit { Ok(scaled) } else { Err(Problem::NotHeld) }
}

#[inline]
pub(crate) fn to_f64(value: &Value<'_>) -> Result<f64, Problem> {
    match value {
        Value::Int(digits) => {
            // 15 digits are below 2^53: exact. `-0` keeps its sign through the slow way.
            if digits.len() <= 15
                && let Some(number) = parse_i64(digits)
                && (number != 0 || digits[0] != b'-')
            {
                return Ok(number as f64);
            }
            wide_integer_to_f64(digits)
        }
        Value::Number(digits) => fraction_to_f64(digits),
        Value::Loose(text) => loose_to_f64(text.trim_ascii()),
        // The only NaN of the host, whichever the file holds.
        Value::Float(number) => Ok(if number.is_nan() { f64::NAN } else { *number }),
        Value::Signed(number) => {
            let float = *number as f64;
            if float as i128 == i128::from(*number) { Ok(float) } else { Err(Problem::NotHeld) }
        }
        Value::Unsigned(number) => {
            let float = *number as f64;
            if float as u128 == u128::from(*number) { Ok(float) } else { Err(Problem::NotHeld) }
        }
        Value::Decimal(digits, places) => fraction_to_f64(format!("{digits}e{}", -i32::from(*places)).as_bytes()),
        _ => Err(Problem::WrongType),
    }
}

fn fraction_to_f64(digits: &[u8]) -> Result<f64, Problem> {
    match std::str::from_utf8(digits).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(Problem::NotHeld),
    }
}

/// An integer that a double holds exactly, or whose digits are what the double prints (JavaScript writes doubles up
/// to 1e21 so); any other would lose digits.
#[cold]
fn wide_integer_to_f64(digits: &[u8]) -> Result<f64, Problem> {
    let number = fraction_to_f64(digits)?;
    let wanted = Decimal::of(digits);
    let printed = format!("{number:e}");
    if wanted == Decimal::of(printed.as_bytes()) {
        return Ok(number);
    }
    match wanted.scaled(0) {
        Some(exact) if number.abs() < 1e38 && number as i128 == exact => Ok(number),
        _ => Err(Problem::NotHeld),
    }
}

fn loose_to_f64(text: &[u8]) -> Result<f64, Problem> {
    if is_loose_number(text) {
        return fraction_to_f64(text);
    }
    match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
        // `nan`, `inf` and their kin, written so.
        Some(number) if number.is_nan() => Ok(f64::NAN),
        Some(number) => Ok(number),
        None => Err(Problem::Unparsable),
    }
}

/// Appends the text of a valid JSON string body.
pub(crate) fn unescape(body: &[u8], out: &mut Vec<u8>) {
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some((&kind, after)) = rest.split_first() else { return };
        rest = after;
        let plain = match kind {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let first = hex4(rest);
                rest = rest.get(4..).unwrap_or_default();
                let code = if (0xD800..0xDC00).contains(&first) {
                    let second = hex4(rest.get(2..).unwrap_or_default());
                    rest = rest.get(6..).unwrap_or_default();
                    0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF)
                } else {
                    first
                };
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
}

/// Four hexadecimal digits; digits that are none count as zero (callers have checked them).
pub(crate) fn hex4(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |code, &b| code << 4 | char::from(b).to_digit(16).unwrap_or(0))
}

/// True for types that take a CSV field with nothing in it as empty text.
pub(crate) fn is_text(ty: ColumnType) -> bool {
    matches!(ty, ColumnType::Utf8 | ColumnType::Binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_refused() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("12345678", Some(12345678)),
            ("-123456789012345678", Some(-123456789012345678)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(to_i64(&Value::Int(text.as_bytes())).ok(), wanted, "{text}");
        }
        for (text, wanted) in [
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("1.50e1", Some(15)),
            ("-0.0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1.5", None),
            ("1e19", None),
            ("1e999999999999999999999", None),
            ("1e-1", None),
            ("10e-1", Some(1)),
        ] {
            assert_eq!(to_i64(&Value::Number(text.as_bytes())).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn a_float_loses_no_digit_of_an_integer() {
        for (text, wanted) in [
            ("9007199254740992", Some(9007199254740992.0)),
            ("9007199254740993", None),
            ("9223372036854775807", None),
            ("9223372036854775808", Some(9223372036854775808.0)),
            ("123456789012345680000", Some(123456789012345680000.0)),
            ("100000000000000000000", Some(1e20)),
            ("12345678901234567890123", None),
        ] {
            assert_eq!(to_f64(&Value::Int(text.as_bytes())).ok(), wanted, "{text}");
        }
        assert!(to_f64(&Value::Int(b"-0")).is_ok_and(|zero| zero.is_sign_negative()));
        assert_eq!(to_f64(&Value::Number(b"1e400")), Err(Problem::NotHeld));
        assert_eq!(to_f64(&Value::Number(b"0.1")), Ok(0.1));
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        assert_eq!(to_decimal(&Value::Number(b"12.34"), 5, 2), Ok(1234));
        assert_eq!(to_decimal(&Value::Text(b"12.340"), 5, 2), Ok(1234));
        assert_eq!(to_decimal(&Value::Number(b"12.345"), 5, 2), Err(Problem::NotHeld));
        assert_eq!(to_decimal(&Value::Int(b"1000"), 5, 2), Err(Problem::NotHeld));
        assert_eq!(to_decimal(&Value::Int(b"1200"), 5, -2), Ok(12));
        assert_eq!(to_decimal(&Value::Text(b"abc"), 5, 2), Err(Problem::Unparsable));
    }

    #[test]
    fn loose_numbers_follow_people_not_json() {
        for (text, wanted) in [("007", Ok(7.0)), ("+1.5", Ok(1.5)), (" .5 ", Ok(0.5)), ("1e2", Ok(100.0))] {
            assert_eq!(to_f64(&Value::Loose(text.as_bytes())), wanted, "{text}");
        }
        for text in ["", "1.2.3", "abc", "1e", "0x10", "1,5", "-"] {
            assert_eq!(to_f64(&Value::Loose(text.as_bytes())), Err(Problem::Unparsable), "{text}");
        }
        assert!(to_f64(&Value::Loose(b"NaN")).is_ok_and(f64::is_nan));
    }

    #[test]
    fn escapes_become_the_text_that_they_stand_for() {
        let mut out = Vec::new();
        unescape(br#"a\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00z"#, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\"\\/\u{8}\u{c}\n\r\té😀z");
    }
}
