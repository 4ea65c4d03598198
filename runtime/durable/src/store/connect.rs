//! Reaching a store: its URL, the environment, time-outs.
//!
//! Owns: how a client is made. Does not own: the operations (the module above).
//!
//! Invariants: everything that S3 needs beside the URL comes from `AWS_…` variables. A request ends within
//! `REQUEST_TIME_MAX`. The library repeats nothing by itself: what is repeated is decided in one place (`retry`), and
//! each time signed anew with the credentials of that moment.

use super::refusal::Refusing;
use crate::synced;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use segno_core::{Code, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Time of one request with its answer, unless AWS_TIMEOUT says otherwise: a part of `PART_BYTES` passes at 400 KB/s.
const REQUEST_TIME_MAX: &str = "20s";
/// Time to connect, unless AWS_CONNECT_TIMEOUT says otherwise: a store that is there answers within one round trip.
const CONNECT_TIME_MAX: &str = "5s";

/// A store that was opened.
#[derive(Clone)]
pub(super) struct Client {
    pub store: Arc<dyn ObjectStore>,
    /// The same, when it is S3: for what only S3 has.
    pub s3: Option<Arc<AmazonS3>>,
}

/// A place for objects, before it is opened.
pub(super) enum Target {
    Folder { folder: PathBuf },
    S3 { bucket: String, root: String, settings: Vec<(AmazonS3ConfigKey, String)> },
}

fn wrong(message: String) -> Error {
    Error::new(Code::StoreUrl, message)
        .with_help("write file://./checkpoints with ephemeral: true for development, or s3://bucket/prefix")
}

impl Target {
    pub fn parse(url: &str, base: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Target> {
        if let Some(path) = url.strip_prefix("file://") {
            return Ok(Target::Folder { folder: base.join(path) });
        }
        let Some(rest) = url.strip_prefix("s3://") else {
            return Err(wrong(format!("\"{url}\" is not a store that Segno knows")));
        };
        let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong(format!("\"{url}\" names no bucket")));
        }
        let settings = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with("AWS_"))
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
            .collect();
        Ok(Target::S3 { bucket: bucket.to_owned(), root: root.trim_matches('/').to_owned(), settings })
    }

    /// Where the store's objects begin.
    pub fn root(&self) -> ObjectPath {
        match self {
            Target::Folder { .. } => ObjectPath::default(),
            Target::S3 { root, .. } => ObjectPath::from(root.as_str()),
        }
    }

    /// What tells this store from others: a copy elsewhere is another store.
    pub fn identity(&self) -> String {
        match self {
            Target::Folder { folder } => format!("file://{}", folder.display()),
            Target::S3 { bucket, settings, .. } => {
                let mut endpoints = settings.iter().filter(|(key, _)| is_endpoint(key)).map(|(_, value)| value.as_str());
                format!("{bucket} at {}", endpoints.next_back().unwrap_or("AWS"))
            }
        }
    }

    pub fn connect(&self) -> Result<Client> {
        match self {
            Target::Folder { folder } => {
                synced::create_folder(folder).map_err(|error| {
                    // Trying again makes no folder where a file is; a full disk may have space later.
                    let passes = error.kind() == std::io::ErrorKind::StorageFull;
                    let code = if passes { Code::StoreUnusable } else { Code::StoreUrl };
                    Error::new(code, format!("the checkpoint store {} cannot be created", folder.display()))
                        .with_cause(error)
                        .with_help("choose a folder that this user may write")
                })?;
                let store = object_store::local::LocalFileSystem::new_with_prefix(folder)
                    .map_err(|error| wrong(format!("\"{}\" cannot be opened: {error}", folder.display())))?;
                // What a store has acknowledged survives a power failure: an entry of the journal is a commit.
                Ok(Client { store: Arc::new(store.with_fsync(true)), s3: None })
            }
            Target::S3 { bucket, settings, .. } => {
                let s3 = builder(settings)
                    .with_bucket_name(bucket)
                    .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
                    .with_http_connector(Refusing::default())
                    .build()
                    .map_err(|error| wrong(format!("bucket {bucket} cannot be opened: {error}")))?;
                let s3 = Arc::new(s3);
                Ok(Client { store: Arc::clone(&s3) as Arc<dyn ObjectStore>, s3: Some(s3) })
            }
        }
    }
}

fn is_endpoint(key: &AmazonS3ConfigKey) -> bool {
    matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint)
}

fn builder(settings: &[(AmazonS3ConfigKey, String)]) -> AmazonS3Builder {
    let limits = [(ClientConfigKey::Timeout, REQUEST_TIME_MAX), (ClientConfigKey::ConnectTimeout, CONNECT_TIME_MAX)];
    let mut builder = AmazonS3Builder::new();
    for (key, limit) in limits {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), limit);
    }
    // Whoever writes http:// means it, so a local server needs no second switch.
    if settings.iter().any(|(key, value)| is_endpoint(key) && value.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    settings.iter().fold(builder, |builder, (key, value)| builder.with_config(*key, value))
}
