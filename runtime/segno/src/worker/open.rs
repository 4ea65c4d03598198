//! Opening a shard: lock, generation, fence, recovery, and a shard that stands at the end of its journal.
//!
//! Owns: the order of these steps. Does not own: the decisions (`segno_core::protocol`), the epoch loop (`shard`).
//!
//! Invariants: every sink that shares the journal is fenced by the fence entry before the journal's end is read. Output
//! of re-executed epochs is rolled forward from what was staged, never written again.

use super::archive::{self, Versions};
use super::load::Loaded;
use super::sources;
use crate::shard::plan::Planner;
use crate::shard::program::Program;
use crate::shard::recover::{differs, reexecute};
use crate::shard::verify::Detail;
use crate::shard::{BLOCK_ROWS, Settings, Shard, SinkSlot, Totals};
use segno_core::persisted::{Change, EpochRecord, Fence, JournalBody, Manifest, Position};
use segno_core::pipeline::{Pipeline, ReplayDetail, SinkKind, SinkSpec, StoreUrl};
use segno_core::protocol::cadence::ReplayDebt;
use segno_core::protocol::change::{Continuation, plan_continuation};
use segno_core::protocol::close::EpochLimits;
use segno_core::protocol::recovery::{Base, CheckpointFacts, JournalFacts, LocalFacts, plan_recovery};
use segno_core::sink::Sink;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint::{self, Checkpoints};
use segno_durable::journal::{self, Appended, Journal, Stored};
use segno_durable::lock::WorkLock;
use segno_durable::state::StateStore;
use segno_durable::store::Objects;
use segno_durable::{fail_point, generation, sink};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The only shard of `sharding: single`; its name is part of every object key.
pub const SINGLE_SHARD: &str = "single";

#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Go on although another process holds the lock; it commits nothing more.
    pub take_over: bool,
    /// Go on although plugins, graph or configuration are not those that wrote the journal.
    pub accept_change: bool,
    pub threads: Option<usize>,
}

/// A shard and the lock that goes with it.
pub struct Opened {
    pub shard: Shard,
    pub lock: WorkLock,
}

/// The checkpoint store of a pipeline's shard.
pub fn objects(pipeline: &Pipeline) -> Result<Objects> {
    let url = match &pipeline.checkpoint.store {
        StoreUrl::File(path) => format!("file://{}", pipeline.path(path).display()),
        StoreUrl::S3(url) => url.clone(),
    };
    Objects::open(&url, Path::new("."), &pipeline.tenant, &pipeline.name, SINGLE_SHARD)
}

/// Threads that run lanes: the option, the pipeline file, or one for each core.
pub fn threads(pipeline: &Pipeline, options: &RunOptions) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    options.threads.or(pipeline.threads.map(|threads| threads as usize)).unwrap_or_else(cores).max(1)
}

fn settings(pipeline: &Pipeline, options: &RunOptions) -> Settings {
    Settings {
        threads: threads(pipeline, options),
        epoch: EpochLimits {
            records: pipeline.epoch.max_records as usize,
            bytes: pipeline.epoch.max_bytes as usize,
            delay: pipeline.epoch.max_delay,
        },
        batch_rows: pipeline.batch_rows,
        replay_debt: pipeline.checkpoint.replay_debt,
        keep: pipeline.checkpoint.keep,
        block_rows: match pipeline.replay_detail {
            ReplayDetail::Block => BLOCK_ROWS,
            ReplayDetail::Row => 1,
        },
    }
}

/// Opens one sink.
pub fn open_sink(pipeline: &Pipeline, spec: &SinkSpec) -> Result<Box<dyn Sink>> {
    Ok(match &spec.kind {
        SinkKind::Files { path, format } => {
            Box::new(sink::Files::open(&spec.name, SINGLE_SHARD, &pipeline.path(path), *format)?)
        }
        SinkKind::Stdout { format } => Box::new(sink::Stdout::new(&spec.name, *format)),
        SinkKind::Blackhole => Box::new(sink::Blackhole::new(&spec.name)),
    })
}

fn open_sinks(pipeline: &Pipeline, program: &Program) -> Result<Vec<SinkSlot>> {
    program
        .graph
        .sinks
        .iter()
        .map(|sink| {
            Ok(SinkSlot { sink: open_sink(pipeline, &pipeline.sinks[sink.sink])?, schema: sink.schema.clone() })
        })
        .collect()
}

/// What the journal and the checkpoints hold.
struct History {
    /// Entries from `entries[0].entry.sequence` to the end, chain verified.
    entries: Vec<Stored>,
    /// Newest first; damaged ones have facts and no manifest.
    manifests: Vec<(CheckpointFacts, Option<Manifest>)>,
}

