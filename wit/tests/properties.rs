//! Random columns come back as they were, however a host holds them; random damage never makes a reader panic.

use proptest::prelude::*;
use segno_wire::{
    Bits, CANONICAL_NAN, Check, ColumnType, FrameReader, FrameWriter, MessageKind, MessageReader,
    MessageWriter, Payload, Value,
};

/// A nullable column of 64-bit floats, with every kind of NaN among them.
fn floats() -> impl Strategy<Value = Vec<Option<u64>>> {
    let bits = prop_oneof![
        any::<u64>(),
        (0x7ff0_0000_0000_0001_u64..0x8000_0000_0000_0000),
        Just(0)
    ];
    prop::collection::vec(prop::option::of(bits), 0..70)
}

fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::of("\\PC{0,12}"), 0..70)
}

/// Bits as in a slice of a larger Arrow array: they start anywhere, and other bits are around them.
fn pack(values: impl Iterator<Item = bool>, offset: usize, around: bool) -> Vec<u8> {
    let mut flags = vec![around; offset];
    flags.extend(values);
    flags.resize(flags.len() + 11, around);
    flags
        .chunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .enumerate()
                .fold(0, |byte, (bit, flag)| byte | u8::from(*flag) << bit)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_buffers_with_garbage_in_them_make_canonical_frames(
        values in floats(),
        words in texts(),
        offset in 0_usize..17,
        around in any::<bool>(),
        garbage in any::<u64>(),
    ) {
        let rows = values.len().min(words.len());
        let (values, words) = (&values[..rows], &words[..rows]);
        let floats: Vec<u8> = values.iter().flat_map(|value| value.unwrap_or(garbage).to_le_bytes()).collect();
        let valid_floats = pack(values.iter().map(Option::is_some), offset, around);
        let valid_words = pack(words.iter().map(Option::is_some), offset, around);
        let flags = pack(values.iter().map(|value| value.unwrap_or(garbage) & 1 == 1), offset, around);
        // Offsets from somewhere, with bytes hidden under nulls.
        let mut data = b"before".to_vec();
        let mut offsets = (data.len() as u32).to_le_bytes().to_vec();
        for word in words {
            data.extend_from_slice(word.as_deref().unwrap_or(&"\u{0}hidden"[..garbage as usize % 8]).as_bytes());
            offsets.extend_from_slice(&(data.len() as u32).to_le_bytes());
        }
        data.extend_from_slice(b"after");

        let mut out = Vec::new();
        let mut frame = FrameWriter::begin(&mut out, rows as u32, 3);
        let validity = |bytes| Some(Bits { bytes, offset });
        frame.column(ColumnType::F64, validity(&valid_floats), Payload::Fixed(&floats)).unwrap();
        frame.column(ColumnType::Bool, validity(&valid_floats), Payload::Bits(Bits { bytes: &flags, offset })).unwrap();
        frame
            .column(ColumnType::Utf8, validity(&valid_words), Payload::Variable { offsets: &offsets, data: &data })
            .unwrap();
        frame.finish().unwrap();

        let frame = FrameReader::parse(&out, Check::Canonical).unwrap();
        for row in 0..rows {
            let value = |index: usize| frame.column(index).unwrap().value_at(row);
            match (values[row], value(0)) {
                (None, Value::Null) => {}
                (Some(wanted), Value::F64(value)) if f64::from_bits(wanted).is_nan() => {
                    prop_assert_eq!(value.to_bits(), CANONICAL_NAN);
                }
                (Some(wanted), Value::F64(value)) => prop_assert_eq!(value.to_bits(), wanted),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert_eq!(value(1), values[row].map_or(Value::Null, |bits| Value::Bool(bits & 1 == 1)));
            prop_assert_eq!(value(2), words[row].as_deref().map_or(Value::Null, Value::Utf8));
        }
    }

    #[test]
    fn a_damaged_message_never_makes_a_reader_panic(
        values in floats(),
        words in texts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let rows = values.len().min(words.len());
        let floats: Vec<u8> = values[..rows].iter().flat_map(|value| value.unwrap_or(0).to_le_bytes()).collect();
        let mut data = Vec::new();
        let mut offsets = vec![0; 4];
        for word in &words[..rows] {
            data.extend_from_slice(word.as_deref().unwrap_or_default().as_bytes());
            offsets.extend_from_slice(&(data.len() as u32).to_le_bytes());
        }
        let mut out = Vec::new();
        let mut message = MessageWriter::begin(&mut out, MessageKind::Init, 2);
        message.section(1, 0, |out| { out.extend_from_slice(b"{}"); Ok(()) }).unwrap();
        message.section(2, 0, |out| {
            let mut frame = FrameWriter::begin(out, rows as u32, 2);
            frame.column(ColumnType::F64, None, Payload::Fixed(&floats))?;
            frame.column(ColumnType::Utf8, None, Payload::Variable { offsets: &offsets, data: &data })?;
            frame.finish()
        }).unwrap();
        message.finish().unwrap();
        for (at, byte) in damage {
            let at = at.index(out.len());
            out[at] = byte;
        }
        if let Some(cut) = cut {
            out.truncate(cut.index(out.len() + 1));
        }
        // What is accepted can be read to the last value.
        if let Ok(message) = MessageReader::parse(&out, MessageKind::Init) {
            for section in message.sections() {
                let Ok(frame) = FrameReader::parse(section.bytes, Check::Values) else { continue };
                for column in frame.columns() {
                    let _ = (column.nulls(), column.first_null(), column.i64s());
                    for row in 0..frame.rows() {
                        let _ = column.value_at(row);
                    }
                }
            }
        }
    }
}
