//! The rules of `docs/formats/json.md`, and the agreement of the fast path, the complete parser and serde_json.

use super::*;
use crate::format::plan::Plan;
use crate::format::{Decoder, Stop};
use arrow_cast::display::array_value_to_string;
use proptest::prelude::*;
use segno_core::columns::{Column, ColumnType};
use segno_core::source::{Chunk, ReadLimit, ReadPlan};
use serde_json::Value as Json;
use std::sync::Arc;

const LIMIT: ReadLimit = ReadLimit { rows: usize::MAX, bytes: usize::MAX };

fn columns(names: &[(&str, ColumnType, bool)]) -> ReadPlan {
    let columns = names.iter().map(|(name, ty, nullable)| Column::new(*name, *ty, *nullable)).collect();
    ReadPlan { columns, time: None }
}

fn decode(data: &[u8], plan: &ReadPlan, make: impl Fn(&Rows) -> JsonLines) -> Chunk {
    let mut rows = Rows::new(Arc::new(Plan::new(plan).unwrap()));
    let mut decoder = make(&rows);
    let mut buf = data.to_vec();
    buf.resize(data.len() + PADDING, b'\n');
    let window = Window { buf: &buf, len: data.len(), base: 0, last: true };
    let (end, stop) = decoder.decode(&window, 0, LIMIT, &mut rows).unwrap();
    assert_eq!((end, stop), (data.len(), Stop::More));
    rows.finish(0, 0, end as u64, None).unwrap()
}

/// Good rows and bad ones in their order, as text.
fn lines(chunk: &Chunk) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut bad = chunk.bad.iter().peekable();
    for row in 0..=chunk.columns.num_rows() {
        while let Some(b) = bad.next_if(|b| b.before_row as usize == row) {
            found.push((b.offset, format!("{} {} {:?}", b.code.name(), b.reason, b.bytes)));
        }
        if row < chunk.columns.num_rows() {
            let shown = |array| match arrow_array::Array::is_null(array, row) {
                true => "null".to_owned(),
                false => array_value_to_string(array, row).unwrap(),
            };
            let values: Vec<String> = chunk.columns.columns().iter().map(|array| shown(array)).collect();
            found.push((chunk.offsets[row], values.join("|")));
        }
    }
    found
}

fn one(line: &[u8], plan: &ReadPlan) -> Result<String, (Code, String)> {
    let chunk = decode(line, plan, |rows| JsonLines::new(rows, 1 << 20));
    match (chunk.columns.num_rows(), &chunk.bad[..]) {
        (1, []) => Ok(lines(&chunk)[0].1.clone()),
        (0, [bad]) => Err((bad.code, bad.reason.clone())),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(line)),
    }
}

#[track_caller]
fn refused(line: impl AsRef<[u8]>, code: Code) {
    let line = line.as_ref();
    // Whatever is read, and also when the record before it had the same shape.
    for plan in [columns(&[]), columns(&[("a", ColumnType::I64, true)]), columns(&[("b.c", ColumnType::Utf8, true)])] {
        assert_eq!(one(line, &plan).map_err(|(code, _)| code), Err(code), "{:?}", String::from_utf8_lossy(line));
    }
}

#[track_caller]
fn taken(line: impl AsRef<[u8]>) {
    let line = line.as_ref();
    assert_eq!(one(line, &columns(&[])), Ok(String::new()), "{:?}", String::from_utf8_lossy(line));
}

#[test]
fn the_whole_line_must_be_one_well_formed_object() {
    for line in [
        "{",
        "}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1}}",
        "{\"a\":1} x",
        "{\"a\":1}{\"a\":2}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"a\":tru}",
        "{\"a\":nulll}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":5.}",
        "{\"a\":5.e1}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x10}",
        "{\"a\":\"x}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12G4\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":1 // note\n}",
        "{\"\\u00\":1}",
        "\u{c}{}",
        "{\"a\":1}\u{c}",
        "{\"a\":1}\u{FEFF}",
        "[1",
        "nul",
    ] {
        let line = line.split('\n').next().unwrap();
        refused(line, Code::RecordMalformed);
    }
    taken("{}");
    taken(" \t{ \"a\" : [ ] , \"b\" : { } } \t\r");
    taken("{\"a\":\"\u{7f}\u{2028}\",\"\":[[],{},[{\"x\":[null,true,false,-0.0e-0,1E+2]}]]}");
}

