//! What a shard waits for now, for whoever looks at it.
//!
//! Owns: the one thing that is waited for, and since when. Does not own: what is made of it (`observe`).
//!
//! Invariant: set and cleared by the shard's own thread; a looker holds it up for the time of a copy at most.

use super::now_ms;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
pub struct Waits(Arc<Mutex<Option<Wait>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// As in `sink "out"`.
    pub what: String,
    /// ms since 1970 UTC.
    pub since_ms: i64,
}

impl Waits {
    fn lock(&self) -> MutexGuard<'_, Option<Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as `work` takes.
    pub fn during<T>(&self, what: impl FnOnce() -> String, work: impl FnOnce() -> T) -> T {
        *self.lock() = Some(Wait { what: what(), since_ms: now_ms() });
        let done = work();
        *self.lock() = None;
        done
    }

    pub fn now(&self) -> Option<Wait> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_shows_while_it_is_waited_for() {
        let waits = Waits::default();
        let seen = waits.during(|| "sink \"out\"".to_owned(), || waits.clone().now());
        assert_eq!(seen.map(|wait| wait.what).as_deref(), Some("sink \"out\""));
        assert_eq!(waits.now(), None);
    }
}
