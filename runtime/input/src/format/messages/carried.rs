//! Rows of a repartition topic (`segno_core::columns::carried`) as records, and what stands between them.
//!
//! Owns: which column of a row feeds which field of the plan. Does not own: the bytes.
//!
//! Invariant: a value keeps its type, so no value of a row that Segno wrote is refused.

use crate::format::rows::{Fields, Rows as Values};
use crate::format::value::Value;
use segno_core::columns::carried::{Carried, Flaw, Reader, read_announcement};
use segno_core::columns::{Column, ColumnType};
use segno_core::pipeline::ROW_TIME;
use segno_core::{Code, Error, Result};

pub(super) struct Rows {
    reader: Reader,
    /// For each field of the plan: the column that it is; `None`: the event time.
    fields: Vec<Option<usize>>,
    /// Digits behind the point, by column.
    scales: Vec<i8>,
    count: usize,
}

impl Rows {
    pub fn new(columns: &[Column], values: &Values) -> Result<Rows> {
        let field = |name: &String| match columns.iter().position(|column| column.name == *name) {
            Some(at) => Ok(Some(at)),
            None if name == ROW_TIME => Ok(None),
            None => Err(Error::new(Code::SourceColumn, format!("rows of the repartition topic have no column `{name}`"))),
        };
        let scale = |column: &Column| match column.ty {
            ColumnType::Decimal128 { scale, .. } => scale,
            _ => 0,
        };
        Ok(Rows {
            reader: Reader::new(columns),
            fields: values.plan.fields.iter().map(field).collect::<Result<_>>()?,
            scales: columns.iter().map(scale).collect(),
            count: columns.len(),
        })
    }

    /// Takes a row, good or bad, or an announcement.
    pub fn one(&self, bytes: &[u8], offset: u64, values: &mut Values) {
        let mut carried = Vec::with_capacity(self.count);
        let flaw = match self.reader.read(bytes, &mut carried) {
            Ok(time) => match values.push(&Row { rows: self, carried: &carried, time }, offset, (0, 0)) {
                Ok(()) => return,
                Err(flaw) => flaw,
            },
            Err(Flaw::OtherColumns(_)) if let Some(Ok(announcement)) = read_announcement(bytes) => {
                return values.push_announced(offset, announcement);
            }
            Err(Flaw::OtherColumns(_)) => {
                (Code::RowsOfOtherColumns, "the row was written by another version of the pipeline, or by somebody else".to_owned())
            }
            Err(Flaw::Damaged) => (Code::RecordMalformed, "the row ends too early, or goes on behind its last column".to_owned()),
        };
        values.push_bad(offset, flaw, bytes);
    }
}

struct Row<'a> {
    rows: &'a Rows,
    carried: &'a [Carried<'a>],
    time: Option<i64>,
}

impl Fields for Row<'_> {
    fn value(&self, field: usize) -> Value<'_> {
        let Some(column) = self.rows.fields[field] else {
            return self.time.map_or(Value::Missing, Value::Micros);
        };
        match self.carried[column] {
            Carried::Null => Value::Null,
            Carried::Bool(value) => Value::Bool(value),
            Carried::Signed(number) => Value::Signed(number),
            Carried::Unsigned(number) => Value::Unsigned(number),
            Carried::Float(number) => Value::Float(number),
            Carried::Text(text) => Value::Text(text),
            Carried::Bytes(bytes) => Value::Bytes(bytes),
            Carried::Micros(micros) => Value::Micros(micros),
            Carried::Days(days) => Value::Days(days),
            Carried::Decimal(digits) => Value::Decimal(digits, self.rows.scales[column]),
        }
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}
