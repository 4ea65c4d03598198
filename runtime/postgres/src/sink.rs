//! The sink: fences older writers, writes an epoch and its number in one transaction, settles ambiguous commits.
//!
//! Owns: the order of statements. Does not own: their text (`table`, `marks`), values (`encode`), waiting (`server`).
//!
//! Invariants: the mark is locked first; a generation other than ours writes nothing; an epoch at or below the mark is
//! written already. After any failure the session is given up, so nothing of it is left in a transaction.

use crate::encode::{HEADER, Rows, TRAILER, last_of_each_key};
use crate::marks::{Found, Mark, lock_statement, set_statement};
use crate::server::{Purpose, Server};
use crate::table::{Standing, Table};
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use segno_core::columns::Schema;
use segno_core::persisted::StagedObject;
use segno_core::pipeline::PostgresSinkSpec;
use segno_core::sink::{Held, Ownership, Sink, SinkRows};
use segno_core::{Code, Error, Result};
use std::pin::pin;
use tokio_postgres::{Client, Statement};

/// Rows are sent in pieces of about so many bytes: large enough that a piece costs little, small enough that the client
/// copies little at a time.
const PIECE_BYTES: usize = 256 * 1024;

pub struct PostgresSink {
    own_name: String,
    server: Server,
    table: Table,
    key: Vec<String>,
    /// `schema.table` in the database.
    name: String,
    /// False until it is made, where `create_table` says so.
    exists: bool,
    mark: Option<Mark>,
    session: Option<Session>,
    encoded: Option<Encoded>,
}

/// Rows of an epoch that was staged and not published yet.
struct Encoded {
    epoch: u64,
    pieces: Vec<Bytes>,
}

struct Session {
    client: Client,
    /// Made with the first epoch that is written.
    writing: Option<Statements>,
}

/// What every epoch executes, parsed once; the table of rows on their way is there.
struct Statements {
    lock: Statement,
    copy: Statement,
    write: Statement,
    set: Statement,
}

impl Session {
    fn new(client: Client) -> Session {
        Session { client, writing: None }
    }
}

/// What a transaction found at the mark.
enum Standpoint {
    Ours(Found),
    Lost(Option<Found>),
}

impl PostgresSink {
    /// Connects, and compares the table with the rows' schema. Changes nothing.
    pub fn open(name: &str, spec: &PostgresSinkSpec, schema: &Schema) -> Result<PostgresSink> {
        let server = Server::new(Purpose::Sink, &format!("sink \"{name}\""), &spec.url)?;
        let table = Table::new(&spec.table, schema, &spec.key);
        let client = server.connect()?;
        let standing = server.wait("looking at the table in", table.examine(&client))?;
        refuse(&server, &table, &standing, spec.create_table)?;
        Ok(PostgresSink {
            own_name: name.to_owned(),
            server,
            table,
            key: spec.key.clone(),
            name: standing.name,
            exists: standing.exists,
            mark: None,
            session: Some(Session::new(client)),
            encoded: None,
        })
    }

    fn mark(&self) -> Result<&Mark> {
        self.mark.as_ref().ok_or_else(|| Error::new(Code::Internal, "a sink is written that was not taken over"))
    }

    /// The session, connected again after a failure.
    fn take_session(&mut self) -> Result<Session> {
        match self.session.take() {
            Some(session) if !session.client.is_closed() => Ok(session),
            _ => Ok(Session::new(self.server.connect()?)),
        }
    }

    fn lost(&self, mark: &Mark, found: Option<&Found>) -> Error {
        let Some(found) = found else {
            return Error::new(
                Code::SinkMarkLost,
                format!("{}: its row in segno.marks of {} is gone", self.server.whose(), self.server.shown()),
            )
            .with_help("somebody removed it while this process ran; restore it, or run with --accept-change to start with the next epoch");
        };
        Error::new(
            Code::OwnershipLost,
            format!(
                "{}: its mark in {} is held by generation {}, and this process is generation {}",
                self.server.whose(),
                self.server.shown(),
                found.generation,
                mark.generation()
            ),
        )
        .with_help(format!(
            "another process runs this pipeline, or its checkpoint store was emptied. To start over on purpose, give the pipeline another name, or remove the mark and the table's rows: DELETE FROM segno.marks WHERE {}",
            mark.shown()
        ))
    }

    /// The rows as COPY reads them, in pieces.
    fn encode(&self, rows: &SinkRows<'_>) -> Result<Vec<Bytes>> {
        let kept = match self.key.is_empty() {
            true => None,
            false => Some(last_of_each_key(rows.batch, rows.schema, &self.key)?),
        };
        let encoder = Rows::new(rows, &self.table)?;
        let mut pieces = Vec::new();
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        piece.put_slice(HEADER);
        for at in 0..kept.as_ref().map_or(rows.batch.num_rows(), Vec::len) {
            encoder.write(kept.as_ref().map_or(at, |kept| kept[at] as usize), &mut piece)?;
            if piece.len() >= PIECE_BYTES {
                pieces.push(piece.split().freeze());
                piece.reserve(PIECE_BYTES + PIECE_BYTES / 8);
            }
        }
        piece.put_i16(TRAILER);
        pieces.push(piece.freeze());
        Ok(pieces)
    }

