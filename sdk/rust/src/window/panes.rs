//! What is kept for the windows of a key.
//! Does not own which panes there are (`tumbling`, `sliding`, `session`).
//! Invariant: panes are in the order of their starts.

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use super::{EARLY, Fired, Kind, Rules, Window};
use crate::state::{Keyed, State, StateField, column_spec};
use crate::time::Timestamp;
use crate::timer::{Timer, Timers};

/// Two parts of a result become one: sliding windows are put together from slices, sessions grow together.
pub trait Merge {
    fn merge(&mut self, other: &Self);
}

/// The open windows of a key; `A` is what is kept for each. A state table of its own, named `windows`.
#[derive(Clone, Debug, PartialEq)]
pub struct Panes<A> {
    panes: Vec<Pane<A>>,
}

/// One window, or one slice of several.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pane<A> {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// It has changed since its last result.
    pub(super) changed: bool,
    /// Its end was reached.
    pub(super) closed: bool,
    pub(super) value: A,
}

impl<A> Default for Panes<A> {
    fn default() -> Self {
        Self { panes: Vec::new() }
    }
}

impl<A: State> Panes<A> {
    pub(super) fn all(&self) -> &[Pane<A>] {
        &self.panes
    }

    pub(super) fn all_mut(&mut self) -> &mut Vec<Pane<A>> {
        &mut self.panes
    }

    /// Lets panes go, and the key with the last one; gives those that are left.
    pub(super) fn let_go(state: &mut Keyed<Self>, over: impl Fn(&Pane<A>) -> bool) -> &[Pane<A>] {
        if let Some(panes) = state.get_mut() {
            panes.panes.retain(|pane| !over(pane));
            if panes.panes.is_empty() {
                state.clear();
            }
        }
        state.get().map_or(&[], Panes::all)
    }

    /// The windows that are open, in the order of their starts, with what is kept for each.
    pub fn iter(&self) -> impl Iterator<Item = (Window, &A)> {
        self.panes.iter().map(|pane| (pane.window(), &pane.value))
    }

    /// The pane that starts there, made when there is none, and whether it is new.
    pub(super) fn at(&mut self, start: Timestamp, end: Timestamp, closed: bool) -> (&mut Pane<A>, bool)
    where
        A: Default,
    {
        // Most records belong to the newest pane.
        let at = self.panes.iter().rposition(|pane| pane.start <= start);
        match at {
            Some(at) if self.panes[at].start == start => (&mut self.panes[at], false),
            _ => {
                let at = at.map_or(0, |at| at + 1);
                self.panes.insert(at, Pane { start, end, changed: false, closed, value: A::default() });
                (&mut self.panes[at], true)
            }
        }
    }
}

impl<A> Pane<A> {
    pub(super) fn window(&self) -> Window {
        Window { start: self.start, end: self.end }
    }
}

impl<A: State> State for Panes<A> {
    const TABLE: &'static str = "windows";
    const VERSION: u16 = A::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Vec<Pane<A>>>("windows", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.panes.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { panes: StateField::decode(from)? })
    }
}

impl<A: State> State for Pane<A> {
    const TABLE: &'static str = "window";
    const VERSION: u16 = A::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Timestamp>("start", 1));
        columns.push(column_spec::<Timestamp>("end", 1));
        columns.push(column_spec::<bool>("changed", 1));
        columns.push(column_spec::<bool>("closed", 1));
        A::columns(columns);
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.start.encode(out);
        self.end.encode(out);
        self.changed.encode(out);
        self.closed.encode(out);
        self.value.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            start: StateField::decode(from)?,
            end: StateField::decode(from)?,
            changed: StateField::decode(from)?,
            closed: StateField::decode(from)?,
            value: A::decode(from)?,
        })
    }
}

impl Rules {
    /// The early results that a timer asks for; the next time is set while there is something to tell.
    pub(super) fn early<A: State + Clone>(&self, panes: &mut Panes<A>, timers: &mut Timers, timer: Timer) -> Vec<Fired<A>> {
        // A timer that a late record set fires late itself.
        let now = timers.watermark().map_or(timer.time, |watermark| watermark.max(timer.time));
        let open = panes.panes.iter_mut().filter(|pane| !pane.closed && pane.changed && pane.end > now);
        let fired = open.map(|pane| {
            pane.changed = false;
            Fired { window: pane.window(), kind: Kind::Early, value: pane.value.clone() }
        });
        let fired: Vec<Fired<A>> = fired.collect();
        let more = panes.panes.iter().any(|pane| !pane.closed && pane.end > now);
        if let Some(next) = self.next_early(now).filter(|_| more) {
            timers.set(next, self.number + EARLY);
        }
        fired
    }
}
