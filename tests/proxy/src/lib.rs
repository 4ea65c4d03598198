//! Proxies that make faults on purpose, between a client and a real server on this machine.
//!
//! - `tcp`: any protocol: slow, paused, silent, cut connections, lost replies
//! - `http`: S3: errors before and after the server acted, lost answers, cut bodies, stale listings, refusals
//! - `kafka`: a broker: the end of a transaction that comes late
//! - `control`: the same by lines of text, for the binary
//!
//! Owns: faults of the network. Does not own: starting servers, nor what a fault should lead to (the tests).
//!
//! Invariants: without a fault, bytes pass unchanged. A proxy ends with its value: its port closes, its connections are
//! cut. Everything that a test may wait for is counted and can be awaited.

pub mod control;
pub mod http;
pub mod kafka;
mod seen;
pub mod tcp;

pub use seen::Seen;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A thread that accepts connections until it is dropped.
struct Server {
    address: SocketAddr,
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `listen` (port 0: a free one), and hands every connection to `serve`.
    fn start<F>(listen: SocketAddr, serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> io::Result<Server>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (ending, mut ended) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                loop {
                    tokio::select! {
                        _ = ended.changed() => return,
                        // An accept that fails concerns one connection.
                        accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(serve(stream));
                        },
                    }
                }
            });
            // Dropping the runtime cuts what is left.
        })?;
        Ok(Server { address, ending, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.ending.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A free port of this machine.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
