//! Credentials that live for seconds are fetched again, and the store never sees an old one twice.

use crate::lab::{empty_journal, fence, new_url, proxy, variable};
use jiff::{SignedDuration, Timestamp};
use segno_core::Code;
use segno_durable::journal::{self, Appended};
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

/// What a container's endpoint hands out: session tokens, one at a time.
struct Tokens {
    /// When each was issued; the last one is valid.
    issued: Vec<Instant>,
    life: Duration,
    /// What the endpoint says about the life of a token.
    claimed: Duration,
}

impl Tokens {
    fn valid(&self, token: &str) -> bool {
        let (number, issued) = (self.issued.len(), self.issued.last());
        token == format!("token-{number}") && issued.is_some_and(|issued| issued.elapsed() < self.life)
    }

    /// The valid token, a new one when it is over.
    fn current(&mut self) -> (String, Duration) {
        if self.issued.last().is_none_or(|issued| issued.elapsed() >= self.life) {
            self.issued.push(Instant::now());
        }
        let age = self.issued.last().map_or(Duration::ZERO, Instant::elapsed);
        (format!("token-{}", self.issued.len()), self.claimed.saturating_sub(age))
    }
}

type Shared = Arc<Mutex<Tokens>>;

fn lock(tokens: &Shared) -> std::sync::MutexGuard<'_, Tokens> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves tokens on a port of this machine; gives its URL.
fn endpoint(tokens: &Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/credentials", listener.local_addr().expect("an address"));
    let (key, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    let tokens = Arc::clone(tokens);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            if !request.contains("authorization: of-this-pod") {
                continue;
            }
            let (token, left) = lock(&tokens).current();
            let expiration = Timestamp::now() + SignedDuration::try_from(left).expect("a duration");
            let body = format!(
                "{{\"AccessKeyId\":\"{key}\",\"SecretAccessKey\":\"{secret}\",\"Token\":\"{token}\",\"Expiration\":\"{expiration}\"}}"
            );
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    url
}

/// A store behind a proxy that refuses every token but the valid one.
fn guarded(tokens: &Shared, folder: &Path) -> (HttpProxy, Objects) {
    let proxy = proxy();
    let valid = Arc::clone(tokens);
    proxy.decide(move |request: &Request| match request.header("x-amz-security-token") {
        Some(token) if lock(&valid).valid(token) => Act::Pass,
        _ => Act::Answer { status: 403, code: "ExpiredToken".to_owned() },
    });
    let token_file = folder.join("token");
    std::fs::write(&token_file, "of-this-pod").expect("a file");
    let variables = [
        ("AWS_ENDPOINT_URL", proxy.endpoint()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(tokens)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file.display().to_string()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let objects = Objects::open_with(&new_url(), Path::new("."), ["t", "p", "s"], variables).expect("a store");
    (proxy, objects)
}

#[test]
fn credentials_of_20_seconds_rotate_three_times_under_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = Arc::new(Mutex::new(Tokens { issued: Vec::new(), life: LIFE, claimed: LIFE }));
    let (proxy, objects) = guarded(&tokens, folder.path());
    let mut journal = empty_journal(&objects);
    let mut appended = 0;
    while lock(&tokens).issued.len() <= ROTATIONS {
        appended += 1;
        assert!(matches!(journal.append(fence(appended)).expect("an answer"), Appended::Ours));
    }
    assert_eq!(journal::find_end(&objects, 0).expect("a number"), appended);
    journal::read_range(&objects, appended.saturating_sub(50).max(1), appended, None).expect("an unbroken chain");
    println!("## {appended} entries over {ROTATIONS} rotations, {} requests met an old token", proxy.seen().faults);
}

#[test]
fn credentials_that_are_revoked_before_their_time_are_fetched_again() {
    let folder = tempfile::tempdir().expect("a folder");
    // The endpoint promises an hour, so that the client keeps them.
    let tokens = Arc::new(Mutex::new(Tokens { issued: Vec::new(), life: LIFE * 100, claimed: LIFE * 180 }));
    let (proxy, objects) = guarded(&tokens, folder.path());
    objects.put("a", "before".into()).expect("written");
    // Revoked: the endpoint issues another one from now on.
    lock(&tokens).issued.push(Instant::now());
    for operation in 0..4 {
        let before = proxy.seen().faults;
        match operation {
            0 => objects.put("a", "after".into()).expect("written"),
            1 => assert_eq!(objects.head("a").expect("an answer"), Some(5)),
            2 => assert!(objects.get("a").expect("an answer").is_some()),
            _ => drop(objects.create("b", "created".into()).expect("an answer")),
        }
        assert!(proxy.seen().faults > before, "the old token was tried");
        lock(&tokens).issued.push(Instant::now());
    }
}

#[test]
fn credentials_that_cannot_be_renewed_have_their_code_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = Arc::new(Mutex::new(Tokens { issued: Vec::new(), life: LIFE, claimed: LIFE }));
    let (_proxy, objects) = guarded(&tokens, folder.path());
    let mut journal = empty_journal(&objects);
    assert!(matches!(journal.append(fence(1)).expect("an answer"), Appended::Ours));
    // The endpoint goes on handing out what the store takes no more.
    lock(&tokens).life = Duration::ZERO;
    assert_eq!(journal.append(fence(2)).expect_err("refused").code(), Code::StoreCredentials);
    lock(&tokens).life = LIFE;
    assert!(matches!(journal.append(fence(2)).expect("an answer"), Appended::Ours), "and then it goes on");
    assert_eq!(journal::find_end(&objects, 0).expect("a number"), 2);
}
