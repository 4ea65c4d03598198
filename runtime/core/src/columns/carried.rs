//! A row, or an announcement of a writer, as the value of a record in a repartition topic, specified in `docs/formats/rows.md`.
//!
//! Owns: the bytes, and the fingerprint of the columns that they hold. Does not own: keys, headers and partitions
//! (`segno-kafka`), where the topic stands in a pipeline (`pipeline`), what follows from announcements (`protocol::writers`).
//!
//! Invariants: reading gives what was written, bit by bit. Rows of other columns are refused, never misread, nor taken for an
//! announcement.

use super::digest::Canonical;
use super::{Column, ColumnType};
use crate::protocol::writers::{Activity, Announcement, Told};
use arrow_array::RecordBatch;
use twox_hash::XxHash3_64;

/// Begins what the fingerprint is of; another layout of rows has another one.
const LAYOUT: &[u8] = b"segno-rows/1\n";

/// An announcement begins with the XXH3-64 of it. Where a row has a name's length, it has a letter: no columns give the same text.
const ANNOUNCEMENT: &[u8] = b"segno-announcement/1\n";

/// Writers of a partition at most; more are damage.
const WRITERS_MAX: u32 = 1 << 20;

/// Stands before every row: XXH3-64 over names, types and nullability of the columns.
pub fn fingerprint(columns: &[Column]) -> u64 {
    let mut text = LAYOUT.to_vec();
    for column in columns {
        let nullable = if column.nullable { "?" } else { "" };
        // A length before each name: names may hold anything.
        text.extend_from_slice(format!("{}:{} {}{nullable}\n", column.name.len(), column.name, column.ty).as_bytes());
    }
    XxHash3_64::oneshot(&text)
}

/// The value of a record that announces how far a writer is.
pub fn write_announcement(announcement: Announcement) -> Vec<u8> {
    let Announcement { writer, writers, told } = announcement;
    let mut out = XxHash3_64::oneshot(ANNOUNCEMENT).to_le_bytes().to_vec();
    out.extend_from_slice(&writer.to_le_bytes());
    out.extend_from_slice(&writers.to_le_bytes());
    out.push(match told.activity {
        Activity::Active => 0,
        Activity::Idle => 1,
        Activity::Ended => 2,
    });
    write_time(&mut out, told.watermark);
    out
}

/// The announcement that bytes hold. `None`: they are none.
pub fn read_announcement(bytes: &[u8]) -> Option<Result<Announcement, Flaw>> {
    let mut rest = Rest(bytes);
    let announces = rest.array().is_ok_and(|found| u64::from_le_bytes(found) == XxHash3_64::oneshot(ANNOUNCEMENT));
    announces.then(|| rest.announcement())
}

fn write_time(out: &mut Vec<u8>, time: Option<i64>) {
    match time {
        None => out.push(0),
        Some(time) => {
            out.push(1);
            out.extend_from_slice(&time.to_le_bytes());
        }
    }
}

/// Writes the rows of a batch.
pub struct Writer<'a> {
    fingerprint: u64,
    columns: Vec<Canonical<'a>>,
}

