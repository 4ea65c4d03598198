//! Checkpoints: an image of the state, uploaded file by file under content hashes, named by a manifest.
//!
//! Owns: making, verifying and restoring checkpoints.
//! Does not own: when one is due (`segno_core::protocol::cadence`), which one recovery uses (`protocol::recovery`), what
//! is kept (`collection`).
//!
//! Invariants: a manifest is created after every file that it names. Files are never overwritten with other bytes.

use crate::archived::Archived;
use crate::collection::collect;
use crate::generation;
use crate::hashes::Hashes;
use crate::journal::{self, nonce, sha256_hex};
use crate::state::StateStore;
use crate::store::{Created, Objects};
use bytes::Bytes;
use segno_core::persisted::{Author, Identity, MANIFEST_VERSION, Manifest, ManifestFile, Position};
use segno_core::protocol::end;
use segno_core::protocol::ownership::{self, Claim, Numbering};
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use crate::archived::NamedByPlan;

/// Newest manifests that the journal's end is compared with: one owner that slept leaves one.
const MANIFESTS_COMPARED: u64 = 3;

/// Files that are fetched at the same time: hides the store's latency, and hashes on several cores.
const RESTORE_THREADS: usize = 4;

/// How far the upload thread stands back on a busy machine (0: not at all, 19: as far as possible).
const UPLOAD_NICENESS: i32 = 10;

/// What a manifest says beside its files.
#[derive(Clone, Debug)]
pub struct CheckpointMeta {
    pub epoch: u64,
    pub sequence: u64,
    pub chain: String,
    pub position: Position,
    pub watermark: Option<i64>,
    pub identity: Identity,
    /// `Manifest::marks`.
    pub marks: BTreeMap<String, u64>,
    pub written_at_ms: i64,
    pub replay_debt_ms: u64,
}

/// The checkpoints of a shard that this process owns.
pub struct Checkpoints {
    objects: Objects,
    author: Author,
    /// Folder for images that are being uploaded; emptied at start. Hashes of their files are beside it.
    scratch: PathBuf,
    hashes: Arc<Mutex<Hashes>>,
    /// `None`: the archive is left as it is.
    archived: Option<Arc<Mutex<Archived>>>,
}

/// A checkpoint that was published.
#[derive(Debug)]
pub struct Published {
    pub manifest: Manifest,
    /// Where the oldest checkpoint that is kept has read to, if older ones were collected.
    pub oldest: Option<Position>,
}

/// A checkpoint on its way.
pub struct Upload {
    thread: Option<JoinHandle<Result<Published>>>,
}

impl Upload {
    /// `None` while it is not finished.
    pub fn poll(&mut self) -> Result<Option<Published>> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(None);
        }
        self.join().map(Some)
    }

    pub fn wait(mut self) -> Result<Published> {
        self.join()
    }

    fn join(&mut self) -> Result<Published> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::new(Code::Internal, "the checkpoint thread ended without a result")),
        }
    }
}

pub(crate) fn manifest_name(number: u64) -> String {
    format!("manifest/{number:06}")
}

pub(crate) fn file_name(sha256: &str) -> String {
    format!("files/{sha256}")
}

pub(crate) fn io(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(Code::StateUnwritable, format!("{what} {} failed", path.display())).with_cause(error)
}

/// Number of the newest manifest, found by probing upwards; 0 when there is none.
pub fn newest(objects: &Objects) -> Result<u64> {
    let hint = objects.get("manifest-hint")?;
    let hint: Option<u64> = hint.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
    let listed = objects.list("manifest")?.iter().filter_map(|(name, _)| name.parse().ok()).max().unwrap_or(0);
    end::newest(hint, listed, |number| Ok(objects.head(&manifest_name(number))?.is_some()))
}

