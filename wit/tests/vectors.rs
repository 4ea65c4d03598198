//! Every vector of `vectors/`, read and where possible written again.

use std::collections::BTreeSet;

use segno_wire::describe::Description;
use segno_wire::json::Json;
use segno_wire::{
    BatchShape, Bits, BoolBuilder, Check, ColumnBuilder, ColumnType, EffectsReader, Fault, Fixed, FixedBuilder,
    FrameReader, FrameWriter, MessageKind, MessageReader, MessageWriter, Payload, Value,
    StateValue, VarBuilder, decode_state,
};

const FRAMES: &str = include_str!("../vectors/frames.json");
const MESSAGES: &str = include_str!("../vectors/messages.json");
const EFFECTS: &str = include_str!("../vectors/effects.json");
const STATES: &str = include_str!("../vectors/states.json");

fn parse(text: &'static str) -> Json<'static> {
    Json::parse(text.as_bytes()).unwrap()
}

fn list<'j>(json: &'j Json<'static>, name: &str) -> &'j [Json<'static>] {
    match json.get(name) {
        Some(Json::Array(items)) => items,
        other => panic!("`{name}` is not a list: {other:?}"),
    }
}

fn text<'j>(json: &'j Json<'static>, name: &str) -> &'j str {
    match json.get(name) {
        Some(Json::String(text)) => text,
        other => panic!("`{name}` is not a string: {other:?}"),
    }
}

fn number(json: &Json<'static>, name: &str) -> usize {
    match json.get(name) {
        Some(Json::Number(text)) => text.parse().unwrap(),
        other => panic!("`{name}` is not a number: {other:?}"),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2));
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as the vectors write it; nothing for null.
fn shown(value: Value<'_>) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::I32(value) | Value::Date(value) => value.to_string(),
        Value::I64(value) | Value::Timestamp(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::F64(value) => format!("{:016x}", value.to_bits()),
        Value::Utf8(value) => value.to_owned(),
        Value::Binary(value) => hex(value),
        Value::Decimal128(value) => value.to_string(),
    })
}

fn expected(value: &Json<'static>) -> Option<String> {
    match value {
        Json::Null => None,
        Json::Bool(value) => Some(value.to_string()),
        Json::String(text) => Some(text.clone().into_owned()),
        other => panic!("a value is not {other:?}"),
    }
}

/// Names of the faults that some vector shows.
fn seen(json: &Json<'static>, field: &str, into: &mut BTreeSet<String>) {
    for case in list(json, field) {
        if let Some(Json::String(fault)) = case.get("fault") {
            into.insert(fault.clone().into_owned());
        }
    }
}

#[test]
fn a_well_formed_frame_gives_its_values_and_is_canonical() {
    for case in list(&parse(FRAMES), "valid") {
        let name = text(case, "name");
        let bytes = unhex(text(case, "hex"));
        let frame = FrameReader::parse(&bytes, Check::Canonical)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(frame.rows(), number(case, "rows"), "{name}");
        let columns = list(case, "columns");
        assert_eq!(frame.width(), columns.len(), "{name}");
        for (column, wanted) in frame.columns().zip(columns) {
            let kind = text(wanted, "type").parse::<ColumnType>().unwrap();
            assert_eq!(column.kind(), kind, "{name}");
            let values: Vec<_> = (0..frame.rows())
                .map(|row| shown(column.value_at(row)))
                .collect();
            let wanted: Vec<_> = list(wanted, "values").iter().map(expected).collect();
            assert_eq!(values, wanted, "{name}: {kind}");
            assert_eq!(
                column.nulls(),
                wanted.iter().filter(|value| value.is_none()).count(),
                "{name}: {kind}"
            );
        }
    }
}

#[test]
fn the_same_buffers_make_the_same_frame() {
    for case in list(&parse(FRAMES), "valid") {
        let bytes = unhex(text(case, "hex"));
        let frame = FrameReader::parse(&bytes, Check::Canonical).unwrap();
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, frame.rows() as u32, frame.width() as u16);
        for column in frame.columns() {
            let payload = match column.kind() {
                ColumnType::Bool => Payload::Bits(Bits::new(column.data())),
                kind if kind.is_variable() => Payload::Variable {
                    offsets: column.offsets().as_flattened(),
                    data: column.data(),
                },
                _ => Payload::Fixed(column.data()),
            };
            writer
                .column(column.kind(), column.validity().map(Bits::new), payload)
                .unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(hex(&out), hex(&bytes), "{}", text(case, "name"));
    }
}