impl History {
    fn epochs(&self) -> impl Iterator<Item = (&Stored, &EpochRecord)> {
        self.entries.iter().filter_map(|stored| match &stored.entry.body {
            JournalBody::Epoch(record) => Some((stored, &**record)),
            _ => None,
        })
    }

    fn last(&self) -> Option<(&Stored, &EpochRecord)> {
        self.epochs().last()
    }
}

/// Opens the shard of a loaded pipeline.
pub fn open(loaded: &Loaded, options: &RunOptions) -> Result<Opened> {
    let pipeline = &loaded.pipeline;
    let program = Arc::new(loaded.plan.program(&loaded.engine, loaded)?);
    // Sinks first: an unwritable folder is an error before anything is owned or read.
    let mut sinks = open_sinks(pipeline, &program)?;
    let mut dead_letters = pipeline.dlq.as_ref().map(|spec| open_sink(pipeline, spec)).transpose()?;
    let (lock, folder) = work_folder(&loaded.work_dir, options)?;
    let objects = objects(pipeline)?;
    let writer = format!("{}:{}", host_name(), std::process::id());
    let author = generation::take(&objects, &writer, &format!("{}/journal", objects.url()))?;
    fail_point!("recovery::after_generation");
    let journal = fence(&objects, &author)?;
    fail_point!("recovery::after_fence");
    if generation::current(&objects)? != author.generation {
        return Err(Error::new(
            Code::OwnershipLost,
            format!("another process took generation {} while this one took {}", author.generation + 1, author.generation),
        ));
    }
    archive::put(&objects, loaded)?;

    let state_dir = folder.join("state");
    let (history, Restored { base, state, manifest }) = restore(&objects, journal.sequence(), &state_dir)?;
    tracing::info!(?base, generation = author.generation, "recovering");

    let mut shard = {
        let scratch = state_dir.with_extension("images");
        let checkpoints = Checkpoints::new(objects.clone(), author.clone(), scratch)?;
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
        let checkpointed = history.manifests.iter().filter(|(facts, _)| facts.intact).map(|(facts, _)| facts.epoch).max();
        let planner = planner(loaded, &loaded.plan, &position, watermark, options)?;
        Shard {
            program: Arc::clone(&program),
            planner,
            state,
            journal,
            checkpoints,
            sinks: Vec::new(),
            dead_letters: None,
            settings: settings(pipeline, options),
            generation: author.generation,
            epoch: base_epoch,
            epoch_sequence,
            epoch_chain,
            checkpointed: checkpointed.unwrap_or(0),
            position,
            watermark,
            totals: Totals::default(),
            debt: ReplayDebt::default(),
            upload: None,
        }
    };
    shard.sinks.append(&mut sinks);
    shard.dead_letters = dead_letters.take();
    roll_forward(loaded, &objects, &mut shard, &history, &program, options)?;
    for slot in &mut shard.sinks {
        slot.sink.discard_uncommitted()?;
    }
    if let Some(dlq) = &mut shard.dead_letters {
        dlq.discard_uncommitted()?;
    }
    change(&mut shard, &history, &program, options)?;
    fail_point!("recovery::before_live");
    Ok(Opened { shard, lock })
}

/// Locks the work folder. After a take-over on the same machine it is a folder within: the other process may still
/// hold the outer one. What such processes left behind is removed when they are gone.
fn work_folder(work_dir: &Path, options: &RunOptions) -> Result<(WorkLock, PathBuf)> {
    const TAKE_OVER: &str = "take-over-";
    let mut held = None;
    for entry in std::fs::read_dir(work_dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TAKE_OVER) {
            continue;
        }
        match WorkLock::acquire(&entry.path()) {
            Ok(_lock) => discard(&entry.path())?,
            Err(error) => held = Some(error),
        }
    }
    let refused = match (WorkLock::acquire(work_dir), held) {
        (Ok(lock), None) => return Ok((lock, work_dir.to_owned())),
        (Ok(_), Some(error)) | (Err(error), _) => error,
    };
    if refused.code() != Code::AlreadyRunning || !options.take_over {
        return Err(refused);
    }
    tracing::warn!("taking over: {}", refused.message());
    let folder = work_dir.join(format!("{TAKE_OVER}{}", std::process::id()));
    Ok((WorkLock::acquire(&folder)?, folder))
}

