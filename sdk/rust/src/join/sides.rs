//! Records of two streams that are in one window. What a window keeps for a windowed join; the windows are
//! [`crate::window`]'s.

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use super::{Side, newest};
use crate::state::{State, StateField, column_spec};
use crate::window::Merge;

/// The records of both sides of one window: `type State = Panes<Sides<Person, Auction>>`. When the window is given,
/// [`Sides::inner`] or [`Sides::left_outer`] are its rows.
///
/// A record is late when its window says so. A window that has records of one side only gives no pairs. With an allowed
/// lateness a late record gives all rows of its window again. The pairs follow each other by the left record, then by the right
/// one, each as they came; in windows that are put together (sliding, sessions), part by part.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides<L, R> {
    left: Vec<L>,
    right: Vec<R>,
}

impl<L, R> Sides<L, R> {
    /// Takes a record.
    pub fn add(&mut self, side: Side<L, R>) {
        match side {
            Side::Left(value) => self.left.push(value),
            Side::Right(value) => self.right.push(value),
        }
    }

    /// Each left record with each right one.
    pub fn inner(&self) -> impl Iterator<Item = (&L, &R)> {
        self.left.iter().flat_map(|left| self.right.iter().map(move |right| (left, right)))
    }

    /// Each left record with each right one, or with nothing when there is none.
    pub fn left_outer(&self) -> impl Iterator<Item = (&L, Option<&R>)> {
        let alone = self.right.is_empty().then_some(None);
        self.left.iter().flat_map(move |left| self.right.iter().map(Some).chain(alone).map(move |right| (left, right)))
    }
}

impl<L, R> Default for Sides<L, R> {
    fn default() -> Self {
        Self { left: Vec::new(), right: Vec::new() }
    }
}

impl<L: Clone, R: Clone> Merge for Sides<L, R> {
    fn merge(&mut self, other: &Self) {
        self.left.extend(other.left.iter().cloned());
        self.right.extend(other.right.iter().cloned());
    }
}

impl<L: State, R: State> State for Sides<L, R> {
    const TABLE: &'static str = "sides";
    const VERSION: u16 = newest(L::VERSION, R::VERSION);

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Vec<L>>("left", 1));
        columns.push(column_spec::<Vec<R>>("right", 1));
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.left.encode(out);
        self.right.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { left: StateField::decode(from)?, right: StateField::decode(from)? })
    }
}
