//! What every source promises: the same records in whatever pieces, from any record on; and clear errors for files
//! that are not what they should be.

use super::files::FilesSource;
use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_cast::display::array_value_to_string;
use proptest::prelude::*;
use segno_core::columns::{Column, ColumnType};
use segno_core::source::{
    Chunk, FilesSpec, FormatSpec, Next, NexmarkKind, NexmarkSpec, PartitionReader, ReadLimit, ReadPlan, TimeColumn,
    TimeUnit,
};
use segno_core::{Code, Error};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const ALL: ReadLimit = ReadLimit { rows: usize::MAX, bytes: usize::MAX };

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }
}

fn files(path: &Path, format: FormatSpec) -> FilesSpec {
    FilesSpec::new("input", path.to_str().unwrap(), format)
}

fn csv() -> FormatSpec {
    FormatSpec::Csv { header: None, delimiter: b',' }
}

fn plan(columns: &[(&str, ColumnType, bool)]) -> ReadPlan {
    let columns = columns.iter().map(|(name, ty, nullable)| Column::new(*name, *ty, *nullable)).collect();
    ReadPlan { columns, time: None }
}

fn timed(mut plan: ReadPlan, name: &str) -> ReadPlan {
    plan.time = Some(TimeColumn { name: name.to_owned(), format: None, unit: TimeUnit::Milliseconds });
    plan
}

/// A record as it must come out every time: `(offset, values or why it is bad, original bytes)`.
type Seen = (u64, String, Vec<u8>);

fn see(chunk: &Chunk, into: &mut Vec<Seen>) {
    let rows = chunk.columns.num_rows();
    assert_eq!(chunk.offsets.len(), rows);
    assert!(rows + chunk.bad.len() > 0, "an empty chunk");
    assert!(chunk.start < chunk.end);
    if let Some(raw) = &chunk.raw {
        assert_eq!(raw.bytes.len() as u64, chunk.end - chunk.start);
        assert_eq!(raw.rows.len(), rows);
    }
    let mut bad = chunk.bad.iter().peekable();
    for row in 0..=rows {
        while let Some(b) = bad.next_if(|b| b.before_row as usize == row) {
            into.push((b.offset, format!("{} {}", b.code.name(), b.reason), b.bytes.to_vec()));
        }
        if row == rows {
            break;
        }
        let mut values: Vec<String> = Vec::new();
        for array in chunk.columns.columns() {
            array.to_data().validate_full().unwrap();
            values.push(match arrow_array::Array::is_null(array, row) {
                true => "null".to_owned(),
                // Display knows no zone by name.
                false => match array.as_primitive_opt::<TimestampMicrosecondType>() {
                    Some(times) => times.value(row).to_string(),
                    None => array_value_to_string(array, row).unwrap(),
                },
            });
        }
        if let Some(time) = chunk.times.get(row) {
            values.push(format!("@{time}"));
        }
        let raw = chunk.raw.as_ref().map_or(Vec::new(), |raw| {
            let (start, end) = raw.rows[row];
            raw.bytes[start as usize..end as usize].to_vec()
        });
        into.push((chunk.offsets[row], values.join("|"), raw));
    }
    assert!(bad.next().is_none());
    assert!(into.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets grow");
    assert!(into.iter().all(|(offset, ..)| *offset < chunk.end));
}

/// Reads until there is nothing more; also returns the ends of the chunks, and the error where it stopped.
fn read(reader: &mut dyn PartitionReader, limits: &[ReadLimit]) -> (Vec<Seen>, Vec<u64>, Option<Code>) {
    let (mut seen, mut ends) = (Vec::new(), Vec::new());
    for turn in 0.. {
        let limit = limits[turn % limits.len()];
        match reader.next(limit) {
            Ok(Next::Chunk(chunk)) => {
                assert!(chunk.columns.num_rows() + chunk.bad.len() <= limit.rows.max(1));
                see(&chunk, &mut seen);
                ends.push(chunk.end);
            }
            Ok(Next::Waiting | Next::End) => return (seen, ends, None),
            Err(error) => return (seen, ends, Some(error.code())),
        }
    }
    unreachable!()
}

/// The promise, for one file: any blocks and limits, and any place to begin, give the same records.
fn check_pieces(spec: &FilesSpec, plan: &ReadPlan, pieces: &[(usize, usize)], block: usize) -> Vec<Seen> {
    let whole = FilesSource::open(spec).unwrap();
    whole.partitions().unwrap();
    let (wanted, _, error) = read(&mut *whole.open(0, 0, None, plan).unwrap(), &[ALL]);
    let small = FilesSource::open(spec).unwrap().with_block_bytes(block);
    let limits: Vec<ReadLimit> = pieces.iter().map(|&(rows, bytes)| ReadLimit { rows, bytes }).collect();
    let (seen, ends, found) = read(&mut *small.open(0, 0, None, plan).unwrap(), &limits);
    assert_eq!(seen, wanted);
    assert_eq!(found, error);
    for offset in seen.iter().map(|(offset, ..)| *offset).chain(ends) {
        let mark = small.mark(0, offset).unwrap();
        let rest: Vec<Seen> = wanted.iter().filter(|(at, ..)| *at >= offset).cloned().collect();
        let (seen, _, found) = read(&mut *small.open(0, offset, Some(mark), plan).unwrap(), &limits);
        assert_eq!(seen, rest, "from {offset}");
        assert_eq!(found, error, "from {offset}");
    }
    wanted
}

fn json_plan() -> ReadPlan {
    plan(&[("a", ColumnType::I64, true), ("b.c", ColumnType::Utf8, true)])
}

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

    #[test]
    fn nexmark_is_the_same_in_any_pieces(
        (limits, _) in pieces(),
        partitions in 1u32..4,
        only in prop_oneof![Just(None), Just(Some(NexmarkKind::Bid)), Just(Some(NexmarkKind::Auction))],
    ) {
        let mut spec = NexmarkSpec::new("events", 7, Some(200));
        (spec.partitions, spec.only) = (partitions, only);
        let columns = schema_plan(&nexmark::schema(&spec));
        let source = open_source(&SourceSpec::Nexmark(spec)).unwrap();
        let limits: Vec<ReadLimit> = limits.iter().map(|&(rows, bytes)| ReadLimit { rows, bytes }).collect();
        let mut total = 0;
        for partition in 0..partitions {
            let (wanted, ..) = read(&mut *source.open(partition, 0, None, &columns).unwrap(), &[ALL]);
            let (seen, ends, _) = read(&mut *source.open(partition, 0, None, &columns).unwrap(), &limits);
            prop_assert_eq!(&seen, &wanted);
            total += seen.len();
            for offset in seen.iter().map(|(offset, ..)| *offset).chain(ends).step_by(7) {
                let mark = source.mark(partition, offset).unwrap();
                let (rest, ..) = read(&mut *source.open(partition, offset, Some(mark), &columns).unwrap(), &limits);
                prop_assert_eq!(&rest[..], &wanted[wanted.len() - rest.len()..]);
                prop_assert!(rest.len() == wanted.iter().filter(|(at, ..)| *at >= offset).count());
            }
        }
        prop_assert_eq!(total, 200);
    }
}

