//! Owns the types that a field of a state value may have, and how each is kept.
//! Does not own the bytes (`segno-wire`'s state values).

use segno_wire::describe::StateColumn;
use segno_wire::{ColumnType, StateReader, StateWriter, WireError};

use super::State;
use crate::time::{Date, Decimal, Timestamp};

/// A type that a field of a state value may have.
pub trait StateField: Sized {
    const KIND: ColumnType;
    const NULLABLE: bool = false;
    /// The columns of an item, for lists.
    fn items(_columns: &mut Vec<StateColumn>) {}
    fn encode(&self, out: &mut StateWriter<'_>);
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError>;
    /// What a value has that is older than the field.
    fn missing() -> Self;
}

/// The entry of a field in the description.
#[doc(hidden)]
pub fn column_spec<F: StateField>(name: &str, since: u16) -> StateColumn {
    let mut items = Vec::new();
    F::items(&mut items);
    StateColumn {
        name: name.to_owned(),
        kind: F::KIND,
        nullable: F::NULLABLE,
        since,
        items,
    }
}

/// Reads a field that came with version `since`.
#[doc(hidden)]
#[inline]
pub fn decode_field<F: StateField>(from: &mut StateReader<'_>, since: u16) -> Result<F, WireError> {
    if from.lacks(since) {
        Ok(F::missing())
    } else {
        F::decode(from)
    }
}

macro_rules! fixed {
    ($(($($generics:tt)*) $type:ty, $kind:expr, $wire:ty, |$value:ident| $to:expr, |$read:ident| $from:expr;)*) => {$(
        impl<$($generics)*> StateField for $type {
            const KIND: ColumnType = $kind;
            #[inline]
            fn encode(&self, out: &mut StateWriter<'_>) {
                let $value = *self;
                out.fixed::<$wire>($to);
            }
            #[inline]
            fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
                let $read = <$wire>::from_le_bytes(from.array()?);
                Ok($from)
            }
            fn missing() -> Self {
                Self::default()
            }
        }
    )*};
}

fixed! {
    () i32, ColumnType::I32, i32, |value| value, |read| read;
    () i64, ColumnType::I64, i64, |value| value, |read| read;
    () u64, ColumnType::U64, u64, |value| value, |read| read;
    () f64, ColumnType::F64, f64, |value| value, |read| read;
    () Timestamp, ColumnType::Timestamp, i64, |value| value.micros(), |read| Timestamp::from_micros(read);
    () Date, ColumnType::Date, i32, |value| value.days(), |read| Date::from_days(read);
    (const P: u8, const S: i8) Decimal<P, S>, ColumnType::Decimal128 { precision: P, scale: S }, i128, |value| value.unscaled(), |read| Decimal::from_wire(read);
}

impl StateField for bool {
    const KIND: ColumnType = ColumnType::Bool;
    fn encode(&self, out: &mut StateWriter<'_>) {
        out.bool(*self);
    }
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        from.bool()
    }
    fn missing() -> Self {
        false
    }
}

impl StateField for String {
    const KIND: ColumnType = ColumnType::Utf8;
    fn encode(&self, out: &mut StateWriter<'_>) {
        out.bytes(self.as_bytes());
    }
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        from.text().map(str::to_owned)
    }
    fn missing() -> Self {
        String::new()
    }
}

impl StateField for Vec<u8> {
    const KIND: ColumnType = ColumnType::Binary;
    fn encode(&self, out: &mut StateWriter<'_>) {
        out.bytes(self);
    }
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        from.bytes().map(<[u8]>::to_vec)
    }
    fn missing() -> Self {
        Vec::new()
    }
}

/// A list: read and written whole with its key's value, so it is for some hundreds of items, not for millions.
impl<S: State> StateField for Vec<S> {
    const KIND: ColumnType = ColumnType::Binary;
    fn items(columns: &mut Vec<StateColumn>) {
        S::columns(columns);
    }
    #[inline]
    fn encode(&self, out: &mut StateWriter<'_>) {
        out.list(|out| self.iter().for_each(|item| item.encode(out)));
    }
    #[inline]
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        let mut list = from.list()?;
        let mut items = Vec::new();
        while !list.is_empty() {
            items.push(S::decode(&mut list)?);
        }
        Ok(items)
    }
    fn missing() -> Self {
        Vec::new()
    }
}

impl<F: StateField> StateField for Option<F> {
    const KIND: ColumnType = F::KIND;
    const NULLABLE: bool = true;
    fn encode(&self, out: &mut StateWriter<'_>) {
        out.presence(self.is_some());
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(from: &mut StateReader<'_>) -> Result<Self, WireError> {
        Ok(if from.presence()? {
            Some(F::decode(from)?)
        } else {
            None
        })
    }
    fn missing() -> Self {
        None
    }
}
