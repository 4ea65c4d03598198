//! Owns keyed state as an author sees it: one typed value for each key and table.
//! Does not own keys (the host makes them from the pipeline's `key:`), nor where values live between batches.
//! Invariants: a value is decoded once for each key of a batch and encoded once, at the end, if it changed; a value
//! that was set to what it was is no change.

mod field;

use segno_wire::describe::{StateColumn, StateTable};
use segno_wire::{
    Column, ColumnBuilder, ColumnType, FixedBuilder, FrameWriter, MessageReader, MessageWriter,
    StateReader, StateWriter, VarBuilder, WireError, message,
};

use crate::engine::OpenFrame;

pub use field::StateField;
#[doc(hidden)]
pub use field::{column_spec, decode_field};

/// A value kept for each key. Implemented by `#[derive(State)]`.
pub trait State: Sized + 'static {
    /// The table's name.
    const TABLE: &'static str;
    /// Raised when fields are appended.
    const VERSION: u16;
    fn columns(columns: &mut Vec<StateColumn>);
    fn encode(&self, out: &mut StateWriter<'_>);
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError>;
}

struct Slot<S> {
    value: Option<S>,
    touched: bool,
}

/// The value of the current record's key in one table.
pub struct Keyed<S: State> {
    slots: Vec<Slot<S>>,
    key: usize,
    keys: FixedBuilder<u32>,
    values: VarBuilder,
    changes: u32,
}

impl<S: State> Default for Keyed<S> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            key: 0,
            keys: FixedBuilder::default(),
            values: VarBuilder::default(),
            changes: 0,
        }
    }
}

impl<S: State> Keyed<S> {
    /// The key's value, or nothing for a new key.
    #[inline]
    pub fn get(&self) -> Option<&S> {
        self.slots[self.key].value.as_ref()
    }

    /// The key's value, to be changed in place.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut S> {
        let slot = &mut self.slots[self.key];
        slot.touched |= slot.value.is_some();
        slot.value.as_mut()
    }

    /// The key's value, to be changed in place; made by `first` for a new key.
    #[inline]
    pub fn or_insert_with(&mut self, first: impl FnOnce() -> S) -> &mut S {
        let slot = &mut self.slots[self.key];
        slot.touched = true;
        slot.value.get_or_insert_with(first)
    }

    /// The key's value, to be changed in place; the type's default for a new key.
    #[inline]
    pub fn or_default(&mut self) -> &mut S
    where
        S: Default,
    {
        self.or_insert_with(S::default)
    }

    /// Replaces the key's value.
    #[inline]
    pub fn set(&mut self, value: S) {
        let slot = &mut self.slots[self.key];
        slot.touched = true;
        slot.value = Some(value);
    }

    /// Forgets the key.
    #[inline]
    pub fn clear(&mut self) {
        let slot = &mut self.slots[self.key];
        slot.touched |= slot.value.is_some();
        slot.value = None;
    }

    fn load(&mut self, states: &Column<'_>) -> Result<(), String> {
        self.slots.clear();
        self.slots.reserve(states.rows());
        for key in 0..states.rows() {
            let value = if states.is_valid(key) {
                let decode = || {
                    let mut from = StateReader::begin(states.bytes_at(key), S::VERSION)?;
                    let value = S::decode(&mut from)?;
                    from.finish()?;
                    Ok(value)
                };
                Some(decode().map_err(|error: WireError| {
                    format!(
                        "the state of table `{}` cannot be read at version {}: {error}",
                        S::TABLE,
                        S::VERSION
                    )
                })?)
            } else {
                None
            };
            self.slots.push(Slot {
                value,
                touched: false,
            });
        }
        Ok(())
    }

    /// Encodes what changed.
    fn collect(&mut self, states: &Column<'_>) {
        self.keys.begin(&[]);
        self.values.begin(&[]);
        self.changes = 0;
        for (key, slot) in self.slots.iter().enumerate() {
            if !slot.touched {
                continue;
            }
            let before = states.is_valid(key).then(|| states.bytes_at(key));
            match &slot.value {
                Some(value) => {
                    let encoded = self
                        .values
                        .push_with(|out| value.encode(&mut StateWriter::begin(out, S::VERSION)));
                    if before == Some(encoded) {
                        self.values.truncate(self.changes as usize);
                        continue;
                    }
                }
                None if before.is_none() => continue,
                None => self.values.push_null(),
            }
            self.keys.push(key as u32);
            self.changes += 1;
        }
    }

    fn write(&self, table: u16, message: &mut MessageWriter<'_>) -> Result<(), WireError> {
        if self.changes == 0 {
            return Ok(());
        }
        message.section(message::effects::MUTATIONS, table, |out| {
            let mut frame = FrameWriter::begin(out, self.changes, 2);
            self.keys.write(ColumnType::U32, &[], &mut frame)?;
            self.values.write(ColumnType::Binary, &[], &mut frame)?;
            frame.finish()
        })
    }
}

/// A batch's keys and values, opened.
#[doc(hidden)]
pub struct BatchStates<'a> {
    pub(crate) message: MessageReader<'a>,
    pub(crate) open: OpenFrame,
}

impl<'a> BatchStates<'a> {
    /// For each record the index of its key.
    fn keys(&self, rows: usize) -> Result<&'a [[u8; 4]], String> {
        let frame = self.open.section(&self.message, message::batch::KEYS, 0)?;
        let keys = frame.expect(0, ColumnType::U32, false);
        let keys = keys.map_err(|error| format!("malformed keys: {error}"))?;
        match keys.values() {
            Some(values) if values.len() == rows => Ok(values),
            _ => Err("malformed keys: one for each record is expected".to_owned()),
        }
    }

    fn states(&self, table: u16) -> Result<Column<'a>, String> {
        let frame = self
            .open
            .section(&self.message, message::batch::STATES, table)?;
        let column = frame.expect(0, ColumnType::Binary, true);
        column.map_err(|error| format!("malformed states: {error}"))
    }
}