    async fn statements(&self, client: &Client) -> Result<Statements, tokio_postgres::Error> {
        client.batch_execute(&self.table.on_the_way_statement()).await?;
        Ok(Statements {
            lock: client.prepare(&lock_statement()).await?,
            copy: client.prepare(&self.table.copy_statement()).await?,
            write: client.prepare(&self.table.write_statement(&self.name)).await?,
            set: client.prepare(&set_statement()).await?,
        })
    }

    /// Writes the rows and moves the mark. Statements that need no answer of each other are sent together.
    fn write(&self, session: &mut Session, mark: &Mark, epoch: u64, pieces: Vec<Bytes>) -> Result<Written> {
        let what = format!("writing epoch {epoch} to {} in", self.name);
        let client = &session.client;
        self.server.wait(&what, async {
            let statements = match session.writing.take() {
                Some(statements) => statements,
                None => self.statements(client).await?,
            };
            let begin = client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
            let ((), found) = tokio::try_join!(begin, mark.lock(client, &statements.lock))?;
            match standpoint(mark, found) {
                Standpoint::Lost(found) => {
                    // Not left to the end of the connection: the owner waits for this lock.
                    client.batch_execute("ROLLBACK").await?;
                    return Ok(Written::Lost(found));
                }
                Standpoint::Ours(found) if found.epoch >= Some(epoch) => {
                    client.batch_execute("ROLLBACK").await?;
                    session.writing = Some(statements);
                    return Ok(Written::Already);
                }
                Standpoint::Ours(_) => {}
            }
            let mut copy = pin!(client.copy_in::<_, Bytes>(&statements.copy).await?);
            for piece in pieces {
                copy.send(piece).await?;
            }
            copy.as_mut().finish().await?;
            let set = mark.set(client, &statements.set, epoch, &self.name);
            // What is wrong is said first; after it the transaction only says that it is aborted.
            let (written, set) = tokio::join!(client.execute(&statements.write, &[]), set);
            written.and(set.map(|()| 0))?;
            Ok(match client.batch_execute("COMMIT").await {
                Ok(()) => {
                    session.writing = Some(statements);
                    Written::Committed
                }
                Err(error) => Written::Ambiguous(self.server.failed(&what, &error)),
            })
        })
    }

    /// Whether an epoch was committed whose COMMIT was not answered. Locking the mark waits for a transaction that the
    /// server has not ended yet.
    fn settle(&self, mark: &Mark, epoch: u64, unanswered: Error) -> Result<Session> {
        tracing::warn!(code = unanswered.code().name(), epoch, "{unanswered}; the mark tells whether it was committed");
        let client = self.server.connect()?;
        let found = self.server.wait("reading the mark in", async {
            client.batch_execute("BEGIN").await?;
            let found = mark.lock(&client, &lock_statement()).await?;
            client.batch_execute("ROLLBACK").await?;
            Ok(found)
        })?;
        match standpoint(mark, found) {
            Standpoint::Lost(found) => Err(self.lost(mark, found.as_ref())),
            Standpoint::Ours(found) if found.epoch >= Some(epoch) => Ok(Session::new(client)),
            Standpoint::Ours(_) => Err(unanswered),
        }
    }

    /// Names the sink in an error about a row.
    fn named(&self, error: Error) -> Error {
        let help = error.help().unwrap_or("reject such rows in a step").to_owned();
        Error::new(error.code(), format!("{}: {}", self.server.whose(), error.message())).with_help(help)
    }
}

enum Taken {
    /// `moved`: the table was made under another name than the mark's.
    Ours { epoch: Option<u64>, moved: bool },
    Lost(Option<Found>),
    /// Somebody else writes the table.
    Shared(String),
}

enum Written {
    Committed,
    /// The mark says that the epoch is held.
    Already,
    Lost(Option<Found>),
    /// COMMIT was sent and failed, or was not answered.
    Ambiguous(Error),
}

fn standpoint(mark: &Mark, found: Option<Found>) -> Standpoint {
    match found {
        Some(found) if found.generation == mark.generation() => Standpoint::Ours(found),
        found => Standpoint::Lost(found),
    }
}

