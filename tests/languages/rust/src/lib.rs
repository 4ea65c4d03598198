//! The conformance component in Rust: the reference for those of the other languages. `tests/languages/README.md` says what
//! each behaviour does. Tests only.
//!
//! Owns: what is described, and which behaviour is chosen. Does not own: the behaviours of numbers (`numbers`) and of windows
//! (`windows`).
//!
//! Invariant: the behaviour is chosen by the configuration and by nothing else.

mod numbers;
mod windows;

use std::collections::BTreeMap;

use segno_sdk::prelude::*;
use segno_sdk::window::Panes;

use windows::{Sum, WindowSettings, Windows};

pub(crate) const SECOND: i64 = 1_000_000;

#[derive(Input)]
pub struct Record<'a> {
    id: i64,
    flag: Option<bool>,
    narrow: Option<i32>,
    wide: Option<i64>,
    count: Option<u64>,
    ratio: Option<f64>,
    text: Option<&'a str>,
    data: Option<&'a [u8]>,
    at: Option<Timestamp>,
    day: Option<Date>,
    amount: Option<Decimal<38, 10>>,
    #[segno(event_time)]
    time: Timestamp,
}

#[derive(Output)]
pub struct Noted<'r> {
    note: &'r str,
    number: Option<i64>,
}

#[derive(Output)]
pub struct Echo<'r> {
    id: i64,
    flag: Option<bool>,
    narrow: Option<i32>,
    wide: Option<i64>,
    count: Option<u64>,
    ratio: Option<f64>,
    text: Option<&'r str>,
    data: Option<&'r [u8]>,
    at: Option<Timestamp>,
    day: Option<Date>,
    amount: Option<Decimal<38, 10>>,
}

impl<'a> Record<'a> {
    fn echo(&self) -> Echo<'a> {
        let &Record { id, flag, narrow, wide, count, ratio, text, data, at, day, amount, .. } = self;
        Echo { id, flag, narrow, wide, count, ratio, text, data, at, day, amount }
    }
}

#[derive(Output, Default)]
pub struct Computed {
    id: i64,
    sum: Option<i64>,
    product: Option<i64>,
    quotient: Option<i64>,
    rest: Option<i64>,
    turned: Option<u64>,
    third: Option<f64>,
    total: Option<f64>,
    root: Option<f64>,
    nan: Option<bool>,
    doubled: Option<Decimal<38, 10>>,
    cut: Option<Decimal<38, 2>>,
    year: Option<i32>,
    month: Option<i32>,
    dom: Option<i32>,
    hour: Option<i32>,
    date_text: Option<String>,
    instant_text: Option<String>,
}

#[derive(Output, Default)]
pub struct Row<'r> {
    what: &'r str,
    id: i64,
    number: Option<i64>,
    total: Option<u64>,
    sum: Option<f64>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

#[derive(Outputs)]
pub struct Ports {
    kept: Keep,
    noted: Extend<Noted<'static>>,
    echo: Emit<Echo<'static>>,
    computed: Emit<Computed>,
    result: PerKey<Row<'static>>,
}

#[derive(State, Default)]
#[segno(version = 2)]
pub struct Memory {
    records: u64,
    flag: Option<bool>,
    narrow: Option<i32>,
    wide: Option<i64>,
    count: Option<u64>,
    ratio: Option<f64>,
    text: Option<String>,
    data: Option<Vec<u8>>,
    at: Option<Timestamp>,
    day: Option<Date>,
    amount: Option<Decimal<38, 10>>,
    recent: Vec<Recent>,
    #[segno(since = 2)]
    seen: Option<Timestamp>,
    #[segno(since = 2)]
    sure: bool,
}

#[derive(State)]
pub struct Recent {
    id: i64,
    text: Option<String>,
}

#[derive(TableRow)]
#[segno(table = "cities")]
pub struct City {
    #[segno(key)]
    code: String,
    name: Option<String>,
    people: Option<u64>,
    capital: bool,
    founded: Option<Date>,
}

#[derive(Config, Clone, Copy, PartialEq)]
enum Behaviour {
    Echo,
    Arithmetic,
    Reject,
    Ports,
    Remember,
    Timers,
    Tumbling,
    Sliding,
    Side,
    Configuration,
    Observe,
    Order,
    Failing,
}

#[derive(Config)]
pub struct Settings {
    behaviour: Behaviour,
    #[segno(default = 100)]
    limit: i64,
    #[segno(default = 0.5)]
    ratio: f64,
    #[segno(default = "none")]
    label: String,
    #[segno(default)]
    strict: bool,
    #[segno(default)]
    codes: Vec<String>,
    window: Option<WindowSettings>,
}

