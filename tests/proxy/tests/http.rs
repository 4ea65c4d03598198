//! Every act of the HTTP proxy, against a server that remembers what it was sent.

use segno_proxy::control::Controlled;
use segno_proxy::http::{Act, HttpProxy};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LISTING: &str = "<L><Contents><Key>a/1</Key></Contents><Contents><Key>a/2</Key></Contents><Next/></L>";
/// How long an answer is awaited that must not come.
const SILENCE: Duration = Duration::from_millis(200);

type Received = Arc<Mutex<Vec<String>>>;

/// Answers every request with `LISTING`.
fn server() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let received = Received::default();
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            let mut piece = [0; 1000];
            // The body of every request here ends with a dot.
            while !bytes.ends_with(b".") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => bytes.extend_from_slice(&piece[..read]),
                }
            }
            kept.lock().expect("a list").push(String::from_utf8_lossy(&bytes).into_owned());
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{LISTING}", LISTING.len());
        }
    });
    (address, received)
}

/// What comes back for a request; empty when the connection is cut or silent.
fn ask(proxy: &HttpProxy, method: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 10\r\n\r\n123456789.")
        .expect("sent");
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn received(received: &Received) -> usize {
    received.lock().expect("a list").len()
}

#[test]
fn without_a_fault_a_request_passes_with_its_headers_and_body() {
    let (address, got) = server();
    let proxy = HttpProxy::start(&address).expect("a proxy");
    assert!(ask(&proxy, "GET", "/b/?list-type=2").ends_with(LISTING));
    let got = got.lock().expect("a list");
    assert!(got[0].starts_with("GET /b/?list-type=2 HTTP/1.1\r\nHost: h\r\n") && got[0].ends_with("123456789."), "{got:?}");
}

#[test]
fn a_refusal_before_the_server_is_never_applied_and_one_after_it_is() {
    let (address, got) = server();
    let proxy = HttpProxy::start(&address).expect("a proxy");
    proxy.first(1, "PUT", "/journal/", Act::slow_down());
    assert!(ask(&proxy, "PUT", "/b/other").starts_with("HTTP/1.1 200"), "another path");
    assert!(ask(&proxy, "GET", "/b/journal/1").starts_with("HTTP/1.1 200"), "another method");
    assert!(ask(&proxy, "PUT", "/b/journal/1").starts_with("HTTP/1.1 503 SlowDown"));
    assert_eq!(received(&got), 2);
    assert!(ask(&proxy, "PUT", "/b/journal/1").starts_with("HTTP/1.1 200"), "only the first");
    proxy.first(1, "PUT", "/", Act::ApplyThenAnswer { status: 500, code: "InternalError".to_owned() });
    let answer = ask(&proxy, "PUT", "/b/journal/1");
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("<Code>InternalError</Code>"), "{answer}");
    assert_eq!((received(&got), proxy.seen().requests, proxy.seen().faults), (4, 5, 2));
}

#[test]
fn hanging_and_cut_answers_differ_in_what_the_server_saw() {
    let (address, got) = server();
    let proxy = HttpProxy::start(&address).expect("a proxy");
    for (act, applied) in [(Act::Hang, 0), (Act::ApplyThenHang, 1), (Act::ApplyThenCut, 2)] {
        proxy.first(1, "PUT", "/", act.clone());
        assert_eq!(ask(&proxy, "PUT", "/b/k"), "");
        assert_eq!(received(&got), applied, "{act:?}");
    }
    proxy.first(1, "PUT", "/", Act::CutBody { after: 4 });
    assert_eq!(ask(&proxy, "PUT", "/b/k"), "");
    assert!(ask(&proxy, "PUT", "/b/k").ends_with(LISTING));
    let got = got.lock().expect("a list");
    assert!(got[2].ends_with("\r\n\r\n1234"), "the server saw a torn body: {}", got[2]);
}

#[test]
fn a_stale_listing_lacks_some_keys_and_nothing_else() {
    let (address, _got) = server();
    let proxy = HttpProxy::start(&address).expect("a proxy");
    assert_eq!(proxy.obey("hide 1 GET list-type a/2"), Ok("ok".to_owned()));
    assert!(ask(&proxy, "GET", "/b/?list-type=2").ends_with("<L><Contents><Key>a/1</Key></Contents><Next/></L>"));
    assert!(proxy.obey("nonsense").is_err());
}
