//! Running a shard: open it, run it, and after a failure that may pass open it again.
//!
//! Owns: restarts and pauses. Does not own: when to restart (`protocol::restart`), recovery (`open`), other shards
//! (`several`), signals (`cli`).
//!
//! Invariant: a restart is a recovery. Nothing of the failed shard's memory is used again.

use super::load::Loaded;
use super::open::{RunOptions, open, span};
use crate::observe::{Health, Observed};
use crate::shard::stop::Stop;
use crate::shard::tap::Hidden;
use crate::shard::{Totals, now_ms};
use segno_core::persisted::Position;
use segno_core::Result;
use segno_core::protocol::restart::{Failure, Limits, Next, next};
use segno_core::shard::ShardId;
use std::time::{Duration, Instant};

/// Ten restarts take about two minutes: a broker's election and a store's bad moment are over by then. A pause of 30 s
/// costs a server that comes back nothing, and the pipeline little.
#[cfg(not(feature = "testing"))]
const LIMITS: Limits =
    Limits { restarts: 10, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(30) };
/// A test waits for more failures than this.
#[cfg(feature = "testing")]
const LIMITS: Limits =
    Limits { restarts: 2, first_pause: Duration::from_millis(100), longest_pause: Duration::from_millis(200) };

/// How often a pause that goes on is told again.
const TOLD_EVERY: Duration = Duration::from_secs(60);

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

/// Runs until the input ends or it is asked to stop.
pub fn run(
    loaded: &Loaded,
    shard: ShardId,
    options: &RunOptions,
    stop: &Stop,
    observed: &Observed,
    watch: &mut dyn FnMut(&Totals),
) -> Result<Summary> {
    let started = Instant::now();
    let mut restarts = 0;
    let mut in_a_row = 0;
    let mut was_live = false;
    let mut told: Option<Instant> = None;
    let mut first_commit = None;
    loop {
        let mut committed = false;
        let _inside = span(&loaded.pipeline, shard).entered();
        let opening = (Instant::now(), now_ms());
        let outcome = open(loaded, shard, options).and_then(|mut opened| {
            observed.set_tables(opened.shard.program.identity.tables.as_ref());
            observed.set_health(Health::Live, None);
            was_live = true;
            opened.shard.waits = observed.waits.clone();
            opened.shard.taps = observed.taps.hiding(Hidden::of(&loaded.pipeline));
            // Detection is the silence before this process set to work, recovery what it took until here.
            tracing::info!(
                epoch = opened.shard.epoch,
                reexecuted = opened.shard.totals.reexecuted,
                silent_ms = opened.last_epoch_at_ms.map(|at| (opening.1 - at).max(0)),
                recovery_ms = opening.0.elapsed().as_millis() as u64,
                "the shard is live"
            );
            let result = opened.shard.run(stop, &mut |progress| {
                committed = true;
                first_commit.get_or_insert_with(|| started.elapsed());
                observed.progress(progress);
                if stop.asked() {
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
                    stopped: stop.asked(),
                });
            }
            Err(error) => error,
        };
        if committed {
            in_a_row = 0;
            told = None;
        }
        in_a_row += 1;
        let patience = error.code().patience();
        let failure = Failure { patience, in_a_row, was_live, stopping: stop.asked() };
        let pause = match next(&failure, &LIMITS) {
            Next::End => {
                observed.set_health(Health::Failed, Some(error.to_string()));
                return Err(error);
            }
            Next::Restart(pause) => {
                observed.restarted(Health::Recovering, error.to_string());
                tracing::warn!(code = error.code().name(), "{error}; the shard restarts in {pause:?}");
                pause
            }
            Next::Pause(pause) => {
                observed.restarted(Health::Paused, error.to_string());
                if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                    told = Some(Instant::now());
                    tracing::warn!(code = error.code().name(), "{error}; the shard pauses until that is over");
                }
                pause
            }
        };
        restarts += 1;
        wait(pause, stop);
    }
}

/// Waits, in slices short enough that a stop is noticed.
fn wait(pause: Duration, stop: &Stop) {
    let until = Instant::now() + pause;
    while Instant::now() < until && !stop.asked() {
        std::thread::sleep((until - Instant::now()).min(Duration::from_millis(50)));
    }
}
