//! Files that cannot be read, that grow, that change, and lines without end.

use super::*;

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
