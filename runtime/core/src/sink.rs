//! The contract of a sink: an epoch's rows are staged, the journal names what was staged, then it is published.
//!
//! Owns: what the epoch loop may ask of a sink.
//! Does not own: files, object stores (`segno-durable`), databases.
//!
//! Invariants: nothing staged is visible to a reader before `publish`. `publish` is idempotent, so recovery may
//! roll it forward any number of times. Names of published objects are a function of (sink, shard, epoch).

use crate::Result;
use crate::columns::Schema;
use crate::persisted::StagedObject;
use arrow_array::RecordBatch;

/// The rows of one epoch for one sink, in their final order.
pub struct SinkRows<'a> {
    pub epoch: u64,
    pub schema: &'a Schema,
    pub batch: &'a RecordBatch,
}

pub trait Sink: Send {
    /// Its name in journal and metrics: unique in the pipeline.
    fn name(&self) -> &str;

    /// False for sinks that may repeat rows after a crash (stdout).
    fn exactly_once(&self) -> bool;

    /// Makes the rows durable under unique names that no reader sees. Empty when there is nothing to publish.
    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>>;

    /// Makes staged objects visible under their final names; at recovery called again for epochs whose record is in
    /// the journal.
    fn publish(&mut self, staged: &[StagedObject]) -> Result<()>;

    /// Removes what was staged by epochs that were never committed. Called after recovery, when this process owns
    /// the shard.
    fn discard_uncommitted(&mut self) -> Result<()>;

    /// The published bytes of an object, where the sink can be read back (`replay --verify` names fields with it).
    fn read_back(&self, _object: &StagedObject) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