#[test]
fn the_same_values_make_the_same_frame() {
    fn fill<B: ColumnBuilder>(
        frame: &FrameReader<'_>,
        index: usize,
        writer: &mut FrameWriter<'_>,
        push: impl Fn(&mut B, Value<'_>),
    ) {
        let column = frame.column(index).unwrap();
        let mut builder = B::default();
        builder.begin(frame.bytes());
        // A row too many, taken back, leaves no trace.
        for row in (0..frame.rows()).chain(0..frame.rows().min(1)) {
            match column.value_at(row) {
                Value::Null => builder.push_null(),
                value => push(&mut builder, value),
            }
        }
        builder.truncate(frame.rows());
        builder.write(column.kind(), frame.bytes(), writer).unwrap();
    }
    fn numbers<T: Fixed>(
        frame: &FrameReader<'_>,
        index: usize,
        writer: &mut FrameWriter<'_>,
        get: impl Fn(Value<'_>) -> T,
    ) {
        fill::<FixedBuilder<T>>(frame, index, writer, |builder, value| {
            builder.push(get(value))
        });
    }
    for case in list(&parse(FRAMES), "valid") {
        let bytes = unhex(text(case, "hex"));
        let frame = FrameReader::parse(&bytes, Check::Canonical).unwrap();
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, frame.rows() as u32, frame.width() as u16);
        for (index, column) in frame.columns().enumerate() {
            let out = &mut writer;
            macro_rules! number {
                ($($variant:ident)|+) => {
                    numbers(&frame, index, out, |value| match value {
                        $(Value::$variant(value) => value,)+
                        _ => unreachable!(),
                    })
                };
            }
            match column.kind() {
                ColumnType::Bool => fill::<BoolBuilder>(&frame, index, out, |builder, value| {
                    builder.push(value == Value::Bool(true));
                }),
                ColumnType::I32 | ColumnType::Date => number!(I32 | Date),
                ColumnType::I64 | ColumnType::Timestamp => number!(I64 | Timestamp),
                ColumnType::U64 => number!(U64),
                ColumnType::U32 => number!(U32),
                ColumnType::F64 => number!(F64),
                ColumnType::Decimal128 { .. } => number!(Decimal128),
                ColumnType::Utf8 | ColumnType::Binary => {
                    fill::<VarBuilder>(&frame, index, out, |builder, value| match value {
                        Value::Utf8(value) => builder.push(value.as_bytes()),
                        Value::Binary(value) => {
                            // Not in the source, so that it is copied.
                            let own = value.to_vec();
                            builder.push(&own);
                        }
                        _ => unreachable!(),
                    })
                }
            }
        }
        writer.finish().unwrap();
        assert_eq!(hex(&out), hex(&bytes), "{}", text(case, "name"));
    }
}

#[test]
fn a_malformed_frame_is_refused_by_its_name() {
    for case in list(&parse(FRAMES), "malformed") {
        let name = text(case, "name");
        let bytes = unhex(text(case, "hex"));
        let fault = |check| {
            FrameReader::parse(&bytes, check)
                .err()
                .map(|error| error.fault.name())
        };
        let wanted = Some(text(case, "fault"));
        assert_eq!(fault(Check::Canonical), wanted, "{name}");
        match text(case, "check") {
            "values" => assert_eq!(fault(Check::Values), wanted, "{name}"),
            _ => assert_eq!(
                fault(Check::Values),
                None,
                "{name}: it is well-formed, if not canonical"
            ),
        }
    }
}

fn message_kind(case: &Json<'static>) -> MessageKind {
    match text(case, "kind") {
        "batch" => MessageKind::Batch,
        "effects" => MessageKind::Effects,
        "init" => MessageKind::Init,
        other => panic!("no kind of message: {other}"),
    }
}

#[test]
fn a_well_formed_message_gives_its_sections_and_is_written_the_same() {
    for case in list(&parse(MESSAGES), "valid") {
        let name = text(case, "name");
        let bytes = unhex(text(case, "hex"));
        let kind = message_kind(case);
        let message =
            MessageReader::parse(&bytes, kind).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let wanted: Vec<_> = list(case, "sections")
            .iter()
            .map(|section| {
                let identity = (
                    number(section, "kind") as u16,
                    number(section, "index") as u16,
                );
                (identity, unhex(text(section, "hex")))
            })
            .collect();
        let sections: Vec<_> = message
            .sections()
            .map(|section| ((section.kind, section.index), section.bytes.to_vec()))
            .collect();
        assert_eq!(sections, wanted, "{name}");
        let mut out = vec![1; 100];
        let mut writer = MessageWriter::begin(&mut out, kind, wanted.len() as u16);
        for ((kind, index), bytes) in &wanted {
            let written = writer.section(*kind, *index, |out| {
                out.extend_from_slice(bytes);
                Ok(())
            });
            written.unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(hex(&out), hex(&bytes), "{name}");
    }
}

#[test]
fn a_malformed_message_is_refused_by_its_name() {
    for case in list(&parse(MESSAGES), "malformed") {
        let bytes = unhex(text(case, "hex"));
        let fault = MessageReader::parse(&bytes, message_kind(case))
            .err()
            .map(|error| error.fault.name());
        assert_eq!(fault, Some(text(case, "fault")), "{}", text(case, "name"));
    }
}

#[test]
fn an_answer_is_accepted_or_refused_by_its_name() {
    let file = parse(EFFECTS);
    let mut description = String::new();
    print(file.get("description").unwrap(), &mut description);
    let description = Description::parse(description.as_bytes()).unwrap();
    let timers: Vec<u32> = list(&file, "timers").iter().map(|timer| match timer {
        Json::Number(text) => text.parse().unwrap(),
        other => panic!("not an event: {other:?}"),
    }).collect();
    let batch = BatchShape { events: number(&file, "events"), timers: &timers, keys: number(&file, "keys") };
    for case in list(&file, "cases") {
        let bytes = unhex(text(case, "hex"));
        let fault = EffectsReader::parse(&bytes, &description, &batch, Check::Canonical)
            .err()
            .map(|error| error.fault.name().to_owned());
        assert_eq!(
            fault,
            case.get("fault").and_then(expected),
            "{}",
            text(case, "name")
        );
    }
}

/// Writes JSON again, to hand one part of a file to a parser of its own.
fn print(json: &Json<'_>, out: &mut String) {
    let separated = |out: &mut String, index: usize| {
        if index > 0 {
            out.push(',');
        }
    };
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(&value.to_string()),
        Json::Number(text) => out.push_str(text),
        Json::String(text) => segno_wire::json::push_string(out, text),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separated(out, index);
                print(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                separated(out, index);
                segno_wire::json::push_string(out, name);
                out.push(':');
                print(value, out);
            }
            out.push('}');
        }
    }
}

