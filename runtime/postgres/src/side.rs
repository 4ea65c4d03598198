//! Rows of a side table: read whole, in one snapshot of the database, in an order that follows from the rows alone.
//!
//! Owns: statements that read, the comparison with what the plugin declares, bounds. Does not own: values (`value`), what
//! becomes of the rows (`segno`'s `worker`).
//!
//! Invariants: the same rows give the same bytes, whatever order the database has them in. Nothing is written: the
//! transaction is read-only. A table is read whole or not at all.

use crate::server::{Purpose, Server};
use crate::table::{quoted, quoted_path};
use crate::value::{self, Column};
use arrow_array::RecordBatch;
use futures::TryStreamExt;
use segno_core::columns::{self, Schema};
use segno_core::pipeline::{DatabaseUrl, TableRows};
use segno_core::{Code, Error, Result};
use std::pin::pin;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// What a side table may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub rows: usize,
    pub bytes: u64,
}

/// What a plugin declares.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub columns: &'a [columns::Column],
    /// The column whose values are unique.
    pub key: Option<&'a str>,
}

/// Rows and when they were read, ms since 1970 UTC by the database's clock.
pub struct Rows {
    pub batch: RecordBatch,
    pub read_at_ms: i64,
}

/// A moment of a database: everything that is read from it belongs together.
pub struct Snapshot {
    server: Server,
    client: Client,
    read_at_ms: i64,
}

impl Snapshot {
    /// Connects; `whose` begins errors, as in `step "enrich": side table "airports"`.
    pub fn open(whose: &str, url: &DatabaseUrl) -> Result<Snapshot> {
        let server = Server::new(Purpose::SideTable, whose, url)?;
        let client = server.connect()?;
        let read_at_ms = server.wait("beginning to read", async {
            client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            // The first query: the snapshot is of its moment.
            let now = client.query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]).await?;
            Ok(now.get(0))
        })?;
        Ok(Snapshot { server, client, read_at_ms })
    }

    /// All rows, with the wanted columns.
    pub fn read(&mut self, whose: &str, rows: &TableRows, wanted: &Wanted<'_>, bounds: Bounds) -> Result<Rows> {
        self.server.set_whose(whose);
        let (shown, from) = match rows {
            TableRows::Table(table) => (format!("the table {table}"), quoted_path(table)),
            // The line feed ends a comment.
            TableRows::Query(query) => ("the query".to_owned(), format!("({query}\n)")),
        };
        self.compare(&shown, &from, wanted)?;
        let statement = statement(&from, wanted, bounds);
        let taken = self.server.wait(&format!("reading {shown} in"), async {
            let none: [&(dyn ToSql + Sync); 0] = [];
            let mut stream = pin!(self.client.query_raw(&statement, none).await?);
            let mut reading = Reading::new(wanted, bounds);
            while let Some(row) = stream.try_next().await? {
                if let Err(refused) = reading.take(&row) {
                    return Ok(Err(refused));
                }
            }
            Ok(Ok(reading))
        })?;
        let said =
            |what: String| Error::new(Code::SideTable, format!("{whose}: {shown} in {} {what}", self.server.shown()));
        let reading = taken.map_err(|refused| match refused {
            Refused::TooLarge(what) => {
                said(format!("is larger than a side table may be: it has {what}"))
                    .with_help("a side table is held whole by every instance of its plugin: choose rows and columns with query, or join in the database")
            }
            Refused::Value(what) => {
                said(what).with_help("a side table is read whole or not at all: mend the row, or leave it out or convert it with query")
            }
        })?;
        Ok(Rows { batch: reading.finish(wanted)?, read_at_ms: self.read_at_ms })
    }

    /// Refuses with every reason at once.
    fn compare(&self, shown: &str, from: &str, wanted: &Wanted<'_>) -> Result<()> {
        let prepared = self.server.wait(&format!("looking at {shown} in"), async {
            self.client.prepare(&format!("SELECT * FROM {from} AS segno_rows")).await
        })?;
        let found: Vec<(&str, &str)> =
            prepared.columns().iter().map(|column| (column.name(), column.type_().name())).collect();
        if !prepared.params().is_empty() {
            let what = format!("{}: {shown} has parameters such as $1", self.server.whose());
            return Err(Error::new(Code::SideTable, what)
                .with_help("write the values into the query; ${NAME} stands for an environment variable"));
        }
        let mut reasons = Vec::new();
        let mut converted = Vec::new();
        for column in wanted.columns {
            let quoted = quoted(&column.name);
            match found.iter().find(|(name, _)| *name == column.name) {
                None => reasons.push(format!("the column {quoted} is missing")),
                Some((_, ty)) => {
                    if let Some(convert) = value::mismatch(column.ty, ty, &quoted) {
                        reasons.push(format!("the column {quoted} is {ty}, and the plugin wants {}", column.ty));
                        converted.push(convert);
                    }
                }
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let mut help = format!("it has {}; rename or convert with query: SELECT … AS … FROM …", names.join(", "));
        if !converted.is_empty() {
            help.push_str(&format!(", as in {}", converted.join(", ")));
        }
        let what =
            format!("{}: {shown} in {} does not fit: {}", self.server.whose(), self.server.shown(), reasons.join("; "));
        Err(Error::new(Code::SideTable, what).with_help(help))
    }
}

/// The key first, then the other columns: no two orders are left but of equal rows.
fn statement(from: &str, wanted: &Wanted<'_>, bounds: Bounds) -> String {
    let selected: Vec<String> =
        wanted.columns.iter().map(|column| value::selected(column.ty, &quoted(&column.name))).collect();
    let is_key = |column: &&columns::Column| wanted.key == Some(column.name.as_str());
    let key_first = wanted.columns.iter().filter(is_key).chain(wanted.columns.iter().filter(|column| !is_key(column)));
    let ordered: Vec<String> = key_first.map(|column| value::ordered(column.ty, &quoted(&column.name))).collect();
    let order = if ordered.is_empty() { String::new() } else { format!(" ORDER BY {}", ordered.join(", ")) };
    // One more, so that more are noticed.
    format!("SELECT {} FROM {from} AS segno_rows{order} LIMIT {}", selected.join(", "), bounds.rows + 1)
}

enum Refused {
    TooLarge(String),
    Value(String),
}

/// Rows so far.
struct Reading<'a> {
    names: Vec<&'a str>,
    columns: Vec<Column>,
    rows: usize,
    bytes: u64,
    bounds: Bounds,
}

