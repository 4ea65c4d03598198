//! Owns what a plugin gives back: rows, ports, and the builders that they are collected in.
//! Does not own the bytes of the answer (`engine`).
//! Invariants: every row carries the input row that caused it; builders keep their memory from batch to batch; text
//! that is borrowed from the batch is copied once, when the answer is written.

use segno_wire::describe::{ColumnSpec, OutputKind, OutputPort};
use segno_wire::{
    BoolBuilder, ColumnBuilder, ColumnType, FixedBuilder, FrameWriter, MessageWriter, Payload,
    VarBuilder, WireError, message,
};

use crate::time::{Date, Decimal, Timestamp};

/// An output row. Implemented by `#[derive(Output)]`, for a struct with a lifetime on its `'static` form.
pub trait Output: 'static {
    /// The row, borrowing for as short as the author likes.
    type Row<'r>;
    type Columns: OutputColumns;
    fn describe(columns: &mut Vec<ColumnSpec>);
    fn push(row: Self::Row<'_>, columns: &mut Self::Columns);
}

/// The builders of a row's columns. Implemented by `#[derive(Output)]`.
pub trait OutputColumns: Default {
    const WIDTH: u16;
    fn begin(&mut self, source: &[u8]);
    fn truncate(&mut self, rows: usize);
    fn write(&self, source: &[u8], frame: &mut FrameWriter<'_>) -> Result<(), WireError>;
}

/// A type that a field of an output row may have.
pub trait OutputField {
    const KIND: ColumnType;
    const NULLABLE: bool = false;
    type Builder: ColumnBuilder;
    fn push(self, builder: &mut Self::Builder);
}

/// The entry of a field in the description.
#[doc(hidden)]
pub fn column_spec<F: OutputField>(name: &str) -> ColumnSpec {
    ColumnSpec {
        name: name.to_owned(),
        kind: F::KIND,
        nullable: F::NULLABLE,
    }
}

macro_rules! field {
    ($(($($generics:tt)*) $type:ty, $kind:expr, $builder:ty, |$value:ident| $wire:expr;)*) => {$(
        impl<$($generics)*> OutputField for $type {
            const KIND: ColumnType = $kind;
            type Builder = $builder;
            #[inline(always)]
            fn push(self, builder: &mut Self::Builder) {
                let $value = self;
                builder.push($wire);
            }
        }
    )*};
}

field! {
    () bool, ColumnType::Bool, BoolBuilder, |value| value;
    () i32, ColumnType::I32, FixedBuilder<i32>, |value| value;
    () i64, ColumnType::I64, FixedBuilder<i64>, |value| value;
    () u64, ColumnType::U64, FixedBuilder<u64>, |value| value;
    () f64, ColumnType::F64, FixedBuilder<f64>, |value| value;
    () Timestamp, ColumnType::Timestamp, FixedBuilder<i64>, |value| value.micros();
    () Date, ColumnType::Date, FixedBuilder<i32>, |value| value.days();
    (const P: u8, const S: i8) Decimal<P, S>, ColumnType::Decimal128 { precision: P, scale: S }, FixedBuilder<i128>, |value| value.unscaled();
    () &str, ColumnType::Utf8, VarBuilder, |value| value.as_bytes();
    () String, ColumnType::Utf8, VarBuilder, |value| value.as_bytes();
    () &[u8], ColumnType::Binary, VarBuilder, |value| value;
    () Vec<u8>, ColumnType::Binary, VarBuilder, |value| &value;
}

impl<F: OutputField> OutputField for Option<F> {
    const KIND: ColumnType = F::KIND;
    const NULLABLE: bool = true;
    type Builder = F::Builder;
    #[inline(always)]
    fn push(self, builder: &mut Self::Builder) {
        match self {
            Some(value) => value.push(builder),
            None => builder.push_null(),
        }
    }
}

/// A port whose rows are the input row that caused them plus columns of their own.
pub struct Extend<R: Output>(Rows<R::Columns>);

/// A port whose rows have their own columns only.
pub struct Emit<R: Output>(Rows<R::Columns>);

/// A port whose rows are the key's columns plus columns of their own: what a record or a timer of the key brings about.
pub struct PerKey<R: Output>(Rows<R::Columns>);

/// A port that passes input rows on as they are: a filter.
#[derive(Default)]
pub struct Keep(Rows<NoColumns>);

impl<R: Output> Extend<R> {
    /// Gives the current input row with these columns added.
    #[inline]
    pub fn push(&mut self, row: R::Row<'_>) {
        self.0.cause();
        R::push(row, &mut self.0.columns);
    }
}

impl<R: Output> Emit<R> {
    /// Gives this row, caused by the current input row.
    #[inline]
    pub fn push(&mut self, row: R::Row<'_>) {
        self.0.cause();
        R::push(row, &mut self.0.columns);
    }
}

impl<R: Output> PerKey<R> {
    /// Gives this row for the current key, caused by the current record or timer.
    #[inline]
    pub fn push(&mut self, row: R::Row<'_>) {
        self.0.cause();
        R::push(row, &mut self.0.columns);
    }
}

impl Keep {
    /// Gives the current input row.
    #[inline]
    pub fn keep(&mut self) {
        self.0.cause();
    }
}

impl<R: Output> Default for Extend<R> {
    fn default() -> Self {
        Self(Rows::default())
    }
}

impl<R: Output> Default for Emit<R> {
    fn default() -> Self {
        Self(Rows::default())
    }
}

impl<R: Output> Default for PerKey<R> {
    fn default() -> Self {
        Self(Rows::default())
    }
}

/// The rows of one port in one batch.
#[derive(Default)]
struct Rows<C> {
    current: u32,
    causes: Vec<[u8; 4]>,
    columns: C,
}

impl<C: OutputColumns> Rows<C> {
    #[inline(always)]
    fn cause(&mut self) {
        self.causes.push(self.current.to_le_bytes());
    }
}

/// The columns of [`Keep`].
#[derive(Default)]
struct NoColumns;

impl OutputColumns for NoColumns {
    const WIDTH: u16 = 0;
    fn begin(&mut self, _source: &[u8]) {}
    fn truncate(&mut self, _rows: usize) {}
    fn write(&self, _source: &[u8], _frame: &mut FrameWriter<'_>) -> Result<(), WireError> {
        Ok(())
    }
}

/// What the engine does with a port.
pub trait Port: Default {
    const KIND: OutputKind;
    fn columns(columns: &mut Vec<ColumnSpec>);
    fn begin(&mut self, source: &[u8]);
    /// Makes `row` the cause of what comes.
    fn at(&mut self, row: u32);
    /// Takes back what the current row caused.
    fn undo(&mut self);
    fn rows(&self) -> usize;
    fn write(&self, source: &[u8], out: &mut Vec<u8>) -> Result<(), WireError>;
}

macro_rules! port {
    ($(($($generics:tt)*) $type:ty, $kind:expr, $columns:ty, |$specs:ident| $describe:expr;)*) => {$(
        impl<$($generics)*> Port for $type {
            const KIND: OutputKind = $kind;
            fn columns($specs: &mut Vec<ColumnSpec>) {
                $describe
            }
            fn begin(&mut self, source: &[u8]) {
                self.0.causes.clear();
                self.0.columns.begin(source);
            }
            #[inline(always)]
            fn at(&mut self, row: u32) {
                self.0.current = row;
            }
            fn undo(&mut self) {
                let current = self.0.current.to_le_bytes();
                while self.0.causes.pop_if(|cause| *cause == current).is_some() {}
                self.0.columns.truncate(self.0.causes.len());
            }
            fn rows(&self) -> usize {
                self.0.causes.len()
            }
            fn write(&self, source: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
                let rows = self.0.causes.len() as u32;
                let mut frame = FrameWriter::begin(out, rows, 1 + <$columns>::WIDTH);
                frame.column(ColumnType::U32, None, Payload::Fixed(self.0.causes.as_flattened()))?;
                self.0.columns.write(source, &mut frame)?;
                frame.finish()
            }
        }
    )*};
}

port! {
    (R: Output) Extend<R>, OutputKind::Extend, R::Columns, |columns| R::describe(columns);
    (R: Output) Emit<R>, OutputKind::Emit, R::Columns, |columns| R::describe(columns);
    (R: Output) PerKey<R>, OutputKind::PerKey, R::Columns, |columns| R::describe(columns);
    () Keep, OutputKind::Extend, NoColumns, |_columns| ();
}

/// The ports of a plugin: one port, `()` for none, or a struct of ports with `#[derive(Outputs)]`.
pub trait Outputs: Default {
    fn describe(ports: &mut Vec<OutputPort>);
    fn begin(&mut self, source: &[u8]);
    fn at(&mut self, row: u32);
    fn undo(&mut self);
    /// Ports with rows.
    fn used(&self) -> u16;
    fn write(&self, source: &[u8], message: &mut MessageWriter<'_>) -> Result<(), WireError>;
}

/// The name of the port of a plugin that has one only.
pub const SINGLE_PORT: &str = "out";

#[doc(hidden)]
pub fn describe_port<P: Port>(name: &str, ports: &mut Vec<OutputPort>) {
    let mut columns = Vec::new();
    P::columns(&mut columns);
    ports.push(OutputPort {
        name: name.to_owned(),
        kind: P::KIND,
        columns,
    });
}

#[doc(hidden)]
pub fn write_port<P: Port>(
    port: &P,
    index: u16,
    source: &[u8],
    message: &mut MessageWriter<'_>,
) -> Result<(), WireError> {
    if port.rows() == 0 {
        return Ok(());
    }
    message.section(message::effects::OUTPUT, index, |out| {
        port.write(source, out)
    })
}

impl<P: Port> Outputs for P {
    fn describe(ports: &mut Vec<OutputPort>) {
        describe_port::<P>(SINGLE_PORT, ports);
    }
    fn begin(&mut self, source: &[u8]) {
        Port::begin(self, source);
    }
    #[inline(always)]
    fn at(&mut self, row: u32) {
        Port::at(self, row);
    }
    fn undo(&mut self) {
        Port::undo(self);
    }
    fn used(&self) -> u16 {
        u16::from(self.rows() > 0)
    }
    fn write(&self, source: &[u8], message: &mut MessageWriter<'_>) -> Result<(), WireError> {
        write_port(self, 0, source, message)
    }
}
