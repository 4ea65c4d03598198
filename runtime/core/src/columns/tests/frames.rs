//! Frames: what is written is read back, a plugin's answer is refused when malformed and canonical when not.

use super::{Cell, TYPES, array, cells, columns, fixture, sliced};
use crate::columns::frame::{BatchMessage, Description, Effects, EffectsLimits, Malformed, RowSet, parse_effects};
use crate::columns::ColumnType;
use arrow_array::{Array, ArrayRef};
use proptest::prelude::*;
use segno_wire::describe::{ColumnSpec, OutputKind, OutputPort};
use segno_wire::message::{batch, effects};
use segno_wire::{
    BatchShape, Bits, Check, FrameReader, FrameWriter, MessageKind, MessageReader, MessageWriter, Payload, Value,
};

const FREE: EffectsLimits = EffectsLimits { output_bytes: 1 << 20, mutations: 1 << 20 };

fn vectors() -> serde_json::Value {
    fixture(include_str!("../../../../../wit/vectors/effects.json"))
}

fn description(json: &serde_json::Value) -> Description {
    Description::parse(json.to_string().as_bytes()).expect("a description")
}

/// One emitting port with one column for each type.
fn one_port(types: &[ColumnType]) -> Description {
    let mut description = description(&vectors()["description"]);
    description.tables.clear();
    let spec = |(number, ty): (usize, &ColumnType)| ColumnSpec { name: format!("c{number}"), kind: *ty, nullable: true };
    let columns = types.iter().enumerate().map(spec).collect();
    description.outputs = vec![OutputPort { name: "out".into(), kind: OutputKind::Emit, columns }];
    description
}

fn value_cell(value: Value<'_>) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Int(value.into()),
        Value::I32(value) | Value::Date(value) => Cell::Int(value.into()),
        Value::U32(value) => Cell::Int(value.into()),
        Value::I64(value) | Value::Timestamp(value) => Cell::Int(value.into()),
        Value::U64(value) => Cell::Int(value.into()),
        Value::F64(value) => Cell::Float(value),
        Value::Utf8(value) => Cell::Bytes(value.as_bytes().to_vec()),
        Value::Binary(value) => Cell::Bytes(value.to_vec()),
        Value::Decimal128(value) => Cell::Int(value),
    }
}

/// The columns of a batch message, checked to be canonical.
fn written(arrays: &[ArrayRef], types: &[ColumnType], rows: &RowSet<'_>) -> (Vec<u8>, Vec<Vec<Cell>>) {
    let mut out = Vec::new();
    let mut message = BatchMessage::new(&mut out, 1);
    message.columns(arrays, types, rows).unwrap();
    message.finish().unwrap();
    let section = MessageReader::parse(&out, MessageKind::Batch).unwrap();
    let frame = FrameReader::parse(section.section(batch::COLUMNS, 0).unwrap(), Check::Canonical).unwrap();
    let read = (0..types.len())
        .map(|index| {
            let column = frame.expect(index, types[index], true).unwrap();
            (0..frame.rows()).map(|row| value_cell(column.value_at(row))).collect()
        })
        .collect();
    (out, read)
}

