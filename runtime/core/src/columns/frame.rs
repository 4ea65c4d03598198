//! The bridge between Arrow arrays and frames.
//!
//! Owns: writing a batch message from arrays, reading a plugin's checked answer into arrays.
//! Does not own: the layout and its checks (`segno-wire`).
//!
//! Invariants: buffers are copied whole, once each way. Arrays read from an answer are in canonical form: null slots
//! zero, one NaN, offsets from zero.

use super::schema::arrow_type;
use super::ColumnType;
use arrow_array::builder::BinaryBuilder;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray, UInt32Array, make_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_select::take::take;
use segno_wire::message::{batch, effects, init};
use segno_wire::{BatchShape, Bits, Check, EffectsReader, Fault, FrameWriter, MessageKind, MessageWriter, Payload, WireError};
use std::ops::Range;

pub use segno_wire::Description;

/// A timer that fires within a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTimer {
    /// The record of the batch before which it fires; the number of records for one behind the last.
    pub before: u32,
    /// Index of its key among the batch's.
    pub key: u32,
    pub time: i64,
    pub number: u32,
    /// The watermark while it fires.
    pub watermark: i64,
}

/// Which rows of some arrays are meant.
#[derive(Clone, Debug)]
pub enum RowSet<'a> {
    Range(Range<usize>),
    Take(&'a [u32]),
}

impl RowSet<'_> {
    fn len(&self) -> usize {
        match self {
            RowSet::Range(range) => range.len(),
            RowSet::Take(rows) => rows.len(),
        }
    }

    fn select(&self, array: &ArrayRef) -> ArrayRef {
        match self {
            RowSet::Range(range) => array.slice(range.start, range.len()),
            RowSet::Take(rows) => {
                let indices = UInt32Array::new(ScalarBuffer::from(rows.to_vec()), None);
                take(array, &indices, None).expect("row numbers are within the array")
            }
        }
    }
}

/// Writes arrays (all of `rows` rows) as one frame.
pub fn write_frame(out: &mut Vec<u8>, columns: &[ArrayRef], types: &[ColumnType], rows: usize) -> Result<(), WireError> {
    let mut frame = FrameWriter::begin(out, rows as u32, columns.len() as u16);
    for (array, ty) in columns.iter().zip(types) {
        write_column(&mut frame, array, *ty)?;
    }
    frame.finish()
}

fn write_column(frame: &mut FrameWriter<'_>, array: &ArrayRef, ty: ColumnType) -> Result<(), WireError> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let validity = nulls.map(|nulls| Bits { bytes: nulls.inner().values(), offset: nulls.inner().offset() });
    let data = array.to_data();
    match ty {
        ColumnType::Bool => {
            let values = array.as_any().downcast_ref::<BooleanArray>().expect("a bool column").values();
            frame.column(ty, validity, Payload::Bits(Bits { bytes: values.values(), offset: values.offset() }))
        }
        ColumnType::Utf8 | ColumnType::Binary => {
            let offsets = &data.buffers()[0].as_slice()[data.offset() * 4..(data.offset() + data.len() + 1) * 4];
            frame.column(ty, validity, Payload::Variable { offsets, data: data.buffers()[1].as_slice() })
        }
        fixed => {
            let width = fixed.width().expect("a fixed width");
            let values = &data.buffers()[0].as_slice()[data.offset() * width..(data.offset() + data.len()) * width];
            frame.column(ty, validity, Payload::Fixed(values))
        }
    }
}

/// Writes a batch message into a reused buffer, section by section in the order of their kinds.
pub struct BatchMessage<'o> {
    message: MessageWriter<'o>,
}

impl<'o> BatchMessage<'o> {
    /// `sections`: one for the columns, for a keyed step one for the keys and one for each table, one for due timers, one
    /// for times, one for watermarks.
    pub fn new(out: &'o mut Vec<u8>, sections: usize) -> BatchMessage<'o> {
        BatchMessage { message: MessageWriter::begin(out, MessageKind::Batch, sections as u16) }
    }

    pub fn columns(&mut self, columns: &[ArrayRef], types: &[ColumnType], rows: &RowSet<'_>) -> Result<(), WireError> {
        self.message.section(batch::COLUMNS, 0, |out| {
            let selected: Vec<ArrayRef> = columns.iter().map(|array| rows.select(array)).collect();
            write_frame(out, &selected, types, rows.len())
        })
    }

    /// For each row the index of its key.
    pub fn row_keys(&mut self, keys: &[u32]) -> Result<(), WireError> {
        self.message.section(batch::KEYS, 0, |out| {
            let mut frame = FrameWriter::begin(out, keys.len() as u32, 1);
            frame.column(ColumnType::U32, None, Payload::Fixed(u32_bytes(keys)))?;
            frame.finish()
        })
    }

    /// For each distinct key its value in a table.
    pub fn states<'v>(&mut self, table: u16, values: impl Iterator<Item = Option<&'v [u8]>>) -> Result<(), WireError> {
        self.message.section(batch::STATES, table, |out| {
            let mut builder = BinaryBuilder::new();
            for value in values {
                builder.append_option(value);
            }
            let array: ArrayRef = std::sync::Arc::new(builder.finish());
            let rows = array.len();
            write_frame(out, &[array], &[ColumnType::Binary], rows)
        })
    }

