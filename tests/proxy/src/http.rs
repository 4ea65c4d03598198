//! A proxy of HTTP/1.1 requests, for S3.
//!
//! Owns: reading one request whole, deciding what becomes of it, relaying it. One request per connection.
//! Does not own: signatures (requests pass with the host and headers that the client signed).
//!
//! Invariants: a request is decided once, when it was read whole. What is decided before the server sees it never
//! reaches the server.

use crate::seen::{Counters, Seen};
use crate::{ANY_PORT, Server};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest head of a request or an answer, bytes; S3 allows 8 KiB of them.
const HEAD_MAX: usize = 64 << 10;
/// Headers of a message; S3's clients send about twenty.
const HEADERS_MAX: usize = 100;
/// Largest body, bytes: what tests send, with room.
const BODY_MAX: usize = 256 << 20;

/// A request, read whole.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// The server never sees it; the client gets this status and S3 error code.
    Answer { status: u16, code: String },
    /// The server never sees it, and the client no answer.
    Hang,
    /// The server applies it; the client gets this status and S3 error code.
    ApplyThenAnswer { status: u16, code: String },
    /// The server applies it; the client gets no answer, and the connection stays open.
    ApplyThenHang,
    /// The server applies it; the client's connection is cut.
    ApplyThenCut,
    /// The server gets so many bytes of the body; then both connections are cut.
    CutBody { after: usize },
    /// The server's answer lacks the keys that contain this: a listing that is stale.
    HideKeys { containing: String },
}

impl Act {
    /// What S3 says when it has too much to do.
    pub fn slow_down() -> Act {
        Act::Answer { status: 503, code: "SlowDown".to_owned() }
    }
}

type Decision = Box<dyn FnMut(&Request) -> Act + Send>;

struct Shared {
    upstream: String,
    decision: Mutex<Decision>,
    counters: Counters,
}

/// A running proxy in front of one server.
pub struct HttpProxy {
    server: Server,
    shared: Arc<Shared>,
}

impl HttpProxy {
    /// Listens on a free port of this machine; `upstream` is host:port, with or without `http://`.
    pub fn start(upstream: &str) -> io::Result<HttpProxy> {
        HttpProxy::start_at(ANY_PORT, upstream)
    }

    pub fn start_at(listen: SocketAddr, upstream: &str) -> io::Result<HttpProxy> {
        let upstream = upstream.strip_prefix("http://").unwrap_or(upstream).trim_end_matches('/').to_owned();
        let shared =
            Arc::new(Shared { upstream, decision: Mutex::new(Box::new(|_| Act::Pass)), counters: Counters::default() });
        let server = {
            let shared = Arc::clone(&shared);
            Server::start(listen, move |client| connection(client, Arc::clone(&shared)))?
        };
        Ok(HttpProxy { server, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// From now on, `decide` says what becomes of each request.
    pub fn decide(&self, decide: impl FnMut(&Request) -> Act + Send + 'static) {
        *self.shared.decision.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(decide);
    }

    /// The first `times` requests of this method whose target contains `target` meet `act`, all others pass.
    pub fn first(&self, times: usize, method: &str, target: &str, act: Act) {
        let (method, target, mut left) = (method.to_owned(), target.to_owned(), times);
        self.decide(move |request| {
            if left > 0 && request.method == method && request.target.contains(&target) {
                left -= 1;
                act.clone()
            } else {
                Act::Pass
            }
        });
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.decide(|_| Act::Pass);
    }

    pub fn seen(&self) -> Seen {
        self.shared.counters.get()
    }

    /// Waits until the counts are as wanted; whether they were in time.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        self.shared.counters.wait(patience, wanted)
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    shared.counters.add(|seen| seen.connections += 1);
    // A client that goes away, or a message that is none, ends its connection; there is nobody to tell.
    let Ok(Some(request)) = read_request(&mut client).await else { return };
    let act = (shared.decision.lock().unwrap_or_else(PoisonError::into_inner))(&request);
    shared.counters.add(|seen| {
        seen.requests += 1;
        seen.faults += u64::from(act != Act::Pass);
    });
    let sent = request.body.len();
    let answer = match &act {
        Act::Answer { status, code } => Ok(refusal(&request, *status, code)),
        Act::Hang => return hang(client).await,
        Act::CutBody { after } => {
            let _ = relay(&shared.upstream, &request, (*after).min(sent)).await;
            return;
        }
        _ => relay(&shared.upstream, &request, sent).await,
    };
    let answer = match act {
        Act::ApplyThenHang => return hang(client).await,
        Act::ApplyThenCut => return,
        Act::ApplyThenAnswer { status, code } => answer.map(|_| refusal(&request, status, &code)),
        Act::HideKeys { containing } => answer.map(|answer| without_keys(&answer, &containing)),
        _ => answer,
    };
    let Ok(answer) = answer else { return };
    shared.counters.add(|seen| {
        seen.bytes_up += sent as u64;
        seen.bytes_down += answer.len() as u64;
    });
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
}

/// Keeps the connection until the client gives up.
async fn hang(mut client: TcpStream) {
    let mut byte = [0];
    while client.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// `None` when the client closes without a request.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD_MAX {
            return Err(wrong("the head of a request is too long"));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = bytes[..end].to_vec();
    let mut body = bytes.split_off(end);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&head).map_err(io::Error::other)?;
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
            .collect(),
        head: Vec::new(),
        body: Vec::new(),
    };
    if request.header("transfer-encoding").is_some() {
        return Err(wrong("chunked requests are not supported: S3 wants a length"));
    }
    let length: usize = request.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    if length > BODY_MAX {
        return Err(wrong("the body of a request is too long"));
    }
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Err(wrong("the body of a request ends too early"));
        }
    }
    body.truncate(length);
    request.head = closing(&head);
    request.body = body;
    Ok(Some(request))
}

