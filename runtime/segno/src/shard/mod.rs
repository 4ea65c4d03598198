//! A shard: the unit of order, state, commit and ownership.
//!
//! - `feed`, `slot`, `plan`, `epoch`: reading ahead, merging, cutting an epoch
//! - `burst`: how many timers an epoch may fire
//! - `program`, `causes`, `step`, `lane`, `execute`: running it through the graph
//! - `stop`, `waits`, `tap`: asking it to end, what it waits for, records on their way
//! - `expect`: does a step reject more than is expected?
//! - `outputs`, `commit`: stage, journal, publish, apply
//! - `picked`, `redrive`: dead letters are read again and go through the graph again
//! - `recover`, `verify`: taking over, executing again, comparing
//!
//! Owns: the epoch loop. Does not own: building programs and opening stores (`worker`).
//!
//! Invariant: an error leaves the shard to be recovered by the same code as kill -9 does; no other path mends anything.

pub mod burst;
pub mod causes;
pub mod commit;
pub mod epoch;
pub mod execute;
pub mod expect;
pub mod feed;
pub mod lane;
pub mod outputs;
mod picked;
pub mod plan;
pub mod program;
pub mod recover;
pub mod redrive;
mod slot;
pub mod step;
pub mod stop;
pub mod tap;
pub mod verify;
pub mod waits;

use burst::{Bursts, first_timer};
use execute::{Executed, Execution};
use epoch::EpochInput;
use expect::Expect;
use lane::{DEADLINE_ABORTS_MAX, Mode};
use plan::Planner;
use program::Program;
use segno_core::columns::key::Keys;
use segno_core::persisted::{
    BEFORE_TTL, Change, Counts, Identity, JournalBody, Position, StoredTimer, TIMERS_TABLE, TableVersions, read_living,
    read_timer,
};
use segno_core::protocol::cadence::ReplayDebt;
use segno_core::protocol::close::EpochLimits;
use segno_core::protocol::ownership::verdict;
use segno_core::sink::Sink;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint::{CheckpointMeta, Checkpoints, Published, Upload};
use segno_durable::journal::Journal;
use segno_durable::state::StateStore;
use step::StateReader;
use stop::{Ending, Stop};
use tap::Taps;
use waits::Waits;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rows of a block digest. A difference is named to this many rows.
pub const BLOCK_ROWS: usize = 64;

/// Settings that decide no output.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub threads: usize,
    pub epoch: EpochLimits,
    /// Rows of a call at most; replays use the journalled number.
    pub batch_rows: u32,
    pub replay_debt: Duration,
    pub keep: u32,
    /// Records that are gone before they were read are given up; else they stop the shard.
    pub accept_data_loss: bool,
    /// Windows with more rejects than are expected are let through; else they stop the shard where a rule says so.
    pub accept_rejects: bool,
    /// Rows per block digest: `BLOCK_ROWS`, or 1 with `replay_detail: row`.
    pub block_rows: usize,
}

/// A sink; the dead letters' one is among them.
pub struct SinkSlot {
    pub sink: Box<dyn Sink>,
    /// The last epoch whose rows it holds, for sinks that keep their own mark.
    pub mark: Option<u64>,
}

/// What a shard did since it was started.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Totals {
    pub epochs: u64,
    pub records: u64,
    pub bytes: u64,
    pub rows_out: BTreeMap<String, u64>,
    pub dead_letters: u64,
    pub skipped: u64,
    /// Offsets that were gone before they were read, and were given up.
    pub lost: u64,
    /// Records that each step rejected.
    pub rejected: BTreeMap<String, u64>,
    /// How often a step rejected more than is expected, and the run went on.
    pub broken_expectations: BTreeMap<String, u64>,
    /// Timers that fired, by step.
    pub timers: BTreeMap<String, u64>,
    pub fuel: BTreeMap<String, u64>,
    pub counters: BTreeMap<String, u64>,
    pub checkpoints: u64,
    /// Epochs executed again at the start.
    pub reexecuted: u64,
}

