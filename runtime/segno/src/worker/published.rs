//! Published files beside the journal: whether they are still what was written.
//!
//! Owns: the comparison of the files of a folder with the hashes that the journal has. Does not own: executing again
//! (`replay`), other sinks, whose rows are read back by their own tools.
//!
//! Invariant: reads only. A file that is gone is counted and no mistake: whoever reads a folder may remove what was read.

use segno_core::persisted::EpochRecord;
use segno_core::pipeline::{Pipeline, SinkKind};
use segno_durable::journal::sha256_hex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// What became of published files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    pub intact: u64,
    pub gone: u64,
    /// Files that are there and have other bytes, or cannot be read.
    pub changed: Vec<Changed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub epoch: u64,
    pub file: PathBuf,
    /// SHA-256 in the journal.
    pub written: String,
    /// SHA-256 of what is there, or why it cannot be read.
    pub found: String,
}

/// The folders of a pipeline's sinks, by sink.
pub struct Folders(BTreeMap<String, PathBuf>);

impl Folders {
    pub fn of(pipeline: &Pipeline) -> Folders {
        let sinks = pipeline.sinks.iter().chain(&pipeline.dlq);
        let folder = |kind: &SinkKind| match kind {
            SinkKind::Files { path, .. } => Some(pipeline.path(path)),
            _ => None,
        };
        Folders(sinks.filter_map(|sink| Some((sink.name.clone(), folder(&sink.kind)?))).collect())
    }

    /// Compares what an epoch published.
    pub fn compare(&self, record: &EpochRecord, published: &mut Published) {
        for (sink, objects) in &record.outputs {
            let Some(folder) = self.0.get(sink) else { continue };
            for object in objects {
                let file = folder.join(&object.target);
                let found = match std::fs::read(&file) {
                    Ok(bytes) => sha256_hex(&bytes),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        published.gone += 1;
                        continue;
                    }
                    Err(error) => error.to_string(),
                };
                if found == object.sha256 {
                    published.intact += 1;
                } else {
                    published.changed.push(Changed { epoch: record.epoch, file, written: object.sha256.clone(), found });
                }
            }
        }
    }
}
