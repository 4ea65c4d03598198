//! The best N, as they change and at the end of windows.

use core::time::Duration;

use proptest::prelude::*;
use segno_sdk::prelude::*;
use segno_sdk::top::{Top, TopN};
use segno_sdk::window::{Merge, Panes, Sliding};

use super::{KEYS, SECOND, records, run, watermarks};

#[derive(Input)]
struct Record {
    id: i64,
    points: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(State, Clone, Debug)]
struct Id {
    id: i64,
}

#[derive(Config)]
struct Settings {
    places: u64,
    later_wins: bool,
    with_ties: bool,
}

fn rule(settings: &Settings) -> TopN {
    let mut rule = TopN::new(settings.places as usize);
    if settings.later_wins {
        rule = rule.later_wins();
    }
    if settings.with_ties {
        rule = rule.with_ties();
    }
    rule
}

/// What a record changed: its rank, those that left, and all that are there now; or what a window gives.
#[derive(Output)]
struct Change {
    rank: u64,
    left: String,
    now: String,
}

struct Updates(TopN);

fn ids<'r>(rows: impl IntoIterator<Item = &'r segno_sdk::top::Ranked<i64, Id>>) -> String {
    format!("{:?}", rows.into_iter().map(|row| row.value.id).collect::<Vec<_>>())
}

impl Transform for Updates {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = Emit<Change>;
    type State = Top<i64, Id>;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(rule(&settings)))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let top = ctx.state.or_default();
        if let Some(entered) = self.0.add(top, record.points, || Id { id: record.id }) {
            ctx.out.push(Change { rank: entered.rank as u64, left: ids(&entered.left), now: ids(top.rows()) });
        }
        Ok(())
    }
}

segno_sdk::plugin!(Updates);

/// A window of a plugin's own, which says how tops are merged.
#[derive(State, Default, Clone)]
struct Best {
    top: Top<i64, Id>,
}

const TWO: TopN = TopN::new(2).later_wins();

impl Merge for Best {
    fn merge(&mut self, other: &Self) {
        TWO.merge(&mut self.top, &other.top);
    }
}

struct OfWindows;
const WINDOWS: Sliding = Sliding::new(Duration::from_secs(9), Duration::from_secs(3));

impl Transform for OfWindows {
    type Config = ();
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Change>;
    type State = Panes<Best>;
    const TIMERS: bool = true;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let best = WINDOWS.add(ctx.state, ctx.timers, record.at)?;
        TWO.add(&mut best.top, record.points, || Id { id: record.id });
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        for fired in WINDOWS.fire(ctx.state, ctx.timers, timer) {
            let end = fired.window.end.micros() / SECOND;
            ctx.out.push(Change { rank: end as u64, left: String::new(), now: ids(fired.value.top.rows()) });
        }
    }
}

segno_sdk::plugin!(OfWindows);

/// The best of so many records, as (score, number), each of which came after those before it.
fn best(mut all: Vec<(i64, usize)>, places: usize, later_wins: bool, with_ties: bool) -> Vec<(i64, usize)> {
    all.sort_by_key(|&(score, number)| (-score, if later_wins { -(number as i64) } else { number as i64 }));
    let last = all.get(places - 1).map(|last| last.0);
    let rows = all.into_iter().enumerate();
    rows.filter(|(place, row)| *place < places || (with_ties && Some(row.0) == last)).map(|(_, row)| row).collect()
}

fn shown(rows: &[(i64, usize)]) -> String {
    format!("{:?}", rows.iter().map(|row| row.1).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn updates_are_those_of_the_reference(
        records in records(), places in 1..6_usize, later_wins: bool, with_ties: bool, cut in 0..60_usize,
    ) {
        let config = format!(r#"{{"places":{places},"later_wins":{later_wins},"with_ties":{with_ties}}}"#);
        let ran = run::<Updates>(&config, 0, &records, cut, |number, record| row! { "id": number as i64, "points": record.value });
        let found: Vec<_> = ran.rows.iter().map(|row| (row.cause, row.u64("rank") as usize, row.text("left").to_owned(), row.text("now").to_owned())).collect();
        let mut wanted = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let all = |until: usize| records[..until].iter().enumerate().filter(|(_, one)| one.key == record.key).map(|(number, one)| (one.value, number)).collect();
            let before = best(all(number), places, later_wins, with_ties);
            let after = best(all(number + 1), places, later_wins, with_ties);
            if let Some(place) = after.iter().position(|row| row.1 == number) {
                let rank = if with_ties { after.iter().filter(|row| row.0 > record.value).count() } else { place } + 1;
                let left: Vec<_> = before.iter().filter(|row| !after.contains(row)).copied().collect();
                wanted.push((number, rank, shown(&left), shown(&after)));
            }
        }
        prop_assert_eq!(found, wanted);
    }

    /// Put together from slices, in which records are in the order of their slices, then as they came.
    #[test]
    fn the_best_of_windows_are_those_of_the_reference(records in records(), cut in 0..60_usize) {
        let ran = run::<OfWindows>("{}", 0, &records, cut, |number, record| row! { "id": number as i64, "points": record.value });
        let found: Vec<_> = ran.rows.iter().map(|row| (row.u64("rank") as i64, row.key.clone(), row.text("now").to_owned())).collect();
        let seen = watermarks(&records, 0);
        let mut wanted = Vec::new();
        for end in (-60..5_000_i64).map(|number| number * 3) {
            for (key, name) in KEYS.iter().enumerate() {
                let in_window = |at: i64| at >= (end - 9) * SECOND && at < end * SECOND;
                // A record of a window that has ended counts in the others.
                let mut numbers: Vec<usize> = (0..records.len())
                    .filter(|&number| records[number].key == key && in_window(records[number].at) && seen[number] < end * SECOND)
                    .collect();
                numbers.sort_by_key(|&number| (records[number].at.div_euclid(3 * SECOND), number));
                if !numbers.is_empty() {
                    let all = numbers.iter().enumerate().map(|(place, &number)| (records[number].value, place)).collect();
                    let rows: Vec<_> = best(all, 2, true, false).into_iter().map(|(score, place)| (score, numbers[place])).collect();
                    wanted.push((end, (*name).to_owned(), shown(&rows)));
                }
            }
        }
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn what_is_not_among_the_best_is_not_made() {
    let mut top = Top::<i64, Id>::default();
    let two = TopN::new(2);
    for (points, enters) in [(5, true), (5, true), (5, false), (4, false), (6, true)] {
        let mut made = false;
        let entered = two.add(&mut top, points, || {
            made = true;
            Id { id: points }
        });
        assert_eq!((made, entered.is_some()), (enters, enters), "{points}");
    }
}
