//! Points in time from text and numbers.
//!
//! Owns: `time_format`, RFC 3339 and its kin, integers with a unit; the fast path for common layouts.
//! Does not own: time zones by name: no zone database can decide output.
//!
//! Invariants: text without a zone is UTC. The fast path only says yes where the slow one (jiff) says the same; what
//! it does not know it leaves to jiff. Digits below a microsecond are cut off.

use super::number::is_loose_number;
use super::value::{Problem, Value, to_i64, to_scaled, unescape};
use jiff::fmt::strtime;
use jiff::tz::Offset;
use jiff::{Timestamp, civil};
use segno_core::source::TimeUnit;
use segno_core::{Code, Error, Result};
use std::sync::Arc;

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// How one column's times are written.
#[derive(Clone, Debug)]
pub(crate) struct TimeParser {
    format: Option<Arc<Format>>,
    unit: TimeUnit,
}

#[derive(Debug)]
struct Format {
    text: String,
    /// The fast path; `None` where the format holds what it does not know.
    items: Option<Vec<Item>>,
}

/// A piece of a format that has a fixed width.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// `%.f`: a point and digits, or nothing.
    DotFraction,
    Literal(u8),
}

impl TimeParser {
    /// Without a format: RFC 3339 text, and numbers of `unit`.
    pub fn plain(unit: TimeUnit) -> TimeParser {
        TimeParser { format: None, unit }
    }

    pub fn new(format: Option<&str>, unit: TimeUnit) -> Result<TimeParser> {
        let Some(text) = format else { return Ok(TimeParser::plain(unit)) };
        let format = Format { text: text.to_owned(), items: compile(text) };
        // A format that cannot read what it writes would make every record bad: say so before anything runs.
        let probe = Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::UTC);
        let problem = match strtime::format(text, &probe) {
            Ok(written) => match strptime(text, &written) {
                Some(_) => None,
                None => Some("it does not name a whole date".to_owned()),
            },
            Err(error) => Some(error.to_string()),
        };
        match problem {
            None => Ok(TimeParser { format: Some(Arc::new(format)), unit }),
            Some(problem) => Err(Error::new(
                Code::SourceSetting,
                format!("time_format `{text}` cannot be used: {problem}"),
            )
            .with_help("Use strftime's letters, such as `%Y-%m-%d %H:%M:%S`; a zone is given by `%z`, else it is UTC.")),
        }
    }

    pub fn format(&self) -> Option<&str> {
        self.format.as_ref().map(|format| format.text.as_str())
    }

    /// µs since 1970 UTC.
    #[inline]
    pub fn micros(&self, value: &Value<'_>) -> Result<i64, Problem> {
        match value {
            Value::Text(text) => self.text(text),
            Value::Escaped(body) => {
                let mut text = Vec::new();
                unescape(body, &mut text);
                self.text(&text)
            }
            Value::Micros(micros) => Ok(*micros),
            Value::Days(days) => Ok(i64::from(*days) * MICROS_PER_DAY),
            Value::FarTime => Err(Problem::NotHeld),
            Value::Int(_) | Value::Signed(_) | Value::Unsigned(_) => {
                let number = to_i64(value)?;
                let factor = match self.unit {
                    TimeUnit::Seconds => 1_000_000,
                    TimeUnit::Milliseconds => 1_000,
                    TimeUnit::Microseconds => 1,
                };
                number.checked_mul(factor).ok_or(Problem::NotHeld)
            }
            Value::Number(_) => self.fraction(value),
            Value::Loose(text) => {
                let text = text.trim_ascii();
                // Without a format, `20010203` is a number, not a date without hyphens.
                if self.format.is_none() && is_loose_number(text) {
                    return self.fraction(&Value::Loose(text));
                }
                self.text(text)
            }
            _ => Err(Problem::WrongType),
        }
    }

    fn fraction(&self, value: &Value<'_>) -> Result<i64, Problem> {
        let scale = match self.unit {
            TimeUnit::Seconds => 6,
            TimeUnit::Milliseconds => 3,
            TimeUnit::Microseconds => 0,
        };
        i64::try_from(to_scaled(value, scale)?).map_err(|_| Problem::NotHeld)
    }

    #[inline]
    fn text(&self, text: &[u8]) -> Result<i64, Problem> {
        let fast = match &self.format {
            Some(format) => format.items.as_deref().and_then(|items| fixed(items, text)),
            None => rfc3339(text),
        };
        match fast {
            Some(micros) => Ok(micros),
            None => self.slow(text).ok_or(Problem::Unparsable),
        }
    }

    #[cold]
    fn slow(&self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        match &self.format {
            Some(format) => strptime(&format.text, text),
            None => match text.parse::<Timestamp>() {
                Ok(timestamp) => Some(floor_micros(timestamp)),
                Err(_) => Offset::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok().map(floor_micros),
            },
        }
    }
}

