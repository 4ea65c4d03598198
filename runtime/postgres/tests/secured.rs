//! Connections that are encrypted and checked: what the URL demands is given or refused, never less.

use crate::lab::{Connection, Epoch, OwnServer, database_url, owner, schema, spec};
use segno_core::columns::{Column, ColumnType};
use segno_core::pipeline::TableRows;
use segno_core::sink::Sink;
use segno_core::{Code, Error};
use segno_postgres::{Bounds, PostgresSink, Snapshot, Wanted};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate and its key, made by the program that the servers' script uses, too.
fn certificate(path: &Path, subject: &str, more: &[&str], signed_by: Option<&Path>) -> PathBuf {
    let key = path.with_extension("key");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", subject]).args(more);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(path);
    if let Some(authority) = signed_by {
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-CA").arg(authority).arg("-CAkey").arg(authority.with_extension("key"));
    }
    let done = openssl.output().expect("openssl, which servers.py needs too");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    path.to_owned()
}

/// A server whose certificate names localhost and no address; the user `segno` may come in plaintext, `encrypted` only
/// with TLS, and `certified` only with a certificate of the authority.
struct Secured {
    server: OwnServer,
    port: String,
}

impl Secured {
    fn up() -> Secured {
        let server = OwnServer::up();
        let ca = certificate(&server.path("ca.pem"), "/CN=authority", &[], None);
        certificate(&server.path("other-ca.pem"), "/CN=another", &[], None);
        let names = ["-addext", "subjectAltName=DNS:localhost"];
        let own = certificate(&server.path("server.pem"), "/CN=server", &names, Some(&ca));
        certificate(&server.path("certified.pem"), "/CN=certified", &[], Some(&ca));
        let plain = Connection::open(&server.url());
        plain.execute("CREATE ROLE encrypted LOGIN SUPERUSER PASSWORD 'x'; CREATE ROLE certified LOGIN SUPERUSER");
        let data = server.path("postgres/data");
        // The server's own user must own its key.
        let account = std::fs::metadata(&data).expect("the server's folder");
        for file in ["server.pem", "server.key", "ca.pem"] {
            let to = data.join(file);
            std::fs::copy(own.with_file_name(file), &to).expect("a file of the server");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("permissions");
            use std::os::unix::fs::MetadataExt;
            std::os::unix::fs::chown(&to, Some(account.uid()), Some(account.gid())).expect("an owner");
        }
        let rules = data.join("pg_hba.conf");
        let before = std::fs::read_to_string(&rules).expect("pg_hba.conf");
        let ours = "hostssl all certified all cert\nhostssl all encrypted all scram-sha-256\nhostnossl all certified,encrypted all reject\n";
        std::fs::write(&rules, format!("{ours}{before}")).expect("pg_hba.conf");
        plain.execute("ALTER SYSTEM SET ssl_cert_file = 'server.pem'");
        plain.execute("ALTER SYSTEM SET ssl_key_file = 'server.key'");
        plain.execute("ALTER SYSTEM SET ssl_ca_file = 'ca.pem'");
        plain.execute("ALTER SYSTEM SET ssl = on");
        drop(plain);
        server.order(&["stop", "FOLDER", "postgres"]);
        server.order(&["start", "FOLDER", "postgres"]);
        let url = server.url();
        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).expect("a port").0.to_owned();
        Secured { server, port }
    }

    fn url(&self, user: &str, host: &str, query: &str) -> String {
        let folder = self.server.path("").display().to_string();
        format!("postgres://{user}@{host}:{}/segno{}", self.port, query.replace("DIR/", &folder))
    }
}

/// Whether the session that asks is encrypted, asked over a side table's connection.
fn encrypted(url: &str) -> Result<bool, Error> {
    let mut snapshot = Snapshot::open("step \"s\": side table \"t\"", &database_url(url))?;
    let columns = [Column::new("ssl", ColumnType::Bool, false)];
    let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()".to_owned();
    let bounds = Bounds { rows: 1, bytes: 100 };
    let wanted = Wanted { columns: &columns, key: None };
    let rows = snapshot.read("step \"s\": side table \"t\"", &TableRows::Query(query), &wanted, bounds)?;
    let ssl = rows.batch.column(0);
    Ok(arrow_array::cast::AsArray::as_boolean(&**ssl).value(0))
}