/// Turns what is wrong with the table into one error.
fn refuse(server: &Server, table: &Table, standing: &Standing, create_table: bool) -> Result<()> {
    let shown = format!("{}: the table {} in {}", server.whose(), standing.name, server.shown());
    if let [_, ..] = &standing.reasons[..] {
        let reasons: Vec<&str> = standing.reasons.iter().map(|reason| reason.what.as_str()).collect();
        let mends: Vec<&str> = standing.reasons.iter().filter_map(|reason| reason.mend.as_deref()).collect();
        let error = Error::new(Code::TableUnfit, format!("{shown} does not fit: {}", reasons.join("; ")));
        return Err(match mends.is_empty() {
            true => error.with_help("name other columns or another table in the pipeline file"),
            false => error.with_help(format!("name another table, or change this one:\n{}", mends.join("\n"))),
        });
    }
    if !standing.exists && !create_table {
        let create = table.create_statement(&standing.name);
        return Err(Error::new(Code::TableUnfit, format!("{shown} does not exist"))
            .with_help(format!("say create_table: true, or make it:\n{create};")));
    }
    Ok(())
}

impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.own_name
    }

    fn exactly_once(&self) -> bool {
        true
    }

    /// As the key, or to name the record that caused a row which cannot be stored.
    fn wants_lineage(&self) -> bool {
        true
    }

    fn take_over(&mut self, owner: &Ownership) -> Result<Held> {
        let mark = Mark::new(owner.clone(), &self.own_name);
        let session = self.take_session()?;
        let client = &session.client;
        let taken = self.server.wait("taking over the mark in", async {
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            Mark::make(client).await?;
            mark.insert(client, &self.name).await?;
            let found = match mark.lock(client, &lock_statement()).await? {
                // A generation is taken once, so an equal one is of another checkpoint store.
                Some(found) if found.generation < mark.generation() => found,
                found => {
                    client.batch_execute("ROLLBACK").await?;
                    return Ok(Taken::Lost(found));
                }
            };
            if self.table.by_lineage()
                && let Some(other) = mark.other_writer(client, &self.name).await?
            {
                client.batch_execute("ROLLBACK").await?;
                return Ok(Taken::Shared(other));
            }
            mark.fence(client).await?;
            // The pipeline names another table now: epochs that the mark lacks go there. A table that is gone while the
            // mark names it takes its rows with it: then nothing is held.
            let moved = !self.exists && found.epoch.is_some() && found.table != self.name;
            if moved {
                client.batch_execute(&self.table.create_statement(&self.name)).await?;
            }
            client.batch_execute("COMMIT").await?;
            Ok(Taken::Ours { epoch: found.epoch.filter(|_| self.exists || moved), moved })
        })?;
        match taken {
            Taken::Ours { epoch, moved } => {
                self.exists |= moved;
                self.mark = Some(mark);
                self.session = Some(session);
                Ok(epoch.map_or(Held::Nothing, Held::Through))
            }
            Taken::Lost(found) => Err(self.lost(&mark, found.as_ref())),
            Taken::Shared(other) => Err(Error::new(
                Code::TableUnfit,
                format!("sink \"{}\": the table {} is written by {other}, too", self.name(), self.name),
            )
            .with_help("rows of both could have the same source, partition, offset and index: write a table of its own, or give a key; when the other one is gone for good, remove its row from segno.marks")),
        }
    }

    fn start_after(&mut self, epoch: u64) -> Result<()> {
        let session = self.take_session()?;
        let (client, mark) = (&session.client, self.mark()?);
        let lost = self.server.wait("starting the mark in", async {
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
            if let Standpoint::Lost(found) = standpoint(mark, mark.lock(client, &lock_statement()).await?) {
                client.batch_execute("ROLLBACK").await?;
                return Ok(Some(found));
            }
            if !self.exists {
                client.batch_execute(&self.table.create_statement(&self.name)).await?;
            }
            mark.set(client, &set_statement(), epoch, &self.name).await?;
            client.batch_execute("COMMIT").await?;
            Ok(None)
        })?;
        if let Some(found) = lost {
            return Err(self.lost(mark, found.as_ref()));
        }
        self.exists = true;
        self.session = Some(session);
        Ok(())
    }

    /// Encodes, so that a value which cannot be stored is refused while the epoch is not committed yet.
    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        self.encoded = None;
        if rows.batch.num_rows() > 0 {
            let pieces = self.encode(rows).map_err(|error| self.named(error))?;
            self.encoded = Some(Encoded { epoch: rows.epoch, pieces });
        }
        Ok(Vec::new())
    }

    fn publish(&mut self, rows: &SinkRows<'_>, _staged: &[StagedObject]) -> Result<()> {
        let pieces = match self.encoded.take() {
            Some(encoded) if encoded.epoch == rows.epoch => encoded.pieces,
            _ => self.encode(rows).map_err(|error| self.named(error))?,
        };
        let mut session = self.take_session()?;
        let mark = self.mark()?;
        let session = match self.write(&mut session, mark, rows.epoch, pieces)? {
            Written::Committed | Written::Already => session,
            Written::Lost(found) => return Err(self.lost(mark, found.as_ref())),
            Written::Ambiguous(error) => self.settle(mark, rows.epoch, error)?,
        };
        self.session = Some(session);
        Ok(())
    }

    fn discard_uncommitted(&mut self) -> Result<()> {
        // What was not committed is not there.
        Ok(())
    }
}
