//! Every fault of the TCP proxy, seen by a client of a server that echoes.

use segno_proxy::tcp::{Faults, TcpProxy};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a silent connection is watched.
const SILENCE: Duration = Duration::from_millis(200);

/// Echoes until the test ends.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut from = stream.try_clone().expect("a stream");
                let mut to = stream;
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn connect(proxy: &TcpProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

fn silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let read = stream.read(&mut [0; 1]);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Everything until the connection ends, in order or not.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn without_a_fault_bytes_pass_unchanged_and_ends_pass_too() {
    let proxy = TcpProxy::start(&echo()).expect("a proxy");
    let mut stream = connect(&proxy);
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n * 7) as u8).collect();
    let sent = bytes.clone();
    let mut writer = stream.try_clone().expect("a stream");
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("sent");
        writer.shutdown(std::net::Shutdown::Write).expect("ended");
    });
    assert!(rest(&mut stream) == bytes);
    writing.join().expect("a writer");
    assert_eq!((proxy.seen().connections, proxy.seen().bytes_up, proxy.seen().faults), (1, 1_000_000, 0));
}

#[test]
fn delay_and_bandwidth_take_their_time() {
    let proxy = TcpProxy::start(&echo()).expect("a proxy");
    let mut stream = connect(&proxy);
    proxy.set(Faults { delay: Duration::from_millis(50), ..Faults::default() });
    let started = Instant::now();
    echoed(&mut stream, b"slowly").expect("an echo");
    assert!(started.elapsed() >= Duration::from_millis(100), "once each way");
    proxy.set(Faults { bandwidth: Some(20_000), ..Faults::default() });
    let started = Instant::now();
    echoed(&mut stream, &[1; 10_000]).expect("an echo");
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn a_pause_delivers_later_and_a_blackhole_never() {
    let proxy = TcpProxy::start(&echo()).expect("a proxy");
    let mut stream = connect(&proxy);
    echoed(&mut stream, b"before").expect("an echo");
    proxy.set(Faults { paused: true, ..Faults::default() });
    stream.write_all(b"later").expect("sent");
    assert!(silent(&mut stream));
    proxy.heal();
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("it comes after the pause");
    assert_eq!(&back, b"later");
    proxy.set(Faults { blackhole: true, ..Faults::default() });
    stream.write_all(b"never").expect("sent");
    assert!(silent(&mut stream));
    proxy.heal();
    assert!(silent(&mut stream), "what the blackhole took does not come back");
    assert_eq!(echoed(&mut stream, b"again").expect("an echo"), b"again");
}

#[test]
fn a_dropped_reply_means_that_the_server_got_the_request() {
    let proxy = TcpProxy::start(&echo()).expect("a proxy");
    let mut stream = connect(&proxy);
    proxy.set(Faults { drop_replies: true, ..Faults::default() });
    stream.write_all(b"apply this").expect("sent");
    assert_eq!(rest(&mut stream), b"");
    assert!(proxy.wait(PATIENCE, |seen| seen.faults == 1 && seen.bytes_up == 10 && seen.bytes_down == 0));
}

#[test]
fn connections_are_cut_after_bytes_on_command_and_refused() {
    let proxy = TcpProxy::start(&echo()).expect("a proxy");
    let mut stream = connect(&proxy);
    proxy.set(Faults { cut_after_down: Some(4), ..Faults::default() });
    stream.write_all(b"0123456789").expect("sent");
    assert_eq!(rest(&mut stream), b"0123");
    let mut stream = connect(&proxy);
    proxy.set(Faults { cut_after_up: Some(3), ..Faults::default() });
    stream.write_all(b"0123456789").expect("sent");
    assert!(rest(&mut stream).len() <= 3);
    proxy.heal();
    let mut stream = connect(&proxy);
    echoed(&mut stream, b"alive").expect("an echo");
    proxy.cut();
    assert_eq!(rest(&mut stream), b"");
    proxy.set(Faults { refuse: true, ..Faults::default() });
    assert_eq!(rest(&mut connect(&proxy)), b"");
}
