//! A table whose rows are upserted by key; a record sees the newest row.

use segno_wire::describe::StateColumn;
use segno_wire::{StateReader, StateWriter, WireError};

use crate::state::{State, StateField, column_spec};
use crate::time::Timestamp;

/// The newest row of a key: the one with the latest event time, and of equal times the one that came last. A state table of
/// its own, named `latest`; it needs no timers.
///
/// A record sees what came before it. A row that is older than the newest one changes nothing, however late it comes. A
/// row that was deleted leaves its time behind, so that an older one does not bring it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest<V> {
    time: Timestamp,
    /// Nothing when the row was deleted.
    row: Vec<V>,
}

impl<V> Latest<V> {
    /// Replaces the row, unless it is newer; says whether it did.
    pub fn upsert(&mut self, time: Timestamp, row: V) -> bool {
        self.replace(time, vec![row])
    }

    /// Deletes the row, unless it is newer; says whether it did.
    pub fn delete(&mut self, time: Timestamp) -> bool {
        self.replace(time, Vec::new())
    }

    /// The newest row; nothing when it was deleted.
    pub fn row(&self) -> Option<&V> {
        self.row.first()
    }

    fn replace(&mut self, time: Timestamp, row: Vec<V>) -> bool {
        let newest = time >= self.time;
        if newest {
            *self = Self { time, row };
        }
        newest
    }
}

impl<V> Default for Latest<V> {
    fn default() -> Self {
        Self { time: Timestamp::from_micros(i64::MIN), row: Vec::new() }
    }
}

impl<V: State> State for Latest<V> {
    const TABLE: &'static str = "latest";
    const VERSION: u16 = V::VERSION;

    fn columns(columns: &mut Vec<StateColumn>) {
        columns.push(column_spec::<Timestamp>("event_time", 1));
        columns.push(column_spec::<Vec<V>>("row", 1));
    }

    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        self.time.encode(out);
        self.row.encode(out);
    }

    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(Self { time: StateField::decode(from)?, row: StateField::decode(from)? })
    }
}
