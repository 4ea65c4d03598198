//! The steps of a commit, in the order that `segno_core::protocol::ownership` gives, and its edges, which recovery passes
//! as well.

use crate::open::author;
use crate::planted::Planted;
use crate::sinks::rows;
use crate::store::{Body, Entry, Span, State};
use crate::worker::{Edge, Phase};
use crate::world::{Answer, World};
use segno_core::Code;
use segno_core::protocol::ownership::{Claim, Fact, Next, next};

impl World {
    /// Cuts the next epoch and stages its rows. Two generations cut differently, as real ones do.
    pub(crate) fn stage(&mut self, w: usize) {
        let memory = &self.workers[w].memory;
        if memory.epoch >= self.rules.epochs {
            return;
        }
        let (epoch, generation, from) = (memory.epoch + 1, memory.generation, memory.position);
        let span = Span { from, to: from + 1 + generation % 2 };
        self.folder.staged.insert((epoch, generation), span);
        if self.has(Planted::PublishBeforeJournal) {
            self.folder.published.insert(epoch, span);
        }
        if self.has(Planted::StateBeforeJournal) {
            self.apply(w, self.entry(w, span));
        }
        self.follow(w, span, Fact::Staged);
    }

    /// The entry of the next epoch of a worker.
    fn entry(&self, w: usize, span: Span) -> Entry {
        let memory = &self.workers[w].memory;
        let body = Body::Epoch { epoch: memory.epoch + 1, span };
        Entry { sequence: memory.sequence + 1, generation: memory.generation, previous: memory.chain, body }
    }

    /// Goes on as the decision says.
    fn follow(&mut self, w: usize, span: Span, fact: Fact) {
        match next(fact, self.workers[w].memory.generation) {
            Ok(next) => self.workers[w].memory.phase = Phase::Commit { span, next, edge: Edge::Folder },
            Err(error) => self.stop(w, error.code()),
        }
    }

    pub(crate) fn commit(&mut self, w: usize, span: Span, next: Next, edge: Edge, answer: Answer) {
        match next {
            Next::CreateEntry => {
                let entry = self.entry(w, span);
                let mut claim = Claim::Ours;
                if answer == (Answer::Lost { done: false }) {
                    self.late.push(entry);
                } else if let Err(theirs) = self.create(entry) {
                    claim = Claim::Theirs(author(theirs.generation));
                }
                if answer != Answer::Given {
                    if !self.has(Planted::UnknownIsSuccess) {
                        return self.reopen(w);
                    }
                    claim = Claim::Ours;
                }
                if claim == Claim::Ours {
                    let memory = &mut self.workers[w].memory;
                    (memory.sequence, memory.chain) = (entry.sequence, entry.digest());
                }
                self.follow(w, span, Fact::Claimed(claim));
            }
            Next::Confirm => {
                let ours = self.workers[w].memory.generation;
                let current = if self.has(Planted::NoConfirm) { ours } else { self.store.generation };
                self.follow(w, span, Fact::Current(current));
                if self.workers[w].is_up() {
                    self.leave_hint(w);
                    if self.has(Planted::CheckpointBeforeSinks) {
                        self.apply(w, self.last_entry(w, span));
                    }
                }
            }
            Next::Publish => {
                let Some(edge) = self.pass(w, self.last_entry(w, span), edge, answer) else { return };
                if edge == Edge::State {
                    self.follow(w, span, Fact::Published);
                } else {
                    self.workers[w].memory.phase = Phase::Commit { span, next, edge };
                }
            }
            Next::Apply => {
                let edge = if edge == Edge::StateMark { edge } else { Edge::State };
                let Some(edge) = self.pass(w, self.last_entry(w, span), edge, answer) else { return };
                if edge == Edge::Folder {
                    self.follow(w, span, Fact::Applied);
                } else {
                    self.workers[w].memory.phase = Phase::Commit { span, next, edge };
                }
            }
            Next::Committed => {
                let memory = &mut self.workers[w].memory;
                memory.epoch += 1;
                memory.position = span.to;
                (memory.epoch_sequence, memory.epoch_chain) = (memory.sequence, memory.chain);
                memory.phase = Phase::Ready;
                crate::check::ready(self, w);
            }
        }
    }

    /// The entry that a worker created just now.
    fn last_entry(&self, w: usize, span: Span) -> Entry {
        let memory = &self.workers[w].memory;
        let body = Body::Epoch { epoch: memory.epoch + 1, span };
        Entry { sequence: memory.sequence, generation: memory.generation, previous: 0, body }
    }

    /// One edge of an epoch that is journalled; gives the next one, `Folder` after the last, `None` when the worker
    /// reopened or stopped.
    pub(crate) fn pass(&mut self, w: usize, entry: Entry, edge: Edge, answer: Answer) -> Option<Edge> {
        let (epoch, span) = entry.epoch()?;
        match edge {
            Edge::Folder => {
                if !self.folder.publish(epoch, entry.generation, span) {
                    self.stop(w, Code::OutputLost);
                    return None;
                }
                Some(Edge::Follower)
            }
            Edge::Follower => self.give(w, epoch, span, answer),
            Edge::FollowerMark => {
                self.follower.mark = Some(epoch);
                self.workers[w].memory.mark = Some(epoch);
                Some(Edge::State)
            }
            Edge::State => {
                let before = self.workers[w].disk;
                if before.is_some_and(|state| state.epoch >= epoch) {
                    return Some(Edge::Folder);
                }
                // The digests of an execution on another state differ.
                if before.map_or(0, |state| state.applied) != span.from {
                    self.stop(w, Code::ReplayDiffers);
                    return None;
                }
                self.apply(w, entry);
                if self.has(Planted::MarkApartFromState) {
                    let (old, new) = (before.unwrap_or(State { epoch: 0, chain: 0, applied: 0 }), self.workers[w].disk?);
                    self.workers[w].disk = Some(State { applied: new.applied, ..old });
                    return Some(Edge::StateMark);
                }
                Some(Edge::Folder)
            }
            Edge::StateMark => {
                let applied = self.workers[w].disk?.applied;
                self.workers[w].disk = Some(State { epoch, chain: entry.digest(), applied });
                Some(Edge::Folder)
            }
        }
    }

    /// Gives an epoch's rows to the follower, unless it holds them.
    fn give(&mut self, w: usize, epoch: u64, span: Span, answer: Answer) -> Option<Edge> {
        let memory = &self.workers[w].memory;
        let (token, before) = (memory.token, memory.mark.unwrap_or(0));
        if rows(span).next().is_none() || before.max(memory.skip) >= epoch {
            return Some(Edge::State);
        }
        let held = self.follower.mark.unwrap_or(0);
        let compares = self.rules.compares && !self.has(Planted::MarkNotCompared);
        if token != self.follower.token || (before != held && compares) {
            self.reopen(w);
            return None;
        }
        let apart = self.has(Planted::MarkApartFromRows);
        if answer != (Answer::Lost { done: false }) {
            self.follower.rows.extend(rows(span));
            if !apart {
                self.follower.mark = Some(epoch);
            }
        }
        if answer != Answer::Given {
            self.reopen(w);
            return None;
        }
        if apart {
            return Some(Edge::FollowerMark);
        }
        self.workers[w].memory.mark = Some(epoch);
        Some(Edge::State)
    }

    fn apply(&mut self, w: usize, entry: Entry) {
        let Some((epoch, span)) = entry.epoch() else { return };
        let applied = self.workers[w].disk.map_or(0, |state| state.applied) + (span.to - span.from);
        self.workers[w].disk = Some(State { epoch, chain: entry.digest(), applied });
    }
}
