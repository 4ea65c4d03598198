//! Credentials that live for seconds are fetched again, and the store never sees an old one twice.

use crate::gateway::{ACCOUNTS, Gateway};
use crate::lab::{empty_journal, fence};
use jiff::{SignedDuration, Timestamp};
use segno_core::Code;
use segno_core::protocol::ownership::Claim;
use segno_durable::journal;
use segno_durable::store::Objects;
use segno_proxy::http::{Act, HttpProxy, Request};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As short as an endpoint of a cloud would never make them.
const LIFE: Duration = Duration::from_secs(20);
const ROTATIONS: usize = 3;
/// Between two appends: the test takes a minute anyway, and its neighbours need the machine.
const PAUSE: Duration = Duration::from_millis(20);

/// What a container's endpoint hands out: one key after the other.
struct Keys {
    /// When each was issued; the last one is valid.
    issued: Vec<Instant>,
    life: Duration,
    /// What the endpoint says about the life of a key.
    claimed: Duration,
}

impl Keys {
    /// Whether a request is signed with the valid key.
    fn signed(&self, request: &Request) -> bool {
        let credential = format!("Credential=key-{}/", self.issued.len());
        request.header("authorization").is_some_and(|signature| signature.contains(&credential))
            && self.issued.last().is_some_and(|issued| issued.elapsed() < self.life)
    }

    /// The valid key's number and what is left of its life; a new one when it is over.
    fn current(&mut self) -> (usize, Duration) {
        if self.issued.last().is_none_or(|issued| issued.elapsed() >= self.life) {
            self.issued.push(Instant::now());
        }
        let age = self.issued.last().map_or(Duration::ZERO, Instant::elapsed);
        (self.issued.len().min(ACCOUNTS), self.claimed.saturating_sub(age))
    }
}

type Shared = Arc<Mutex<Keys>>;

fn keys(life: Duration, claimed: Duration) -> Shared {
    Arc::new(Mutex::new(Keys { issued: Vec::new(), life, claimed }))
}

fn lock(keys: &Shared) -> std::sync::MutexGuard<'_, Keys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves keys on a port of this machine, to those who bring the pod's token; gives its URL.
fn endpoint(keys: &Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/credentials", listener.local_addr().expect("an address"));
    let keys = Arc::clone(keys);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            if !request.contains("authorization: of-this-pod") {
                continue;
            }
            let (number, left) = lock(&keys).current();
            let body = serde_json::json!({
                "AccessKeyId": format!("key-{number}"),
                "SecretAccessKey": format!("secret-{number}"),
                // This server has no session tokens; the client wants one, so it is empty.
                "Token": "",
                "Expiration": (Timestamp::now() + SignedDuration::try_from(left).expect("a duration")).to_string(),
            })
            .to_string();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    url
}

/// A server that checks each signature, behind a proxy that refuses every key but the valid one, and a store there.
struct Guarded {
    proxy: HttpProxy,
    objects: Objects,
    _gateway: Gateway,
}

fn guarded(keys: &Shared, folder: &Path) -> Guarded {
    let gateway = Gateway::start(folder);
    let proxy = HttpProxy::start(&gateway.address).expect("a proxy");
    let valid = Arc::clone(keys);
    proxy.decide(move |request: &Request| match lock(&valid).signed(request) {
        true => Act::Pass,
        false => Act::Answer { status: 403, code: "ExpiredToken".to_owned() },
    });
    let token_file = folder.join("token");
    std::fs::write(&token_file, "of-this-pod").expect("a file");
    let variables = [
        ("AWS_ENDPOINT_URL", proxy.endpoint()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(keys)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file.display().to_string()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let objects = Objects::open_with("s3://bucket/prefix", Path::new("."), ["t", "p", "s"], variables).expect("a store");
    Guarded { proxy, objects, _gateway: gateway }
}

#[test]
fn credentials_of_20_seconds_rotate_three_times_under_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = keys(LIFE, LIFE);
    let Guarded { proxy, objects, _gateway } = guarded(&keys, folder.path());
    let mut journal = empty_journal(&objects);
    let mut appended = 0;
    while lock(&keys).issued.len() <= ROTATIONS {
        appended += 1;
        assert!(matches!(journal.append(fence(appended)).expect("an answer"), Claim::Ours));
        std::thread::sleep(PAUSE);
    }
    assert_eq!(journal::find_end(&objects, 0).expect("a number"), appended);
    journal::read_range(&objects, 1, appended, Some("")).expect("an unbroken chain");
    println!("## {appended} entries over {ROTATIONS} rotations, {} requests met an old key", proxy.seen().faults);
}

#[test]
fn credentials_that_are_revoked_before_their_time_are_fetched_again() {
    let folder = tempfile::tempdir().expect("a folder");
    // The endpoint promises an hour, so that the client keeps them.
    let keys = keys(LIFE * 100, LIFE * 180);
    let Guarded { proxy, objects, _gateway } = guarded(&keys, folder.path());
    objects.put("a", "before".into()).expect("written");
    // Revoked: the endpoint issues another one from now on.
    lock(&keys).issued.push(Instant::now());
    for operation in 0..4 {
        let before = proxy.seen().faults;
        match operation {
            0 => objects.put("a", "after".into()).expect("written"),
            1 => assert_eq!(objects.head("a").expect("an answer"), Some(5)),
            2 => assert!(objects.get("a").expect("an answer").is_some()),
            _ => drop(objects.create("b", "created".into()).expect("an answer")),
        }
        assert!(proxy.seen().faults > before, "the old key was tried");
        lock(&keys).issued.push(Instant::now());
    }
}

#[test]
fn credentials_that_cannot_be_renewed_have_their_code_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = keys(LIFE, LIFE);
    let Guarded { proxy: _proxy, objects, _gateway } = guarded(&keys, folder.path());
    let mut journal = empty_journal(&objects);
    assert!(matches!(journal.append(fence(1)).expect("an answer"), Claim::Ours));
    // The endpoint goes on handing out what the store takes no more.
    lock(&keys).life = Duration::ZERO;
    assert_eq!(journal.append(fence(2)).expect_err("refused").code(), Code::StoreCredentials);
    lock(&keys).life = LIFE;
    assert!(matches!(journal.append(fence(2)).expect("an answer"), Claim::Ours), "and then it goes on");
    assert_eq!(journal::find_end(&objects, 0).expect("a number"), 2);
}
