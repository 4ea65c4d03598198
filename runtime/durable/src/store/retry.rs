//! What a failure of the store means: it passes, the credentials are old, or the store will say the same again.
//!
//! Owns: the judgement, the pauses between attempts, the errors that users see.
//! Does not own: repeating (the module above).

use super::refusal::{self, Refusal};
use backon::{BackoffBuilder, ExponentialBuilder};
use object_store::retry::{RetryContext, RetryPolicy};
use segno_core::{Code, Error};
use std::time::Duration;

/// Attempts of an operation that fails in a way that may pass, including the first. After them the shard restarts, with
/// longer pauses.
pub const ATTEMPTS: usize = 6;
/// First pause between attempts; doubled each time, and up to as much again, so that many workers do not come back at
/// the same moment.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Try again: too much to do, a time-out, a connection that broke, a full disk.
    Passes,
    /// Conflict with another writer, or an object that is there already: read it.
    Taken,
    /// The credentials were good once: fetch them again, then try again.
    Expired,
    /// The same request will be refused again.
    Refused(Code),
}

/// Pauses between attempts.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(PAUSE_FIRST)
        .with_max_delay(PAUSE_MAX)
        .with_max_times(ATTEMPTS - 1)
        .with_jitter()
        .build()
}

pub(super) fn judge(error: &object_store::Error) -> Judgement {
    use object_store::Error;
    if let Some(refusal) = refusal::find(error) {
        return judge_refusal(refusal);
    }
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Judgement::Taken,
        // A missing object is an answer. A put that finds nothing lacks its bucket.
        Error::NotFound { .. } => Judgement::Refused(Code::NoBucket),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Judgement::Refused(Code::StoreDenied),
        // The network, and the local disk.
        Error::Generic { .. } | Error::JoinError { .. } => Judgement::Passes,
        _ => Judgement::Refused(Code::StoreDenied),
    }
}

fn judge_refusal(refusal: &Refusal) -> Judgement {
    match (refusal.code.as_str(), refusal.status) {
        // S3 says 400 or 403; a key that was rotated away is unknown.
        ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidAccessKeyId" | "InvalidToken", _) => {
            Judgement::Expired
        }
        ("NoSuchBucket", _) => Judgement::Refused(Code::NoBucket),
        // An upload in parts that was collected meanwhile begins anew.
        ("NoSuchUpload", _) => Judgement::Passes,
        ("SlowDown" | "RequestTimeout" | "InternalError" | "OperationAborted", _) | (_, 408 | 429) => Judgement::Passes,
        // Of those that a server may answer to anything, only this one stays.
        (_, 501) => Judgement::Refused(Code::StoreDenied),
        (_, 500..) => Judgement::Passes,
        _ => Judgement::Refused(Code::StoreDenied),
    }
}

impl Judgement {
    /// Whether a write may have been applied although it failed. Credentials are checked before anything is applied, and
    /// so is what the store refuses.
    pub fn leaves_doubt(self) -> bool {
        matches!(self, Judgement::Passes | Judgement::Taken)
    }

    pub fn error(self, what: &str, name: &str, url: &str, cause: &object_store::Error) -> Error {
        let message = format!("{what} {name} in {url} failed");
        match self {
            Judgement::Passes | Judgement::Taken => Error::new(Code::StoreUnusable, message).with_help(
                "nothing is lost: the shard pauses and tries again; look at the store's space and reachability",
            ),
            Judgement::Expired => Error::new(Code::StoreCredentials, message).with_help(
                "nothing is lost: the shard pauses and tries again; renew the credentials that the environment names",
            ),
            Judgement::Refused(Code::NoBucket) => refusal::no_bucket(url),
            Judgement::Refused(code) => Error::new(code, message).with_help(
                "allow GetObject, PutObject, DeleteObject and ListBucket on the prefix; check keys, region, endpoint and clock",
            ),
        }
        .with_cause(cause_of(cause))
    }
}

/// The store's own words when it gave some, else the library's.
fn cause_of(error: &object_store::Error) -> String {
    refusal::find(error).map_or_else(|| error.to_string(), Refusal::to_string)
}

/// The same pauses for the parts of a large object: each part is repeated alone.
#[derive(Debug)]
pub(super) struct OfParts;

#[async_trait::async_trait]
impl RetryPolicy for OfParts {
    async fn retry(&self, context: RetryContext) -> bool {
        let Some(pause) = pauses().nth(context.attempt - 1) else { return false };
        tokio::time::sleep(pause).await;
        true
    }
}
