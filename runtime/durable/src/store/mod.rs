//! The object store: the one maker of object names, conditional create, read-back on ambiguous answers.
//!
//! Owns: opening a store from a URL, names of all objects of a shard, retries.
//! Does not own: what the objects mean (`journal`, `generation`, `checkpoint`).
//!
//! Invariants: LIST never decides correctness. An authority object is made by conditional create only, and an ambiguous
//! answer is settled by reading back and comparing the bytes, which are unique by their nonce.

use backon::{BlockingRetryable, ExponentialBuilder};
use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use segno_core::{Code, Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Attempts of an operation that fails in a way that may pass, including the first.
const ATTEMPTS: usize = 5;
/// First pause between attempts; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);

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
    store: Arc<dyn ObjectStore>,
    runtime: Arc<tokio::runtime::Runtime>,
    prefix: ObjectPath,
    /// The URL as the user wrote it, for messages.
    url: String,
}

impl Objects {
    /// Opens `file:///dir`, `file://dir` (relative to `base`) or `s3://bucket/prefix`, below
    /// `tenant/pipeline/shard`.
    pub fn open(url: &str, base: &Path, tenant: &str, pipeline: &str, shard: &str) -> Result<Objects> {
        let wrong = |message: String| Error::new(Code::StoreUrl, message)
            .with_help("write file://./checkpoints with ephemeral: true for development, or s3://bucket/prefix");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object-store")
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Internal, "the store's threads cannot start").with_cause(error))?;
        let (store, root): (Arc<dyn ObjectStore>, String) = if let Some(path) = url.strip_prefix("file://") {
            let dir = base.join(path);
            std::fs::create_dir_all(&dir).map_err(|error| {
                Error::new(Code::StoreUnusable, format!("the checkpoint store {} cannot be created", dir.display()))
                    .with_cause(error)
                    .with_help("choose a folder that this user may write")
            })?;
            let local = object_store::local::LocalFileSystem::new_with_prefix(&dir)
                .map_err(|error| wrong(format!("\"{url}\" cannot be opened: {error}")))?;
            (Arc::new(local), String::new())
        } else if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
            let s3 = object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|error| wrong(format!("\"{url}\" cannot be opened: {error}")))?;
            (Arc::new(s3), root.trim_matches('/').to_owned())
        } else {
            return Err(wrong(format!("\"{url}\" is not a store that Segno knows")));
        };
        let mut prefix = ObjectPath::from(root);
        for part in [tenant, pipeline, shard] {
            prefix = prefix.join(part);
        }
        Ok(Objects { store, runtime: Arc::new(runtime), prefix, url: url.to_owned() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn error(&self, what: &str, name: &str, error: &object_store::Error) -> Error {
        Error::new(Code::StoreUnusable, format!("{what} {name} in {} failed", self.url))
            .with_cause(error)
            .with_help("nothing is lost: the shard pauses and tries again; look at the store's space and reachability")
    }

    fn retry<T>(&self, operation: impl Fn() -> Result<T, object_store::Error>) -> Result<T, object_store::Error> {
        operation
            .retry(ExponentialBuilder::default().with_min_delay(BACKOFF_FIRST).with_max_times(ATTEMPTS - 1))
            .when(may_pass)
            .call()
    }

    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let read = || self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        match self.retry(read) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("reading", name, &error)),
        }
    }

    /// Length in bytes, `None` when it does not exist.
    pub fn head(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path(name);
        match self.retry(|| self.runtime.block_on(self.store.head(&path))) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("looking for", name, &error)),
        }
    }

    /// Writes or overwrites. For content-addressed objects and hints only.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(name);
        self.retry(|| self.runtime.block_on(self.store.put(&path, PutPayload::from_bytes(bytes.clone()))))
            .map(|_| ())
            .map_err(|error| self.error("writing", name, &error))
    }

    /// Creates an authority object. `bytes` must be unique (they carry a nonce).
    pub fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(name);
        for attempt in 0.. {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options);
            let error = match self.runtime.block_on(put) {
                Ok(_) => return Ok(Created::Ours),
                Err(error) => error,
            };
            // Whatever went wrong, the object may have been written: what is there decides.
            match self.get(name)? {
                Some(found) if found == bytes => return Ok(Created::Ours),
                Some(found) => return Ok(Created::Theirs(found)),
                None if attempt + 1 < ATTEMPTS && may_pass(&error) => {
                    std::thread::sleep(BACKOFF_FIRST * 2u32.pow(attempt as u32));
                }
                None => return Err(self.error("creating", name, &error)),
            }
        }
        unreachable!("the loop returns")
    }

    pub fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match self.retry(|| self.runtime.block_on(self.store.delete(&path))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("deleting", name, &error)),
        }
    }

    /// Names below a folder with their age, for collection only.
    pub fn list(&self, folder: &str) -> Result<Vec<(String, Duration)>> {
        let path = self.path(folder);
        let now = std::time::SystemTime::now();
        self.runtime.block_on(async {
            let mut names = Vec::new();
            let mut stream = self.store.list(Some(&path));
            while let Some(meta) = stream.next().await {
                let meta = meta.map_err(|error| self.error("listing", folder, &error))?;
                let Some(name) = meta.location.filename() else { continue };
                let written = std::time::SystemTime::from(meta.last_modified);
                names.push((name.to_owned(), now.duration_since(written).unwrap_or_default()));
            }
            Ok(names)
        })
    }
}

fn may_pass(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. })
}
