//! A proxy of one Kafka broker that keeps the end of a transaction back, and delivers it later.
//!
//! Owns: the frames of Kafka's protocol, as far as the kind of a request; the delay, step by step.
//! Does not own: what requests mean to the broker, nor what a client should do (the tests).
//!
//! Invariants: frames pass whole and unchanged, in the order of their connection. One end is kept back at a time.

use crate::Server;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// Kinds of requests, by Kafka's numbers.
const PRODUCE: i16 = 0;
const END_TXN: i16 = 26;

/// Largest frame, bytes: as brokers take them (`socket.request.max.bytes`).
const FRAME_MAX: usize = 100 << 20;

/// How far the delay of one request is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Delay {
    /// Everything passes.
    #[default]
    None,
    /// The next commit is kept back, and its connection cut.
    Armed,
    /// It is kept; the client has not repeated it yet.
    Kept,
    /// The client's repetition passed, and so many writes of its next transaction were answered.
    Repeated { answered: usize },
    /// This write is under way; others wait.
    Writing { answered: usize, connection: u64, correlation: i32 },
    /// All writes that should pass were answered; what follows waits. The moment for `deliver`.
    Amid,
}

struct Shared {
    upstream: Arc<str>,
    delay: watch::Sender<Delay>,
    kept: watch::Sender<Vec<u8>>,
    /// Writes of the next transaction that pass before the old end comes.
    writes: usize,
    connections: watch::Sender<u64>,
}

/// A running proxy in front of one broker, which must advertise the address of the proxy.
pub struct KafkaProxy {
    server: Server,
    shared: Arc<Shared>,
}

impl KafkaProxy {
    /// `writes` of the next transaction pass before its rest waits for the old end.
    pub fn start_at(listen: SocketAddr, upstream: &str, writes: usize) -> io::Result<KafkaProxy> {
        let shared = Arc::new(Shared {
            upstream: Arc::from(upstream),
            delay: watch::Sender::new(Delay::None),
            kept: watch::Sender::new(Vec::new()),
            writes,
            connections: watch::Sender::new(0),
        });
        let server = {
            let shared = Arc::clone(&shared);
            Server::start(listen, move |client| connection(client, Arc::clone(&shared)))?
        };
        Ok(KafkaProxy { server, shared })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Keeps the next commit back.
    pub fn arm(&self) {
        self.shared.delay.send_replace(Delay::Armed);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.shared.delay.send_replace(Delay::None);
    }

    /// Waits until a delay is that far; whether it was in time.
    pub fn wait(&self, patience: Duration, wanted: &Delay) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut delay = self.shared.delay.subscribe();
        Ok(runtime.block_on(async { tokio::time::timeout(patience, delay.wait_for(|now| now == wanted)).await }).is_ok())
    }

    /// Sends the kept request on a connection of its own, as a network that lost it for a while; gives the broker's
    /// error code, 0 for success.
    pub fn deliver(&self, patience: Duration) -> io::Result<i16> {
        let mut broker = std::net::TcpStream::connect(&*self.shared.upstream)?;
        broker.set_read_timeout(Some(patience))?;
        let kept = self.shared.kept.send_replace(Vec::new());
        broker.write_all(&kept)?;
        // Length, correlation, throttle time, error.
        let mut answer = [0; 14];
        broker.read_exact(&mut answer)?;
        Ok(i16::from_be_bytes([answer[12], answer[13]]))
    }
}

/// What becomes of a request.
enum Way {
    Pass,
    Cut,
    Wait,
}

impl Shared {
    fn judge(&self, connection: u64, frame: &[u8]) -> Way {
        let Some((kind, correlation)) = kind(frame) else { return Way::Pass };
        let mut way = Way::Pass;
        self.delay.send_if_modified(|delay| {
            let next = match (&*delay, kind) {
                // The last byte says whether it is a commit.
                (Delay::Armed, END_TXN) if frame.last() == Some(&1) => {
                    self.kept.send_replace(frame.to_vec());
                    way = Way::Cut;
                    Delay::Kept
                }
                (Delay::Kept, END_TXN) => Delay::Repeated { answered: 0 },
                (&Delay::Repeated { answered }, PRODUCE) => Delay::Writing { answered, connection, correlation },
                (Delay::Writing { .. } | Delay::Amid, PRODUCE | END_TXN) => {
                    way = Way::Wait;
                    return false;
                }
                _ => return false,
            };
            *delay = next;
            true
        });
        way
    }

    /// An answer came.
    fn answered(&self, from: u64, to: i32) {
        self.delay.send_if_modified(|delay| match *delay {
            Delay::Writing { answered, connection, correlation } if (connection, correlation) == (from, to) => {
                let answered = answered + 1;
                *delay = if answered == self.writes { Delay::Amid } else { Delay::Repeated { answered } };
                true
            }
            _ => false,
        });
    }
}

/// Kind and correlation of a request, behind its length.
fn kind(frame: &[u8]) -> Option<(i16, i32)> {
    let kind = i16::from_be_bytes(frame.get(4..6)?.try_into().ok()?);
    Some((kind, i32::from_be_bytes(frame.get(8..12)?.try_into().ok()?)))
}

/// The connection ends now, on both sides.
struct Cut;

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut number = 0;
    shared.connections.send_modify(|connections| {
        *connections += 1;
        number = *connections;
    });
    let Ok(broker) = TcpStream::connect(&*shared.upstream).await else { return };
    let _ = broker.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    // Both halves are dropped together, so a cut, or the end of one side, is the end of both.
    let _ = tokio::try_join!(up(from_client, to_broker, number, &shared), down(from_broker, to_client, number, &shared));
}

/// A whole frame with its length; `None` at the end.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let size = usize::try_from(length).ok().filter(|&size| size <= FRAME_MAX)?;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64, shared: &Shared) -> Result<(), Cut> {
    let mut delay = shared.delay.subscribe();
    while let Some(frame) = frame(&mut from).await {
        loop {
            delay.borrow_and_update();
            match shared.judge(number, &frame) {
                Way::Pass => break,
                Way::Cut => return Err(Cut),
                Way::Wait => delay.changed().await.map_err(|_| Cut)?,
            }
        }
        to.write_all(&frame).await.map_err(|_| Cut)?;
    }
    Err(Cut)
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: u64, shared: &Shared) -> Result<(), Cut> {
    while let Some(frame) = frame(&mut from).await {
        if let Some(correlation) = frame.get(4..8).and_then(|bytes| bytes.try_into().ok()) {
            shared.answered(number, i32::from_be_bytes(correlation));
        }
        to.write_all(&frame).await.map_err(|_| Cut)?;
    }
    Err(Cut)
}
