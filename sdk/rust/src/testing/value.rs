//! Owns the rows that tests write and read.

use segno_wire::Value;

use crate::time::{Date, Decimal, Timestamp};

/// One value of a test's row; whole numbers of all widths are one kind.
#[derive(Clone, Debug)]
pub enum Values {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Microseconds since 1970.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
    /// The unscaled integer.
    Decimal(i128),
    /// A list that a state value holds.
    List(Vec<Row>),
}

/// Numbers are equal when their bits are: a NaN is one value here.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) | (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            _ => false,
        }
    }
}

macro_rules! from {
    ($(($($generics:tt)*) $type:ty, |$value:ident| $made:expr;)*) => {$(
        impl<$($generics)*> From<$type> for Values {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

from! {
    () bool, |value| Self::Bool(value);
    () i32, |value| Self::Int(value.into());
    () i64, |value| Self::Int(value.into());
    () u32, |value| Self::Int(value.into());
    () u64, |value| Self::Int(value.into());
    () f64, |value| Self::Float(value);
    () &str, |value| Self::Text(value.to_owned());
    () String, |value| Self::Text(value);
    () &[u8], |value| Self::Bytes(value.to_vec());
    () Vec<u8>, |value| Self::Bytes(value);
    () Timestamp, |value| Self::Timestamp(value.micros());
    () Date, |value| Self::Date(value.days());
    (const P: u8, const S: i8) Decimal<P, S>, |value| Self::Decimal(value.unscaled());
}

impl<T: Into<Values>> From<Option<T>> for Values {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value<'_>> for Values {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::I32(value) => Self::Int(value.into()),
            Value::I64(value) => Self::Int(value.into()),
            Value::U64(value) => Self::Int(value.into()),
            Value::U32(value) => Self::Int(value.into()),
            Value::F64(value) => Self::Float(value),
            Value::Utf8(value) => Self::Text(value.to_owned()),
            Value::Binary(value) => Self::Bytes(value.to_vec()),
            Value::Timestamp(value) => Self::Timestamp(value),
            Value::Date(value) => Self::Date(value),
            Value::Decimal128(value) => Self::Decimal(value),
        }
    }
}

/// Named values, with a key and an event time where the plugin needs them. Made by [`row!`](crate::row).
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    values: Vec<(String, Values)>,
    pub(super) key: Option<String>,
    pub(super) event_time: Option<Timestamp>,
}

impl Row {
    #[doc(hidden)]
    pub fn new<'n>(values: impl IntoIterator<Item = (&'n str, Values)>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            key: None,
            event_time: None,
        }
    }

    /// The key whose state the record sees.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The record's event time.
    pub fn at(mut self, event_time: Timestamp) -> Self {
        self.event_time = Some(event_time);
        self
    }

    /// A value by its column's name, if there is such a column.
    pub fn get(&self, name: &str) -> Option<&Values> {
        self.values
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, value)| value)
    }

    #[track_caller]
    fn value(&self, name: &str) -> &Values {
        match self.get(name) {
            Some(value) => value,
            None => panic!("no column `{name}` in {self:?}"),
        }
    }

    #[track_caller]
    fn wrong(&self, name: &str, kind: &str) -> ! {
        panic!("`{name}` is not {kind}: {:?}", self.value(name))
    }

    /// # Panics
    /// When there is no such column.
    #[track_caller]
    pub fn is_null(&self, name: &str) -> bool {
        *self.value(name) == Values::Null
    }

    /// # Panics
    /// When there is no such column, or it is not a whole number in range. The others alike.
    #[track_caller]
    pub fn i64(&self, name: &str) -> i64 {
        match self.value(name) {
            Values::Int(value) => {
                i64::try_from(*value).unwrap_or_else(|_| self.wrong(name, "an i64"))
            }
            _ => self.wrong(name, "an i64"),
        }
    }

    #[track_caller]
    pub fn u64(&self, name: &str) -> u64 {
        match self.value(name) {
            Values::Int(value) => {
                u64::try_from(*value).unwrap_or_else(|_| self.wrong(name, "a u64"))
            }
            _ => self.wrong(name, "a u64"),
        }
    }

    #[track_caller]
    pub fn f64(&self, name: &str) -> f64 {
        match self.value(name) {
            Values::Float(value) => *value,
            _ => self.wrong(name, "an f64"),
        }
    }

    #[track_caller]
    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Values::Bool(value) => *value,
            _ => self.wrong(name, "a bool"),
        }
    }

    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Values::Text(value) => value,
            _ => self.wrong(name, "a text"),
        }
    }

    #[track_caller]
    pub fn bytes(&self, name: &str) -> &[u8] {
        match self.value(name) {
            Values::Bytes(value) => value,
            _ => self.wrong(name, "a byte string"),
        }
    }

    #[track_caller]
    pub fn timestamp(&self, name: &str) -> Timestamp {
        match self.value(name) {
            Values::Timestamp(value) => Timestamp::from_micros(*value),
            _ => self.wrong(name, "a timestamp"),
        }
    }

    #[track_caller]
    pub fn date(&self, name: &str) -> Date {
        match self.value(name) {
            Values::Date(value) => Date::from_days(*value),
            _ => self.wrong(name, "a date"),
        }
    }
}