/// Sequence of the journal's last entry, compared with what checkpoints and a listing say: an end that was cut off, or a
/// gap, is never taken for the end.
pub fn journal_end(objects: &Objects) -> Result<u64> {
    // An owner that slept may have written the newest manifest, about an older epoch: so a few are looked at.
    let newest = newest(objects)?;
    let mut last: Option<Manifest> = None;
    for number in (newest.saturating_sub(MANIFESTS_COMPARED) + 1..=newest).rev() {
        match read(objects, number) {
            Ok(Some(manifest)) if last.as_ref().is_none_or(|last| last.sequence < manifest.sequence) => last = Some(manifest),
            Err(error) if error.code() != Code::CheckpointDamaged => return Err(error),
            _ => {}
        }
    }
    let mut from = 0;
    if let Some(manifest) = last {
        let (number, sequence) = (manifest.number, manifest.sequence);
        match journal::read_entry(objects, sequence)? {
            Some(stored) if stored.digest == manifest.chain => from = sequence,
            Some(_) => {
                let what = format!("journal entry {sequence} is not the one that checkpoint {number} names: it was replaced");
                return Err(Error::new(Code::JournalChain, what)
                    .with_help("restore the original object from the bucket's versions"));
            }
            None => {
                let what = format!("checkpoint {number} names journal entry {sequence}, which is missing");
                return Err(Error::new(Code::JournalBehind, what)
                    .with_help("restore the journal's objects from the bucket's versions; Segno never starts over silently"));
            }
        }
    }
    let mut end = journal::find_end(objects, from)?;
    loop {
        let listed = journal::listed_end(objects)?;
        if listed <= end || journal::read_entry(objects, listed)?.is_none() {
            return Ok(end);
        }
        // Appended meanwhile, by an owner that is still at work; or else there is a gap before it.
        if journal::read_entry(objects, end + 1)?.is_none() {
            let what = format!("journal entry {} is missing, while entry {listed} exists", end + 1);
            return Err(Error::new(Code::JournalGap, what)
                .with_help("restore the object from the bucket's versions; Segno never skips a journal entry"));
        }
        end = journal::find_end(objects, end + 1)?;
    }
}

/// Reads a manifest; `None` when it is not there.
pub fn read(objects: &Objects, number: u64) -> Result<Option<Manifest>> {
    let name = manifest_name(number);
    let Some(bytes) = objects.get(&name)? else { return Ok(None) };
    let damaged = |why: String| {
        Error::new(Code::CheckpointDamaged, format!("checkpoint {number}: {name} {why}"))
            .with_help("the checkpoint before it is used; restore the object from the bucket's versions to use this one")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("is not text".to_owned()))?;
    let (body, digest) = text.trim_end().rsplit_once('\n').ok_or_else(|| damaged("is cut off".to_owned()))?;
    if sha256_hex(body.as_bytes()) != digest {
        return Err(damaged("does not have the hash that it was written with".to_owned()));
    }
    let manifest: Manifest = serde_json::from_str(body).map_err(|error| damaged(error.to_string()))?;
    if manifest.number != number {
        return Err(damaged(format!("says that it is number {}", manifest.number)));
    }
    Ok(Some(manifest))
}

/// Everything that is wrong with a checkpoint's files; empty when it is intact.
pub fn verify(objects: &Objects, manifest: &Manifest) -> Result<Vec<Error>> {
    let mut wrong = Vec::new();
    for file in &manifest.files {
        if let Err(error) = fetch(objects, manifest, file) {
            if error.code() != Code::CheckpointDamaged {
                return Err(error);
            }
            wrong.push(error);
        }
    }
    Ok(wrong)
}

fn fetch(objects: &Objects, manifest: &Manifest, file: &ManifestFile) -> Result<Bytes> {
    let damaged = |why: String| {
        Error::new(
            Code::CheckpointDamaged,
            format!("checkpoint {}: {} ({}) {why}", manifest.number, file_name(&file.sha256), file.name),
        )
        .with_help("the checkpoint before it is used; restore the object from the bucket's versions to use this one")
    };
    let Some(bytes) = objects.get_sized(&file_name(&file.sha256), file.bytes)? else { return Err(damaged("is gone".to_owned())) };
    if bytes.len() as u64 != file.bytes {
        return Err(damaged(format!("has {} bytes instead of {}", bytes.len(), file.bytes)));
    }
    if sha256_hex(&bytes) != file.sha256 {
        return Err(damaged("does not have the hash in its name".to_owned()));
    }
    Ok(bytes)
}

/// Restores a checkpoint's files into `target`, an empty or absent folder. Every file is verified on the way.
pub fn restore(objects: &Objects, manifest: &Manifest, target: &Path) -> Result<()> {
    std::fs::create_dir_all(target).map_err(|error| io("creating", target, error))?;
    let left = Mutex::new(manifest.files.iter());
    let next = || left.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let work = || -> Result<()> {
        while let Some(file) = next() {
            let bytes = fetch(objects, manifest, file)?;
            crate::fail_point!("recovery::amid_restore");
            let path = target.join(&file.name);
            std::fs::write(&path, &bytes).map_err(|error| io("writing", &path, error))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // This thread works, too: so all of it is done where no other one can start.
        let others: Vec<_> =
            (1..RESTORE_THREADS).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let ours = work();
        others.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err(Error::new(Code::Internal, "a thread that restores a checkpoint ended without a result")),
        })?;
        ours
    })
}