/// Days since 1970 of a value that is a date.
pub(crate) fn to_date(parser: &TimeParser, value: &Value<'_>) -> Result<i32, Problem> {
    match value {
        Value::Text(_) | Value::Escaped(_) | Value::Loose(_) => {
            let days = parser.micros(value)?.div_euclid(MICROS_PER_DAY);
            i32::try_from(days).map_err(|_| Problem::NotHeld)
        }
        Value::Days(days) => Ok(*days),
        Value::FarTime => Err(Problem::NotHeld),
        _ => Err(Problem::WrongType),
    }
}

fn strptime(format: &str, text: &str) -> Option<i64> {
    let parsed = strtime::parse(format, text).ok()?;
    let timestamp = match parsed.to_timestamp() {
        Ok(timestamp) => timestamp,
        // Only text without a zone is UTC.
        Err(_) if parsed.offset().is_none() => Offset::UTC.to_timestamp(parsed.to_datetime().ok()?).ok()?,
        Err(_) => return None,
    };
    Some(floor_micros(timestamp))
}

fn floor_micros(timestamp: Timestamp) -> i64 {
    // ±10,000 years of microseconds fit an i64.
    timestamp.as_nanosecond().div_euclid(1000) as i64
}

fn compile(format: &str) -> Option<Vec<Item>> {
    use Item::*;
    let mut items = Vec::new();
    let mut rest = format.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            // White space in a format stands for any amount of it; one blank as itself is a special case of that.
            items.push(Literal(byte));
            continue;
        }
        if let Some(after) = rest.strip_prefix(b".f") {
            items.push(DotFraction);
            rest = after;
            continue;
        }
        let (&letter, after) = rest.split_first()?;
        rest = after;
        match letter {
            b'Y' => items.push(Year),
            b'm' => items.push(Month),
            b'd' => items.push(Day),
            b'H' => items.push(Hour),
            b'M' => items.push(Minute),
            b'S' => items.push(Second),
            b'F' => items.extend([Year, Literal(b'-'), Month, Literal(b'-'), Day]),
            b'T' => items.extend([Hour, Literal(b':'), Minute, Literal(b':'), Second]),
            b'R' => items.extend([Hour, Literal(b':'), Minute]),
            b'%' => items.push(Literal(b'%')),
            _ => return None,
        }
    }
    // A field named twice, or time of day in pieces, has rules of its own: jiff knows them.
    let count = |item: Item| items.iter().filter(|&&other| other == item).count();
    let whole = [Year, Month, Day].iter().all(|&item| count(item) == 1)
        && [Hour, Minute, Second, DotFraction].iter().all(|&item| count(item) <= 1)
        && count(Minute) <= count(Hour)
        && count(Second) <= count(Minute)
        && count(DotFraction) <= count(Second);
    whole.then_some(items)
}

fn fixed(items: &[Item], text: &[u8]) -> Option<i64> {
    let (mut year, mut month, mut day) = (0, 1, 1);
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    let mut at = 0;
    for item in items {
        match item {
            Item::Year => {
                year = two(text, at)? * 100 + two(text, at + 2)?;
                at += 4;
                continue;
            }
            Item::Literal(byte) => {
                if text.get(at) != Some(byte) {
                    return None;
                }
                at += 1;
                continue;
            }
            Item::DotFraction => {
                (micros, at) = dot_fraction(text, at)?;
                continue;
            }
            Item::Month => month = two(text, at)?,
            Item::Day => day = two(text, at)?,
            Item::Hour => hour = two(text, at)?,
            Item::Minute => minute = two(text, at)?,
            Item::Second => second = two(text, at)?,
        }
        at += 2;
    }
    if at != text.len() {
        return None;
    }
    Some(seconds(year, month, day, hour, minute, second)? * 1_000_000 + i64::from(micros))
}

