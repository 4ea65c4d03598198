//! Sets and deletes timers in every way that a plugin can, decided by its records and its state. Tests only.
//!
//! Invariant: what it gives depends on every record, timer and watermark that its key has seen, and on their order; so
//! two runs that differ in anything differ in their output soon after.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Record {
    id: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Seen<'r> {
    /// `record`, `timer` or `late`.
    what: &'r str,
    id: i64,
    time: Timestamp,
    watermark: Option<Timestamp>,
    bucket: i64,
}

#[derive(State, Default)]
pub struct Memory {
    digest: u64,
    events: u64,
    /// Times of the last events.
    last: Vec<Event>,
}

#[derive(State, Clone)]
pub struct Event {
    time: Timestamp,
    note: Option<String>,
}

#[derive(Config)]
pub struct Settings {
    /// A timer of this number traps.
    #[segno(default = 1000000)]
    trap: i64,
    /// Every record sets a timer that sets itself again without end.
    #[segno(default = false)]
    forever: bool,
    /// Every record sets a timer that sets the one of a minute later, without end.
    #[segno(default = false)]
    beat: bool,
    /// Every record sets a timer for this second. 0: none does.
    #[segno(default = 0)]
    burst: i64,
}

pub struct Timed(Settings);

const SECOND: i64 = 1_000_000;
const FOREVER: u32 = 77;
const BURST: u32 = 78;
const BEAT: u32 = 79;

fn mix(digest: u64, value: i64) -> u64 {
    let mut mixed = (digest ^ value as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^= mixed >> 29;
    mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (mixed >> 32)
}

impl Memory {
    fn take(&mut self, time: Timestamp, id: i64, watermark: Option<Timestamp>) {
        self.digest = mix(mix(mix(self.digest, id), time.micros()), watermark.map_or(-1, Timestamp::micros));
        self.events += 1;
        if self.last.len() == 3 {
            self.last.remove(0);
        }
        self.last.push(Event { time, note: (id % 2 == 0).then(|| format!("n{id}")) });
    }
}

/// Timers of whole seconds around `time`, so that some are set twice, and some that are set are deleted.
fn ask(digest: u64, time: Timestamp, timers: &mut Timers) {
    let number = (digest >> 8) as u32 % 2;
    let seconds = |n: i64| time.floor(SECOND).after(n * SECOND);
    match digest % 16 {
        0 | 1 => timers.set(seconds((digest >> 16) as i64 % 5 + 1), number),
        2 => timers.set(seconds(-((digest >> 16) as i64 % 5)), number),
        3 => timers.delete(seconds((digest >> 16) as i64 % 5 + 1), number),
        4 => {
            timers.set(seconds(1), number);
            timers.delete(seconds(1), number);
            timers.set(seconds(2), number);
        }
        5 => timers.set(time, number),
        6 => timers.set(seconds(60), number),
        _ => {}
    }
}

impl Transform for Timed {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Record;
    type Output = PerKey<Seen<'static>>;
    type State = Memory;
    const TIMERS: bool = true;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn process(&mut self, record: Record, ctx: &mut Context<'_, Self>) -> Outcome {
        let watermark = ctx.timers.watermark();
        let memory = ctx.state.or_default();
        memory.take(record.at, record.id, watermark);
        let digest = memory.digest;
        let bucket = (digest % 5) as i64;
        ask(digest, record.at, ctx.timers);
        if self.0.forever {
            ctx.timers.set(record.at, FOREVER);
        }
        if self.0.beat {
            ctx.timers.set(record.at, BEAT);
        }
        if self.0.burst > 0 {
            ctx.timers.set(Timestamp::from_micros(self.0.burst * SECOND), BURST);
        }
        let what = if watermark.is_some_and(|watermark| record.at < watermark) { "late" } else { "record" };
        ctx.out.push(Seen { what, id: record.id, time: record.at, watermark, bucket });
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context<'_, Self>) {
        assert!(i64::from(timer.number) != self.0.trap, "timer {} is a trap", timer.number);
        if timer.number == FOREVER {
            ctx.timers.set(timer.time, FOREVER);
        }
        if timer.number == BEAT {
            ctx.timers.set(timer.time.after(60 * SECOND), BEAT);
        }
        count("timers", 1);
        let watermark = ctx.timers.watermark();
        let memory = ctx.state.or_default();
        memory.take(timer.time, i64::from(timer.number), watermark);
        let digest = memory.digest;
        let bucket = (digest % 5) as i64;
        // Some keys are forgotten, some timers give nothing, some give two rows. A timer of a key that was forgotten knows
        // nothing but its time, and would set itself without end.
        if digest % 11 == 0 {
            ctx.state.clear();
        } else if timer.number != BURST {
            ask(digest, timer.time, ctx.timers);
        }
        for _ in 0..digest % 3 {
            ctx.out.push(Seen { what: "timer", id: (digest % 1_000) as i64, time: timer.time, watermark, bucket });
        }
    }
}

segno_sdk::plugin!(Timed);
