//! Side tables: every type exactly, an order that follows from the rows, one moment for all tables, bounds.

use crate::lab::{Database, Epoch, database_url};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use segno_core::columns::json::write_json_lines;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::pipeline::TableRows;
use segno_core::{Code, Error};
use segno_postgres::{Bounds, Snapshot, Wanted};
use std::sync::Arc;

const BOUNDS: Bounds = Bounds { rows: 1_000, bytes: 1 << 20 };
const WHOSE: &str = "step \"s\": side table \"t\"";

fn read(
    database: &Database,
    rows: TableRows,
    columns: &[Column],
    key: Option<&str>,
    bounds: Bounds,
) -> Result<RecordBatch, Error> {
    let mut snapshot = Snapshot::open(WHOSE, &database_url(&database.url))?;
    Ok(snapshot.read(WHOSE, &rows, &Wanted { columns, key }, bounds)?.batch)
}

fn query(database: &Database, query: &str, columns: &[Column]) -> Result<RecordBatch, Error> {
    read(database, TableRows::Query(query.to_owned()), columns, None, BOUNDS)
}

fn column(name: &str, ty: ColumnType) -> Column {
    Column::new(name, ty, true)
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let mut out = Vec::new();
    write_json_lines(&mut out, batch);
    String::from_utf8(out).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn what_a_sink_wrote_is_read_back_as_it_was() {
    let database = Database::new();
    let times = TimestampMicrosecondArray::from(vec![Some(0), Some(-210_866_803_200_000_000), Some(i64::MAX), None]);
    let decimals = Decimal128Array::from(vec![Some(-1), Some(10i128.pow(38) - 1), Some(0), None]);
    let tens = Decimal128Array::from(vec![Some(7), Some(-120), Some(99_999), None]);
    let columns: Vec<(&str, ColumnType, ArrayRef)> = vec![
        ("id", ColumnType::I64, Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), Some(4)]))),
        ("bool", ColumnType::Bool, Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None]))),
        ("i32", ColumnType::I32, Arc::new(Int32Array::from(vec![Some(-1), Some(i32::MIN), Some(i32::MAX), None]))),
        ("u32", ColumnType::U32, Arc::new(UInt32Array::from(vec![Some(0), Some(1 << 31), Some(u32::MAX), None]))),
        ("i64", ColumnType::I64, Arc::new(Int64Array::from(vec![Some(-1), Some(i64::MIN), Some(i64::MAX), None]))),
        ("u64", ColumnType::U64, Arc::new(UInt64Array::from(vec![Some(0), Some(1 << 63), Some(u64::MAX), None]))),
        (
            "f64",
            ColumnType::F64,
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(5e-324), Some(f64::NEG_INFINITY), None])),
        ),
        (
            "utf8",
            ColumnType::Utf8,
            Arc::new(StringArray::from(vec![Some(""), Some("ü\u{10ffff}"), Some("'\"\\ "), None])),
        ),
        (
            "bytes",
            ColumnType::Binary,
            Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(&b"\0"[..]), Some(&b"\xff"[..]), None])),
        ),
        ("time", ColumnType::Timestamp, Arc::new(times.with_timezone("UTC"))),
        (
            "day",
            ColumnType::Date,
            Arc::new(Date32Array::from(vec![Some(0), Some(-2_440_588), Some(2_145_042_905), None])),
        ),
        (
            "cents",
            ColumnType::Decimal128 { precision: 38, scale: 2 },
            Arc::new(decimals.with_precision_and_scale(38, 2).expect("a decimal")),
        ),
        (
            "tens",
            ColumnType::Decimal128 { precision: 5, scale: -1 },
            Arc::new(tens.with_precision_and_scale(5, -1).expect("a decimal")),
        ),
    ];
    let schema = Schema::new(columns.iter().map(|(name, ty, _)| column(name, *ty)).collect());
    let epoch = Epoch::new(1, &schema, columns.iter().map(|(_, _, array)| Arc::clone(array)).collect(), 0);
    let mut sink = database.sink(&database.spec("values_of_types", &[], true), &schema, 1);
    epoch.publish(&mut sink).expect("the rows are written");
    let found = read(&database, TableRows::Table("values_of_types".to_owned()), &schema.columns, Some("id"), BOUNDS);
    assert_eq!(found.expect("the rows are read"), epoch.batch);
}

