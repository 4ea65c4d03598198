//! A worker: what it keeps on its disk, what it holds in memory, and where it stands.

use crate::store::{Entry, Span, State};
use segno_core::Code;
use segno_core::protocol::ownership::Next;
use segno_core::protocol::retention::Needed;

/// The step that a worker does next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    #[default]
    Down,
    /// Ended with a code.
    Stopped(Code),
    TakeGeneration,
    FindEnd,
    Fence {
        end: u64,
    },
    FenceSinks,
    Recover,
    /// What recovery is to execute again waits until sinks that are new have their first mark.
    StartSinks {
        left: Vec<Entry>,
    },
    /// Epochs to execute again, the next one last.
    RollForward {
        left: Vec<Entry>,
        edge: Edge,
    },
    Discard,
    /// Between two epochs.
    Ready,
    Commit {
        span: Span,
        next: Next,
        edge: Edge,
    },
}

/// Where an epoch that is journalled stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Edge {
    #[default]
    Folder,
    Follower,
    /// The mark of rows that were written without it (a planted mistake).
    FollowerMark,
    State,
    /// The mark of changes that were written without it (a planted mistake).
    StateMark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UploadStep {
    Files,
    Manifest,
    Confirm,
    Hint,
    CollectManifests,
    CollectJournal(Needed),
}

/// A checkpoint on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upload {
    pub image: State,
    pub sequence: u64,
    pub position: u64,
    pub mark: Option<u64>,
    pub number: u64,
    pub step: UploadStep,
}

/// What a process holds in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    pub phase: Phase,
    pub generation: u64,
    /// The journal's end as the worker knows it.
    pub sequence: u64,
    pub chain: u64,
    /// The last committed epoch, its entry, and where it ends.
    pub epoch: u64,
    pub epoch_sequence: u64,
    pub epoch_chain: u64,
    pub position: u64,
    /// What fences it at the follower.
    pub token: u64,
    /// The follower's mark; epochs up to here are not given again.
    pub mark: Option<u64>,
    /// Up to which epoch the follower gets nothing, because it was new.
    pub skip: u64,
    pub manifest: u64,
    pub checkpointed: u64,
    pub upload: Option<Upload>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Local state; survives the process.
    pub disk: Option<State>,
    pub memory: Memory,
}

impl Worker {
    pub fn is_up(&self) -> bool {
        !matches!(self.memory.phase, Phase::Down | Phase::Stopped(_))
    }

    /// The process ends; the disk stays.
    pub fn end(&mut self, phase: Phase) {
        self.memory = Memory { phase, ..Memory::default() };
    }
}
