//! Refreshes of side tables that fail, for whoever looks.
//!
//! Owns: how many failed in a row, and why the last one did. Does not own: refreshing (`worker::refresh`).
//!
//! Invariant: tables are refreshed once for a process, so each of its shards shows the same.

use prometheus_client::metrics::gauge::Gauge;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Default)]
pub struct Refreshes {
    /// Since the last one that succeeded.
    pub(super) failed: Gauge,
    problem: Arc<Mutex<Option<String>>>,
}

impl Refreshes {
    pub fn succeeded(&self) {
        self.set(None);
        self.failed.set(0);
    }

    pub fn failed(&self, why: String) {
        self.set(Some(why));
        self.failed.inc();
    }

    fn set(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// How many failed in a row, and why the last one did.
    pub(super) fn now(&self) -> (u64, Option<String>) {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.failed.get().max(0) as u64, problem)
    }
}