#[test]
fn a_line_that_is_no_object_is_named_so() {
    for line in ["1", "null", "\"text\"", "[]", "[{\"a\":1}]", "-0.5"] {
        refused(line, Code::RecordNotObject);
    }
}

#[test]
fn half_a_surrogate_pair_is_refused() {
    taken(r#"{"a":"\uD83D\uDE00"}"#);
    for line in [r#"{"a":"\uD83D"}"#, r#"{"a":"\uD83D\n"}"#, r#"{"a":"\uDE00"}"#, r#"{"a":"\uD83D\uD83D"}"#] {
        refused(line, Code::RecordMalformed);
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_stand() {
    for bytes in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf"] {
        refused([b"{\"a\":1,\"z\":\"", bytes, b"\"}"].concat(), Code::RecordNotUtf8);
        refused([b"{\"", bytes, b"\":1}"].concat(), Code::RecordNotUtf8);
        refused([b"{\"a\":1}", bytes].concat(), Code::RecordNotUtf8);
    }
}

#[test]
fn a_name_that_occurs_twice_is_refused_at_every_depth() {
    refused(r#"{"a":1,"a":1}"#, Code::DuplicateName);
    refused(r#"{"a":1,"\u0061":1}"#, Code::DuplicateName);
    refused(r#"{"x":{"y":[{"z":1,"z":2}]}}"#, Code::DuplicateName);
    refused(r#"{"":1,"":2}"#, Code::DuplicateName);
    taken(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#);
    let many: Vec<String> = (0..100).map(|n| format!("\"name{n}\":{n}")).collect();
    taken(format!("{{{}}}", many.join(",")));
    refused(format!("{{{},\"name7\":0}}", many.join(",")), Code::DuplicateName);
    refused(format!("{{{},\"n\\u0061me7\":0}}", many.join(",")), Code::DuplicateName);
}

#[test]
fn nesting_has_a_limit_wherever_it_stands() {
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    taken(nested(parse::DEPTH_MAX));
    refused(nested(parse::DEPTH_MAX + 1), Code::NestingTooDeep);
    refused(nested(100_000), Code::NestingTooDeep);
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    taken(objects(parse::DEPTH_MAX));
    refused(objects(parse::DEPTH_MAX + 1), Code::NestingTooDeep);
    // The same shape as a record before it, with a deeper array inside.
    let inner = |depth: usize| format!("{{\"x\":{{\"a\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth));
    let both = format!("{}\n{}\n", inner(1), inner(parse::DEPTH_MAX - 1));
    let chunk = decode(both.as_bytes(), &columns(&[]), |rows| JsonLines::new(rows, 1 << 20));
    assert_eq!(chunk.bad.iter().map(|bad| bad.code).collect::<Vec<_>>(), [Code::NestingTooDeep]);
}

#[test]
fn numbers_are_exact_or_refused() {
    let read = |ty, text: &str| one(format!("{{\"a\":{text}}}").as_bytes(), &columns(&[("a", ty, false)]));
    for (ty, text, wanted) in [
        (ColumnType::I64, "9223372036854775807", "9223372036854775807"),
        (ColumnType::I64, "-9223372036854775808", "-9223372036854775808"),
        (ColumnType::I64, "1.0", "1"),
        (ColumnType::I64, "12e2", "1200"),
        (ColumnType::I64, "-0", "0"),
        (ColumnType::U64, "18446744073709551615", "18446744073709551615"),
        (ColumnType::U64, "-0", "0"),
        (ColumnType::I32, "-2147483648", "-2147483648"),
        (ColumnType::F64, "-0", "-0.0"),
        (ColumnType::F64, "9007199254740992", "9007199254740992.0"),
        (ColumnType::F64, "1e-400", "0.0"),
        (ColumnType::Decimal128 { precision: 20, scale: 2 }, "123456789012345678.9", "123456789012345678.90"),
    ] {
        assert_eq!(read(ty, text).as_deref(), Ok(wanted), "{text} as {ty}");
    }
    for (ty, text) in [
        (ColumnType::I64, "9223372036854775808"),
        (ColumnType::I64, "1.5"),
        (ColumnType::I64, "1e99999999999999999999"),
        (ColumnType::U64, "-1"),
        (ColumnType::U64, "18446744073709551616"),
        (ColumnType::I32, "2147483648"),
        (ColumnType::F64, "1e400"),
        (ColumnType::F64, "9007199254740993"),
        (ColumnType::Decimal128 { precision: 20, scale: 2 }, "0.001"),
    ] {
        assert_eq!(read(ty, text).map_err(|(code, _)| code), Err(Code::NumberNotHeld), "{text} as {ty}");
    }
    // Nobody reads it: its grammar alone counts.
    taken(r#"{"a":1e999999999999999999999999,"b":123456789012345678901234567890123456789012345678901234567890}"#);
}

#[test]
fn a_field_that_does_not_fit_its_column_is_named_with_what_was_found() {
    let plan = columns(&[("bid.price", ColumnType::I64, false)]);
    let optional = columns(&[("bid.price", ColumnType::I64, true)]);
    for (line, code, reason) in [
        ("{}", Code::FieldMissing, "field `bid.price` is missing, and i64 is wanted for it"),
        (r#"{"bid":null}"#, Code::FieldMissing, "field `bid.price` is missing, and i64 is wanted for it"),
        (r#"{"bid":{"price":null}}"#, Code::FieldNull, "field `bid.price` is null, and i64 is wanted for it"),
        (
            r#"{"bid":{"price":"12"}}"#,
            Code::FieldWrongType,
            "field `bid.price` should be i64, but is the text \"12\"",
        ),
        (
            r#"{"bid":{"price":{"x":1}}}"#,
            Code::FieldWrongType,
            "field `bid.price` should be i64, but is the object {\"x\":1}",
        ),
        (
            r#"{"bid":[1]}"#,
            Code::FieldWrongType,
            "field `bid` should be an object that holds `bid.price`, but is the array [1]",
        ),
    ] {
        assert_eq!(one(line.as_bytes(), &plan), Err((code, reason.to_owned())), "{line}");
    }
    for line in ["{}", r#"{"bid":null}"#, r#"{"bid":{}}"#, r#"{"bid":{"price":null}}"#] {
        assert_eq!(one(line.as_bytes(), &optional).as_deref(), Ok("null"), "{line}");
    }
    assert_eq!(one(br#"{"bid":7}"#, &optional).map_err(|(code, _)| code), Err(Code::FieldWrongType));
    let long = format!("{{\"bid\":{{\"price\":\"{}\"}}}}", "x".repeat(1000));
    assert!(one(long.as_bytes(), &plan).is_err_and(|(_, reason)| reason.len() < 150));
}

#[test]
fn lines_end_in_lf_or_crlf_and_blank_ones_are_no_records() {
    let plan = columns(&[("a", ColumnType::I64, false)]);
    let data = b"\xEF\xBB\xBF{\"a\":1}\r\n\r\n  \t\n{\"a\":2}\n\n{\"a\":3}\r\n{\"a\":4}";
    let chunk = decode(data, &plan, |rows| JsonLines::new(rows, 1 << 20));
    let found = lines(&chunk);
    assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert_eq!(found[0].0, 3);
    assert!(found.iter().all(|(offset, _)| data[*offset as usize] == b'{'));
    let later = decode(b"{\"a\":1}\n\xEF\xBB\xBF{\"a\":2}\n", &plan, |rows| JsonLines::new(rows, 1 << 20));
    assert_eq!(later.bad[0].code, Code::RecordMalformed);
}

#[test]
fn a_line_at_the_limit_is_read_and_a_longer_one_is_bad() {
    let plan = columns(&[("a", ColumnType::Utf8, false)]);
    let line = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    let data = format!("{}\r\n{}\n{}\n{}\n", line(64), line(64), line(65), line(64));
    let chunk = decode(data.as_bytes(), &plan, |rows| JsonLines::new(rows, 64));
    assert_eq!(chunk.columns.num_rows(), 3);
    assert_eq!(chunk.bad.len(), 1);
    assert_eq!((chunk.bad[0].code, chunk.bad[0].before_row), (Code::RecordTooLong, 2));
    assert_eq!(chunk.bad[0].bytes, line(65).as_bytes());
}

#[test]
fn text_with_escapes_is_read_as_what_it_stands_for() {
    let plan = columns(&[("a", ColumnType::Utf8, false)]);
    let data = "{\"a\":\"plain\"}\n{\"a\":\"q\\\"\\u00e9\\n\"}\n{\"\\u0061\":\"by escape\"}\n";
    let chunk = decode(data.as_bytes(), &plan, |rows| JsonLines::new(rows, 1 << 20));
    let found: Vec<String> = lines(&chunk).into_iter().map(|(_, text)| text).collect();
    assert_eq!(found, ["plain", "q\"é\n", "by escape"]);
}

/// serde_json's verdict, with names that occur twice refused.
struct Strict(Json);

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Json;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(value.into())
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(value.into())
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(value.into())
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(value.into())
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(value.into())
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut elements = Vec::new();
                while let Some(Strict(element)) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Json::Array(elements))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut object = serde_json::Map::new();
                while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
                    if object.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("twice"));
                    }
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Visitor).map(Strict)
    }
}

/// What the columns of `property_plan` must be for a record, or nothing when it is bad. `Err`: serde_json cannot say,
/// because it refuses numbers that a double cannot hold, also where nobody reads them.
fn expected(line: &[u8]) -> Result<Option<String>, ()> {
    match serde_json::from_slice(line) {
        // Above 2^53 its doubles no longer tell integers apart.
        Ok(Strict(record)) if record.get("a").and_then(Json::as_f64).is_some_and(|a| a.abs() > 9e15) => Err(()),
        Ok(Strict(record)) => Ok(expected_row(&record)),
        Err(error) if error.to_string().contains("out of range") => Err(()),
        Err(_) => Ok(None),
    }
}

fn expected_row(record: &Json) -> Option<String> {
    record.as_object()?;
    let at = |path: &[&str]| -> Option<Json> {
        let mut value = record;
        for name in path {
            match value {
                Json::Object(object) => value = object.get(*name).unwrap_or(&Json::Null),
                Json::Null => return Some(Json::Null),
                _ => return None,
            }
        }
        Some(value.clone())
    };
    let integer = match at(&["a"])? {
        Json::Null => "null".to_owned(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.to_string(),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => (float as i64).to_string(),
            _ => return None,
        },
        _ => return None,
    };
    let text = match at(&["b", "c"])? {
        Json::Null => "null".to_owned(),
        Json::String(text) => text,
        _ => return None,
    };
    let float = match at(&["b", "d"])? {
        Json::Null => "null".to_owned(),
        Json::Number(number) => format!("{:?}", number.as_f64()?),
        _ => return None,
    };
    let boolean = match at(&["e"])? {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        _ => return None,
    };
    Some([integer, text, float, boolean].join("|"))
}

fn property_plan() -> ReadPlan {
    columns(&[
        ("a", ColumnType::I64, true),
        ("b.c", ColumnType::Utf8, true),
        ("b.d", ColumnType::F64, true),
        ("e", ColumnType::Bool, true),
    ])
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-1_000_000_000_000i64..1_000_000_000_000).prop_map(|n| n.to_string()),
        2 => (-1000i64..1000, 0u32..1000).prop_map(|(n, f)| format!("{n}.{f}")),
        1 => (1i64..10, 0u32..12).prop_map(|(n, e)| format!("{n}e{e}")),
        2 => prop_oneof![Just("null"), Just("true"), Just("false"), Just("[]"), Just("{}"), Just("-0"), Just("0.0")]
            .prop_map(str::to_owned),
        4 => "[a-zé😀 /:]{0,40}".prop_map(|text| format!("\"{text}\"")),
        1 => prop_oneof![Just(r#""\u00e9\n\\""#), Just(r#""\uD83D\uDE00 \"""#), Just(r#"[1,{"x":[2]}]"#)]
            .prop_map(str::to_owned),
    ]
}

/// Objects of few shapes around any values, in several styles of white space.
fn record() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((0usize..8, scalar()), 0..7);
    (members, prop::collection::vec((0usize..4, scalar()), 0..4), 0usize..4).prop_map(|(outer, inner, style)| {
        let names = ["a", "b", "e", "x", "yy", "b", "long_name_of_a_field_that_nobody_reads_at_all", "a"];
        let (comma, colon) = [(",", ":"), (", ", ": "), (" , ", " : "), (",", ":")][style];
        let inner: Vec<String> =
            inner.iter().map(|(n, v)| format!("\"{}\"{colon}{v}", ["c", "d", "k", "c"][*n])).collect();
        let object = format!("{{{}}}", inner.join(comma));
        let member = |(n, v): &(usize, String)| match n {
            1 => format!("\"b\"{colon}{object}"),
            n => format!("\"{}\"{colon}{v}", names[*n]),
        };
        format!("{{{}}}", outer.iter().map(member).collect::<Vec<_>>().join(comma))
    })
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 0..3);
    (record(), prop::bool::weighted(0.3), damage).prop_map(|(line, damaged, damage)| {
        let mut line = line.into_bytes();
        for (at, how, byte) in damage.into_iter().filter(|_| damaged) {
            let at = at.index(line.len());
            // Often a byte that means something.
            let byte = if byte < 200 { b"{}[],:\"\\0-.e \t\x01\xc3"[byte as usize % 16] } else { byte };
            match how {
                0 => line[at] = byte,
                1 => line.insert(at, byte),
                _ if line.len() > 1 => drop(line.remove(at)),
                _ => {}
            }
        }
        line.retain(|&byte| byte != b'\n');
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_fast_path_the_complete_parser_and_serde_agree(
        records in prop::collection::vec(damaged(), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..120),
    ) {
        // Records come again and again, so that their shapes are known.
        let records: Vec<&Vec<u8>> = order.iter().map(|at| &records[at.index(records.len())]).collect();
        let data = records.iter().map(|line| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
        let plan = property_plan();
        let fast = lines(&decode(&data, &plan, |rows| JsonLines::new(rows, 1 << 20)));
        let plain = lines(&decode(&data, &plan, |rows| JsonLines::new(rows, 1 << 20).plain()));
        prop_assert_eq!(&fast, &plain);
        let mut offset = 0;
        let mut found = fast.iter();
        for line in records {
            let blank = line.iter().all(|&byte| is_white(byte));
            if !blank && !(offset == 0 && line.starts_with(b"\xEF\xBB\xBF")) {
                let (at, text) = found.next().unwrap();
                prop_assert_eq!(*at, offset);
                // Alone, it meets the complete parser only.
                let alone = lines(&decode(line, &plan, |rows| JsonLines::new(rows, 1 << 20)));
                prop_assert_eq!(&alone[0].1, text);
                let shown = String::from_utf8_lossy(line).into_owned();
                match expected(line) {
                    Err(()) => {}
                    Ok(Some(wanted)) => prop_assert_eq!(text, &wanted, "{}", shown),
                    Ok(None) => prop_assert!(text.starts_with('D'), "{} was taken: {}", shown, text),
                }
            }
            offset += line.len() as u64 + 1;
        }
    }

    #[test]
    fn the_verdict_on_the_form_does_not_depend_on_the_columns_read(
        records in prop::collection::vec(damaged(), 1..30),
    ) {
        let data = records.join(&b'\n');
        let plans = [
            columns(&[]),
            property_plan(),
            columns(&[("x", ColumnType::Utf8, false), ("b", ColumnType::I32, false), ("b.c.d", ColumnType::Date, true)]),
        ];
        let form = |plan| {
            let chunk = decode(&data, plan, |rows| JsonLines::new(rows, 1 << 20));
            let malformed = chunk.bad.into_iter().filter(|bad| bad.code.name() <= "D006");
            malformed.map(|bad| (bad.offset, bad.code, bad.reason, bad.bytes)).collect::<Vec<_>>()
        };
        let wanted = form(&plans[0]);
        prop_assert_eq!(&wanted, &form(&plans[1]));
        prop_assert_eq!(&wanted, &form(&plans[2]));
    }

    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..300), noise in "[\\[\\]{}\",:0-9a\\\\\n ]{0,300}") {
        for data in [data, noise.into_bytes()] {
            let chunk = decode(&data, &property_plan(), |rows| JsonLines::new(rows, 64));
            for bad in &chunk.bad {
                prop_assert!(data[bad.offset as usize..].starts_with(&bad.bytes));
            }
        }
    }
}
