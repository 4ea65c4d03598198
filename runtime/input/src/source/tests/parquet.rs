//! Parquet: every type, nested columns, rows that do not fit, files that are damaged.

use super::*;
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow_array::*;
use arrow_schema::{DataType, Field, Fields};
use std::sync::Arc;

fn write(folder: &Folder, columns: Vec<(&str, ArrayRef)>, group_rows: usize) -> PathBuf {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = File::create(folder.path("in.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    folder.path("in.parquet")
}

fn flights(folder: &Folder, rows: i32) -> PathBuf {
    let text = |prefix: &str| (0..rows).map(|n| Some(format!("{prefix}{n}"))).collect::<Vec<_>>();
    let times: Vec<i64> = (0..i64::from(rows)).map(|n| n * 1_000).collect();
    let bid: StructArray = StructArray::new(
        Fields::from(vec![Field::new("price", DataType::Int32, true)]),
        vec![Arc::new((0..rows).map(|n| (n % 3 != 0).then_some(n)).collect::<Int32Array>())],
        Some((0..rows).map(|n| n % 5 != 0).collect::<Vec<bool>>().into()),
    );
    write(
        folder,
        vec![
            ("date", Arc::new(TimestampMillisecondArray::from(times.clone()))),
            ("zoned", Arc::new(TimestampNanosecondArray::from(times).with_timezone("+02:00"))),
            ("large", Arc::new(LargeStringArray::from(text("large ")))),
            ("view", Arc::new(StringViewArray::from_iter(text("view ")))),
            ("dict", Arc::new(text("d").iter().map(|t| t.as_deref()).collect::<DictionaryArray<types::Int32Type>>())),
            ("small", Arc::new((0..rows).map(|n| Some((n % 100) as i8)).collect::<Int8Array>())),
            ("wide", Arc::new((0..rows as u64).map(|n| Some(u64::MAX - n)).collect::<UInt64Array>())),
            ("half", Arc::new((0..rows).map(|n| Some(n as f32 / 2.0)).collect::<Float32Array>())),
            ("day", Arc::new((0..rows).map(Some).collect::<Date32Array>())),
            ("money", Arc::new(
                (0..rows).map(|n| Some(i128::from(n) * 10 + 5)).collect::<Decimal128Array>()
                    .with_precision_and_scale(12, 2).unwrap(),
            )),
            ("bid", Arc::new(bid)),
        ],
        7,
    )
}

#[test]
fn every_type_comes_out_as_the_column_that_is_wanted() {
    let folder = Folder::new();
    let spec = files(&flights(&folder, 20), FormatSpec::Parquet);
    let schema = discover_schema(&SourceSpec::Files(spec.clone())).unwrap().unwrap();
    let types: Vec<String> =
        schema.columns.iter().map(|column| format!("{}:{}", column.name, column.ty)).collect();
    assert_eq!(
        types.join(" "),
        "date:timestamp zoned:timestamp large:utf8 view:utf8 dict:utf8 small:i32 wide:u64 half:f64 day:date \
         money:decimal128(12,2) bid.price:i32"
    );
    let all = timed(ReadPlan { columns: schema.columns.clone(), time: None }, "date");
    let seen = check_pieces(&spec, &all, &[(1, 1), (3, usize::MAX)], 1);
    assert_eq!(seen.len(), 20);
    assert_eq!(
        seen[4].1,
        "4000000|4|large 4|view 4|d4|4|18446744073709551611|2.0|1970-01-05|0.45|4|@4000000"
    );
    assert!(seen[5].1.contains("|null|@"), "null, because its structure is");
    assert!(seen[6].1.contains("|null|@"), "null itself");

    let others = plan(&[
        ("small", ColumnType::F64, false),
        ("small", ColumnType::I64, false),
        ("money", ColumnType::F64, false),
        ("day", ColumnType::Timestamp, false),
    ]);
    let seen = check_pieces(&spec, &others, &[(2, usize::MAX)], 1);
    assert_eq!(seen[4].1, "4.0|4|0.45|345600000000");
}

#[test]
fn values_that_do_not_fit_are_bad_rows() {
    let folder = Folder::new();
    let spec = files(&flights(&folder, 10), FormatSpec::Parquet);
    let seen = check_pieces(&spec, &plan(&[("bid.price", ColumnType::I64, false)]), &[(4, usize::MAX)], 1);
    let codes: Vec<&str> = seen.iter().map(|(_, values, _)| values.split(' ').next().unwrap()).collect();
    assert_eq!(codes, ["D008", "1", "2", "D008", "4", "D008", "D008", "7", "8", "D008"]);
    assert_eq!(seen[0].2, br#"{"bid.price":null}"#);
    let wide = check_pieces(&spec, &plan(&[("wide", ColumnType::I64, false)]), &[(4, usize::MAX)], 1);
    assert!(wide.iter().all(|(_, values, _)| values.starts_with("D011")));
}

#[test]
fn columns_that_cannot_fit_are_refused_when_the_file_is_opened() {
    let folder = Folder::new();
    let source = FilesSource::open(&files(&flights(&folder, 3), FormatSpec::Parquet)).unwrap();
    for (name, ty) in [
        ("dat", ColumnType::Timestamp),
        ("large", ColumnType::I64),
        ("half", ColumnType::I64),
        ("date", ColumnType::Date),
        ("bid", ColumnType::Utf8),
    ] {
        assert_eq!(code(source.open(0, 0, None, &plan(&[(name, ty, false)]))), Code::SourceColumn, "{name}");
    }
    let later = plan(&[("added_later", ColumnType::I64, true), ("small", ColumnType::I32, false)]);
    let (seen, ..) = read(&mut *source.open(0, 0, None, &later).unwrap(), &[ALL]);
    assert_eq!(seen[2].1, "null|2");
}

#[test]
fn a_damaged_or_changed_file_is_an_error() {
    let folder = Folder::new();
    let path = flights(&folder, 30);
    let source = FilesSource::open(&files(&path, FormatSpec::Parquet)).unwrap();
    let wanted = plan(&[("small", ColumnType::I32, false)]);
    let mark = source.mark(0, 10).unwrap();
    assert!(source.open(0, 10, Some(mark), &wanted).is_ok());
    assert_eq!(code(source.open(0, 31, None, &wanted)), Code::SourceChanged);
    let bytes = std::fs::read(&path).unwrap();
    flights(&folder, 31);
    assert_eq!(code(source.open(0, 10, Some(mark), &wanted)), Code::SourceChanged);
    folder.write("in.parquet", &bytes[..bytes.len() - 5]);
    assert_eq!(code(source.open(0, 0, None, &wanted)), Code::SourceFormat);
    folder.write("in.parquet", "date,delay\n");
    let spec = SourceSpec::Files(files(&path, FormatSpec::Parquet));
    assert_eq!(discover_schema(&spec).unwrap_err().code(), Code::SourceFormat);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn no_damage_makes_it_panic(
        damage in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..6),
    ) {
        let folder = Folder::new();
        let path = flights(&folder, 30);
        let spec = files(&path, FormatSpec::Parquet);
        let schema = discover_schema(&SourceSpec::Files(spec.clone())).unwrap().unwrap();
        let all = timed(ReadPlan { columns: schema.columns, time: None }, "date");
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        folder.write("in.parquet", &bytes);
        let source = FilesSource::open(&spec).unwrap();
        match source.open(0, 0, None, &all) {
            Ok(mut reader) => {
                let (_, _, found) = read(&mut *reader, &[ALL]);
                proptest::prop_assert!(found.is_none_or(|code| code == Code::SourceFormat));
            }
            Err(error) => {
                proptest::prop_assert!(matches!(error.code(), Code::SourceFormat | Code::SourceColumn), "{}", error);
            }
        }
    }
}