impl Checkpoints {
    pub fn new(objects: Objects, author: Author, scratch: PathBuf) -> Result<Checkpoints> {
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).map_err(|error| io("creating", &scratch, error))?;
        let hashes = Hashes::open(scratch.with_extension("hashes"));
        Ok(Checkpoints { objects, author, scratch, hashes: Arc::new(Mutex::new(hashes)), archived: None })
    }

    /// Collects the archive, too.
    pub fn with_archive(self, named_by_plan: NamedByPlan) -> Checkpoints {
        Checkpoints { archived: Some(Arc::new(Mutex::new(Archived::new(named_by_plan)))), ..self }
    }

    /// The highest generation now.
    pub fn current_generation(&self) -> Result<u64> {
        generation::since(&self.objects, self.author.generation)
    }

    /// Makes an image of the state now; uploads it, and collects what is older than the newest `keep`, in the background.
    pub fn start(&mut self, state: &StateStore, meta: CheckpointMeta, keep: u32) -> Result<Upload> {
        let image = self.scratch.join(format!("{:012}", meta.epoch));
        let _ = std::fs::remove_dir_all(&image);
        crate::fail_point!("checkpoint::before_image");
        state.checkpoint(&image)?;
        crate::fail_point!("checkpoint::after_image");
        let objects = self.objects.clone();
        let author = Author { nonce: nonce(), ..self.author.clone() };
        let hashes = Arc::clone(&self.hashes);
        let archived = self.archived.clone();
        let generation = self.author.generation;
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                yield_to_execution();
                let result = upload(&objects, &image, author, meta, &hashes);
                let _ = std::fs::remove_dir_all(&image);
                let manifest = result?;
                let kept = collect(&objects, keep)?;
                if let (Some(kept), Some(archived)) = (&kept, archived) {
                    archived.lock().unwrap_or_else(PoisonError::into_inner).collect(&objects, kept, generation)?;
                }
                Ok(Published { manifest, oldest: kept.map(|kept| kept.position) })
            })
            .map_err(|error| Error::new(Code::Internal, "the checkpoint thread cannot start").with_cause(error))?;
        Ok(Upload { thread: Some(thread) })
    }
}

/// Checkpoints wait for the threads that execute, never the other way round.
fn yield_to_execution() {
    // Refused, it runs as every other thread does.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), UPLOAD_NICENESS);
}

fn upload(
    objects: &Objects,
    image: &Path,
    author: Author,
    meta: CheckpointMeta,
    hashes: &Mutex<Hashes>,
) -> Result<Manifest> {
    // One upload at a time; one that ended in the middle left no half-done memory.
    let mut hashes = hashes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names: Vec<PathBuf> = std::fs::read_dir(image)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| io("reading", image, error))?;
    names.sort();
    let mut files = Vec::with_capacity(names.len());
    for path in names {
        let file = hashes.of(&path)?;
        let object = file_name(&file.sha256);
        if !hashes.stored.contains(&file.sha256) && objects.head(&object)? != Some(file.bytes) {
            objects.put_file(&object, &path, file.bytes)?;
        }
        crate::fail_point!("checkpoint::amid_upload");
        files.push(file);
    }
    let mut number = newest(objects)? + 1;
    let mut manifest = Manifest {
        version: MANIFEST_VERSION,
        number,
        author,
        epoch: meta.epoch,
        sequence: meta.sequence,
        chain: meta.chain,
        position: meta.position,
        watermark: meta.watermark,
        identity: meta.identity,
        state_digest: None,
        marks: meta.marks,
        files: files.iter().map(|file| ManifestFile { name: file.name.clone(), sha256: file.sha256.clone(), bytes: file.bytes }).collect(),
        written_at_ms: meta.written_at_ms,
        replay_debt_ms: meta.replay_debt_ms,
    };
    loop {
        manifest.number = number;
        let body = serde_json::to_string(&manifest)
            .map_err(|error| Error::new(Code::Internal, "a manifest cannot be written").with_cause(error))?;
        let text = format!("{body}\n{}\n", sha256_hex(body.as_bytes()));
        crate::fail_point!("checkpoint::before_manifest");
        let claim = match objects.create(&manifest_name(number), Bytes::from(text))? {
            Created::Ours => Claim::Ours,
            Created::Theirs(_) => match read(objects, number) {
                Ok(Some(theirs)) => Claim::Theirs(theirs.author),
                Err(error) if error.code() != Code::CheckpointDamaged => return Err(error),
                // Damaged or gone: nobody reads it, and the number is used.
                _ => Claim::Theirs(Author { generation: 0, writer: String::new(), nonce: String::new() }),
            },
        };
        match ownership::after_manifest(&claim, manifest.author.generation)? {
            Numbering::Made => break,
            Numbering::Follow => number += 1,
        }
    }
    crate::fail_point!("checkpoint::after_manifest");
    hashes.keep(files);
    let ours = manifest.author.generation;
    ownership::confirm(generation::since(objects, ours)?, ours)?;
    objects.put("manifest-hint", Bytes::from(number.to_string()))?;
    Ok(manifest)
}
