//! What the formats make of whole files, and the generator.

use super::*;

#[test]
fn an_array_that_is_cut_off_or_followed_by_something_is_an_error_after_its_records() {
    let folder = Folder::new();
    for (text, records, wanted) in [
        ("[{\"a\":1},{\"a\":2}]", 2, None),
        ("[]", 0, None),
        (" \n[ ] \n", 0, None),
        ("[{\"a\":1},{\"a\":2}", 1, Some(Code::SourceFormat)),
        ("[{\"a\":1},{\"a\":", 1, Some(Code::SourceFormat)),
        ("[{\"a\":1},", 1, Some(Code::SourceFormat)),
        ("[", 0, Some(Code::SourceFormat)),
        ("[{\"a\":1}]{\"a\":2}", 1, Some(Code::SourceFormat)),
        ("[{\"a\":1}{\"a\":2},{\"a\":3}]", 2, None),
        ("[{\"a\":1},,{\"a\":3},]", 4, None),
        ("[,]", 2, None),
        ("[\"not closed,\n]", 1, None),
        ("[[1],{\"a\":\"x]\"},2,{\"a\":}]", 4, None),
        ("[{\"a\":\"not closed\n},{\"a\":3}]", 2, None),
    ] {
        let source = FilesSource::open(&files(&folder.write("in.json", text), FormatSpec::Json)).unwrap();
        let (seen, _, found) = read(&mut *source.open(0, 0, None, &json_plan()).unwrap(), &[ALL]);
        assert_eq!((seen.len(), found), (records, wanted), "{text}: {seen:?}");
    }
}

#[test]
fn csv_rows_are_typed_or_bad() {
    let folder = Folder::new();
    let text = "\u{FEFF}when,id,name,score\n\
                2001-01-01 00:47:00,1,\"O\"\"Hare, \nChicago\",0.5\n\
                2001-01-01,2,,\n\
                2001-01-01,3,\"\",x\n\
                2001-01-01,4,few\n\
                yesterday,5,a,1\n\
                \n\
                2001-01-01,6,\"a\"b,1\n\
                2001-01-01,7.5,a,1\n\
                2001-01-01, 8 ,a,1e3";
    let spec = files(&folder.write("in.csv", text), csv());
    let columns = plan(&[
        ("id", ColumnType::I64, false),
        ("name", ColumnType::Utf8, true),
        ("score", ColumnType::F64, true),
        ("when", ColumnType::Timestamp, false),
    ]);
    let seen = check_pieces(&spec, &timed(columns, "when"), &[(1, 1)], 7);
    let values: Vec<&str> = seen.iter().map(|(_, values, _)| values.as_str()).collect();
    assert_eq!(
        values,
        [
            "1|O\"Hare, \nChicago|0.5|978310020000000|@978310020000000",
            "2|null|null|978307200000000|@978307200000000",
            "D010 field `score` should be f64, but is the text \"x\"",
            "D012 the row has 3 fields, but the header has 4",
            "D010 field `when` should be timestamp, but is the text \"yesterday\"",
            "D001 a closing quote is followed by something else than a delimiter (at byte 15 of the row)",
            "D011 field `id`: i64 cannot hold the text \"7.5\" exactly",
            "8|a|1000.0|978307200000000|@978307200000000",
        ]
    );
    assert_eq!(seen[3].2, b"2001-01-01,4,few");
}

#[test]
fn a_csv_header_decides_what_can_be_read() {
    let folder = Folder::new();
    let path = folder.write("in.csv", "id,name,name\n1,a,b\n");
    let source = FilesSource::open(&files(&path, csv())).unwrap();
    let fails = |columns: ReadPlan| {
        let mut reader = source.open(0, 0, None, &columns).unwrap();
        let error = reader.next(ALL).unwrap_err();
        assert!(error.help().unwrap().contains("id, name, name"), "{error}");
        error.code()
    };
    assert_eq!(fails(plan(&[("nmae", ColumnType::Utf8, false)])), Code::SourceColumn);
    assert_eq!(fails(plan(&[("name", ColumnType::Utf8, false)])), Code::SourceColumn);
    let later = plan(&[("id", ColumnType::I64, false), ("added_later", ColumnType::Utf8, true)]);
    let (seen, ..) = read(&mut *source.open(0, 0, None, &later).unwrap(), &[ALL]);
    assert_eq!(seen[0].1, "1|null");

    let mut spec = files(&path, csv());
    spec.columns = vec![Column::new("id", ColumnType::I64, false)];
    let schema = discover_schema(&SourceSpec::Files(spec)).unwrap().unwrap();
    assert_eq!(schema.columns[0], Column::new("id", ColumnType::I64, false));
    assert_eq!(schema.columns[1], Column::new("name", ColumnType::Utf8, false));

    let broken = files(&folder.write("broken.csv", "id,\"na\n1,2\n"), csv());
    let error = discover_schema(&SourceSpec::Files(broken)).unwrap_err();
    assert_eq!(error.code(), Code::SourceFormat);
    let blank = files(&folder.write("blank.csv", "\n\n"), csv());
    assert_eq!(discover_schema(&SourceSpec::Files(blank)).unwrap_err().code(), Code::SourceEmpty);
}

