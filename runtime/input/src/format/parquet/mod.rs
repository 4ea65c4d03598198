//! Parquet files as input. The rules are in `docs/formats/parquet.md`.
//!
//! Owns: reading from a row number on; the schema and the mark of a Parquet file.
//! Does not own: the decoding of pages (the crate `parquet`), which types fit which columns (`types`).
//!
//! Invariants: offsets are row numbers of the whole file. Only the columns that are read are decoded; row groups
//! before the offset are not touched. Types that cannot fit are refused when the file is opened, values that do not
//! fit make their row bad.

mod types;

use super::plan::Plan;
use super::rows::{Fields, Rows};
use super::value::Value;
use crate::source::place::{changed, hash, unreadable};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::source::{Next, PartitionReader, ReadLimit};
use segno_core::{Code, Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::{View, fits, natural};

/// Rows decoded at once.
const BATCH_ROWS: usize = 4096;

/// Bytes at the end of the file that its mark covers: the index, which names every page, ends there.
const MARK_BYTES: u64 = 4096;

pub struct ParquetReader {
    path: PathBuf,
    partition: u32,
    reader: ParquetRecordBatchReader,
    rows: Rows,
    /// For each field of the plan, its way through the file's schema; `None`: the file lacks it.
    ways: Vec<Option<Vec<String>>>,
    views: Vec<Option<View>>,
    /// Rows of the current batch, and how many of them were given out.
    length: usize,
    at: usize,
    /// Row number of the next row.
    next_row: u64,
    /// Bytes of a row, about.
    row_bytes: usize,
    /// Decoding failed; what comes next from the decoder means nothing.
    broken: bool,
}

impl ParquetReader {
    pub(crate) fn open(
        path: &Path,
        partition: u32,
        offset: u64,
        wanted_mark: Option<u64>,
        plan: Arc<Plan>,
    ) -> Result<ParquetReader> {
        if let Some(wanted) = wanted_mark
            && mark(path, offset)? != wanted
        {
            return Err(changed(path, "its index, at the end of the file, is another one"));
        }
        let builder = builder(path)?;
        let schema = builder.schema().clone();
        let ways = ways(path, &schema, &plan)?;
        let metadata = builder.metadata().clone();
        let total = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        if offset > total {
            return Err(changed(path, &format!("it has {total} rows now, but was read up to row {offset}")));
        }
        // By the parts of their paths: joined, a name that holds a point would be taken for two.
        let leaves = (0..).zip(builder.parquet_schema().columns());
        let read = leaves.filter(|(_, leaf)| ways.iter().flatten().any(|way| leaf.path().parts() == way.as_slice()));
        let mask = ProjectionMask::leaves(builder.parquet_schema(), read.map(|(number, _)| number));
        let mut skipped = 0u64;
        let mut groups = Vec::new();
        let mut bytes = 0u64;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            bytes += u64::try_from(group.total_byte_size()).unwrap_or(0);
            if groups.is_empty() && skipped + rows <= offset {
                skipped += rows;
            } else {
                groups.push(number);
            }
        }
        let within = usize::try_from(offset - skipped).unwrap_or(usize::MAX);
        let reader = guarded(path, || {
            let builder = builder.with_projection(mask).with_row_groups(groups);
            builder.with_offset(within).with_batch_size(BATCH_ROWS).build()
        })?;
        Ok(ParquetReader {
            path: path.to_owned(),
            partition,
            reader,
            rows: Rows::new(plan),
            views: Vec::new(),
            ways,
            length: 0,
            at: 0,
            next_row: offset,
            row_bytes: usize::try_from(bytes / total.max(1)).unwrap_or(1).max(1),
            broken: false,
        })
    }

    /// Decodes the next batch; false at the end of the file.
    fn load(&mut self) -> Result<bool> {
        if self.broken {
            return Err(damaged(&self.path, &"an earlier read failed"));
        }
        self.broken = true;
        let reader = &mut self.reader;
        let Some(batch) = guarded(&self.path, || reader.next().transpose())? else {
            self.broken = false;
            return Ok(false);
        };
        self.broken = false;
        let view = |way: &Option<Vec<String>>| match way {
            Some(way) => View::new(&batch, way).map(Some),
            None => Ok(None),
        };
        self.views = self.ways.iter().map(view).collect::<Result<_, _>>().map_err(|e| damaged(&self.path, &e))?;
        self.length = batch.num_rows();
        self.at = 0;
        Ok(true)
    }
}

impl PartitionReader for ParquetReader {
    fn next(&mut self, limit: ReadLimit) -> Result<Next> {
        while self.at == self.length {
            if !self.load()? {
                return Ok(Next::End);
            }
        }
        let wanted = limit.rows.min(limit.bytes / self.row_bytes).max(1);
        let end = self.length.min(self.at.saturating_add(wanted));
        let start = self.next_row;
        for row in self.at..end {
            let record = Record { views: &self.views, row };
            if let Err(flaw) = self.rows.push(&record, self.next_row, (0, 0)) {
                let shown = record.shown(&self.rows.plan);
                self.rows.push_bad(self.next_row, flaw, shown.as_bytes());
            }
            self.next_row += 1;
        }
        self.at = end;
        Ok(Next::Chunk(self.rows.finish(self.partition, start, self.next_row, None)?))
    }
}

