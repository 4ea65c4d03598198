//! What every source promises: the same records in whatever pieces, from any record on; and clear errors for files
//! that are not what they should be.

mod changes;
mod conformance;
mod formats;
mod parquet;
mod pieces;

use super::files::FilesSource;
use super::*;
use arrow_cast::display::array_value_to_string;
use segno_conformance::read::{ALL, Seen, Stop, see};
use segno_core::columns::{Column, ColumnType};
use segno_core::source::{
    FilesSpec, FormatSpec, Next, NexmarkKind, NexmarkSpec, PartitionReader, ReadLimit, ReadPlan, TimeColumn,
    TimeUnit,
};
use segno_core::{Code, Error};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

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

/// Reads until there is nothing more; also returns the ends of the chunks, and the error where it stopped.
fn read(reader: &mut dyn PartitionReader, limits: &[ReadLimit]) -> (Vec<Seen>, Vec<u64>, Option<Code>) {
    let given = segno_conformance::read::read(reader, 0, limits, Stop::WhenItWaits);
    (given.records, given.ends, given.error)
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
