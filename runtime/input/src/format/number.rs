//! Numbers from their digits, exactly.
//!
//! Owns: decimal digits to integers; the grammar of numbers in CSV.
//! Does not own: which number fits which column (`value`).
//!
//! Invariants: nothing is rounded. Exponents of any length saturate far outside of every range.

/// Digits with an optional `-`: at most an `i64`. `None`: out of range.
#[inline(always)]
pub(crate) fn parse_i64(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, digits),
    };
    if digits.len() <= 18 {
        let mut number = 0i64;
        let mut rest = digits;
        while let Some((eight, more)) = rest.split_first_chunk::<8>() {
            number = number * 100_000_000 + i64::from(eight_digits(*eight));
            rest = more;
        }
        for digit in rest {
            number = number * 10 + i64::from(digit.wrapping_sub(b'0'));
        }
        return Some(if negative { -number } else { number });
    }
    Decimal::of(digits).scaled(0).and_then(|wide| i64::try_from(if negative { -wide } else { wide }).ok())
}

/// Eight ASCII digits at once.
#[inline]
fn eight_digits(bytes: [u8; 8]) -> u32 {
    let mut chunk = u64::from_le_bytes(bytes).wrapping_sub(0x3030_3030_3030_3030);
    chunk = (chunk.wrapping_mul(10)).wrapping_add(chunk >> 8) & 0x00FF_00FF_00FF_00FF;
    chunk = (chunk.wrapping_mul(100)).wrapping_add(chunk >> 16) & 0x0000_FFFF_0000_FFFF;
    (chunk.wrapping_mul(10_000).wrapping_add(chunk >> 32) & 0xFFFF_FFFF) as u32
}

/// A number as `± mantissa × 10^exponent`, without trailing zeros in the mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    mantissa: u128,
    exponent: i64,
    /// More than 38 significant digits: no type of ours holds it.
    too_long: bool,
}

impl Decimal {
    pub fn new(digits: i128, places: i8) -> Decimal {
        let (mut mantissa, mut exponent) = (digits.unsigned_abs(), -i64::from(places));
        while mantissa != 0 && mantissa.is_multiple_of(10) {
            mantissa /= 10;
            exponent += 1;
        }
        Decimal { negative: digits < 0, mantissa, exponent, too_long: false }
    }

    /// Of well-formed digits: sign, digits, fraction, exponent.
    pub fn of(text: &[u8]) -> Decimal {
        let (negative, text) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, text),
        };
        let mut decimal = Decimal { negative, mantissa: 0, exponent: 0, too_long: false };
        let mut in_fraction = false;
        let mut zeros = 0u32;
        let mut rest = text.iter();
        let mut exponent = 0i64;
        while let Some(&byte) = rest.next() {
            match byte {
                b'.' => in_fraction = true,
                b'e' | b'E' => {
                    exponent = parse_exponent(rest.as_slice());
                    break;
                }
                _ => {
                    decimal.exponent -= i64::from(in_fraction);
                    if byte == b'0' {
                        zeros += u32::from(decimal.mantissa != 0);
                        continue;
                    }
                    let shifted = 10u128.checked_pow(zeros + 1).and_then(|by| decimal.mantissa.checked_mul(by));
                    match shifted.and_then(|m| m.checked_add(u128::from(byte.wrapping_sub(b'0')))) {
                        Some(mantissa) => decimal.mantissa = mantissa,
                        None => decimal.too_long = true,
                    }
                    zeros = 0;
                }
            }
        }
        decimal.exponent = decimal.exponent.saturating_add(exponent).saturating_add(i64::from(zeros));
        if decimal.mantissa == 0 && !decimal.too_long {
            decimal.exponent = 0;
        }
        decimal
    }

    pub fn scaled(&self, scale: i32) -> Option<i128> {
        if self.too_long {
            return None;
        }
        if self.mantissa == 0 {
            return Some(0);
        }
        let power = u32::try_from(self.exponent.saturating_add(i64::from(scale))).ok()?;
        let magnitude = i128::try_from(self.mantissa).ok()?.checked_mul(10i128.checked_pow(power)?)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

/// Saturates far outside every range that matters, and far inside `i64`.
fn parse_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let mut exponent = 0i64;
    for digit in digits {
        exponent = (exponent * 10 + i64::from(digit.wrapping_sub(b'0'))).min(1 << 40);
    }
    if negative { -exponent } else { exponent }
}

/// Numbers as people write them in CSV: also with `+`, leading zeros, `.5` or `5.`.
pub(crate) fn is_loose_number(text: &[u8]) -> bool {
    let text = match text.split_first() {
        Some((b'+' | b'-', rest)) => rest,
        _ => text,
    };
    let mut digits = 0;
    let mut at = 0;
    while at < text.len() && (text[at].is_ascii_digit() || text[at] == b'.') {
        digits += usize::from(text[at] != b'.');
        at += 1;
    }
    if digits == 0 || text[..at].iter().filter(|&&b| b == b'.').count() > 1 {
        return false;
    }
    if at == text.len() {
        return true;
    }
    if !matches!(text[at], b'e' | b'E') {
        return false;
    }
    let exponent = match text[at + 1..].split_first() {
        Some((b'+' | b'-', rest)) => rest,
        _ => &text[at + 1..],
    };
    !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
}