impl<'a> Reading<'a> {
    fn new(wanted: &Wanted<'a>, bounds: Bounds) -> Reading<'a> {
        Reading {
            names: wanted.columns.iter().map(|column| column.name.as_str()).collect(),
            columns: wanted.columns.iter().map(|column| Column::new(column.ty, column.nullable)).collect(),
            rows: 0,
            bytes: 0,
            bounds,
        }
    }

    fn take(&mut self, row: &Row) -> Result<(), Refused> {
        if self.rows == self.bounds.rows {
            return Err(Refused::TooLarge(format!("more than {} rows", self.bounds.rows)));
        }
        for (at, column) in self.columns.iter_mut().enumerate() {
            let bytes = column.take(row, at).map_err(|what| {
                Refused::Value(format!(
                    "cannot be read: column {} of row {} in its order holds {what}",
                    quoted(self.names[at]),
                    self.rows + 1
                ))
            })?;
            self.bytes += bytes;
        }
        if self.bytes > self.bounds.bytes {
            return Err(Refused::TooLarge(format!(
                "more than {} MiB in the plugin's columns",
                self.bounds.bytes >> 20
            )));
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(self, wanted: &Wanted<'_>) -> Result<RecordBatch> {
        let schema = Schema::new(wanted.columns.to_vec()).to_arrow();
        let columns = self.columns.into_iter().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| Error::new(Code::Internal, "a side table could not be put together").with_cause(error))
    }
}
