//! Files as a source: one file, a glob, or files that grow. Each file is a partition.
//!
//! Owns: which files there are and their numbers; opening them for their format; marks.
//! Does not own: reading (`text`, `format::parquet`), formats.
//!
//! Invariants: a partition's number never changes: files known from earlier runs come first, new ones are appended in
//! the order of their names. Offsets are byte offsets, for Parquet row numbers.

use super::peek::{PEEK_BYTES, byte_before, first_byte};
use super::place::{changed, check_mark, mark, shrunk, unreadable};
use super::text::{BLOCK_BYTES, TextReader, TextStart};
use crate::format::csv::{Csv, RowParser};
use crate::format::json::scan::PADDING;
use crate::format::json::{JsonArray, JsonLines};
use crate::format::parquet::{self, ParquetReader};
use crate::format::plan::Plan;
use crate::format::raw::{RAW_COLUMN, RawLines};
use crate::format::rows::Rows;
use crate::format::{BYTE_ORDER_MARK, Decoder, Window};
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::source::{FilesSpec, FormatSpec, Partition, PartitionReader, ReadPlan, Source};
use segno_core::{Code, Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bounds of `line_bytes_max`, in bytes: below, no record fits; above, a record would not be held in memory lightly.
const LINE_BYTES_BOUNDS: std::ops::RangeInclusive<usize> = 16..=256 << 20;

#[derive(Debug)]
pub struct FilesSource {
    spec: FilesSpec,
    partitions: Mutex<Known>,
    block_bytes: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// Paths in the order of their numbers; only grows.
    paths: Vec<String>,
    /// The file system was asked once. Files that appear later belong to the next run, except for a source that
    /// follows.
    listed: bool,
}

impl FilesSource {
    pub fn open(spec: &FilesSpec) -> Result<FilesSource> {
        check_settings(spec)?;
        let source = FilesSource {
            spec: spec.clone(),
            partitions: Mutex::new(Known { paths: spec.known_partitions.clone(), listed: false }),
            block_bytes: BLOCK_BYTES,
        };
        let partitions = source.find()?;
        if partitions.is_empty() && !spec.follow {
            return Err(Error::new(Code::SourceMissing, format!("no file matches {}", spec.path))
                .with_help("Paths are relative to the folder of the pipeline file."));
        }
        let mut bytes = 0;
        for path in &partitions {
            let metadata = std::fs::metadata(path).map_err(|error| unreadable(Path::new(path), &error))?;
            if metadata.is_dir() {
                return Err(Error::new(Code::SourceUnreadable, format!("{path} is a directory"))
                    .with_help(format!("To read the files in it, write a glob such as `{path}/*`.")));
            }
            if !metadata.is_file() {
                return Err(Error::new(Code::SourceUnreadable, format!("{path} is not a regular file"))
                    .with_help("Offsets need a file that can be read again from any place, not a pipe or a device."));
            }
            bytes += metadata.len();
        }
        if bytes == 0 && !spec.follow {
            let what = if partitions.len() == 1 { "is empty" } else { "matches empty files only" };
            return Err(Error::new(Code::SourceEmpty, format!("{} {what}", spec.path))
                .with_help("For one that will be written later: files: { path: …, follow: true }."));
        }
        Ok(source)
    }

    /// Reads smaller blocks, so that tests meet every border.
    pub fn with_block_bytes(mut self, block_bytes: usize) -> FilesSource {
        self.block_bytes = block_bytes.max(1);
        self
    }

    /// Looks for files that are not known yet, and returns all.
    fn find(&self) -> Result<Vec<String>> {
        let mut known = self.known();
        if self.spec.follow || !known.listed {
            for path in matching(&self.spec.path)? {
                if !known.paths.contains(&path) {
                    known.paths.push(path);
                }
            }
            known.listed = true;
        }
        Ok(known.paths.clone())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, partition: u32) -> Result<PathBuf> {
        let partitions = &self.known().paths;
        match partitions.get(partition as usize) {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(Error::new(
                Code::SourceMissing,
                format!("source {} has no partition {partition}; it has {}", self.spec.name, partitions.len()),
            )
            .with_help("A file that was read before is gone. Restore it.")),
        }
    }

    fn decoder(&self, path: &Path, file: &File, offset: u64, rows: &Rows) -> Result<Box<dyn Decoder>> {
        let max = self.spec.line_bytes_max;
        let name = path.to_string_lossy();
        Ok(match &self.spec.format {
            FormatSpec::Json if first_byte(path, file)? == Some(b'[') => {
                if self.spec.follow {
                    return Err(Error::new(
                        Code::SourceSetting,
                        format!("{name} holds one JSON array, which cannot be followed"),
                    )
                    .with_help("A growing file holds one object on each line. For an array, set follow: false."));
                }
                let before = if offset == 0 { None } else { byte_before(path, file, offset)? };
                Box::new(JsonArray::new(rows, max, &name, before))
            }
            FormatSpec::Json => Box::new(JsonLines::new(rows, max)),
            FormatSpec::Raw => Box::new(RawLines::new(rows, max)),
            FormatSpec::Csv { header, delimiter } => {
                let parser = RowParser::new(*delimiter, max);
                let names = match header {
                    Some(names) => Some(names.clone()),
                    None if offset == 0 => None,
                    None => csv_header(&self.spec, path, file)?,
                };
                Box::new(Csv::new(rows, parser, &name, names.as_deref())?)
            }
            FormatSpec::Parquet | FormatSpec::Rows { .. } => {
                return Err(Error::new(Code::SourceSetting, "the files are no text"));
            }
        })
    }

    /// In a file of lines, only the end of the input may be a place that is no line's start.
    fn check_line_start(&self, path: &Path, file: &File, offset: u64) -> Result<()> {
        let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
        let mut before = [0; 3];
        let known = offset.min(3) as usize;
        if offset == 0 || offset >= length || (self.spec.format == FormatSpec::Json && first_byte(path, file)? == Some(b'['))
        {
            return Ok(());
        }
        file.read_exact_at(&mut before[3 - known..], offset - known as u64).map_err(|error| unreadable(path, &error))?;
        if before[2] != b'\n' && !(offset == 3 && before == BYTE_ORDER_MARK) {
            return Err(changed(
                path,
                "its last line had no line feed and was read as a record; now more bytes follow that line",
            ));
        }
        Ok(())
    }
}

impl Source for FilesSource {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        let paths = self.find()?;
        Ok((0..).zip(paths).map(|(number, name)| Partition { number, name, in_topic: number }).collect())
    }

    fn open(
        &self,
        partition: u32,
        offset: u64,
        mark: Option<u64>,
        plan: &ReadPlan,
    ) -> Result<Box<dyn PartitionReader>> {
        let path = self.path(partition)?;
        let plan = Arc::new(Plan::new(plan)?);
        if self.spec.format == FormatSpec::Parquet {
            return Ok(Box::new(ParquetReader::open(&path, partition, offset, mark, plan)?));
        }
        if self.spec.format == FormatSpec::Raw
            && let Some(field) = plan.fields.iter().find(|field| *field != RAW_COLUMN)
        {
            return Err(Error::new(Code::SourceColumn, format!("raw lines have no column `{field}`"))
                .with_help(format!("The only column of the format raw is `{RAW_COLUMN}`.")));
        }
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        check_mark(&path, &file, offset, mark)?;
        self.check_line_start(&path, &file, offset)?;
        let rows = Rows::new(plan);
        let decoder = self.decoder(&path, &file, offset, &rows)?;
        let start = TextStart {
            path,
            file,
            partition,
            offset,
            record_bytes_max: self.spec.line_bytes_max,
            follow: self.spec.follow,
            block_bytes: self.block_bytes,
        };
        Ok(Box::new(TextReader::new(start, decoder, rows)?))
    }

    fn mark(&self, partition: u32, offset: u64) -> Result<u64> {
        let path = self.path(partition)?;
        if self.spec.format == FormatSpec::Parquet {
            return parquet::mark(&path, offset);
        }
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let length = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
        if length < offset {
            return Err(shrunk(&path, length, offset));
        }
        mark(&path, &file, offset)
    }

    /// The length, where offsets count bytes.
    fn end(&self, partition: u32) -> Option<u64> {
        if self.spec.format == FormatSpec::Parquet {
            return None;
        }
        Some(std::fs::metadata(self.path(partition).ok()?).ok()?.len())
    }

    fn identity(&self) -> String {
        let FilesSpec { name, path, format, line_bytes_max, columns, .. } = &self.spec;
        format!("files name={name:?} path={path:?} format={format:?} line_bytes_max={line_bytes_max} columns={columns:?}")
    }
}

