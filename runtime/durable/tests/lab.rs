//! Stores for tests: a prefix of its own in the bucket of the test server, direct or through a proxy.

pub use segno_conformance::store::noise;
use segno_core::persisted::{Author, Fence, Identity, JournalBody, Position};
use segno_durable::checkpoint::CheckpointMeta;
use segno_durable::journal::{Journal, nonce};
use segno_durable::state::{Mark, StateStore};
use segno_durable::store::Objects;
use segno_proxy::http::HttpProxy;
use std::collections::BTreeMap;
use std::path::Path;

/// Time of a request through a proxy that may hang: long for this machine, short for a test.
const REQUEST_TIME_MAX: &str = "1s";

pub fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) => value,
        Err(_) => panic!("{name} is not set: run the tests with `make test`, which starts an S3 server"),
    }
}

/// A URL with a prefix that no other test uses.
pub fn new_url() -> String {
    format!("s3://{}/test-{}", variable("SEGNO_TEST_S3_BUCKET"), nonce())
}

/// What a user would have in the environment.
pub fn variables(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", variable("AWS_ACCESS_KEY_ID")),
        ("AWS_SECRET_ACCESS_KEY", variable("AWS_SECRET_ACCESS_KEY")),
        ("AWS_TIMEOUT", REQUEST_TIME_MAX.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

pub fn open(url: &str, endpoint: &str) -> Objects {
    Objects::open_with(url, Path::new("."), ["tenant", "pipeline", "single"], variables(endpoint)).expect("a store")
}

/// A new store without faults.
pub fn direct() -> Objects {
    open(&new_url(), &variable("SEGNO_TEST_S3"))
}

pub fn proxy() -> HttpProxy {
    HttpProxy::start(&variable("SEGNO_TEST_S3")).expect("a proxy")
}

/// The same new prefix through a proxy, and directly.
pub fn disturbed() -> (HttpProxy, Objects, Objects) {
    let (proxy, url) = (proxy(), new_url());
    let (through, direct) = (open(&url, &proxy.endpoint()), open(&url, &variable("SEGNO_TEST_S3")));
    (proxy, through, direct)
}

pub fn author(generation: u64) -> Author {
    Author { generation, writer: "test".to_owned(), nonce: nonce() }
}

pub fn fence(generation: u64) -> JournalBody {
    JournalBody::Fence(Fence { generation })
}

pub fn empty_journal(objects: &Objects) -> Journal {
    Journal::new(objects.clone(), author(1), 0, String::new())
}

pub fn meta(epoch: u64) -> CheckpointMeta {
    CheckpointMeta {
        epoch,
        sequence: epoch,
        chain: format!("chain-{epoch}"),
        position: Position::default(),
        watermark: None,
        identity: Identity { components: BTreeMap::new(), configuration: String::new(), engine: String::new(), tables: None },
        marks: BTreeMap::new(),
        written_at_ms: 0,
        replay_debt_ms: 0,
    }
}

pub fn fill(state: &StateStore, epoch: u64, keys: std::ops::Range<u32>) {
    let changes: Vec<(Vec<u8>, Vec<u8>)> =
        keys.map(|key| (key.to_be_bytes().to_vec(), format!("value {key} of {epoch}").into_bytes())).collect();
    let changes = changes.iter().map(|(key, value)| ("count", 0, key.as_slice(), Some(value.as_slice())));
    state.apply(&Mark { epoch, chain: format!("chain-{epoch}"), watermark: None }, changes).expect("applied");
}

/// A file with these bytes.
pub fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    file
}
