//! Connections that break in COMMIT, servers that crash, rows that a table refuses.

use crate::lab::{Connection, Database, OwnServer, Epoch, owner, schema, spec};
use segno_core::sink::{Held, Sink};
use segno_core::{Code, Kind};
use segno_postgres::PostgresSink;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What the proxy does with the next COMMIT.
const PASS: u8 = 0;
/// Hands it to the server, waits for the answer, and cuts the connection without it.
const CUT_AFTER: u8 = 1;
/// Cuts the connection before the server sees it.
const CUT_BEFORE: u8 = 2;

/// A proxy before the database; its orders are followed once.
fn proxy(database: &Database) -> (String, Arc<AtomicU8>) {
    let (before, rest) = database.url.split_once('@').expect("user@host");
    let (address, name) = rest.split_once('/').expect("host/database");
    let address = address.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("{before}@{}/{name}", listener.local_addr().expect("a port"));
    let order = Arc::new(AtomicU8::new(PASS));
    let orders = Arc::clone(&order);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&address).expect("the server of the tests");
            let orders = Arc::clone(&orders);
            std::thread::spawn(move || forward(client, server, &orders));
        }
    });
    (url, order)
}

fn forward(mut client: TcpStream, mut server: TcpStream, order: &AtomicU8) {
    let (mut from_server, mut to_client) = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
    let cut = Arc::new(AtomicU8::new(PASS));
    let cut_answers = Arc::clone(&cut);
    let answers = std::thread::spawn(move || {
        let mut bytes = [0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            if cut_answers.load(Ordering::SeqCst) == CUT_AFTER || to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        if bytes[..count].windows(7).any(|window| window == b"COMMIT\0") {
            cut.store(order.swap(PASS, Ordering::SeqCst), Ordering::SeqCst);
        }
        if cut.load(Ordering::SeqCst) == CUT_BEFORE || server.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = answers.join();
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_in_the_mark() {
    let database = Database::new();
    let (url, order) = proxy(&database);
    let mut sink = database.sink(&spec(&url, "scores", &[], true), &schema(), 1);
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap();
    order.store(CUT_AFTER, Ordering::SeqCst);
    Epoch::of(2, 1, &[(2, None, 1.0)]).publish(&mut sink).unwrap();
    assert_eq!(order.load(Ordering::SeqCst), PASS, "the proxy saw no COMMIT");
    assert_eq!(database.mark(), "2");
    // The sink goes on with its new connection.
    Epoch::of(3, 2, &[(3, None, 1.0)]).publish(&mut sink).unwrap();
    assert_eq!(database.connection.rows("SELECT id FROM scores ORDER BY id"), [["1"], ["2"], ["3"]]);
}

#[test]
fn a_commit_that_never_arrived_is_an_error_that_passes() {
    let database = Database::new();
    let (url, order) = proxy(&database);
    let spec = spec(&url, "scores", &[], true);
    let mut sink = database.sink(&spec, &schema(), 1);
    order.store(CUT_BEFORE, Ordering::SeqCst);
    let epoch = Epoch::of(1, 0, &[(1, None, 1.0)]);
    let error = epoch.publish(&mut sink).unwrap_err();
    assert_eq!(order.load(Ordering::SeqCst), PASS, "the proxy saw no COMMIT");
    assert_eq!(error.kind(), Kind::Transient, "{error}");
    assert_eq!((database.mark(), database.connection.one("SELECT count(*) FROM scores")), ("0".to_owned(), "0".to_owned()));
    let mut again = PostgresSink::open("out", &spec, &schema()).unwrap();
    assert_eq!(again.take_over(&owner(2)).unwrap(), Held::Through(0));
    epoch.publish(&mut again).unwrap();
    assert_eq!(database.connection.rows("SELECT id FROM scores"), [["1"]]);
}

#[test]
fn a_connection_that_the_server_ends_is_an_error_that_passes() {
    let database = Database::new();
    let mut sink = database.sink(&database.spec("scores", &[], true), &schema(), 1);
    // A row that the trigger sees ends the session that writes it.
    database.connection.execute(
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.id = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END';
         CREATE TRIGGER cut BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION cut()",
    );
    let error = Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error}");
    // The sink connects again by itself.
    Epoch::of(1, 0, &[(2, None, 1.0)]).publish(&mut sink).unwrap();
    assert_eq!(database.connection.rows("SELECT id FROM scores"), [["2"]]);
}

#[test]
fn what_a_server_says_becomes_the_code_that_tells_what_to_do() {
    let database = Database::new();
    let mut sink = database.sink(&database.spec("scores", &[], true), &schema(), 1);
    for (state, code) in [
        ("40001", Code::SinkFailed),
        ("40P01", Code::SinkFailed),
        ("53100", Code::DiskFull),
        ("25006", Code::SinkFailed),
        ("42501", Code::DatabaseRefused),
        ("23514", Code::RowRefused),
        ("P0001", Code::RowRefused),
        ("42703", Code::TableUnfit),
    ] {
        database.connection.execute(&format!(
            "CREATE OR REPLACE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''{state}'', MESSAGE = ''said so''; END';
             CREATE OR REPLACE TRIGGER say BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION say()"
        ));
        let error = Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("said so") && error.to_string().contains("writing epoch 1"), "{error}");
    }
    assert_eq!(database.mark(), "0");
}

/// Epochs that are written, and rows of each: long enough that a crash meets one.
const EPOCHS: u64 = 60;
const ROWS: u64 = 2_000;

#[test]
fn a_server_that_crashes_amid_epochs_loses_and_doubles_nothing() {
    let server = OwnServer::up();
    let spec = spec(&server.url(), "scores", &[], true);
    let (crash, crashes) = std::sync::mpsc::channel();
    let mut failures = 0;
    std::thread::scope(|scope| {
        let server = &server;
        scope.spawn(move || {
            for () in crashes {
                server.order(&["stop", "FOLDER", "postgres", "--kill"]);
                server.order(&["start", "FOLDER", "postgres"]);
            }
        });
        let epoch = |number: u64| {
            let first = (number - 1) * ROWS;
            let rows: Vec<_> = (first..first + ROWS).map(|id| (id as i64, Some("row"), id as f64)).collect();
            Epoch::of(number, first, &rows)
        };
        let mut generation = 0;
        let mut written = 0;
        let mut ordered = 0;
        // As the runtime does: after an error that passes, open again and ask what is held.
        while written < EPOCHS {
            generation += 1;
            let mut attempt = || -> segno_core::Result<()> {
                let mut sink = PostgresSink::open("out", &spec, &schema())?;
                match sink.take_over(&owner(generation))? {
                    Held::Through(held) => written = held,
                    _ => sink.start_after(0)?,
                }
                while written < EPOCHS {
                    // At these epochs the server is told to crash; the writing goes on meanwhile.
                    if [10, 30, 50].iter().filter(|&&at| written >= at).count() > ordered {
                        ordered += 1;
                        crash.send(()).expect("the thread that crashes the server");
                    }
                    epoch(written + 1).publish(&mut sink)?;
                    written += 1;
                }
                Ok(())
            };
            if let Err(error) = attempt() {
                assert_eq!(error.kind(), Kind::Transient, "{error}");
                failures += 1;
                std::thread::yield_now();
            }
        }
        drop(crash);
    });
    assert!(failures > 0, "no crash met the writer");
    println!("## PostgreSQL crashed 3 times; {failures} attempts to write or connect failed");
    let connection = Connection::open(&server.url());
    let facts = connection.rows("SELECT count(*), count(DISTINCT id), min(id), max(id), sum(price) FROM scores");
    let count = EPOCHS * ROWS;
    let (last, sum) = (count - 1, count * (count - 1) / 2);
    let price = format!("{}", connection.one(&format!("SELECT {sum}::float8")));
    assert_eq!(facts, [[count.to_string(), count.to_string(), "0".into(), last.to_string(), price]]);
}
