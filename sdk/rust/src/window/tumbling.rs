//! Windows of one size, one after the other.

use core::time::Duration;

use super::{EARLY, END, Fired, Kind, Late, Panes, Rules, Window, counted, settings};
use crate::state::{Keyed, State};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Windows of one size, one after the other, aligned to 1970. Each record belongs to one of them.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    size: i64,
    offset: i64,
    rules: Rules,
}

impl Tumbling {
    /// # Panics
    /// When the size is nothing.
    pub const fn new(size: Duration) -> Self {
        Self { size: micros(size), offset: 0, rules: Rules::NEW }
    }

    /// Windows start so much after the multiples of their size, as a day does that is not one of UTC.
    pub const fn offset(mut self, offset: Duration) -> Self {
        self.offset = micros(offset) % self.size;
        self
    }

    settings!();

    /// The window of an event time.
    #[inline]
    pub fn window(&self, time: Timestamp) -> Window {
        let start = time.after(-self.offset).floor(self.size).after(self.offset);
        Window { start, end: start.after(self.size) }
    }

    /// What is kept for the window of a record, to be changed in place.
    ///
    /// # Errors
    /// The window is closed, and the time of its late records is over.
    #[inline]
    pub fn add<'s, A: State + Default>(
        &self,
        state: &'s mut Keyed<Panes<A>>,
        timers: &mut Timers,
        time: Timestamp,
    ) -> Result<&'s mut A, Late> {
        let window = self.window(time);
        let over = timers.reached(window.end);
        if over && self.rules.over(timers, window.end) {
            return Err(Late::of(window.end));
        }
        let (pane, new) = state.or_default().at(window.start, window.end, over);
        if new {
            if self.rules.lateness > 0 {
                timers.set(window.end.after(self.rules.lateness), self.rules.number);
            }
            self.rules.set_early(timers, time, window.end);
        }
        if new || (over && !pane.changed) {
            timers.set(window.end, self.rules.number);
        }
        pane.changed = true;
        Ok(&mut pane.value)
    }

    /// The results that a timer gives; none for timers of other numbers.
    pub fn fire<A: State + Clone>(
        &self,
        state: &mut Keyed<Panes<A>>,
        timers: &mut Timers,
        timer: Timer,
    ) -> Vec<Fired<A>> {
        let Some(panes) = state.get_mut() else { return Vec::new() };
        match self.rules.kind_of(timer) {
            Some(END) => {}
            Some(EARLY) => return self.rules.early(panes, timers, timer),
            _ => return Vec::new(),
        }
        let mut fired = Vec::new();
        for pane in panes.all_mut() {
            // An early result changes nothing about the one on time.
            if pane.end == timer.time && (pane.changed || !pane.closed) {
                let kind = if pane.closed { Kind::Update } else { Kind::OnTime };
                fired.push(Fired { window: pane.window(), kind, value: pane.value.clone() });
                pane.changed = false;
            }
            pane.closed |= timers.reached(pane.end);
        }
        Panes::let_go(state, |pane| self.rules.over(timers, pane.end));
        counted(fired)
    }
}
