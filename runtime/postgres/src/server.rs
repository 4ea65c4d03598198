//! A database: reaching it, bounded waits, and what its refusals mean to a sink or to a side table.
//!
//! Owns: connections and their settings, the map from SQLSTATE to codes. Does not own: statements (`table`, `marks`).
//!
//! Invariants: no wait is endless. An error names host and database, never the password. What may pass by itself is
//! transient; what a person must mend is not.

use crate::tls::{self, Connector};
use segno_core::pipeline::DatabaseUrl;
use segno_core::{Code, Error, Result};
use std::future::Future;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};

/// Until a connection stands, for each address; `connect_timeout` in the URL overrides it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A statement at most. The longest one writes an epoch of a million rows, which takes some ten seconds.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// A frozen writer keeps the mark locked in an open transaction; after this time the server ends it.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Waiting for a lock: longer than a frozen writer can hold it, shorter than a statement.
const LOCK_TIMEOUT: Duration = Duration::from_secs(90);
/// A whole transaction: what the client waits for when the server neither answers nor goes away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// A connection on which nothing comes is probed after this time, so that a dead peer is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes that the peer's kernel does not acknowledge for so long end the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a connection with TLS is tried that is reset before it stands. A server that refuses a client certificate says so
/// after the handshake; when the first statement is under way by then, the reset overtakes what it says.
const RESET_TRIES: u32 = 5;

/// What a connection is for: whose name errors bear, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Sink,
    SideTable,
}

