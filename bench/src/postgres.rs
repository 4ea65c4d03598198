//! Writing epochs to PostgreSQL: the sink beside a consumer as one writes it by hand, with the same rows and the same key.
//!
//! Owns: measuring. Does not own: goals (bench/RESULTS.md). What is compared alternates in one run, each into a table of
//! its own; the server keeps its defaults (fsync on).

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{ToSql, Type};
use postgres::{Client, NoTls};
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::pipeline::{DatabaseUrl, PostgresSinkSpec};
use segno_core::sink::{Lineage, Ownership, RowOrigin, Sink, SinkRows};
use segno_postgres::PostgresSink;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

const SCHEMA: &str = "segno_bench";
const ROUNDS: u64 = 12;
const COLUMNS: &str = "id, key, price, bids, segno_source, segno_partition, segno_offset, segno_index";
const TYPES: [&str; 8] = ["bigint", "text", "bigint", "numeric(20)", "text", "text", "bigint", "bigint"];

/// A row as a consumer holds it.
struct Row {
    id: i64,
    key: String,
    price: i64,
    bids: i64,
}

pub fn run(url: &str, rows: u64) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(url, NoTls)?;
    client.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}"))?;
    for (word, key) in [("every row, by its origin", ""), ("last row of each key", "id")] {
        let mut sink = open(url, &mut client, key)?;
        let mut encoding = Vec::new();
        let mut times: [Vec<f64>; 4] = Default::default();
        for table in ["copied", "binary_copied", "unnested"] {
            client.batch_execute(&format!("CREATE TABLE {SCHEMA}.{table} (LIKE {SCHEMA}.sunk INCLUDING ALL)"))?;
        }
        // The client has no decimals: counts come as bigint.
        let types = COLUMNS.split(", ").zip(TYPES).map(|(name, ty)| format!("{name} {}", ty.replace("numeric(20)", "bigint")));
        client.batch_execute(&format!(
            "DROP TABLE IF EXISTS on_the_way; CREATE TEMPORARY TABLE on_the_way ({}) ON COMMIT DELETE ROWS",
            types.collect::<Vec<_>>().join(", ")
        ))?;
        for round in 0..ROUNDS {
            let first = round * rows;
            let given: Vec<Row> = (first..first + rows).map(row).collect();
            let (batch, lineage) = arrow(&given, first);
            let schema = schema();
            let epoch = SinkRows { epoch: round + 1, schema: &schema, batch: &batch, written: 4, lineage: Some(&lineage), told: None };
            // Each takes its turn at being first.
            for turn in 0..4 {
                let who = (round as usize + turn) % 4;
                let started = Instant::now();
                match who {
                    0 => {
                        sink.stage(&epoch)?;
                        encoding.push(started.elapsed().as_secs_f64());
                        sink.publish(&epoch, &[])?;
                    }
                    1 => copy(&mut client, &given, first, key, false)?,
                    2 => copy(&mut client, &given, first, key, true)?,
                    _ => unnest(&mut client, &given, first, key)?,
                }
                times[who].push(started.elapsed().as_secs_f64());
            }
        }
        let rates = times.map(|times| rows as f64 / median(times));
        println!("{word}, {rows} rows in a transaction; encoding takes {:.0} ms of it:", median(encoding) * 1e3);
        for (what, rate) in ["the sink", "COPY of text by hand", "binary COPY by hand", "UNNEST by hand"].iter().zip(rates) {
            println!("  {what:<21} {rate:>9.0} rows/s; the sink has {:.2} times its rate", rates[0] / rate);
        }
        drop(sink);
        client.batch_execute(&format!("DROP TABLE {SCHEMA}.sunk, {SCHEMA}.copied, {SCHEMA}.binary_copied, {SCHEMA}.unnested"))?;
    }
    client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE; DELETE FROM segno.marks WHERE tenant = '{SCHEMA}'"))?;
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn schema() -> Schema {
    let column = |name: &str, ty| Column::new(name, ty, false);
    Schema::new(vec![
        column("id", ColumnType::I64),
        column("key", ColumnType::Utf8),
        column("price", ColumnType::I64),
        column("bids", ColumnType::U64),
    ])
}

fn row(number: u64) -> Row {
    Row { id: number as i64, key: format!("customer-{:08}", number * 7919 % 1_000_003), price: 100 + number as i64 % 977, bids: 1 }
}

fn arrow(rows: &[Row], first: u64) -> (RecordBatch, Lineage) {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.key.as_str()))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.price))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.bids as u64))),
    ];
    let batch = RecordBatch::try_new(schema().to_arrow(), columns).expect("columns as the schema says");
    let origin = |at: usize| RowOrigin { partition: 0, offset: first + at as u64, index: 0, time: None };
    let partitions = vec![("source".to_owned(), "bids-0".to_owned())];
    (batch, Lineage { partitions, rows: (0..rows.len()).map(origin).collect() })
}

