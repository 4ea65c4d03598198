//! Metrics for Prometheus.
//!
//! Owns: their names, units and labels. Every series has the labels tenant, pipeline and shard. Times are in seconds,
//! sizes in bytes, as Prometheus has it; docs/metrics.md lists all of them.

use super::status::{Health, Status};
use crate::shard::Progress;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use segno_core::protocol::time::END;
use segno_core::{Code, Error, Result};
use std::borrow::Cow;
use std::sync::atomic::AtomicU64;

type Float = Gauge<f64, AtomicU64>;

/// From 1 ms to 65 s: below, nobody waits; above, an alert has fired.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Name {
    name: String,
}

fn name(name: &str) -> Name {
    Name { name: name.to_owned() }
}

pub struct Metrics {
    registry: Registry,
    records: Counter,
    bytes: Counter,
    rows: Family<Name, Counter>,
    dead_letters: Counter,
    skipped: Counter,
    lost: Counter,
    rejected: Family<Name, Counter>,
    timers: Family<Name, Counter>,
    broken_expectations: Family<Name, Counter>,
    epochs: Counter,
    checkpoints: Counter,
    pub restarts: Counter,
    fuel: Family<Name, Counter>,
    plugin_counts: Family<Name, Counter>,
    failed_calls: Family<Name, Counter>,
    execute: Histogram,
    commit: Histogram,
    /// From the start of an epoch's oldest record's wait to its commit, as the epoch loop sees it.
    epoch: Histogram,
    lag: Family<Name, Gauge>,
    lag_seconds: Float,
    skew: Float,
    watermark: Float,
    committed_at: Float,
    replay_debt: Float,
    checkpoint_at: Float,
    checkpoint_bytes: Gauge,
    state_bytes: Gauge,
    health: Family<Name, Gauge>,
    failed_refreshes: Gauge,
}

impl Metrics {
    pub fn new(tenant: &str, pipeline: &str, shard: &str, failed_refreshes: Gauge) -> Metrics {
        let labels = [("tenant", tenant), ("pipeline", pipeline), ("shard", shard)]
            .map(|(name, value)| (Cow::from(name), Cow::from(value.to_owned())));
        let mut metrics = Metrics {
            registry: Registry::with_prefix_and_labels("segno", labels.into_iter()),
            records: Counter::default(),
            bytes: Counter::default(),
            rows: Family::default(),
            dead_letters: Counter::default(),
            skipped: Counter::default(),
            lost: Counter::default(),
            rejected: Family::default(),
            timers: Family::default(),
            broken_expectations: Family::default(),
            epochs: Counter::default(),
            checkpoints: Counter::default(),
            restarts: Counter::default(),
            fuel: Family::default(),
            plugin_counts: Family::default(),
            failed_calls: Family::default(),
            execute: latencies(),
            commit: latencies(),
            epoch: latencies(),
            lag: Family::default(),
            lag_seconds: Float::default(),
            skew: Float::default(),
            watermark: Float::default(),
            committed_at: Float::default(),
            replay_debt: Float::default(),
            checkpoint_at: Float::default(),
            checkpoint_bytes: Gauge::default(),
            state_bytes: Gauge::default(),
            health: Family::default(),
            failed_refreshes,
        };
        // Without event time there is neither.
        metrics.lag_seconds.set(f64::NAN);
        metrics.watermark.set(f64::NAN);
        metrics.register();
        metrics.set_health(Health::Recovering);
        metrics
    }

