//! The steps of opening a shard, in the order of `worker/open.rs` of the runtime.

use crate::planted::Planted;
use crate::store::{Body, Entry, Manifest};
use crate::worker::{Edge, Phase};
use crate::world::{Answer, HINT_EVERY, World};
use segno_core::persisted::Author;
use segno_core::protocol::end::find_end;
use segno_core::protocol::history::{EntryFacts, EpochFacts, Found, LocalMark, ManifestFacts, plan, sinks_hold};
use segno_core::protocol::ownership::{Claim, Fencing, after_fence, confirm, may_fence};
use segno_core::protocol::recovery::Base;
use segno_core::sink::Held;
use segno_core::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the sink that keeps its own mark.
const FOLLOWER: &str = "follower";

pub(crate) fn author(generation: u64) -> Author {
    Author { generation, writer: String::new(), nonce: String::new() }
}

/// Marks and counts of rows, as persisted shapes hold them.
fn named(number: Option<u64>) -> BTreeMap<String, u64> {
    number.map(|number| (FOLLOWER.to_owned(), number)).into_iter().collect()
}

impl World {
    pub(crate) fn open(&mut self, w: usize, phase: Phase, answer: Answer) {
        let ours = self.workers[w].memory.generation;
        let next = match phase {
            Phase::TakeGeneration => {
                if answer != (Answer::Lost { done: false }) {
                    self.store.generation += 1;
                }
                if answer == Answer::Given {
                    self.workers[w].memory.generation = self.store.generation;
                    Phase::FindEnd
                } else {
                    Phase::TakeGeneration
                }
            }
            Phase::FindEnd => match self.find_end() {
                Ok(end) => Phase::Fence { end },
                Err(error) => return self.stop(w, error.code()),
            },
            Phase::Fence { end } => return self.fence(w, end, answer),
            Phase::FenceSinks => {
                if !self.has(Planted::SinkNotFenced) {
                    self.follower.token += 1;
                }
                let held = self.follower.mark;
                if self.has(Planted::MarkMadeBeforeTheDecision) {
                    self.follower.mark.get_or_insert(0);
                }
                let memory = &mut self.workers[w].memory;
                memory.token = self.follower.token;
                memory.mark = held;
                Phase::Recover
            }
            // Whatever was read counts only if nobody took over meanwhile; so does what it seems to say.
            Phase::Recover => {
                let read = self.recover(w);
                match confirm(self.store.generation, ours).and(read) {
                    Ok(left) => {
                        self.leave_hint(w);
                        Phase::StartSinks { left }
                    }
                    Err(error) => return self.stop(w, error.code()),
                }
            }
            Phase::StartSinks { left } => {
                let memory = &mut self.workers[w].memory;
                if memory.mark.is_none() {
                    if memory.token != self.follower.token {
                        return self.reopen(w);
                    }
                    // A sink that is new: from now on a mark that is missing was lost.
                    self.follower.mark = Some(memory.skip);
                    memory.mark = self.follower.mark;
                }
                Phase::RollForward { left, edge: Edge::Folder }
            }
            Phase::RollForward { left, edge } => return self.roll_forward(w, left, edge, answer),
            Phase::Discard => {
                let everything = self.has(Planted::DiscardsEverything);
                self.folder.staged.retain(|&(_, generation), _| generation >= ours && !everything);
                self.workers[w].memory.phase = Phase::Ready;
                return crate::check::ready(self, w);
            }
            other => other,
        };
        self.workers[w].memory.phase = next;
    }

    fn find_end(&self) -> Result<u64> {
        let listed = self.store.listed(&self.store.journal);
        if self.has(Planted::ListDecidesEnd) {
            return Ok(listed);
        }
        // The entry of the newest checkpoint is kept, whatever became of the hint.
        let newest = self.store.newest_manifest();
        let manifest = self.store.manifests.get(&newest).filter(|_| !self.store.unreadable.contains(&newest));
        let from = manifest.map(|manifest| manifest.sequence).filter(|from| self.store.journal.contains_key(from));
        find_end(from.unwrap_or(0), self.store.journal_hint, || Ok(listed), |number| Ok(self.store.journal.contains_key(&number)))
    }

