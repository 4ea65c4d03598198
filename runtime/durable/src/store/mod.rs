//! The object store: the one maker of object names, conditional create, read-back on ambiguous answers.
//!
//! Owns: the operations on the objects of a shard, and their names.
//! Does not own: reaching a store (`connect`), what a failure means (`retry`, `refusal`), what the objects mean
//! (`journal`, `generation`, `checkpoint`).
//!
//! Invariants: LIST never decides correctness. An authority object is made by conditional create only, and an ambiguous
//! answer is settled by reading back and comparing the bytes, which are unique by their nonce.

mod connect;
mod probe;
mod refusal;
mod retry;
mod versions;

use bytes::Bytes;
use connect::{Client, Target};
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions};
use object_store::{PutOptions, PutPayload};
use refusal::Refusal;
use retry::{Judgement, judge};
use segno_core::{Code, Error, Result};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

pub use probe::{RACERS, count_winners};
pub use versions::Versioning;

/// Length of the pieces in which a large object is written and read, bytes: a piece fits into the time of a request
/// even over a slow line, and S3 wants at least 5 MiB.
pub const PART_BYTES: usize = 8 << 20;
/// An object longer than this is written in parts, bytes: below, one request is cheaper than three.
pub const WHOLE_BYTES_MAX: usize = 2 * PART_BYTES;

/// Threads that move bytes.
const WORKERS: usize = 2;
/// They, one for files, and some that whoever opened the store needs next.
const THREADS_NEEDED: usize = WORKERS + 4;
/// The runtime's thread for files stays: longer than any process runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a conditional create gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    Ours,
    /// Somebody else's object holds the name.
    Theirs(Bytes),
}

/// A prefix of an object store: everything of one shard.
#[derive(Clone)]
pub struct Objects {
    client: Arc<RwLock<Client>>,
    target: Arc<Target>,
    runtime: Arc<tokio::runtime::Runtime>,
    prefix: ObjectPath,
    /// The URL as the user wrote it, for messages.
    url: String,
}

