//! Committing an epoch: stage, journal, confirm, publish, apply, in this order and no other.
//!
//! Owns: the order of the edges and the journal record of an epoch.
//! Does not own: how a sink stages or a store writes (`segno-durable`), what an answer means (`protocol::ownership`).
//!
//! Invariants: the journal entry is the commit. Before it nothing is visible and everything is discarded at recovery;
//! after it everything is rolled forward. State is applied last, so a state store is never ahead of the journal.

use super::Shard;
use super::epoch::EpochInput;
use super::execute::Executed;
use super::outputs::{Output, outputs};
use super::program::Program;
use super::verify::Detail;
use segno_core::persisted::{Counts, DetailRef, EpochRecord, ExpectWindow, Facts, JournalBody, StagedObject};
use segno_core::protocol::ownership::{self, Fact, Next};
use segno_core::sink::record_id;
use segno_core::{Code, Error, Result};
use segno_durable::fail_point;
use segno_durable::state::{Mark, StateStore};
use std::collections::BTreeMap;

fn timers_by_step(program: &Program, executed: &Executed) -> BTreeMap<String, u64> {
    let mut timers = BTreeMap::new();
    for fired in &executed.fired {
        *timers.entry(program.graph.steps[fired.step].id.clone()).or_default() += 1;
    }
    timers
}

/// What an epoch staged, by sink name.
type Staged = BTreeMap<String, Vec<StagedObject>>;

impl Shard {
    /// Makes an executed epoch durable and visible. After an error the shard must be recovered: whether the epoch is
    /// committed is then read from the journal.
    pub(super) fn commit(
        &mut self,
        program: &Program,
        input: EpochInput,
        executed: Executed,
        windows: Vec<ExpectWindow>,
    ) -> Result<Counts> {
        let epoch = self.epoch + 1;
        let outputs = self.outputs(program, &input, &executed);
        fail_point!("commit::before_stage");
        let staged = self.stage(epoch, &outputs)?;
        fail_point!("commit::after_stage");
        let record = self.record(epoch, program, input, &executed, &outputs, staged, windows)?;
        fail_point!("commit::after_detail");
        let mut fact = Fact::Staged;
        loop {
            fact = match ownership::next(fact, self.generation)? {
                Next::CreateEntry => Fact::Claimed(self.journal.append(JournalBody::Epoch(Box::new(record.clone())))?),
                Next::Confirm => Fact::Current(self.checkpoints.current_generation()?),
                Next::Publish => {
                    fail_point!("commit::after_journal");
                    self.journal.leave_hint()?;
                    self.publish(epoch, &outputs, &record.outputs)?;
                    fail_point!("commit::after_publish");
                    Fact::Published
                }
                Next::Apply => {
                    self.apply(&record, &executed)?;
                    fail_point!("commit::after_apply");
                    Fact::Applied
                }
                Next::Committed => break,
            };
        }
        // Not before: an epoch that was not committed rejected nothing.
        for letter in &executed.dead_letters {
            let record = record_id(&letter.source, &letter.partition, letter.offset);
            tracing::info!(record, step = letter.step.as_deref(), code = letter.code, "{}", letter.reason);
        }
        self.epoch = epoch;
        self.epoch_sequence = self.journal.sequence();
        self.epoch_chain = self.journal.chain().to_owned();
        self.position = record.to.clone();
        self.planner.advise();
        self.watermark = record.watermark_out;
        self.expect.windows.clone_from(&record.expect_windows);
        self.totals.add(&record.counts);
        Ok(record.counts)
    }

    pub(crate) fn outputs(&self, program: &Program, input: &EpochInput, executed: &Executed) -> Vec<Output> {
        let wants = |name: &str| self.sinks.iter().any(|slot| slot.sink.name() == name && slot.sink.wants_lineage());
        let announces = |name: &str| self.sinks.iter().any(|slot| slot.sink.name() == name && slot.sink.announces());
        outputs(program, input, executed, wants, announces)
    }

    fn stage(&mut self, epoch: u64, outputs: &[Output]) -> Result<Staged> {
        let mut staged = Staged::new();
        for output in outputs {
            let slot = self.sinks.iter_mut().find(|slot| slot.sink.name() == output.name);
            let slot = slot.ok_or_else(|| Error::new(Code::Internal, format!("there is no sink \"{}\"", output.name)))?;
            staged.insert(output.name.clone(), slot.sink.stage(&output.rows(epoch))?);
        }
        Ok(staged)
    }