fn schema_plan(schema: &Schema) -> ReadPlan {
    timed(ReadPlan { columns: schema.columns.clone(), time: None }, "date_time")
}

fn open_error(spec: FilesSpec) -> Error {
    open_source(&SourceSpec::Files(spec)).err().expect("an error")
}

fn code(result: Result<Box<dyn PartitionReader>>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn files_that_cannot_be_read_are_refused_with_advice() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("logs")).unwrap();
    folder.write("empty.jsonl", "");
    for (name, format, wanted) in [
        ("absent.jsonl", FormatSpec::Json, Code::SourceMissing),
        ("absent-*.jsonl", FormatSpec::Json, Code::SourceMissing),
        ("logs", FormatSpec::Json, Code::SourceUnreadable),
        ("empty.jsonl", FormatSpec::Json, Code::SourceEmpty),
        ("e*.jsonl", FormatSpec::Json, Code::SourceEmpty),
        ("[", FormatSpec::Json, Code::SourceSetting),
    ] {
        let error = open_error(files(&folder.path(name), format));
        assert_eq!(error.code(), wanted, "{name}: {error}");
        assert!(error.message().contains(folder.0.path().to_str().unwrap()), "{error}");
        assert!(error.help().is_some() || wanted == Code::SourceSetting, "{name}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let path = folder.write("in.txt", "a\n");
    let mut short = files(&path, FormatSpec::Raw);
    short.line_bytes_max = 0;
    let mut growing = files(&path, FormatSpec::Parquet);
    growing.follow = true;
    let quote = files(&path, FormatSpec::Csv { header: None, delimiter: b'"' });
    for spec in [short, growing, quote] {
        assert_eq!(open_error(spec).code(), Code::SourceSetting);
    }
    let mut nexmark = NexmarkSpec::new("events", 1, None);
    nexmark.partitions = 0;
    assert!(open_source(&SourceSpec::Nexmark(nexmark)).is_err_and(|error| error.code() == Code::SourceSetting));
    let mut followed = files(&folder.write("in.json", "[{}]"), FormatSpec::Json);
    followed.follow = true;
    let source = FilesSource::open(&followed).unwrap();
    assert_eq!(code(source.open(0, 0, None, &json_plan())), Code::SourceSetting);
}

#[test]
fn a_glob_numbers_its_files_by_name_and_known_ones_keep_their_numbers() {
    let folder = Folder::new();
    for name in ["b.jsonl", "c.jsonl", "a.csv"] {
        folder.write(name, "{}\n");
    }
    std::fs::create_dir(folder.path("d.jsonl")).unwrap();
    let mut spec = files(&folder.path("*.jsonl"), FormatSpec::Json);
    let names = |source: &FilesSource| {
        let partitions = source.partitions().unwrap();
        assert!(partitions.iter().enumerate().all(|(at, partition)| at as u32 == partition.number));
        partitions.into_iter().map(|p| p.name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let fixed = FilesSource::open(&spec).unwrap();
    spec.follow = true;
    let growing = FilesSource::open(&spec).unwrap();
    assert_eq!(names(&fixed), ["b.jsonl", "c.jsonl"]);
    folder.write("a.jsonl", "{}\n");
    assert_eq!(names(&fixed), ["b.jsonl", "c.jsonl"]);
    assert_eq!(names(&growing), ["b.jsonl", "c.jsonl", "a.jsonl"]);
    spec.known_partitions = growing.partitions().unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names(&FilesSource::open(&spec).unwrap()), ["b.jsonl", "c.jsonl", "a.jsonl"]);
}

#[test]
fn a_growing_file_waits_for_whole_lines() {
    let folder = Folder::new();
    let path = folder.write("in.jsonl", "");
    let mut spec = files(&path, FormatSpec::Json);
    spec.follow = true;
    let source = FilesSource::open(&spec).unwrap();
    let mut reader = source.open(0, 0, None, &json_plan()).unwrap();
    let mut next = || {
        let mut seen = Vec::new();
        match reader.next(ALL).unwrap() {
            Next::Chunk(chunk) => see(&chunk, &mut seen),
            Next::Waiting => {}
            Next::End => panic!("a growing file has no end"),
        }
        seen.into_iter().map(|(offset, values, _)| (offset, values)).collect::<Vec<_>>()
    };
    assert_eq!(next(), []);
    folder.append("in.jsonl", "{\"a\":1}\n{\"a\"");
    assert_eq!(next(), [(0, "1|null".to_owned())]);
    assert_eq!(next(), []);
    folder.append("in.jsonl", ":2}");
    assert_eq!(next(), []);
    folder.append("in.jsonl", "\n\n{\"a\":3}\n");
    assert_eq!(next(), [(8, "2|null".to_owned()), (17, "3|null".to_owned())]);
    assert_eq!(next(), []);
}

#[test]
fn a_growing_csv_waits_for_its_header_and_for_closed_quotes() {
    let folder = Folder::new();
    let path = folder.write("in.csv", "a,");
    let mut spec = files(&path, csv());
    spec.follow = true;
    let source = FilesSource::open(&spec).unwrap();
    let wanted = plan(&[("b", ColumnType::Utf8, false)]);
    let mut reader = source.open(0, 0, None, &wanted).unwrap();
    assert!(matches!(reader.next(ALL).unwrap(), Next::Waiting));
    folder.append("in.csv", "b\n1,\"two\n");
    assert!(matches!(reader.next(ALL).unwrap(), Next::Waiting));
    folder.append("in.csv", "lines\"");
    assert!(matches!(reader.next(ALL).unwrap(), Next::Waiting));
    folder.append("in.csv", "\n");
    let Next::Chunk(chunk) = reader.next(ALL).unwrap() else { panic!("a row") };
    let mut seen = Vec::new();
    see(&chunk, &mut seen);
    assert_eq!(seen, [(4, "two\nlines".to_owned(), b"1,\"two\nlines\"".to_vec())]);
}

#[test]
fn a_long_line_of_a_growing_file_is_bad_once_it_ends() {
    let folder = Folder::new();
    let path = folder.write("in.jsonl", "{\"a\":1}\n");
    let mut spec = files(&path, FormatSpec::Json);
    (spec.follow, spec.line_bytes_max) = (true, 20);
    let source = FilesSource::open(&spec).unwrap().with_block_bytes(16);
    let mut reader = source.open(0, 0, None, &json_plan()).unwrap();
    let (seen, ..) = read(&mut *reader, &[ALL]);
    assert_eq!(seen.len(), 1);
    folder.append("in.jsonl", "x".repeat(100));
    assert!(matches!(reader.next(ALL).unwrap(), Next::Waiting));
    folder.append("in.jsonl", format!("{}\r\n{{\"a\":2}}\n", "y".repeat(100)));
    let (seen, ..) = read(&mut *reader, &[ALL]);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].0, seen[0].2.len(), &seen[0].1[..4]), (8, 200, "D003"));
    assert_eq!(seen[1].1, "2|null");
}

