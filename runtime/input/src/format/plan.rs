//! A read plan made ready for decoding: distinct fields, columns and the event time that refer to them.
//!
//! Owns: which field feeds which column; how times are parsed; the words of a reason.
//! Does not own: how a format finds a field (`json`, `csv`, …), nor the growing columns (`rows`).
//!
//! Invariant: every column and the time refer to a field of `fields`; a field is listed once, however often it is
//! read.

use super::time::TimeParser;
use super::value::{Problem, Value};
use segno_core::columns::{Column, ColumnType};
use segno_core::source::{ReadPlan, TimeUnit};
use segno_core::{Code, Result};

#[derive(Debug)]
pub(crate) struct Plan {
    /// Paths of the fields that are read, each once.
    pub fields: Vec<String>,
    pub columns: Vec<PlanColumn>,
    pub time: Option<PlanTime>,
}

#[derive(Debug)]
pub(crate) struct PlanColumn {
    pub column: Column,
    pub field: usize,
    /// For timestamps and dates.
    pub parser: TimeParser,
}

#[derive(Debug)]
pub(crate) struct PlanTime {
    pub field: usize,
    pub parser: TimeParser,
    /// The timestamp column of the same field: its value is the time, parsed once.
    pub column: Option<usize>,
}

impl Plan {
    pub fn new(plan: &ReadPlan) -> Result<Plan> {
        let mut fields: Vec<String> = Vec::new();
        let mut field = |name: &str| {
            fields.iter().position(|known| known == name).unwrap_or_else(|| {
                fields.push(name.to_owned());
                fields.len() - 1
            })
        };
        let time_parser = match &plan.time {
            Some(time) => Some(TimeParser::new(time.format.as_deref(), time.unit)?),
            None => None,
        };
        let mut columns = Vec::with_capacity(plan.columns.len());
        for column in &plan.columns {
            let is_time = plan.time.as_ref().is_some_and(|time| time.name == column.name);
            let parser = match &time_parser {
                Some(parser) if is_time => parser.clone(),
                _ => TimeParser::plain(TimeUnit::default()),
            };
            columns.push(PlanColumn { column: column.clone(), field: field(&column.name), parser });
        }
        let time = match (&plan.time, time_parser) {
            (Some(time), Some(parser)) => {
                let column = plan
                    .columns
                    .iter()
                    .position(|column| column.name == time.name && column.ty == ColumnType::Timestamp);
                Some(PlanTime { field: field(&time.name), parser, column })
            }
            _ => None,
        };
        Ok(Plan { fields, columns, time })
    }

    /// Code and reason of a record whose column (or event time, when `column` is `None`) has a problem.
    #[cold]
    pub fn flaw(&self, column: Option<usize>, problem: Problem, value: &Value<'_>) -> (Code, String) {
        let (name, wanted) = match column {
            Some(at) => {
                let column = &self.columns[at].column;
                (column.name.as_str(), type_name(column.ty))
            }
            None => {
                let time = self.time.as_ref().map_or("", |time| self.fields[time.field].as_str());
                (time, "event time".to_owned())
            }
        };
        let format = match column {
            Some(at) => self.columns[at].parser.format(),
            None => self.time.as_ref().and_then(|time| time.parser.format()),
        };
        match problem {
            Problem::Missing => {
                (Code::FieldMissing, format!("field `{name}` is missing, and {wanted} is wanted for it"))
            }
            Problem::Null => (Code::FieldNull, format!("field `{name}` is null, and {wanted} is wanted for it")),
            Problem::WrongType => {
                (Code::FieldWrongType, format!("field `{name}` should be {wanted}, but is {}", value.describe()))
            }
            Problem::Unparsable => {
                let form = format.map_or(String::new(), |format| format!(" of the form `{format}`"));
                (
                    Code::FieldUnparsable,
                    format!("field `{name}` should be {wanted}{form}, but is {}", value.describe()),
                )
            }
            Problem::NotHeld => (
                Code::NumberNotHeld,
                format!("field `{name}`: {wanted} cannot hold {} exactly", value.describe()),
            ),
        }
    }

    /// Code and reason of a record in which something that is no object stands where a path goes on.
    #[cold]
    pub fn blocked(&self, field: usize, parent: &str, value: &Value<'_>) -> (Code, String) {
        (
            Code::FieldWrongType,
            format!(
                "field `{parent}` should be an object that holds `{}`, but is {}",
                self.fields[field],
                value.describe()
            ),
        )
    }
}

/// A column type as users write it.
pub(crate) fn type_name(ty: ColumnType) -> String {
    ty.to_string()
}