proptest! {
    #[test]
    fn a_range_and_a_take_write_the_rows_that_they_name(columns in columns(1..40), skip in 0usize..20,
            ends in any::<(prop::sample::Index, prop::sample::Index)>(), take in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
        let rows = columns[0].1.len();
        let types: Vec<ColumnType> = columns.iter().map(|(ty, _)| *ty).collect();
        let arrays: Vec<ArrayRef> = columns.iter().map(|(ty, cells)| sliced(*ty, cells, skip)).collect();
        let (a, b) = (ends.0.index(rows + 1), ends.1.index(rows + 1));
        let range = a.min(b)..a.max(b);
        let (bytes, read) = written(&arrays, &types, &RowSet::Range(range.clone()));
        for ((_, cells), read) in columns.iter().zip(&read) {
            prop_assert_eq!(&cells[range.clone()], read.as_slice());
        }
        // A take of the same rows gives the same bytes.
        let same: Vec<u32> = range.map(|row| row as u32).collect();
        prop_assert_eq!(written(&arrays, &types, &RowSet::Take(&same)).0, bytes);
        let take: Vec<u32> = take.iter().map(|index| index.index(rows) as u32).collect();
        let (_, read) = written(&arrays, &types, &RowSet::Take(&take));
        for ((_, cells), read) in columns.iter().zip(&read) {
            let wanted: Vec<Cell> = take.iter().map(|&row| cells[row as usize].clone()).collect();
            prop_assert_eq!(&wanted, read);
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(columns in columns(0..40), skip in 0usize..20) {
        let rows = columns[0].1.len();
        let types: Vec<ColumnType> = columns.iter().map(|(ty, _)| *ty).collect();
        let arrays: Vec<ArrayRef> = columns.iter().map(|(ty, cells)| sliced(*ty, cells, skip)).collect();
        let causes: ArrayRef = std::sync::Arc::new(arrow_array::UInt32Array::from_iter_values(0..rows as u32));
        let mut out = Vec::new();
        let mut message = MessageWriter::begin(&mut out, MessageKind::Effects, 1);
        message.section(effects::OUTPUT, 0, |out| {
            let arrays: Vec<ArrayRef> = std::iter::once(causes).chain(arrays).collect();
            let types: Vec<ColumnType> = std::iter::once(ColumnType::U32).chain(types.iter().copied()).collect();
            crate::columns::frame::write_frame(out, &arrays, &types, rows)
        }).unwrap();
        message.finish().unwrap();
        let read = parse_effects(&out, &one_port(&types), &BatchShape::of_records(rows, 0), &FREE).unwrap();
        for ((ty, wanted), found) in columns.iter().zip(&read.ports[0].columns) {
            prop_assert_eq!(found.data_type(), &crate::columns::schema::arrow_type(*ty));
            prop_assert_eq!(wanted, &cells(found));
            found.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn a_damaged_answer_is_refused_or_read_and_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>())) {
        let vectors = vectors();
        let description = description(&vectors["description"]);
        let mut bytes = hex::decode(vectors["cases"][1]["hex"].as_str().unwrap()).unwrap();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(effects) = parse_effects(&bytes, &description, &EFFECTS_BATCH, &FREE) {
            for column in effects.ports.iter().flat_map(|port| &port.columns) {
                column.to_data().validate_full().unwrap();
            }
        }
    }
}

#[test]
fn every_malformed_vector_is_refused_and_every_other_read() {
    let vectors = vectors();
    let description = description(&vectors["description"]);
    for case in vectors["cases"].as_array().unwrap() {
        let bytes = hex::decode(case["hex"].as_str().unwrap()).unwrap();
        let number = |name: &str| vectors[name].as_u64().unwrap() as usize;
        let timers: Vec<u32> = serde_json::from_value(vectors["timers"].clone()).unwrap();
        let (events, keys) = (number("events"), number("keys"));
        let fault = match parse_effects(&bytes, &description, &BatchShape { events, timers: &timers, keys }, &FREE) {
            Ok(_) => None,
            Err(Malformed::Wire { fault, .. }) => Some(fault.name()),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(fault, case["fault"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn every_malformed_frame_vector_is_refused_inside_an_answer() {
    let frames = fixture(include_str!("../../../../../wit/vectors/frames.json"));
    let mut refused = 0;
    for case in frames["malformed"].as_array().unwrap().iter().filter(|case| case["check"] == "values") {
        let mut frame = hex::decode(case["hex"].as_str().unwrap()).unwrap();
        frame.resize(frame.len().next_multiple_of(8), 0);
        let mut out = Vec::new();
        let mut message = MessageWriter::begin(&mut out, MessageKind::Effects, 1);
        message.section(effects::OUTPUT, 0, |out| { out.extend_from_slice(&frame); Ok(()) }).unwrap();
        message.finish().unwrap();
        assert!(parse_effects(&out, &one_port(&TYPES[..1]), &BatchShape::of_records(100, 0), &FREE).is_err(), "{}", case["name"]);
        refused += 1;
    }
    assert!(refused > 10);
}

/// What the vectors' answers are for.
const EFFECTS_BATCH: BatchShape<'static> = BatchShape { events: 4, timers: &[3], keys: 2 };

fn everything() -> (Vec<u8>, Description) {
    let vectors = vectors();
    (hex::decode(vectors["cases"][1]["hex"].as_str().unwrap()).unwrap(), description(&vectors["description"]))
}

#[test]
fn an_answer_has_causes_mutations_and_rejects() {
    let (bytes, description) = everything();
    let Effects { ports, mutations, rejects, timers } = parse_effects(&bytes, &description, &EFFECTS_BATCH, &FREE).unwrap();
    assert_eq!((ports[0].port, ports[0].causes.as_slice(), ports[0].columns.len()), (0, &[0, 2][..], 0));
    assert_eq!((ports[1].port, ports[1].causes.len(), ports[1].columns.len()), (1, 3, 2));
    let value: &[u8] = &[1, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    assert_eq!(mutations[0].iter().collect::<Vec<_>>(), [(0, Some(value)), (1, None)]);
    assert_eq!(rejects, [(1, "no".to_owned())]);
    assert!(timers.is_empty());
}

#[test]
fn an_answer_beyond_a_limit_is_refused() {
    let (bytes, description) = everything();
    let limits = |output_bytes, mutations| EffectsLimits { output_bytes, mutations };
    let parse = |limits| parse_effects(&bytes, &description, &EFFECTS_BATCH, &limits);
    assert!(parse(limits(bytes.len() as u64, 2)).is_ok());
    assert!(matches!(parse(limits(bytes.len() as u64 - 1, 2)), Err(Malformed::TooManyBytes { .. })));
    assert!(matches!(parse(limits(1 << 20, 1)), Err(Malformed::TooManyMutations { mutations: 2, limit: 1 })));
}

#[test]
fn an_answer_whose_offsets_could_not_be_held_is_refused_whatever_the_limit() {
    let (_, description) = everything();
    // Zeroed memory that is never touched, because the length is looked at first.
    let bytes = vec![0; (1 << 31) + 8];
    let limits = EffectsLimits { output_bytes: u64::MAX, mutations: 1 };
    let refused = parse_effects(&bytes, &description, &EFFECTS_BATCH, &limits);
    assert!(matches!(refused, Err(Malformed::TooManyBytes { limit: 0x7fff_ffff, .. })), "{refused:?}");
}

/// The second column of an answer with causes, written by hand so that null slots and NaNs are not canonical.
fn careless(ty: ColumnType, validity: u8, payload: Payload<'_>) -> ArrayRef {
    let rows = 3;
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Effects, 1);
    message.section(effects::OUTPUT, 0, |out| {
        let mut frame = FrameWriter::begin(out, rows, 2);
        frame.column(ColumnType::U32, None, Payload::Fixed(&[0; 12]))?;
        // All valid bits but one, so that the bitmap is written and the values are kept: the bit is cleared below.
        frame.column(ty, Some(Bits::new(&[0b101])), payload)?;
        frame.finish()
    }).unwrap();
    message.finish().unwrap();
    // Sections begin after the header and one entry; the second descriptor after the frame's header and the first.
    let frame = 16 + 16;
    let descriptor = frame + 16 + 24;
    let at = |field: usize| u32::from_le_bytes(out[descriptor + field..][..4].try_into().unwrap()) as usize;
    let at_bits = frame + at(4);
    out[at_bits] = validity;
    parse_effects(&out, &one_port(&[ty]), &BatchShape::of_records(rows as usize, 0), &FREE).unwrap().ports[0].columns[0].clone()
}

#[test]
fn null_slots_of_an_answer_become_zero() {
    let seven: Vec<u8> = [7i64; 3].iter().flat_map(|value| value.to_le_bytes()).collect();
    let fixed = careless(ColumnType::I64, 0b010, Payload::Fixed(&seven));
    assert_eq!(fixed.to_data().buffers()[0].as_slice(), [0; 24], "rows 0 and 2 null, row 1 zero already");
    let bits = careless(ColumnType::Bool, 0b1111_1010, Payload::Bits(Bits::new(&[0b111])));
    assert_eq!(bits.to_data().buffers()[0].as_slice()[0] & 0b111, 0);
    let offsets: Vec<u8> = [0u32, 2, 4, 6].iter().flat_map(|value| value.to_le_bytes()).collect();
    for ty in [ColumnType::Utf8, ColumnType::Binary] {
        let text = careless(ty, 0b100, Payload::Variable { offsets: &offsets, data: b"aabbcc" });
        assert_eq!(cells(&text), [Cell::Null, Cell::Null, Cell::Bytes(b"cc".to_vec())]);
        assert_eq!(text.to_data().buffers()[1].as_slice(), b"cc", "{ty}: bytes behind nulls are gone");
        assert_eq!(text.to_data().buffers()[0].as_slice(), [0u32, 0, 0, 2].map(u32::to_le_bytes).as_flattened());
    }
}

#[test]
fn every_nan_of_an_answer_becomes_one() {
    let rows = 2;
    let nans = [f64::from_bits(0xfff8_0000_0000_0001), f64::from_bits(0x7ff0_0000_0000_0001)];
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Effects, 1);
    message.section(effects::OUTPUT, 0, |out| {
        let mut frame = FrameWriter::begin(out, rows, 2);
        frame.column(ColumnType::U32, None, Payload::Fixed(&[0; 8]))?;
        frame.column(ColumnType::I64, None, Payload::Fixed(nans.map(f64::to_le_bytes).as_flattened()))?;
        frame.finish()
    }).unwrap();
    message.finish().unwrap();
    out[16 + 16 + 16 + 24] = ColumnType::F64.tag();
    let read = parse_effects(&out, &one_port(&[ColumnType::F64]), &BatchShape::of_records(2, 0), &FREE).unwrap();
    let canonical = segno_wire::CANONICAL_NAN.to_le_bytes();
    assert_eq!(read.ports[0].columns[0].to_data().buffers()[0].as_slice(), [canonical; 2].as_flattened());
}

#[test]
fn state_values_are_written_in_order_with_nulls() {
    let mut out = Vec::new();
    let mut message = BatchMessage::new(&mut out, 3);
    message.row_keys(&[0, 2, 1]).unwrap();
    message.states(0, [Some(&b"a"[..]), None, Some(b"")].into_iter()).unwrap();
    let times = array(ColumnType::Timestamp, &[Cell::Int(1), Cell::Int(2), Cell::Int(3)]);
    message.times(&times, &RowSet::Take(&[2, 0, 1])).unwrap();
    message.finish().unwrap();
    let reader = MessageReader::parse(&out, MessageKind::Batch).unwrap();
    let column = |kind, ty| {
        let frame = FrameReader::parse(reader.section(kind, 0).unwrap(), Check::Canonical).unwrap();
        let column = frame.expect(0, ty, true).unwrap();
        (0..3).map(|row| value_cell(column.value_at(row))).collect::<Vec<_>>()
    };
    assert_eq!(column(batch::KEYS, ColumnType::U32), [Cell::Int(0), Cell::Int(2), Cell::Int(1)]);
    assert_eq!(column(batch::STATES, ColumnType::Binary), [Cell::Bytes(b"a".to_vec()), Cell::Null, Cell::Bytes(vec![])]);
    assert_eq!(column(batch::TIMES, ColumnType::Timestamp), [Cell::Int(3), Cell::Int(1), Cell::Int(2)]);
}
