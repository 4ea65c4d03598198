//! What must hold, whatever happens.
//!
//! Owns: the properties. Does not own: what leads to a world.

use crate::sinks::rows;
use crate::store::{Body, Entry, State};
use crate::world::World;
use segno_core::Code;

/// A property that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// The journal has a gap, or an entry that does not follow the one before it.
    JournalBroken { sequence: u64 },
    /// An older generation's entry follows a newer one's fence.
    OlderGenerationWrote { sequence: u64 },
    /// An epoch does not continue where the one before it ended: something started over.
    StartedOver { epoch: u64 },
    /// The folder shows an epoch that is not in the journal, or other rows than the journal's.
    FolderDiffers { epoch: u64 },
    /// The follower's rows are not those of the journal's epochs, in their order, each once.
    FollowerDiffers,
    /// Local state is marked with an epoch that the journal does not hold.
    StateAhead { epoch: u64 },
    /// Local state is not what its mark says, for a worker that relies on it.
    StateDiffers { epoch: u64 },
    /// The owner stands elsewhere than at the journal's end.
    OwnerBehind { epoch: u64 },
    /// An owner goes on while a sink lacks a committed epoch.
    SinkLacks { epoch: u64 },
    /// A worker stopped although nothing was damaged.
    StoppedWithoutCause(Code),
    /// The owner stopped as if it were none.
    OwnerStopped,
    /// A kept checkpoint's journal entry is gone.
    NeededEntryGone { sequence: u64 },
    /// Nothing hinders the owner, and it does not come to the end.
    Stuck,
}

fn raise(world: &mut World, wrong: Wrong) {
    world.wrong.get_or_insert(wrong);
}

/// An entry was created. The first object of a number is the journal's; a number that was collected may be created again,
/// and must then have no effect.
pub(crate) fn created(world: &mut World, entry: Entry) {
    let length = world.truth.len() as u64;
    if entry.sequence <= length {
        return;
    }
    let last = world.truth.last();
    if entry.sequence > length + 1 || last.map_or(0, Entry::digest) != entry.previous {
        return raise(world, Wrong::JournalBroken { sequence: entry.sequence });
    }
    if last.is_some_and(|last| last.generation > entry.generation) {
        return raise(world, Wrong::OlderGenerationWrote { sequence: entry.sequence });
    }
    if let Body::Epoch { epoch, span } = entry.body
        && world.end() != (epoch - 1, span.from)
    {
        return raise(world, Wrong::StartedOver { epoch });
    }
    world.truth.push(entry);
}

/// A worker is about to stop with a code.
pub(crate) fn stopped(world: &mut World, w: usize, code: Code) {
    if code != Code::OwnershipLost {
        if !world.damaged {
            raise(world, Wrong::StoppedWithoutCause(code));
        }
    } else if world.workers[w].memory.generation == world.store.generation {
        raise(world, Wrong::OwnerStopped);
    }
}

/// A listing is stale while it is needed: a hint was lost, or was left behind by an owner that slept. Then nothing tells
/// where a chain that was collected goes on: as bad as damage, a shard may stop.
fn blind(world: &World) -> bool {
    let store = &world.store;
    let last = |numbers: Option<&u64>| numbers.copied().unwrap_or(0);
    let behind = store.manifest_hint.unwrap_or(0) < last(store.manifests.keys().next_back());
    let gone = store.journal_hint.is_none_or(|hint| !store.journal.contains_key(&hint));
    store.unlisted > 0 && (behind || gone)
}

/// Holds after every action.
pub(crate) fn always(world: &mut World) {
    world.damaged |= blind(world);
    let mut wrong = None;
    let epochs = || world.truth.iter().filter_map(Entry::epoch);
    for (&epoch, span) in &world.folder.published {
        if !epochs().any(|(number, committed)| number == epoch && committed == *span) {
            wrong = wrong.or(Some(Wrong::FolderDiffers { epoch }));
        }
    }
    let mut expected = epochs().flat_map(|(_, span)| rows(span));
    if world.follower.rows.iter().any(|row| expected.next() != Some(*row)) {
        wrong = wrong.or(Some(Wrong::FollowerDiffers));
    }
    for worker in &world.workers {
        let Some(State { epoch, chain, .. }) = worker.disk else { continue };
        if epoch > 0 && !world.truth.iter().any(|entry| entry.digest() == chain) {
            wrong = wrong.or(Some(Wrong::StateAhead { epoch }));
        }
    }
    if !world.damaged {
        wrong = wrong.or(needed_entries(world));
    }
    if let Some(wrong) = wrong {
        raise(world, wrong);
    }
}

/// The journal is there from the oldest kept checkpoint on.
fn needed_entries(world: &World) -> Option<Wrong> {
    let newest = world.store.manifests.keys().next_back().copied().unwrap_or(0);
    let oldest = (newest + 1).saturating_sub(u64::from(world.rules.keep));
    let kept = world.store.manifests.range(oldest..).map(|(_, manifest)| manifest.sequence).min();
    let first = kept.unwrap_or_else(|| if newest == 0 { 1 } else { u64::MAX });
    let gone = (first..=world.truth.len() as u64).find(|sequence| !world.store.journal.contains_key(sequence));
    gone.map(|sequence| Wrong::NeededEntryGone { sequence })
}

/// A worker has opened the shard, or has committed an epoch. While it is the owner, everything is where it belongs.
pub(crate) fn ready(world: &mut World, w: usize) {
    let worker = &world.workers[w];
    if worker.memory.generation != world.store.generation {
        return;
    }
    // After a lost entry the journal seems to end there. The owner's next create finds an entry where none should be.
    if world.damaged && world.truth.iter().any(|entry| entry.sequence >= worker.memory.sequence && world.store.journal.get(&entry.sequence) != Some(entry)) {
        return;
    }
    let (epoch, applied) = world.end();
    let state = worker.disk.map_or((0, 0), |state| (state.epoch, state.applied));
    let mut wrong = None;
    if (worker.memory.epoch, worker.memory.position) != (epoch, applied) {
        wrong = Some(Wrong::OwnerBehind { epoch: worker.memory.epoch });
    } else if state != (epoch, applied) {
        wrong = Some(Wrong::StateDiffers { epoch });
    } else if let Some(lacking) = (1..=epoch).find(|epoch| !world.folder.published.contains_key(epoch)) {
        wrong = Some(Wrong::SinkLacks { epoch: lacking });
    }
    let committed = world.truth.iter().filter_map(Entry::epoch).flat_map(|(_, span)| rows(span)).count();
    // A sink that was restored behind its owner's back is noticed with the next rows.
    let known = worker.memory.mark.unwrap_or(0) == world.follower.mark.unwrap_or(0);
    if known && world.follower.rows.len() < committed {
        wrong = wrong.or(Some(Wrong::SinkLacks { epoch }));
    }
    if let Some(wrong) = wrong {
        raise(world, wrong);
    }
}