impl Objects {
    /// Opens `file:///dir`, `file://dir` (relative to `base`) or `s3://bucket/prefix`, below
    /// `tenant/pipeline/shard`. How S3 is reached and paid for is in this process's `AWS_…` variables.
    pub fn open(url: &str, base: &Path, tenant: &str, pipeline: &str, shard: &str) -> Result<Objects> {
        Objects::open_with(url, base, [tenant, pipeline, shard], std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// As `open`, with other variables than those of this process.
    pub fn open_with(
        url: &str,
        base: &Path,
        place: [&str; 3],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Objects> {
        let runtime = threads_can_start().and_then(|()| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(WORKERS).thread_keep_alive(FOR_EVER).thread_name("object-store").enable_all();
            builder.build()
        });
        let runtime = runtime.map_err(|error| Error::new(Code::Internal, "the store's threads cannot start").with_cause(error))?;
        // One that waits for work is there from now on, so work never waits for a thread that cannot start.
        let _ = runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await });
        let target = Target::parse(url, base, variables)?;
        let prefix = place.iter().fold(target.root(), |path, part| path.join(*part));
        let client = Arc::new(RwLock::new(target.connect()?));
        Ok(Objects { client, target: Arc::new(target), runtime: Arc::new(runtime), prefix, url: url.to_owned() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets credentials that the store calls expired, so that they are fetched again.
    fn refresh(&self) -> Result<()> {
        let fresh = self.target.connect()?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Tries until it succeeds, fails in a way that does not pass, or was tried often enough. `None`: not found.
    fn attempt<T, F>(&self, what: &str, name: &str, operation: impl Fn(Client) -> F) -> Result<Option<T>>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut pauses = retry::pauses();
        let mut refreshed = false;
        loop {
            let error = match self.runtime.block_on(operation(self.client())) {
                Ok(value) => return Ok(Some(value)),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => error,
            };
            match (judge(&error), pauses.next()) {
                (judgement, Some(pause)) if judgement.leaves_doubt() => std::thread::sleep(pause),
                (Judgement::Expired, _) if !refreshed => {
                    refreshed = true;
                    self.refresh()?;
                }
                (judgement, _) => return Err(judgement.error(what, name, &self.url, &error)),
            }
        }
    }

    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = &self.path(name);
        self.attempt("reading", name, |client| async move { client.store.get(path).await?.bytes().await })
    }

    /// Reads an object that should have so many bytes, a large one in pieces. What has another length is given as it is.
    pub fn get_sized(&self, name: &str, bytes: u64) -> Result<Option<Bytes>> {
        if bytes <= WHOLE_BYTES_MAX as u64 {
            return self.get(name);
        }
        let path = &self.path(name);
        let mut whole = Vec::new();
        loop {
            let from = whole.len() as u64;
            let range = GetRange::Bounded(from..from + PART_BYTES as u64);
            let read = |client: Client| {
                let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
                async move {
                    let found = client.store.get_opts(path, options).await?;
                    Ok((found.meta.size, found.bytes().await?))
                }
            };
            let Some((size, piece)) = self.attempt("reading", name, read)? else { return Ok(None) };
            whole.extend_from_slice(&piece);
            if size != bytes || piece.is_empty() || whole.len() as u64 >= size {
                return Ok(Some(Bytes::from(whole)));
            }
        }
    }

    /// Length in bytes, `None` when it does not exist.
    pub fn head(&self, name: &str) -> Result<Option<u64>> {
        let path = &self.path(name);
        let found = self.attempt("looking for", name, |client| look(client, path))?;
        Ok(found.map(|found| found.size))
    }

    /// When an object was written, by the store's clock.
    pub fn written(&self, name: &str) -> Result<Option<SystemTime>> {
        let path = &self.path(name);
        let found = self.attempt("looking for", name, |client| look(client, path))?;
        Ok(found.map(|found| SystemTime::from(found.last_modified)))
    }

    /// Writes or overwrites. For content-addressed objects and hints only.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let (path, body) = (&self.path(name), &bytes);
        let written = self.attempt("writing", name, |client| async move {
            client.store.put(path, PutPayload::from_bytes(body.clone())).await.map(drop)
        })?;
        written.ok_or_else(|| refusal::no_bucket(&self.url))
    }

    /// As `put`, the bytes of a file, a large one in parts: then it is visible when it is complete.
    pub fn put_file(&self, name: &str, file: &Path, bytes: u64) -> Result<()> {
        let unreadable = |error: std::io::Error| {
            Error::new(Code::StateUnwritable, format!("reading {} failed", file.display())).with_cause(error)
        };
        if bytes <= WHOLE_BYTES_MAX as u64 {
            return self.put(name, Bytes::from(std::fs::read(file).map_err(unreadable)?));
        }
        let path = &self.path(name);
        let written = self.attempt("writing", name, |client| async move {
            let options = PutMultipartOptions::default().with_retry_policy(Arc::new(retry::OfParts));
            let mut upload = client.store.put_multipart_opts(path, options).await?;
            let outcome = put_parts(&mut *upload, file).await;
            if outcome.is_err() {
                // An attempt: parts that stay are collected by the bucket's lifecycle rule.
                let _ = upload.abort().await;
            }
            outcome
        })?;
        written.ok_or_else(|| refusal::no_bucket(&self.url))
    }

    /// Creates an authority object. `bytes` must be unique (they carry a nonce).
    pub fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(name);
        let mut pauses = retry::pauses();
        let mut refreshed = false;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let client = self.client();
            let put = client.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
            let error = match self.runtime.block_on(put) {
                Ok(_) => return Ok(Created::Ours),
                Err(error) => error,
            };
            let judgement = judge(&error);
            if judgement == Judgement::Expired && !refreshed {
                refreshed = true;
                self.refresh()?;
                continue;
            }
            if !judgement.leaves_doubt() {
                return Err(judgement.error("creating", name, &self.url, &error));
            }
            // Whatever went wrong, the object may have been written: what is there decides.
            match self.get(name)? {
                Some(found) if found == bytes => return Ok(Created::Ours),
                Some(found) => return Ok(Created::Theirs(found)),
                None => match pauses.next() {
                    // Not written, or not yet: then the next attempt finds it, and its bytes are ours.
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(judgement.error("creating", name, &self.url, &error)),
                },
            }
        }
    }

    pub fn delete(&self, name: &str) -> Result<()> {
        let path = &self.path(name);
        self.attempt("deleting", name, |client| async move { client.store.delete(path).await }).map(drop)
    }

    /// Names below a folder, and when the store says that they were written: for collection only.
    pub fn list(&self, folder: &str) -> Result<Vec<(String, SystemTime)>> {
        let path = &self.path(folder);
        let listed = self.attempt("listing", folder, |client| async move {
            let mut names = Vec::new();
            let mut stream = client.store.list(Some(path));
            while let Some(meta) = stream.next().await {
                let meta = meta?;
                let Some(name) = meta.location.filename() else { continue };
                names.push((name.to_owned(), SystemTime::from(meta.last_modified)));
            }
            Ok(names)
        })?;
        Ok(listed.unwrap_or_default())
    }
}

/// Whether so many threads can start now. The runtime itself would wait for ever for those that did, when one did not.
fn threads_can_start() -> std::io::Result<()> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    std::thread::scope(|scope| {
        let start = || std::thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        let started = (0..THREADS_NEEDED).try_for_each(|_| start());
        // All of them were there at the same time.
        drop(closed);
        started
    })
}

/// Asks S3 for the first byte: the answer to a HEAD has no body, and would not tell an absent object from an absent
/// bucket, an unknown key, an expired one.
async fn look(client: Client, path: &ObjectPath) -> object_store::Result<ObjectMeta> {
    if client.s3.is_none() {
        return client.store.head(path).await;
    }
    let first = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
    let found = match client.store.get_opts(path, first).await {
        // An empty object has no first byte.
        Err(error) if refusal::find(&error).is_some_and(Refusal::is_range) => client.store.get(path).await?,
        found => found?,
    };
    let meta = found.meta.clone();
    // Read to its end, the connection can be used again.
    found.bytes().await.map(|_| meta)
}

async fn put_parts(upload: &mut dyn MultipartUpload, file: &Path) -> object_store::Result<()> {
    let unreadable = |error| object_store::Error::Generic { store: "file", source: Box::new(error) };
    let mut file = std::fs::File::open(file).map_err(unreadable)?;
    loop {
        let mut part = Vec::with_capacity(PART_BYTES);
        file.by_ref().take(PART_BYTES as u64).read_to_end(&mut part).map_err(unreadable)?;
        if part.is_empty() {
            return upload.complete().await.map(drop);
        }
        upload.put_part(PutPayload::from(part)).await?;
    }
}