    pub(crate) fn leave_hint(&mut self, w: usize) {
        let sequence = self.workers[w].memory.sequence;
        if sequence == 1 || sequence % HINT_EVERY == 0 {
            self.store.journal_hint = Some(sequence);
        }
    }

    fn fence(&mut self, w: usize, end: u64, answer: Answer) {
        let generation = self.workers[w].memory.generation;
        let previous = match self.store.journal.get(&end) {
            Some(last) => match may_fence(&author(last.generation), generation) {
                Err(error) if !self.has(Planted::FenceFollowsAnyone) => return self.stop(w, error.code()),
                _ => last.digest(),
            },
            None if end == 0 => 0,
            None => return self.stop(w, Code::JournalGap),
        };
        let entry = Entry { sequence: end + 1, generation, previous, body: Body::Fence };
        if self.has(Planted::NoFence) && end > 0 {
            let memory = &mut self.workers[w].memory;
            (memory.sequence, memory.chain, memory.phase) = (end, previous, Phase::FenceSinks);
            return;
        }
        if answer == (Answer::Lost { done: false }) {
            self.late.push(entry);
            return self.reopen(w);
        }
        let claim = match self.create(entry) {
            Ok(()) => Claim::Ours,
            Err(theirs) => Claim::Theirs(author(theirs.generation)),
        };
        if answer != Answer::Given {
            return self.reopen(w);
        }
        let memory = &mut self.workers[w].memory;
        match after_fence(&claim, generation) {
            Ok(Fencing::Fenced) => {
                (memory.sequence, memory.chain) = (entry.sequence, entry.digest());
                memory.phase = Phase::FenceSinks;
            }
            Ok(Fencing::Follow) => memory.phase = Phase::Fence { end: end + 1 },
            Err(error) => self.stop(w, error.code()),
        }
    }

    /// Manifests, newest first, until one can be used as far as is known, and the journal from there.
    fn read_history(&self, end: u64, damaged: &BTreeSet<u64>, held: Held) -> Result<(Vec<Entry>, Vec<(Manifest, bool)>)> {
        let mut manifests: Vec<(Manifest, bool)> = Vec::new();
        let newest = self.store.newest_manifest();
        let mut usable = None;
        for number in (1..=newest).rev() {
            match self.store.manifests.get(&number) {
                Some(_) if self.store.unreadable.contains(&number) => {}
                Some(manifest) => {
                    let intact = !damaged.contains(&number);
                    manifests.push((*manifest, intact));
                    if intact && sinks_hold(&named(manifest.mark), &[(FOLLOWER.to_owned(), held)]) {
                        usable = Some(manifest.sequence);
                        break;
                    }
                }
                None if number < newest => break,
                None => {}
            }
        }
        let first_left = || if self.store.journal.contains_key(&1) { 1 } else { self.first_listed() };
        let mut entries: Vec<Entry> = Vec::new();
        for sequence in usable.unwrap_or_else(first_left)..=end {
            let Some(entry) = self.store.journal.get(&sequence) else {
                return Err(Error::new(Code::JournalGap, format!("entry {sequence} is missing")));
            };
            if entries.last().is_some_and(|before| before.digest() != entry.previous) {
                return Err(Error::new(Code::JournalChain, format!("entry {sequence} follows another")));
            }
            entries.push(*entry);
        }
        Ok((entries, manifests))
    }

    fn first_listed(&self) -> u64 {
        self.store.journal.keys().next().copied().unwrap_or(1)
    }

