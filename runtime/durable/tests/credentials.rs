//! Credentials that live for seconds are fetched again, and the store never sees an old one twice.

use crate::gateway::{ACCOUNTS, Gateway};
use crate::lab::{empty_journal, fence};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use segno_core::Code;
use segno_core::protocol::ownership::Claim;
use segno_durable::journal;
use segno_durable::store::Objects;
use segno_proxy::http::{Act, HttpProxy, Request};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
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
            hand_out(&mut stream, &keys, "authorization: of-this-pod", |number, until| {
                serde_json::json!({
                    "AccessKeyId": format!("key-{number}"),
                    "SecretAccessKey": format!("secret-{number}"),
                    // This server has no session tokens; the client wants one, so it is empty.
                    "Token": "",
                    "Expiration": until,
                })
                .to_string()
            });
        }
    });
    url
}

/// Answers one request, when it says what it must: with the valid key's number, and until when it lives.
fn hand_out(stream: &mut (impl Read + Write), keys: &Shared, wanted: &str, body: impl Fn(usize, String) -> String) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    if !String::from_utf8_lossy(&request[..read]).to_ascii_lowercase().contains(wanted) {
        return;
    }
    let (number, left) = lock(keys).current();
    let until = Timestamp::now() + SignedDuration::try_from(left).expect("a duration");
    let body = body(number, until.to_string());
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
}

/// Hands keys out as AWS' security token service does, over TLS, to those who bring the service account's token; gives
/// its URL.
fn token_service(keys: &Shared, folder: &Path) -> String {
    let pem = |name: &str| std::fs::read(folder.join(name)).expect("what the test wrote");
    let certificate = CertificateDer::from_pem_slice(&pem(CERTIFICATE)).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&pem(KEY)).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.expect("a certificate with its key"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let keys = Arc::clone(keys);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = StreamOwned::new(connection, stream);
            hand_out(&mut stream, &keys, "webidentitytoken=of-this-pod", |number, until| {
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                     <AccessKeyId>key-{number}</AccessKeyId><SecretAccessKey>secret-{number}</SecretAccessKey>\
                     <SessionToken></SessionToken><Expiration>{until}</Expiration>\
                     </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                )
            });
            stream.conn.send_close_notify();
            let _ = stream.flush();
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
    guarded_by(keys, folder, |token| {
        [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(keys)),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
        ]
    })
}

/// `source`: the variables that say where credentials come from, given the path of the pod's token.
fn guarded_by<const N: usize>(keys: &Shared, folder: &Path, source: impl FnOnce(String) -> [(&'static str, String); N]) -> Guarded {
    let gateway = Gateway::start(folder);
    let proxy = HttpProxy::start(&gateway.address).expect("a proxy");
    let valid = Arc::clone(keys);
    proxy.decide(move |request: &Request| match lock(&valid).signed(request) {
        true => Act::Pass,
        false => Act::Answer { status: 403, code: "ExpiredToken".to_owned() },
    });
    let token_file = folder.join("token");
    std::fs::write(&token_file, "of-this-pod").expect("a file");
    let variables = source(token_file.display().to_string()).into_iter().chain([("AWS_ENDPOINT_URL", proxy.endpoint())]);
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let objects = Objects::open_with("s3://bucket/prefix", Path::new("."), ["t", "p", "s"], variables).expect("a store");
    Guarded { proxy, objects, _gateway: gateway }
}

#[test]
fn credentials_of_20_seconds_rotate_three_times_under_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = keys(LIFE, LIFE);
    rotate(&keys, guarded(&keys, folder.path()));
}

/// Where the test for web identities finds what it was given; without it, it is not that test's process.
const FOLDER: &str = "SEGNO_TEST_TOKEN_SERVICE";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

#[test]
fn web_identities_of_20_seconds_rotate_three_times_under_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(["req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2"]).args(arguments.split(' '));
        let done = command.current_dir(folder.path()).output().expect("openssl, which servers.py needs too");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl("-subj /CN=authority -keyout authority.key -out authority.pem");
    openssl(&format!(
        "-subj /CN=service -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -CA authority.pem -CAkey authority.key -keyout {KEY} -out {CERTIFICATE}"
    ));
    // Whom it trusts, a process is told when it starts.
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--ignored", "--nocapture", "credentials::in_a_process_that_trusts_the_token_service"]);
    let output = command.env("SSL_CERT_FILE", folder.path().join("authority.pem")).env(FOLDER, folder.path()).output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|line| line.starts_with("## ")).for_each(|line| println!("{line}"));
}

#[test]
#[ignore = "a part of web_identities_of_20_seconds_rotate_three_times_under_a_journal"]
fn in_a_process_that_trusts_the_token_service() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("set by the test that starts this one"));
    let keys = keys(LIFE, LIFE);
    let guarded = guarded_by(&keys, &folder, |token| {
        [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/segno".to_owned()),
            ("AWS_ENDPOINT_URL_STS", token_service(&keys, &folder)),
        ]
    });
    rotate(&keys, guarded);
}

/// Appends to a journal until three keys were replaced.
fn rotate(keys: &Shared, guarded: Guarded) {
    let Guarded { proxy, objects, _gateway } = guarded;
    let mut journal = empty_journal(&objects);
    let mut appended = 0;
    while lock(keys).issued.len() <= ROTATIONS {
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