fn open(url: &str, client: &mut Client, key: &str) -> Result<PostgresSink, Box<dyn Error>> {
    let mut columns: Vec<String> = COLUMNS.split(", ").zip(TYPES).map(|(name, ty)| format!("{name} {ty} NOT NULL")).collect();
    let of_origin = "segno_source, segno_partition, segno_offset, segno_index";
    columns.push(format!("PRIMARY KEY ({})", if key.is_empty() { of_origin } else { key }));
    if !key.is_empty() {
        columns.retain(|column| !column.starts_with("segno_"));
    }
    client.batch_execute(&format!("CREATE TABLE {SCHEMA}.sunk ({})", columns.join(", ")))?;
    let key = if key.is_empty() { Vec::new() } else { vec![key.to_owned()] };
    let url = DatabaseUrl::parse(url, std::path::Path::new("")).map_err(|refused| refused.what)?;
    let spec = PostgresSinkSpec { url, table: format!("{SCHEMA}.sunk"), key, create_table: false };
    let name = format!("bench-{}", spec.key.len());
    let mut sink = PostgresSink::open(&name, &spec, &schema())?;
    let owner = |name: &str| name.to_owned();
    client.batch_execute(&format!(
        "DO $$ BEGIN IF to_regclass('segno.marks') IS NOT NULL THEN DELETE FROM segno.marks WHERE tenant = '{SCHEMA}'; END IF; END $$"
    ))?;
    sink.take_over(&Ownership { tenant: owner(SCHEMA), pipeline: owner("bench"), shard: owner("single"), generation: 1 })?;
    sink.start_after(0)?;
    Ok(sink)
}

/// The columns that are written, and what happens on a conflict.
fn statement(key: &str) -> (Vec<&'static str>, String) {
    let columns: Vec<&str> = COLUMNS.split(", ").filter(|name| key.is_empty() || !name.starts_with("segno_")).collect();
    let key = if key.is_empty() { "segno_source, segno_partition, segno_offset, segno_index" } else { key };
    let others = columns.iter().filter(|name| !key.split(", ").any(|key| key == **name));
    let set: Vec<String> = others.map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    (columns, format!("ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", ")))
}

/// `COPY` as text or in binary into a temporary table, then `INSERT … ON CONFLICT`.
fn copy(client: &mut Client, rows: &[Row], first: u64, key: &str, binary: bool) -> Result<(), Box<dyn Error>> {
    let (columns, conflict) = statement(key);
    let types: Vec<Type> = columns.iter().map(|name| if ["key", "segno_source", "segno_partition"].contains(name) { Type::TEXT } else { Type::INT8 }).collect();
    let columns = columns.join(", ");
    let mut transaction = client.transaction()?;
    let format = if binary { "binary" } else { "text" };
    let mut way = transaction.copy_in(&format!("COPY on_the_way ({columns}) FROM STDIN WITH (FORMAT {format})"))?;
    if binary {
        let mut way = BinaryCopyInWriter::new(way, &types);
        for (at, row) in rows.iter().enumerate() {
            let place = (first + at as u64) as i64;
            let all: [&(dyn ToSql + Sync); 8] = [&row.id, &row.key, &row.price, &row.bids, &"source", &"bids-0", &place, &0i64];
            way.write(&all[..types.len()])?;
        }
        way.finish()?;
    } else {
        let mut line = String::new();
        for (at, row) in rows.iter().enumerate() {
            line.clear();
            write!(line, "{}\t{}\t{}\t{}", row.id, row.key, row.price, row.bids)?;
            if key.is_empty() {
                write!(line, "\tsource\tbids-0\t{}\t0", first + at as u64)?;
            }
            line.push('\n');
            way.write_all(line.as_bytes())?;
        }
        way.finish()?;
    }
    let table = if binary { "binary_copied" } else { "copied" };
    transaction.execute(&format!("INSERT INTO {SCHEMA}.{table} ({columns}) SELECT {columns} FROM on_the_way {conflict}"), &[])?;
    transaction.commit()?;
    Ok(())
}

/// Arrays as parameters.
fn unnest(client: &mut Client, rows: &[Row], first: u64, key: &str) -> Result<(), Box<dyn Error>> {
    let (columns, conflict) = statement(key);
    let columns = columns.join(", ");
    let (ids, keys): (Vec<i64>, Vec<&str>) = rows.iter().map(|row| (row.id, row.key.as_str())).unzip();
    let (prices, bids): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (row.price, row.bids)).unzip();
    let mut transaction = client.transaction()?;
    if key.is_empty() {
        let offsets: Vec<i64> = (first as i64..first as i64 + rows.len() as i64).collect();
        let statement = format!(
            "INSERT INTO {SCHEMA}.unnested ({columns}) \
             SELECT id, key, price, bids, 'source', 'bids-0', place, 0 \
             FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS t(id, key, price, bids, place) {conflict}"
        );
        transaction.execute(&statement, &[&ids, &keys, &prices, &bids, &offsets])?;
    } else {
        let statement = format!(
            "INSERT INTO {SCHEMA}.unnested ({columns}) \
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) {conflict}"
        );
        transaction.execute(&statement, &[&ids, &keys, &prices, &bids])?;
    }
    transaction.commit()?;
    Ok(())
}