impl Totals {
    /// The sum of two.
    pub fn plus(mut self, other: &Totals) -> Totals {
        self.epochs += other.epochs;
        self.records += other.records;
        self.bytes += other.bytes;
        self.dead_letters += other.dead_letters;
        self.skipped += other.skipped;
        self.lost += other.lost;
        self.checkpoints += other.checkpoints;
        self.reexecuted += other.reexecuted;
        for (sum, more) in [
            (&mut self.rows_out, &other.rows_out),
            (&mut self.rejected, &other.rejected),
            (&mut self.broken_expectations, &other.broken_expectations),
            (&mut self.timers, &other.timers),
            (&mut self.fuel, &other.fuel),
            (&mut self.counters, &other.counters),
        ] {
            more.iter().for_each(|(name, count)| *sum.entry(name.clone()).or_default() += count);
        }
        self
    }

    fn add(&mut self, counts: &Counts) {
        self.epochs += 1;
        self.records += counts.records;
        self.bytes += counts.bytes;
        self.dead_letters += counts.dead_letters;
        self.skipped += counts.skipped;
        self.lost += counts.lost;
        for (name, rows) in &counts.rows_out {
            *self.rows_out.entry(name.clone()).or_default() += rows;
        }
        for (name, rejected) in &counts.rejected {
            *self.rejected.entry(name.clone()).or_default() += rejected;
        }
        for (name, timers) in &counts.timers {
            *self.timers.entry(name.clone()).or_default() += timers;
        }
        for (name, fuel) in &counts.fuel {
            *self.fuel.entry(name.clone()).or_default() += fuel;
        }
        for (name, delta) in &counts.counters {
            *self.counters.entry(name.clone()).or_default() += delta;
        }
    }
}

/// What the world may know after a committed epoch.
pub struct Progress<'a> {
    pub totals: &'a Totals,
    pub counts: &'a Counts,
    pub position: &'a Position,
    pub watermark: Option<i64>,
    pub generation: u64,
    pub epoch: u64,
    pub committed_at_ms: i64,
    /// Time to execute and to commit it, and from the commit before to this one.
    pub execute: Duration,
    pub commit: Duration,
    pub since_last: Duration,
    pub replay_debt: Duration,
    /// Records that wait, by (source, partition), where the source knows.
    pub lags: BTreeMap<(u32, u32), u64>,
    /// The last epoch that each sink holds, for sinks that keep their own mark.
    pub marks: BTreeMap<String, u64>,
    /// Records rejected after a failing call, by step.
    pub failed_calls: BTreeMap<String, u64>,
    /// Expectations that were broken in this epoch, by step.
    pub broken: BTreeMap<String, u64>,
    pub state_bytes: u64,
    pub checkpoint: Option<CheckpointSeen>,
    /// The rows of databases that the epoch was executed with.
    pub tables: Option<&'a TableVersions>,
}

/// The newest checkpoint that this process made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSeen {
    pub epoch: u64,
    pub at_ms: i64,
    pub bytes: u64,
}

/// What the last checkpoint took: what the next one may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointCost {
    started: Option<Instant>,
    took: Duration,
}

/// Programs with rows of databases that were read after the shard was opened.
pub trait NewerRows: Send {
    /// Newer ones than this identity's.
    fn than(&self, identity: &Identity) -> Result<Option<Newer>>;
}

/// A program with other rows.
pub struct Newer {
    pub program: Arc<Program>,
    /// How the rows differ.
    pub what: Vec<String>,
    /// Puts everything that the program names into the archive.
    pub archive: Box<dyn FnOnce() -> Result<()>>,
}