#[test]
fn a_state_value_gives_its_fields_or_is_refused_by_its_name() {
    let file = parse(STATES);
    let mut table = String::new();
    print(file.get("table").unwrap(), &mut table);
    let description = format!(
        r#"{{"abi":1,"name":"x","version":"1","inputs":[{{"name":"in","columns":[]}}],"event_time":false,"outputs":[],
        "tables":[{table}],"side_tables":[]}}"#
    );
    let description = Description::parse(description.as_bytes()).unwrap();
    let table = &description.tables[0];
    for case in list(&file, "valid") {
        let bytes = unhex(text(case, "hex"));
        let values: Vec<_> = decode_state(table, &bytes)
            .unwrap()
            .into_iter()
            .map(shown_state)
            .collect();
        let wanted: Vec<_> = list(case, "values").iter().map(expected_state).collect();
        assert_eq!(values, wanted, "{}", text(case, "name"));
    }
    for case in list(&file, "malformed") {
        let bytes = unhex(text(case, "hex"));
        let fault = decode_state(table, &bytes)
            .err()
            .map(|error| error.fault.name());
        assert_eq!(fault, Some(text(case, "fault")), "{}", text(case, "name"));
    }
}

/// A field of a state value, or the items of a list.
#[derive(Debug, PartialEq)]
enum Shown {
    One(Option<String>),
    List(Vec<Vec<Shown>>),
}

