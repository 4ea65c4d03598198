//! Numbers with units, as people write them in a pipeline file: `1M`, `64MiB`, `1m30s`.
//!
//! Owns: the units. Does not own: which unit a field wants (`file`).

use std::time::Duration;

/// `250`, `10k`, `1M`, `2G`, `1_000_000`; decimals where they give a whole number (`1.5M`).
pub fn count(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    whole(number, match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    })
}

/// `512`, `512B`, `10kB`, `64MiB`, `1GiB`.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    whole(number, match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" | "kiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    })
}

/// `500us`, `200ms`, `5s`, `2m`, `1h`, `1d`, and sums of them from large to small: `1m30s`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_us = 0u64;
    let mut last_unit_us = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split(rest);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit_us = match unit.trim() {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        if unit_us >= last_unit_us {
            return None;
        }
        last_unit_us = unit_us;
        total_us = total_us.checked_add(whole(number, unit_us)?)?;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::from_micros(total_us))
}

/// The shortest text that `duration` reads as the same time.
pub fn show_duration(duration: Duration) -> String {
    let us = duration.as_micros();
    for (unit_us, unit) in [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")]
    {
        if us >= unit_us && us % unit_us == 0 {
            return format!("{}{unit}", us / unit_us);
        }
    }
    if us == 0 { "0s".to_owned() } else { format!("{us}us") }
}

/// Digits (with `_` and at most one point), then the unit.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `number * unit` when that is a whole number that fits.
fn whole(number: &str, unit: u64) -> Option<u64> {
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| -> Option<String> {
        let digits: String = text.chars().filter(|&c| c != '_').collect();
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
    };
    let integer = digits(integer)?;
    if integer.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let fraction = digits(fraction)?;
    let fraction = fraction.trim_end_matches('0');
    let scale = 10u128.checked_pow(fraction.len() as u32)?;
    let all: u128 = format!("{integer}{fraction}").parse().ok()?;
    let value = all.checked_mul(unit.into())?;
    if value % scale != 0 {
        return None;
    }
    u64::try_from(value / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_decimal_units() {
        for (text, value) in
            [("0", 0), ("250", 250), ("1M", 1_000_000), ("1.5M", 1_500_000), ("10k", 10_000), ("1_000", 1_000)]
        {
            assert_eq!(count(text), Some(value), "{text}");
        }
        for text in ["", "M", "-1", "1.", "1.5", "1MiB", "1e3", "99999999999999999999", "1..5M", "0x10"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_have_decimal_and_binary_units() {
        for (text, value) in [("512", 512), ("64MiB", 64 << 20), ("1GB", 1_000_000_000), ("0.5 KiB", 512)] {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
        for text in ["1M", "1mib", "0.3B", "MiB", "20000000TiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn durations_name_their_unit() {
        for (text, ms) in [("200ms", 200), ("5s", 5_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0s", 0), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "5 seconds", "s", "30s1m", "1s1s", "-1s", "1s5"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["200ms", "5s", "90s", "1d", "36h", "0s", "1500us"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }
}
