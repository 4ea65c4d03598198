//! Which shards a pipeline has: what its sources say now, and what its first start wrote down.
//!
//! Owns: the comparison of the two. Does not own: the object (`segno_durable::layout`), running shards (`several`).
//!
//! Invariants: a pipeline that was switched to another sharding, or whose topics have another number of partitions, stops
//! before anything is owned. Nothing starts over silently.

use super::load::Loaded;
use super::open::{folder, objects};
use super::sources::{open_one, same_size};
use segno_core::persisted::{LAYOUT_VERSION, Layout};
use segno_core::pipeline::{Pipeline, Sharding};
use segno_core::shard::ShardId;
use segno_core::source::TopicSize;
use segno_core::{Code, Error, Result};
use segno_durable::{generation, journal, layout};

/// The shards that the sources ask for. With `by_partition` all topics must have the same number of partitions.
pub fn wanted(loaded: &Loaded) -> Result<Vec<ShardId>> {
    let pipeline = &loaded.pipeline;
    if pipeline.sharding == Sharding::One {
        return Ok(vec![ShardId::Single]);
    }
    let mut topics: Vec<TopicSize> = Vec::new();
    for number in 0..pipeline.sources.len() {
        topics.extend(open_one(&pipeline.source(number))?.topics()?);
    }
    let Some(first) = topics.first() else { return Ok(Vec::new()) };
    if let Some(other) = topics.iter().find(|topic| topic.partitions != first.partitions) {
        return Err(Error::new(
            Code::PartitionsDiffer,
            format!(
                "\"{}\" has {} partitions and \"{}\" has {}: no shard could have the same one of both",
                first.name, first.partitions, other.name, other.partitions
            ),
        )
        .with_help("write one of them again into a topic with as many partitions, or use sharding: one"));
    }
    Ok(ShardId::partitions(first.partitions).collect())
}

/// The shards that the store knows, without asking any source.
pub fn known(pipeline: &Pipeline) -> Result<Vec<ShardId>> {
    if pipeline.sharding == Sharding::One {
        return Ok(vec![ShardId::Single]);
    }
    let objects = folder(pipeline, layout::FOLDER)?;
    let found = layout::read(&objects)?.ok_or_else(|| {
        Error::new(Code::NothingToReplay, format!("{} holds nothing of \"{}\"", objects.url(), pipeline.name))
            .with_help("run the pipeline first; or check checkpoint.store, name and tenant")
    })?;
    match found.shards {
        Some(shards) => Ok(ShardId::partitions(shards).collect()),
        None => Err(switched(pipeline, found.sharding)),
    }
}

/// Those of the known shards that a command is about.
pub fn chosen(pipeline: &Pipeline, number: Option<u32>) -> Result<Vec<ShardId>> {
    let known = known(pipeline)?;
    let Some(number) = number else { return Ok(known) };
    match known.iter().find(|shard| shard.number() == Some(number)) {
        Some(shard) => Ok(vec![*shard]),
        None => {
            let there = match known.as_slice() {
                [ShardId::Single] => "it has a single one, which needs no --shard".to_owned(),
                shards => format!("its shards are 0 to {}", shards.len().saturating_sub(1)),
            };
            Err(Error::new(Code::UnknownShard, format!("there is no shard {number}")).with_help(there))
        }
    }
}

/// Writes down how the pipeline is divided, or compares it with what was written down. At every start of a shard, before
/// it is owned.
pub fn agree(pipeline: &Pipeline, shard: ShardId, writer: &str) -> Result<()> {
    let shards = match shard {
        ShardId::Single => None,
        ShardId::Partition { of, .. } => Some(of),
    };
    let objects_of_pipeline = folder(pipeline, layout::FOLDER)?;
    let found = match layout::read(&objects_of_pipeline)? {
        Some(found) => found,
        None => {
            // A history from before there were layouts.
            if shards.is_some() && generation::current(&objects(pipeline, ShardId::Single)?)? > 0 {
                return Err(switched(pipeline, Sharding::One));
            }
            let (writer, nonce) = (writer.to_owned(), journal::nonce());
            let ours = Layout { version: LAYOUT_VERSION, sharding: pipeline.sharding, shards, writer, nonce };
            layout::claim(&objects_of_pipeline, &ours)?
        }
    };
    if found.sharding != pipeline.sharding {
        return Err(switched(pipeline, found.sharding));
    }
    match (found.shards, shards) {
        (Some(before), Some(now)) if before != now => {
            same_size(&[TopicSize { name: format!("the input of {}", pipeline.name), partitions: now }], before)
        }
        _ => Ok(()),
    }
}

fn switched(pipeline: &Pipeline, before: Sharding) -> Error {
    let word = |sharding| match sharding {
        Sharding::One => "one",
        Sharding::ByPartition => "by_partition",
    };
    let (before, now) = (word(before), word(pipeline.sharding));
    Error::new(
        Code::ShardingChanged,
        format!("\"{}\" ran with sharding: {before}, and the file says {now}", pipeline.name),
    )
    .with_help(format!("write sharding: {before}, or run it under another name"))
    .with_place(pipeline.place("sharding"))
}