    fn register(&mut self) {
        let Metrics { registry, .. } = self;
        registry.register("records", "Records read and committed", self.records.clone());
        registry.register_with_unit("input", "Bytes of records read and committed", Unit::Bytes, self.bytes.clone());
        registry.register("rows", "Rows written, by sink", self.rows.clone());
        registry.register("dead_letters", "Records that went to the dead letters", self.dead_letters.clone());
        registry.register("skipped", "Records that were dropped by on_error: skip", self.skipped.clone());
        registry.register("lost", "Offsets that were gone before they were read, and were given up", self.lost.clone());
        registry.register("rejected", "Records that a step rejected, by step", self.rejected.clone());
        registry.register("timers", "Timers that fired, by step", self.timers.clone());
        registry.register("broken_expectations", "Windows in which a step rejected more than expect allows, and the run went on, by step", self.broken_expectations.clone());
        registry.register("epochs", "Epochs committed", self.epochs.clone());
        registry.register("checkpoints", "Checkpoints published", self.checkpoints.clone());
        registry.register("restarts", "Restarts of the shard after a failure that may pass", self.restarts.clone());
        registry.register("fuel", "Units of fuel used, by step", self.fuel.clone());
        registry.register("plugin", "Counters of plugins, by step.name", self.plugin_counts.clone());
        registry.register("failed_calls", "Records rejected after a failing call (trap, fuel, memory), by step", self.failed_calls.clone());
        registry.register_with_unit("execute", "Time to execute an epoch", Unit::Seconds, self.execute.clone());
        registry.register_with_unit("commit", "Time to commit an epoch: stage, journal, publish, apply", Unit::Seconds, self.commit.clone());
        registry.register_with_unit("epoch", "Time from one commit to the next", Unit::Seconds, self.epoch.clone());
        registry.register("lag", "Records that are there and not committed, by partition, where the source knows", self.lag.clone());
        registry.register_with_unit("lag", "Time from the newest event time read to now", Unit::Seconds, self.lag_seconds.clone());
        registry.register("partition_skew", "Largest lag of a partition over the mean of all; 1 is even", self.skew.clone());
        registry.register_with_unit("watermark", "Event time up to which everything has come, since 1970", Unit::Seconds, self.watermark.clone());
        registry.register_with_unit("last_commit_timestamp", "When the last epoch was committed, since 1970", Unit::Seconds, self.committed_at.clone());
        registry.register_with_unit("replay_debt", "Execution that a recovery would have to do again", Unit::Seconds, self.replay_debt.clone());
        registry.register_with_unit("checkpoint_timestamp", "When the last checkpoint was made, since 1970", Unit::Seconds, self.checkpoint_at.clone());
        registry.register_with_unit("checkpoint_size", "Size of the last checkpoint", Unit::Bytes, self.checkpoint_bytes.clone());
        registry.register_with_unit("state_size", "Size of the local state", Unit::Bytes, self.state_bytes.clone());
        registry.register("health", "1 for what the shard is: recovering, paused, live, stopping or failed", self.health.clone());
        registry.register("failed_refreshes", "Refreshes of side tables that failed since the last one that succeeded", self.failed_refreshes.clone());
    }

    pub(super) fn take(&self, progress: &Progress<'_>, status: &Status) {
        let counts = progress.counts;
        self.records.inc_by(counts.records);
        self.bytes.inc_by(counts.bytes);
        self.dead_letters.inc_by(counts.dead_letters);
        self.skipped.inc_by(counts.skipped);
        self.lost.inc_by(counts.lost);
        self.epochs.inc();
        for (sink, rows) in &counts.rows_out {
            self.rows.get_or_create(&name(sink)).inc_by(*rows);
        }
        for (step, fuel) in &counts.fuel {
            self.fuel.get_or_create(&name(step)).inc_by(*fuel);
        }
        for (step, timers) in &counts.timers {
            self.timers.get_or_create(&name(step)).inc_by(*timers);
        }
        for (counter, delta) in &counts.counters {
            self.plugin_counts.get_or_create(&name(counter)).inc_by(*delta);
        }
        for (step, rejected) in &counts.rejected {
            self.rejected.get_or_create(&name(step)).inc_by(*rejected);
        }
        for (step, broken) in &progress.broken {
            self.broken_expectations.get_or_create(&name(step)).inc_by(*broken);
        }
        for (step, rejected) in &progress.failed_calls {
            self.failed_calls.get_or_create(&name(step)).inc_by(*rejected);
        }
        self.execute.observe(progress.execute.as_secs_f64());
        self.commit.observe(progress.commit.as_secs_f64());
        self.epoch.observe(progress.since_last.as_secs_f64());
        let lags: Vec<u64> = status.partitions.iter().filter_map(|partition| partition.lag).collect();
        for partition in &status.partitions {
            if let Some(lag) = partition.lag {
                self.lag.get_or_create(&name(&partition.name)).set(lag as i64);
            }
        }
        let sum: u64 = lags.iter().sum();
        let mean = sum as f64 / lags.len().max(1) as f64;
        self.skew.set(if sum == 0 { 1.0 } else { lags.iter().max().copied().unwrap_or(0) as f64 / mean });
        if let Some(newest) = status.partitions.iter().filter_map(|partition| partition.time_us).max() {
            self.lag_seconds.set((progress.committed_at_ms as f64 / 1e3 - newest as f64 / 1e6).max(0.0));
        }
        if let Some(watermark) = progress.watermark {
            // Behind the end of the input there is nothing that could come.
            self.watermark.set(if watermark == END { f64::INFINITY } else { watermark as f64 / 1e6 });
        }
        self.committed_at.set(progress.committed_at_ms as f64 / 1e3);
        self.replay_debt.set(progress.replay_debt.as_secs_f64());
        self.state_bytes.set(progress.state_bytes as i64);
        if let Some(checkpoint) = &progress.checkpoint {
            if self.checkpoint_at.get() != checkpoint.at_ms as f64 / 1e3 {
                self.checkpoints.inc();
            }
            self.checkpoint_at.set(checkpoint.at_ms as f64 / 1e3);
            self.checkpoint_bytes.set(checkpoint.bytes as i64);
        }
    }

    pub(super) fn set_health(&self, health: Health) {
        for one in Health::ALL {
            self.health.get_or_create(&name(one.name())).set(i64::from(one == health));
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| Error::new(Code::Internal, "metrics cannot be written").with_cause(error))?;
        Ok(text)
    }
}