#[test]
fn csv_without_a_header_row_takes_the_names_that_are_given() {
    let folder = Folder::new();
    let format = FormatSpec::Csv { header: Some(vec!["a".to_owned(), "b".to_owned()]), delimiter: b';' };
    let spec = files(&folder.write("in.csv", "1;x\n2;y\n"), format);
    let seen = check_pieces(&spec, &plan(&[("b", ColumnType::Utf8, false)]), &[(1, 1)], 3);
    assert_eq!(seen.iter().map(|(_, values, _)| values.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn raw_lines_have_one_column() {
    let folder = Folder::new();
    let source = FilesSource::open(&files(&folder.write("in.txt", b"a\n\xff\n"), FormatSpec::Raw)).unwrap();
    assert_eq!(code(source.open(0, 0, None, &plan(&[("line", ColumnType::Binary, false)]))), Code::SourceColumn);
    let text = plan(&[("value", ColumnType::Utf8, false)]);
    let (seen, ..) = read(&mut *source.open(0, 0, None, &text).unwrap(), &[ALL]);
    assert_eq!(seen[0].1, "a");
    assert!(seen[1].1.starts_with("D002"));
}

#[test]
fn a_time_format_that_cannot_work_is_refused_when_the_source_is_opened() {
    let folder = Folder::new();
    let source = FilesSource::open(&files(&folder.write("in.jsonl", "{}\n"), FormatSpec::Json)).unwrap();
    let mut plan = timed(json_plan(), "a");
    plan.time.as_mut().unwrap().format = Some("%H:%M".to_owned());
    assert_eq!(code(source.open(0, 0, None, &plan)), Code::SourceSetting);
}

#[test]
fn generated_events_read_back_from_json_are_the_same() {
    let folder = Folder::new();
    let mut spec = NexmarkSpec::new("events", 42, Some(500));
    let mut json = Vec::new();
    nexmark::write_json_lines(&spec, 0..500, &mut json).unwrap();
    let columns = schema_plan(&nexmark::schema(&spec));
    let file = FilesSource::open(&files(&folder.write("in.jsonl", &json), FormatSpec::Json)).unwrap();
    let (from_file, ..) = read(&mut *file.open(0, 0, None, &columns).unwrap(), &[ALL]);
    let source = open_source(&SourceSpec::Nexmark(spec.clone())).unwrap();
    let (made, ..) = read(&mut *source.open(0, 0, None, &columns).unwrap(), &[ALL]);
    let values = |seen: &[Seen]| seen.iter().map(|(_, values, _)| values.clone()).collect::<Vec<_>>();
    assert_eq!(values(&from_file), values(&made));
    let kind = |wanted: &str| made.iter().filter(|(_, values, _)| values.starts_with(wanted)).count();
    assert_eq!([kind("0|"), kind("1|"), kind("2|")], [10, 30, 460]);

    spec.only = Some(NexmarkKind::Bid);
    let mut bids = Vec::new();
    nexmark::write_json_lines(&spec, 0..10_000, &mut bids).unwrap();
    let mean = bids.len() as f64 / 10_000.0 - 1.0;
    assert!((255.0..263.0).contains(&mean), "{mean} bytes per bid");
}

#[test]
fn another_seed_or_column_is_refused_by_the_generator() {
    let source = open_source(&SourceSpec::Nexmark(NexmarkSpec::new("events", 1, None))).unwrap();
    let other = open_source(&SourceSpec::Nexmark(NexmarkSpec::new("events", 2, None))).unwrap();
    let mark = source.mark(0, 10).unwrap();
    let price = plan(&[("bid.price", ColumnType::I64, true)]);
    assert_eq!(code(other.open(0, 10, Some(mark), &price)), Code::SourceChanged);
    assert_eq!(code(source.open(3, 0, None, &price)), Code::SourceMissing);
    for name in ["bid.prize", "bid.channel"] {
        let wrong = plan(&[(name, ColumnType::I64, true)]);
        assert_eq!(code(source.open(0, 0, None, &wrong)), Code::SourceColumn);
    }
    let needed = plan(&[("bid.price", ColumnType::I64, false)]);
    let mut reader = source.open(0, 0, None, &needed).unwrap();
    let Next::Chunk(chunk) = reader.next(ReadLimit { rows: 50, bytes: usize::MAX }).unwrap() else { panic!() };
    assert_eq!((chunk.columns.num_rows(), chunk.bad.len(), chunk.bad[0].code), (46, 4, Code::FieldNull));
}