#[test]
fn memory_stays_bounded_by_the_limit_however_long_a_line_is() {
    let folder = Folder::new();
    let mut file = File::create(folder.path("in.jsonl")).unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    file.write_all(b"{\"a\":1}\n").unwrap();
    for _ in 0..40 {
        file.write_all(&megabyte).unwrap();
    }
    file.write_all(b"\n{\"a\":2}\n").unwrap();
    let source = FilesSource::open(&files(&folder.path("in.jsonl"), FormatSpec::Json)).unwrap();
    let (seen, ..) = read(&mut *source.open(0, 0, None, &json_plan()).unwrap(), &[ALL]);
    assert_eq!(seen.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [0, 8, 8 + (40 << 20) + 1]);
    assert_eq!(seen[1].2.len(), segno_core::source::BAD_BYTES_MAX);
}

#[test]
fn a_file_that_changed_or_shrank_is_noticed_when_it_is_opened() {
    let folder = Folder::new();
    let text = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}";
    let path = folder.write("in.jsonl", text);
    let source = FilesSource::open(&files(&path, FormatSpec::Json)).unwrap();
    let open = |offset, mark| source.open(0, offset, mark, &json_plan());
    let (middle, end) = (source.mark(0, 8).unwrap(), source.mark(0, 23).unwrap());
    assert_ne!(middle, end);
    assert!(open(8, Some(middle)).is_ok() && open(23, Some(end)).is_ok());

    folder.write("in.jsonl", text.replace('1', "9"));
    let error = open(8, Some(middle)).err().unwrap();
    assert_eq!(error.code(), Code::SourceChanged);
    assert!(error.message().contains("in.jsonl") && error.help().is_some());
    // Restored under another inode, it is itself again.
    std::fs::remove_file(&path).unwrap();
    folder.write("in.jsonl", text);
    assert!(open(8, Some(middle)).is_ok());

    folder.append("in.jsonl", "4}\n");
    assert_eq!(code(open(23, Some(end))), Code::SourceChanged, "the last line became another one");
    assert!(open(8, Some(middle)).is_ok());

    folder.write("in.jsonl", "{\"a\":1}\n");
    assert_eq!(code(open(23, Some(end))), Code::SourceShrunk);
    assert_eq!(source.mark(0, 23).unwrap_err().code(), Code::SourceShrunk);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code(open(8, Some(middle))), Code::SourceMissing);
}

