//! `sharding` and `worker` of a pipeline file.
//!
//! Owns: which sources can be divided among shards. Does not own: whether a key stays in its partition (`graph`), how
//! many partitions there are (the sources say when they are opened).

use crate::Code;
use crate::pipeline::fields::{Fields, Reader};
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use crate::source::{Partitioner, SourceSpec};
use std::time::Duration;

/// Whatever the file says: below, a busy machine looks dead; above, brokers refuse.
const SESSION_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(1_800);

impl Reader {
    pub(super) fn sharding(&mut self, fields: &Fields<'_>) -> Option<Sharding> {
        match fields.get("sharding") {
            Some(node) => {
                self.choice(node, "sharding", &[("one", Sharding::One), ("by_partition", Sharding::ByPartition)])
            }
            None => Some(Sharding::One),
        }
    }

    pub(super) fn worker(&mut self, fields: &Fields<'_>) -> Option<WorkerSpec> {
        let mut worker = WorkerSpec::default();
        let Some(node) = fields.get("worker") else { return Some(worker) };
        let fields = self.fields(node, "worker", &shape::WORKER.names())?;
        if let Some(node) = fields.get("session_timeout") {
            worker.session_timeout = self.duration(node, "worker.session_timeout")?;
            if !SESSION_TIMEOUT.contains(&worker.session_timeout) {
                return self.invalid(
                    &node.span,
                    "worker.session_timeout is from 1s to 30m",
                    "leave it out for 10s; brokers have limits of their own",
                );
            }
        }
        Some(worker)
    }

    /// Says what `by_partition` needs of the sources; `keyed`: some step keeps state by key.
    pub(super) fn divide(&mut self, fields: &Fields<'_>, sources: &mut [SourceBlock], keyed: bool) {
        let span = fields.get("sharding").map_or(fields.span(), |node| node.span.clone());
        let topics = sources.iter().all(|source| matches!(source.spec, SourceSpec::Kafka(_)));
        // Partition n of one source belongs with partition n of another one where a partitioner says so: files have none.
        if !topics && sources.len() > 1 {
            self.error(
                Code::ShardingUnfit,
                &span,
                "several sources can be divided among shards only when all of them are topics",
                "read the files with one glob, as in files: in-*.jsonl, or write sharding: one",
            );
        }
        if !keyed {
            return;
        }
        let mut unchecked = !topics;
        for source in sources {
            if let SourceSpec::Kafka(kafka) = &mut source.spec {
                kafka.check_keys = kafka.partitioner == Partitioner::Murmur2;
                unchecked |= !kafka.check_keys;
            }
        }
        if unchecked {
            self.warn(
                Code::KeysUnchecked,
                &span,
                "state is kept by shard, and nothing checks that a key stays in its partition",
                "make sure that whoever writes the input keeps a key together",
            );
        }
    }
}