/// The columns of a file, where the format names them.
pub(crate) fn schema(spec: &FilesSpec) -> Result<Option<Schema>> {
    let source = FilesSource::open(spec)?;
    let text = |name: &String| Column::new(name.clone(), ColumnType::Utf8, false);
    let declared = |name: &String| spec.columns.iter().find(|column| column.name == *name).cloned();
    let named = |names: &[String]| {
        Schema::new(names.iter().map(|name| declared(name).unwrap_or_else(|| text(name))).collect())
    };
    match &spec.format {
        FormatSpec::Raw => Ok(Some(Schema::new(vec![Column::new(RAW_COLUMN, ColumnType::Binary, false)]))),
        FormatSpec::Json => Ok((!spec.columns.is_empty()).then(|| Schema::new(spec.columns.clone()))),
        FormatSpec::Csv { header: Some(names), .. } => Ok(Some(named(names))),
        FormatSpec::Csv { header: None, .. } => {
            for number in 0..source.find()?.len() {
                let path = source.path(number as u32)?;
                let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
                if let Some(names) = csv_header(spec, &path, &file)? {
                    return Ok(Some(named(&names)));
                }
            }
            match spec.follow {
                true => Ok(None),
                false => Err(Error::new(Code::SourceEmpty, format!("{} has no header row", spec.path))),
            }
        }
        FormatSpec::Rows { columns } => Ok(Some(Schema::new(columns.clone()))),
        FormatSpec::Parquet => match source.find()?.first() {
            Some(path) => parquet::schema(Path::new(path)).map(Some),
            None => Ok(None),
        },
    }
}

