//! What `arithmetic` makes of a record's numbers, dates and times.

use segno_sdk::{Date, Decimal, Timestamp};

use crate::{Computed, Record};

pub(crate) fn compute(record: &Record<'_>) -> Computed {
    let both = record.wide.zip(record.narrow.map(i64::from));
    let divisible = both.filter(|(_, narrow)| *narrow != 0);
    let root = record.ratio.map(f64::sqrt);
    let (year, month, dom) = record.day.map(Date::civil).map_or((None, None, None), |(year, month, dom)| {
        (Some(year), Some(i32::from(month)), Some(i32::from(dom)))
    });
    Computed {
        id: record.id,
        sum: both.map(|(wide, narrow)| wide.wrapping_add(narrow)),
        product: both.map(|(wide, narrow)| wide.wrapping_mul(narrow)),
        quotient: divisible.map(|(wide, narrow)| wide.wrapping_div(narrow)),
        rest: divisible.map(|(wide, narrow)| wide.wrapping_rem(narrow)),
        turned: record.count.map(|count| count.wrapping_mul(3).wrapping_add(1)),
        third: record.ratio.map(|ratio| ratio / 3.0),
        total: record.ratio.zip(record.wide).map(|(ratio, wide)| (ratio + 0.1) + wide as f64),
        root,
        nan: root.map(f64::is_nan),
        doubled: record.amount.and_then(doubled),
        cut: record.amount.and_then(|amount| Decimal::from_unscaled(amount.unscaled() / 100_000_000)),
        year,
        month,
        dom,
        hour: record.at.map(|at| i32::from(at.hour())),
        date_text: record.day.map(|day: Date| day.to_string()),
        instant_text: record.at.map(|at: Timestamp| at.to_string()),
    }
}

fn doubled(amount: Decimal<38, 10>) -> Option<Decimal<38, 10>> {
    Decimal::from_unscaled(amount.unscaled().checked_mul(2)?)
}
