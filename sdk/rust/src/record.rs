//! Owns reading records: how a field of an author's struct is read from its column.
//! Does not own the struct: `#[derive(Input)]` makes its side of this.
//! Invariant: text and byte strings are borrowed from the batch; nothing is copied unless the field says `String` or
//! `Vec<u8>`.

use segno_wire::describe::ColumnSpec;
use segno_wire::{Column, ColumnType, Fault, FrameReader, WireError};

use crate::time::{Date, Decimal, Timestamp};

/// A record as its author wants to see it. Implemented by `#[derive(Input)]`.
pub trait Input<'a>: Sized {
    /// True when a field is the record's event time.
    const EVENT_TIME: bool;
    /// The opened columns of a batch.
    type Columns: Copy;
    fn describe(columns: &mut Vec<ColumnSpec>);
    /// `times` are the records' event times; there when [`Input::EVENT_TIME`] says so.
    fn open(frame: &FrameReader<'a>, times: Option<Column<'a>>)
    -> Result<Self::Columns, WireError>;
    /// See [`InputField::clip`].
    fn clip(columns: Self::Columns, rows: usize) -> Self::Columns;
    fn read(columns: &Self::Columns, row: usize) -> Self;
}

/// A type that a field of an input record or of a side table may have.
pub trait InputField<'a>: Sized {
    const KIND: ColumnType;
    const NULLABLE: bool = false;
    /// What is kept of the column while its batch is read.
    type Column: Copy;
    /// The column has been checked to be of this kind.
    fn open(column: Column<'a>) -> Self::Column;
    /// The same column, seen to have exactly `rows` rows: the compiler then knows that a row of the batch is one of the
    /// column, and does not check it again for each field of each record.
    fn clip(column: Self::Column, rows: usize) -> Self::Column;
    fn read(column: &Self::Column, row: usize) -> Self;
}

/// Opens one column; the place and type come from the description that the host was given.
#[doc(hidden)]
pub fn open_column<'a, F: InputField<'a>>(
    frame: &FrameReader<'a>,
    index: usize,
) -> Result<F::Column, WireError> {
    Ok(F::open(frame.expect(index, F::KIND, F::NULLABLE)?))
}

/// Opens the event times. A field with `#[segno(event_time)]` has to be a `Timestamp`.
#[doc(hidden)]
pub fn open_times<'a, F: InputField<'a, Column = &'a [[u8; 8]]> + Into<Timestamp>>(
    times: Option<Column<'a>>,
) -> Result<F::Column, WireError> {
    match times {
        Some(times) => Ok(F::open(times)),
        None => Err(Fault::SectionMissing.into()),
    }
}

/// The entry of a field in the description.
#[doc(hidden)]
pub fn column_spec<'a, F: InputField<'a>>(name: &str) -> ColumnSpec {
    ColumnSpec {
        name: name.to_owned(),
        kind: F::KIND,
        nullable: F::NULLABLE,
    }
}

macro_rules! fixed {
    ($($type:ty, $width:literal, $kind:expr, |$bytes:ident| $value:expr;)*) => {$(
        impl<'a> InputField<'a> for $type {
            const KIND: ColumnType = $kind;
            type Column = &'a [[u8; $width]];
            fn open(column: Column<'a>) -> Self::Column {
                column.values().unwrap_or_default()
            }
            #[inline(always)]
            fn clip(column: Self::Column, rows: usize) -> Self::Column {
                &column[..rows]
            }
            #[inline(always)]
            fn read(column: &Self::Column, row: usize) -> Self {
                let $bytes = column[row];
                $value
            }
        }
    )*};
}

fixed! {
    i32, 4, ColumnType::I32, |bytes| i32::from_le_bytes(bytes);
    i64, 8, ColumnType::I64, |bytes| i64::from_le_bytes(bytes);
    u64, 8, ColumnType::U64, |bytes| u64::from_le_bytes(bytes);
    f64, 8, ColumnType::F64, |bytes| f64::from_le_bytes(bytes);
    Timestamp, 8, ColumnType::Timestamp, |bytes| Timestamp::from_micros(i64::from_le_bytes(bytes));
    Date, 4, ColumnType::Date, |bytes| Date::from_days(i32::from_le_bytes(bytes));
}

