//! Column types and schemas, and their Arrow counterparts.
//!
//! Owns: the one-to-one map between `ColumnType` and Arrow's `DataType`.
//! Invariant: every array inside the host has exactly the Arrow type that `arrow_type` names.

use arrow_schema::{DataType, Field, TimeUnit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

pub use segno_wire::ColumnType;

/// A named, typed column. Columns of nested input are named by path: `bid.price`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type", serialize_with = "write_type", deserialize_with = "read_type")]
    pub ty: ColumnType,
    pub nullable: bool,
}

impl Column {
    pub fn new(name: impl Into<String>, ty: ColumnType, nullable: bool) -> Column {
        Column { name: name.into(), ty, nullable }
    }
}

fn write_type<S: Serializer>(ty: &ColumnType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ty)
}

fn read_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ColumnType, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|error| serde::de::Error::custom(format!("{error:?}")))
}

/// Columns in order; names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    pub columns: Vec<Column>,
}

impl Schema {
    pub fn new(columns: Vec<Column>) -> Schema {
        Schema { columns }
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn to_arrow(&self) -> Arc<arrow_schema::Schema> {
        let fields: Vec<Field> =
            self.columns.iter().map(|c| Field::new(&c.name, arrow_type(c.ty), c.nullable)).collect();
        Arc::new(arrow_schema::Schema::new(fields))
    }
}

/// The Arrow type that holds a column type. Timestamps carry the zone `UTC`.
pub fn arrow_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::Bool => DataType::Boolean,
        ColumnType::I32 => DataType::Int32,
        ColumnType::U32 => DataType::UInt32,
        ColumnType::I64 => DataType::Int64,
        ColumnType::U64 => DataType::UInt64,
        ColumnType::F64 => DataType::Float64,
        ColumnType::Utf8 => DataType::Utf8,
        ColumnType::Binary => DataType::Binary,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        ColumnType::Date => DataType::Date32,
        ColumnType::Decimal128 { precision, scale } => DataType::Decimal128(precision, scale),
    }
}

/// The column type that an Arrow type holds; `None` for types that never occur inside the host.
pub fn column_type(ty: &DataType) -> Option<ColumnType> {
    Some(match ty {
        DataType::Boolean => ColumnType::Bool,
        DataType::Int32 => ColumnType::I32,
        DataType::UInt32 => ColumnType::U32,
        DataType::Int64 => ColumnType::I64,
        DataType::UInt64 => ColumnType::U64,
        DataType::Float64 => ColumnType::F64,
        DataType::Utf8 => ColumnType::Utf8,
        DataType::Binary => ColumnType::Binary,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => ColumnType::Timestamp,
        DataType::Date32 => ColumnType::Date,
        DataType::Decimal128(precision, scale) => ColumnType::Decimal128 { precision: *precision, scale: *scale },
        _ => return None,
    })
}
