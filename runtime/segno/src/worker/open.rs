//! Opening a shard: lock, generation, fence, recovery, and a shard that stands at the end of its journal.
//!
//! Owns: the order of these steps. Does not own: the decisions (`segno_core::protocol`), the epoch loop (`shard`).
//!
//! Invariants: every sink that shares the journal is fenced by the fence entry before the journal's end is read. Output
//! of re-executed epochs is rolled forward from what was staged, never written again.

use super::archive::{self, Versions};
use super::history::{History, Restored, SinkMarks, base_epoch, discard, restore};
use super::layout;
use super::load::Loaded;
use super::plan::Plan;
use super::refresh::NewerRows;
use super::sources;
use super::stored;
use crate::shard::burst::Bursts;
use crate::shard::commit::apply;
use crate::shard::expect::Expect;
use crate::shard::plan::Planner;
use crate::shard::program::Program;
use crate::shard::recover::{differs, reexecute};
use crate::shard::verify::Detail;
use crate::shard::tap::Taps;
use crate::shard::waits::Waits;
use crate::shard::{BLOCK_ROWS, CheckpointCost, Settings, Shard, SinkSlot, Totals};
use segno_core::columns::Schema;
use segno_core::persisted::{Author, EpochRecord, Fence, JournalBody, Position};
use segno_core::pipeline::graph::Graph;
use segno_core::pipeline::{Pipeline, ReplayDetail, SinkKind, SinkSpec, StoreUrl};
use segno_core::protocol::cadence::ReplayDebt;
use segno_core::protocol::change::{Continuation, plan_continuation};
use segno_core::protocol::close::EpochLimits;
use segno_core::protocol::ownership::{Fencing, after_fence, confirm, may_fence, verdict};
use segno_core::shard::ShardId;
use segno_core::sink::{Held, Ownership, Sink, dead_letter_schema};
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint::{self, Checkpoints};
use segno_durable::journal::{self, Journal};
use segno_durable::lock::WorkLock;
use segno_durable::store::Objects;
use segno_durable::{fail_point, generation, sink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Begins the name of the folder of a process that took over, within the work folder.
const TAKE_OVER: &str = "take-over-";

#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Go on although another process holds the lock; it commits nothing more.
    pub take_over: bool,
    /// Go on although plugins, graph or configuration are not those that wrote the journal.
    pub accept_change: bool,
    /// Go on although records were gone before they were read.
    pub accept_data_loss: bool,
    /// Go on although a step rejects more than is expected.
    pub accept_rejects: bool,
    pub threads: Option<usize>,
}

/// A shard and the lock that goes with it.
pub struct Opened {
    pub shard: Shard,
    pub lock: WorkLock,
    /// When the last epoch of an earlier owner was executed, ms since 1970 UTC.
    pub last_epoch_at_ms: Option<i64>,
}

/// What the checkpoint store holds of a shard.
pub fn objects(pipeline: &Pipeline, shard: ShardId) -> Result<Objects> {
    folder(pipeline, &shard.name())
}

/// A folder of the pipeline in the checkpoint store.
pub fn folder(pipeline: &Pipeline, name: &str) -> Result<Objects> {
    let url = match &pipeline.checkpoint.store {
        StoreUrl::File(path) => format!("file://{}", pipeline.path(path).display()),
        StoreUrl::S3(url) => url.clone(),
    };
    Objects::open(&url, Path::new("."), &pipeline.tenant, &pipeline.name, name)
}

/// Threads that run a shard's lanes: the option, the pipeline file, or the cores, shared by the shards.
pub fn threads(pipeline: &Pipeline, shard: ShardId, options: &RunOptions) -> usize {
    let shards = match shard {
        ShardId::Single => 1,
        ShardId::Partition { of, .. } => of as usize,
    };
    let cores = || std::thread::available_parallelism().map_or(1, usize::from) / shards.max(1);
    options.threads.or(pipeline.threads.map(|threads| threads as usize)).unwrap_or_else(cores).max(1)
}

