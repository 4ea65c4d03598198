//! Windows of all kinds against a reference that keeps every record and looks at all of them each time.

use core::time::Duration;
use std::collections::BTreeMap;

use proptest::prelude::*;
use segno_sdk::prelude::*;
use segno_sdk::testing::{OutputRow, RunResult};
use segno_sdk::window::{Fired, Kind, Late, Merge, Panes, Session, Sliding, Tumbling};

const SECOND: i64 = 1_000_000;

#[derive(Input)]
struct Record {
    value: i64,
    #[segno(event_time)]
    at: Timestamp,
}

/// Not a sum alone, so that a record that is counted twice or in another window shows.
#[derive(State, Default, Clone, Debug, PartialEq)]
struct Sum {
    count: u64,
    sum: i64,
    values: Vec<Value>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Value {
    value: i64,
}

impl Sum {
    fn take(&mut self, value: i64) {
        self.count += 1;
        self.sum += value;
        self.values.push(Value { value });
    }
}

impl Merge for Sum {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.values.extend(other.values.iter().cloned());
    }
}

#[derive(Output)]
struct Row {
    start: Timestamp,
    end: Timestamp,
    kind: &'static str,
    count: u64,
    sum: i64,
}

#[derive(Config)]
struct Settings {
    /// tumbling, sliding or session.
    kind: String,
    /// Seconds.
    size: u64,
    slide: u64,
    lateness: u64,
    early: u64,
}

enum Windows {
    Tumbling(Tumbling),
    Sliding(Sliding),
    Session(Session),
}

struct Windowed(Windows);

macro_rules! with_rules {
    ($windows:expr, $settings:expr) => {{
        let mut windows = $windows;
        if $settings.lateness > 0 {
            windows = windows.allowed_lateness(Duration::from_secs($settings.lateness));
        }
        if $settings.early > 0 {
            windows = windows.early_every(Duration::from_secs($settings.early));
        }
        windows
    }};
}

impl Transform for Windowed {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Row>;
    type State = Panes<Sum>;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        let size = Duration::from_secs(settings.size);
        Ok(Self(match settings.kind.as_str() {
            "tumbling" => Windows::Tumbling(with_rules!(Tumbling::new(size).offset(Duration::from_secs(settings.slide)), settings)),
            "sliding" => Windows::Sliding(with_rules!(Sliding::new(size, Duration::from_secs(settings.slide)), settings)),
            "session" => Windows::Session(with_rules!(Session::new(size), settings)),
            other => return Err(format!("no kind {other}")),
        }))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let sum: Result<&mut Sum, Late> = match &self.0 {
            Windows::Tumbling(windows) => windows.add(ctx.state, ctx.timers, record.at),
            Windows::Sliding(windows) => windows.add(ctx.state, ctx.timers, record.at),
            Windows::Session(windows) => windows.add(ctx.state, ctx.timers, record.at),
        };
        sum?.take(record.value);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        let fired: Vec<Fired<Sum>> = match &self.0 {
            Windows::Tumbling(windows) => windows.fire(ctx.state, ctx.timers, timer),
            Windows::Sliding(windows) => windows.fire(ctx.state, ctx.timers, timer),
            Windows::Session(windows) => windows.fire(ctx.state, ctx.timers, timer),
        };
        for one in fired {
            let kind = match one.kind {
                Kind::Early => "early",
                Kind::OnTime => "on time",
                Kind::Update => "update",
            };
            let (window, Sum { count, sum, .. }) = (one.window, one.value);
            ctx.out.push(Row { start: window.start, end: window.end, kind, count, sum });
        }
    }
}

segno_sdk::plugin!(Windowed);

/// (key, start, end, kind, count, sum), times in microseconds.
type Result_ = (String, i64, i64, String, u64, i64);

fn results(result: &RunResult) -> Vec<Result_> {
    let one = |row: &OutputRow| {
        let time = |name: &str| row.timestamp(name).micros();
        (row.key.clone(), time("start"), time("end"), row.text("kind").to_owned(), row.u64("count"), row.i64("sum"))
    };
    result.rows().iter().map(one).collect()
}

/// A record of the reference.
#[derive(Clone, Copy, Debug)]
struct Given {
    key: usize,
    at: i64,
    value: i64,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// What is known of a window of the reference.
#[derive(Clone, Default, Debug)]
struct Held {
    records: Vec<i64>,
    /// Since its last result.
    changed: bool,
}

/// Windows of one key, by (start, end).
type Open = BTreeMap<(i64, i64), Held>;

struct Reference {
    lateness: i64,
    watermark: Option<i64>,
    open: Vec<Open>,
    results: Vec<Result_>,
    late: usize,
}

impl Reference {
    fn new(lateness: i64) -> Self {
        Self { lateness, watermark: None, open: vec![Open::new(); KEYS.len()], results: Vec::new(), late: 0 }
    }

