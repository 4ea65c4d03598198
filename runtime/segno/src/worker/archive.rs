//! The archive: plans, components and init messages by SHA-256, so that an old epoch can be executed as it was.
//!
//! Owns: writing what a run needs before its first epoch, and building the programs of old identities.
//! Invariant: an object in the archive has the hash that is its name, or it is refused.

use super::load::Blobs;
use super::plan::{Archive, Plan, sha256_hex};
use crate::shard::program::Program;
use bytes::Bytes;
use segno_core::persisted::Identity;
use segno_core::{Code, Error, Result};
use segno_durable::store::Objects;
use segno_plugin::Engine;
use std::collections::BTreeMap;
use std::sync::Arc;

struct StoredArchive<'a>(&'a Objects);

fn name(sha256: &str) -> String {
    format!("archive/{sha256}")
}

impl Archive for StoredArchive<'_> {
    fn read(&self, sha256: &str) -> Result<Vec<u8>> {
        let gone = |why: &str| {
            Error::new(Code::ArchiveDamaged, format!("{} in {} {why}", name(sha256), self.0.url()))
                .with_help("restore the object from the bucket's versions: without it, epochs of that version cannot be executed again")
        };
        let bytes = self.0.get(&name(sha256))?.ok_or_else(|| gone("is not there"))?;
        if sha256_hex(&bytes) != sha256 {
            return Err(gone("does not have the hash in its name"));
        }
        Ok(bytes.to_vec())
    }
}

/// What a loaded pipeline brings along: nothing is read back for it.
impl Archive for Blobs {
    fn read(&self, sha256: &str) -> Result<Vec<u8>> {
        self.get(sha256)
            .map(|bytes| bytes.to_vec())
            .ok_or_else(|| Error::new(Code::Internal, format!("the plan names {sha256}, which was not loaded")))
    }
}

/// Writes the plan and everything that it names, unless it is there.
pub fn put(objects: &Objects, plan: &Plan, blobs: &Blobs) -> Result<()> {
    let plan = plan.to_bytes()?;
    let plan = (sha256_hex(&plan), Arc::new(plan));
    for (sha256, bytes) in blobs.iter().map(|(sha256, bytes)| (sha256.clone(), Arc::clone(bytes))).chain([plan]) {
        if objects.head(&name(&sha256))? != Some(bytes.len() as u64) {
            objects.put(&name(&sha256), Bytes::from(bytes.to_vec()))?;
        }
    }
    Ok(())
}

/// Reads an archived object; it is there and has the hash that is its name, or this is an error.
pub fn read(objects: &Objects, sha256: &str) -> Result<Vec<u8>> {
    StoredArchive(objects).read(sha256)
}

/// A plan with its program.
pub struct Version {
    pub plan: Plan,
    pub program: Arc<Program>,
}

/// The programs of every identity that the journal names.
pub struct Versions<'a> {
    engine: &'a Engine,
    objects: &'a Objects,
    known: BTreeMap<String, Arc<Version>>,
}

impl<'a> Versions<'a> {
    pub fn new(engine: &'a Engine, objects: &'a Objects) -> Versions<'a> {
        Versions { engine, objects, known: BTreeMap::new() }
    }

    /// Makes a version known that need not be read from the archive.
    pub fn add(&mut self, plan: &Plan, program: Arc<Program>) {
        let version = Version { plan: plan.clone(), program: Arc::clone(&program) };
        self.known.insert(program.identity.configuration.clone(), Arc::new(version));
    }

    pub fn get(&mut self, identity: &Identity) -> Result<Arc<Version>> {
        if let Some(version) = self.known.get(&identity.configuration) {
            return Ok(Arc::clone(version));
        }
        let archive = StoredArchive(self.objects);
        let plan = Plan::from_bytes(&archive.read(&identity.configuration)?)?;
        let program = Arc::new(plan.program(self.engine, &archive)?);
        let version = Arc::new(Version { plan, program });
        self.known.insert(identity.configuration.clone(), Arc::clone(&version));
        Ok(version)
    }
}