fn settings(pipeline: &Pipeline, shard: ShardId, options: &RunOptions) -> Settings {
    Settings {
        threads: threads(pipeline, shard, options),
        epoch: EpochLimits {
            records: pipeline.epoch.max_records as usize,
            bytes: pipeline.epoch.max_bytes as usize,
            delay: pipeline.epoch.max_delay,
        },
        batch_rows: pipeline.batch_rows,
        replay_debt: pipeline.checkpoint.replay_debt,
        keep: pipeline.checkpoint.keep,
        accept_data_loss: options.accept_data_loss,
        accept_rejects: options.accept_rejects,
        block_rows: match pipeline.replay_detail {
            ReplayDetail::Block => BLOCK_ROWS,
            ReplayDetail::Row => 1,
        },
    }
}

/// Opens one sink; `schema` is of the rows that it will be given.
pub fn open_sink(pipeline: &Pipeline, shard: ShardId, spec: &SinkSpec, schema: &Schema) -> Result<Box<dyn Sink>> {
    Ok(match &spec.kind {
        SinkKind::Files { path, format } => {
            Box::new(sink::Files::open(&spec.name, &shard.name(), &pipeline.path(path), *format)?)
        }
        SinkKind::Stdout { format } => Box::new(sink::Stdout::new(&spec.name, *format)),
        SinkKind::Blackhole => Box::new(sink::Blackhole::new(&spec.name)),
        SinkKind::Kafka(kafka) => {
            let sink = segno_kafka::KafkaSink::open(&spec.name, kafka)?;
            Box::new(match shard {
                ShardId::Single => sink,
                ShardId::Partition { number, of } => sink.written_by(number, of),
            })
        }
        SinkKind::Postgres(postgres) => Box::new(segno_postgres::PostgresSink::open(&spec.name, postgres, schema)?),
    })
}

/// Every sink of the graph with the schema of its rows, then the dead letters'.
pub fn sink_specs<'a>(pipeline: &'a Pipeline, graph: &Graph) -> Vec<(&'a SinkSpec, Schema)> {
    let sinks = graph.sinks.iter().map(|sink| (&pipeline.sinks[sink.sink], sink.schema.clone()));
    sinks.chain(pipeline.dlq.iter().map(|dlq| (dlq, dead_letter_schema()))).collect()
}

fn open_sinks(pipeline: &Pipeline, shard: ShardId, program: &Program) -> Result<Vec<SinkSlot>> {
    let specs = sink_specs(pipeline, &program.graph).into_iter();
    specs.map(|(spec, schema)| Ok(SinkSlot { sink: open_sink(pipeline, shard, spec, &schema)?, mark: None })).collect()
}

/// Fences every sink, and asks what it holds.
fn take_over(
    pipeline: &Pipeline,
    shard: ShardId,
    sinks: &mut [SinkSlot],
    generation: u64,
    options: &RunOptions,
) -> Result<SinkMarks> {
    let owner =
        Ownership { tenant: pipeline.tenant.clone(), pipeline: pipeline.name.clone(), shard: shard.name(), generation };
    let mut held = Vec::new();
    for slot in sinks {
        let found = slot.sink.take_over(&owner)?;
        slot.mark = match found {
            Held::AsStaged => None,
            Held::Through(epoch) => Some(epoch),
            // Nothing of the past: `complete_through` decided that there is nothing.
            Held::Nothing => Some(u64::MAX),
        };
        held.push((slot.sink.name().to_owned(), found));
    }
    Ok(SinkMarks { held, accept_change: options.accept_change })
}

/// Whose lines in the log are whose: around everything that is done for a shard. Never left out, whatever the filter says.
pub fn span(pipeline: &Pipeline, shard: ShardId) -> tracing::Span {
    let (tenant, name) = (&pipeline.tenant, &pipeline.name);
    tracing::error_span!("shard", tenant, pipeline = name, %shard, generation = tracing::field::Empty)
}

