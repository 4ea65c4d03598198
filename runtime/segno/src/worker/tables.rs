//! Side tables: rows of files and of databases, read before `init` gets them.
//!
//! Owns: their bounds, and reading what a step names with the columns that its plugin declares. Does not own: formats
//! (`segno-input`), the database's client (`segno-postgres`), when they are read (`load`, `refresh`).
//!
//! Invariants: a table is read whole or not at all. Tables of one database that are read together are of one moment.

use super::load::placed;
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::pipeline::{Pipeline, PostgresTableSpec, StepSpec, TableOrigin, rooted_files};
use segno_core::source::{Next, ReadLimit, ReadPlan, SourceSpec};
use segno_core::{Code, Error, Result};
use segno_postgres::{Bounds, Snapshot, Wanted};
use segno_wire::Description;
use segno_wire::describe::SideTable;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Rows of a side table at most: all of it is handed to `init` at once.
pub const SIDE_TABLE_ROWS_MAX: usize = 4_000_000;
/// Bytes of a side table of a database at most: it is held by this process, by every instance of the plugin, and archived
/// once for each version.
pub const SIDE_TABLE_BYTES_MAX: u64 = 256 << 20;

const BOUNDS: Bounds = Bounds { rows: SIDE_TABLE_ROWS_MAX, bytes: SIDE_TABLE_BYTES_MAX };

/// The rows of one side table.
#[derive(Clone)]
pub struct ReadTable {
    pub name: String,
    pub types: Vec<ColumnType>,
    pub batch: RecordBatch,
    /// `None`: a file, which is a part of the configuration.
    pub database: Option<FromDatabase>,
}

#[derive(Clone)]
pub struct FromDatabase {
    pub spec: PostgresTableSpec,
    /// By the database's clock, ms since 1970 UTC; 0 where it was not asked.
    pub read_at_ms: i64,
}

/// Databases that are asked, each at one moment.
#[derive(Default)]
pub struct Databases {
    /// None is asked: their tables are without rows.
    offline: bool,
    /// By URL.
    snapshots: BTreeMap<String, Snapshot>,
}

impl Databases {
    pub fn offline() -> Databases {
        Databases { offline: true, ..Databases::default() }
    }

    pub fn are_asked(&self) -> bool {
        !self.offline
    }

    fn read(&mut self, step: &str, spec: &PostgresTableSpec, table: &SideTable) -> Result<(RecordBatch, i64)> {
        let columns = columns(table);
        if self.offline {
            return Ok((RecordBatch::new_empty(Schema::new(columns).to_arrow()), 0));
        }
        let whose = format!("step \"{step}\": side table \"{}\"", table.name);
        let snapshot = match self.snapshots.entry(spec.url.text().to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(Snapshot::open(&whose, &spec.url)?),
        };
        let wanted = Wanted { columns: &columns, key: table.key.as_deref() };
        let rows = snapshot.read(&whose, &spec.rows, &wanted, BOUNDS)?;
        Ok((rows.batch, rows.read_at_ms))
    }
}

/// Reads a table of a database.
pub fn read_rows(
    step: &str,
    spec: &PostgresTableSpec,
    table: &SideTable,
    databases: &mut Databases,
) -> Result<ReadTable> {
    let (batch, read_at_ms) = databases.read(step, spec, table)?;
    let types = table.columns.iter().map(|column| column.kind).collect();
    Ok(ReadTable {
        name: table.name.clone(),
        types,
        batch,
        database: Some(FromDatabase { spec: spec.clone(), read_at_ms }),
    })
}

/// Reads the side tables of a step, in the order of its plugin's description.
pub fn read(
    pipeline: &Pipeline,
    number: usize,
    step: &StepSpec,
    description: &Description,
    databases: &mut Databases,
) -> Result<Vec<ReadTable>> {
    let mut tables = Vec::new();
    for wanted in &description.side_tables {
        let Some(spec) = step.tables.iter().find(|table| table.name == wanted.name) else {
            return Err(Error::new(
                Code::SideTable,
                format!(
                    "step \"{}\": the plugin reads a side table \"{}\", which the step does not name",
                    step.id, wanted.name
                ),
            )
            .with_help(format!("add tables: {{ {}: {{ path: …, format: csv }} }} to the step", wanted.name))
            .with_place(pipeline.place(&format!("steps[{number}]"))));
        };
        let place = format!("steps[{number}].tables.{}", wanted.name);
        tables.push(match &spec.from {
            TableOrigin::Files(files) => {
                let files = SourceSpec::Files(rooted_files(&pipeline.file, files));
                let types = wanted.columns.iter().map(|column| column.kind).collect();
                let batch = read_file(files, wanted).map_err(|error| placed(error, pipeline, &place))?;
                ReadTable { name: wanted.name.clone(), types, batch, database: None }
            }
            TableOrigin::Postgres(spec) => {
                let place = format!("{place}.postgres");
                read_rows(&step.id, spec, wanted, databases).map_err(|error| placed(error, pipeline, &place))?
            }
        });
    }
    if let Some(extra) = step.tables.iter().find(|table| !description.side_tables.iter().any(|t| t.name == table.name))
    {
        let known: Vec<&str> = description.side_tables.iter().map(|table| table.name.as_str()).collect();
        return Err(Error::new(
            Code::SideTable,
            format!(
                "step \"{}\": the plugin has no side table \"{}\"; it has: {}",
                step.id,
                extra.name,
                known.join(", ")
            ),
        )
        .with_place(pipeline.place(&format!("steps[{number}].tables.{}", extra.name))));
    }
    Ok(tables)
}

fn columns(table: &SideTable) -> Vec<Column> {
    table.columns.iter().map(|column| Column::new(&column.name, column.kind, column.nullable)).collect()
}

fn read_file(spec: SourceSpec, table: &SideTable) -> Result<RecordBatch> {
    let columns = columns(table);
    let schema = Schema::new(columns.clone()).to_arrow();
    let plan = ReadPlan { columns, time: None };
    let source = segno_input::source::open_source(&spec)?;
    let mut batches = Vec::new();
    let mut rows = 0;
    for partition in source.partitions()? {
        let mut reader = source.open(partition.number, 0, None, &plan)?;
        loop {
            match reader.next(ReadLimit { rows: 65_536, bytes: 16 << 20 })? {
                Next::Chunk(chunk) => {
                    if let Some(bad) = chunk.bad.first() {
                        return Err(Error::new(
                            Code::SideTable,
                            format!(
                                "side table \"{}\": {} at offset {}: [{}] {}",
                                table.name,
                                partition.name,
                                bad.offset,
                                bad.code.name(),
                                bad.reason
                            ),
                        )
                        .with_help("a side table is configuration: every row must be readable"));
                    }
                    rows += chunk.columns.num_rows();
                    if rows > SIDE_TABLE_ROWS_MAX {
                        return Err(Error::new(
                            Code::SideTable,
                            format!("side table \"{}\" has more than {SIDE_TABLE_ROWS_MAX} rows", table.name),
                        ));
                    }
                    batches.push(chunk.columns);
                }
                Next::Waiting | Next::End => break,
            }
        }
    }
    concat_batches(&schema, &batches)
        .map_err(|error| Error::new(Code::Internal, "a side table could not be put together").with_cause(error))
}
