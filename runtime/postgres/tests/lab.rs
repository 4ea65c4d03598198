//! A database for each test, rows to write, and questions to the server.

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use segno_core::Result;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::pipeline::{DatabaseUrl, PostgresSinkSpec};
use segno_core::sink::{Lineage, Ownership, RowOrigin, Sink, SinkRows};
use segno_postgres::PostgresSink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::{Client, NoTls};

pub fn server_url() -> String {
    match std::env::var("SEGNO_TEST_POSTGRES") {
        Ok(url) => url,
        Err(_) => panic!("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`, which starts a server"),
    }
}

/// A connection that waits.
pub struct Connection {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Connection {
    pub fn open(url: &str) -> Connection {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server of the tests");
            tokio::spawn(async move { drop(connection.await) });
            client.batch_execute("SET timezone = 'UTC'").await.expect("a setting");
            client
        });
        Connection { client, runtime }
    }

    pub fn execute(&self, statements: &str) {
        if let Err(error) = self.runtime.block_on(self.client.batch_execute(statements)) {
            panic!("{statements}: {error:?}");
        }
    }

    /// Rows of a query as text; NULL is `∅`.
    pub fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let found = self.runtime.block_on(self.client.simple_query(query)).expect("a query");
        found
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).unwrap_or("∅").to_owned()).collect())
                }
                _ => None,
            })
            .collect()
    }

    pub fn one(&self, query: &str) -> String {
        self.rows(query).concat().concat()
    }
}

/// A database of its own, gone with the test.
pub struct Database {
    pub url: String,
    pub connection: Connection,
    name: String,
}

impl Database {
    pub fn new() -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("segno_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Connection::open(&server_url()).execute(&format!("CREATE DATABASE {name}"));
        let url = format!("{}/{name}", server_url().rsplit_once('/').expect("a database in the url").0);
        Database { connection: Connection::open(&url), url, name }
    }

    pub fn spec(&self, table: &str, key: &[&str], create_table: bool) -> PostgresSinkSpec {
        spec(&self.url, table, key, create_table)
    }

    /// A sink of this generation that has taken over and starts after epoch 0 where it held nothing.
    pub fn sink(&self, spec: &PostgresSinkSpec, schema: &Schema, generation: u64) -> PostgresSink {
        let mut sink = PostgresSink::open("out", spec, schema).expect("the sink opens");
        if sink.take_over(&owner(generation)).expect("the sink is taken over") == segno_core::sink::Held::Nothing {
            sink.start_after(0).expect("the sink starts");
        }
        sink
    }

    /// The mark of the sink `out`.
    pub fn mark(&self) -> String {
        self.connection.one("SELECT epoch FROM segno.marks WHERE sink = 'out'")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        Connection::open(&server_url()).execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

pub fn database_url(url: &str) -> DatabaseUrl {
    DatabaseUrl::parse(url, std::path::Path::new("")).expect("a url of a database")
}

pub fn spec(url: &str, table: &str, key: &[&str], create_table: bool) -> PostgresSinkSpec {
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    PostgresSinkSpec { url: database_url(url), table: table.to_owned(), key, create_table }
}

pub fn owner(generation: u64) -> Ownership {
    Ownership { tenant: "default".into(), pipeline: "tests".into(), shard: "single".into(), generation }
}

/// (id, name, price): a number, a text that may be null, a float.
pub fn schema() -> Schema {
    Schema::new(vec![
        Column::new("id", ColumnType::I64, false),
        Column::new("name", ColumnType::Utf8, true),
        Column::new("price", ColumnType::F64, false),
    ])
}

/// Rows of an epoch with the records that caused them: one record for each row, from `first` on.
pub struct Epoch {
    pub number: u64,
    pub schema: Schema,
    pub batch: RecordBatch,
    pub lineage: Lineage,
}

impl Epoch {
    pub fn new(number: u64, schema: &Schema, columns: Vec<ArrayRef>, first: u64) -> Epoch {
        let batch = RecordBatch::try_new(schema.to_arrow(), columns).expect("columns as the schema says");
        let origin = |row: usize| RowOrigin { partition: 0, offset: first + row as u64, index: 0, time: None };
        let lineage = Lineage {
            partitions: vec![("source".into(), "in.jsonl".into())],
            rows: (0..batch.num_rows()).map(origin).collect(),
        };
        Epoch { number, schema: schema.clone(), batch, lineage }
    }

    /// Rows of `schema()`.
    pub fn of(number: u64, first: u64, rows: &[(i64, Option<&str>, f64)]) -> Epoch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        Epoch::new(number, &schema(), columns, first)
    }

    fn rows(&self) -> SinkRows<'_> {
        SinkRows {
            epoch: self.number,
            schema: &self.schema,
            batch: &self.batch,
            written: self.schema.columns.len(),
            lineage: Some(&self.lineage),
            told: None,
        }
    }

    pub fn stage(&self, sink: &mut PostgresSink) -> Result<()> {
        assert!(sink.stage(&self.rows())?.is_empty(), "a sink with its own mark stages nothing");
        Ok(())
    }

    /// As in a recovery: without staging.
    pub fn publish(&self, sink: &mut PostgresSink) -> Result<()> {
        sink.publish(&self.rows(), &[])
    }
}

/// A server of its own, which may crash and be set up anew.
pub struct OwnServer {
    folder: tempfile::TempDir,
    script: PathBuf,
}

impl OwnServer {
    pub fn up() -> OwnServer {
        let script = Path::new(".").join("../../scripts/servers/servers.py");
        let server = OwnServer { folder: tempfile::tempdir().expect("a folder"), script };
        server.order(&["up", "FOLDER", "--postgres"]);
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn order(&self, words: &[&str]) {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let words = words.iter().map(|word| if *word == "FOLDER" { folder.as_str() } else { word });
        let done = Command::new(&self.script).args(words).output().expect("scripts/servers/servers.py");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn url(&self) -> String {
        let text = std::fs::read_to_string(self.path("servers.json")).expect("servers.json");
        let servers: serde_json::Value = serde_json::from_str(&text).expect("servers.json");
        servers["postgres"]["url"].as_str().expect("a url").to_owned()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.order(&["down", "FOLDER"]);
    }
}