    fn record(
        &mut self,
        epoch: u64,
        program: &Program,
        input: EpochInput,
        executed: &Executed,
        outputs: &[Output],
        staged: Staged,
        expect_windows: Vec<ExpectWindow>,
    ) -> Result<EpochRecord> {
        let detail = Detail::new(epoch, self.settings.block_rows, &executed.blocks);
        let body = serde_json::to_vec(&detail)
            .map_err(|error| Error::new(Code::Internal, "an epoch's detail cannot be written").with_cause(error))?;
        let detail: DetailRef = self.journal.put_detail(epoch, body)?;
        let announced = outputs.iter().filter(|output| output.told.is_some()).map(|output| output.name.clone()).collect();
        let rows_out = outputs.iter().map(|output| (output.name.clone(), output.batch.num_rows() as u64)).collect();
        let graph = &program.graph;
        let rejected = graph.steps.iter().zip(&executed.rejects).map(|(step, rejects)| (step.id.clone(), rejects.rejected.len() as u64));
        let rejected = rejected.filter(|(_, rejected)| *rejected > 0).collect();
        let records = input.records() as u64;
        // Dead letters are read again without moving anything: what is read next follows what was read last.
        let (from, to, idle, watermark_in, watermark_out) = match &input.redrive {
            None => (input.from, input.to, input.idle, input.moves.before(), input.moves.last()),
            Some(_) => (self.position.clone(), self.position.clone(), Vec::new(), self.watermark, self.watermark),
        };
        Ok(EpochRecord {
            epoch,
            identity: program.identity.clone(),
            counts: Counts {
                records,
                bytes: input.bytes as u64,
                rows_out,
                announced,
                dead_letters: executed.dead_letters.len() as u64,
                skipped: executed.skipped,
                rejected,
                lost: input.lost.iter().map(|lost| lost.to - lost.from).sum(),
                timers: timers_by_step(program, executed),
                fuel: executed.fuel.clone(),
                counters: executed.counters.clone(),
            },
            from,
            to,
            idle,
            logical_time_ms: input.logical_time_ms,
            watermark_in,
            watermark_out,
            batch_rows: self.settings.batch_rows,
            lanes: graph.steps.iter().map(|step| (step.id.clone(), step.lanes)).collect(),
            facts: Facts {
                lane_scripts: executed.scripts.clone(),
                new_partitions: input.new_partitions,
                lost: input.lost,
                redrive: input.redrive,
                external: Vec::new(),
            },
            digests: executed.digests.clone(),
            expect_windows,
            outputs: staged,
            detail: Some(detail),
        })
    }

    /// Appends an entry that publishes nothing; it counts like that of an epoch.
    pub(crate) fn append(&mut self, body: JournalBody) -> Result<()> {
        let mut fact = Fact::Claimed(self.journal.append(body)?);
        while ownership::next(fact, self.generation)? == Next::Confirm {
            fact = Fact::Current(self.checkpoints.current_generation()?);
        }
        self.journal.leave_hint()
    }

    /// Makes a committed epoch visible, except where a sink holds it already.
    pub(crate) fn publish(&mut self, epoch: u64, outputs: &[Output], staged: &Staged) -> Result<()> {
        for output in outputs {
            let objects = staged.get(&output.name).map_or(&[][..], Vec::as_slice);
            if output.batch.num_rows() == 0 && objects.is_empty() && output.told.is_none() {
                continue;
            }
            // A sink that the pipeline no longer has keeps what it has; the change was accepted and journalled.
            let Some(slot) = self.sinks.iter_mut().find(|slot| slot.sink.name() == output.name) else { continue };
            if slot.mark.is_some_and(|mark| mark >= epoch) {
                continue;
            }
            fail_point!("commit::amid_publish");
            let sink = || format!("sink \"{}\"", output.name);
            self.waits.during(sink, || slot.sink.publish(&output.rows(epoch), objects))?;
            slot.mark = slot.mark.map(|_| epoch);
        }
        Ok(())
    }

    fn apply(&mut self, record: &EpochRecord, executed: &Executed) -> Result<()> {
        apply(&self.state, record, self.journal.chain(), executed)
    }
}

/// Applies an epoch's changes and marks the state with the epoch, its watermark and the digest of its journal entry.
pub(crate) fn apply(state: &StateStore, record: &EpochRecord, chain: &str, executed: &Executed) -> Result<()> {
    let changes = executed.changes.iter().flat_map(|(step, changes)| {
        changes.changes.iter().map(move |(key, table, value)| (step.as_str(), *table, changes.keys.get(*key as usize), value.as_deref()))
    });
    let mark = Mark { epoch: record.epoch, chain: chain.to_owned(), watermark: record.watermark_out };
    state.apply(&mark, changes)
}
