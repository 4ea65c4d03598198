//! Running a pipeline: open the shard, run it, and after a failure that may pass open it again.
//!
//! Owns: restarts with bounded backoff. Does not own: recovery (`open`), signals (`cli`).
//!
//! Invariant: a restart is a recovery. Nothing of the failed shard's memory is used again.

use super::load::Loaded;
use super::open::{RunOptions, open};
use crate::observe::{Health, Observed};
use crate::shard::Totals;
use segno_core::persisted::Position;
use segno_core::{Code, Kind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Restarts in a row without a committed epoch before the shard gives up.
const RESTARTS_MAX: u32 = 10;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What a run did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    pub pipeline: String,
    pub generation: u64,
    /// Last committed epoch.
    pub epoch: u64,
    pub totals: Totals,
    pub restarts: u32,
    /// Seconds from the start to the end.
    pub seconds: f64,
    /// Seconds from the start to the first epoch that this process committed.
    pub first_commit_seconds: Option<f64>,
    pub position: Position,
    /// True when the run ended because it was asked to, before the input's end.
    pub stopped: bool,
}

/// Runs until the input ends or `stopping` is set.
pub fn run(
    loaded: &Loaded,
    options: &RunOptions,
    stopping: &AtomicBool,
    observed: &Observed,
    watch: &mut dyn FnMut(&Totals),
) -> Result<Summary> {
    let started = Instant::now();
    let mut restarts = 0;
    let mut in_a_row = 0;
    let mut pause = BACKOFF_FIRST;
    let mut first_commit = None;
    loop {
        let mut committed = false;
        let outcome = open(loaded, options).and_then(|mut opened| {
            observed.set_health(Health::Live, None);
            let result = opened.shard.run(stopping, &mut |progress| {
                committed = true;
                first_commit.get_or_insert_with(|| started.elapsed());
                observed.progress(progress);
                if stopping.load(Ordering::Relaxed) {
                    observed.set_health(Health::Stopping, None);
                }
                watch(progress.totals);
            });
            result.map(|()| opened)
        });
        let error = match outcome {
            Ok(opened) => {
                let shard = opened.shard;
                return Ok(Summary {
                    pipeline: loaded.pipeline.name.clone(),
                    generation: shard.generation,
                    epoch: shard.epoch,
                    totals: shard.totals,
                    restarts,
                    seconds: started.elapsed().as_secs_f64(),
                    first_commit_seconds: first_commit.map(|at| at.as_secs_f64()),
                    position: shard.position,
                    stopped: stopping.load(Ordering::Relaxed),
                });
            }
            Err(error) => error,
        };
        if committed {
            in_a_row = 0;
            pause = BACKOFF_FIRST;
        }
        in_a_row += 1;
        let passes = error.kind() == Kind::Transient && error.code() != Code::DeadlineExpired;
        if !passes || in_a_row > RESTARTS_MAX || stopping.load(Ordering::Relaxed) {
            observed.set_health(Health::Failed, Some(error.to_string()));
            return Err(error);
        }
        restarts += 1;
        observed.restarted(error.to_string());
        tracing::warn!(code = error.code().name(), "{error}; the shard restarts in {pause:?}");
        wait(pause, stopping);
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// Waits, in slices short enough that a stop is noticed.
fn wait(pause: Duration, stopping: &AtomicBool) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !stopping.load(Ordering::Relaxed) {
        std::thread::sleep((until - Instant::now()).min(Duration::from_millis(50)));
    }
}
