//! Rules of messages that need no broker.

use super::*;
use segno_core::columns::Column;
use segno_core::source::{LINE_BYTES_MAX, TimeColumn, TimeUnit};

fn plan(columns: &[(&str, ColumnType, bool)]) -> ReadPlan {
    let column = |(name, ty, nullable): &(&str, ColumnType, bool)| Column::new(*name, *ty, *nullable);
    ReadPlan { columns: columns.iter().map(column).collect(), time: None }
}

fn json(plan: &ReadPlan) -> Messages {
    Messages::new(plan, &FormatSpec::Json, LINE_BYTES_MAX, ("t", 3), None).unwrap()
}

fn rows(chunk: &Chunk) -> String {
    let mut out = Vec::new();
    segno_core::columns::json::write_json_lines(&mut out, &chunk.columns);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_value_is_one_record_whatever_stands_behind_it() {
    let mut messages = json(&plan(&[("a", ColumnType::I64, false), ("b", ColumnType::I64, true)]));
    // The second, third and fourth teach the shape of an object over lines; then one is cut where its line ends.
    let whole: &[u8] = b"{\"a\":1,\n\"b\":2}";
    for value in [whole, whole, whole, b"{\"a\":1,", b"\"b\":2}", whole, b"{\"a\":5}\r\n", b"{\"a\":6}{\"a\":7}"] {
        let offset = messages.records() as u64 * 10;
        messages.push(offset, Some(value));
    }
    let chunk = messages.finish(0, 0, 80).unwrap();
    assert_eq!(chunk.offsets, [0, 10, 20, 50, 60]);
    let bad: Vec<_> = chunk.bad.iter().map(|bad| (bad.offset, bad.before_row, bad.code)).collect();
    assert_eq!(bad, [(30, 3, Code::RecordMalformed), (40, 3, Code::RecordMalformed), (70, 5, Code::RecordMalformed)]);
    let raw = chunk.raw.as_ref().unwrap();
    assert!(!raw.offsets_are_bytes);
    let (start, end) = raw.rows[0];
    assert_eq!(&raw.bytes[start as usize..end as usize], whole);
    assert!(rows(&chunk).ends_with("{\"a\":1,\"b\":2}\n{\"a\":5,\"b\":null}\n"));
}

#[test]
fn pieces_of_any_size_give_the_same_records() {
    let values: Vec<String> = (0..200)
        .map(|n| match n % 7 {
            0 => format!("{{\"a\":{n},\"s\":\"é{n}\\n\"}}"),
            1 => format!("{{ \"a\": {n} }}"),
            2 => "{\"a\":".to_owned(),
            3 => format!("{{\"s\":\"ü\",\"a\":{n}}}"),
            4 => "{\"a\":1,\"s\":\"\u{1}\"}".to_owned(),
            _ => format!("{{\"a\":{n},\"s\":\"x\"}}"),
        })
        .collect();
    let columns = plan(&[("a", ColumnType::I64, false), ("s", ColumnType::Utf8, true)]);
    let decode = |piece: usize| {
        let mut messages = json(&columns);
        let (mut out, mut offsets, mut bad) = (String::new(), Vec::new(), Vec::new());
        for (number, values) in values.chunks(piece).enumerate() {
            for (at, value) in values.iter().enumerate() {
                messages.push((number * piece + at) as u64, Some(value.as_bytes()));
            }
            let chunk = messages.finish(0, 0, 0).unwrap();
            out += &rows(&chunk);
            offsets.extend_from_slice(&chunk.offsets);
            bad.extend(chunk.bad.iter().map(|bad| (bad.offset, bad.code, bad.reason.clone())));
        }
        (out, offsets, bad)
    };
    let whole = decode(200);
    assert_eq!(whole.1.len() + whole.2.len(), 200);
    for piece in [1, 3, 64] {
        assert_eq!(decode(piece), whole, "{piece}");
    }
}

#[test]
fn what_stands_beside_the_value_becomes_columns_and_refuses_what_is_no_text() {
    let mut columns = plan(&[
        ("kafka.key", ColumnType::Utf8, false),
        ("a", ColumnType::I64, false),
        ("kafka.headers.h", ColumnType::I64, true),
        ("kafka.partition", ColumnType::I64, false),
    ]);
    columns.time = Some(TimeColumn { name: "kafka.timestamp".to_owned(), format: None, unit: TimeUnit::Milliseconds });
    let mut messages = json(&columns);
    assert_eq!(messages.wants(), Some(&["h".to_owned()][..]));
    let beside: [(&[u8], Option<&[u8]>, Option<&[u8]>, Option<i64>); 6] = [
        (b"{\"a\":0}", Some(b"k"), Some(b"17"), Some(5)),
        (b"{\"a\":1}", Some(b"\xff"), None, Some(6)),
        (b"{\"a\":}", Some(b"k"), None, Some(7)),
        (b"{\"a\":3}", None, None, Some(8)),
        (b"{\"a\":4}", Some(b"k"), Some(b"x"), Some(9)),
        (b"{\"a\":5}", Some(b"l"), None, Some(10)),
    ];
    for (offset, (value, key, header, timestamp)) in (0..).zip(beside) {
        messages.push(offset, Some(value));
        messages.push_beside(timestamp, key, std::iter::once(header));
    }
    for again in 0..2 {
        let chunk = messages.finish(0, 0, 6).unwrap();
        if again == 1 {
            assert_eq!((chunk.offsets.len(), chunk.bad.len()), (0, 0), "nothing is left behind");
            break;
        }
        let expected = "{\"kafka.key\":\"k\",\"a\":0,\"kafka.headers.h\":17,\"kafka.partition\":3}
{\"kafka.key\":\"l\",\"a\":5,\"kafka.headers.h\":null,\"kafka.partition\":3}
";
        assert_eq!(rows(&chunk), expected);
        assert_eq!((chunk.offsets.as_slice(), chunk.times.as_slice()), (&[0, 5][..], &[5_000, 10_000][..]));
        let bad: Vec<_> = chunk.bad.iter().map(|bad| (bad.offset, bad.before_row, bad.code)).collect();
        let expected = [
            (1, 1, Code::RecordNotUtf8),
            (2, 1, Code::RecordMalformed),
            (3, 1, Code::FieldNull),
            (4, 1, Code::FieldUnparsable),
        ];
        assert_eq!(bad, expected);
        assert_eq!(&chunk.bad[0].bytes[..], b"{\"a\":1}");
        assert_eq!(chunk.raw.unwrap().rows.len(), 2);
    }
}

#[test]
fn columns_that_messages_do_not_have_are_refused() {
    let refused = |name: &str, format: FormatSpec| {
        let plan = plan(&[(name, ColumnType::Binary, true)]);
        Messages::new(&plan, &format, LINE_BYTES_MAX, ("t", 0), None).err().map(|error| error.code())
    };
    assert_eq!(refused("kafka.colour", FormatSpec::Json), Some(Code::SourceColumn));
    assert_eq!(refused("kafka.headers.", FormatSpec::Json), Some(Code::SourceColumn));
    assert_eq!(refused("other", FormatSpec::Raw), Some(Code::SourceColumn));
    assert_eq!(refused("value", FormatSpec::Raw), None);
    assert_eq!(refused("kafka.headers.x", FormatSpec::Raw), None);
    assert_eq!(refused("a", FormatSpec::Parquet), Some(Code::SourceSetting));
}

#[test]
fn a_record_outside_the_partition_of_its_key_is_bad_and_so_is_one_without_key() {
    let plan = ReadPlan { columns: vec![Column::new("kafka.key", ColumnType::Utf8, true)], time: None };
    let place = segno_core::partitioner::partition_of(b"right", 4);
    let other = (0..).map(|n| format!("k{n}")).find(|key| segno_core::partitioner::partition_of(key.as_bytes(), 4) != place);
    let other = other.expect("another key");
    let mut messages = Messages::new(&plan, &FormatSpec::Raw, LINE_BYTES_MAX, ("t", place), Some(4)).unwrap();
    for (offset, key) in [(0, Some("right")), (1, Some(other.as_str())), (2, None), (3, Some("right"))] {
        messages.push(offset, Some(b"value"));
        messages.push_beside(None, key.map(str::as_bytes), std::iter::empty());
    }
    let chunk = messages.finish(0, 0, 4).unwrap();
    assert_eq!(chunk.offsets, [0, 3]);
    let bad: Vec<_> = chunk.bad.iter().map(|bad| (bad.offset, bad.code, bad.bytes.as_ref())).collect();
    assert_eq!(bad, [(1, Code::RecordMisplaced, &b"value"[..]), (2, Code::RecordMisplaced, &b"value"[..])]);
}