/// Opens a shard of a loaded pipeline, within its `span`.
pub fn open(loaded: &Loaded, shard: ShardId, options: &RunOptions) -> Result<Opened> {
    let pipeline = &loaded.pipeline;
    let program = loaded.program()?;
    // Sinks first: an unwritable folder is an error before anything is owned or read.
    let sinks = open_sinks(pipeline, shard, &program)?;
    let outer = shard_folder(&loaded.work_dir, shard);
    let (lock, folder) = work_folder(&outer, options)?;
    let objects = objects(pipeline, shard)?;
    objects.prove_conditional_create()?;
    let writer = writer();
    layout::agree(pipeline, shard, &writer)?;
    fail_point!("recovery::before_generation");
    // A process that slept since it took the lock may have been taken over: it must not take the next generation.
    if folder == outer {
        free_of_take_overs(&outer)?;
    }
    let author = generation::take(&objects, &writer, &format!("{}/journal", objects.url()))?;
    let ours = author.generation;
    tracing::Span::current().record("generation", ours);
    let opening = Opening { loaded, shard, options, program, objects };
    let opened = opening.owned(sinks, &folder, author);
    match opened {
        Ok((shard, last_epoch_at_ms)) => Ok(Opened { shard, lock, last_epoch_at_ms }),
        Err(error) => Err(match generation::since(&opening.objects, ours) {
            Ok(current) => verdict(error, current, ours),
            Err(_) => error,
        }),
    }
}

/// What reads the input of a shard as a plan has it, from a position on.
pub fn planner(
    loaded: &Loaded,
    shard: ShardId,
    options: &RunOptions,
    plan: &Plan,
    position: &Position,
    watermark: Option<i64>,
) -> Result<Planner> {
    let pipeline = &loaded.pipeline;
    let rules = sources::time_rules(pipeline, plan);
    let sources = sources::open(pipeline, plan, shard)?;
    Planner::new(sources, plan.read_plans(), rules, threads(pipeline, shard, options), position, watermark)
}

/// A shard on its way to be open.
struct Opening<'a> {
    loaded: &'a Loaded,
    shard: ShardId,
    options: &'a RunOptions,
    program: Arc<Program>,
    objects: Objects,
}

