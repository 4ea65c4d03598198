//! Asking a shard to end, and how.
//!
//! Owns: the request. Does not own: when it is noticed (between two epochs, or while one is waited for).
//!
//! Invariant: a request is never taken back, and a more urgent one replaces a gentler one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// How a shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ending {
    /// The epoch is committed, and a checkpoint is made: nobody may go on for a while.
    Rest,
    /// The epoch is committed, and a checkpoint is made where that is cheaper than executing again: another process is
    /// about to go on.
    HandOver,
    /// Nothing more is committed: another process may have gone on already.
    Drop,
}

pub struct Stop {
    /// Of its own, so that signal handlers can set it.
    asked: Arc<AtomicBool>,
    how: AtomicU8,
}

impl Stop {
    /// `asked` alone asks to rest.
    pub fn new(asked: Arc<AtomicBool>) -> Stop {
        Stop { asked, how: AtomicU8::new(Ending::Rest as u8) }
    }

    pub fn ask(&self, how: Ending) {
        self.how.fetch_max(how as u8, Ordering::Relaxed);
        self.asked.store(true, Ordering::Release);
    }

    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    pub fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// How to end, when that was asked for; at the input's end as if resting was.
    pub fn ending(&self) -> Ending {
        match (self.asked(), self.how.load(Ordering::Relaxed)) {
            (true, how) if how == Ending::Drop as u8 => Ending::Drop,
            (true, how) if how == Ending::HandOver as u8 => Ending::HandOver,
            _ => Ending::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_more_urgent_request_replaces_a_gentler_one_and_not_the_other_way_round() {
        let stop = Stop::new(Arc::default());
        assert!(!stop.asked());
        stop.ask(Ending::HandOver);
        assert_eq!(stop.ending(), Ending::HandOver);
        stop.ask(Ending::Drop);
        stop.ask(Ending::Rest);
        assert_eq!(stop.ending(), Ending::Drop);
    }

    #[test]
    fn a_signal_asks_to_rest() {
        let flag = Arc::new(AtomicBool::new(false));
        let stop = Stop::new(Arc::clone(&flag));
        flag.store(true, Ordering::Release);
        assert_eq!((stop.asked(), stop.ending()), (true, Ending::Rest));
    }
}