pub struct Conformance {
    settings: Settings,
    windows: Option<Windows>,
    cities: Table<City>,
}

type Now<'c, 'n> = &'c mut Context<'n, Conformance>;

impl Transform for Conformance {
    type Config = Settings;
    type Tables = Table<City>;
    type Input<'a> = Record<'a>;
    type Output = Ports;
    type State = (Memory, Panes<Sum>);
    const TIMERS: bool = true;

    fn init(settings: Settings, cities: Table<City>) -> Result<Self, String> {
        let windows = match settings.behaviour {
            Behaviour::Tumbling => Some(Windows::tumbling(settings.window.as_ref())?),
            Behaviour::Sliding => Some(Windows::sliding(settings.window.as_ref())?),
            _ => None,
        };
        Ok(Self { settings, windows, cities })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        match self.settings.behaviour {
            Behaviour::Echo => {
                ctx.out.echo.push(record.echo());
                if record.flag == Some(true) {
                    ctx.out.kept.keep();
                }
            }
            Behaviour::Arithmetic => ctx.out.computed.push(numbers::compute(&record)),
            Behaviour::Reject => {
                ctx.state.0.or_default().records += 1;
                ctx.out.echo.push(record.echo());
                if let Some(reason) = record.text {
                    reject!("{reason}");
                }
                ctx.out.kept.keep();
            }
            Behaviour::Ports => route(&record, ctx),
            Behaviour::Remember => remember(&record, ctx),
            Behaviour::Timers => return set_timers(&record, ctx),
            Behaviour::Tumbling | Behaviour::Sliding => return self.add(&record, ctx),
            Behaviour::Side => self.look_up(&record, ctx),
            Behaviour::Configuration => self.tell(&record, ctx),
            Behaviour::Observe => {
                if let Some(text) = record.text {
                    log!(level(record.narrow), "record {}: {text}", record.id);
                }
                count("seen", 1);
                count("weight", record.count.unwrap_or(0));
                ctx.out.kept.keep();
            }
            Behaviour::Order => {
                let mut words = BTreeMap::<&str, u64>::new();
                for word in record.text.unwrap_or_default().split(' ') {
                    *words.entry(word).or_default() += 1;
                }
                let shown: Vec<String> = words.iter().map(|(word, count)| format!("{word}:{count}")).collect();
                ctx.out.noted.push(Noted { note: &shown.join(" "), number: Some(words.len() as i64) });
            }
            Behaviour::Failing => {
                let number = record_seen(ctx);
                ctx.out.result.push(Row { what: "record", id: record.id, number: Some(number), ..Row::default() });
                assert!(record.text != Some("panic"), "told to fail at {}", record.id);
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        match self.settings.behaviour {
            Behaviour::Timers => fire(timer, ctx),
            Behaviour::Tumbling | Behaviour::Sliding => self.give(timer, ctx),
            _ => {}
        }
    }
}

/// One record or timer more; how many there are now.
fn record_seen(ctx: Now<'_, '_>) -> i64 {
    let memory = ctx.state.0.or_default();
    memory.records += 1;
    memory.records as i64
}

fn level(narrow: Option<i32>) -> Level {
    match narrow {
        Some(0) => Level::Trace,
        Some(1) => Level::Debug,
        Some(3) => Level::Warn,
        Some(4) => Level::Error,
        _ => Level::Info,
    }
}

fn route(record: &Record<'_>, ctx: Now<'_, '_>) {
    let numbers = || (0..record.narrow.unwrap_or(0)).map(i64::from);
    match record.flag {
        None => ctx.out.kept.keep(),
        Some(true) => {
            for number in numbers() {
                ctx.out.noted.push(Noted { note: record.text.unwrap_or_default(), number: Some(number) });
            }
        }
        Some(false) => {
            ctx.out.echo.push(record.echo());
            for number in numbers() {
                ctx.out.result.push(Row {
                    what: "port",
                    id: record.id,
                    number: Some(number),
                    total: record.count,
                    sum: record.ratio,
                    start: record.at,
                    end: None,
                });
            }
            ctx.out.kept.keep();
        }
    }
}

fn remember(record: &Record<'_>, ctx: Now<'_, '_>) {
    let mut row = Row { id: record.id, ..Row::default() };
    match record.text {
        Some("forget") => {
            ctx.state.0.clear();
            row.what = "forgotten";
        }
        Some("recall") => match ctx.state.0.get() {
            None => row.what = "nothing",
            Some(memory) => {
                let &Memory { flag, narrow, wide, count, ratio, at, day, amount, .. } = memory;
                let (text, data) = (memory.text.as_deref(), memory.data.as_deref());
                ctx.out.echo.push(Echo { id: record.id, flag, narrow, wide, count, ratio, text, data, at, day, amount });
                row.what = "recalled";
                row.number = memory.recent.last().map(|last| last.id);
                row.total = Some(memory.records);
                row.start = memory.seen;
            }
        },
        _ => {
            let memory = ctx.state.0.or_default();
            memory.flag = record.flag.or(memory.flag);
            memory.narrow = record.narrow.or(memory.narrow);
            memory.wide = record.wide.or(memory.wide);
            memory.count = record.count.or(memory.count);
            memory.ratio = record.ratio.or(memory.ratio);
            memory.text = record.text.map(str::to_owned).or(memory.text.take());
            memory.data = record.data.map(<[u8]>::to_vec).or(memory.data.take());
            memory.at = record.at.or(memory.at);
            memory.day = record.day.or(memory.day);
            memory.amount = record.amount.or(memory.amount);
            memory.records += 1;
            memory.recent.push(Recent { id: record.id, text: record.text.map(str::to_owned) });
            while memory.recent.len() > 3 {
                memory.recent.remove(0);
            }
            memory.seen = Some(record.time);
            memory.sure = record.flag == Some(true);
            row.what = "remembered";
            row.number = Some(memory.recent.len() as i64);
            row.total = Some(memory.records);
        }
    }
    ctx.out.result.push(row);
}

fn set_timers(record: &Record<'_>, ctx: Now<'_, '_>) -> Outcome {
    let seen = record_seen(ctx);
    let time = record.at.unwrap_or(record.time);
    let number = record.narrow.unwrap_or(0) as u32;
    let (start, end) = (Some(record.time), ctx.timers.watermark());
    ctx.out.result.push(Row { what: "record", id: record.id, number: Some(seen), start, end, ..Row::default() });
    match record.text {
        Some("set") => ctx.timers.set(time, number),
        Some("delete") => ctx.timers.delete(time, number),
        Some("both") => {
            ctx.timers.set(time, number);
            ctx.timers.delete(time, number);
            ctx.timers.set(time, number.wrapping_add(1));
        }
        Some("reject") => {
            ctx.timers.set(time, number);
            reject!("set, then rejected");
        }
        _ => {}
    }
    Ok(())
}

fn fire(timer: Timer, ctx: Now<'_, '_>) {
    let seen = record_seen(ctx);
    let (start, end) = (Some(timer.time), ctx.timers.watermark());
    ctx.out.result.push(Row { what: "timer", id: i64::from(timer.number), number: Some(seen), start, end, ..Row::default() });
    match timer.number {
        10..=12 => ctx.timers.set(timer.time.after(SECOND), timer.number + 1),
        20 => ctx.timers.set(timer.time, 21),
        30 => ctx.timers.delete(timer.time.after(SECOND), 0),
        40 => ctx.state.0.clear(),
        _ => {}
    }
}

impl Conformance {
    fn look_up(&self, record: &Record<'_>, ctx: Now<'_, '_>) {
        let Some(code) = record.text else {
            let codes: Vec<&str> = self.cities.rows().iter().map(|city| &*city.code).collect();
            ctx.out.noted.push(Noted { note: &codes.join(","), number: Some(codes.len() as i64) });
            return;
        };
        let Some(city) = self.cities.get(code) else {
            ctx.out.noted.push(Noted { note: "unknown", number: None });
            return;
        };
        let number = city.people.map(|people| people as i64);
        ctx.out.noted.push(Noted { note: city.name.as_deref().unwrap_or("?"), number });
        if city.founded.is_some() || city.capital {
            let date_text = city.founded.map(|founded| founded.to_string());
            ctx.out.computed.push(Computed { id: record.id, nan: Some(city.capital), date_text, ..Computed::default() });
        }
    }

    fn tell(&self, record: &Record<'_>, ctx: Now<'_, '_>) {
        let Settings { limit, ratio, label, strict, codes, window, .. } = &self.settings;
        let window = window.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let what = format!("limit={limit} label={label} strict={strict} codes=[{}] window={window}", codes.join(","));
        let total = Some(codes.len() as u64);
        ctx.out.result.push(Row { what: &what, id: record.id, number: Some(*limit), total, sum: Some(*ratio), ..Row::default() });
    }
}

segno_sdk::plugin!(Conformance);
