//! Marks: which epoch a sink holds, and which generation may write it.
//!
//! Owns: the table `segno.marks`, its statements. Does not own: the rows (`table`), what follows from a mark
//! (`segno_core::protocol::follow`).
//!
//! Invariants: the mark's row is locked before anything else is read or written in a transaction, so writers of one sink
//! follow each other. A generation never decreases. `epoch` is null until the sink's first epoch is decided, so that a
//! lost mark is not taken for one that was never moved.

use segno_core::sink::Ownership;
use tokio_postgres::{Client, Error, Row, ToStatement};

/// Statements that make the table. One maker at a time: concurrent `IF NOT EXISTS` may fail.
const MAKE: &str = "
CREATE SCHEMA IF NOT EXISTS segno;
CREATE TABLE IF NOT EXISTS segno.marks (
    tenant text, pipeline text, shard text, sink text,
    generation bigint NOT NULL,
    epoch bigint,
    table_name text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, pipeline, shard, sink)
)";
/// Any number that nobody else uses: "segno" as letters.
const MAKE_LOCK: i64 = 0x73_65_67_6e_6f;

const OURS: &str = "tenant = $1 AND pipeline = $2 AND shard = $3 AND sink = $4";

pub fn lock_statement() -> String {
    format!("SELECT generation, epoch, table_name FROM segno.marks WHERE {OURS} FOR UPDATE")
}

pub fn set_statement() -> String {
    format!("UPDATE segno.marks SET epoch = $5, table_name = $6, updated_at = now() WHERE {OURS}")
}

/// A sink's row.
pub struct Mark {
    owner: Ownership,
    sink: String,
}

/// What its row says.
pub struct Found {
    pub generation: u64,
    pub epoch: Option<u64>,
    /// `schema.table` that was written.
    pub table: String,
}

fn found(row: &Row) -> Found {
    // Written by this file only, from u64s far below the limit of i64.
    let number = |value: i64| value.unsigned_abs();
    Found { generation: number(row.get(0)), epoch: row.get::<_, Option<i64>>(1).map(number), table: row.get(2) }
}

impl Mark {
    pub fn new(owner: Ownership, sink: &str) -> Mark {
        Mark { owner, sink: sink.to_owned() }
    }

    pub fn generation(&self) -> u64 {
        self.owner.generation
    }

    fn id(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 4] {
        [&self.owner.tenant, &self.owner.pipeline, &self.owner.shard, &self.sink]
    }

    /// The words of a WHERE clause that finds the row, for messages.
    pub fn shown(&self) -> String {
        let Ownership { tenant, pipeline, shard, .. } = &self.owner;
        format!("tenant = '{tenant}' AND pipeline = '{pipeline}' AND shard = '{shard}' AND sink = '{}'", self.sink)
    }

    /// Makes the table where it is missing. In a transaction.
    pub async fn make(client: &Client) -> Result<(), Error> {
        let made = "SELECT to_regclass('segno.marks') IS NOT NULL";
        if !client.query_one(made, &[]).await?.get::<_, bool>(0) {
            client.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKE_LOCK]).await?;
            client.batch_execute(MAKE).await?;
        }
        Ok(())
    }

    /// Makes the row where it is missing. In a transaction.
    pub async fn insert(&self, client: &Client, table: &str) -> Result<(), Error> {
        let [tenant, pipeline, shard, sink] = self.id();
        let statement = "INSERT INTO segno.marks (tenant, pipeline, shard, sink, generation, table_name) \
                         VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT DO NOTHING";
        client.execute(statement, &[tenant, pipeline, shard, sink, &table]).await?;
        Ok(())
    }

    /// Locks the row until the transaction ends; `None`: it is not there. `statement` is `lock_statement`, or made of it.
    pub async fn lock<S>(&self, client: &Client, statement: &S) -> Result<Option<Found>, Error>
    where
        S: ?Sized + ToStatement,
    {
        Ok(client.query_opt(statement, &self.id()).await?.as_ref().map(found))
    }

    /// Fences older generations; the row is locked.
    pub async fn fence(&self, client: &Client) -> Result<(), Error> {
        let [tenant, pipeline, shard, sink] = self.id();
        let statement = format!("UPDATE segno.marks SET generation = $5, updated_at = now() WHERE {OURS}");
        client.execute(&statement, &[tenant, pipeline, shard, sink, &(self.owner.generation as i64)]).await?;
        Ok(())
    }

    /// Moves the mark; the row is locked. `statement` is `set_statement`, or made of it.
    pub async fn set<S>(&self, client: &Client, statement: &S, epoch: u64, table: &str) -> Result<(), Error>
    where
        S: ?Sized + ToStatement,
    {
        let [tenant, pipeline, shard, sink] = self.id();
        client.execute(statement, &[tenant, pipeline, shard, sink, &(epoch as i64), &table]).await?;
        Ok(())
    }

    /// Another sink that writes this table, as `tenant/pipeline/sink`.
    pub async fn other_writer(&self, client: &Client, table: &str) -> Result<Option<String>, Error> {
        let statement = "SELECT concat_ws('/', tenant, pipeline, sink) FROM segno.marks \
                         WHERE table_name = $4 AND (tenant, pipeline, sink) <> ($1, $2, $3) LIMIT 1";
        let [tenant, pipeline, _, sink] = self.id();
        Ok(client.query_opt(statement, &[tenant, pipeline, sink, &table]).await?.map(|row| row.get(0)))
    }
}
