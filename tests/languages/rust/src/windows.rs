//! The behaviours `tumbling` and `sliding`.

use core::fmt;
use core::time::Duration;

use segno_sdk::prelude::*;
use segno_sdk::window::{Kind, Late, Merge, Sliding, Tumbling};

use crate::{Conformance, Noted, Now, Record, Row};

/// In seconds.
#[derive(Config)]
pub struct WindowSettings {
    size: i64,
    slide: Option<i64>,
    #[segno(default)]
    lateness: i64,
    early: Option<i64>,
}

impl fmt::Display for WindowSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |seconds: Option<i64>| seconds.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string());
        write!(f, "{}/{}/{}/{}", self.size, or_none(self.slide), self.lateness, or_none(self.early))
    }
}

/// What is kept for a window.
#[derive(State, Default, Clone)]
pub struct Sum {
    total: u64,
    sum: i64,
    ratio: f64,
}

impl Merge for Sum {
    fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.sum = self.sum.wrapping_add(other.sum);
        self.ratio += other.ratio;
    }
}

pub enum Windows {
    Tumbling(Tumbling),
    Sliding(Sliding),
}

const TIMERS: u32 = 100;

/// A positive number of seconds.
fn seconds(number: Option<i64>) -> Option<Duration> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0).map(Duration::from_secs)
}

/// Hands on the settings that both kinds of windows have.
macro_rules! with_settings {
    ($windows:expr, $settings:expr) => {{
        let mut windows = $windows.timer_number(TIMERS);
        if let Some(lateness) = seconds(Some($settings.lateness)) {
            windows = windows.allowed_lateness(lateness);
        }
        if let Some(early) = seconds($settings.early) {
            windows = windows.early_every(early);
        }
        windows
    }};
}

impl Windows {
    fn size(behaviour: &str, settings: Option<&WindowSettings>) -> Result<Duration, String> {
        let settings = settings.ok_or_else(|| format!("behaviour `{behaviour}` needs config.window"))?;
        seconds(Some(settings.size)).ok_or_else(|| format!("config.window.size is not positive: {}", settings.size))
    }

    pub fn tumbling(settings: Option<&WindowSettings>) -> Result<Self, String> {
        let size = Self::size("tumbling", settings)?;
        Ok(Self::Tumbling(with_settings!(Tumbling::new(size), settings.expect("`size` found it"))))
    }

    pub fn sliding(settings: Option<&WindowSettings>) -> Result<Self, String> {
        let size = Self::size("sliding", settings)?;
        let settings = settings.expect("`size` found it");
        let number = settings.slide.unwrap_or(settings.size);
        let slide = seconds(Some(number)).filter(|slide| *slide <= size);
        let slide = slide.ok_or_else(|| format!("config.window.slide is not from 1 to the size: {number}"))?;
        Ok(Self::Sliding(with_settings!(Sliding::new(size, slide), settings)))
    }
}

impl Conformance {
    pub(crate) fn add(&self, record: &Record<'_>, ctx: Now<'_, '_>) -> Outcome {
        let panes = &mut ctx.state.1;
        let sum = match &self.windows {
            Some(Windows::Tumbling(windows)) => windows.add(panes, ctx.timers, record.time),
            Some(Windows::Sliding(windows)) => windows.add(panes, ctx.timers, record.time),
            None => return Ok(()),
        };
        match sum {
            Ok(sum) => sum.merge(&Sum { total: 1, sum: record.wide.unwrap_or(0), ratio: record.ratio.unwrap_or(0.0) }),
            Err(late) if self.settings.strict => return Err(late.into()),
            Err(Late { end }) => ctx.out.noted.push(Noted { note: "late", number: Some(end.micros()) }),
        }
        Ok(())
    }

    pub(crate) fn give(&self, timer: Timer, ctx: Now<'_, '_>) {
        let panes = &mut ctx.state.1;
        let fired = match &self.windows {
            Some(Windows::Tumbling(windows)) => windows.fire(panes, ctx.timers, timer),
            Some(Windows::Sliding(windows)) => windows.fire(panes, ctx.timers, timer),
            None => Vec::new(),
        };
        for (number, result) in fired.into_iter().enumerate() {
            ctx.out.result.push(Row {
                what: match result.kind {
                    Kind::Early => "early",
                    Kind::OnTime => "on_time",
                    Kind::Update => "update",
                },
                id: number as i64,
                number: Some(result.value.sum),
                total: Some(result.value.total),
                sum: Some(result.value.ratio),
                start: Some(result.window.start),
                end: Some(result.window.end),
            });
        }
    }
}