#[test]
fn narrower_types_are_read_and_values_that_do_not_fit_are_refused_with_their_row() {
    let database = Database::new();
    let ids = |ty| [column("id", ty)];
    let narrow = query(&database, "SELECT 7::int2 AS id UNION ALL SELECT -1", &ids(ColumnType::I64)).unwrap();
    assert_eq!(lines(&narrow), [r#"{"id":-1}"#, r#"{"id":7}"#]);
    let padded = query(&database, "SELECT 'ab'::char(5) AS id", &ids(ColumnType::Utf8)).unwrap();
    assert_eq!(lines(&padded), [r#"{"id":"ab"}"#]);
    for (given, ty, said) in [
        ("1::bigint << 40", ColumnType::I32, "holds 1099511627776, which i32 does not hold"),
        ("-1", ColumnType::U64, "holds -1, which u64 does not hold"),
        ("1.5", ColumnType::U64, "holds 1.5, which u64 does not hold"),
        ("'NaN'::numeric", ColumnType::Decimal128 { precision: 5, scale: 2 }, "holds NaN"),
        ("1000", ColumnType::Decimal128 { precision: 5, scale: 2 }, "holds 1000, which"),
        ("1.005", ColumnType::Decimal128 { precision: 5, scale: 2 }, "holds 1.005, which"),
        ("'infinity'::timestamptz", ColumnType::Timestamp, "holds infinity"),
        ("'-infinity'::date", ColumnType::Date, "holds infinity"),
    ] {
        let error = query(&database, &format!("SELECT {given} AS id"), &ids(ty)).unwrap_err();
        assert_eq!(error.code(), Code::SideTable, "{error}");
        assert!(error.message().contains(said) && error.message().contains("\"id\" of row 1"), "{error}");
    }
}

#[test]
fn types_that_do_not_fit_are_named_all_at_once_with_a_query_that_converts_them() {
    let database = Database::new();
    database.connection.execute("CREATE TABLE t (id uuid, at timestamp, price text)");
    let columns = [
        column("id", ColumnType::Utf8),
        column("at", ColumnType::Timestamp),
        column("price", ColumnType::Decimal128 { precision: 5, scale: 2 }),
    ];
    let error = read(&database, TableRows::Table("t".to_owned()), &columns, None, BOUNDS).unwrap_err();
    for said in ["\"id\" is uuid, and the plugin wants utf8", "\"at\" is timestamp", "\"price\" is text"] {
        assert!(error.message().contains(said), "{error}");
    }
    let help = error.help().expect("a help");
    let converted = help.split_once("as in ").expect("an example").1;
    database.connection.execute("INSERT INTO t VALUES ('00000000-0000-0000-0000-000000000001', '2026-01-01', '1.5')");
    let found = query(&database, &format!("SELECT {converted} FROM t"), &columns).unwrap();
    assert_eq!(lines(&found).len(), 1);
}

#[test]
fn the_order_follows_from_the_rows_whatever_the_database_does() {
    let database = Database::new();
    database.connection.execute(
        "CREATE TABLE t (b text, a text); INSERT INTO t VALUES ('x','b'), ('ä','a'), ('Z','a'), (NULL,'a'), ('a','a')",
    );
    let columns = [column("b", ColumnType::Utf8), column("a", ColumnType::Utf8)];
    let table = || TableRows::Table("t".to_owned());
    let expected = ["Z a", "a a", "ä a", "null a", "x b"].map(|row| {
        let (b, a) = row.split_once(' ').expect("two values");
        if b == "null" { format!(r#"{{"b":null,"a":"{a}"}}"#) } else { format!(r#"{{"b":"{b}","a":"{a}"}}"#) }
    });
    assert_eq!(lines(&read(&database, table(), &columns, Some("a"), BOUNDS).unwrap()), expected);
    database
        .connection
        .execute("CREATE TABLE u AS SELECT * FROM t ORDER BY random(); DROP TABLE t; ALTER TABLE u RENAME TO t");
    assert_eq!(lines(&read(&database, table(), &columns, Some("a"), BOUNDS).unwrap()), expected);
    // A query's own order, and a comment at its end, change nothing.
    let given = TableRows::Query("SELECT * FROM t ORDER BY b DESC -- the newest first".to_owned());
    assert_eq!(lines(&read(&database, given, &columns, Some("a"), BOUNDS).unwrap()), expected);
}

#[test]
fn tables_of_one_snapshot_are_of_one_moment() {
    let database = Database::new();
    database.connection.execute(
        "CREATE TABLE t (id bigint); CREATE TABLE u (id bigint); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    let mut snapshot = Snapshot::open(WHOSE, &database_url(&database.url)).unwrap();
    let columns = [column("id", ColumnType::I64)];
    let mut read = |table: &str| {
        let rows = TableRows::Table(table.to_owned());
        snapshot.read(WHOSE, &rows, &Wanted { columns: &columns, key: None }, BOUNDS).unwrap().batch
    };
    let first = lines(&read("t"));
    database.connection.execute("UPDATE t SET id = 2; UPDATE u SET id = 2");
    assert_eq!((first, lines(&read("u"))), (vec![r#"{"id":1}"#.to_owned()], vec![r#"{"id":1}"#.to_owned()]));
}

#[test]
fn a_table_is_read_whole_or_not_at_all() {
    let database = Database::new();
    let columns = [column("id", ColumnType::I64), column("text", ColumnType::Utf8)];
    let rows = |count: usize, bytes: usize| {
        let query = format!("SELECT n AS id, repeat('x', {bytes}) AS text FROM generate_series(1, {count}) AS n");
        read(&database, TableRows::Query(query), &columns, None, BOUNDS)
    };
    assert_eq!(rows(BOUNDS.rows, 1).unwrap().num_rows(), BOUNDS.rows);
    assert_eq!(rows(0, 1).unwrap().num_rows(), 0);
    for (error, said) in [
        (rows(BOUNDS.rows + 1, 1).unwrap_err(), "more than 1000 rows"),
        (rows(20, 60_000).unwrap_err(), "more than 1 MiB"),
    ] {
        assert_eq!(error.code(), Code::SideTable, "{error}");
        assert!(error.message().contains(said), "{error}");
    }
}

#[test]
fn a_query_that_writes_is_refused_and_writes_nothing() {
    let database = Database::new();
    database.connection.execute("CREATE TABLE t (id bigint); CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING id'");
    let columns = [column("id", ColumnType::I64)];
    let error = query(&database, "SELECT f() AS id", &columns).unwrap_err();
    assert_eq!(error.code(), Code::SideTable, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(database.connection.one("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_query_with_parameters_is_refused() {
    let database = Database::new();
    let error = query(&database, "SELECT $1::bigint AS id", &[column("id", ColumnType::I64)]).unwrap_err();
    assert_eq!(error.code(), Code::SideTable, "{error}");
    assert!(error.message().contains("$1"), "{error}");
}

#[test]
fn a_user_who_may_not_read_is_told_so() {
    let database = Database::new();
    let role = format!("blind_{}", std::process::id());
    database.connection.execute(&format!("CREATE TABLE t (id bigint); CREATE ROLE {role} LOGIN PASSWORD 'x'"));
    let (_, rest) = database.url.split_once('@').expect("user@host");
    let mut snapshot = Snapshot::open(WHOSE, &database_url(&format!("postgres://{role}:x@{rest}"))).unwrap();
    let columns = [column("id", ColumnType::I64)];
    let rows = TableRows::Table("t".to_owned());
    let error = snapshot.read(WHOSE, &rows, &Wanted { columns: &columns, key: None }, BOUNDS).err().expect("refused");
    assert_eq!(error.code(), Code::DatabaseRefused, "{error}");
    assert!(error.to_string().contains("permission denied") && error.message().starts_with(WHOSE), "{error}");
    drop(snapshot);
    database.connection.execute(&format!("DROP ROLE {role}"));
}

#[test]
fn a_server_that_is_away_is_one_that_may_come_back() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let error = Snapshot::open(WHOSE, &database_url(&format!("postgres://segno:hunter2@{closed}/segno")))
        .err()
        .expect("refused");
    assert_eq!(error.code(), Code::TableUnread, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