/// `2015-07-15T00:00:00[.fraction][Z|±hh:mm]`, with `T`, `t` or a blank; also a date alone.
#[inline]
fn rfc3339(text: &[u8]) -> Option<i64> {
    if text.len() < 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?);
    if text.len() == 10 {
        return Some(seconds(year, month, day, 0, 0, 0)? * 1_000_000);
    }
    if text.len() < 19 || !matches!(text[10], b'T' | b't' | b' ') || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let start = seconds(year, month, day, two(text, 11)?, two(text, 14)?, two(text, 17)?)?;
    let (micros, at) = dot_fraction(text, 19)?;
    let offset_minutes = match &text[at..] {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(text, at + 1)?, two(text, at + 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = i64::from(hours * 60 + minutes);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some((start - offset_minutes * 60) * 1_000_000 + i64::from(micros))
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let [tens, ones] = *text.get(at..at + 2)?.first_chunk::<2>()?;
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// `(µs, next)`; nothing to read is no fraction.
#[inline]
fn dot_fraction(text: &[u8], at: usize) -> Option<(u32, usize)> {
    if text.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + if place < digits { u32::from(text[at + 1 + place] - b'0') } else { 0 };
    }
    Some((micros, at + 1 + digits))
}

/// Seconds since 1970 of a date and time that exist; years 1 to 9999, no leap second.
#[inline]
fn seconds(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Option<i64> {
    const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || year == 0 || day == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if day > DAYS[month as usize - 1] + u32::from(month == 2 && leap) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, years starting in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = i64::from(365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1) - 719_468;
    Some(days * 86_400 + i64::from(hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> Option<i64> {
        TimeParser::plain(TimeUnit::Milliseconds).micros(&Value::Text(text.as_bytes())).ok()
    }

    #[test]
    fn the_common_ways_to_write_a_time_are_one_time() {
        for text in [
            "2001-02-03T04:05:06Z",
            "2001-02-03 04:05:06",
            "2001-02-03T04:05:06.000000",
            "2001-02-03t04:05:06z",
            "2001-02-03T05:05:06+01:00",
            "2001-02-02T20:05:06-08:00",
            "20010203T040506Z",
        ] {
            assert_eq!(plain(text), Some(981_173_106_000_000), "{text}");
        }
        assert_eq!(plain("2001-02-03"), Some(981_158_400_000_000));
        assert_eq!(plain("1969-12-31T23:59:59.9999999Z"), Some(-1));
        for text in ["", "2001-02-30", "2001-13-01T00:00:00Z", "yesterday", "2001-02-03T04:05:06Zx", "2001-02-03T25:00:00"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn a_format_reads_flights() {
        let parser = TimeParser::new(Some("%Y/%m/%d %H:%M"), TimeUnit::Milliseconds).unwrap();
        assert_eq!(parser.micros(&Value::Text(b"2001/01/01 00:47")), Ok(978_310_020_000_000));
        assert_eq!(parser.micros(&Value::Text(b"2001/1/1 0:47")), Ok(978_310_020_000_000));
        assert_eq!(parser.micros(&Value::Text(b"2001-01-01 00:47")), Err(Problem::Unparsable));
        assert_eq!(parser.micros(&Value::Bool(true)), Err(Problem::WrongType));
    }

    #[test]
    fn a_format_without_a_whole_date_is_refused() {
        for format in ["%H:%M", "%Y-%m", "%Q!", "%"] {
            let error = TimeParser::new(Some(format), TimeUnit::Milliseconds).unwrap_err();
            assert_eq!(error.code(), Code::SourceSetting, "{format}");
        }
    }

    #[test]
    fn numbers_count_their_unit_and_nothing_is_dropped() {
        let seconds = TimeParser::plain(TimeUnit::Seconds);
        assert_eq!(seconds.micros(&Value::Int(b"1436918400")), Ok(1_436_918_400_000_000));
        assert_eq!(seconds.micros(&Value::Number(b"1436918400.25")), Ok(1_436_918_400_250_000));
        assert_eq!(seconds.micros(&Value::Number(b"0.0000001")), Err(Problem::NotHeld));
        assert_eq!(seconds.micros(&Value::Int(b"9223372036854775807")), Err(Problem::NotHeld));
        assert_eq!(seconds.micros(&Value::Loose(b" 20010203 ")), Ok(20_010_203_000_000));
        assert_eq!(seconds.micros(&Value::Loose(b"2001-02-03")), Ok(981_158_400_000_000));
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_jiff(
            text in prop_oneof![
                "[0-9]{4}-[0-1][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])?",
                "[0-9]{4}-[0-1][0-9]-[0-3][0-9]",
                "[0-9-]{10}[T ][0-9:.]{8}",
            ],
        ) {
            if let Some(fast) = rfc3339(text.as_bytes()) {
                let slow = TimeParser::plain(TimeUnit::Seconds).slow(text.as_bytes());
                prop_assert_eq!(Some(fast), slow);
            }
        }

        #[test]
        fn the_fast_path_of_a_format_agrees_with_jiff(
            format in prop_oneof![
                Just("%Y/%m/%d %H:%M"), Just("%d.%m.%Y %H:%M:%S%.f"), Just("%FT%T%.f"), Just("%Y%m%d%H%M%S"), Just("%m-%d-%Y"),
            ],
            micros in -60_000_000_000_000_000i64..250_000_000_000_000_000,
            noise in prop::option::of((0usize..30, any::<u8>())),
        ) {
            let zoned = Timestamp::from_microsecond(micros).unwrap().to_zoned_datetime(jiff::tz::TimeZone::UTC);
            let mut text = strtime::format(format, &zoned).unwrap().into_bytes();
            if let Some((at, byte)) = noise && let Some(place) = text.get_mut(at) {
                *place = byte & 0x7F;
            }
            let items = compile(format).unwrap();
            if let Some(fast) = fixed(&items, &text) {
                prop_assert_eq!(Some(fast), strptime(format, std::str::from_utf8(&text).unwrap()));
            } else if noise.is_none() {
                prop_assert!(false, "the fast path does not know {:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
