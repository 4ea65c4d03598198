//! Owns side tables: rows that the pipeline hands to `init`, looked up by key while records are processed.
//! Does not own where the rows come from.
//! Invariant: a table does not change after `init`, and the order of a lookup structure never reaches output.

use core::borrow::Borrow;
use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::HashMap;

use segno_wire::describe::{ColumnSpec, SideTable};
use segno_wire::{FrameReader, MessageReader, WireError, message};

use crate::engine::OpenFrame;

/// A row of a side table. Implemented by `#[derive(TableRow)]`.
pub trait TableRow: Sized {
    /// The table's name.
    const TABLE: &'static str;
    /// The key column's name; empty when there is none.
    const KEY: &'static str;
    /// The type of the field with `#[segno(key)]`; `()` when there is none.
    type Key: Eq + Hash + Clone;
    fn columns(columns: &mut Vec<ColumnSpec>);
    fn read_all(frame: &FrameReader<'_>) -> Result<Vec<Self>, WireError>;
    fn key(&self) -> &Self::Key;
}

/// The rows of a side table.
pub struct Table<R: TableRow> {
    rows: Vec<R>,
    by_key: HashMap<R::Key, u32, BuildHasherDefault<FixedHasher>>,
}

impl<R: TableRow> Table<R> {
    /// The row with this key.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&R>
    where
        R::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_key.get(key).map(|&row| &self.rows[row as usize])
    }

    /// All rows, in the pipeline's order.
    pub fn rows(&self) -> &[R] {
        &self.rows
    }

    fn load(index: u16, message: &MessageReader<'_>, open: OpenFrame) -> Result<Self, String> {
        let name = R::TABLE;
        if message.section(message::init::SIDE_TABLE, index).is_none() {
            return Err(format!("side table `{name}` is missing"));
        }
        let frame = open.section(message, message::init::SIDE_TABLE, index)?;
        let rows = R::read_all(&frame).map_err(|error| format!("side table `{name}`: {error}"))?;
        let mut by_key = HashMap::default();
        if !R::KEY.is_empty() {
            by_key.reserve(rows.len());
            for (number, row) in rows.iter().enumerate() {
                if let Some(first) = by_key.insert(row.key().clone(), number as u32) {
                    return Err(format!(
                        "side table `{name}`: rows {first} and {number} have the same `{}`; a key is unique",
                        R::KEY
                    ));
                }
            }
        }
        Ok(Self { rows, by_key })
    }
}

/// The side tables of a plugin: `()`, one [`Table`], or a tuple of them.
pub trait SideTables: Sized {
    fn describe(tables: &mut Vec<SideTable>);
    #[doc(hidden)]
    fn load(message: &MessageReader<'_>, open: OpenFrame) -> Result<Self, String>;
}

impl SideTables for () {
    fn describe(_tables: &mut Vec<SideTable>) {}
    fn load(_message: &MessageReader<'_>, _open: OpenFrame) -> Result<Self, String> {
        Ok(())
    }
}

fn describe_table<R: TableRow>(tables: &mut Vec<SideTable>) {
    let mut columns = Vec::new();
    R::columns(&mut columns);
    tables.push(SideTable {
        name: R::TABLE.to_owned(),
        columns,
        key: (!R::KEY.is_empty()).then(|| R::KEY.to_owned()),
    });
}

impl<R: TableRow> SideTables for Table<R> {
    fn describe(tables: &mut Vec<SideTable>) {
        describe_table::<R>(tables);
    }
    fn load(message: &MessageReader<'_>, open: OpenFrame) -> Result<Self, String> {
        Table::load(0, message, open)
    }
}

macro_rules! tuple {
    ($($row:ident $index:tt),*) => {
        impl<$($row: TableRow),*> SideTables for ($(Table<$row>,)*) {
            fn describe(tables: &mut Vec<SideTable>) {
                $(describe_table::<$row>(tables);)*
            }
            fn load(message: &MessageReader<'_>, open: OpenFrame) -> Result<Self, String> {
                Ok(($(Table::<$row>::load($index, message, open)?,)*))
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);

/// A hash that is the same in every process and on every machine: the standard one is keyed at random.
/// Eight bytes at a time, a rotation and a multiplication each (the scheme of rustc's FxHash).
#[derive(Default)]
pub struct FixedHasher(u64);

const MULTIPLIER: u64 = 0xf135_7aea_2e62_a9c5;

impl FixedHasher {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for FixedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        // Not through a copy: one of unknown length is a call out of the sandbox's compiled code.
        let word = |bytes: Option<&[u8; 4]>| {
            bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
        };
        match rest {
            [] => {}
            [first, .., last] if rest.len() <= 3 => {
                let middle = rest[rest.len() / 2];
                self.add(u64::from_le_bytes([
                    *first,
                    middle,
                    *last,
                    rest.len() as u8,
                    0,
                    0,
                    0,
                    0,
                ]));
            }
            [only] => self.add(u64::from_le_bytes([*only, 0, 0, 1, 0, 0, 0, 0])),
            _ => self.add(word(rest.first_chunk()) | word(rest.last_chunk()) << 32),
        }
    }
    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }
    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }
    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
    #[inline]
    fn finish(&self) -> u64 {
        // The map takes its group from the low and its tag from the high bits; the multiplication mixes upwards only.
        self.0.rotate_left(26)
    }
}
