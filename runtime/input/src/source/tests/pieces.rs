//! The promise of every source: the same records in whatever pieces, and from any record on.

use super::*;
use proptest::prelude::*;

fn json_record() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (any::<i32>(), "[a-zé\\]\\[{},]{0,20}").prop_map(|(a, c)| format!("{{\"a\":{a},\"b\":{{\"c\":\"{c}\"}}}}")),
        2 => any::<i32>().prop_map(|a| format!("{{\"a\": {a}, \"x\": [1, {{\"y\": 2}}, \"]\"]}}")),
        1 => "[ \t]{0,3}",
        1 => "[a-z{}\":,0-9é \\[\\]\\\\]{0,30}",
        1 => Just(format!("{{\"a\":1,\"z\":\"{}\"}}", "long ".repeat(30))),
    ]
}

fn pieces() -> impl Strategy<Value = (Vec<(usize, usize)>, usize)> {
    let limit = (1usize..6, prop_oneof![Just(1usize), 1usize..200, Just(usize::MAX)]);
    (prop::collection::vec(limit, 1..5), prop_oneof![1usize..40, 40usize..400])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn json_lines_are_the_same_in_any_pieces(
        records in prop::collection::vec(json_record(), 1..25),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        closed in any::<bool>(),
        bom in any::<bool>(),
        (pieces, block) in pieces(),
    ) {
        let folder = Folder::new();
        let mut text = records.join(end);
        if closed { text.push_str(end); }
        if bom { text.insert(0, '\u{FEFF}'); }
        prop_assume!(!text.is_empty() && !text.trim_start_matches('\u{FEFF}').trim_start().starts_with('['));
        let mut spec = files(&folder.write("in.jsonl", &text), FormatSpec::Json);
        spec.line_bytes_max = 120;
        check_pieces(&spec, &json_plan(), &pieces, block);
    }

    #[test]
    fn a_json_array_is_the_same_in_any_pieces(
        records in prop::collection::vec(json_record(), 1..25),
        comma in prop_oneof![Just(","), Just(", \n "), Just(" ,")],
        closed in prop_oneof![4 => Just("]"), 1 => Just("]\n \n"), 1 => Just(""), 1 => Just("] x")],
        (pieces, block) in pieces(),
    ) {
        let folder = Folder::new();
        let text = format!(" [\n{}{closed}", records.join(comma));
        let mut spec = files(&folder.write("in.json", &text), FormatSpec::Json);
        spec.line_bytes_max = 120;
        check_pieces(&spec, &json_plan(), &pieces, block);
    }

    #[test]
    fn csv_is_the_same_in_any_pieces(
        rows in prop::collection::vec(
            prop_oneof![
                5 => (any::<i32>(), "[a-zé]{0,12}").prop_map(|(a, b)| format!("{a},{b},x")),
                3 => "[a-z,\n]{0,12}".prop_map(|b| format!("1,\"{b}\",x")),
                1 => "[a-z\"\"\",\n\r]{0,30}",
                1 => Just(format!("1,{},x", "long ".repeat(30))),
                1 => Just(format!("1,\"{}\",x", "lo\nng ".repeat(30))),
                1 => Just(String::new()),
            ],
            0..25,
        ),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        closed in any::<bool>(),
        (pieces, block) in pieces(),
    ) {
        let folder = Folder::new();
        let mut text = format!("a,b,c{end}{}", rows.join(end));
        if closed { text.push_str(end); }
        let mut spec = files(&folder.write("in.csv", &text), csv());
        spec.line_bytes_max = 120;
        check_pieces(&spec, &plan(&[("a", ColumnType::I64, true), ("b", ColumnType::Utf8, false)]), &pieces, block);
    }

    #[test]
    fn well_formed_csv_is_what_the_csv_crate_reads(
        rows in prop::collection::vec(prop::collection::vec("[a-zé\",\n\r ]{0,8}", 3), 0..20),
        crlf in any::<bool>(),
    ) {
        let folder = Folder::new();
        let mut builder = csv::WriterBuilder::new();
        builder.terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') });
        builder.quote_style(csv::QuoteStyle::Always);
        let mut writer = builder.from_path(folder.path("in.csv")).unwrap();
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        writer.flush().unwrap();
        let spec = files(&folder.path("in.csv"), csv());
        let source = FilesSource::open(&spec).unwrap();
        let wanted = plan(&[("c", ColumnType::Utf8, true), ("a", ColumnType::Utf8, true)]);
        let mut found = Vec::new();
        let mut reader = source.open(0, 0, None, &wanted).unwrap();
        while let Next::Chunk(chunk) = reader.next(ALL).unwrap() {
            prop_assert!(chunk.bad.is_empty());
            let text = |column: usize, row| array_value_to_string(chunk.columns.column(column), row).unwrap();
            found.extend((0..chunk.columns.num_rows()).map(|row| (text(0, row), text(1, row))));
        }
        let wanted: Vec<_> = rows.into_iter().map(|row| (row[2].clone(), row[0].clone())).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn raw_lines_are_the_same_in_any_pieces(
        text in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')], 1..400),
        (pieces, block) in pieces(),
    ) {
        let folder = Folder::new();
        let mut spec = files(&folder.write("in.bin", &text), FormatSpec::Raw);
        spec.line_bytes_max = 40;
        let seen = check_pieces(&spec, &plan(&[("value", ColumnType::Binary, false)]), &pieces, block);
        let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(&text).split(|&byte| byte == b'\n').collect();
        prop_assert_eq!(seen.len(), lines.len());
        for ((.., raw), line) in seen.iter().zip(lines) {
            prop_assert_eq!(raw.as_slice(), line.strip_suffix(b"\r").unwrap_or(line));
        }
    }
}
