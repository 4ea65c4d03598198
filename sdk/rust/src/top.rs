//! The best N of a key by a score, as they change or at the end of a window.
//!
//! Owns: the rows that are among the best, in their order. Does not own when they are given: [`TopN::add`] says what a
//! record changed, [`Top::rows`] are all of them, and a [`Top`] is a value that a window keeps.
//!
//! [The cookbook](crate::cookbook) has an example.
//!
//! **Ties.** Of equal scores the record that came first is better; with [`TopN::later_wins`] the one that came last. With
//! [`TopN::with_ties`] all records whose score is that of the last place are kept, as SQL's `WITH TIES`: there may be more
//! than N. Records come in the order of the merged sequence, so ties are the same in every run.
//!
//! **Nothing is taken back.** A score is that of a record. Where the score of a thing changes, as a count does, take the best
//! of each window in a second step, as Nexmark's query 5 does.

use segno_wire::describe::StateColumn;
use segno_wire::{ColumnType, StateReader, StateWriter, WireError};

use crate::state::{State, StateField, column_spec};

/// Keeps the best N. See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct TopN {
    places: usize,
    later_wins: bool,
    with_ties: bool,
}

/// What a record changed among the best.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered<S, V> {
    /// Its place: the number of records before it, and one. With ties, the number of records with a better score, and one.
    pub rank: usize,
    /// What is no longer among the best, the better ones first.
    pub left: Vec<Ranked<S, V>>,
}

impl TopN {
    /// # Panics
    /// When there is no place.
    pub const fn new(places: usize) -> Self {
        assert!(places > 0, "there is a place at least");
        Self { places, later_wins: false, with_ties: false }
    }

    /// Of equal scores, the record that came last is better.
    pub const fn later_wins(mut self) -> Self {
        self.later_wins = true;
        self
    }

    /// Keeps all records whose score is that of the last place.
    pub const fn with_ties(mut self) -> Self {
        self.with_ties = true;
        self
    }

    /// Takes a record; `value` is made when it is among the best. Gives what it changed, or nothing when it is not.
    #[inline]
    pub fn add<S: StateField + Ord, V: State>(
        &self,
        top: &mut Top<S, V>,
        score: S,
        value: impl FnOnce() -> V,
    ) -> Option<Entered<S, V>> {
        let last = top.rows.get(self.places - 1).map(|last| score.cmp(&last.score));
        let enters = match last {
            None => true,
            Some(order) => order.is_gt() || (order.is_eq() && (self.later_wins || self.with_ties)),
        };
        enters.then(|| self.enter(top, score, value()))
    }

    fn enter<S: StateField + Ord, V: State>(&self, top: &mut Top<S, V>, score: S, value: V) -> Entered<S, V> {
        let better = top.rows.partition_point(|row| row.score > score);
        let at = if self.later_wins { better } else { top.rows.partition_point(|row| row.score >= score) };
        top.rows.insert(at, Ranked { score, value });
        let rank = 1 + if self.with_ties { better } else { at };
        Entered { rank, left: self.cut(top) }
    }

    /// Adds the best of another part of a key's records: for windows that are put together. Of equal scores, those of the
    /// other part came later.
    pub fn merge<S: StateField + Ord + Clone, V: State + Clone>(&self, top: &mut Top<S, V>, other: &Top<S, V>) {
        // Those that came first go in first.
        let add = |row: &Ranked<S, V>| drop(self.add(top, row.score.clone(), || row.value.clone()));
        if self.later_wins {
            other.rows.iter().rev().for_each(add);
        } else {
            other.rows.iter().for_each(add);
        }
    }

    fn cut<S: Ord, V>(&self, top: &mut Top<S, V>) -> Vec<Ranked<S, V>> {
        let mut kept = self.places.min(top.rows.len());
        if self.with_ties
            && let Some(last) = top.rows.get(self.places - 1)
        {
            kept = top.rows.partition_point(|row| row.score >= last.score);
        }
        top.rows.split_off(kept)
    }
}

/// The best of a key, or of one of its windows. A state table of its own, named `top`; or a field of a plugin's own state.
#[derive(Clone, Debug, PartialEq)]
pub struct Top<S, V> {
    rows: Vec<Ranked<S, V>>,
}

/// A record that is among the best.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<S, V> {
    pub score: S,
    pub value: V,
}

impl<S, V> Top<S, V> {
    /// All of them, the best first.
    pub fn rows(&self) -> &[Ranked<S, V>] {
        &self.rows
    }
}

impl<S, V> Default for Top<S, V> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<S: StateField + 'static, V: State> State for Top<S, V> {
    const TABLE: &'static str = "top";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Self>("top", 1));
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.rows.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { rows: StateField::decode(from)? })
    }
}

impl<S: StateField + 'static, V: State> StateField for Top<S, V> {
    const KIND: ColumnType = <Vec<Ranked<S, V>> as StateField>::KIND;

    fn items(columns: &mut Vec<StateColumn>) {
        Vec::<Ranked<S, V>>::items(columns);
    }

    fn encode(&self, out: &mut StateWriter<'_>) {
        self.rows.encode(out);
    }

    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { rows: StateField::decode(from)? })
    }

    fn missing() -> Self {
        Self::default()
    }
}

impl<S: StateField + 'static, V: State> State for Ranked<S, V> {
    const TABLE: &'static str = "ranked";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<S>("score", 1));
        V::columns(columns);
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.score.encode(out);
        self.value.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { score: StateField::decode(from)?, value: V::decode(from)? })
    }
}
