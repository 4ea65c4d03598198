//! What is refused before anything runs: tables that do not fit, databases that cannot be reached.

use crate::lab::{Database, owner, schema, server_url, spec};
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::sink::Sink;
use segno_core::{Code, Error};
use segno_postgres::PostgresSink;

const LINEAGE: &str = "segno_source text, segno_partition text, segno_offset bigint, segno_index bigint";
const LINEAGE_KEY: &str = "PRIMARY KEY (segno_source, segno_partition, segno_offset, segno_index)";

fn refused(database: &Database, table: &str, key: &[&str], schema: &Schema) -> Error {
    match PostgresSink::open("out", &database.spec(table, key, true), schema) {
        Ok(_) => panic!("the table {table} was taken"),
        Err(error) => {
            assert_eq!(error.code(), Code::TableUnfit, "{error}");
            error
        }
    }
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_every_reason() {
    let database = Database::new();
    // Statement, and what the message says; `out` writes (id i64, name utf8?, price f64).
    let cases: &[(&str, &[&str])] = &[
        ("CREATE TABLE t (id bigint, price float8, LINEAGE, KEY)", &["the column \"name\" is missing"]),
        (
            "CREATE TABLE t (id int, name varchar(10), price real, LINEAGE, KEY)",
            &["\"id\" is integer, and rows hold i64 (bigint)", "\"name\" is character varying(10)", "\"price\" is real"],
        ),
        ("CREATE TABLE t (id numeric(18), name text, price float8, LINEAGE, KEY)", &["\"id\" is numeric(18,0)"]),
        ("CREATE TABLE t (id bigint, name text NOT NULL, price float8, LINEAGE, KEY)", &["\"name\" is NOT NULL, and rows may hold null"]),
        (
            "CREATE TABLE t (id bigint, name text, price float8, owner text NOT NULL, LINEAGE, KEY)",
            &["\"owner\" is NOT NULL and never written"],
        ),
        ("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, name text, price float8, LINEAGE, KEY)", &["\"id\" is generated"]),
        ("CREATE TABLE t (id bigint, name text, price float8, LINEAGE)", &["no unique index stands on (\"segno_source\""]),
        ("CREATE TABLE t (id bigint, name text, price float8)", &["\"segno_source\" is missing", "\"segno_index\" is missing"]),
        ("CREATE VIEW t AS SELECT 1 AS id", &["it is not a table"]),
    ];
    for (statement, said) in cases {
        database.connection.execute(&statement.replace("LINEAGE", LINEAGE).replace("KEY)", &format!("{LINEAGE_KEY})")));
        let error = refused(&database, "t", &[], &schema());
        for part in *said {
            assert!(error.message().contains(part), "{part:?} is not in {error}");
        }
        let kind = if statement.contains("VIEW") { "VIEW" } else { "TABLE" };
        database.connection.execute(&format!("DROP {kind} t"));
    }
}

#[test]
fn the_help_mends_the_table() {
    let database = Database::new();
    database.connection.execute("CREATE TABLE t (id int, name text NOT NULL, other text NOT NULL)");
    for round in 0.. {
        match PostgresSink::open("out", &database.spec("t", &["id"], false), &schema()) {
            Ok(_) => break,
            Err(error) => {
                let help = error.help().expect("a help").to_owned();
                database.connection.execute(help.split_once('\n').expect("statements after a first line").1);
            }
        }
        assert!(round < 3, "the help does not mend the table");
    }
}

#[test]
fn a_unique_index_that_on_conflict_cannot_use_is_none() {
    let database = Database::new();
    for index in [
        "CREATE UNIQUE INDEX ON t (id) WHERE price > 0",
        "CREATE UNIQUE INDEX ON t ((id + 1))",
        "CREATE UNIQUE INDEX ON t (id, name)",
        "CREATE INDEX ON t (id)",
        "ALTER TABLE t ADD UNIQUE (id) DEFERRABLE",
    ] {
        database.connection.execute(&format!("CREATE TABLE t (id bigint, name text, price float8); {index}"));
        let error = refused(&database, "t", &["id"], &schema());
        assert!(error.message().contains("no unique index"), "{index}: {error}");
        database.connection.execute("DROP TABLE t");
    }
    // Order and further columns that are only included do not matter.
    database.connection.execute("CREATE TABLE t (id bigint, name text, price float8); CREATE UNIQUE INDEX ON t (price, id) INCLUDE (name)");
    PostgresSink::open("out", &database.spec("t", &["id", "price"], false), &schema()).unwrap();
}

#[test]
fn wider_types_and_columns_with_defaults_are_taken() {
    let database = Database::new();
    database.connection.execute(
        "CREATE TABLE t (number bigserial, id numeric, name varchar, price float8, at timestamptz NOT NULL DEFAULT now(), UNIQUE (id))",
    );
    PostgresSink::open("out", &database.spec("t", &["id"], false), &schema()).unwrap();
}

#[test]
fn a_missing_table_is_refused_with_the_statement_that_makes_it() {
    let database = Database::new();
    let Err(error) = PostgresSink::open("out", &database.spec("t", &["id"], false), &schema()) else {
        panic!("a table that is not there was taken")
    };
    assert_eq!(error.code(), Code::TableUnfit);
    let help = error.help().expect("a help");
    assert!(help.contains("create_table: true"), "{help}");
    database.connection.execute(help.split_once('\n').expect("a statement after the first line").1);
    PostgresSink::open("out", &database.spec("t", &["id"], false), &schema()).unwrap();
}

#[test]
fn names_and_keys_that_cannot_be_are_refused() {
    let database = Database::new();
    for (key, said) in [("name", "may be null"), ("other", "not among the columns")] {
        let error = refused(&database, "t", &[key], &schema());
        assert!(error.message().contains(said), "{error}");
    }
    for (table, said) in [("nowhere.t", "no schema \"nowhere\""), ("segno.marks", "Segno's own")] {
        let error = refused(&database, table, &["id"], &schema());
        assert!(error.message().contains(said), "{error}");
    }
    let named = |name: &str| Schema::new(vec![Column::new(name, ColumnType::I64, false)]);
    let error = refused(&database, "t", &[], &named("segno_offset"));
    assert!(error.message().contains("Segno's own"), "{error}");
    let error = refused(&database, "t", &[], &named(&"x".repeat(64)));
    assert!(error.message().contains("1 to 63 bytes"), "{error}");
}

#[test]
fn a_refused_connection_names_the_host_and_never_the_password() {
    let url = server_url();
    let address = url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("user@host/database").0;
    // A port on which nobody listens: taken, and given back.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for (url, code, said) in [
        (format!("postgres://segno:hunter2@{address}/segno"), Code::DatabaseRefused, "password"),
        (format!("postgres://nobody:hunter2@{address}/segno"), Code::DatabaseRefused, "nobody"),
        (url.rsplit_once('/').map(|(server, _)| format!("{server}/nowhere")).unwrap_or_default(), Code::DatabaseRefused, "nowhere"),
        (format!("postgres://segno:hunter2@{closed}/segno"), Code::SinkFailed, "refused"),
        (format!("postgres://segno:hun@ter2@{address}/segno"), Code::SinkFailed, "connecting"),
        (format!("postgres://segno:hunter2@{address}/segno?sslmode=require"), Code::DatabaseInsecure, "TLS"),
        (format!("postgres://segno:hunter2@{address}/segno?colour=hunter2"), Code::DatabaseRefused, "url"),
    ] {
        let Err(error) = PostgresSink::open("out", &spec(&url, "t", &[], true), &schema()) else {
            panic!("{url} was taken")
        };
        let text = format!("{error} {}", error.help().unwrap_or_default());
        assert_eq!(error.code(), code, "{url}: {text}");
        assert!(text.contains(said) && text.contains("sink \"out\""), "{url}: {text}");
        assert!(!text.contains("hunter2") && !text.contains("hun@"), "{text}");
    }
}

#[test]
fn a_user_without_privileges_is_told_what_is_missing() {
    let database = Database::new();
    let role = format!("poor_{}", std::process::id());
    database.connection.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE t (id bigint PRIMARY KEY, name text, price float8); GRANT SELECT ON t TO {role}"
    ));
    let (_, rest) = database.url.split_once('@').expect("user@host");
    let poor = format!("postgres://{role}:x@{rest}");
    let Err(error) = PostgresSink::open("out", &spec(&poor, "t", &["id"], false), &schema()) else {
        panic!("a table that may not be written was taken")
    };
    assert!(error.message().contains("may not INSERT; this user may not UPDATE"), "{error}");
    // The table may be written now, and no place for marks is there.
    database.connection.execute(&format!("GRANT INSERT, UPDATE ON t TO {role}"));
    let mut sink = PostgresSink::open("out", &spec(&poor, "t", &["id"], false), &schema()).unwrap();
    let error = sink.take_over(&owner(1)).unwrap_err();
    assert_eq!(error.code(), Code::DatabaseRefused, "{error}");
    assert!(error.to_string().contains("permission denied"), "{error}");
    database.connection.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