    /// Decides where state comes from, and gives the epochs to execute again, the first one last.
    fn recover(&mut self, w: usize) -> Result<Vec<Entry>> {
        let end = self.workers[w].memory.sequence;
        let held = self.workers[w].memory.mark.map_or(Held::Nothing, Held::Through);
        let sinks = [("folder".to_owned(), Held::AsStaged), (FOLLOWER.to_owned(), held)];
        let mut damaged = BTreeSet::new();
        loop {
            let (entries, manifests) = self.read_history(end, &damaged, held)?;
            let base = self.plan_base(w, &entries, &manifests, &sinks)?;
            let chosen = match base {
                Base::Local { .. } => None,
                Base::Nothing => {
                    self.workers[w].disk = None;
                    None
                }
                Base::Checkpoint { number, .. } => {
                    let manifest = manifests.iter().map(|(manifest, _)| *manifest).find(|m| m.number == number);
                    let file = manifest.and_then(|manifest| self.store.files.get(&manifest.chain));
                    let Some(file) = file else {
                        damaged.insert(number);
                        continue;
                    };
                    self.workers[w].disk = Some(file.state);
                    manifest
                }
            };
            let epoch = match base {
                Base::Local { epoch } | Base::Checkpoint { epoch, .. } => epoch,
                Base::Nothing => 0,
            };
            let at_base = entries.iter().find(|entry| entry.epoch().is_some_and(|(number, _)| number == epoch));
            let memory = &mut self.workers[w].memory;
            memory.epoch = epoch;
            (memory.epoch_sequence, memory.epoch_chain, memory.position) = match (at_base, chosen) {
                (Some(entry), _) => (entry.sequence, entry.digest(), entry.epoch().map_or(0, |(_, span)| span.to)),
                (None, Some(manifest)) => (manifest.sequence, manifest.chain, manifest.position),
                (None, None) => (0, 0, 0),
            };
            memory.manifest = self.store.newest_manifest();
            memory.checkpointed = manifests.iter().filter(|(_, intact)| *intact).map(|(m, _)| m.epoch).max().unwrap_or(0);
            let left = entries.iter().filter(|entry| entry.epoch().is_some_and(|(number, _)| number > epoch));
            let left: Vec<Entry> = left.rev().copied().collect();
            if held == Held::Nothing {
                let last = entries.iter().rev().find_map(Entry::epoch).map_or(0, |(epoch, _)| epoch);
                memory.skip = last;
            }
            return Ok(left);
        }
    }

    fn plan_base(&self, w: usize, entries: &[Entry], manifests: &[(Manifest, bool)], sinks: &[(String, Held)]) -> Result<Base> {
        let digests: Vec<String> = entries.iter().map(|entry| entry.digest().to_string()).collect();
        let rows: Vec<BTreeMap<String, u64>> = entries
            .iter()
            .map(|entry| named(entry.epoch().map(|(_, span)| crate::sinks::rows(span).count() as u64)))
            .collect();
        let chains: Vec<String> = manifests.iter().map(|(manifest, _)| manifest.chain.to_string()).collect();
        let marks: Vec<BTreeMap<String, u64>> = manifests.iter().map(|(manifest, _)| named(manifest.mark)).collect();
        let disk = self.workers[w].disk.filter(|state| state.epoch > 0);
        let disk_chain = disk.map_or(String::new(), |state| state.chain.to_string());
        let found = Found {
            entries: entries
                .iter()
                .zip(&digests)
                .zip(&rows)
                .map(|((entry, digest), rows_out)| EntryFacts {
                    sequence: entry.sequence,
                    digest,
                    epoch: entry.epoch().map(|(epoch, _)| EpochFacts { epoch, rows_out, announced: &[] }),
                })
                .collect(),
            manifests: manifests
                .iter()
                .zip(&chains)
                .zip(&marks)
                .map(|(((manifest, intact), chain), marks)| ManifestFacts {
                    number: manifest.number,
                    epoch: manifest.epoch,
                    chain,
                    marks,
                    intact: *intact,
                })
                .collect(),
            local: disk.map_or(LocalMark::Absent, |state| LocalMark::At { epoch: state.epoch, chain: &disk_chain }),
            sinks,
            accept_change: false,
        };
        Ok(plan(&found)?.base)
    }

    fn roll_forward(&mut self, w: usize, mut left: Vec<Entry>, edge: Edge, answer: Answer) {
        let Some(entry) = left.last().copied() else {
            self.workers[w].memory.phase = Phase::Discard;
            return;
        };
        let Some((epoch, span)) = entry.epoch() else { return };
        let Some(edge) = self.pass(w, entry, edge, answer) else { return };
        if edge == Edge::Folder {
            left.pop();
            let memory = &mut self.workers[w].memory;
            (memory.epoch, memory.position) = (epoch, span.to);
            (memory.epoch_sequence, memory.epoch_chain) = (entry.sequence, entry.digest());
        }
        self.workers[w].memory.phase = Phase::RollForward { left, edge };
    }
}
