//! Who owns a shard: what its owner does after each answer, from the fence to an epoch that everybody sees.
//!
//! Owns: the order of a commit, and which answers end the ownership.
//! Does not own: asking. An answer that never came is no fact: the shard is opened again, and the journal tells.
//!
//! Invariants: nothing is visible before its entry exists. Winning a number proves nothing by itself: retention removes
//! old entries, and a process that slept long enough can win a number that was used before. So the generation is looked
//! at *after* the create: while it is still ours, nobody has fenced the journal, and the number is the next one.

use crate::persisted::Author;
use crate::{Code, Error, Result};

/// What a conditional create of a numbered object gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// Somebody else's object holds the number.
    Theirs(Author),
}

/// What is known of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Every sink staged the epoch's rows.
    Staged,
    Claimed(Claim),
    /// The highest generation, read after the entry was created.
    Current(u64),
    Published,
    Applied,
}

/// What is done next in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    CreateEntry,
    Confirm,
    Publish,
    /// Apply to the local state: last, so that it is never ahead of the journal or of a sink.
    Apply,
    Committed,
}

/// The step of a commit that follows a fact; `ours` is the owner's generation.
pub fn next(fact: Fact, ours: u64) -> Result<Next> {
    match fact {
        Fact::Staged => Ok(Next::CreateEntry),
        Fact::Claimed(Claim::Ours) => Ok(Next::Confirm),
        // Nobody older can follow our fence: the fence stands where an entry was lost, before entries that are left.
        Fact::Claimed(Claim::Theirs(author)) if author.generation < ours => Err(Error::new(
            Code::JournalGap,
            format!("the journal goes on after generation {ours} took it over, with an entry of {author}: one before it was lost"),
        )
        .with_help("restore the object from the bucket's versions; Segno never skips a journal entry")),
        Fact::Claimed(Claim::Theirs(author)) => Err(lost(&author.to_string(), ours)),
        Fact::Current(current) => confirm(current, ours).map(|()| Next::Publish),
        Fact::Published => Ok(Next::Apply),
        Fact::Applied => Ok(Next::Committed),
    }
}

/// What a new owner does after it tried to create its fence entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    Fenced,
    /// An older owner's last entry holds the number: it is history, and the fence follows it.
    Follow,
}

/// Whether a fence may follow the journal's last entry: not when a newer owner wrote it. Otherwise a process that slept
/// between its generation and its fence would take the next number from the owner, and both would stop.
pub fn may_fence(last: &Author, ours: u64) -> Result<()> {
    if last.generation > ours { Err(lost(&last.to_string(), ours)) } else { Ok(()) }
}

pub fn after_fence(claim: &Claim, ours: u64) -> Result<Fencing> {
    match claim {
        Claim::Ours => Ok(Fencing::Fenced),
        Claim::Theirs(author) if author.generation > ours => Err(lost(&author.to_string(), ours)),
        Claim::Theirs(_) => Ok(Fencing::Follow),
    }
}

/// What an owner does after it tried to create a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    Made,
    /// An older owner's last checkpoint holds the number: as good as any, and this one follows it.
    Follow,
}

pub fn after_manifest(claim: &Claim, ours: u64) -> Result<Numbering> {
    match claim {
        Claim::Ours => Ok(Numbering::Made),
        Claim::Theirs(author) if author.generation >= ours => Err(lost(&author.to_string(), ours)),
        Claim::Theirs(_) => Ok(Numbering::Follow),
    }
}

/// Whether a process still owns the shard, from the highest generation there is. Asked after the fence and before
/// anything is read, and after every create of an entry or a manifest.
pub fn confirm(current: u64, ours: u64) -> Result<()> {
    if current == ours { Ok(()) } else { Err(lost(&format!("generation {current}"), ours)) }
}

/// What a failure means: while the generation is ours, what it says; else that somebody took over. A process that was
/// overtaken finds entries collected and marks ahead of what it knows, and nobody must be told to restore them.
pub fn verdict(error: Error, current: u64, ours: u64) -> Error {
    confirm(current, ours).err().unwrap_or(error)
}

fn lost(other: &str, ours: u64) -> Error {
    Error::new(Code::OwnershipLost, format!("{other} owns the shard now; this process is generation {ours}"))
        .with_help("another process runs this pipeline now; this one has published nothing since and stops")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(generation: u64) -> Claim {
        Claim::Theirs(Author { generation, writer: "host:1".to_owned(), nonce: String::new() })
    }

    #[test]
    fn a_commit_goes_from_staged_to_journal_to_sinks_to_state() {
        let facts = [Fact::Staged, Fact::Claimed(Claim::Ours), Fact::Current(3), Fact::Published, Fact::Applied];
        let steps: Vec<Next> = facts.into_iter().map(|fact| next(fact, 3).unwrap()).collect();
        assert_eq!(steps, [Next::CreateEntry, Next::Confirm, Next::Publish, Next::Apply, Next::Committed]);
    }

    #[test]
    fn an_entry_of_somebody_else_ends_the_ownership() {
        assert_eq!(next(Fact::Claimed(theirs(4)), 3).unwrap_err().code(), Code::OwnershipLost);
    }

    #[test]
    fn an_older_entry_after_our_fence_means_that_one_was_lost() {
        assert_eq!(next(Fact::Claimed(theirs(2)), 3).unwrap_err().code(), Code::JournalGap);
    }

    #[test]
    fn a_number_that_was_won_counts_only_while_the_generation_is_ours() {
        assert_eq!(next(Fact::Current(3), 3).unwrap(), Next::Publish);
        assert_eq!(next(Fact::Current(4), 3).unwrap_err().code(), Code::OwnershipLost);
    }

    #[test]
    fn a_fence_follows_what_older_owners_wrote_and_yields_to_newer_ones() {
        assert_eq!(after_fence(&Claim::Ours, 3).unwrap(), Fencing::Fenced);
        assert_eq!(after_fence(&theirs(2), 3).unwrap(), Fencing::Follow);
        assert_eq!(after_fence(&theirs(4), 3).unwrap_err().code(), Code::OwnershipLost);
    }

    #[test]
    fn no_fence_follows_an_entry_of_a_newer_owner() {
        let author = |generation| Author { generation, writer: "host:1".to_owned(), nonce: String::new() };
        assert!(may_fence(&author(2), 3).is_ok());
        assert_eq!(may_fence(&author(4), 3).unwrap_err().code(), Code::OwnershipLost);
    }

    #[test]
    fn a_failure_of_a_process_that_was_overtaken_is_the_loss_of_ownership() {
        let gap = || Error::new(Code::JournalGap, "an entry is missing");
        assert_eq!(verdict(gap(), 3, 3).code(), Code::JournalGap);
        assert_eq!(verdict(gap(), 4, 3).code(), Code::OwnershipLost);
    }

    #[test]
    fn a_manifest_of_an_older_owner_costs_its_successor_a_number_only() {
        assert_eq!(after_manifest(&theirs(2), 3).unwrap(), Numbering::Follow);
        assert_eq!(after_manifest(&theirs(4), 3).unwrap_err().code(), Code::OwnershipLost);
    }
}
