//! Rows and marks: each row once, by its key; older writers and lost marks.

use crate::lab::{Database, Epoch, owner, schema};
use arrow_array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use segno_core::Code;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::sink::{DeadLetter, Held, Sink, dead_letter_batch, dead_letter_schema};
use segno_postgres::PostgresSink;
use std::sync::Arc;

#[test]
fn without_a_key_every_row_is_kept_and_writing_again_changes_nothing() {
    let database = Database::new();
    let spec = database.spec("scores", &[], true);
    let mut sink = database.sink(&spec, &schema(), 1);
    let first = Epoch::of(1, 0, &[(1, Some("ann"), 1.5), (1, Some("ann"), 1.5), (2, None, 0.0)]);
    let second = Epoch::of(2, 3, &[(3, Some("bob"), 2.5)]);
    first.publish(&mut sink).unwrap();
    second.stage(&mut sink).unwrap();
    second.publish(&mut sink).unwrap();
    let query = "SELECT id, name, price, segno_source, segno_partition, segno_offset, segno_index FROM scores ORDER BY segno_offset";
    let rows = database.connection.rows(query);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[2], ["2", "∅", "0", "source", "in.jsonl", "2", "0"]);
    // The mark says that they are there already.
    first.publish(&mut sink).unwrap();
    assert_eq!((database.connection.rows(query), database.mark()), (rows.clone(), "2".to_owned()));
    // And where the mark was set back, the key does.
    database.connection.execute("UPDATE segno.marks SET epoch = 0");
    let mut successor = database.sink(&spec, &schema(), 2);
    first.publish(&mut successor).unwrap();
    second.publish(&mut successor).unwrap();
    assert_eq!((database.connection.rows(query), database.mark()), (rows, "2".to_owned()));
}

#[test]
fn what_was_staged_for_one_epoch_is_not_published_as_another() {
    let database = Database::new();
    let mut sink = database.sink(&database.spec("scores", &[], true), &schema(), 1);
    Epoch::of(2, 1, &[(2, None, 1.0)]).stage(&mut sink).unwrap();
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap();
    assert_eq!(database.connection.rows("SELECT id FROM scores"), [["1"]]);
}

#[test]
fn with_a_key_the_last_row_of_each_key_wins() {
    let database = Database::new();
    let mut sink = database.sink(&database.spec("latest", &["id"], true), &schema(), 1);
    Epoch::of(1, 0, &[(1, Some("a"), 1.0), (2, Some("b"), 2.0), (1, Some("c"), 3.0)]).publish(&mut sink).unwrap();
    Epoch::of(2, 3, &[(3, None, 4.0), (2, None, 5.0), (3, Some("d"), 6.0)]).publish(&mut sink).unwrap();
    let rows = database.connection.rows("SELECT * FROM latest ORDER BY id");
    assert_eq!(rows, [["1", "c", "3"], ["2", "∅", "5"], ["3", "d", "6"]]);
}

#[test]
fn keys_that_postgres_has_equal_are_one_key() {
    let database = Database::new();
    let schema = Schema::new(vec![
        Column::new("price", ColumnType::F64, false),
        Column::new("name", ColumnType::Utf8, false),
        Column::new("count", ColumnType::U64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, f64::NAN])),
        // Two columns side by side are no key of one.
        Arc::new(StringArray::from(vec!["a", "a", "ab", "a"])),
        Arc::new(UInt64Array::from(vec![1, 2, 3, 4])),
    ];
    let mut sink = database.sink(&database.spec("prices", &["price", "name"], true), &schema, 1);
    Epoch::new(1, &schema, columns, 0).publish(&mut sink).unwrap();
    let counts = database.connection.rows("SELECT count FROM prices ORDER BY count");
    assert_eq!(counts, [["2"], ["3"], ["4"]]);
}

#[test]
fn rows_that_are_only_a_key_are_written_once() {
    let database = Database::new();
    let schema = Schema::new(vec![Column::new("name", ColumnType::Utf8, false)]);
    let mut sink = database.sink(&database.spec("names", &["name"], true), &schema, 1);
    for number in [1, 2] {
        Epoch::new(number, &schema, vec![Arc::new(StringArray::from(vec!["a", "b", "a"]))], 0).publish(&mut sink).unwrap();
    }
    assert_eq!(database.connection.rows("SELECT name FROM names ORDER BY name"), [["a"], ["b"]]);
}

