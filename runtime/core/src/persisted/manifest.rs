//! Checkpoint manifests and generations: the authority objects beside the journal.

use super::{Author, Identity, Position};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of manifests and generations.
pub const MANIFEST_VERSION: u32 = 1;

/// `generation-NNNNNN`: who owns the shard from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub version: u32,
    pub author: Author,
    /// What holds the journal: its kind and prefix. A journal with another identity is refused.
    pub journal: String,
}

/// `manifest-NNNNNN`: the state after an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    /// Number of the manifest, from 1, without gaps.
    pub number: u64,
    pub author: Author,
    /// The state is the state after this epoch.
    pub epoch: u64,
    /// Sequence of the journal entry of that epoch, and the digest of its bytes.
    pub sequence: u64,
    pub chain: String,
    pub position: Position,
    pub watermark: Option<i64>,
    pub identity: Identity,
    /// Digest over all state in key order: BLAKE3, hex. Absent where it was not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_digest: Option<String>,
    /// For each sink that keeps its own mark: the last epoch with rows for it that it held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, u64>,
    pub files: Vec<ManifestFile>,
    /// When it was written, ms since 1970 UTC. For people and retention; decides no output.
    pub written_at_ms: i64,
    /// Estimated time that re-execution from the checkpoint before would have taken, ms.
    pub replay_debt_ms: u64,
}

/// A content-addressed file of the state store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Name inside the state folder.
    pub name: String,
    pub sha256: String,
    pub bytes: u64,
}
