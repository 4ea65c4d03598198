//! The status of a shard, as JSON and for people.
//!
//! Owns: its shape, which programs read: fields are added, never renamed.

use crate::shard::Progress;
use segno_core::persisted::TableVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Restoring state and executing epochs again.
    Recovering,
    /// Waits for something outside that is away: a store, a broker, a database, space on a disk.
    Paused,
    /// Epochs are committed as records come.
    Live,
    /// Asked to stop: finishes the epoch and makes a checkpoint.
    Stopping,
    /// Gave up.
    Failed,
}

impl Health {
    pub const ALL: [Health; 5] = [Health::Recovering, Health::Paused, Health::Live, Health::Stopping, Health::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Health::Recovering => "recovering",
            Health::Paused => "paused",
            Health::Live => "live",
            Health::Stopping => "stopping",
            Health::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub tenant: String,
    pub pipeline: String,
    pub shard: String,
    pub process: u32,
    pub health: Health,
    /// Why it is not live, or why it restarted last.
    pub problem: Option<String>,
    /// What it waits for at the moment: records, or a sink that takes them slowly.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Since when, ms since 1970 UTC.
    #[serde(default)]
    pub waits_since_ms: Option<i64>,
    pub restarts: u32,
    pub generation: u64,
    /// Last committed epoch.
    pub epoch: u64,
    /// Since this process started.
    pub records: u64,
    pub bytes: u64,
    pub dead_letters: u64,
    pub skipped: u64,
    /// Offsets that were gone before they were read, and were given up.
    #[serde(default)]
    pub lost: u64,
    /// Windows in which a step rejected more than is expected, and the run went on, by step.
    #[serde(default)]
    pub broken_expectations: BTreeMap<String, u64>,
    /// Timers that fired, by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timers: BTreeMap<String, u64>,
    /// What plugins counted, by `step.name`: late records and windows among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// When the last epoch was committed, ms since 1970 UTC.
    pub committed_at_ms: Option<i64>,
    /// Event time up to which everything has come, µs since 1970 UTC.
    pub watermark_us: Option<i64>,
    pub partitions: Vec<PartitionStatus>,
    pub sinks: BTreeMap<String, SinkStatus>,
    /// Rows of databases that are in use, by `step.table`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableVersion>,
    /// Refreshes of side tables that failed since the last one that succeeded, and why the last one failed.
    #[serde(default)]
    pub failed_refreshes: u64,
    #[serde(default)]
    pub refresh_problem: Option<String>,
    /// What a recovery would have to execute again, ms.
    pub replay_debt_ms: u64,
    pub checkpoint_epoch: u64,
    pub checkpoint_at_ms: Option<i64>,
    pub checkpoint_bytes: u64,
    pub state_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionStatus {
    pub name: String,
    pub offset: u64,
    /// Records (or bytes, where offsets count bytes) that are there and not committed yet, where the source knows.
    pub lag: Option<u64>,
    /// Largest event time read, µs since 1970 UTC.
    pub time_us: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    pub rows: u64,
    /// The last epoch with rows that the sink holds, for sinks that keep their own mark.
    pub mark: Option<u64>,
}

impl Status {
    pub fn new(tenant: &str, pipeline: &str, shard: &str) -> Status {
        Status {
            tenant: tenant.to_owned(),
            pipeline: pipeline.to_owned(),
            shard: shard.to_owned(),
            process: std::process::id(),
            health: Health::Recovering,
            problem: None,
            waits_for: None,
            waits_since_ms: None,
            restarts: 0,
            generation: 0,
            epoch: 0,
            records: 0,
            bytes: 0,
            dead_letters: 0,
            skipped: 0,
            lost: 0,
            broken_expectations: BTreeMap::new(),
            timers: BTreeMap::new(),
            counters: BTreeMap::new(),
            committed_at_ms: None,
            watermark_us: None,
            partitions: Vec::new(),
            sinks: BTreeMap::new(),
            tables: BTreeMap::new(),
            failed_refreshes: 0,
            refresh_problem: None,
            replay_debt_ms: 0,
            checkpoint_epoch: 0,
            checkpoint_at_ms: None,
            checkpoint_bytes: 0,
            state_bytes: 0,
        }
    }

    pub(super) fn take(&mut self, progress: &Progress<'_>) {
        let counts = progress.counts;
        self.generation = progress.generation;
        self.epoch = progress.epoch;
        self.records += counts.records;
        self.bytes += counts.bytes;
        self.dead_letters += counts.dead_letters;
        self.skipped += counts.skipped;
        self.lost += counts.lost;
        for (step, broken) in &progress.broken {
            *self.broken_expectations.entry(step.clone()).or_default() += broken;
        }
        for (sum, more) in [(&mut self.timers, &counts.timers), (&mut self.counters, &counts.counters)] {
            more.iter().for_each(|(name, count)| *sum.entry(name.clone()).or_default() += count);
        }
        self.committed_at_ms = Some(progress.committed_at_ms);
        self.watermark_us = progress.watermark;
        self.partitions = progress
            .position
            .partitions
            .iter()
            .map(|partition| PartitionStatus {
                name: partition.name.clone(),
                offset: partition.offset,
                lag: progress.lags.get(&(partition.source, partition.partition)).copied(),
                time_us: partition.time_max,
            })
            .collect();
        for (name, rows) in &counts.rows_out {
            self.sinks.entry(name.clone()).or_default().rows += rows;
        }
        for (name, mark) in &progress.marks {
            self.sinks.entry(name.clone()).or_default().mark = Some(*mark);
        }
        if let Some(tables) = progress.tables {
            self.tables.clone_from(&tables.versions);
        }
        self.replay_debt_ms = progress.replay_debt.as_millis() as u64;
        self.state_bytes = progress.state_bytes;
        if let Some(checkpoint) = &progress.checkpoint {
            self.checkpoint_epoch = checkpoint.epoch;
            self.checkpoint_at_ms = Some(checkpoint.at_ms);
            self.checkpoint_bytes = checkpoint.bytes;
        }
    }
}