/// The same head for a connection that ends after the answer, so that the end of the answer is the end of the stream.
fn closing(head: &[u8]) -> Vec<u8> {
    let mut closing = Vec::with_capacity(head.len() + 20);
    for line in head[..head.len() - 2].split_inclusive(|&byte| byte == b'\n') {
        if !line.to_ascii_lowercase().starts_with(b"connection:") {
            closing.extend_from_slice(line);
        }
    }
    closing.extend_from_slice(b"connection: close\r\n\r\n");
    closing
}

/// Sends the head and `sent` bytes of the body. Gives the whole answer; cuts the connection when the body is not whole.
async fn relay(upstream: &str, request: &Request, sent: usize) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(&request.head).await?;
    server.write_all(&request.body[..sent]).await?;
    let mut answer = Vec::new();
    if sent == request.body.len() {
        server.read_to_end(&mut answer).await?;
    }
    Ok(answer)
}

/// An answer as S3 writes it, with what a client wants to see in one that says success. A HEAD has no body.
fn refusal(request: &Request, status: u16, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    );
    let shown = if request.method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status} {code}\r\ncontent-type: application/xml\r\netag: \"by-the-proxy\"\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{shown}",
        body.len()
    )
    .into_bytes()
}

/// A listing without the entries whose key contains `hidden`; any other answer as it is, a refusal above all.
fn without_keys(answer: &[u8], hidden: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let listing = text.split_once("\r\n\r\n").filter(|(head, body)| head.starts_with("HTTP/1.1 200") && body.contains("<Contents>"));
    let Some((_, body)) = listing else { return answer.to_vec() };
    let mut kept = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("<Contents>") {
        let Some((entry, after)) = after.split_once("</Contents>") else { break };
        kept.push_str(before);
        let key = entry.split_once("<Key>").and_then(|(_, key)| key.split_once("</Key>")).map_or("", |(key, _)| key);
        if !key.contains(hidden) {
            kept.push_str(&format!("<Contents>{entry}</Contents>"));
        }
        rest = after;
    }
    kept.push_str(rest);
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{kept}",
        kept.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hidden_in_listings_and_every_other_answer_stays_as_it_is() {
        let refused = b"HTTP/1.1 412 Precondition Failed\r\n\r\n<Error><Key>a0</Key></Error>";
        assert_eq!(without_keys(refused, "0"), refused, "a loser must not be told that it won");
        let object = b"HTTP/1.1 200 OK\r\n\r\n0123";
        assert_eq!(without_keys(object, "0"), object);
        let listing = b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><Contents><Key>a0</Key></Contents><Contents><Key>b</Key></Contents></ListBucketResult>";
        let left = String::from_utf8(without_keys(listing, "0")).expect("text");
        assert!(!left.contains("a0") && left.contains("<Key>b</Key>") && left.ends_with("</ListBucketResult>"), "{left}");
    }
}