impl<'a> Writer<'a> {
    /// `columns` describe those of the batch.
    pub fn new(columns: &[Column], batch: &'a RecordBatch) -> Writer<'a> {
        Writer { fingerprint: fingerprint(columns), columns: batch.columns().iter().map(Canonical::new).collect() }
    }

    /// `time` is the row's event time, µs since 1970 UTC.
    pub fn write(&self, out: &mut Vec<u8>, row: usize, time: Option<i64>) {
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        write_time(out, time);
        for column in &self.columns {
            column.write(out, row);
        }
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Carried<'v> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    /// UTF-8.
    Text(&'v [u8]),
    Bytes(&'v [u8]),
    /// µs since 1970 UTC.
    Micros(i64),
    /// Days since 1970.
    Days(i32),
    /// The digits, without the point.
    Decimal(i128),
}

/// Why bytes are not a row of the wanted columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They begin with this fingerprint, or with none.
    OtherColumns(Option<u64>),
    /// They end within this column, or its text is none, or something follows the last one.
    Damaged,
}

/// Reads rows of certain columns.
#[derive(Clone, Debug)]
pub struct Reader {
    fingerprint: u64,
    types: Vec<ColumnType>,
}

impl Reader {
    pub fn new(columns: &[Column]) -> Reader {
        Reader { fingerprint: fingerprint(columns), types: columns.iter().map(|column| column.ty).collect() }
    }

    /// Puts the values of a row into `values`, in the order of the columns, and gives its event time.
    pub fn read<'v>(&self, bytes: &'v [u8], values: &mut Vec<Carried<'v>>) -> Result<Option<i64>, Flaw> {
        values.clear();
        let mut rest = Rest(bytes);
        let found = rest.array().map(u64::from_le_bytes).map_err(|_| Flaw::OtherColumns(None))?;
        if found != self.fingerprint {
            return Err(Flaw::OtherColumns(Some(found)));
        }
        let time = rest.time()?;
        for ty in &self.types {
            values.push(match rest.flag()? {
                false => Carried::Null,
                true => rest.value(*ty)?,
            });
        }
        if rest.0.is_empty() { Ok(time) } else { Err(Flaw::Damaged) }
    }
}

/// What was not read yet.
struct Rest<'v>(&'v [u8]);

impl<'v> Rest<'v> {
    fn take(&mut self, bytes: usize) -> Result<&'v [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Flaw::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Flaw> {
        let (taken, rest) = self.0.split_first_chunk::<BYTES>().ok_or(Flaw::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn flag(&mut self) -> Result<bool, Flaw> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Flaw::Damaged),
        }
    }

    fn time(&mut self) -> Result<Option<i64>, Flaw> {
        Ok(if self.flag()? { Some(i64::from_le_bytes(self.array()?)) } else { None })
    }

    fn announcement(&mut self) -> Result<Announcement, Flaw> {
        let (writer, writers) = (u32::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        let activity = match self.array()? {
            [0] => Activity::Active,
            [1] => Activity::Idle,
            [2] => Activity::Ended,
            _ => return Err(Flaw::Damaged),
        };
        let told = Told { activity, watermark: self.time()? };
        let whole = self.0.is_empty() && writer < writers && writers <= WRITERS_MAX;
        if whole { Ok(Announcement { writer, writers, told }) } else { Err(Flaw::Damaged) }
    }

    fn value(&mut self, ty: ColumnType) -> Result<Carried<'v>, Flaw> {
        Ok(match ty {
            ColumnType::Bool => Carried::Bool(self.flag()?),
            ColumnType::I32 => Carried::Signed(i32::from_le_bytes(self.array()?).into()),
            ColumnType::I64 => Carried::Signed(i64::from_le_bytes(self.array()?)),
            ColumnType::U32 => Carried::Unsigned(u32::from_le_bytes(self.array()?).into()),
            ColumnType::U64 => Carried::Unsigned(u64::from_le_bytes(self.array()?)),
            ColumnType::F64 => Carried::Float(f64::from_le_bytes(self.array()?)),
            ColumnType::Timestamp => Carried::Micros(i64::from_le_bytes(self.array()?)),
            ColumnType::Date => Carried::Days(i32::from_le_bytes(self.array()?)),
            ColumnType::Decimal128 { .. } => Carried::Decimal(i128::from_le_bytes(self.array()?)),
            ColumnType::Binary => Carried::Bytes(self.sized()?),
            ColumnType::Utf8 => {
                let text = self.sized()?;
                match std::str::from_utf8(text) {
                    Ok(_) => Carried::Text(text),
                    Err(_) => return Err(Flaw::Damaged),
                }
            }
        })
    }

    fn sized(&mut self) -> Result<&'v [u8], Flaw> {
        let bytes = u32::from_le_bytes(self.array()?);
        self.take(bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Schema;
    use arrow_array::*;
    use std::sync::Arc;

    fn columns() -> Vec<Column> {
        let types = [
            ColumnType::Bool,
            ColumnType::I32,
            ColumnType::U32,
            ColumnType::I64,
            ColumnType::U64,
            ColumnType::F64,
            ColumnType::Utf8,
            ColumnType::Binary,
            ColumnType::Timestamp,
            ColumnType::Date,
            ColumnType::Decimal128 { precision: 38, scale: 2 },
        ];
        types.iter().enumerate().map(|(at, ty)| Column::new(format!("c{at}"), *ty, true)).collect()
    }

    /// One row of values at the edge of their types, one of nulls.
    fn batch() -> RecordBatch {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None])),
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
            Arc::new(Float64Array::from(vec![Some(-0.0), None])),
            Arc::new(StringArray::from(vec![Some("a\nü"), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"\0\xff\n"[..]), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC")),
            Arc::new(Date32Array::from(vec![Some(-7), None])),
            Arc::new(Decimal128Array::from(vec![Some(10i128.pow(38) - 1), None]).with_precision_and_scale(38, 2).unwrap()),
        ];
        RecordBatch::try_new(Schema::new(columns()).to_arrow(), arrays).unwrap()
    }

    fn written(row: usize, time: Option<i64>) -> Vec<u8> {
        let batch = batch();
        let mut bytes = Vec::new();
        Writer::new(&columns(), &batch).write(&mut bytes, row, time);
        bytes
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let (bytes, mut values) = (written(0, Some(-5)), Vec::new());
        assert_eq!(Reader::new(&columns()).read(&bytes, &mut values), Ok(Some(-5)));
        use Carried::*;
        let wanted = [
            Bool(true),
            Signed(i32::MIN.into()),
            Unsigned(u32::MAX.into()),
            Signed(i64::MIN),
            Unsigned(u64::MAX),
            Float(-0.0),
            Text("a\nü".as_bytes()),
            Bytes(b"\0\xff\n"),
            Micros(-1),
            Days(-7),
            Decimal(10i128.pow(38) - 1),
        ];
        assert_eq!(values, wanted);
        assert!(matches!(values[5], Float(zero) if zero.is_sign_negative()));
        let (bytes, mut values) = (written(1, None), Vec::new());
        assert_eq!(Reader::new(&columns()).read(&bytes, &mut values), Ok(None));
        assert_eq!(values, [Null; 11]);
    }

    /// Kept for ever: topics hold such bytes.
    #[test]
    fn the_bytes_are_those_of_the_fixture() {
        let fixture = include_str!("../../fixtures/rows.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
        for (row, time) in [(0, Some(-5)), (1, None)] {
            assert_eq!(hex::encode(written(row, time)), fixture["rows"][row], "row {row}");
        }
    }

    const TOLD: [Told; 3] = [
        Told { watermark: Some(-5), activity: Activity::Active },
        Told { watermark: None, activity: Activity::Idle },
        Told { watermark: Some(i64::MAX), activity: Activity::Ended },
    ];

    #[test]
    fn an_announcement_is_read_as_it_was_written_and_is_no_row() {
        let fixture: serde_json::Value = serde_json::from_str(include_str!("../../fixtures/rows.json")).unwrap();
        for (number, told) in TOLD.into_iter().enumerate() {
            let announcement = Announcement { writer: 2, writers: 3, told };
            let bytes = write_announcement(announcement);
            assert_eq!(hex::encode(&bytes), fixture["announcements"][number], "announcement {number}");
            assert_eq!(read_announcement(&bytes), Some(Ok(announcement)));
            assert!(matches!(Reader::new(&columns()).read(&bytes, &mut Vec::new()), Err(Flaw::OtherColumns(Some(_)))));
            for length in 0..bytes.len() {
                let expected = (length >= 8).then_some(Err(Flaw::Damaged));
                assert_eq!(read_announcement(&bytes[..length]), expected, "{length} bytes");
            }
            assert_eq!(read_announcement(&[&bytes[..], b"x"].concat()), Some(Err(Flaw::Damaged)));
        }
        assert_eq!(read_announcement(&written(0, None)), None);
        // Memory is not made for writers that nobody has.
        for (writer, writers) in [(3, 3), (0, u32::MAX)] {
            let bytes = write_announcement(Announcement { writer, writers, told: TOLD[0] });
            assert_eq!(read_announcement(&bytes), Some(Err(Flaw::Damaged)));
        }
    }

    #[test]
    fn rows_of_other_columns_are_refused() {
        let bytes = written(0, None);
        let mut other = columns();
        other[0].nullable = false;
        let ours = fingerprint(&columns());
        assert_eq!(Reader::new(&other).read(&bytes, &mut Vec::new()), Err(Flaw::OtherColumns(Some(ours))));
        let of = |columns: &[(&str, ColumnType)]| {
            fingerprint(&columns.iter().map(|(name, ty)| Column::new(*name, *ty, false)).collect::<Vec<_>>())
        };
        assert_ne!(of(&[("a", ColumnType::I64)]), of(&[("a", ColumnType::U64)]));
        assert_ne!(of(&[("a", ColumnType::I64)]), of(&[("b", ColumnType::I64)]));
        assert_ne!(of(&[("a", ColumnType::I64)]), of(&[("a", ColumnType::I64), ("b", ColumnType::I64)]));
        assert_eq!(Reader::new(&other).read(b"{}", &mut Vec::new()), Err(Flaw::OtherColumns(None)));
    }

    #[test]
    fn a_row_that_was_cut_or_goes_on_is_refused_and_nothing_panics() {
        let (reader, whole) = (Reader::new(&columns()), written(0, Some(1)));
        for length in 8..whole.len() {
            assert_eq!(reader.read(&whole[..length], &mut Vec::new()), Err(Flaw::Damaged), "{length} bytes");
        }
        assert_eq!(reader.read(&[&whole[..], b"x"].concat(), &mut Vec::new()), Err(Flaw::Damaged));
        for at in 8..whole.len() {
            let mut changed = whole.clone();
            changed[at] = 0xfe;
            let _ = reader.read(&changed, &mut Vec::new());
        }
    }
}
