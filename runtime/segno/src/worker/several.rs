//! The shards of one process: each on a thread of its own, started and ended as the workers' group proposes.
//!
//! Owns: which shards run here now. Does not own: who says so (`proposals`), running one (`run`).
//!
//! Invariants: two threads never run one shard. A shard that is given up is at rest before the group hears of it, unless
//! the group gave it away already: then nothing more is committed, and the generation fences what is under way. A shard
//! that fails stops alone.

use super::load::Loaded;
use super::open::RunOptions;
use super::proposals::Proposals;
use super::run::{Summary, run};
use crate::observe::Shards;
use crate::shard::Totals;
use crate::shard::stop::{Ending, Stop};
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Result};
use segno_kafka::What;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// How long a change of shards is waited for before ended threads and signals are looked at: below what a person notices.
const TICK: Duration = Duration::from_millis(50);
/// How long a shard that is given up may take to finish its epoch and its checkpoint, before it is dropped: the group waits
/// meanwhile, and gives up a member that is silent for five minutes.
const RELEASE_MAX: Duration = Duration::from_secs(60);

/// What a run of several shards did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Several {
    pub pipeline: String,
    /// The last run of each shard in this process.
    pub shards: BTreeMap<u32, Summary>,
    /// Of all shards, also of those that went to other workers.
    pub totals: Totals,
    /// Seconds from the start to the end.
    pub seconds: f64,
    pub stopped: bool,
}

/// A run of several shards, as its threads see it.
struct Run<'a> {
    loaded: &'a Loaded,
    /// Other processes may have the shards, too.
    shared: bool,
    options: RunOptions,
    of: u32,
    shards: &'a Shards,
    /// What each run of a shard did so far.
    totals: Mutex<BTreeMap<(u32, u64), Totals>>,
    watch: &'a (dyn Fn(&Totals) + Sync),
}

type Outcome = (u32, Result<Summary>);

/// Runs the shards that are proposed, until all that this process has reached the input's end or `stopping` is set.
pub fn run_several(
    loaded: &Loaded,
    of: u32,
    options: &RunOptions,
    stopping: &AtomicBool,
    shards: &Shards,
    watch: &(dyn Fn(&Totals) + Sync),
) -> Result<Several, Vec<Error>> {
    let started = Instant::now();
    let mut proposals = Proposals::new(loaded, of).map_err(|error| vec![error])?;
    // What the group gives to this process, it takes: whoever has it is gone, or about to go.
    let shared = proposals.are_shared();
    let options = RunOptions { take_over: options.take_over || shared, ..*options };
    let run = Run { loaded, shared, options, of, shards, totals: Mutex::default(), watch };
    let (send, receive) = channel();
    let mut here = Here::new(&run, send, receive);
    let result = std::thread::scope(|scope| {
        let result = here.follow(scope, &mut proposals, stopping);
        // Whatever ended it: no thread is left behind.
        here.end_all(Ending::Rest);
        result
    });
    drop(proposals);
    let Here { ended, failed, .. } = here;
    let mut errors: Vec<Error> = Vec::new();
    // What every shard says is said once.
    for error in failed.into_values().chain(result.err()) {
        if errors.iter().all(|known| known.to_string() != error.to_string()) {
            errors.push(error);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Several {
        pipeline: loaded.pipeline.name.clone(),
        shards: ended,
        totals: run.sum(),
        seconds: started.elapsed().as_secs_f64(),
        stopped: stopping.load(Ordering::Relaxed),
    })
}

impl Run<'_> {
    fn sum(&self) -> Totals {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.values().fold(Totals::default(), |sum, one| sum.plus(one))
    }

    fn one(&self, number: u32, time: u64, stop: &Stop) -> Result<Summary> {
        let shard = ShardId::Partition { number, of: self.of };
        let pipeline = &self.loaded.pipeline.name;
        let observed = self.shards.begin(pipeline, shard);
        let count = |totals: &Totals| {
            self.totals.lock().unwrap_or_else(PoisonError::into_inner).insert((number, time), totals.clone());
            (self.watch)(&self.sum());
        };
        let result = run(self.loaded, shard, &self.options, stop, &observed, &mut |totals| count(totals));
        if let Ok(summary) = &result {
            count(&summary.totals);
        }
        // What failed stays to be seen; what others run now is theirs to show.
        if !matches!(&result, Err(error) if !is_of_another(error)) {
            self.shards.end(pipeline, shard);
        }
        result
    }
}

/// Whether a shard ended because another process has it.
fn is_of_another(error: &Error) -> bool {
    matches!(error.code(), Code::OwnershipLost | Code::AlreadyRunning)
}

