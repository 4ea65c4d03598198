//! What every source promises: the same records in whatever pieces, from any record on; and clear errors for files
//! that are not what they should be.

mod changes;
mod formats;
mod parquet;
mod pieces;

use super::files::FilesSource;
use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_cast::display::array_value_to_string;
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

fn schema_plan(schema: &Schema) -> ReadPlan {
    timed(ReadPlan { columns: schema.columns.clone(), time: None }, "date_time")
}

fn open_error(spec: FilesSpec) -> Error {
    open_source(&SourceSpec::Files(spec)).err().expect("an error")
}

fn code(result: Result<Box<dyn PartitionReader>>) -> Code {
    result.err().expect("an error").code()
}
