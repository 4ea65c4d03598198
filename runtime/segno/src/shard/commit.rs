//! Committing an epoch: stage, journal, publish, apply, in this order and no other.
//!
//! Owns: the order of the edges and the journal record of an epoch.
//! Does not own: how a sink stages or a store writes (`segno-durable`).
//!
//! Invariants: the journal entry is the commit. Before it nothing is visible and everything is discarded at recovery;
//! after it everything is rolled forward. State is applied last, so a state store is never ahead of the journal.

use super::Shard;
use super::epoch::EpochInput;
use super::execute::Executed;
use super::step::StreamRows;
use super::verify::Detail;
use arrow_array::RecordBatch;
use segno_core::persisted::{
    Counts, DetailRef, EpochRecord, Facts, JournalBody, StagedObject,
};
use segno_core::sink::{DEAD_LETTER_SINK, SinkRows, dead_letter_batch, dead_letter_schema};
use segno_core::{Code, Error, Result};
use segno_durable::fail_point;
use segno_durable::journal::Appended;
use std::collections::BTreeMap;

/// What an epoch staged, by sink name.
type Staged = BTreeMap<String, Vec<StagedObject>>;

impl Shard {
    /// Makes an executed epoch durable and visible. After an error the shard must be recovered: whether the epoch is
    /// committed is then read from the journal.
    pub(super) fn commit(&mut self, input: EpochInput, executed: Executed, logical_time_ms: i64) -> Result<()> {
        let epoch = self.epoch + 1;
        fail_point!("commit::before_stage");
        let outputs = self.stage(epoch, &executed)?;
        fail_point!("commit::after_stage");
        let record = self.record(epoch, input, &executed, outputs, logical_time_ms)?;
        fail_point!("commit::after_detail");
        let outputs = record.outputs.clone();
        self.append(JournalBody::Epoch(Box::new(record.clone())))?;
        fail_point!("commit::after_journal");
        self.publish(&outputs)?;
        fail_point!("commit::after_publish");
        self.apply(epoch, &executed)?;
        fail_point!("commit::after_apply");
        self.epoch = epoch;
        self.epoch_sequence = self.journal.sequence();
        self.epoch_chain = self.journal.chain().to_owned();
        self.position = record.to.clone();
        self.watermark = record.watermark_out;
        self.totals.add(&record.counts);
        Ok(())
    }

    fn stage(&mut self, epoch: u64, executed: &Executed) -> Result<Staged> {
        let mut staged = Staged::new();
        for (slot, output) in self.sinks.iter_mut().zip(&executed.sinks) {
            let StreamRows { batch, .. } = &output.rows;
            let objects = slot.sink.stage(&SinkRows { epoch, schema: &slot.schema, batch })?;
            staged.insert(output.name.clone(), objects);
        }
        if let Some(dlq) = &mut self.dead_letters
            && !executed.dead_letters.is_empty()
        {
            let batch: RecordBatch = dead_letter_batch(&executed.dead_letters);
            let objects = dlq.stage(&SinkRows { epoch, schema: &dead_letter_schema(), batch: &batch })?;
            staged.insert(DEAD_LETTER_SINK.to_owned(), objects);
        }
        Ok(staged)
    }

    fn record(
        &mut self,
        epoch: u64,
        input: EpochInput,
        executed: &Executed,
        outputs: Staged,
        logical_time_ms: i64,
    ) -> Result<EpochRecord> {
        let detail = Detail::new(epoch, self.settings.block_rows, &executed.blocks);
        let body = serde_json::to_vec(&detail)
            .map_err(|error| Error::new(Code::Internal, "an epoch's detail cannot be written").with_cause(error))?;
        let detail: DetailRef = self.journal.put_detail(epoch, body)?;
        let mut rows_out: BTreeMap<String, u64> =
            executed.sinks.iter().map(|sink| (sink.name.clone(), sink.rows.batch.num_rows() as u64)).collect();
        if !executed.dead_letters.is_empty() {
            rows_out.insert(DEAD_LETTER_SINK.to_owned(), executed.dead_letters.len() as u64);
        }
        let graph = &self.program.graph;
        Ok(EpochRecord {
            epoch,
            identity: self.program.identity.clone(),
            counts: Counts {
                records: input.records() as u64,
                bytes: input.bytes as u64,
                rows_out,
                dead_letters: executed.dead_letters.len() as u64,
                skipped: executed.skipped,
                fuel: executed.fuel.clone(),
                counters: executed.counters.clone(),
            },
            from: input.from,
            to: input.to,
            idle: input.idle,
            logical_time_ms,
            watermark_in: input.watermark_in,
            watermark_out: input.watermark_out,
            batch_rows: self.settings.batch_rows,
            lanes: graph.steps.iter().map(|step| (step.id.clone(), step.lanes)).collect(),
            facts: Facts {
                lane_scripts: executed.scripts.clone(),
                new_partitions: input.new_partitions,
                external: Vec::new(),
            },
            digests: executed.digests.clone(),
            outputs,
            detail: Some(detail),
        })
    }

    /// Appends an entry after the last one; whoever else holds the number has taken the shard over.
    pub(crate) fn append(&mut self, body: JournalBody) -> Result<()> {
        match self.journal.append(body)? {
            Appended::Ours => Ok(()),
            Appended::Lost(other) => Err(Error::new(
                Code::OwnershipLost,
                format!(
                    "journal entry {} was written by {} of generation {}; this process is generation {}",
                    other.sequence, other.author.writer, other.author.generation, self.generation
                ),
            )
            .with_help("another process runs this pipeline now; this one has committed nothing since and stops")),
        }
    }

    pub(crate) fn publish(&mut self, outputs: &Staged) -> Result<()> {
        for (name, objects) in outputs {
            if objects.is_empty() {
                continue;
            }
            let sink = if name == DEAD_LETTER_SINK {
                self.dead_letters.as_deref_mut()
            } else {
                self.sinks.iter_mut().find(|slot| slot.sink.name() == name).map(|slot| &mut *slot.sink)
            };
            // A sink that the pipeline no longer has keeps what it has; the change was accepted and journalled.
            if let Some(sink) = sink {
                fail_point!("commit::amid_publish");
                sink.publish(objects)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, epoch: u64, executed: &Executed) -> Result<()> {
        let chain = self.journal.chain().to_owned();
        self.apply_at(epoch, &chain, executed)
    }

    /// Applies an epoch's changes and marks the state with the epoch and the digest of its journal entry.
    pub(crate) fn apply_at(&mut self, epoch: u64, chain: &str, executed: &Executed) -> Result<()> {
        let changes = executed.changes.iter().flat_map(|(step, changes)| {
            changes.changes.iter().map(move |(key, table, value)| {
                (step.as_str(), *table, changes.keys.get(*key as usize), value.as_deref())
            })
        });
        self.state.apply(epoch, chain, changes)
    }
}
