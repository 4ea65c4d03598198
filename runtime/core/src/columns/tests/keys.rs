//! Keys: order, injectivity, reading back, distinct keys, lanes, and the fixture that is kept for ever.

use super::{Cell, array, columns, fixture, fixture_cell, sliced};
use crate::columns::ColumnType;
use crate::columns::key::{Keys, decode_key, distinct, encode_keys, lane_of};
use proptest::prelude::*;
use std::cmp::Ordering;

fn keys_of(columns: &[(ColumnType, Vec<Cell>)]) -> Keys {
    let arrays: Vec<_> = columns.iter().map(|(ty, cells)| array(*ty, cells)).collect();
    encode_keys(&arrays, columns[0].1.len())
}

proptest! {
    #[test]
    fn bytes_compare_as_the_keys_do_and_different_keys_differ(columns in columns(1..12)) {
        let keys = keys_of(&columns);
        for a in 0..keys.len() {
            for b in 0..keys.len() {
                let wanted = columns.iter().map(|(_, cells)| cells[a].order(&cells[b]))
                    .find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal);
                prop_assert_eq!(keys.get(a).cmp(keys.get(b)), wanted);
            }
        }
    }

    #[test]
    fn keys_do_not_depend_on_how_columns_are_sliced(columns in columns(1..20), skip in 0usize..20) {
        let plain = keys_of(&columns);
        let arrays: Vec<_> = columns.iter().map(|(ty, cells)| sliced(*ty, cells, skip)).collect();
        let other = encode_keys(&arrays, columns[0].1.len());
        for row in 0..plain.len() {
            prop_assert_eq!(plain.get(row), other.get(row));
        }
    }

    #[test]
    fn keys_are_read_back(columns in columns(1..12)) {
        let keys = keys_of(&columns);
        let types: Vec<ColumnType> = columns.iter().map(|(ty, _)| *ty).collect();
        for row in 0..keys.len() {
            let values = decode_key(&types, keys.get(row)).expect("a key that was just written");
            for ((ty, cells), value) in columns.iter().zip(&values) {
                match (&cells[row], ty) {
                    (Cell::Null, _) => prop_assert!(value.is_null()),
                    (Cell::Int(wanted), ColumnType::Bool) => prop_assert_eq!(value.as_bool(), Some(*wanted == 1)),
                    (Cell::Int(wanted), ColumnType::Decimal128 { .. }) => {
                        let text = value.as_str().expect("a decimal is text");
                        prop_assert_eq!(text.parse::<i128>().unwrap(), *wanted);
                    }
                    (Cell::Int(wanted), _) => prop_assert_eq!(value.to_string(), wanted.to_string()),
                    (Cell::Float(wanted), _) if wanted.is_finite() => {
                        prop_assert_eq!(value.as_f64(), Some(*wanted));
                    }
                    (Cell::Float(_), _) => prop_assert!(value.is_string()),
                    (Cell::Bytes(wanted), ColumnType::Utf8) => {
                        prop_assert_eq!(value.as_str().map(str::as_bytes), Some(wanted.as_slice()));
                    }
                    (Cell::Bytes(_), _) => prop_assert!(value.is_string()),
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused_and_never_panic(types in prop::collection::vec(super::some_type(), 0..4),
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..40)) {
        let _ = decode_key(&types, &bytes);
    }

    #[test]
    fn a_key_cut_short_or_with_more_bytes_is_refused(columns in columns(1..3)) {
        let keys = keys_of(&columns);
        let types: Vec<ColumnType> = columns.iter().map(|(ty, _)| *ty).collect();
        let key = keys.get(0);
        for cut in 0..key.len() {
            prop_assert!(decode_key(&types, &key[..cut]).is_none());
        }
        prop_assert!(decode_key(&types, &[key, &[0]].concat()).is_none());
    }

    #[test]
    fn distinct_keys_are_numbered_as_they_first_appear(columns in columns(0..40)) {
        let keys = keys_of(&columns);
        let found = distinct(&keys);
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut first_rows = Vec::new();
        let row_keys: Vec<u32> = (0..keys.len()).map(|row| {
            let key = keys.get(row);
            let number = seen.iter().position(|other| *other == key).unwrap_or_else(|| {
                seen.push(key);
                first_rows.push(row as u32);
                seen.len() - 1
            });
            number as u32
        }).collect();
        prop_assert_eq!(&found.row_keys, &row_keys);
        prop_assert_eq!(&found.first_rows, &first_rows);
        let gathered = keys.gather(&found.first_rows);
        prop_assert_eq!(gathered.len(), seen.len());
        for (number, key) in seen.iter().enumerate() {
            prop_assert_eq!(gathered.get(number), *key);
        }
    }
}

#[test]
fn distinct_keys_stay_right_when_the_table_grows() {
    let cells: Vec<Cell> = (0..20_000).map(|row| Cell::Int((row * 7919) % 9_001)).collect();
    let keys = keys_of(&[(ColumnType::I64, cells)]);
    let found = distinct(&keys);
    assert_eq!(found.first_rows, (0..9_001).collect::<Vec<u32>>());
    assert!((0..20_000).all(|row| found.row_keys[row] == (row % 9_001) as u32));
}

#[test]
fn a_tag_that_is_neither_null_nor_value_is_refused() {
    assert!(decode_key(&[ColumnType::I32], &[2, 0x80, 0, 0, 0]).is_none());
    assert!(decode_key(&[ColumnType::Bool], &[1, 2]).is_none());
    assert!(decode_key(&[ColumnType::Utf8], &[1, 0xff, 0, 0]).is_none(), "text that is not UTF-8");
}

#[test]
fn a_decimal_is_read_back_unscaled_and_binary_in_hexadecimal() {
    let ty = ColumnType::Decimal128 { precision: 10, scale: 2 };
    let keys = keys_of(&[(ty, vec![Cell::Int(-1205)]), (ColumnType::Binary, vec![Cell::Bytes(b"ab".to_vec())])]);
    assert_eq!(decode_key(&[ty, ColumnType::Binary], keys.get(0)), Some(vec!["-1205".into(), "6162".into()]));
}

#[test]
fn a_key_that_is_no_number_is_told_from_null() {
    let keys = keys_of(&[(ColumnType::F64, vec![Cell::Null, Cell::Float(f64::NAN), Cell::Float(f64::NEG_INFINITY)])]);
    let read: Vec<_> = (0..3).map(|row| decode_key(&[ColumnType::F64], keys.get(row)).unwrap()[0].clone()).collect();
    assert_eq!(read, [serde_json::Value::Null, "NaN".into(), "-inf".into()]);
}

#[test]
fn the_fixture_of_keys_holds_for_ever() {
    let file = fixture(include_str!("../../../fixtures/keys.json"));
    let mut cases = 0;
    for case in file["keys"].as_array().unwrap() {
        let columns: Vec<(ColumnType, Vec<Cell>)> = case["columns"].as_array().unwrap().iter().map(|column| {
            let ty: ColumnType = column["type"].as_str().unwrap().parse().unwrap();
            (ty, vec![fixture_cell(ty, &column["value"])])
        }).collect();
        let keys = keys_of(&columns);
        assert_eq!(hex::encode(keys.get(0)), case["hex"].as_str().unwrap(), "{case}");
        for (lanes, lane) in case["lanes"].as_object().unwrap() {
            assert_eq!(u64::from(lane_of(keys.get(0), lanes.parse().unwrap())), lane.as_u64().unwrap(), "{case}");
        }
        cases += 1;
    }
    assert!(cases >= 20, "the fixture only grows");
}
