//! Owns side tables: rows that the pipeline hands to `init`, looked up by key while records are processed.
//! Does not own where the rows come from.
//! Invariant: a table does not change after `init`, and the order of a lookup structure never reaches output.

use core::borrow::Borrow;

use segno_wire::describe::{ColumnSpec, SideTable};
use segno_wire::{FrameReader, MessageReader, WireError, message, same_bytes};

use crate::engine::OpenFrame;
use crate::time::{Date, Timestamp};

/// A row of a side table. Implemented by `#[derive(TableRow)]`.
pub trait TableRow: Sized {
    /// The table's name.
    const TABLE: &'static str;
    /// The key column's name; empty when there is none.
    const KEY: &'static str;
    /// The type of the field with `#[segno(key)]`; `()` when there is none.
    type Key: TableKey;
    fn columns(columns: &mut Vec<ColumnSpec>);
    fn read_all(frame: &FrameReader<'_>) -> Result<Vec<Self>, WireError>;
    fn key(&self) -> &Self::Key;
}

/// The rows of a side table.
pub struct Table<R: TableRow> {
    rows: Vec<R>,
    index: Index,
}

impl<R: TableRow> Table<R> {
    /// The row with this key.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&R>
    where
        R::Key: Borrow<Q>,
        Q: TableKey + ?Sized,
    {
        let row = self.index.find(key.hash(), |row| {
            key.same(self.rows[row as usize].key().borrow())
        })?;
        Some(&self.rows[row as usize])
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
        let mut index = Index::default();
        if !R::KEY.is_empty() {
            index = Index::with_room_for(rows.len());
            for (number, row) in rows.iter().enumerate() {
                let key = row.key();
                if let Some(first) =
                    index.find(key.hash(), |other| key.same(rows[other as usize].key()))
                {
                    return Err(format!(
                        "side table `{name}`: rows {first} and {number} have the same `{}`; a key is unique",
                        R::KEY
                    ));
                }
                index.insert(key.hash(), number as u32);
            }
        }
        Ok(Self { rows, index })
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

/// From keys to rows: open addressing at most half full, so that a key is found at its place or soon after.
#[derive(Default)]
struct Index {
    /// A power of two of them; empty for a table without key.
    slots: Vec<Slot>,
    /// The place of a hash is in its upper bits, which depend on all of the key.
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    row: u32,
}

/// No row; tables are shorter, because their frames are.
const NO_ROW: u32 = u32::MAX;

impl Index {
    fn with_room_for(rows: usize) -> Self {
        let slots = (2 * rows).next_power_of_two().max(2);
        Self {
            slots: vec![
                Slot {
                    tag: 0,
                    row: NO_ROW
                };
                slots
            ],
            shift: 64 - slots.trailing_zeros(),
        }
    }

    #[inline(always)]
    fn find(&self, hash: u64, is_key_of: impl Fn(u32) -> bool) -> Option<u32> {
        let last = self.slots.len().checked_sub(1)?;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let slot = self.slots[at & last];
            if slot.row == NO_ROW {
                return None;
            }
            if slot.tag == hash as u32 && is_key_of(slot.row) {
                return Some(slot.row);
            }
            at += 1;
        }
    }

    /// The key is not there yet, and there is room.
    fn insert(&mut self, hash: u64, row: u32) {
        let last = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        while self.slots[at & last].row != NO_ROW {
            at += 1;
        }
        self.slots[at & last] = Slot {
            tag: hash as u32,
            row,
        };
    }
}

/// A type that a side table's key may have. The standard hash is keyed at random, which no plugin may be.
pub trait TableKey {
    fn hash(&self) -> u64;
    fn same(&self, other: &Self) -> bool;
}

const MULTIPLIER: u64 = 0xf135_7aea_2e62_a9c5;

/// Mixes one word into a hash: the upper half of the product depends on every bit below it.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

impl TableKey for [u8] {
    #[inline(always)]
    fn hash(&self) -> u64 {
        let half = |bytes: Option<&[u8; 4]>| {
            bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
        };
        let mut hash = self.len() as u64;
        let (words, rest) = self.as_chunks::<8>();
        for word in words {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
        // Not through a copy: one of unknown length is a call out of the sandbox's compiled code.
        let last = match rest.len() {
            0 => 0,
            length @ 1..=3 => {
                u64::from(rest[0])
                    | u64::from(rest[length / 2]) << 8
                    | u64::from(rest[length - 1]) << 16
            }
            _ => half(rest.first_chunk()) | half(rest.last_chunk()) << 32,
        };
        mix(hash, last).wrapping_mul(MULTIPLIER)
    }
    #[inline(always)]
    fn same(&self, other: &Self) -> bool {
        same_bytes(self, other)
    }
}

macro_rules! keys {
    ($($type:ty, |$key:ident| $bytes:expr;)*) => {$(
        impl TableKey for $type {
            #[inline(always)]
            fn hash(&self) -> u64 {
                let $key = self;
                $bytes.hash()
            }
            #[inline(always)]
            fn same(&self, other: &Self) -> bool {
                self == other
            }
        }
    )*};
}

keys! {
    (), |_key| [][..];
    Vec<u8>, |key| key[..];
    i32, |key| key.to_le_bytes()[..];
    i64, |key| key.to_le_bytes()[..];
    u64, |key| key.to_le_bytes()[..];
    Date, |key| key.days().to_le_bytes()[..];
    Timestamp, |key| key.micros().to_le_bytes()[..];
}

impl TableKey for str {
    #[inline(always)]
    fn hash(&self) -> u64 {
        self.as_bytes().hash()
    }
    #[inline(always)]
    fn same(&self, other: &Self) -> bool {
        same_bytes(self.as_bytes(), other.as_bytes())
    }
}

impl TableKey for String {
    #[inline(always)]
    fn hash(&self) -> u64 {
        self.as_bytes().hash()
    }
    #[inline(always)]
    fn same(&self, other: &Self) -> bool {
        same_bytes(self.as_bytes(), other.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_at_its_row_and_no_other() {
        let keys: Vec<String> = (0..5000)
            .map(|number| "x".repeat(number % 40) + &number.to_string())
            .collect();
        let mut index = Index::with_room_for(keys.len());
        for (row, key) in keys.iter().enumerate() {
            index.insert(key.hash(), row as u32);
        }
        let find = |key: &str| index.find(key.hash(), |row| key.same(&keys[row as usize]));
        for (row, key) in keys.iter().enumerate() {
            assert_eq!(find(key), Some(row as u32));
            assert_eq!(find(&format!("{key}y")), None);
        }
        assert_eq!(Index::default().find(0, |_| true), None);
    }

    /// Keys that come in the wild, and differ in a few bits only, must not pile up.
    #[test]
    fn similar_keys_are_spread() {
        let longest = |keys: &[u64]| {
            let mut index = Index::with_room_for(keys.len());
            for (row, hash) in keys.iter().enumerate() {
                index.insert(*hash, row as u32);
            }
            let last = index.slots.len() - 1;
            (0..keys.len())
                .map(|row| {
                    let home = (keys[row] >> index.shift) as usize;
                    (0..)
                        .find(|step| index.slots[(home + step) & last].row == row as u32)
                        .unwrap()
                })
                .max()
                .unwrap()
        };
        let codes: Vec<u64> = (0..17_576_u32)
            .map(|n| {
                let letter = |by: u32| b'A' + (n / by % 26) as u8;
                [letter(676), letter(26), letter(1)][..].hash()
            })
            .collect();
        let numbers: Vec<u64> = (0..20_000_i64).map(|n| n.hash()).collect();
        let thousands: Vec<u64> = (0..20_000_i64).map(|n| (n * 1000).hash()).collect();
        let high: Vec<u64> = (0..20_000_i64).map(|n| (n << 40).hash()).collect();
        for keys in [codes, numbers, thousands, high] {
            assert!(longest(&keys) < 40, "{}", longest(&keys));
        }
    }
}