fn planner(
    loaded: &Loaded,
    plan: &super::plan::Plan,
    position: &Position,
    watermark: Option<i64>,
    options: &RunOptions,
) -> Result<Planner> {
    Planner::new(
        sources::open(&loaded.pipeline, plan)?,
        plan.read_plans(),
        sources::time_rules(&loaded.pipeline, plan),
        threads(&loaded.pipeline, options),
        position,
        watermark,
    )
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Appends the fence entry of this generation: after it no older generation can append.
fn fence(objects: &Objects, author: &segno_core::persisted::Author) -> Result<Journal> {
    let mut end = journal::find_end(objects, 0)?;
    loop {
        let chain = match end {
            0 => String::new(),
            end => match journal::read_entry(objects, end)? {
                Some(stored) => stored.digest,
                None => return Err(Error::new(Code::JournalGap, format!("journal entry {end} is missing"))),
            },
        };
        let mut journal = Journal::new(objects.clone(), author.clone(), end, chain);
        match journal.append(JournalBody::Fence(Fence { generation: author.generation }))? {
            Appended::Ours => return Ok(journal),
            Appended::Lost(other) if other.author.generation > author.generation => {
                return Err(Error::new(
                    Code::OwnershipLost,
                    format!("{} took generation {} meanwhile", other.author.writer, other.author.generation),
                ));
            }
            // An older owner's last entry: it is history now.
            Appended::Lost(_) => end += 1,
        }
    }
}

/// Reads manifests, newest first, until one is not known to be damaged, and the journal from there.
fn read_history(objects: &Objects, end: u64, damaged: &BTreeSet<u64>) -> Result<History> {
    let mut manifests: Vec<(CheckpointFacts, Option<Manifest>)> = Vec::new();
    let mut number = checkpoint::newest(objects)?;
    let newest = number;
    let mut first = 1;
    while number > 0 {
        match checkpoint::read(objects, number) {
            Ok(Some(manifest)) => {
                let intact = !damaged.contains(&number);
                let facts = CheckpointFacts { number, epoch: manifest.epoch, chain_matches: false, intact };
                first = manifest.sequence.max(1);
                manifests.push((facts, Some(manifest)));
                if intact {
                    break;
                }
            }
            Ok(None) if number < newest => break,
            Ok(None) => tracing::error!("checkpoint {number} is gone"),
            Err(error) if error.code() == Code::CheckpointDamaged => {
                tracing::error!(code = error.code().name(), "{error}");
            }
            Err(error) => return Err(error),
        }
        number -= 1;
    }
    if !manifests.iter().any(|(facts, _)| facts.intact) {
        first = journal::first_left(objects)?;
    }
    let entries = journal::read_range(objects, first, end, None)?;
    let chain_of = |epoch: u64| {
        entries.iter().find_map(|stored| match &stored.entry.body {
            JournalBody::Epoch(record) if record.epoch == epoch => Some(stored.digest.as_str()),
            _ => None,
        })
    };
    for (facts, manifest) in &mut manifests {
        if let Some(manifest) = manifest {
            facts.chain_matches = chain_of(manifest.epoch).is_none_or(|chain| chain == manifest.chain);
        }
    }
    Ok(History { entries, manifests })
}

/// State to go on from, and where it came from.
struct Restored {
    base: Base,
    state: StateStore,
    /// The checkpoint that was restored.
    manifest: Option<Manifest>,
}

/// Decides where state comes from and opens it. A checkpoint shows its damage when it is restored: then the decision is
/// made again without it.
fn restore(objects: &Objects, end: u64, state_dir: &Path) -> Result<(History, Restored)> {
    let mut damaged = BTreeSet::new();
    loop {
        let history = read_history(objects, end, &damaged)?;
        let base = plan_base(&history, state_dir)?;
        let manifest = match base {
            Base::Local { .. } => None,
            Base::Nothing => {
                discard(state_dir)?;
                None
            }
            Base::Checkpoint { number, .. } => {
                discard(state_dir)?;
                let manifest = history
                    .manifests
                    .iter()
                    .find_map(|(facts, manifest)| manifest.as_ref().filter(|_| facts.number == number))
                    .ok_or_else(|| Error::new(Code::Internal, format!("checkpoint {number} was chosen and not read")))?;
                let started = Instant::now();
                match checkpoint::restore(objects, manifest, state_dir) {
                    Ok(()) => {
                        let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
                        tracing::info!(number, bytes, seconds = started.elapsed().as_secs_f64(), "checkpoint restored");
                    }
                    Err(error) if error.code() == Code::CheckpointDamaged => {
                        tracing::error!(code = error.code().name(), "{error}");
                        damaged.insert(number);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                Some(manifest.clone())
            }
        };
        let state = StateStore::open(state_dir)?;
        if let Base::Checkpoint { number, epoch } = base
            && state.mark()?.map(|mark| mark.epoch) != Some(epoch)
        {
            tracing::error!("checkpoint {number}: its state is not marked as the state of epoch {epoch}");
            damaged.insert(number);
            continue;
        }
        return Ok((history, Restored { base, state, manifest }));
    }
}

fn plan_base(history: &History, state_dir: &Path) -> Result<Base> {
    let end = history.last().map(|(_, record)| record.epoch);
    let newest = history.manifests.iter().map(|(facts, _)| facts.epoch).max();
    let journal = JournalFacts {
        end: end.or(newest.filter(|_| !history.entries.is_empty())).unwrap_or(0),
        first: match history.epochs().next() {
            Some((_, record)) => record.epoch,
            None if history.entries.first().is_some_and(|stored| stored.entry.sequence == 1) => 1,
            // No epoch is left: the next one would follow the newest checkpoint, or one that nobody knows.
            None => newest.unwrap_or(1) + 1,
        },
    };
    let checkpoints: Vec<CheckpointFacts> = history.manifests.iter().map(|(facts, _)| facts.clone()).collect();
    Ok(plan_recovery(&journal, &checkpoints, &local_facts(history, state_dir))?.base)
}

fn local_facts(history: &History, state_dir: &Path) -> LocalFacts {
    if !state_dir.exists() {
        return LocalFacts::Absent;
    }
    match StateStore::open(state_dir).and_then(|state| state.mark()) {
        Ok(None) => LocalFacts::Absent,
        Ok(Some(mark)) => LocalFacts::Marked {
            epoch: mark.epoch,
            chain_matches: history
                .epochs()
                .any(|(stored, record)| record.epoch == mark.epoch && stored.digest == mark.chain),
        },
        Err(error) => {
            tracing::warn!(code = error.code().name(), "{error}; it is restored");
            LocalFacts::Damaged
        }
    }
}

fn discard(state_dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(state_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Code::StateUnwritable, format!("{} cannot be removed", state_dir.display())).with_cause(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn base_epoch(base: &Base) -> u64 {
    match base {
        Base::Local { epoch } | Base::Checkpoint { epoch, .. } => *epoch,
        Base::Nothing => 0,
    }
}

/// Executes the epochs after the base again, compares, publishes what they staged, applies their changes.
fn roll_forward(
    loaded: &Loaded,
    objects: &Objects,
    shard: &mut Shard,
    history: &History,
    program: &Arc<Program>,
    options: &RunOptions,
) -> Result<()> {
    let mut versions = Versions::new(&loaded.engine, objects);
    versions.add(&loaded.plan, Arc::clone(program));
    let mut running = program.identity.configuration.clone();
    let base = shard.epoch;
    for (stored, record) in history.epochs().filter(|(_, record)| record.epoch > base) {
        fail_point!("recovery::amid_reexecution");
        let version = versions.get(&record.identity)?;
        if running != record.identity.configuration {
            running = record.identity.configuration.clone();
            shard.planner = planner(loaded, &version.plan, &shard.position, shard.watermark, options)?;
        }
        let detail = || read_detail(objects, record);
        let again =
            reexecute(&version.program, &mut shard.planner, &shard.state, record, shard.settings.threads, detail)?;
        if let Some(difference) = &again.difference {
            return Err(differs(difference));
        }
        shard.publish(&record.outputs)?;
        shard.apply_at(record.epoch, &stored.digest, &again.executed)?;
        shard.epoch = record.epoch;
        shard.epoch_sequence = stored.entry.sequence;
        shard.epoch_chain = stored.digest.clone();
        shard.position = record.to.clone();
        shard.watermark = record.watermark_out;
        shard.totals.reexecuted += 1;
    }
    if running != program.identity.configuration {
        shard.planner = planner(loaded, &loaded.plan, &shard.position, shard.watermark, options)?;
    }
    Ok(())
}

/// The details of an epoch, where they were kept.
pub fn read_detail(objects: &Objects, record: &EpochRecord) -> Result<Option<Detail>> {
    let Some(detail) = &record.detail else { return Ok(None) };
    Ok(journal::read_detail(objects, detail)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A changed pipeline goes on only when the user accepts it, from a checkpoint, with an entry in the journal.
fn change(
    shard: &mut Shard,
    history: &History,
    program: &Arc<Program>,
    options: &RunOptions,
) -> Result<()> {
    let changed_to = history.entries.iter().rev().find_map(|stored| match &stored.entry.body {
        JournalBody::Change(change) => Some(change.after.clone()),
        JournalBody::Epoch(record) => Some(record.identity.clone()),
        JournalBody::Fence(_) => None,
    });
    let Continuation::Accepted { what } =
        plan_continuation(changed_to.as_ref(), &program.identity, options.accept_change)?
    else {
        return Ok(());
    };
    let Some(before) = changed_to else { return Ok(()) };
    shard.checkpoint_now()?;
    shard.append(JournalBody::Change(Change {
        after_epoch: shard.epoch,
        before,
        after: program.identity.clone(),
        accepted: what,
    }))?;
    Ok(())
}
