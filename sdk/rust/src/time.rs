//! Owns the value types that Rust does not have: instants, days and decimals, in the units of the boundary.
//! Does not own clocks: a plugin has none, it sees event times only.

use core::fmt;
use core::time::Duration;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// Microseconds of a duration that operators are made of.
pub(crate) const fn micros(duration: Duration) -> i64 {
    let micros = micros_or_none(duration);
    assert!(micros > 0, "a duration of nothing: a size, a slide, a gap and an interval are at least a microsecond");
    micros
}

/// The same, where nothing is a duration, too.
pub(crate) const fn micros_or_none(duration: Duration) -> i64 {
    let micros = duration.as_micros();
    assert!(micros < i64::MAX as u128 / 4, "a duration of more than 73,000 years");
    micros as i64
}

/// An instant: microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    #[inline]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    #[inline]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The instant that is so much later.
    #[inline]
    pub const fn after(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The day in UTC.
    #[inline]
    pub const fn date(self) -> Date {
        Date(self.0.div_euclid(MICROS_PER_DAY) as i32)
    }

    /// The hour of the day in UTC, 0 to 23.
    #[inline]
    pub const fn hour(self) -> u8 {
        (self.0.rem_euclid(MICROS_PER_DAY) / MICROS_PER_HOUR) as u8
    }

    /// The start of the window of this width that holds the instant; windows are aligned to 1970.
    ///
    /// # Panics
    /// When the width is not positive.
    #[inline]
    pub const fn floor(self, width_micros: i64) -> Self {
        assert!(width_micros > 0, "a window has a positive width");
        Self(self.0.saturating_sub(self.0.rem_euclid(width_micros)))
    }
}

/// A day: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Date {
    #[inline]
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    #[inline]
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Year, month (1 to 12) and day (1 to 31) in the Gregorian calendar.
    #[inline]
    pub const fn civil(self) -> (i32, u8, u8) {
        // Howard Hinnant's days-to-civil: eras of 400 years that start on the first of March.
        let days = self.0 as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        (year as i32, month as u8, day as u8)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.rem_euclid(MICROS_PER_DAY);
        let seconds = micros / MICROS_PER_SECOND;
        write!(
            f,
            "{}T{:02}:{:02}:{:02}.{:06}Z",
            self.date(),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            micros % MICROS_PER_SECOND
        )
    }
}

/// A decimal number of at most `P` digits, `S` of them after the point: `unscaled × 10^-S`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const P: u8, const S: i8>(i128);

impl<const P: u8, const S: i8> Decimal<P, S> {
    /// The number with these digits, or nothing when there are more than `P`.
    #[inline]
    pub const fn from_unscaled(unscaled: i128) -> Option<Self> {
        if unscaled.unsigned_abs() < 10_u128.pow(P as u32) {
            Some(Self(unscaled))
        } else {
            None
        }
    }

    #[inline]
    pub(crate) const fn from_wire(unscaled: i128) -> Self {
        Self(unscaled)
    }

    #[inline]
    pub const fn unscaled(self) -> i128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_1970_have_the_right_hour_and_day() {
        let instant = Timestamp::from_micros(-1);
        assert_eq!(instant.hour(), 23);
        assert_eq!(instant.to_string(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(instant.floor(MICROS_PER_HOUR).micros(), -MICROS_PER_HOUR);
    }

    #[test]
    fn days_are_gregorian() {
        for (days, text) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_323, "2001-01-01"),
            (-719_528, "0000-01-01"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Date::from_days(days).to_string(), text);
        }
    }

    #[test]
    fn a_decimal_keeps_to_its_precision() {
        assert_eq!(
            Decimal::<3, 1>::from_unscaled(-999).unwrap().unscaled(),
            -999
        );
        assert_eq!(Decimal::<3, 1>::from_unscaled(1000), None);
        assert!(Decimal::<38, 0>::from_unscaled(i128::MAX).is_none());
    }
}