    /// Due timers, in the order in which they fire. Written only when there are any.
    pub fn timers(&mut self, timers: &[DueTimer]) -> Result<(), WireError> {
        let column = |field: fn(&DueTimer) -> u32| timers.iter().map(field).collect::<Vec<u32>>();
        let (before, keys, numbers) = (column(|one| one.before), column(|one| one.key), column(|one| one.number));
        let times: Vec<i64> = timers.iter().map(|one| one.time).collect();
        let watermarks: Vec<i64> = timers.iter().map(|one| one.watermark).collect();
        self.message.section(batch::TIMERS, 0, |out| {
            let mut frame = FrameWriter::begin(out, timers.len() as u32, 5);
            frame.column(ColumnType::U32, None, Payload::Fixed(u32_bytes(&before)))?;
            frame.column(ColumnType::U32, None, Payload::Fixed(u32_bytes(&keys)))?;
            frame.column(ColumnType::Timestamp, None, Payload::Fixed(i64_bytes(&times)))?;
            frame.column(ColumnType::U32, None, Payload::Fixed(u32_bytes(&numbers)))?;
            frame.column(ColumnType::Timestamp, None, Payload::Fixed(i64_bytes(&watermarks)))?;
            frame.finish()
        })
    }

    /// How the watermark moves: (record of the batch, watermark from it on).
    pub fn watermarks(&mut self, moves: &[(u32, i64)]) -> Result<(), WireError> {
        let rows: Vec<u32> = moves.iter().map(|one| one.0).collect();
        let values: Vec<i64> = moves.iter().map(|one| one.1).collect();
        self.message.section(batch::WATERMARKS, 0, |out| {
            let mut frame = FrameWriter::begin(out, moves.len() as u32, 2);
            frame.column(ColumnType::U32, None, Payload::Fixed(u32_bytes(&rows)))?;
            frame.column(ColumnType::Timestamp, None, Payload::Fixed(i64_bytes(&values)))?;
            frame.finish()
        })
    }

    pub fn times(&mut self, times: &ArrayRef, rows: &RowSet<'_>) -> Result<(), WireError> {
        self.message.section(batch::TIMES, 0, |out| {
            write_frame(out, &[rows.select(times)], &[ColumnType::Timestamp], rows.len())
        })
    }

    pub fn finish(self) -> Result<(), WireError> {
        self.message.finish()
    }
}

/// Row numbers as bytes. Frames are little-endian, and so is every machine that Segno runs on.
fn u32_bytes(values: &[u32]) -> &[u8] {
    const { assert!(cfg!(target_endian = "little")) };
    // SAFETY: u32 has no padding, and any alignment is fine for bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values)) }
}

fn i64_bytes(values: &[i64]) -> &[u8] {
    // SAFETY: i64 has no padding, and any alignment is fine for bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values)) }
}

/// The init message: configuration as JSON, side tables in the order of the description.
pub fn init_message(config: &serde_json::Value, tables: &[(RecordBatch, Vec<ColumnType>)]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Init, 1 + tables.len() as u16);
    message.section(init::CONFIG, 0, |out| {
        out.extend_from_slice(config.to_string().as_bytes());
        Ok(())
    })?;
    for (number, (rows, types)) in tables.iter().enumerate() {
        message.section(init::SIDE_TABLE, number as u16, |out| {
            write_frame(out, rows.columns(), types, rows.num_rows())
        })?;
    }
    message.finish()?;
    Ok(out)
}

/// What a plugin may answer at most.
#[derive(Clone, Copy, Debug)]
pub struct EffectsLimits {
    pub output_bytes: u64,
    pub mutations: u64,
}

/// The rows of one output port.
#[derive(Clone, Debug)]
pub struct PortEffects {
    pub port: usize,
    /// Events of the batch, not descending.
    pub causes: Vec<u32>,
    /// The port's declared columns.
    pub columns: Vec<ArrayRef>,
}