    /// `windows`: every window that a time belongs to; sessions of a gap when there is one.
    fn run(mut self, records: &[Given], windows: impl Fn(i64) -> Vec<(i64, i64)>, gap: Option<i64>) -> Self {
        for record in records {
            self.reach(record.at.div_euclid(100_000) * 100_000);
            match gap {
                None => self.add(record, windows(record.at)),
                Some(gap) => self.join(record, gap),
            }
        }
        self.reach(i64::MAX);
        self
    }

    fn over(&self, end: i64) -> bool {
        self.watermark.is_some_and(|watermark| watermark >= end.saturating_add(self.lateness))
    }

    fn add(&mut self, record: &Given, windows: Vec<(i64, i64)>) {
        let taking: Vec<(i64, i64)> = windows.into_iter().filter(|window| !self.over(window.1)).collect();
        if taking.is_empty() {
            self.late += 1;
        }
        for window in taking {
            let held = self.open[record.key].entry(window).or_default();
            held.records.push(record.value);
            held.changed = true;
        }
    }

    fn join(&mut self, record: &Given, gap: i64) {
        let mut window = (record.at, record.at + gap);
        let alone = window;
        let open = &self.open[record.key];
        let touching: Vec<(i64, i64)> = open.keys().filter(|one| one.0 < alone.1 && one.1 > alone.0).copied().collect();
        for one in &touching {
            window = (window.0.min(one.0), window.1.max(one.1));
        }
        if self.over(window.1) {
            self.late += 1;
            return;
        }
        let mut all = Held { records: vec![record.value], changed: true };
        for one in touching {
            all.records.extend(self.open[record.key].remove(&one).expect("it is open").records);
        }
        self.open[record.key].insert(window, all);
    }