/// A shard that this process owns, at the end of its journal.
pub struct Shard {
    pub program: Arc<Program>,
    pub newer_rows: Box<dyn NewerRows>,
    pub planner: Planner,
    pub bursts: Bursts,
    pub state: StateStore,
    pub journal: Journal,
    pub checkpoints: Checkpoints,
    pub sinks: Vec<SinkSlot>,
    pub settings: Settings,
    pub generation: u64,
    /// Last committed epoch.
    pub epoch: u64,
    /// Sequence of that epoch's journal entry and the digest of its bytes.
    pub epoch_sequence: u64,
    pub epoch_chain: String,
    /// Epoch of the newest checkpoint.
    pub checkpointed: u64,
    pub position: Position,
    pub watermark: Option<i64>,
    pub expect: Expect,
    pub totals: Totals,
    pub debt: ReplayDebt,
    pub upload: Option<Upload>,
    pub checkpoint_seen: Option<CheckpointSeen>,
    pub checkpoint_cost: CheckpointCost,
    pub waits: Waits,
    pub taps: Taps,
}

impl StateReader for StateStore {
    fn get_many(&self, step: &str, table: u16, keys: &Keys, ids: &[u32]) -> Result<Vec<Option<Vec<u8>>>> {
        StateStore::get_many(self, step, table, ids.iter().map(|&id| keys.get(id as usize)))
    }

    fn end_before_ttl(&self, step: &str) -> Result<Option<i64>> {
        let kept = StateStore::get_many(self, BEFORE_TTL, 0, std::iter::once(step.as_bytes()))?.pop().flatten();
        Ok(kept.and_then(|bytes| read_living(&bytes).map(|(lease, _)| lease.end)))
    }

    fn keeps_without_end(&self, step: &str, tables: usize) -> Result<bool> {
        let mut found = false;
        for table in 0..tables as u16 {
            self.scan_kept(step, table, b"", |_, _| {
                found = true;
                false
            })?;
        }
        Ok(found)
    }

    fn due_timers(&self, step: &str, until: i64, last: Option<&StoredTimer>) -> Result<Vec<StoredTimer>> {
        let mut found = Vec::new();
        self.scan_queue(step, TIMERS_TABLE, |key| match read_timer(key) {
            Some(timer) if timer.time <= until && last.is_none_or(|last| timer <= *last) => {
                found.push(timer);
                true
            }
            _ => false,
        })?;
        Ok(found)
    }
}

