//! Values: what is written is read back, and what cannot be stored is refused with its origin.

use crate::lab::{Database, Epoch};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use segno_core::Code;
use segno_core::columns::{Column, ColumnType, Schema};
use std::sync::Arc;

/// Writes a nullable column of each type, with NULL after the last value, and reads it back as text.
fn read_back(columns: Vec<(&str, ColumnType, ArrayRef)>) -> Vec<Vec<String>> {
    let database = Database::new();
    let schema = Schema::new(columns.iter().map(|(name, ty, _)| Column::new(*name, *ty, true)).collect());
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let epoch = Epoch::new(1, &schema, columns.iter().map(|(_, _, array)| Arc::clone(array)).collect(), 0);
    let mut sink = database.sink(&database.spec("values_of_types", &[], true), &schema, 1);
    epoch.publish(&mut sink).expect("the rows are written");
    let query = format!("SELECT {} FROM values_of_types ORDER BY segno_offset", names.join(", "));
    database.connection.rows(&query)
}

#[test]
fn every_type_is_read_back_as_it_was_written() {
    let timestamps = vec![Some(0), Some(-1), Some(-210_866_803_200_000_000), Some(i64::MAX), None];
    let rows = read_back(vec![
        ("bool", ColumnType::Bool, Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), Some(true), None]))),
        ("i32", ColumnType::I32, Arc::new(Int32Array::from(vec![Some(0), Some(-1), Some(i32::MIN), Some(i32::MAX), None]))),
        ("u32", ColumnType::U32, Arc::new(UInt32Array::from(vec![Some(0), Some(1), Some(1 << 31), Some(u32::MAX), None]))),
        ("i64", ColumnType::I64, Arc::new(Int64Array::from(vec![Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX), None]))),
        ("u64", ColumnType::U64, Arc::new(UInt64Array::from(vec![Some(0), Some(10_000), Some(1 << 63), Some(u64::MAX), None]))),
        (
            "f64",
            ColumnType::F64,
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(5e-324), Some(f64::NAN), Some(f64::NEG_INFINITY), None])),
        ),
        ("utf8", ColumnType::Utf8, Arc::new(StringArray::from(vec![Some(""), Some("ü\u{10ffff}"), Some("'\"\\"), Some("∅"), None]))),
        (
            "bytes",
            ColumnType::Binary,
            Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(&b"\0"[..]), Some(&b"\xff\x00\\"[..]), Some(&b"a"[..]), None])),
        ),
        (
            "time",
            ColumnType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from(timestamps).with_timezone("UTC")),
        ),
        (
            "day",
            ColumnType::Date,
            Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(-2_440_588), Some(2_145_042_905), None])),
        ),
    ]);
    let expected = [
        ["t", "0", "0", "0", "0", "-0", "", "\\x", "1970-01-01 00:00:00+00", "1970-01-01"],
        ["f", "-1", "1", "-1", "10000", "5e-324", "ü\u{10ffff}", "\\x00", "1969-12-31 23:59:59.999999+00", "1969-12-31"],
        [
            "t", "-2147483648", "2147483648", "-9223372036854775808", "9223372036854775808", "NaN", "'\"\\", "\\xff005c",
            "4714-11-24 00:00:00+00 BC", "4714-11-24 BC",
        ],
        [
            "t", "2147483647", "4294967295", "9223372036854775807", "18446744073709551615", "-Infinity", "∅", "\\x61",
            "294247-01-10 04:00:54.775807+00", "5874897-12-31",
        ],
        ["∅"; 10],
    ];
    assert_eq!(rows, expected);
}

/// A decimal as its digits say, without arithmetic on floats.
fn written(value: i128, scale: i8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    match scale {
        ..=0 if value == 0 => "0".to_owned(),
        ..=0 => format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs() as usize)),
        _ => {
            let scale = scale as usize;
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (before, after) = digits.split_at(digits.len() - scale);
            format!("{sign}{before}.{after}")
        }
    }
}

#[test]
fn decimals_of_every_scale_keep_every_digit() {
    let largest = 10i128.pow(38) - 1;
    let mut values = vec![0, 1, -1, 9, 9_999, 10_000, -10_001, 99_990_000, 123_456_789, largest, -largest];
    values.extend((0..38).map(|power| 10i128.pow(power)));
    for scales in [-5i8..0, 0..13, 13..26, 26..39] {
        let names: Vec<String> = scales.clone().map(|scale| format!("s{}", scale.unsigned_abs())).collect();
        let columns = scales.clone().zip(&names).map(|(scale, name)| {
            let array = Decimal128Array::from_iter_values(values.iter().copied());
            let array = array.with_precision_and_scale(38, scale).expect("a decimal");
            (name.as_str(), ColumnType::Decimal128 { precision: 38, scale }, Arc::new(array) as ArrayRef)
        });
        let rows = read_back(columns.collect());
        for (row, &value) in rows.iter().zip(&values) {
            let expected: Vec<String> = scales.clone().map(|scale| written(value, scale)).collect();
            assert_eq!(row, &expected);
        }
        assert_eq!(rows.len(), values.len());
    }
}

#[test]
fn a_value_that_cannot_be_stored_is_refused_with_its_origin() {
    let refused: Vec<(ColumnType, ArrayRef, &str)> = vec![
        (ColumnType::Utf8, Arc::new(StringArray::from(vec!["fine", "a\0b"])), "NUL"),
        (
            ColumnType::Timestamp,
            Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MIN]).with_timezone("UTC")),
            "timestamptz",
        ),
        (ColumnType::Date, Arc::new(Date32Array::from(vec![0, i32::MAX])), "date"),
    ];
    for (ty, array, word) in refused {
        let database = Database::new();
        let schema = Schema::new(vec![Column::new("value", ty, false)]);
        let mut sink = database.sink(&database.spec("refused", &[], true), &schema, 1);
        // Before the epoch is committed: afterwards it could never be written.
        let error = Epoch::new(1, &schema, vec![array], 40).stage(&mut sink).unwrap_err();
        assert_eq!(error.code(), Code::RowRefused);
        let text = error.to_string();
        for part in ["sink \"out\"", "source in.jsonl at offset 41", "\"value\"", word] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!(database.connection.one("SELECT count(*) FROM refused"), "0");
        assert_eq!(database.mark(), "0");
    }
}
