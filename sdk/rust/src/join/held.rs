//! A record that waits, in a list in the order of times, then as they came.

use core::ops::Range;

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::state::{State, StateField, column_spec};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held<V> {
    pub(super) time: Timestamp,
    /// It had a partner.
    pub(super) matched: bool,
    pub(super) value: V,
}

/// Puts a record in its place, and gives that.
pub(super) fn insert<V>(held: &mut Vec<Held<V>>, record: Held<V>) -> Range<usize> {
    let at = held.partition_point(|one| one.time <= record.time);
    held.insert(at, record);
    at..at + 1
}

impl<V: State> State for Held<V> {
    const TABLE: &'static str = "held";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Timestamp>("event_time", 1));
        columns.push(column_spec::<bool>("matched", 1));
        V::columns(columns);
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.time.encode(out);
        self.matched.encode(out);
        self.value.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { time: StateField::decode(from)?, matched: StateField::decode(from)?, value: V::decode(from)? })
    }
}