impl Opening<'_> {
    /// Opens the shard as its newest owner.
    fn owned(&self, mut sinks: Vec<SinkSlot>, folder: &Path, author: Author) -> Result<(Shard, Option<i64>)> {
        let Opening { loaded, shard: id, options, program, objects } = self;
        let pipeline = &loaded.pipeline;
        fail_point!("recovery::after_generation");
        let journal = fence(objects, &author)?;
        fail_point!("recovery::after_fence");
        let marks = take_over(pipeline, *id, &mut sinks, author.generation, options)?;
        archive::put(objects, &loaded.plan, &loaded.blobs)?;

        let state_dir = folder.join("state");
        let read = restore(objects, journal.sequence(), &state_dir, pipeline.state.memory, &marks);
        // What was read counts only if nobody took over meanwhile, and so does what it seems to say.
        confirm(generation::since(objects, author.generation)?, author.generation)?;
        let (history, Restored { base, state, manifest }) = read?;
        journal.leave_hint()?;
        tracing::info!(?base, "recovering");
        // A sink that is new, or was replaced on purpose, starts with the next epoch.
        let end = history.last().map_or(0, |(_, record)| record.epoch);
        for (slot, (_, held)) in sinks.iter_mut().zip(&marks.held) {
            if *held == Held::Nothing {
                slot.sink.start_after(end)?;
                slot.mark = Some(end);
            }
        }

        let mut shard = {
            let scratch = state_dir.with_extension("images");
            let checkpoints = Checkpoints::new(objects.clone(), author.clone(), scratch)?.with_archive(Plan::named_by);
            let base_epoch = base_epoch(&base);
            let at_base = history.epochs().find(|(_, record)| record.epoch == base_epoch);
            let (position, watermark) = match (&at_base, &manifest) {
                (Some((_, record)), _) => (record.to.clone(), record.watermark_out),
                (None, Some(manifest)) => (manifest.position.clone(), manifest.watermark),
                (None, None) => (Position::default(), None),
            };
            let (epoch_sequence, epoch_chain) = match (&at_base, &manifest) {
                (Some((stored, _)), _) => (stored.entry.sequence, stored.digest.clone()),
                (None, Some(manifest)) => (manifest.sequence, manifest.chain.clone()),
                (None, None) => (0, String::new()),
            };
            let checkpointed =
                history.manifests.iter().filter(|found| found.intact).map(|found| found.manifest.epoch).max();
            let planner = self.planner(&loaded.plan, &position, watermark)?;
            Shard {
                program: Arc::clone(program),
                newer_rows: Box::new(NewerRows::new(loaded, objects)),
                planner,
                bursts: Bursts::new(pipeline.epoch.max_timers as usize),
                state,
                journal,
                checkpoints,
                sinks,
                settings: settings(pipeline, *id, options),
                generation: author.generation,
                epoch: base_epoch,
                epoch_sequence,
                epoch_chain,
                checkpointed: checkpointed.unwrap_or(0),
                position,
                watermark,
                expect: Expect {
                    rules: pipeline.steps.iter().map(|step| (step.id.clone(), step.expect.clone())).collect(),
                    windows: at_base.map(|(_, record)| record.expect_windows.clone()).unwrap_or_default(),
                },
                totals: Totals::default(),
                debt: ReplayDebt::default(),
                upload: None,
                checkpoint_seen: None,
                checkpoint_cost: CheckpointCost::default(),
                waits: Waits::default(),
                taps: Taps::default(),
            }
        };
        let mut versions = Versions::new(&loaded.engine, objects);
        versions.add(&loaded.plan, Arc::clone(program));
        self.roll_forward(&mut shard, &history, &mut versions)?;
        if marks.held.iter().any(|(_, held)| *held == Held::Nothing) {
            shard.planner.tell_anew();
        }
        for slot in &mut shard.sinks {
            slot.sink.discard_uncommitted()?;
        }
        change(&mut shard, &history, &mut versions, options)?;
        fail_point!("recovery::before_live");
        Ok((shard, history.last().map(|(_, record)| record.logical_time_ms)))
    }

    fn planner(&self, plan: &Plan, position: &Position, watermark: Option<i64>) -> Result<Planner> {
        planner(self.loaded, self.shard, self.options, plan, position, watermark)
    }

    /// Executes the epochs after the base again, compares, publishes what they staged, applies their changes.
    fn roll_forward(&self, shard: &mut Shard, history: &History, versions: &mut Versions<'_>) -> Result<()> {
        let Opening { loaded, program, objects, .. } = self;
        let mut running = program.identity.configuration.clone();
        let base = shard.epoch;
        for (stored, record) in history.epochs().filter(|(_, record)| record.epoch > base) {
            fail_point!("recovery::amid_reexecution");
            let version = versions.get(&record.identity)?;
            if running != record.identity.configuration {
                running = record.identity.configuration.clone();
                shard.planner = self.planner(&version.plan, &shard.position, shard.watermark)?;
            }
            let detail = || read_detail(objects, record);
            let again =
                reexecute(&version.program, &mut shard.planner, &shard.state, record, Some(&shard.expect.windows), shard.settings.threads, detail)?;
            if let Some(difference) = &again.difference {
                return Err(differs(difference));
            }
            let outputs = shard.outputs(&version.program, &again.input, &again.executed);
            shard.publish(record.epoch, &outputs, &record.outputs)?;
            apply(&shard.state, record, &stored.digest, &again.executed)?;
            shard.epoch = record.epoch;
            shard.epoch_sequence = stored.entry.sequence;
            shard.epoch_chain = stored.digest.clone();
            shard.position = record.to.clone();
            shard.watermark = record.watermark_out;
            shard.expect.windows.clone_from(&record.expect_windows);
            shard.totals.reexecuted += 1;
        }
        if running != program.identity.configuration {
            shard.planner = self.planner(&loaded.plan, &shard.position, shard.watermark)?;
        }
        Ok(())
    }
}

/// The work folder of a shard: shards of one pipeline may be spread over processes that share the outer one.
pub fn shard_folder(work_dir: &Path, shard: ShardId) -> PathBuf {
    match shard {
        ShardId::Single => work_dir.to_owned(),
        ShardId::Partition { number, .. } => work_dir.join(format!("shard-{number}")),
    }
}

