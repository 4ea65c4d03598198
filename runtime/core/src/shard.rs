//! Which part of the input a shard has, and its name.
//!
//! Owns: the names, which are part of every object key, transactional id and file name, and therefore never change.
//! Does not own: how many shards a pipeline has (its sources say, and `persisted::Layout` keeps it).

use std::fmt;

/// The shard of `sharding: one`: all of the input.
const SINGLE: &str = "single";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardId {
    Single,
    /// Partition `number` of every topic, of `of` partitions.
    Partition {
        number: u32,
        of: u32,
    },
}

impl ShardId {
    /// The shards of `sharding: by_partition`.
    pub fn partitions(of: u32) -> impl Iterator<Item = ShardId> {
        (0..of).map(move |number| ShardId::Partition { number, of })
    }

    pub fn number(self) -> Option<u32> {
        match self {
            ShardId::Single => None,
            ShardId::Partition { number, .. } => Some(number),
        }
    }

    pub fn name(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardId::Single => f.write_str(SINGLE),
            ShardId::Partition { number, .. } => write!(f, "{number}"),
        }
    }
}
