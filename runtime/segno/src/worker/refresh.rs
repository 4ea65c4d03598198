//! Rows of databases, read again while the pipeline runs.
//!
//! Owns: when they are read, and the newest program that came of it. Does not own: reading (`tables`), taking the program
//! (`shard`: between two epochs), whether rows are newer (`protocol::change`).
//!
//! Invariants: a refresh that fails changes nothing: the pipeline goes on with the rows that it has, and says so. A shard
//! takes a program only after everything that it names is in its archive.

use super::archive;
use super::load::{Blobs, Checked, Loaded, assemble};
use super::plan::Plan;
use super::tables::{self, Databases, ReadTable};
use crate::observe::Refreshes;
use crate::shard::{self, Newer};
use crate::shard::program::Program;
use segno_core::persisted::Identity;
use segno_core::pipeline::{Pipeline, TableOrigin};
use segno_core::protocol::change::{Continuation, plan_continuation};
use segno_core::{Code, Error, Result};
use segno_durable::store::Objects;
use segno_plugin::Engine;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The newest program of a process: the same for all of its shards. Empty until rows were read again.
#[derive(Clone, Default)]
pub struct Newest(Arc<Mutex<Option<Arc<Renewed>>>>);

/// A plan with other rows, and its program.
struct Renewed {
    plan: Plan,
    blobs: Blobs,
    program: Arc<Program>,
}

impl Newest {
    fn get(&self) -> Option<Arc<Renewed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, renewed: Renewed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(renewed));
    }
}

/// What a shard asks between two epochs.
pub struct NewerRows {
    newest: Newest,
    objects: Objects,
}

impl NewerRows {
    pub fn new(loaded: &Loaded, objects: &Objects) -> NewerRows {
        NewerRows { newest: loaded.newest.clone(), objects: objects.clone() }
    }
}

impl shard::NewerRows for NewerRows {
    fn than(&self, identity: &Identity) -> Result<Option<Newer>> {
        let Some(newest) = self.newest.get() else { return Ok(None) };
        // Nothing but rows can differ: the plugins and the pipeline file were read once.
        let Continuation::NewRows { what } = plan_continuation(Some(identity), &newest.program.identity, false)? else {
            return Ok(None);
        };
        let (program, objects) = (Arc::clone(&newest.program), self.objects.clone());
        let archive = Box::new(move || archive::put(&objects, &newest.plan, &newest.blobs));
        Ok(Some(Newer { program, what, archive }))
    }
}

/// Ends when it is dropped; what is being read then comes to nothing.
pub struct Refresh(#[expect(dead_code, reason = "the thread sees it go")] Sender<()>);

/// A table that is read again.
struct Due {
    step: usize,
    table: usize,
    every: Duration,
    at: Instant,
}

/// What the thread works with.
struct Refresher {
    pipeline: Pipeline,
    engine: Engine,
    checked: Arc<Checked>,
    tables: Vec<Vec<ReadTable>>,
    due: Vec<Due>,
    newest: Newest,
}

impl Refresh {
    /// Starts a thread where a table says `refresh`. It is not waited for at the end: a database may take long.
    pub fn start(loaded: &Loaded, refreshes: &Refreshes) -> Result<Option<Refresh>> {
        let mut due = Vec::new();
        for (step, tables) in loaded.tables.iter().enumerate() {
            for (table, read) in tables.iter().enumerate() {
                if let Some(every) = read.database.as_ref().and_then(|database| database.spec.refresh) {
                    due.push(Due { step, table, every, at: Instant::now() + every });
                }
            }
        }
        if due.is_empty() {
            return Ok(None);
        }
        let mut refresher = Refresher {
            pipeline: loaded.pipeline.clone(),
            engine: loaded.engine.clone(),
            checked: Arc::clone(&loaded.checked),
            tables: loaded.tables.clone(),
            due,
            newest: loaded.newest.clone(),
        };
        let (send, receive) = channel::<()>();
        let refreshes = refreshes.clone();
        std::thread::Builder::new()
            .name("refresh".to_owned())
            .spawn(move || {
                while let Some(next) = refresher.due.iter().map(|due| due.at).min() {
                    let wait = next.saturating_duration_since(Instant::now());
                    if receive.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                    match refresher.refresh() {
                        Ok(()) => refreshes.succeeded(),
                        Err(error) => {
                            tracing::warn!(
                                code = error.code().name(),
                                "{error}; the pipeline goes on with the rows that it has"
                            );
                            refreshes.failed(error.to_string());
                        }
                    }
                }
            })
            .map_err(|error| {
                Error::new(Code::Internal, "the thread that reads side tables cannot start").with_cause(error)
            })?;
        Ok(Some(Refresh(send)))
    }
}

impl Refresher {
    /// Reads what is due, and makes a program of it.
    fn refresh(&mut self) -> Result<()> {
        let now = Instant::now();
        let mut tables = self.tables.clone();
        let mut databases = Databases::default();
        let mut read = Ok(());
        for due in self.due.iter_mut().filter(|due| due.at <= now) {
            due.at = now + due.every;
            if read.is_ok() {
                read = again(&self.pipeline, &self.checked, due, &mut tables, &mut databases);
            }
        }
        read?;
        drop(databases);
        let assembled = assemble(&self.pipeline, &self.engine, &self.checked, &tables, true);
        let (plan, blobs) = assembled.map_err(|mut errors| errors.swap_remove(0))?;
        let program = Arc::new(plan.program(&self.engine, &blobs)?);
        self.tables = tables;
        self.newest.set(Renewed { plan, blobs, program });
        Ok(())
    }
}

fn again(
    pipeline: &Pipeline,
    checked: &Checked,
    due: &Due,
    tables: &mut [Vec<ReadTable>],
    databases: &mut Databases,
) -> Result<()> {
    let step = &pipeline.steps[due.step];
    let wanted = &checked.components[due.step].0.description.side_tables[due.table];
    let spec = step.tables.iter().find(|table| table.name == wanted.name).map(|table| &table.from);
    if let Some(TableOrigin::Postgres(spec)) = spec {
        tables[due.step][due.table] = tables::read_rows(&step.id, spec, wanted, databases)?;
    }
    Ok(())
}