pub struct Server {
    purpose: Purpose,
    /// As errors begin: `sink "scores"`.
    whose: String,
    config: Config,
    connector: Connector,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn new(purpose: Purpose, whose: &str, url: &DatabaseUrl) -> Result<Server> {
        let mut config: Config = url.for_client().parse().map_err(|error: tokio_postgres::Error| {
            Error::new(Code::DatabaseRefused, format!("{whose}: the url cannot be read"))
                .with_cause(causes(&error))
                .with_help("write postgres://user:${PASSWORD}@host:5432/database; in the password, write % as %25, @ as %40, / as %2F")
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("segno");
        }
        config.keepalives(true).keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        // The caller's thread moves the bytes while it waits: handing each piece to another thread costs more.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Internal, "the client cannot start").with_cause(error))?;
        config.ssl_mode(tls::mode(url.tls()));
        let connector = Connector::new(url.tls()).map_err(|refused| {
            Error::new(Code::DatabaseInsecure, format!("{whose}: {}", refused.what))
                .with_cause(refused.cause)
                .with_help("correct the file that sslrootcert, sslcert or sslkey of the url names; all are in PEM")
        })?;
        Ok(Server { purpose, whose: whose.to_owned(), config, connector, runtime })
    }

    /// Another one asks over the same connection.
    pub fn set_whose(&mut self, whose: &str) {
        whose.clone_into(&mut self.whose);
    }

    pub fn whose(&self) -> &str {
        &self.whose
    }

    /// `host:port/database`.
    pub fn shown(&self) -> String {
        let ports = self.config.get_ports();
        let host = |(number, host): (usize, &Host)| {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            match host {
                // An unescaped @ in a password makes a part of it look like a host.
                Host::Tcp(name) => format!("{}:{port}", name.rsplit('@').next().unwrap_or_default()),
                Host::Unix(path) => path.display().to_string(),
            }
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().enumerate().map(host).collect();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{}/{database}", hosts.join(","))
    }

    /// Runs a whole exchange to its end, at most as long as an answer may take.
    pub fn wait<T>(&self, what: &str, exchange: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let outcome = self.runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, exchange).await });
        match outcome {
            Ok(done) => done.map_err(|error| self.failed(what, &error)),
            Err(_) => Err(self.error(self.unreachable(), what).with_cause(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }

    pub fn connect(&self) -> Result<Client> {
        self.wait("connecting to", async {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.session().await {
                    Err(error) if self.connector.is_secure() && was_reset(&error) && tries < RESET_TRIES => {}
                    other => return other,
                }
            }
        })
    }

    async fn session(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.connector.connect(&self.config).await?;
        // Its end is seen by the next statement.
        tokio::spawn(connection);
        // A commit that is answered must outlive a crash of the server: checkpoints rely on the mark.
        client
            .batch_execute(&format!(
                "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
                 SET client_min_messages = warning; \
                 SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
                STATEMENT_TIMEOUT.as_millis(),
                LOCK_TIMEOUT.as_millis(),
                IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
            ))
            .await?;
        Ok(client)
    }

    /// The code of what may pass by itself.
    fn unreachable(&self) -> Code {
        match self.purpose {
            Purpose::Sink => Code::SinkFailed,
            Purpose::SideTable => Code::TableUnread,
        }
    }

    /// An error that names who asks and the database.
    pub fn error(&self, code: Code, what: &str) -> Error {
        let help = match code {
            Code::DatabaseRefused => "correct url in the pipeline file, or let an administrator grant what is missing",
            Code::DatabaseInsecure => "let the server's certificate be signed for this host by an authority in sslrootcert; sslmode in the url says what is checked",
            Code::SideTable => "correct table or query in the pipeline file; with query, columns can be renamed and converted",
            Code::TableUnread => "start the pipeline again when the database can be reached; nothing was changed",
            Code::DiskFull => "nothing is lost: the shard goes on by itself when the database has space",
            Code::RowRefused => "nothing of this epoch was written to the table, and its journal entry is there: change the table so that it takes the rows",
            Code::TableUnfit => "the table was changed while it was written; `segno validate` says what is missing",
            _ => "nothing is lost: the epoch is in the journal, and it is written when the database can be reached",
        };
        Error::new(code, format!("{}: {what} {} failed", self.whose, self.shown())).with_help(help)
    }

    pub fn failed(&self, what: &str, error: &tokio_postgres::Error) -> Error {
        self.error(self.code_of(error), what).with_cause(causes(error))
    }

    fn code_of(&self, error: &tokio_postgres::Error) -> Code {
        let Some(state) = error.code() else {
            // Without an answer of the server: the way to it, unless the library refused the settings.
            let text = causes(error);
            let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
            // A client certificate is refused after the handshake, by an alert.
            return if self.connector.is_secure() && any(&["TLS", "ssl/tls alert", ":SSL routines:"]) {
                Code::DatabaseInsecure
            } else if any(&["authentication", "password missing", "invalid configuration"]) {
                Code::DatabaseRefused
            } else {
                self.unreachable()
            };
        };
        match (self.purpose, code_of(state.code())) {
            // What a query may say, and what it says of its rows; writing where only reading is allowed.
            (Purpose::SideTable, Some(Code::RowRefused | Code::TableUnfit)) => Code::SideTable,
            (Purpose::SideTable, None) if state.code() == "25006" => Code::SideTable,
            (Purpose::SideTable, None | Some(Code::DiskFull)) => Code::TableUnread,
            (_, code) => code.unwrap_or(Code::SinkFailed),
        }
    }
}

/// `None`: it may pass by itself.
fn code_of(state: &str) -> Option<Code> {
    Some(match state {
        // No space for data; other resources (memory, connections) come back.
        "53100" => Code::DiskFull,
        // No such database, no such schema, no privilege.
        "3D000" | "3F000" | "42501" => Code::DatabaseRefused,
        state if state.starts_with("28") => Code::DatabaseRefused,
        // A value that does not fit, a constraint, an exception that a trigger raised.
        state if ["22", "23", "P0", "44"].iter().any(|class| state.starts_with(class)) => Code::RowRefused,
        // Statements are made for the table as it was at start.
        state if state.starts_with("42") => Code::TableUnfit,
        // Connection lost, shut down, deadlock, serialization, time-outs, read-only after a fail-over.
        _ => return None,
    })
}

/// The peer ended the connection without a word.
fn was_reset(error: &tokio_postgres::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |&cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|cause| {
        matches!(cause.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
    })
}

/// What the server said, or what happened on the way to it.
fn causes(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{} (SQLSTATE {}){detail}", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
