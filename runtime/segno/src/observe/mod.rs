//! Seeing a running pipeline from outside: metrics, status, health.
//!
//! - `shards`: the shards of this process
//! - `metrics`: what Prometheus scrapes
//! - `refreshes`: whether the rows of side tables can be read again
//! - `status`: what `segno status` and `segno top` show
//! - `http`: all of it over a socket in the work folder; metrics and status over TCP where asked for
//!
//! Owns: what is shown. Does not own: what is shown happening (`shard`, `worker`).
//!
//! Invariant: looking changes nothing, and a slow looker holds nothing up: the epoch loop only stores numbers.

mod http;
mod metrics;
mod refreshes;
mod shards;
mod status;

pub use http::{Server, ask, tap};
pub use metrics::Metrics;
pub use refreshes::Refreshes;
pub use shards::Shards;
pub use status::{Health, PartitionStatus, SinkStatus, Status};

use crate::shard::Progress;
use segno_core::persisted::TableVersions;
use crate::shard::tap::Taps;
use crate::shard::waits::Waits;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is known of one shard now.
pub struct Observed {
    pub metrics: Metrics,
    /// The shard says here what it waits for.
    pub waits: Waits,
    /// Who looks at its records.
    pub taps: Taps,
    refreshes: Refreshes,
    status: Mutex<Status>,
}

impl Observed {
    pub fn new(tenant: &str, pipeline: &str, shard: &str, refreshes: &Refreshes) -> Arc<Observed> {
        Arc::new(Observed {
            metrics: Metrics::new(tenant, pipeline, shard, refreshes.failed.clone()),
            waits: Waits::default(),
            taps: Taps::default(),
            refreshes: refreshes.clone(),
            status: Mutex::new(Status::new(tenant, pipeline, shard)),
        })
    }

    pub fn status(&self) -> Status {
        let mut status = self.lock().clone();
        if let Some(wait) = self.waits.now() {
            (status.waits_for, status.waits_since_ms) = (Some(wait.what), Some(wait.since_ms));
        }
        (status.failed_refreshes, status.refresh_problem) = self.refreshes.now();
        status
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// After each committed epoch.
    pub fn progress(&self, progress: &Progress<'_>) {
        let mut status = self.lock();
        status.take(progress);
        self.metrics.take(progress, &status);
    }

    /// When the shard is opened.
    pub fn set_tables(&self, tables: Option<&TableVersions>) {
        self.lock().tables = tables.map(|tables| tables.versions.clone()).unwrap_or_default();
    }

    pub fn set_health(&self, health: Health, why: Option<String>) {
        let mut status = self.lock();
        status.health = health;
        status.problem = why;
        self.metrics.set_health(health);
    }

    /// Before the shard is opened again; `health` says how it waits.
    pub fn restarted(&self, health: Health, why: String) {
        self.metrics.restarts.inc();
        self.lock().restarts += 1;
        self.set_health(health, Some(why));
    }
}
