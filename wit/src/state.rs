//! Owns the bytes of a state value: a schema version, then the fields of its table in order.
//! Does not own keys, nor which table a value belongs to.
//! Invariants: one value has one encoding (NaN is canonical, presence is 0 or 1, nothing follows the last field); a
//! value of an older version stays readable, because columns are only ever appended, each with the version that
//! brought it.

use crate::ColumnType;
use crate::describe::{StateColumn, StateTable};
use crate::error::{Fault, Result};
use crate::frame::{Fixed, Value};
use crate::short::append;

/// Appends one state value to a buffer.
#[derive(Debug)]
pub struct StateWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> StateWriter<'o> {
    /// Writes the version of the table's schema, which is at least 1.
    #[inline]
    pub fn begin(out: &'o mut Vec<u8>, version: u16) -> Self {
        out.extend_from_slice(&version.to_le_bytes());
        Self { out }
    }

    /// The byte before the value of a nullable field; after `false` nothing more is written for the field.
    #[inline]
    pub fn presence(&mut self, present: bool) {
        self.out.push(u8::from(present));
    }

    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    #[inline]
    pub fn fixed<T: Fixed>(&mut self, value: T) {
        value.append(self.out);
    }

    /// A list: `write` appends its items, one after the other.
    ///
    /// # Panics
    /// Past 4 GiB, as [`StateWriter::bytes`].
    #[inline]
    pub fn list(&mut self, write: impl FnOnce(&mut StateWriter<'_>)) {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write(&mut StateWriter { out: self.out });
        let length = u32::try_from(self.out.len() - at - 4).expect("a state value is shorter than 4 GiB");
        self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// A text or a byte string.
    ///
    /// # Panics
    /// Past 4 GiB, which no limit on a state value allows.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).expect("a state value is shorter than 4 GiB");
        self.out.extend_from_slice(&length.to_le_bytes());
        append(self.out, value);
    }
}

/// Reads one state value, field by field.
#[derive(Clone, Copy, Debug)]
pub struct StateReader<'a> {
    rest: &'a [u8],
    version: u16,
}

impl<'a> StateReader<'a> {
    /// Reads the version and checks that a table of version `known` can read it.
    pub fn begin(bytes: &'a [u8], known: u16) -> Result<Self> {
        let (version, rest) = bytes.split_first_chunk::<2>().ok_or(Fault::StateShort)?;
        let version = u16::from_le_bytes(*version);
        if version == 0 || version > known {
            return Err(Fault::StateVersion.into());
        }
        Ok(Self { rest, version })
    }

    /// The version that the value was written with.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// True when the value is old enough not to have a field that came with version `since`.
    #[inline]
    pub fn lacks(&self, since: u16) -> bool {
        self.version < since
    }

    pub fn presence(&mut self) -> Result<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::StatePresence.into()),
        }
    }

    pub fn bool(&mut self) -> Result<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::StateValue.into()),
        }
    }

    /// The little-endian bytes of a value of fixed width.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (value, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Fault::StateShort)?;
        self.rest = rest;
        Ok(*value)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (value, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Fault::StateShort)?;
        self.rest = rest;
        Ok(value)
    }

    pub fn text(&mut self) -> Result<&'a str> {
        core::str::from_utf8(self.bytes()?).map_err(|_| Fault::StateValue.into())
    }

    /// The items of a list: read them until [`StateReader::is_empty`].
    pub fn list(&mut self) -> Result<Self> {
        Ok(Self { rest: self.bytes()?, version: self.version })
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that nothing follows the last field.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Fault::StateTrailing.into())
        }
    }
}

/// A field of a state value: a value, or a list of items, each with its own fields.
#[derive(Clone, Debug, PartialEq)]
pub enum StateValue<'a> {
    One(Value<'a>),
    List(Vec<Vec<StateValue<'a>>>),
}

/// Decodes a value into one [`StateValue`] for each column of its table, as `state get` and tests need it. Columns that
/// are younger than the value are null, or zero or empty where the table says that they cannot be null.
pub fn decode_state<'a>(table: &StateTable, bytes: &'a [u8]) -> Result<Vec<StateValue<'a>>> {
    let mut reader = StateReader::begin(bytes, table.version)?;
    let values = decode_fields(&mut reader, &table.columns)?;
    reader.finish()?;
    Ok(values)
}

fn decode_fields<'a>(reader: &mut StateReader<'a>, columns: &[StateColumn]) -> Result<Vec<StateValue<'a>>> {
    let field = |(index, column): (usize, &StateColumn)| {
        let lacks = reader.lacks(column.since);
        if !column.items.is_empty() {
            let mut items = Vec::new();
            if !lacks {
                let mut list = reader.list().map_err(|error| error.at_column(index))?;
                while !list.is_empty() {
                    items.push(decode_fields(&mut list, &column.items).map_err(|error| error.at_column(index))?);
                }
            }
            return Ok(StateValue::List(items));
        }
        let value = match (lacks, column.nullable) {
            (true, true) => Value::Null,
            (true, false) => zero(column.kind),
            (false, _) => decode_field(reader, column.kind, column.nullable).map_err(|error| error.at_column(index))?,
        };
        Ok(StateValue::One(value))
    };
    columns.iter().enumerate().map(field).collect()
}

fn zero(kind: ColumnType) -> Value<'static> {
    match kind {
        ColumnType::Bool => Value::Bool(false),
        ColumnType::I32 => Value::I32(0),
        ColumnType::I64 => Value::I64(0),
        ColumnType::U32 => Value::U32(0),
        ColumnType::U64 => Value::U64(0),
        ColumnType::F64 => Value::F64(0.0),
        ColumnType::Utf8 => Value::Utf8(""),
        ColumnType::Binary => Value::Binary(&[]),
        ColumnType::Timestamp => Value::Timestamp(0),
        ColumnType::Date => Value::Date(0),
        ColumnType::Decimal128 { .. } => Value::Decimal128(0),
    }
}

fn decode_field<'a>(
    reader: &mut StateReader<'a>,
    kind: ColumnType,
    nullable: bool,
) -> Result<Value<'a>> {
    if nullable && !reader.presence()? {
        return Ok(Value::Null);
    }
    Ok(match kind {
        ColumnType::Bool => Value::Bool(reader.bool()?),
        ColumnType::I32 => Value::I32(i32::from_le_bytes(reader.array()?)),
        ColumnType::I64 => Value::I64(i64::from_le_bytes(reader.array()?)),
        ColumnType::U32 => Value::U32(u32::from_le_bytes(reader.array()?)),
        ColumnType::U64 => Value::U64(u64::from_le_bytes(reader.array()?)),
        ColumnType::F64 => Value::F64(f64::from_le_bytes(reader.array()?)),
        ColumnType::Utf8 => Value::Utf8(reader.text()?),
        ColumnType::Binary => Value::Binary(reader.bytes()?),
        ColumnType::Timestamp => Value::Timestamp(i64::from_le_bytes(reader.array()?)),
        ColumnType::Date => Value::Date(i32::from_le_bytes(reader.array()?)),
        ColumnType::Decimal128 { .. } => Value::Decimal128(i128::from_le_bytes(reader.array()?)),
    })
}