fn shown_state(value: StateValue<'_>) -> Shown {
    match value {
        StateValue::One(value) => Shown::One(shown(value)),
        StateValue::List(items) => {
            Shown::List(items.into_iter().map(|item| item.into_iter().map(shown_state).collect()).collect())
        }
    }
}

fn expected_state(json: &Json<'static>) -> Shown {
    match json {
        Json::Array(items) => Shown::List(
            items
                .iter()
                .map(|item| match item {
                    Json::Array(fields) => fields.iter().map(expected_state).collect(),
                    other => panic!("not an item: {other:?}"),
                })
                .collect(),
        ),
        one => Shown::One(expected(one)),
    }
}

/// A reader's fault without a vector is a rule that nobody checks.
#[test]
fn every_fault_of_a_reader_has_a_vector() {
    let mut names = BTreeSet::new();
    seen(&parse(FRAMES), "malformed", &mut names);
    seen(&parse(MESSAGES), "malformed", &mut names);
    seen(&parse(EFFECTS), "cases", &mut names);
    seen(&parse(STATES), "malformed", &mut names);
    // Of writers, and of a reader that asks for a section; tested below.
    let others = [Fault::FrameTooLarge, Fault::SectionMissing];
    let missing: Vec<_> = Fault::ALL
        .iter()
        .filter(|fault| !others.contains(fault) && !names.contains(fault.name()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_section_that_must_be_there_is_missed() {
    let mut out = Vec::new();
    MessageWriter::begin(&mut out, MessageKind::Batch, 0)
        .finish()
        .unwrap();
    let message = MessageReader::parse(&out, MessageKind::Batch).unwrap();
    let error = message.require(1, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a required section is missing (section 1.0)"
    );
    assert_eq!(
        MessageWriter::begin(&mut out, MessageKind::Batch, 1)
            .finish()
            .unwrap_err()
            .fault,
        Fault::SectionMissing
    );
}

#[test]
fn more_than_four_gigabytes_of_borrowed_text_are_refused() {
    // 64 KiB pushed 65,536 times: nothing is copied until it is written, and then it is refused.
    let source = vec![b'x'; 1 << 16];
    let mut builder = VarBuilder::default();
    builder.begin(&source);
    for _ in 0..1 << 16 {
        builder.push(&source);
    }
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out, 1 << 16, 1);
    let error = builder
        .write(ColumnType::Utf8, &source, &mut writer)
        .unwrap_err();
    assert_eq!(error.fault, Fault::FrameTooLarge);
}

#[test]
fn a_writer_refuses_what_does_not_fit() {
    let column = |rows: u32, kind: ColumnType, payload: Payload<'_>| {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, rows, 1);
        writer
            .column(kind, None, payload)
            .err()
            .map(|error| error.fault)
    };
    assert_eq!(
        column(2, ColumnType::I32, Payload::Fixed(&[0; 7])),
        Some(Fault::DataLength)
    );
    assert_eq!(
        column(2, ColumnType::Utf8, Payload::Fixed(&[0; 8])),
        Some(Fault::DataLength)
    );
    assert_eq!(
        column(9, ColumnType::Bool, Payload::Bits(Bits::new(&[0]))),
        Some(Fault::DataLength)
    );
    let variable = |offsets: [u32; 3]| {
        let offsets: Vec<u8> = offsets
            .iter()
            .flat_map(|offset| offset.to_le_bytes())
            .collect();
        column(
            2,
            ColumnType::Utf8,
            Payload::Variable {
                offsets: &offsets,
                data: b"abc",
            },
        )
    };
    assert_eq!(variable([0, 2, 1]), Some(Fault::OffsetsOrder));
    assert_eq!(variable([0, 1, 4]), Some(Fault::OffsetsEnd));
    assert_eq!(
        variable([1, 1, 3]),
        None,
        "offsets of a slice start anywhere"
    );
}

#[test]
fn the_description_that_frame_md_shows_is_one() {
    let page = include_str!("../frame.md");
    let (_, from) = page.split_once("```json\n").expect("a block");
    let (shown, _) = from.split_once("```").expect("its end");
    let description = Description::parse(shown.as_bytes()).expect("a description");
    assert_eq!((description.name.as_str(), description.tables.len(), description.side_tables.len()), ("enrich", 1, 1));
}