impl<'a, const P: u8, const S: i8> InputField<'a> for Decimal<P, S> {
    const KIND: ColumnType = ColumnType::Decimal128 {
        precision: P,
        scale: S,
    };
    type Column = &'a [[u8; 16]];
    fn open(column: Column<'a>) -> Self::Column {
        column.values().unwrap_or_default()
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        &column[..rows]
    }
    #[inline(always)]
    fn read(column: &Self::Column, row: usize) -> Self {
        Decimal::from_wire(i128::from_le_bytes(column[row]))
    }
}

impl<'a> InputField<'a> for bool {
    const KIND: ColumnType = ColumnType::Bool;
    type Column = &'a [u8];
    fn open(column: Column<'a>) -> Self::Column {
        column.data()
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        &column[..rows.div_ceil(8)]
    }
    #[inline(always)]
    fn read(column: &Self::Column, row: usize) -> Self {
        column[row / 8] & (1 << (row % 8)) != 0
    }
}

/// A column of byte strings.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    offsets: &'a [[u8; 4]],
    data: &'a [u8],
}

impl<'a> Bytes<'a> {
    #[inline(always)]
    fn clip(self, rows: usize) -> Self {
        Self {
            offsets: &self.offsets[..rows + 1],
            data: self.data,
        }
    }

    #[inline(always)]
    fn at(&self, row: usize) -> &'a [u8] {
        let from = u32::from_le_bytes(self.offsets[row]) as usize;
        let to = u32::from_le_bytes(self.offsets[row + 1]) as usize;
        &self.data[from..to]
    }
}

/// A column of texts. Made only from columns whose type is utf8.
#[derive(Clone, Copy)]
pub struct Text<'a>(Bytes<'a>);

impl<'a> InputField<'a> for &'a [u8] {
    const KIND: ColumnType = ColumnType::Binary;
    type Column = Bytes<'a>;
    fn open(column: Column<'a>) -> Self::Column {
        Bytes {
            offsets: column.offsets(),
            data: column.data(),
        }
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        column.clip(rows)
    }
    #[inline(always)]
    fn read(column: &Self::Column, row: usize) -> Self {
        column.at(row)
    }
}

impl<'a> InputField<'a> for &'a str {
    const KIND: ColumnType = ColumnType::Utf8;
    type Column = Text<'a>;
    fn open(column: Column<'a>) -> Self::Column {
        assert!(column.kind() == ColumnType::Utf8);
        Text(Bytes {
            offsets: column.offsets(),
            data: column.data(),
        })
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        Text(column.0.clip(rows))
    }
    #[inline(always)]
    fn read(column: &Self::Column, row: usize) -> Self {
        // SAFETY: a `Text` is a utf8 column, and whoever opened its frame has checked its values or vouched for them
        // (`FrameReader::parse`, `FrameReader::parse_trusted`). Checking again costs more than all the rest of a record.
        unsafe { core::str::from_utf8_unchecked(column.0.at(row)) }
    }
}

impl<'a> InputField<'a> for String {
    const KIND: ColumnType = ColumnType::Utf8;
    type Column = Text<'a>;
    fn open(column: Column<'a>) -> Self::Column {
        <&str>::open(column)
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        <&str>::clip(column, rows)
    }
    fn read(column: &Self::Column, row: usize) -> Self {
        <&str>::read(column, row).to_owned()
    }
}

impl<'a> InputField<'a> for Vec<u8> {
    const KIND: ColumnType = ColumnType::Binary;
    type Column = Bytes<'a>;
    fn open(column: Column<'a>) -> Self::Column {
        <&[u8]>::open(column)
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        <&[u8]>::clip(column, rows)
    }
    fn read(column: &Self::Column, row: usize) -> Self {
        column.at(row).to_owned()
    }
}

impl<'a, F: InputField<'a>> InputField<'a> for Option<F> {
    const KIND: ColumnType = F::KIND;
    const NULLABLE: bool = true;
    type Column = (Option<&'a [u8]>, F::Column);
    fn open(column: Column<'a>) -> Self::Column {
        (column.validity(), F::open(column))
    }
    #[inline(always)]
    fn clip(column: Self::Column, rows: usize) -> Self::Column {
        (
            column.0.map(|bits| &bits[..rows.div_ceil(8)]),
            F::clip(column.1, rows),
        )
    }
    #[inline(always)]
    fn read(column: &Self::Column, row: usize) -> Self {
        match column.0 {
            Some(bits) if bits[row / 8] & (1 << (row % 8)) == 0 => None,
            _ => Some(F::read(&column.1, row)),
        }
    }
}
