//! How the input of a pipeline is divided among shards: decided by the first start, and never changed.

use crate::pipeline::Sharding;
use serde::{Deserialize, Serialize};

pub const LAYOUT_VERSION: u32 = 1;

/// `layout`: one for each pipeline, beside its shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub version: u32,
    pub sharding: Sharding,
    /// With `by_partition`: the number of shards, which is that of the partitions of every topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// Who decided it. The nonce makes equal layouts of two processes different objects.
    pub writer: String,
    pub nonce: String,
}
