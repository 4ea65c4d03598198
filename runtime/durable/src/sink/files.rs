//! A folder of files, one for each epoch that has rows.
//!
//! Owns: staging under unique names in `.segno-staging`, publication by rename under names that follow from
//! (sink, shard, epoch), and a file beside what is staged that says whose those names are.
//! Invariants: a reader of the folder sees whole files only. What `stage` and `publish` have returned survives a power
//! failure. Publishing twice is the same as once. What a newer generation staged is never removed: a process that slept in
//! its recovery may wake after another took over. Two pipelines never write the same names: their epochs have the same
//! numbers, so one would overwrite the other's rows.

use super::write_rows;
use crate::synced;
use segno_core::persisted::StagedObject;
use segno_core::pipeline::SinkFormat;
use segno_core::sink::{Held, Ownership, Sink, SinkRows};
use segno_core::{Code, Error, Result};
use crate::journal::{nonce, sha256_hex};
use std::path::{Path, PathBuf};

const STAGING: &str = ".segno-staging";

pub struct Files {
    name: String,
    shard: String,
    folder: PathBuf,
    format: SinkFormat,
    /// Whose staged files are whose; 0 before the sink is taken over.
    generation: u64,
}

impl Files {
    /// Checks that the folder can be written.
    pub fn open(name: &str, shard: &str, folder: &Path, format: SinkFormat) -> Result<Files> {
        let (name, shard) = (name.to_owned(), shard.to_owned());
        let sink = Files { name, shard, folder: folder.to_owned(), format, generation: 0 };
        let staging = sink.staging();
        let probe = staging.join(format!("probe-{}", nonce()));
        synced::create_folder(&staging)
            .and_then(|()| std::fs::write(&probe, b"segno"))
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|error| {
                Error::new(Code::SinkUnwritable, format!("sink \"{}\" cannot write to {}", sink.name, folder.display()))
                    .with_cause(error)
                    .with_help("create the folder, or name one that this user may write")
            })?;
        Ok(sink)
    }

    fn staging(&self) -> PathBuf {
        self.folder.join(STAGING)
    }

    /// Makes the names of this sink and shard the owner's, unless another pipeline has them.
    fn claim(&self, owner: &Ownership) -> Result<()> {
        let path = self.staging().join(format!("{}-{}.owner", self.name, self.shard));
        let ours = format!("{}/{}\n", owner.tenant, owner.pipeline);
        let whole = self.staging().join(format!("owner-{}", nonce()));
        // Linked, not written in place: whoever finds the file finds all of it.
        let linked = synced::write(&whole, ours.as_bytes()).and_then(|()| std::fs::hard_link(&whole, &path));
        let _ = std::fs::remove_file(&whole);
        let linked = linked.and_then(|()| synced::names(&self.staging()));
        match linked {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let found = std::fs::read_to_string(&path).map_err(|error| self.failed("reading", &path, &error))?;
                if found == ours {
                    return Ok(());
                }
                let message = format!(
                    "sink \"{}\": pipeline {} writes files of the same names to {}",
                    self.name,
                    found.trim_end(),
                    self.folder.display()
                );
                Err(Error::new(Code::OutputOwned, message).with_help(format!(
                    "give this pipeline a folder of its own, or its sink another name; if the other one's files are no longer \
                     wanted, remove them and {}",
                    path.display()
                )))
            }
            Err(error) => Err(self.failed("writing", &path, &error)),
        }
    }

    fn failed(&self, what: &str, path: &Path, error: &std::io::Error) -> Error {
        let code = if error.kind() == std::io::ErrorKind::StorageFull { Code::DiskFull } else { Code::SinkFailed };
        Error::new(code, format!("sink \"{}\": {what} {} failed", self.name, path.display()))
            .with_cause(error)
            .with_help("nothing is lost: the epoch is executed again when the sink can be written")
    }
}

/// The generation that staged a file; 0 for names without one.
fn staged_by(name: &str) -> u64 {
    name.rsplit_once('.').and_then(|(_, unique)| unique.split_once('-')?.0.parse().ok()).unwrap_or(0)
}

impl Sink for Files {
    fn name(&self) -> &str {
        &self.name
    }

    fn exactly_once(&self) -> bool {
        true
    }

    fn take_over(&mut self, owner: &Ownership) -> Result<Held> {
        self.claim(owner)?;
        self.generation = owner.generation;
        Ok(Held::AsStaged)
    }

    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        if rows.batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let bytes = write_rows(self.format, rows.schema, rows.batch)?;
        let extension = match self.format {
            SinkFormat::Json => "jsonl",
            SinkFormat::Csv => "csv",
            SinkFormat::Raw | SinkFormat::Rows => "raw",
        };
        let target = format!("{}-{}-{:012}.{extension}", self.name, self.shard, rows.epoch);
        let staged = format!("{STAGING}/{target}.{:06}-{}", self.generation, nonce());
        let path = self.folder.join(&staged);
        // The journal names it next: a power failure must not take what the journal has.
        let written = synced::write(&path, &bytes).and_then(|()| synced::names(&self.staging()));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&path);
            return Err(self.failed("writing", &path, &error));
        }
        Ok(vec![StagedObject {
            staged,
            target,
            sha256: sha256_hex(&bytes),
            bytes: bytes.len() as u64,
            rows: rows.batch.num_rows() as u64,
        }])
    }

    fn publish(&mut self, _rows: &SinkRows<'_>, staged: &[StagedObject]) -> Result<()> {
        for object in staged {
            let (from, to) = (self.folder.join(&object.staged), self.folder.join(&object.target));
            match std::fs::rename(&from, &to) {
                Ok(()) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed("publishing", &to, &error)),
            }
            // Published before, or gone.
            let found = std::fs::read(&to).map(|bytes| sha256_hex(&bytes));
            if found.as_ref().ok() != Some(&object.sha256) {
                return Err(Error::new(
                    Code::OutputLost,
                    format!(
                        "sink \"{}\": the journal says that {} was written, but it is neither staged nor published as it was",
                        self.name,
                        to.display()
                    ),
                )
                .with_help("somebody changed the output folder; restore the file, or replay the epoch into a new folder"));
            }
        }
        match staged.is_empty() {
            true => Ok(()),
            // Also where a process before this one renamed them: it may have been killed before it came here.
            false => synced::names(&self.folder).map_err(|error| self.failed("syncing", &self.folder, &error)),
        }
    }

    fn discard_uncommitted(&mut self) -> Result<()> {
        let staging = self.staging();
        let prefix = format!("{}-{}-", self.name, self.shard);
        let entries = std::fs::read_dir(&staging).map_err(|error| self.failed("reading", &staging, &error))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && staged_by(&name) < self.generation {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn read_back(&self, object: &StagedObject) -> Result<Option<Vec<u8>>> {
        Ok(std::fs::read(self.folder.join(&object.target)).ok())
    }
}