struct Record<'a> {
    views: &'a [Option<View>],
    row: usize,
}

impl Fields for Record<'_> {
    #[inline]
    fn value(&self, field: usize) -> Value<'_> {
        match &self.views[field] {
            Some(view) => view.value(self.row),
            None => Value::Missing,
        }
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}

impl Record<'_> {
    /// There are no original bytes of a row: what was read of it, as JSON.
    fn shown(&self, plan: &Plan) -> String {
        let mut object = serde_json::Map::new();
        for (field, name) in plan.fields.iter().enumerate() {
            let value = match self.value(field) {
                Value::Missing | Value::Null => serde_json::Value::Null,
                Value::Bool(value) => value.into(),
                Value::Signed(number) => number.into(),
                Value::Unsigned(number) => number.into(),
                Value::Float(number) => number.into(),
                Value::Text(text) => String::from_utf8_lossy(text).into(),
                other => other.describe().into(),
            };
            object.insert(name.clone(), value);
        }
        serde_json::Value::Object(object).to_string()
    }
}

/// The field at a path; a name may itself hold points.
fn find<'a>(fields: &'a arrow_schema::Fields, path: &str) -> Option<(Vec<String>, &'a Field)> {
    if let Some(field) = fields.iter().find(|field| field.name() == path) {
        return Some((vec![path.to_owned()], field));
    }
    fields.iter().find_map(|field| {
        let DataType::Struct(inner) = field.data_type() else { return None };
        let rest = path.strip_prefix(field.name().as_str())?.strip_prefix('.')?;
        let (mut way, leaf) = find(inner, rest)?;
        way.insert(0, field.name().clone());
        Some((way, leaf))
    })
}

fn ways(path: &Path, schema: &ArrowSchema, plan: &Plan) -> Result<Vec<Option<Vec<String>>>> {
    let refuse = |name: &str, what: String| {
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::new(Code::SourceColumn, format!("{}: column `{name}` {what}", path.display()))
            .with_help(format!("The file has these columns: {}.", known.join(", ")))
    };
    let mut ways = Vec::with_capacity(plan.fields.len());
    for (field, name) in plan.fields.iter().enumerate() {
        let readers = plan.columns.iter().filter(|column| column.field == field);
        let is_time = plan.time.as_ref().is_some_and(|time| time.field == field);
        let Some((way, leaf)) = find(schema.fields(), name) else {
            if is_time || readers.clone().any(|column| !column.column.nullable) {
                return Err(refuse(name, "does not exist".to_owned()));
            }
            ways.push(None);
            continue;
        };
        let wanted = readers.map(|column| column.column.ty).chain(is_time.then_some(ColumnType::Timestamp));
        for ty in wanted {
            if !fits(leaf.data_type(), ty) {
                return Err(refuse(name, format!("is {}, which cannot be read as {ty}", leaf.data_type())));
            }
        }
        ways.push(Some(way));
    }
    Ok(ways)
}

/// The columns of a file that have a type of ours; those of structures by their paths.
pub(crate) fn schema(path: &Path) -> Result<Schema> {
    fn collect(prefix: &str, nullable: bool, fields: &arrow_schema::Fields, into: &mut Vec<Column>) {
        for field in fields {
            let name = format!("{prefix}{}", field.name());
            let nullable = nullable || field.is_nullable();
            match field.data_type() {
                DataType::Struct(inner) => collect(&format!("{name}."), nullable, inner, into),
                ty => into.extend(natural(ty).map(|ty| Column::new(name, ty, nullable))),
            }
        }
    }
    let mut columns = Vec::new();
    collect("", false, builder(path)?.schema().fields(), &mut columns);
    Ok(Schema::new(columns))
}

/// The mark of any row of a file: that of its end, since a Parquet file is written once.
pub(crate) fn mark(path: &Path, offset: u64) -> Result<u64> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    let mut bytes = vec![0; length.min(MARK_BYTES) as usize];
    let start = length - bytes.len() as u64;
    file.read_exact_at(&mut bytes, start).map_err(|error| unreadable(path, &error))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(hash(&bytes, offset))
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))
}

/// Runs the decoder, which panics on some damaged files. What it leaves behind then is not used again.
fn guarded<T, E: std::fmt::Display>(path: &Path, decode: impl FnOnce() -> Result<T, E>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(damaged(path, &error)),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(damaged(path, &words.unwrap_or("the decoder gave up")))
        }
    }
}

#[cold]
fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::SourceFormat, format!("{} is no Parquet file that can be read", path.display()))
        .with_cause(error)
        .with_help("Check `format`, and that the file was copied as a whole.")
}