/// The shards of this process now.
struct Here<'a> {
    run: &'a Run<'a>,
    send: Sender<Outcome>,
    receive: Receiver<Outcome>,
    proposed: BTreeSet<u32>,
    running: BTreeMap<u32, Arc<Stop>>,
    /// Reached the end of their input.
    ended: BTreeMap<u32, Summary>,
    failed: BTreeMap<u32, Error>,
    /// Taken by another process although the group proposes it here: when to take it back.
    contested: BTreeMap<u32, Instant>,
    runs: u64,
}

impl<'a> Here<'a> {
    fn new(run: &'a Run<'a>, send: Sender<Outcome>, receive: Receiver<Outcome>) -> Here<'a> {
        Here {
            run,
            send,
            receive,
            proposed: BTreeSet::new(),
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
            failed: BTreeMap::new(),
            contested: BTreeMap::new(),
            runs: 0,
        }
    }

    fn follow<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        proposals: &mut Proposals,
        stopping: &AtomicBool,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        loop {
            while let Ok(outcome) = self.receive.try_recv() {
                self.note(outcome);
            }
            if stopping.load(Ordering::Relaxed) || self.is_done(proposals) {
                return Ok(());
            }
            self.start_what_is_due(scope)?;
            let Some(change) = proposals.next(TICK)? else { continue };
            tracing::info!(what = ?change.what, shards = ?change.shards, "the workers' group");
            match change.what {
                What::Take => self.proposed.extend(&change.shards),
                What::Release => self.give_up(&change.shards, Ending::HandOver),
                What::Lost => self.give_up(&change.shards, Ending::Drop),
            }
            proposals.answer(change)?;
        }
    }

    /// Every shard that this process has came to its end. One without shards waits for some.
    fn is_done(&self, proposals: &Proposals) -> bool {
        let over = |shard: &u32| self.ended.contains_key(shard) || self.failed.contains_key(shard);
        self.running.is_empty()
            && self.proposed.iter().all(over)
            && !(self.proposed.is_empty() && proposals.may_give_more())
    }

    fn start_what_is_due<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> Result<()>
    where
        'a: 'scope,
    {
        for &shard in &self.proposed {
            let over = self.running.contains_key(&shard)
                || self.ended.contains_key(&shard)
                || self.failed.contains_key(&shard);
            if over || self.contested.get(&shard).is_some_and(|at| Instant::now() < *at) {
                continue;
            }
            self.contested.remove(&shard);
            self.runs += 1;
            let stop = Arc::new(Stop::new(Arc::new(AtomicBool::new(false))));
            self.running.insert(shard, Arc::clone(&stop));
            let (run, send, time) = (self.run, self.send.clone(), self.runs);
            std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn_scoped(scope, move || {
                    // Nobody listens after the end.
                    let _ = send.send((shard, run.one(shard, time, &stop)));
                })
                .map_err(|error| Error::new(Code::Internal, "a shard's thread cannot start").with_cause(error))?;
        }
        Ok(())
    }

    fn note(&mut self, (shard, result): Outcome) {
        let asked = self.running.remove(&shard).is_some_and(|stop| stop.asked());
        match result {
            // It was given up, and may come back.
            Ok(summary) if asked && self.proposed.contains(&shard) => drop(self.ended.insert(shard, summary)),
            Ok(_) if asked => {}
            Ok(summary) => drop(self.ended.insert(shard, summary)),
            Err(error) if self.run.shared && is_of_another(&error) => {
                tracing::warn!(shard, "{error}");
                let pause = self.run.loaded.pipeline.worker.session_timeout;
                self.contested.insert(shard, Instant::now() + pause);
            }
            Err(error) => {
                tracing::error!(shard, code = error.code().name(), "{error}; the other shards go on");
                self.failed.insert(shard, error);
            }
        }
    }

    fn give_up(&mut self, shards: &[u32], how: Ending) {
        for shard in shards {
            self.proposed.remove(shard);
            self.ended.remove(shard);
            self.contested.remove(shard);
            if let Some(stop) = self.running.get(shard) {
                stop.ask(how);
            }
        }
        if how == Ending::Drop {
            return;
        }
        let until = Instant::now() + RELEASE_MAX;
        while shards.iter().any(|shard| self.running.contains_key(shard)) {
            match self.receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(outcome) => self.note(outcome),
                Err(_) => {
                    tracing::warn!(?shards, "they take longer than {RELEASE_MAX:?} to come to rest, and are dropped");
                    shards.iter().filter_map(|shard| self.running.get(shard)).for_each(|stop| stop.ask(Ending::Drop));
                    return;
                }
            }
        }
    }

    /// Ends every shard and waits for it.
    fn end_all(&mut self, how: Ending) {
        self.running.values().for_each(|stop| stop.ask(how));
        while !self.running.is_empty() {
            match self.receive.recv() {
                Ok(outcome) => self.note(outcome),
                Err(_) => return,
            }
        }
    }
}