#[test]
fn a_file_that_shrinks_or_is_replaced_while_it_is_followed_is_an_error() {
    let text = "{\"a\":1}\n{\"a\":2}\n";
    let start = || {
        let folder = Folder::new();
        let mut spec = files(&folder.write("in.jsonl", text), FormatSpec::Json);
        spec.follow = true;
        let source = FilesSource::open(&spec).unwrap();
        let mut reader = source.open(0, 0, None, &json_plan()).unwrap();
        let (seen, ..) = read(&mut *reader, &[ALL]);
        assert_eq!(seen.len(), 2);
        (folder, reader)
    };
    let fails = |mut reader: Box<dyn PartitionReader>| reader.next(ALL).unwrap_err().code();

    let (folder, reader) = start();
    OpenOptions::new().write(true).open(folder.path("in.jsonl")).unwrap().set_len(8).unwrap();
    assert_eq!(fails(reader), Code::SourceShrunk);

    let (folder, reader) = start();
    std::fs::rename(folder.path("in.jsonl"), folder.path("in.jsonl.1")).unwrap();
    assert_eq!(fails(reader), Code::SourceChanged);

    let (folder, reader) = start();
    folder.write("other", text.replace('1', "7"));
    std::fs::rename(folder.path("other"), folder.path("in.jsonl")).unwrap();
    assert_eq!(fails(reader), Code::SourceChanged);

    let (folder, mut reader) = start();
    folder.write("other", format!("{text}{{\"a\":3}}\n"));
    std::fs::rename(folder.path("other"), folder.path("in.jsonl")).unwrap();
    assert!(matches!(reader.next(ALL).unwrap(), Next::Waiting));
    let (seen, ..) = read(&mut *reader, &[ALL]);
    assert_eq!(seen[0].1, "3|null", "a copy that goes on where the old file ended is taken");
}

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

mod parquet_files {
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
}
