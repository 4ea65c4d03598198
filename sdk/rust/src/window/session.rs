//! Records that follow each other without a gap.
//!
//! A session has one timer, which follows its end: not each record sets one, but each timer that comes too early.
//! Invariant: a session that has not ended has a timer at its end, or after its start and before its end.

use core::time::Duration;

use super::panes::Pane;
use super::{EARLY, END, Fired, Kind, Late, Merge, Panes, Rules, Window, counted, settings};
use crate::state::{Keyed, State};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Windows of records that follow each other: a session ends when nothing came for the gap. Two records whose times
/// differ by less than the gap are in one session; its end, the time of the last one and the gap, is not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    gap: i64,
    rules: Rules,
}

impl Session {
    /// # Panics
    /// When the gap is nothing.
    pub const fn new(gap: Duration) -> Self {
        Self { gap: micros(gap), rules: Rules::NEW }
    }

    settings!();

    /// What is kept for the session of a record, to be changed in place. Sessions that the record joins become one.
    ///
    /// # Errors
    /// The session is closed, and the time of its late records is over.
    pub fn add<'s, A: State + Default + Merge>(
        &self,
        state: &'s mut Keyed<Panes<A>>,
        timers: &mut Timers,
        time: Timestamp,
    ) -> Result<&'s mut A, Late> {
        let alone = Window { start: time, end: time.after(self.gap) };
        let touches = |pane: &Pane<A>| pane.start < alone.end && pane.end > alone.start;
        let joined = state.get().map_or(&[][..], Panes::all).iter().filter(|pane| touches(pane));
        // A session that has not ended has a timer, at its end or before it.
        let mut waits = false;
        let window = joined.fold(alone, |window, pane| {
            waits |= !timers.reached(pane.end);
            Window { start: window.start.min(pane.start), end: window.end.max(pane.end) }
        });
        if self.rules.over(timers, window.end) {
            return Err(Late::of(window.end));
        }
        let over = timers.reached(window.end);
        let panes = state.or_default().all_mut();
        let first = panes.iter().position(touches).unwrap_or_else(|| panes.partition_point(|pane| pane.start < time));
        let count = panes[first..].iter().take_while(|pane| touches(pane)).count();
        if count == 0 {
            panes.insert(first, Pane { start: time, end: time, changed: false, closed: over, value: A::default() });
        }
        if count > 1 {
            for other in panes.drain(first + 1..first + count).collect::<Vec<_>>() {
                panes[first].value.merge(&other.value);
                panes[first].changed |= other.changed;
            }
        }
        let pane = &mut panes[first];
        let grown = pane.window() != window;
        (pane.start, pane.end) = (window.start, window.end);
        pane.closed = over && pane.closed;
        if !waits && (grown || (over && !pane.changed)) {
            timers.set(window.end, self.rules.number);
        }
        if count == 0 {
            self.rules.set_early(timers, time, window.end);
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
            if pane.end == timer.time {
                // An early result may have said it all: the last one comes all the same.
                if pane.changed || !pane.closed {
                    let kind = if pane.closed { Kind::Update } else { Kind::OnTime };
                    fired.push(Fired { window: pane.window(), kind, value: pane.value.clone() });
                }
                (pane.changed, pane.closed) = (false, true);
                if self.rules.lateness > 0 {
                    timers.set(pane.end.after(self.rules.lateness), self.rules.number);
                }
            } else if pane.start <= timer.time && !timers.reached(pane.end) {
                // The session went on since the timer was set: the timer follows it.
                timers.set(pane.end, self.rules.number);
            }
        }
        Panes::let_go(state, |pane| self.rules.over(timers, pane.end));
        counted(fired)
    }
}