/// The tables of a plugin: `()`, one type with `#[derive(State)]`, or a tuple of them.
pub trait States {
    /// False for `()`: the plugin keeps no state.
    const KEYED: bool = true;
    /// What `ctx.state` is.
    type Tables: Default;
    /// What is kept of the batch until its changes are collected.
    type Columns<'a>;
    fn describe(tables: &mut Vec<StateTable>);
    fn load<'a>(
        tables: &mut Self::Tables,
        batch: &BatchStates<'a>,
    ) -> Result<Self::Columns<'a>, String>;
    /// The key of each record; empty for a plugin without tables.
    fn keys<'a>(batch: &BatchStates<'a>, rows: usize) -> Result<&'a [[u8; 4]], String>;
    fn at(tables: &mut Self::Tables, keys: &[[u8; 4]], row: usize);
    /// Makes a key of the batch the current one.
    fn at_key(tables: &mut Self::Tables, key: usize);
    /// Encodes what changed and says how many tables did.
    fn collect(tables: &mut Self::Tables, columns: &Self::Columns<'_>) -> u16;
    fn write(tables: &Self::Tables, message: &mut MessageWriter<'_>) -> Result<(), WireError>;
}

impl States for () {
    const KEYED: bool = false;
    type Tables = ();
    type Columns<'a> = ();
    fn describe(_tables: &mut Vec<StateTable>) {}
    fn load<'a>(_tables: &mut (), _batch: &BatchStates<'a>) -> Result<(), String> {
        Ok(())
    }
    fn keys<'a>(_batch: &BatchStates<'a>, _rows: usize) -> Result<&'a [[u8; 4]], String> {
        Ok(&[])
    }
    #[inline(always)]
    fn at(_tables: &mut (), _keys: &[[u8; 4]], _row: usize) {}
    fn at_key(_tables: &mut (), _key: usize) {}
    fn collect(_tables: &mut (), _columns: &()) -> u16 {
        0
    }
    fn write(_tables: &(), _message: &mut MessageWriter<'_>) -> Result<(), WireError> {
        Ok(())
    }
}

fn describe_table<S: State>(tables: &mut Vec<StateTable>) {
    let mut columns = Vec::new();
    S::columns(&mut columns);
    tables.push(StateTable {
        name: S::TABLE.to_owned(),
        version: S::VERSION,
        columns,
    });
}

impl<S: State> States for S {
    type Tables = Keyed<S>;
    type Columns<'a> = Column<'a>;
    fn describe(tables: &mut Vec<StateTable>) {
        describe_table::<S>(tables);
    }
    fn load<'a>(tables: &mut Keyed<S>, batch: &BatchStates<'a>) -> Result<Column<'a>, String> {
        let states = batch.states(0)?;
        tables.load(&states)?;
        Ok(states)
    }
    fn keys<'a>(batch: &BatchStates<'a>, rows: usize) -> Result<&'a [[u8; 4]], String> {
        batch.keys(rows)
    }
    #[inline(always)]
    fn at(tables: &mut Keyed<S>, keys: &[[u8; 4]], row: usize) {
        Self::at_key(tables, u32::from_le_bytes(keys[row]) as usize);
    }
    #[inline(always)]
    fn at_key(tables: &mut Keyed<S>, key: usize) {
        tables.key = key;
    }
    fn collect(tables: &mut Keyed<S>, columns: &Column<'_>) -> u16 {
        tables.collect(columns);
        u16::from(tables.changes > 0)
    }
    fn write(tables: &Keyed<S>, message: &mut MessageWriter<'_>) -> Result<(), WireError> {
        tables.write(0, message)
    }
}

macro_rules! tuple {
    ($($state:ident $index:tt),*) => {
        impl<$($state: State),*> States for ($($state,)*) {
            type Tables = ($(Keyed<$state>,)*);
            type Columns<'a> = ($(tuple!(@column 'a $state),)*);
            fn describe(tables: &mut Vec<StateTable>) {
                $(describe_table::<$state>(tables);)*
            }
            fn load<'a>(tables: &mut Self::Tables, batch: &BatchStates<'a>) -> Result<Self::Columns<'a>, String> {
                Ok(($({
                    let states = batch.states($index)?;
                    tables.$index.load(&states)?;
                    states
                },)*))
            }
            fn keys<'a>(batch: &BatchStates<'a>, rows: usize) -> Result<&'a [[u8; 4]], String> {
                batch.keys(rows)
            }
            #[inline(always)]
            fn at(tables: &mut Self::Tables, keys: &[[u8; 4]], row: usize) {
                Self::at_key(tables, u32::from_le_bytes(keys[row]) as usize);
            }
            #[inline(always)]
            fn at_key(tables: &mut Self::Tables, key: usize) {
                $(tables.$index.key = key;)*
            }
            fn collect(tables: &mut Self::Tables, columns: &Self::Columns<'_>) -> u16 {
                $(tables.$index.collect(&columns.$index);)*
                0 $(+ u16::from(tables.$index.changes > 0))*
            }
            fn write(tables: &Self::Tables, message: &mut MessageWriter<'_>) -> Result<(), WireError> {
                $(tables.$index.write($index, message)?;)*
                Ok(())
            }
        }
    };
    (@column $lifetime:lifetime $state:ident) => { Column<$lifetime> };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
