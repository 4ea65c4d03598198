//! Collection: what no kept checkpoint needs is removed.
//!
//! Owns: removing checkpoints and journal entries. Does not own: what is kept (`segno_core::protocol::retention`), the
//! archive (`archived`).
//!
//! Invariants: nothing goes that a kept manifest names, and nothing that may belong to an upload under way. Ages are by
//! the store's time: this machine's clock decides nothing.

use crate::checkpoint::{file_name, newest, read};
use crate::store::Objects;
use bytes::Bytes;
use segno_core::Result;
use segno_core::persisted::Position;
use segno_core::protocol::retention::{Needed, is_of_no_upload, needed, oldest_kept};
use std::collections::BTreeSet;
use std::time::SystemTime;

/// What was kept.
pub(crate) struct Kept {
    pub needed: Needed,
    /// Where the oldest checkpoint has read to: nothing before it is read again.
    pub position: Position,
    /// Plans of the checkpoints.
    pub plans: BTreeSet<String>,
    /// When the store says that something was written a moment ago.
    pub just_written: Option<SystemTime>,
}

/// Keeps the newest `keep` checkpoints, the journal back to the oldest of them, and what they name. `None`: everything.
pub(crate) fn collect(objects: &Objects, keep: u32) -> Result<Option<Kept>> {
    let newest = newest(objects)?;
    let Some(oldest) = oldest_kept(newest, keep) else { return Ok(None) };
    // A manifest that cannot be read names nothing: then nothing is collected.
    let mut named = BTreeSet::new();
    let mut kept = Vec::new();
    let mut plans = BTreeSet::new();
    // By epoch: an owner that slept may have written the newest manifest, about an older one.
    let mut oldest_read: Option<(u64, Position)> = None;
    for number in oldest..=newest {
        let Ok(Some(manifest)) = read(objects, number) else { return Ok(None) };
        kept.push((manifest.sequence, manifest.epoch));
        plans.insert(manifest.identity.configuration);
        if oldest_read.as_ref().is_none_or(|(epoch, _)| manifest.epoch < *epoch) {
            oldest_read = Some((manifest.epoch, manifest.position));
        }
        named.extend(manifest.files.into_iter().map(|file| file.sha256));
    }
    let (Some(needed), Some((_, position))) = (needed(&kept), oldest_read) else { return Ok(None) };
    crate::fail_point!("checkpoint::amid_collection");
    // The hint must not stay at a number that goes: the owner that made the newest one may have died before it left one.
    objects.put("manifest-hint", Bytes::from(newest.to_string()))?;
    let just_written = objects.written("manifest-hint")?;
    // Manifests go first: a manifest must never name a file that is gone.
    for (name, _) in objects.list("manifest")? {
        if name.parse().is_ok_and(|number: u64| number < oldest) {
            objects.delete(&format!("manifest/{name}"))?;
        }
    }
    for name in of_no_upload(objects, "files", just_written)? {
        if !named.contains(&name) {
            objects.delete(&file_name(&name))?;
        }
    }
    // The hint must not name an entry that goes.
    objects.put("journal-hint", Bytes::from(needed.sequence_newest.to_string()))?;
    for (folder, first) in [("journal", needed.sequence_first), ("detail", needed.epoch_first)] {
        for (name, _) in objects.list(folder)? {
            let number = name.split('-').next().and_then(|number| number.parse::<u64>().ok());
            if number.is_some_and(|number| number < first) {
                objects.delete(&format!("{folder}/{name}"))?;
            }
        }
    }
    Ok(Some(Kept { needed, position, plans, just_written }))
}

/// Names in a folder of content-addressed objects that belong to no upload under way.
pub(crate) fn of_no_upload(objects: &Objects, folder: &str, just_written: Option<SystemTime>) -> Result<Vec<String>> {
    let listed = objects.list(folder)?;
    // The time of the store, unless its clock has just been set forward: then the youngest object's.
    let now = listed.iter().map(|(_, written)| *written).max().into_iter().chain(just_written).min();
    let Some(now) = now else { return Ok(Vec::new()) };
    Ok(listed.into_iter().filter(|(_, written)| is_of_no_upload(*written, now)).map(|(name, _)| name).collect())
}