#[test]
fn a_connection_is_as_secure_as_its_url_says_or_refused() {
    let lab = Secured::up();
    for (user, host, query, expected) in [
        ("segno:segno", "localhost", "", false),
        ("segno:segno", "localhost", "?sslmode=disable", false),
        ("segno:segno", "localhost", "?sslmode=require", true),
        ("encrypted:x", "127.0.0.1", "?sslmode=require", true),
        // The certificate names localhost only.
        ("encrypted:x", "127.0.0.1", "?sslmode=verify-ca&sslrootcert=DIR/ca.pem", true),
        ("encrypted:x", "localhost", "?sslmode=verify-full&sslrootcert=DIR/ca.pem", true),
        (
            "certified",
            "localhost",
            "?sslmode=verify-full&sslrootcert=DIR/ca.pem&sslcert=DIR/certified.pem&sslkey=DIR/certified.key",
            true,
        ),
    ] {
        let url = lab.url(user, host, query);
        assert_eq!(
            encrypted(&url).unwrap_or_else(|error| panic!("{user} {query}: {error}")),
            expected,
            "{user} {query}"
        );
    }
    for (user, host, query, code, said) in [
        (
            "encrypted:x",
            "localhost",
            "?sslmode=verify-ca&sslrootcert=DIR/other-ca.pem",
            Code::DatabaseInsecure,
            "certificate verify failed",
        ),
        (
            "encrypted:x",
            "localhost",
            "?sslmode=verify-full&sslrootcert=DIR/other-ca.pem",
            Code::DatabaseInsecure,
            "certificate verify failed",
        ),
        // The authorities of the system do not know it.
        ("encrypted:x", "localhost", "?sslmode=verify-full", Code::DatabaseInsecure, "certificate verify failed"),
        ("encrypted:x", "127.0.0.1", "?sslmode=verify-full&sslrootcert=DIR/ca.pem", Code::DatabaseInsecure, "mismatch"),
        // The server demands TLS.
        ("encrypted:x", "localhost", "", Code::DatabaseRefused, "encryption"),
        ("encrypted:wrong", "localhost", "?sslmode=require", Code::DatabaseRefused, "password authentication failed"),
        ("certified", "localhost", "?sslmode=require", Code::DatabaseRefused, "certificate"),
        (
            "certified",
            "localhost",
            "?sslmode=verify-full&sslrootcert=DIR/ca.pem&sslcert=DIR/other-ca.pem&sslkey=DIR/other-ca.key",
            Code::DatabaseInsecure,
            "alert",
        ),
        (
            "segno:segno",
            "localhost",
            "?sslmode=verify-full&sslrootcert=DIR/nowhere.pem",
            Code::DatabaseInsecure,
            "nowhere.pem cannot be used",
        ),
        (
            "segno:segno",
            "localhost",
            "?sslmode=verify-full&sslrootcert=DIR/ca.key",
            Code::DatabaseInsecure,
            "holds no certificate",
        ),
        (
            "certified",
            "localhost",
            "?sslmode=require&sslcert=DIR/certified.pem&sslkey=DIR/server.key",
            Code::DatabaseInsecure,
            "server.key cannot be used",
        ),
    ] {
        let url = lab.url(user, host, query);
        let Err(error) = encrypted(&url) else { panic!("{user} {query} was let in") };
        let text = format!("{error} {}", error.help().unwrap_or_default());
        assert_eq!(error.code(), code, "{user} {query}: {text}");
        assert!(text.contains(said), "{user} {query}: {text}");
        assert!(error.help().is_some() && !text.contains("segno:segno"), "{text}");
    }
    // A sink comes the same way.
    let url = lab.url("encrypted:x", "localhost", "?sslmode=verify-full&sslrootcert=DIR/ca.pem");
    let mut sink = PostgresSink::open("out", &spec(&url, "scores", &[], true), &schema()).expect("the sink opens");
    sink.take_over(&owner(1)).expect("the sink is taken over");
    sink.start_after(0).expect("the sink starts");
    Epoch::of(1, 0, &[(1, None, 1.0)]).publish(&mut sink).expect("rows are written");
    assert_eq!(Connection::open(&lab.server.url()).one("SELECT count(*) FROM scores"), "1");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let url = crate::lab::server_url();
    for mode in ["require", "verify-ca", "verify-full"] {
        let Err(error) = PostgresSink::open("out", &spec(&format!("{url}?sslmode={mode}"), "t", &[], true), &schema())
        else {
            panic!("{mode} went on in plaintext")
        };
        assert_eq!(error.code(), Code::DatabaseInsecure, "{error}");
        assert!(error.to_string().contains("server does not support TLS"), "{error}");
    }
}