/// Locks the work folder. After a take-over on the same machine it is a folder within: the other process may still
/// hold the outer one.
fn work_folder(work_dir: &Path, options: &RunOptions) -> Result<(WorkLock, PathBuf)> {
    let refused = match (WorkLock::acquire(work_dir), free_of_take_overs(work_dir)) {
        (Ok(lock), Ok(())) => return Ok((lock, work_dir.to_owned())),
        (Ok(_), Err(error)) | (Err(error), _) => error,
    };
    if refused.code() != Code::AlreadyRunning || !options.take_over {
        return Err(refused);
    }
    tracing::warn!("taking over: {}", refused.message());
    let folder = work_dir.join(format!("{TAKE_OVER}{}", std::process::id()));
    Ok((WorkLock::acquire(&folder)?, folder))
}

/// Removes what processes that took over left behind; an error while one of them runs.
fn free_of_take_overs(work_dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(work_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TAKE_OVER) {
            let _lock = WorkLock::acquire(&entry.path())?;
            discard(&entry.path())?;
        }
    }
    Ok(())
}

/// Who this process is, for people.
pub fn writer() -> String {
    let host = rustix::system::uname();
    format!("{}:{}", host.nodename().to_string_lossy(), std::process::id())
}

/// Appends the fence entry of this generation: after it no older generation can append.
fn fence(objects: &Objects, author: &Author) -> Result<Journal> {
    // Before anything is written: an entry that is lost must not get another one in its place.
    let mut end = checkpoint::journal_end(objects)?;
    loop {
        let chain = match end {
            0 => String::new(),
            end => match journal::read_entry(objects, end)? {
                Some(last) => {
                    may_fence(&last.entry.author, author.generation)?;
                    last.digest
                }
                None => {
                    return Err(Error::new(Code::JournalGap, format!("journal entry {end} is missing")));
                }
            },
        };
        let mut journal = Journal::new(objects.clone(), author.clone(), end, chain);
        let claim = journal.append(JournalBody::Fence(Fence { generation: author.generation }))?;
        match after_fence(&claim, author.generation)? {
            Fencing::Fenced => return Ok(journal),
            Fencing::Follow => end += 1,
        }
    }
}

/// The details of an epoch, where they were kept.
pub fn read_detail(objects: &Objects, record: &EpochRecord) -> Result<Option<Detail>> {
    let Some(detail) = &record.detail else {
        return Ok(None);
    };
    Ok(journal::read_detail(objects, detail)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A changed pipeline goes on only when the user accepts it, from a checkpoint, with an entry in the journal. Other rows of
/// databases are data: they need no acceptance.
fn change(shard: &mut Shard, history: &History, versions: &mut Versions<'_>, options: &RunOptions) -> Result<()> {
    let changed_to = history.entries.iter().rev().find_map(|stored| match &stored.entry.body {
        JournalBody::Change(change) => Some(change.after.clone()),
        // A redrive may have had another plugin; the pipeline did not change.
        JournalBody::Epoch(record) if record.facts.redrive.is_none() => Some(record.identity.clone()),
        JournalBody::Epoch(_) | JournalBody::Fence(_) => None,
    });
    let changed_to = changed_to.or_else(|| history.manifests.first().map(|found| found.manifest.identity.clone()));
    let planned = plan_continuation(changed_to.as_ref(), &shard.program.identity, options.accept_change);
    if let (Err(_), Some(before)) = (&planned, &changed_to)
        && let Ok(before) = versions.get(before)
    {
        // What no acceptance would take is said at once.
        stored::check(&before.program, &shard.program)?;
    }
    let continuation = planned?;
    let Some(before) = changed_to else {
        return Ok(());
    };
    match continuation {
        Continuation::Same => Ok(()),
        Continuation::NewRows { what } => shard.change(before, Arc::clone(&shard.program), what),
        Continuation::Accepted { what } => {
            stored::check(&versions.get(&before)?.program, &shard.program)?;
            shard.change(before, Arc::clone(&shard.program), what)
        }
        Continuation::OldRows { what } => {
            tracing::warn!("the rows of the journal were read later, and the shard goes on with those: {}", what.join("; "));
            let later = versions.get(&before)?;
            shard.program = Arc::new(Program { identity: before, ..Program::clone(&later.program) });
            Ok(())
        }
    }
}
