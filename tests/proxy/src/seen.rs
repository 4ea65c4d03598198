//! What a proxy saw and did: counted, and awaited.
//!
//! Owns: the counters and waiting on them, so that no test has to sleep.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts since the proxy started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections that clients made.
    pub connections: u64,
    /// Bytes that went from clients to the server.
    pub bytes_up: u64,
    /// Bytes that went from the server to clients.
    pub bytes_down: u64,
    /// HTTP requests that were read whole; 0 for plain TCP.
    pub requests: u64,
    /// Faults that took effect: connections cut, replies dropped, requests answered by the proxy.
    pub faults: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Counters {
    pub(crate) fn add(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    pub(crate) fn get(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the counts are as wanted; whether they were in time.
    pub(crate) fn wait(&self, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while !wanted(&seen) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            seen = self.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