/// The changes of one table.
#[derive(Clone, Debug)]
pub struct TableMutations {
    pub table: usize,
    keys: Vec<u32>,
    values: BinaryArray,
}

impl TableMutations {
    /// (key index of the batch, new value; `None` deletes), key indices strictly ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        self.keys.iter().copied().zip(self.values.iter())
    }
}

/// A plugin's answer, checked and copied out of its memory.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    pub ports: Vec<PortEffects>,
    pub mutations: Vec<TableMutations>,
    /// In the order of their causes.
    pub timers: Vec<TimerChange>,
    /// (event of the batch, reason), events strictly ascending.
    pub rejects: Vec<(u32, String)>,
}

/// A timer that the plugin sets or deletes, for the key of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// Event of the batch.
    pub cause: u32,
    pub time: i64,
    pub number: u32,
    /// False: it is deleted.
    pub set: bool,
}

/// Why an answer is refused.
#[derive(Clone, Debug)]
pub enum Malformed {
    /// `why`: what is wrong, and where, in the words of the plugin's description.
    Wire { fault: Fault, why: String },
    TooManyBytes { bytes: u64, limit: u64 },
    TooManyMutations { mutations: u64, limit: u64 },
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Wire { why, .. } => write!(f, "malformed answer: {why}"),
            Malformed::TooManyBytes { bytes, limit } => {
                write!(f, "the answer has {bytes} bytes, limits.output_bytes allows {limit}")
            }
            Malformed::TooManyMutations { mutations, limit } => {
                write!(f, "the answer changes {mutations} state values and timers, limits.mutations allows {limit}")
            }
        }
    }
}

/// A fault and its place, as the author of the plugin calls it.
fn in_words(error: &WireError, description: &Description) -> String {
    let mut places = Vec::new();
    match error.section {
        Some((effects::OUTPUT, port)) => {
            let port = description.outputs.get(port as usize);
            places.extend(port.map(|port| format!("port {}", port.name)));
            // The first column of a frame is the cause of each row.
            places.extend(error.column.map(|column| match (column, port) {
                (0, _) | (_, None) => "the causes of its rows".to_owned(),
                (column, Some(port)) => port.columns.get(column as usize - 1).map_or_else(|| "too many columns".to_owned(), |one| format!("column {}", one.name)),
            }));
        }
        Some((effects::MUTATIONS, table)) => places.extend(description.tables.get(table as usize).map(|table| format!("table {}", table.name))),
        Some((effects::TIMERS, _)) => places.push("timers".to_owned()),
        Some((effects::REJECTS, _)) => places.push("rejected records".to_owned()),
        _ => {}
    }
    places.extend(error.row.map(|row| format!("row {row}")));
    match places.is_empty() {
        true => error.fault.text().to_owned(),
        false => format!("{} ({})", error.fault.text(), places.join(", ")),
    }
}

/// Bytes of an answer, whatever the limit says: Arrow's offsets have 31 bits.
const ANSWER_BYTES_MAX: u64 = i32::MAX as u64;

/// Checks and reads a plugin's answer to a batch.
pub fn parse_effects(
    bytes: &[u8],
    description: &Description,
    batch: &BatchShape<'_>,
    limits: &EffectsLimits,
) -> Result<Effects, Malformed> {
    let limit = limits.output_bytes.min(ANSWER_BYTES_MAX);
    if bytes.len() as u64 > limit {
        return Err(Malformed::TooManyBytes { bytes: bytes.len() as u64, limit });
    }
    let answer = EffectsReader::parse(bytes, description, batch, Check::Values)
        .map_err(|error| Malformed::Wire { fault: error.fault, why: in_words(&error, description) })?;
    let mut effects = Effects::default();
    for (number, port) in description.outputs.iter().enumerate() {
        let Some(frame) = answer.output(number as u16) else { continue };
        let causes = frame.column(0).map(|column| u32s(column.data())).unwrap_or_default();
        let mut columns = Vec::with_capacity(port.columns.len());
        for (index, declared) in port.columns.iter().enumerate() {
            if let Some(column) = frame.column(index + 1) {
                columns.push(read_column(&column, declared.kind));
            }
        }
        effects.ports.push(PortEffects { port: number, causes, columns });
    }
    let mut mutations = 0;
    for table in 0..description.tables.len() {
        let Some(frame) = answer.mutations(table as u16) else { continue };
        mutations += frame.rows() as u64;
        if mutations > limits.mutations {
            return Err(Malformed::TooManyMutations { mutations, limit: limits.mutations });
        }
        let (Some(keys), Some(values)) = (frame.column(0), frame.column(1)) else { continue };
        let values = read_column(&values, ColumnType::Binary);
        let values = values.as_any().downcast_ref::<BinaryArray>().expect("a binary column").clone();
        effects.mutations.push(TableMutations { table, keys: u32s(keys.data()), values });
    }
    if let Some(frame) = answer.timers() {
        mutations += frame.rows() as u64;
        if mutations > limits.mutations {
            return Err(Malformed::TooManyMutations { mutations, limit: limits.mutations });
        }
        if let (Some(causes), Some(times), Some(numbers), Some(sets)) =
            (frame.column(0), frame.column(1), frame.column(2), frame.column(3))
        {
            let times = times.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
            let sets = BooleanBuffer::new(Buffer::from(sets.data()), 0, frame.rows());
            let columns = u32s(causes.data()).into_iter().zip(times).zip(u32s(numbers.data())).zip(sets.iter());
            effects.timers =
                columns.map(|(((cause, time), number), set)| TimerChange { cause, time, number, set }).collect();
        }
    }
    if let Some(frame) = answer.rejects()
        && let (Some(causes), Some(reasons)) = (frame.column(0), frame.column(1))
    {
        effects.rejects =
            u32s(causes.data()).into_iter().enumerate().map(|(row, cause)| (cause, reasons.str_at(row).to_owned())).collect();
    }
    Ok(effects)
}

fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
}

/// Copies a checked column into an Arrow array, in canonical form.
fn read_column(column: &segno_wire::Column<'_>, ty: ColumnType) -> ArrayRef {
    let rows = column.rows();
    let nulls = column
        .validity()
        .map(|bits| NullBuffer::new(BooleanBuffer::new(Buffer::from(bits), 0, rows)))
        .filter(|nulls| nulls.null_count() > 0);
    let mut data = MutableBuffer::from_len_zeroed(0);
    data.extend_from_slice(column.data());
    match ty {
        ColumnType::Bool => {
            let values = BooleanBuffer::new(data.into(), 0, rows);
            std::sync::Arc::new(BooleanArray::new(mask_bits(values, nulls.as_ref()), nulls))
        }
        ColumnType::Utf8 | ColumnType::Binary => {
            let mut offsets: Vec<i32> =
                column.offsets().iter().map(|offset| u32::from_le_bytes(*offset) as i32).collect();
            if let Some(nulls) = &nulls {
                drop_bytes_of_nulls(&mut offsets, &mut data, nulls);
            }
            // SAFETY: `EffectsReader::parse` has checked that offsets ascend from zero to the data's length.
            let offsets = unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets)) };
            if ty == ColumnType::Utf8 {
                // SAFETY: it has checked that each value is UTF-8.
                std::sync::Arc::new(unsafe { StringArray::new_unchecked(offsets, data.into(), nulls) })
            } else {
                std::sync::Arc::new(BinaryArray::new(offsets, data.into(), nulls))
            }
        }
        fixed => {
            let width = fixed.width().expect("a fixed width");
            if let Some(nulls) = &nulls {
                for row in (0..rows).filter(|&row| nulls.is_null(row)) {
                    data.as_slice_mut()[row * width..(row + 1) * width].fill(0);
                }
            }
            if fixed == ColumnType::F64 {
                for value in data.as_slice_mut().as_chunks_mut::<8>().0 {
                    if f64::from_le_bytes(*value).is_nan() {
                        *value = segno_wire::CANONICAL_NAN.to_le_bytes();
                    }
                }
            }
            let array = arrow_data::ArrayData::builder(arrow_type(fixed))
                .len(rows)
                .add_buffer(data.into())
                .nulls(nulls)
                .build()
                .expect("a buffer of rows times width");
            make_array(array)
        }
    }
}

/// A null holds no bytes: values move together over what nulls held.
fn drop_bytes_of_nulls(offsets: &mut [i32], data: &mut MutableBuffer, nulls: &NullBuffer) {
    let mut kept = 0;
    let mut start = offsets[0] as usize;
    for row in 0..offsets.len() - 1 {
        let end = offsets[row + 1] as usize;
        if nulls.is_valid(row) {
            data.as_slice_mut().copy_within(start..end, kept);
            kept += end - start;
        }
        start = end;
        // Not greater than `end`, which was held.
        offsets[row + 1] = kept as i32;
    }
    data.truncate(kept);
}

fn mask_bits(values: BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls {
        Some(nulls) => &values & nulls.inner(),
        None => values,
    }
}