impl Shard {
    /// Runs until the input ends or it is asked to stop; `watch` is told after each epoch.
    pub fn run(&mut self, stop: &Stop, watch: &mut dyn FnMut(&Progress<'_>)) -> Result<()> {
        self.run_epochs(stop, watch).map_err(|error| self.judged(error))
    }

    /// An error as it counts: after a take-over it is that of a process that lost the shard.
    fn judged(&self, error: Error) -> Error {
        match self.checkpoints.current_generation() {
            Ok(current) => verdict(error, current, self.generation),
            Err(_) => error,
        }
    }

    fn run_epochs(&mut self, stop: &Stop, watch: &mut dyn FnMut(&Progress<'_>)) -> Result<()> {
        let mut last = Instant::now();
        if self.settings.accept_data_loss {
            self.planner.give_up_lost(&self.position, self.watermark)?;
        }
        loop {
            let cursor = self.position.timer_cursor.as_ref();
            let horizon = self.bursts.horizon(&self.program.graph.steps, &self.state, self.watermark, cursor)?;
            let (planner, limits) = (&mut self.planner, &self.settings.epoch);
            let timer = if planner.processing_time() { first_timer(&self.program.graph.steps, &self.state)? } else { None };
            let next = || planner.next_epoch(limits, &horizon, timer, stop.flag());
            let input = match self.waits.during(|| "records".to_owned(), next) {
                Err(error) if error.code() == Code::OffsetsGone => {
                    self.outrun(error)?;
                    continue;
                }
                other => other?,
            };
            let Some(input) = input else { break };
            if stop.ending() == Ending::Drop {
                return Err(given_away());
            }
            self.take_newer_rows()?;
            self.one_epoch(&Arc::clone(&self.program), input, &mut last, watch)?;
        }
        match stop.ending() {
            Ending::Rest => self.checkpoint_now(),
            Ending::HandOver => self.checkpoint_if_cheap(),
            Ending::Drop => Err(given_away()),
        }
    }

    /// Goes on with another program: from a checkpoint, with an entry in the journal, between two epochs.
    pub fn change(&mut self, before: Identity, program: Arc<Program>, accepted: Vec<String>) -> Result<()> {
        self.checkpoint_now()?;
        let after = program.identity.clone();
        tracing::info!(after_epoch = self.epoch, "the pipeline changes: {}", accepted.join("; "));
        self.append(JournalBody::Change(Change { after_epoch: self.epoch, before, after, accepted }))?;
        self.planner.tell_anew();
        self.program = program;
        Ok(())
    }

    /// Between the last committed epoch and the one that was read just now.
    fn take_newer_rows(&mut self) -> Result<()> {
        let Some(newer) = self.newer_rows.than(&self.program.identity)? else { return Ok(()) };
        // A collection that is under way may be about to remove the same rows of an earlier time.
        self.checkpoint_now()?;
        (newer.archive)()?;
        self.change(self.program.identity.clone(), newer.program, newer.what)
    }

    /// Whoever goes on either restores the checkpoint or executes again what came after the one before it.
    fn checkpoint_if_cheap(&mut self) -> Result<()> {
        self.finish_upload()?;
        if self.debt.estimate() > self.checkpoint_cost.took { self.checkpoint_now() } else { Ok(()) }
    }

    /// Executes, judges and commits an epoch; `program` is that of the pipeline, or what a redrive has instead.
    fn one_epoch(
        &mut self,
        program: &Program,
        input: EpochInput,
        last: &mut Instant,
        watch: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<()> {
        let _inside = tracing::error_span!("epoch", epoch = self.epoch + 1).entered();
        let started = Instant::now();
        let executed = self.execute(program, &input)?;
        if executed.chained {
            // Which of an instant's timers set which is not stored: it stays in one piece.
            self.bursts.keep_whole(input.moves.last().unwrap_or_default().saturating_add(1));
            self.planner.put_back(input, &self.position);
            return Ok(());
        }
        self.bursts.count(&executed);
        let execute = started.elapsed();
        let failed_calls = failed_calls(&executed);
        let judged = match &input.redrive {
            None => self.expect.judge(program, &input, &executed, self.settings.accept_rejects)?,
            Some(_) => self.expect.unmoved(),
        };
        let counts = self.commit(program, input, executed, judged.windows)?;
        for (step, broken) in &judged.broken {
            *self.totals.broken_expectations.entry(step.clone()).or_default() += broken;
        }
        let commit = started.elapsed() - execute;
        let since_last = last.elapsed();
        self.debt.add(execute, since_last);
        *last = Instant::now();
        self.checkpoint_when_due()?;
        watch(&Progress {
            totals: &self.totals,
            counts: &counts,
            position: &self.position,
            watermark: self.watermark,
            generation: self.generation,
            epoch: self.epoch,
            committed_at_ms: now_ms(),
            execute,
            commit,
            since_last,
            replay_debt: self.debt.estimate(),
            lags: self.planner.lags(),
            marks: self.marks(),
            failed_calls,
            broken: judged.broken,
            state_bytes: self.state.bytes(),
            checkpoint: self.checkpoint_seen.clone(),
            tables: program.identity.tables.as_ref(),
        });
        Ok(())
    }

    /// Records are gone before they were read. What was committed must not need them: a recovery from here reads nothing
    /// before them.
    fn outrun(&mut self, error: Error) -> Result<()> {
        self.checkpoint_now()?;
        let given_up = self.settings.accept_data_loss && self.planner.give_up_lost(&self.position, self.watermark)?;
        if given_up { Ok(()) } else { Err(error) }
    }

    fn marks(&self) -> BTreeMap<String, u64> {
        self.sinks.iter().filter_map(|slot| Some((slot.sink.name().to_owned(), slot.mark?))).collect()
    }

    /// Executes, again when a deadline expired; the calls of the last attempt are split like any other failure.
    fn execute(&self, program: &Program, input: &EpochInput) -> Result<Executed> {
        let execution = Execution {
            program,
            input,
            state: &self.state,
            batch_rows: self.settings.batch_rows,
            threads: self.settings.threads,
            block_rows: self.settings.block_rows,
            taps: Some(&self.taps),
        };
        let mut deadline_aborts = 0;
        loop {
            match execution.execute(Mode::Live { deadline_aborts }) {
                Err(error) if error.code() == Code::DeadlineExpired && deadline_aborts < DEADLINE_ABORTS_MAX => {
                    tracing::warn!(code = error.code().name(), "{error}; the epoch runs again");
                    deadline_aborts += 1;
                }
                other => return other,
            }
        }
    }

    fn checkpoint_when_due(&mut self) -> Result<()> {
        if let Some(upload) = &mut self.upload {
            match upload.poll()? {
                None => return Ok(()),
                Some(done) => self.checkpoint_done(&done),
            }
        }
        if self.debt.due(self.settings.replay_debt) {
            self.start_checkpoint()?;
        }
        Ok(())
    }

    fn start_checkpoint(&mut self) -> Result<()> {
        let meta = CheckpointMeta {
            epoch: self.epoch,
            sequence: self.epoch_sequence,
            chain: self.epoch_chain.clone(),
            position: self.position.clone(),
            watermark: self.watermark,
            identity: self.program.identity.clone(),
            marks: self.marks(),
            written_at_ms: now_ms(),
            replay_debt_ms: self.debt.estimate().as_millis() as u64,
        };
        self.checkpoint_cost.started = Some(Instant::now());
        self.upload = Some(self.checkpoints.start(&self.state, meta, self.settings.keep)?);
        self.debt.clear();
        Ok(())
    }

    fn checkpoint_done(&mut self, published: &Published) {
        let done = &published.manifest;
        self.upload = None;
        self.checkpoint_cost.took = self.checkpoint_cost.started.map_or(Duration::ZERO, |started| started.elapsed());
        self.checkpointed = done.epoch;
        self.checkpoint_seen = Some(CheckpointSeen {
            epoch: done.epoch,
            at_ms: done.written_at_ms,
            bytes: done.files.iter().map(|file| file.bytes).sum(),
        });
        self.totals.checkpoints += 1;
        if let Some(oldest) = &published.oldest {
            self.planner.release(oldest);
        }
    }

    /// A checkpoint of the last committed epoch, unless there is one; returns when it is published.
    pub fn checkpoint_now(&mut self) -> Result<()> {
        self.finish_upload()?;
        if self.epoch > self.checkpointed {
            self.start_checkpoint()?;
            self.finish_upload()?;
        }
        Ok(())
    }

    fn finish_upload(&mut self) -> Result<()> {
        match self.upload.take() {
            Some(upload) => {
                let done = upload.wait()?;
                self.checkpoint_done(&done);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// As if another process had taken over: it may have.
fn given_away() -> Error {
    Error::new(Code::OwnershipLost, "the shard was given to another worker")
        .with_help("nothing is lost: what was not committed is executed there")
}

/// Records that were given up after a failing call, by step.
fn failed_calls(executed: &Executed) -> BTreeMap<String, u64> {
    let mut failed = BTreeMap::new();
    for script in &executed.scripts {
        let rejected = script.calls.iter().filter(|call| call.rejected.is_some()).count() as u64;
        *failed.entry(script.step.clone()).or_default() += rejected;
    }
    failed
}

/// The wall clock. What an epoch took from it is journalled, so that a replay sees the same.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_two_totals_has_every_number_of_both() {
        let named = || BTreeMap::from([("a".to_owned(), 1)]);
        let one = Totals {
            epochs: 1,
            records: 1,
            bytes: 1,
            rows_out: named(),
            dead_letters: 1,
            skipped: 1,
            lost: 1,
            rejected: named(),
            broken_expectations: named(),
            timers: named(),
            fuel: named(),
            counters: named(),
            checkpoints: 1,
            reexecuted: 1,
        };
        let doubled = serde_json::json!(one.clone().plus(&one)).to_string();
        assert_eq!(doubled, serde_json::json!(one).to_string().replace(":1", ":2"));
    }
}
