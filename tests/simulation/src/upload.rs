//! The steps of a checkpoint: image, files, manifest, collection.

use crate::open::author;
use crate::planted::Planted;
use crate::store::{File, Manifest};
use crate::worker::{Phase, Upload, UploadStep};
use crate::world::World;
use segno_core::protocol::ownership::{Claim, Numbering, after_manifest, confirm};
use segno_core::protocol::retention::{needed, oldest_kept};
use segno_core::Code;

impl World {
    /// Whether a worker may start a checkpoint now.
    pub fn may_image(&self, w: usize) -> bool {
        let memory = &self.workers[w].memory;
        let between = match &memory.phase {
            Phase::Ready => true,
            // Before the sinks have the epoch.
            Phase::Commit { next: segno_core::protocol::ownership::Next::Publish, .. } => {
                self.has(Planted::CheckpointBeforeSinks)
            }
            _ => false,
        };
        let epoch = self.workers[w].disk.map_or(0, |state| state.epoch);
        between && memory.upload.is_none() && epoch > memory.checkpointed
    }

    pub(crate) fn image(&mut self, w: usize) {
        let Some(image) = self.workers[w].disk else { return };
        let memory = &mut self.workers[w].memory;
        memory.manifest += 1;
        let (sequence, position) = match memory.phase {
            Phase::Commit { span, .. } => (memory.sequence, span.to),
            _ => (memory.epoch_sequence, memory.position),
        };
        let mark = memory.mark;
        let first = if self.rules.planted == Some(Planted::ManifestBeforeFiles) { UploadStep::Manifest } else { UploadStep::Files };
        memory.upload = Some(Upload { image, sequence, position, mark, number: memory.manifest, step: first });
    }

    pub(crate) fn upload(&mut self, w: usize) {
        let Some(mut upload) = self.workers[w].memory.upload else { return };
        let ours = self.workers[w].memory.generation;
        let reversed = self.has(Planted::ManifestBeforeFiles);
        upload.step = match upload.step {
            UploadStep::Files => {
                self.store.files.insert(upload.image.chain, File { state: upload.image, old: false });
                if reversed { UploadStep::CollectManifests } else { UploadStep::Manifest }
            }
            UploadStep::Manifest => {
                let claim = match self.store.manifests.get(&upload.number) {
                    Some(theirs) => Claim::Theirs(author(theirs.generation)),
                    None => {
                        self.name(ours, &upload);
                        Claim::Ours
                    }
                };
                let strict = self.has(Planted::ManifestOfAnOlderOwnerStops) && claim != Claim::Ours;
                match after_manifest(&claim, ours) {
                    _ if strict => return self.stop(w, Code::OwnershipLost),
                    Ok(Numbering::Made) => UploadStep::Confirm,
                    Ok(Numbering::Follow) => {
                        upload.number += 1;
                        UploadStep::Manifest
                    }
                    Err(error) => return self.stop(w, error.code()),
                }
            }
            UploadStep::Confirm => {
                let current = if self.has(Planted::NoConfirm) { ours } else { self.store.generation };
                if let Err(error) = confirm(current, ours) {
                    return self.stop(w, error.code());
                }
                UploadStep::Hint
            }
            UploadStep::Hint => {
                self.store.manifest_hint = Some(upload.number);
                let memory = &mut self.workers[w].memory;
                (memory.manifest, memory.checkpointed) = (upload.number, upload.image.epoch);
                if reversed { UploadStep::Files } else { UploadStep::CollectManifests }
            }
            UploadStep::CollectManifests => {
                let Some(step) = self.collect_manifests() else {
                    self.workers[w].memory.upload = None;
                    return;
                };
                step
            }
            UploadStep::CollectJournal(needed) => {
                self.store.journal_hint = Some(needed.sequence_newest);
                self.store.journal.retain(|&sequence, _| sequence >= needed.sequence_first);
                self.workers[w].memory.upload = None;
                return;
            }
        };
        self.workers[w].memory.upload = Some(upload);
    }

    fn name(&mut self, generation: u64, upload: &Upload) {
        let mark = upload.mark.filter(|_| !self.has(Planted::NoMarksInManifest));
        let manifest = Manifest {
            number: upload.number,
            generation,
            epoch: upload.image.epoch,
            sequence: upload.sequence,
            chain: upload.image.chain,
            position: upload.position,
            mark,
        };
        self.store.manifests.insert(manifest.number, manifest);
    }

    fn collect_manifests(&mut self) -> Option<UploadStep> {
        let newest = self.store.newest_manifest();
        let oldest = oldest_kept(newest, self.rules.keep)?;
        let mut kept = Vec::new();
        for number in oldest..=newest {
            // A manifest that cannot be read names nothing: then nothing is collected.
            kept.push(*self.store.manifests.get(&number).filter(|_| !self.store.unreadable.contains(&number))?);
        }
        let sequences: Vec<(u64, u64)> = kept.iter().map(|manifest| (manifest.sequence, manifest.epoch)).collect();
        let mut needed = needed(&sequences)?;
        if self.has(Planted::RetentionTakesOldestEntry) {
            needed.sequence_first += 1;
        }
        self.store.manifest_hint = Some(newest);
        self.store.manifests.retain(|&number, _| number >= oldest);
        self.store.files.retain(|hash, file| !file.old || kept.iter().any(|manifest| manifest.chain == *hash));
        Some(UploadStep::CollectJournal(needed))
    }
}
