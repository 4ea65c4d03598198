//! Opening the sources of a plan for one shard, with names that do not depend on where the process runs.
//!
//! Owns: the map between a path as it is opened and a partition's name as it is journalled; which partitions a shard sees,
//! and that their number stays what it was.
//! Invariant: a partition's name is its path relative to the pipeline file's folder, where it lies below it; so the
//! journal and the dead letters stay the same when the folder is moved.

use super::plan::Plan;
use crate::shard::plan::TimeRules;
use segno_core::pipeline::{Pipeline, rooted};
use segno_core::shard::ShardId;
use segno_core::source::{FormatSpec, KafkaSpec, Partition, PartitionReader, ReadPlan, Source, SourceSpec, TimeColumn, TopicSize};
use segno_core::{Code, Error, Result};
use std::sync::Arc;

struct Rooted {
    inner: Box<dyn Source>,
    /// Ends with a separator; empty when the pipeline file has no folder.
    folder: String,
    shard: ShardId,
}

impl Source for Rooted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        let mut partitions = self.inner.partitions()?;
        if let ShardId::Partition { number, of } = self.shard {
            same_size(&self.inner.topics()?, of)?;
            partitions.retain(|partition| partition.in_topic == number);
        }
        for partition in &mut partitions {
            if let Some(relative) = partition.name.strip_prefix(&self.folder) {
                partition.name = relative.to_owned();
            }
        }
        Ok(partitions)
    }

    fn names(&self, partition: &str) -> bool {
        self.inner.names(partition)
    }

    fn topics(&self) -> Result<Vec<TopicSize>> {
        self.inner.topics()
    }

    fn first_offset(&self, partition: u32, later: bool) -> Result<u64> {
        self.inner.first_offset(partition, later)
    }

    fn first_left(&self, partition: u32) -> Result<Option<u64>> {
        self.inner.first_left(partition)
    }

    fn open(
        &self,
        partition: u32,
        offset: u64,
        mark: Option<u64>,
        plan: &ReadPlan,
    ) -> Result<Box<dyn PartitionReader>> {
        self.inner.open(partition, offset, mark, plan)
    }

    fn mark(&self, partition: u32, offset: u64) -> Result<u64> {
        self.inner.mark(partition, offset)
    }

    fn end(&self, partition: u32) -> Option<u64> {
        self.inner.end(partition)
    }

    fn advise(&self, positions: &[(u32, u64)]) {
        self.inner.advise(positions);
    }

    fn release(&self, needed: &[(u32, u64)]) {
        self.inner.release(needed);
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }
}

/// A partition more or less moves keys from one shard to another.
pub fn same_size(topics: &[TopicSize], of: u32) -> Result<()> {
    match topics.iter().find(|topic| topic.partitions != of) {
        None => Ok(()),
        Some(TopicSize { name, partitions }) => Err(Error::new(
            Code::PartitionsChanged,
            format!("\"{name}\" has {partitions} partitions; the shards of this pipeline are of {of}"),
        )
        .with_help("keys have moved between partitions and their state has not; `segno explain S016` says how to go on")),
    }
}

/// Opens every source of a plan as a shard sees it; paths are relative to the pipeline file.
pub fn open(pipeline: &Pipeline, plan: &Plan, shard: ShardId) -> Result<Vec<Arc<dyn Source>>> {
    let folder = match pipeline.file.parent().map(|folder| folder.to_string_lossy().into_owned()) {
        Some(folder) if !folder.is_empty() => format!("{}/", folder.trim_end_matches('/')),
        _ => String::new(),
    };
    plan.sources
        .iter()
        .map(|source| {
            let inner = match &source.spec {
                SourceSpec::Kafka(kafka) => open_one(&SourceSpec::Kafka(reachable(pipeline, kafka)?))?,
                spec => open_one(&rooted(&pipeline.file, spec))?,
            };
            Ok(Arc::new(Rooted { inner, folder: folder.clone(), shard }) as Arc<dyn Source>)
        })
        .collect()
}

/// Opens one source, its paths being those of the process.
pub fn open_one(spec: &SourceSpec) -> Result<Box<dyn Source>> {
    match spec {
        SourceSpec::Kafka(kafka) => Ok(Box::new(segno_kafka::KafkaSource::open(kafka)?)),
        spec => segno_input::source::open_source(spec),
    }
}

/// How to reach a cluster is not archived: it is taken from the pipeline file as it is now.
fn reachable(pipeline: &Pipeline, kafka: &KafkaSpec) -> Result<KafkaSpec> {
    let now = pipeline.sources.iter().find_map(|source| match &source.spec {
        SourceSpec::Kafka(now) if now.name == kafka.name => Some(now),
        _ => None,
    });
    let now = now.ok_or_else(|| {
        Error::new(Code::SourceMissing, format!("epochs of source \"{}\" must be read again, and the pipeline file has no such source", kafka.name))
            .with_help("put the source back until a checkpoint was made without it")
    })?;
    Ok(KafkaSpec {
        connection: now.connection.clone(),
        start: now.start.clone(),
        group: now.group.clone(),
        until_latest: now.until_latest,
        trim_after: now.trim_after,
        ..kafka.clone()
    })
}

/// Whether it is the topic of a repartition step.
fn is_of_rows(spec: &SourceSpec) -> bool {
    matches!(spec, SourceSpec::Kafka(kafka) if matches!(kafka.format, FormatSpec::Rows { .. }))
}

/// The event-time rules of a plan. Idleness, and telling it, are decided live only, so they come from the pipeline file.
pub fn time_rules(pipeline: &Pipeline, plan: &Plan) -> TimeRules {
    let times = || plan.sources.iter().filter_map(|source| source.time.as_ref());
    TimeRules {
        by_event_time: times().any(|time| !time.is_processing_time()),
        processing_time: times().any(TimeColumn::is_processing_time),
        watermark_delay_us: plan.sources.iter().map(|source| source.watermark_delay_us).max().unwrap_or(0),
        idle_timeout: pipeline.sources.iter().filter_map(|source| source.idle_timeout).min(),
        ends: plan.graph.has_timers(),
        announced: plan.sources.iter().any(|source| is_of_rows(&source.spec)),
        announces: pipeline.sinks.iter().any(|sink| sink.kind.announces()),
    }
}
