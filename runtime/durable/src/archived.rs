//! Collection of the archive: plans that neither a kept checkpoint nor the journal behind it names, and what they name.
//!
//! Owns: which objects of `archive/` nothing names any more. Does not own: what a plan is: whoever knows hands that in.
//!
//! Invariants: nothing goes that a recovery or a replay from a kept checkpoint needs, and nothing that was written lately:
//! it may be about to be named. Whatever cannot be read means that nothing goes. An object that is named again is looked
//! for after every collection of this owner has ended, and an owner that was overtaken removes nothing.

use crate::collection::{Kept, of_no_upload};
use crate::generation;
use crate::journal::read_entry;
use crate::store::Objects;
use segno_core::persisted::JournalBody;
use segno_core::protocol::ownership::confirm;
use segno_core::Result;
use std::collections::{BTreeMap, BTreeSet};

/// What a plan names, from its bytes.
pub type NamedByPlan = fn(&[u8]) -> Result<Vec<String>>;

/// Journal entries that one collection reads at most: the next checkpoint waits for it. The next collection goes on there.
const ENTRIES_READ_MAX: usize = 1_000;

pub(crate) struct Archived {
    named_by_plan: NamedByPlan,
    /// Plans that were read, and what they name.
    plans: BTreeMap<String, Vec<String>>,
    /// The last journal entry that names each plan, of the entries before `unread`.
    last_named: BTreeMap<String, u64>,
    unread: u64,
}

fn name(sha256: &str) -> String {
    format!("archive/{sha256}")
}

impl Archived {
    pub fn new(named_by_plan: NamedByPlan) -> Archived {
        Archived { named_by_plan, plans: BTreeMap::new(), last_named: BTreeMap::new(), unread: 0 }
    }

    pub fn collect(&mut self, objects: &Objects, kept: &Kept, generation: u64) -> Result<()> {
        let mut unneeded: BTreeSet<String> = of_no_upload(objects, "archive", kept.just_written)?.into_iter().collect();
        // Mostly, all of it belongs to the checkpoints: then the journal need not be read.
        if !self.spare(objects, &kept.plans, &mut unneeded)? || unneeded.is_empty() {
            return Ok(());
        }
        if !self.read_journal(objects, kept)? {
            return Ok(());
        }
        let journalled: BTreeSet<String> = self.last_named.keys().cloned().collect();
        if !self.spare(objects, &journalled, &mut unneeded)? || unneeded.is_empty() {
            return Ok(());
        }
        self.plans.retain(|plan, _| kept.plans.contains(plan) || journalled.contains(plan));
        confirm(generation::since(objects, generation)?, generation)?;
        tracing::debug!(objects = unneeded.len(), "nothing names these objects of the archive any more");
        unneeded.iter().try_for_each(|sha256| objects.delete(&name(sha256)))
    }

    /// Takes plans and what they name out of `unneeded`; false when a plan cannot be read.
    fn spare(&mut self, objects: &Objects, plans: &BTreeSet<String>, unneeded: &mut BTreeSet<String>) -> Result<bool> {
        for plan in plans {
            if !self.plans.contains_key(plan) {
                let Some(bytes) = objects.get(&name(plan))? else { return Ok(false) };
                let Ok(named) = (self.named_by_plan)(&bytes) else { return Ok(false) };
                self.plans.insert(plan.clone(), named);
            }
            unneeded.remove(plan);
            for named in &self.plans[plan] {
                unneeded.remove(named);
            }
        }
        Ok(true)
    }

    /// Reads the kept journal, as far as that was not done before; false when its end was not reached.
    fn read_journal(&mut self, objects: &Objects, kept: &Kept) -> Result<bool> {
        let first = kept.needed.sequence_first;
        self.last_named.retain(|_, last| *last >= first);
        self.unread = self.unread.max(first);
        for _ in 0..ENTRIES_READ_MAX {
            let Some(stored) = read_entry(objects, self.unread)? else {
                return Ok(self.unread > kept.needed.sequence_newest);
            };
            let identities = match stored.entry.body {
                JournalBody::Epoch(record) => vec![record.identity],
                JournalBody::Change(change) => vec![change.before, change.after],
                JournalBody::Fence(_) => Vec::new(),
            };
            for identity in identities {
                self.last_named.insert(identity.configuration, self.unread);
            }
            self.unread += 1;
        }
        Ok(false)
    }
}