    /// Results in the order (instant, end, key).
    fn reach(&mut self, watermark: i64) {
        if self.watermark.is_some_and(|now| now >= watermark) {
            return;
        }
        let before = self.watermark;
        let mut due: Vec<(i64, i64, usize, (i64, i64))> = Vec::new();
        for (key, open) in self.open.iter().enumerate() {
            for (window, held) in open {
                if held.changed && window.1 <= watermark {
                    due.push((window.1.max(before.unwrap_or(i64::MIN)), window.1, key, *window));
                }
            }
        }
        due.sort_unstable();
        for (_, end, key, window) in due {
            let held = self.open[key].get_mut(&window).expect("it is open");
            held.changed = false;
            let kind = if before.is_some_and(|before| before >= end) { "update" } else { "on time" };
            let (count, sum) = (held.records.len() as u64, held.records.iter().sum());
            self.results.push((KEYS[key].to_owned(), window.0, end, kind.to_owned(), count, sum));
        }
        self.watermark = Some(watermark);
        for key in 0..KEYS.len() {
            let over: Vec<(i64, i64)> = self.open[key].keys().filter(|window| self.over(window.1)).copied().collect();
            over.iter().for_each(|window| drop(self.open[key].remove(window)));
        }
    }
}

/// Records that are mostly in order, with ties, disorder, gaps and instants at the edges of windows.
fn records() -> impl Strategy<Value = Vec<Given>> {
    let step = prop_oneof![
        6 => 0..2 * SECOND,
        2 => Just(0),
        1 => 20 * SECOND..60 * SECOND,
        2 => -15 * SECOND..0,
    ];
    let one = (0..KEYS.len(), step, prop_oneof![Just(true), Just(false)], -9..9_i64);
    proptest::collection::vec(one, 0..60).prop_map(|steps| {
        let mut now = 0;
        let given = steps.into_iter().map(|(key, step, whole, value)| {
            let at = now + step;
            now = now.max(at);
            let at = if whole { at.div_euclid(SECOND) * SECOND } else { at };
            Given { key, at, value }
        });
        given.collect()
    })
}

fn run(config: &str, records: &[Given], cut: usize) -> (Vec<Result_>, usize, bool) {
    let mut harness = Harness::<Windowed>::new(config).unwrap();
    let mut found = Vec::new();
    let mut late = 0;
    let mut take = |result: RunResult| {
        found.extend(results(&result));
        late += result.rejects.len();
    };
    for (number, record) in records.iter().enumerate() {
        if number == cut {
            take(harness.run());
        }
        harness.push(row! { "value": record.value }.key(KEYS[record.key]).at(Timestamp::from_micros(record.at)));
    }
    take(harness.run_to_end());
    let clean = KEYS.iter().all(|key| harness.state(key, "windows").is_none() && harness.timers(key).is_empty());
    (found, late, clean)
}

fn config(kind: &str, size: i64, slide: i64, lateness: i64, early: i64) -> String {
    format!(r#"{{"kind":"{kind}","size":{size},"slide":{slide},"lateness":{lateness},"early":{early}}}"#)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn tumbling_windows_are_those_of_the_reference(
        records in records(), size in 1..30_i64, offset in 1..7_i64, lateness in prop_oneof![Just(0), 1..20_i64], cut in 0..60_usize,
    ) {
        let (shift, width) = (offset * SECOND % (size * SECOND), size * SECOND);
        let window = |at: i64| {
            let start = (at - shift).div_euclid(width) * width + shift;
            vec![(start, start + width)]
        };
        let wanted = Reference::new(lateness * SECOND).run(&records, window, None);
        let found = run(&config("tumbling", size, offset, lateness, 0), &records, cut);
        prop_assert_eq!(found, (wanted.results, wanted.late, true));
    }

    #[test]
    fn sliding_windows_are_those_of_the_reference(
        records in records(), slide in 1..8_i64, more in 0..20_i64, lateness in prop_oneof![Just(0), 1..20_i64], cut in 0..60_usize,
    ) {
        let (width, step) = ((slide + more) * SECOND, slide * SECOND);
        let windows = |at: i64| {
            let last = at.div_euclid(step) * step;
            (0..).map(|n| last - n * step).take_while(|start| start + width > at).map(|start| (start, start + width)).collect()
        };
        let wanted = Reference::new(lateness * SECOND).run(&records, windows, None);
        let found = run(&config("sliding", slide + more, slide, lateness, 0), &records, cut);
        prop_assert_eq!(found, (wanted.results, wanted.late, true));
    }

    #[test]
    fn sessions_are_those_of_the_reference(
        records in records(), gap in 1..20_i64, lateness in prop_oneof![Just(0), 1..20_i64], cut in 0..60_usize,
    ) {
        let wanted = Reference::new(lateness * SECOND).run(&records, |_| Vec::new(), Some(gap * SECOND));
        let found = run(&config("session", gap, 0, lateness, 0), &records, cut);
        prop_assert_eq!(found, (wanted.results, wanted.late, true));
    }

    /// Early results come before the window's end and never say more than the final one; final ones are as without them.
    #[test]
    fn early_results_change_no_other(
        records in records(), kind in prop_oneof![Just("tumbling"), Just("sliding"), Just("session")], size in 4..30_i64, early in 1..9_i64, cut in 0..60_usize,
    ) {
        let with = run(&config(kind, size, 2, 0, early), &records, cut);
        let without = run(&config(kind, size, 2, 0, 0), &records, cut);
        let others: Vec<_> = with.0.iter().filter(|one| one.3 != "early").cloned().collect();
        prop_assert_eq!(others, without.0);
        prop_assert_eq!((with.1, with.2), (without.1, without.2));
        for early in with.0.iter().filter(|one| one.3 == "early") {
            let last = with.0.iter().find(|one| one.3 == "on time" && one.0 == early.0 && one.1 <= early.1 && one.2 >= early.2);
            prop_assert!(last.is_some_and(|last| last.4 >= early.4), "{early:?} of {last:?}");
        }
    }
}

#[test]
fn the_end_of_a_window_is_not_part_of_it() {
    let given = |at: i64| Given { key: 0, at, value: 1 };
    let (found, late, _) = run(&config("tumbling", 10, 10, 0, 0), &[given(0), given(10 * SECOND - 1), given(10 * SECOND)], 99);
    let counts: Vec<(i64, u64)> = found.iter().map(|one| (one.1, one.4)).collect();
    assert_eq!((counts, late), (vec![(0, 2), (10 * SECOND, 1)], 0));
}

#[test]
fn windows_that_cannot_be_are_refused_when_they_are_made() {
    for (size, slide) in [(0, 1), (1, 2)] {
        let made = std::panic::catch_unwind(|| Sliding::new(Duration::from_secs(size), Duration::from_secs(slide)));
        assert!(made.is_err(), "{size} {slide}");
    }
}
