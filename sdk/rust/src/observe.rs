//! Owns what a plugin tells its host while it works: log lines and counters.
//! Does not own where they go. Natively they go to the test harness, or to standard error.
//! Invariant: nothing comes back, so that nothing can depend on it.

use core::cell::RefCell;
use core::fmt;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

thread_local! {
    /// Counters of the current batch: one call to the host for each, at the batch's end. A batch that traps counts
    /// nothing.
    static COUNTS: RefCell<Vec<(&'static str, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Writes a line to the host's log, at once: it is seen even if the next line traps. See [`crate::log!`].
pub fn log(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => send_log(level, text),
        None => send_log(level, &message.to_string()),
    }
}

/// Adds to a counter of this step. Sent at the end of the batch.
pub fn count(name: &'static str, delta: u64) {
    COUNTS.with_borrow_mut(|counts| {
        match counts
            .iter_mut()
            .find(|(known, _)| core::ptr::eq(*known, name) || *known == name)
        {
            Some((_, total)) => *total = total.saturating_add(delta),
            None => counts.push((name, delta)),
        }
    });
}

/// Sends the batch's counters.
pub(crate) fn flush_counts() {
    COUNTS.with_borrow_mut(|counts| {
        for (name, total) in counts.drain(..) {
            send_count(name, total);
        }
    });
}

/// Forgets the counters of a batch that failed.
pub(crate) fn drop_counts() {
    COUNTS.with_borrow_mut(Vec::clear);
}

#[cfg(target_arch = "wasm32")]
fn send_log(level: Level, message: &str) {
    crate::guest::log(level as u8, message);
}

#[cfg(target_arch = "wasm32")]
fn send_count(name: &str, delta: u64) {
    crate::guest::count(name, delta);
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{capture, take};
#[cfg(not(target_arch = "wasm32"))]
use native::{send_count, send_log};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Level;

    #[derive(Default)]
    pub(crate) struct Captured {
        pub(crate) logs: Vec<(Level, String)>,
        pub(crate) counts: BTreeMap<String, u64>,
    }

    thread_local! {
        static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
    }

    /// From now on, what this thread's plugins say is kept.
    pub(crate) fn capture() {
        CAPTURED.with_borrow_mut(|captured| {
            captured.get_or_insert_default();
        });
    }

    /// What was said since the last call.
    pub(crate) fn take() -> Captured {
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(captured) => std::mem::take(captured),
            None => Captured::default(),
        })
    }

    pub(super) fn send_log(level: Level, message: &str) {
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(captured) => captured.logs.push((level, message.to_owned())),
            None => eprintln!("{level:?}: {message}"),
        });
    }

    pub(super) fn send_count(name: &str, delta: u64) {
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(captured) = captured {
                *captured.counts.entry(name.to_owned()).or_default() += delta;
            }
        });
    }
}

/// Writes a line to the host's log: `log!(Level::Warn, "no airport {code}")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $($message:tt)+) => {
        $crate::observe::log($level, ::core::format_args!($($message)+))
    };
}
