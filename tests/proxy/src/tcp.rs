//! A proxy of bytes, for any protocol.
//!
//! Owns: delay, bandwidth, pauses, silence, cuts, lost replies. Does not own: what the bytes mean (`http`).
//!
//! Invariant: faults may change at any time, and concern the bytes that have not passed yet.

use crate::seen::{Counters, Seen};
use crate::{ANY_PORT, Server};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// Largest piece that is passed on at once, bytes.
const PIECE: usize = 64 << 10;
/// Pieces a second under a limit of bandwidth: small enough to be smooth.
const PIECES_PER_SECOND: u64 = 20;

/// What is wrong with the network. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each piece of bytes waits so long, both ways.
    pub delay: Duration,
    /// Bytes a second, for each connection and direction.
    pub bandwidth: Option<u64>,
    /// Nothing is read nor passed on; connections stay open.
    pub paused: bool,
    /// Everything is read, and nothing passed on; connections stay open.
    pub blackhole: bool,
    /// New connections are closed at once.
    pub refuse: bool,
    /// When the server begins to reply, its bytes are dropped and the connection is cut: the request was applied, and
    /// the client cannot know.
    pub drop_replies: bool,
    /// A connection is cut when so many bytes went to the server.
    pub cut_after_up: Option<u64>,
    /// A connection is cut when so many bytes went to the client.
    pub cut_after_down: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

struct Shared {
    faults: watch::Sender<Faults>,
    /// Changes when all connections are to be cut.
    cuts: watch::Sender<u64>,
    counters: Counters,
}

/// A running proxy in front of one server.
pub struct TcpProxy {
    server: Server,
    shared: Arc<Shared>,
}

impl TcpProxy {
    /// Listens on a free port of this machine; `upstream` is host:port of the server.
    pub fn start(upstream: &str) -> io::Result<TcpProxy> {
        TcpProxy::start_at(ANY_PORT, upstream)
    }

    /// Listens on a given address, such as the one that a broker advertises.
    pub fn start_at(listen: SocketAddr, upstream: &str) -> io::Result<TcpProxy> {
        let shared = Arc::new(Shared {
            faults: watch::Sender::new(Faults::default()),
            cuts: watch::Sender::new(0),
            counters: Counters::default(),
        });
        let upstream: Arc<str> = Arc::from(upstream);
        let server = {
            let shared = Arc::clone(&shared);
            Server::start(listen, move |client| connection(client, Arc::clone(&upstream), Arc::clone(&shared)))?
        };
        Ok(TcpProxy { server, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub fn faults(&self) -> Faults {
        *self.shared.faults.borrow()
    }

    /// Replaces all faults: `proxy.set(Faults { paused: true, ..Faults::default() })`.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Cuts every connection now.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub fn seen(&self) -> Seen {
        self.shared.counters.get()
    }

    /// Waits until the counts are as wanted; whether they were in time.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        self.shared.counters.wait(patience, wanted)
    }
}

/// The connection ends now, on both sides.
struct Cut;

async fn connection(client: TcpStream, upstream: Arc<str>, shared: Arc<Shared>) {
    shared.counters.add(|seen| seen.connections += 1);
    let mut cuts = shared.cuts.subscribe();
    if shared.faults.borrow().refuse {
        shared.counters.add(|seen| seen.faults += 1);
        return;
    }
    let Ok(server) = TcpStream::connect(&*upstream).await else { return };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::try_join!(pump(from_client, to_server, Way::Up, &shared), pump(from_server, to_client, Way::Down, &shared))
    };
    let was_cut = tokio::select! {
        passed = both => passed.is_err(),
        _ = cuts.changed() => true,
    };
    if was_cut {
        shared.counters.add(|seen| seen.faults += 1);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, shared: &Shared) -> Result<(), Cut> {
    let mut faults = shared.faults.subscribe();
    let mut piece = vec![0; PIECE];
    let mut passed = 0u64;
    loop {
        let now = running(&mut faults).await;
        let size = now.bandwidth.map_or(PIECE, |bandwidth| ((bandwidth / PIECES_PER_SECOND) as usize).clamp(1, PIECE));
        let length = match from.read(&mut piece[..size]).await {
            Ok(0) | Err(_) => {
                let _ = to.shutdown().await;
                return Ok(());
            }
            Ok(length) => length,
        };
        // What was set while these bytes were awaited holds for them.
        let now = running(&mut faults).await;
        tokio::time::sleep(now.delay + now.bandwidth.map_or(Duration::ZERO, |bandwidth| {
            Duration::from_secs_f64(length as f64 / bandwidth.max(1) as f64)
        }))
        .await;
        let now = running(&mut faults).await;
        if now.blackhole {
            continue;
        }
        if way == Way::Down && now.drop_replies {
            return Err(Cut);
        }
        let limit = if way == Way::Up { now.cut_after_up } else { now.cut_after_down };
        let left = limit.map_or(length as u64, |limit| limit.saturating_sub(passed)).min(length as u64);
        if to.write_all(&piece[..left as usize]).await.is_err() {
            return Ok(());
        }
        passed += left;
        shared.counters.add(|seen| match way {
            Way::Up => seen.bytes_up += left,
            Way::Down => seen.bytes_down += left,
        });
        if limit.is_some_and(|limit| passed >= limit) {
            return Err(Cut);
        }
    }
}

/// Waits while the proxy is paused; gives the faults of the moment.
async fn running(faults: &mut watch::Receiver<Faults>) -> Faults {
    match faults.wait_for(|faults| !faults.paused).await {
        Ok(faults) => *faults,
        // The proxy is gone, and this task with it in a moment.
        Err(_) => Faults { blackhole: true, ..Faults::default() },
    }
}