fn check_settings(spec: &FilesSpec) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Code::SourceSetting, format!("source {}: {what}", spec.name)));
    if !LINE_BYTES_BOUNDS.contains(&spec.line_bytes_max) {
        return refuse(format!(
            "line_bytes_max is {}, but must be from {} to {} bytes",
            spec.line_bytes_max,
            LINE_BYTES_BOUNDS.start(),
            LINE_BYTES_BOUNDS.end()
        ));
    }
    match &spec.format {
        FormatSpec::Parquet if spec.follow => {
            refuse("a Parquet file cannot be followed, because its index is written last".to_owned())
        }
        FormatSpec::Csv { delimiter: b'"' | b'\n' | b'\r' | 0x80.., .. } => {
            refuse("the delimiter must be one ASCII character, no quote and no line end".to_owned())
        }
        _ => Ok(()),
    }
}

/// The files that a path or glob names, in the order of their names.
fn matching(pattern: &str) -> Result<Vec<String>> {
    if !is_glob(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let entries = glob::glob(pattern).map_err(|error| {
        Error::new(Code::SourceSetting, format!("`{pattern}` is no valid glob")).with_cause(error)
    })?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(error.path(), error.error()))?;
        // What is neither file nor link to one is no partition of a glob: `logs/*` may hold folders.
        if path.is_file() {
            found.push(name_of(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

fn is_glob(path: &str) -> bool {
    // A file whose name holds such a character is still that file.
    path.contains(['*', '?', '[']) && !Path::new(path).is_file()
}

fn name_of(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(name) => Ok(name.to_owned()),
        None => Err(Error::new(Code::SourceUnreadable, format!("the name of {} is not UTF-8", path.display()))),
    }
}

fn csv_header(spec: &FilesSpec, path: &Path, file: &File) -> Result<Option<Vec<String>>> {
    let FormatSpec::Csv { delimiter, .. } = &spec.format else { return Ok(None) };
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    // The header row, its line end, and a few blank lines before it.
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(spec.line_bytes_max + PEEK_BYTES);
    let mut buf = vec![0; wanted];
    file.read_exact_at(&mut buf, 0).map_err(|error| unreadable(path, &error))?;
    buf.resize(wanted + PADDING, b'\n');
    let window = Window { buf: &buf, len: wanted, base: 0, last: wanted as u64 == length && !spec.follow };
    let header = RowParser::new(*delimiter, spec.line_bytes_max).header(&window, &path.to_string_lossy())?;
    Ok(header.map(|(names, _)| names))
}