#[test]
fn a_lost_mark_stays_lost_until_the_sink_is_started_again() {
    let database = Database::new();
    let spec = database.spec("scores", &[], true);
    let mut sink = database.sink(&spec, &schema(), 1);
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap();
    database.connection.execute("DELETE FROM segno.marks");
    let error = Epoch::of(2, 1, &[(2, None, 1.0)]).publish(&mut sink).unwrap_err();
    assert_eq!(error.code(), Code::SinkMarkLost, "{error}");
    for generation in [2, 3] {
        let mut again = PostgresSink::open("out", &spec, &schema()).unwrap();
        assert_eq!(again.take_over(&owner(generation)).unwrap(), Held::Nothing);
    }
    let mut accepted = PostgresSink::open("out", &spec, &schema()).unwrap();
    accepted.take_over(&owner(4)).unwrap();
    accepted.start_after(7).unwrap();
    assert_eq!(PostgresSink::open("out", &spec, &schema()).unwrap().take_over(&owner(5)).unwrap(), Held::Through(7));
}

#[test]
fn a_table_that_is_gone_took_what_the_mark_says_with_it() {
    let database = Database::new();
    let spec = database.spec("scores", &[], true);
    let mut sink = database.sink(&spec, &schema(), 1);
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap();
    database.connection.execute("DROP TABLE scores");
    let mut again = PostgresSink::open("out", &spec, &schema()).unwrap();
    assert_eq!(again.take_over(&owner(2)).unwrap(), Held::Nothing);
    assert_eq!(database.connection.one("SELECT to_regclass('scores') IS NULL"), "t");
}

#[test]
fn a_sink_that_moves_to_another_table_goes_on_after_its_mark() {
    let database = Database::new();
    let mut sink = database.sink(&database.spec("scores", &[], true), &schema(), 1);
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap();
    let mut moved = PostgresSink::open("out", &database.spec("others", &[], true), &schema()).unwrap();
    assert_eq!(moved.take_over(&owner(2)).unwrap(), Held::Through(1));
    Epoch::of(2, 1, &[(2, None, 1.0)]).publish(&mut moved).unwrap();
    assert_eq!(database.connection.rows("SELECT id FROM others"), [["2"]]);
    assert_eq!(database.connection.one("SELECT table_name FROM segno.marks"), "public.others");
}

#[test]
fn two_sinks_do_not_share_a_table_without_a_key() {
    let database = Database::new();
    let _first = database.sink(&database.spec("scores", &[], true), &schema(), 1);
    let mut second = PostgresSink::open("other", &database.spec("public.scores", &[], false), &schema()).unwrap();
    let error = second.take_over(&owner(1)).unwrap_err();
    assert_eq!(error.code(), Code::TableUnfit, "{error}");
    assert!(error.to_string().contains("default/tests/out"), "{error}");
}

#[test]
fn every_name_is_quoted() {
    let database = Database::new();
    database.connection.execute("CREATE SCHEMA \"select\"");
    let names = ["bid.price", "Ünïcode \"quoted\"", "x\"; DROP TABLE segno.marks; --", "select"];
    let schema = Schema::new(names.iter().map(|name| Column::new(*name, ColumnType::Utf8, false)).collect());
    for (table, key) in [("select.table", vec![]), ("select.user", names[1..3].to_vec())] {
        let sink_name = table.replace('.', "-");
        let mut sink = PostgresSink::open(&sink_name, &database.spec(table, &key, true), &schema).unwrap();
        sink.take_over(&owner(1)).unwrap();
        sink.start_after(0).unwrap();
        let column = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        Epoch::new(1, &schema, names.iter().map(|name| column(name)).collect(), 0).publish(&mut sink).unwrap();
        // Found and fitting, once it is there.
        PostgresSink::open(&sink_name, &database.spec(table, &key, false), &schema).unwrap();
    }
    let row = database.connection.rows("SELECT * FROM \"select\".\"user\"");
    assert_eq!(row, [names]);
    assert_eq!(database.connection.one("SELECT count(*) FROM segno.marks"), "2");
}

#[test]
fn dead_letters_go_to_a_table_whatever_bytes_they_hold() {
    let database = Database::new();
    let letter = |offset, value: &[u8], reason: &str| DeadLetter {
        source: "source".into(),
        partition: "in.jsonl".into(),
        offset,
        time: Some(1),
        step: None,
        code: "D001".into(),
        reason: reason.into(),
        component: None,
        value: value.to_vec(),
    };
    let letters = [letter(0, b"{", "cut"), letter(1, b"a\0b", "a \0 in it"), letter(2, b"\xff", "not UTF-8")];
    let schema = dead_letter_schema();
    let columns = dead_letter_batch(&letters).columns().to_vec();
    let mut sink = database.sink(&database.spec("dead", &[], true), &schema, 1);
    Epoch::new(1, &schema, columns, 0).publish(&mut sink).unwrap();
    let rows = database.connection.rows("SELECT value, value_base64, reason FROM dead ORDER BY segno_offset");
    assert_eq!(rows, [["{", "∅", "cut"], ["∅", "YQBi", "a \\0 in it"], ["∅", "/w==", "not UTF-8"]]);
}
