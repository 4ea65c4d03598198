//! Windows of one size that start at every slide.
//!
//! Kept as slices, whose width divides both size and slide: a record changes one slice, and a window is put together
//! when it ends. A key has one timer, which goes from window to window.

use core::time::Duration;

use super::{EARLY, END, Fired, Kind, Late, Merge, Panes, Rules, UPDATE, Window, counted, settings};
use crate::state::{Keyed, State};
use crate::time::{Timestamp, micros};
use crate::timer::{Timer, Timers};

/// Windows of one size that start at every slide, aligned to 1970. A record belongs to `size / slide` of them.
#[derive(Clone, Copy, Debug)]
pub struct Sliding {
    size: i64,
    slide: i64,
    slice: i64,
    rules: Rules,
}

impl Sliding {
    /// # Panics
    /// When size or slide is nothing, and when the slide is longer than the size.
    pub const fn new(size: Duration, slide: Duration) -> Self {
        let (size, slide) = (micros(size), micros(slide));
        assert!(slide <= size, "the slide of a window is not longer than the window");
        let (mut a, mut b) = (size, slide);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self { size, slide, slice: a, rules: Rules::NEW }
    }

    settings!();

    /// The last window that holds an event time.
    fn last(&self, time: Timestamp) -> Window {
        let start = time.floor(self.slide);
        Window { start, end: start.after(self.size) }
    }

    /// The end of the first window that ends after a time.
    fn next_end(&self, time: Timestamp) -> Timestamp {
        // Ends are `size` after multiples of the slide.
        let shift = self.size % self.slide;
        time.after(-shift).floor(self.slide).after(self.slide + shift)
    }

    /// What is kept for the slice of a record, to be changed in place.
    ///
    /// # Errors
    /// All windows of the record are closed, and the time of their late records is over.
    #[inline]
    pub fn add<'s, A: State + Default>(
        &self,
        state: &'s mut Keyed<Panes<A>>,
        timers: &mut Timers,
        time: Timestamp,
    ) -> Result<&'s mut A, Late> {
        let last = self.last(time);
        if self.rules.over(timers, last.end) {
            return Err(Late::of(last.end));
        }
        let start = time.floor(self.slice);
        let first = self.next_end(start);
        let over = timers.reached(first);
        let (pane, new) = state.or_default().at(start, start.after(self.slice), false);
        if new && !over {
            timers.set(first, self.rules.number);
        }
        if over && (new || !pane.changed) {
            // Windows that were given, or were empty, are given again; the first that is open comes as it would have.
            let mut end = first;
            while end <= last.end {
                if !timers.reached(end) {
                    timers.set(end, self.rules.number);
                    break;
                }
                if !self.rules.over(timers, end) {
                    timers.set(end, self.rules.number + UPDATE);
                }
                end = end.after(self.slide);
            }
            if new {
                timers.set(last.end.after(self.rules.lateness), self.rules.number);
            }
        }
        if new {
            self.rules.set_early(timers, time, last.end);
        }
        pane.changed = true;
        Ok(&mut pane.value)
    }

    /// The results that a timer gives; none for timers of other numbers. Early results are those of the next window that
    /// ends.
    pub fn fire<A: State + Clone + Merge>(
        &self,
        state: &mut Keyed<Panes<A>>,
        timers: &mut Timers,
        timer: Timer,
    ) -> Vec<Fired<A>> {
        let Some(panes) = state.get_mut() else { return Vec::new() };
        let again = match self.rules.kind_of(timer) {
            Some(END) => false,
            Some(UPDATE) => true,
            Some(EARLY) => return self.early(panes, timers, timer),
            _ => return Vec::new(),
        };
        let end = timer.time;
        let mut fired = Vec::new();
        if self.next_end(end.after(-1)) == end {
            let kind = if again { Kind::Update } else { Kind::OnTime };
            fired.extend(self.put_together(panes, end).map(|(window, value)| Fired { window, kind, value }));
        }
        for pane in panes.all_mut() {
            pane.changed &= !(timers.reached(pane.end) && pane.end <= end);
        }
        let left = Panes::let_go(state, |pane| self.rules.over(timers, self.last(pane.start).end));
        if !again {
            // The timer goes on to the next window that holds something, then to where the last slice is let go.
            let next = end.after(self.slide);
            let holds = |pane: &super::panes::Pane<A>| self.last(pane.start).end > end;
            match left {
                [] => {}
                all if all.iter().any(holds) => {
                    let newest = all.iter().filter(|pane| holds(pane)).map(|pane| self.next_end(pane.start)).min();
                    timers.set(newest.map_or(next, |first| first.max(next)), self.rules.number);
                }
                all => {
                    for pane in all {
                        timers.set(self.last(pane.start).end.after(self.rules.lateness), self.rules.number);
                    }
                }
            }
        }
        counted(fired)
    }

    fn early<A: State + Clone + Merge>(&self, panes: &mut Panes<A>, timers: &mut Timers, timer: Timer) -> Vec<Fired<A>> {
        // A timer that a late record set fires late itself.
        let now = timers.watermark().map_or(timer.time, |watermark| watermark.max(timer.time));
        let end = self.next_end(now);
        let start = end.after(-self.size);
        let changed = panes.all().iter().any(|pane| pane.changed && pane.start >= start && pane.end <= end);
        let mut fired = Vec::new();
        if changed {
            fired.extend(self.put_together(panes, end).map(|(window, value)| Fired { window, kind: Kind::Early, value }));
            panes.all_mut().iter_mut().for_each(|pane| pane.changed = false);
        }
        let more = panes.all().iter().any(|pane| self.last(pane.start).end > now);
        if let Some(next) = self.rules.next_early(now).filter(|_| more) {
            timers.set(next, self.rules.number + EARLY);
        }
        fired
    }

    /// The value of the window that ends there, if it holds anything.
    fn put_together<A: State + Clone + Merge>(&self, panes: &Panes<A>, end: Timestamp) -> Option<(Window, A)> {
        let window = Window { start: end.after(-self.size), end };
        let mut slices = panes.all().iter().filter(|pane| pane.start >= window.start && pane.end <= window.end);
        let mut value = slices.next()?.value.clone();
        slices.for_each(|slice| value.merge(&slice.value));
        Some((window, value))
    }
}
