//! Reading ahead: threads that decode chunks of partitions on request.
//!
//! Owns: the reader threads and the bounded number of chunks in flight.
//! Does not own: the order of records (`plan`), nor what a source is (`segno-input`).
//!
//! Invariants: a slot has at most `chunks_ahead` chunks asked for and not consumed, so memory is bounded whatever the
//! size of the input. Replies of one slot arrive in the order of its requests.

use segno_core::source::{Next, PartitionReader, ReadLimit};
use segno_core::{Error, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Chunks of a partition that are read ahead at least: one being consumed, one being decoded.
const CHUNKS_LEAST: usize = 2;

/// Bytes of all partitions that are read ahead where there is a core for it: an epoch of the default size, so that the next one is
/// decoded while this one is executed.
const BYTES_AHEAD: usize = 32 << 20;

/// A partition whose chunks are smaller gives what has come so far: asked more often it would give less each time.
pub const CHUNK_BYTES_MORE: usize = 768 << 10;

/// Size of a chunk: large enough to amortise a request, small enough that hundreds of partitions fit in memory.
pub const CHUNK_LIMIT: ReadLimit = ReadLimit { rows: 16_384, bytes: 4 << 20 };

pub type SlotId = u64;

pub struct Reply {
    pub slot: SlotId,
    pub next: Result<Next>,
}

enum Request {
    Open(SlotId, Box<dyn PartitionReader>),
    Read(SlotId),
    Close(SlotId),
}

/// The reader threads of a shard.
pub struct Feed {
    requests: Vec<Sender<Request>>,
    replies: Receiver<Reply>,
    threads: Vec<JoinHandle<()>>,
}

impl Feed {
    pub fn start(threads: usize) -> Feed {
        let (reply, replies) = channel();
        let mut requests = Vec::new();
        let mut handles = Vec::new();
        for number in 0..threads.max(1) {
            let (request, inbox) = channel();
            let reply = reply.clone();
            let handle = std::thread::Builder::new()
                .name(format!("reader-{number}"))
                .spawn(move || read_on_request(&inbox, &reply))
                .expect("the system can start a reader thread");
            requests.push(request);
            handles.push(handle);
        }
        Feed { requests, replies, threads: handles }
    }

    /// How many chunks of a partition are read ahead, whose last one had so many bytes; so many partitions have more to read.
    pub fn chunks_ahead(&self, bytes: usize, partitions: usize) -> usize {
        match bytes >= CHUNK_BYTES_MORE && self.threads.len() > 1 {
            true => (BYTES_AHEAD / bytes / partitions.max(1)).max(CHUNKS_LEAST),
            false => CHUNKS_LEAST,
        }
    }

    fn send(&self, slot: SlotId, request: Request) {
        let thread = (slot as usize) % self.requests.len();
        // A reader thread ends only when this sender is dropped, or by a panic, which `receive` reports.
        let _ = self.requests[thread].send(request);
    }

    pub fn open(&self, slot: SlotId, reader: Box<dyn PartitionReader>) {
        self.send(slot, Request::Open(slot, reader));
    }

    pub fn close(&self, slot: SlotId) {
        self.send(slot, Request::Close(slot));
    }

    /// Asks for the next chunk of a slot; the answer comes through `receive`.
    pub fn ask(&self, slot: SlotId) {
        self.send(slot, Request::Read(slot));
    }

    pub fn try_receive(&self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    /// Waits for a reply. `None` after the timeout.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Reply>> {
        match self.replies.recv_timeout(timeout) {
            Ok(reply) => Ok(Some(reply)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::new(segno_core::Code::Internal, "all reader threads ended"))
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.requests.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn read_on_request(inbox: &Receiver<Request>, reply: &Sender<Reply>) {
    let mut readers: Vec<(SlotId, Box<dyn PartitionReader>)> = Vec::new();
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Open(slot, reader) => {
                readers.retain(|(id, _)| *id != slot);
                readers.push((slot, reader));
            }
            Request::Close(slot) => readers.retain(|(id, _)| *id != slot),
            Request::Read(slot) => {
                let Some((_, reader)) = readers.iter_mut().find(|(id, _)| *id == slot) else { continue };
                let next = reader.next(CHUNK_LIMIT);
                if reply.send(Reply { slot, next }).is_err() {
                    return;
                }
            }
        }
    }
}
