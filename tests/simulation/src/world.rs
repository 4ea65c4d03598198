//! The world and its actions, one at a time.
//!
//! A worker that is stopped (SIGSTOP) is one that gets no action for a while; a zombie is one that gets its next action
//! after another worker took over.

use crate::check::{self, Wrong};
use crate::planted::Planted;
use crate::sinks::{Folder, Follower};
use crate::store::{Entry, Store};
use crate::worker::{Phase, Worker};
use segno_core::protocol::ownership::verdict;
use segno_core::{Code, Error};

/// Entries between two hints.
pub const HINT_EVERY: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Checkpoints that are kept.
    pub keep: u32,
    /// Epochs after which the input ends.
    pub epochs: u64,
    /// The follower compares its mark with what the writer takes it for, as a database can. A broker's transaction only
    /// knows its writer.
    pub compares: bool,
    pub planted: Option<Planted>,
}

/// What became of a request that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Given,
    /// None came, not even when reading back. The write is done, or it is on its way still.
    Lost { done: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Start(usize),
    Crash(usize),
    /// The next step of a worker.
    Step(usize, Answer),
    /// A checkpoint starts.
    Image(usize),
    /// Its next step.
    Upload(usize),
    /// A late create reaches the store.
    Arrive(usize),
    LoseDisk(usize),
    LoseHints,
    /// A listing does not show so many of the newest names from now on.
    StaleListing(u64),
    /// Every file is older than the longest upload now.
    Age,
    DamageFile(u64),
    DamageManifest(u64),
    LoseEntry(u64),
    /// The follower is backed up, and later restored from there.
    Backup,
    RestoreBackup,
    LoseMark,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub rules: Rules,
    pub store: Store,
    pub folder: Folder,
    pub follower: Follower,
    pub backup: Option<Follower>,
    pub workers: Vec<Worker>,
    /// Creates that are on their way.
    pub late: Vec<Entry>,
    /// The journal as it really is: the first object of each number, whether or not it was collected since.
    pub truth: Vec<Entry>,
    /// Something was damaged: a worker may stop with a code.
    pub damaged: bool,
    pub wrong: Option<Wrong>,
}

impl World {
    pub fn new(rules: Rules, workers: usize) -> World {
        World {
            rules,
            store: Store::default(),
            folder: Folder::default(),
            follower: Follower::default(),
            backup: None,
            workers: vec![Worker::default(); workers],
            late: Vec::new(),
            truth: Vec::new(),
            damaged: false,
            wrong: None,
        }
    }

    pub fn has(&self, planted: Planted) -> bool {
        self.rules.planted == Some(planted)
    }

    /// The last committed epoch and the position after it.
    pub fn end(&self) -> (u64, u64) {
        self.truth.iter().rev().find_map(Entry::epoch).map_or((0, 0), |(epoch, span)| (epoch, span.to))
    }

    /// Does one thing, then checks what must always hold.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Start(w) => self.workers[w].end(Phase::TakeGeneration),
            Action::Crash(w) => self.workers[w].end(Phase::Down),
            Action::Step(w, answer) => self.step(w, answer),
            Action::Image(w) => self.image(w),
            Action::Upload(w) => self.upload(w),
            Action::Arrive(late) => {
                let entry = self.late.remove(late);
                let _ = self.create(entry);
            }
            Action::LoseDisk(w) => self.workers[w].disk = None,
            Action::LoseHints => {
                self.store.journal_hint = None;
                self.store.manifest_hint = None;
            }
            Action::StaleListing(unlisted) => self.store.unlisted = unlisted,
            Action::Age => self.store.files.values_mut().for_each(|file| file.old = true),
            Action::DamageFile(hash) => self.damaged |= self.store.files.remove(&hash).is_some(),
            Action::DamageManifest(number) => self.damaged |= self.store.unreadable.insert(number),
            Action::LoseEntry(sequence) => self.damaged |= self.store.journal.remove(&sequence).is_some(),
            Action::Backup => self.backup = Some(self.follower.clone()),
            Action::RestoreBackup => {
                if let Some(backup) = self.backup.clone() {
                    self.damaged = true;
                    // Whoever was fenced stays fenced: connections of before do not survive a restore.
                    self.follower = Follower { token: self.follower.token, ..backup };
                }
            }
            Action::LoseMark => {
                self.damaged = true;
                self.follower = Follower { token: self.follower.token + 1, ..Follower::default() };
            }
        }
        check::always(self);
    }

    fn step(&mut self, w: usize, answer: Answer) {
        match self.workers[w].memory.phase.clone() {
            Phase::Down | Phase::Stopped(_) => {}
            Phase::Ready => self.stage(w),
            Phase::Commit { span, next, edge } => self.commit(w, span, next, edge, answer),
            opening => self.open(w, opening, answer),
        }
    }

    /// A conditional create reaches the store.
    pub(crate) fn create(&mut self, entry: Entry) -> Result<(), Entry> {
        self.store.create(entry)?;
        check::created(self, entry);
        Ok(())
    }

    /// The worker forgets everything and opens the shard again, as after a failure that may pass.
    pub(crate) fn reopen(&mut self, w: usize) {
        self.workers[w].end(Phase::TakeGeneration);
    }

    /// The worker ends with a code.
    pub(crate) fn stop(&mut self, w: usize, code: Code) {
        let ours = self.workers[w].memory.generation;
        let current = if self.has(Planted::VerdictOfAnyone) { ours } else { self.store.generation };
        let code = verdict(Error::new(code, ""), current, ours).code();
        check::stopped(self, w, code);
        self.workers[w].end(Phase::Stopped(code));
    }
}
