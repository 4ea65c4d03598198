//! The journal of a shard in the object store: entries numbered without gaps, chained by digest.
//!
//! Owns: appending by conditional create, finding the end by probing, verifying the chain, detail sidecars.
//! Does not own: what an entry means (`segno_core::persisted`).
//!
//! Invariants: entry N+1 names the SHA-256 of entry N's bytes. An entry is never rewritten. The hint only saves probes.

use crate::store::{Created, Objects};
use bytes::Bytes;
use segno_core::persisted::{Author, DetailRef, JOURNAL_VERSION, JournalBody, JournalEntry};
use segno_core::protocol::end;
use segno_core::protocol::ownership::Claim;
use segno_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

/// Entries between two writes of the hint: a reader probes at most about twice as many. The first entry writes it too:
/// see `find_end`.
const HINT_EVERY: u64 = 32;

/// An entry with the digest of its bytes.
#[derive(Clone, Debug)]
pub struct Stored {
    pub entry: JournalEntry,
    pub digest: String,
}

/// The journal from where its owner stands.
pub struct Journal {
    objects: Objects,
    author: Author,
    /// Sequence of the last entry, 0 when there is none.
    sequence: u64,
    /// Digest of the last entry's bytes; empty when there is none.
    chain: String,
}

/// 16 random bytes, hex.
pub fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn entry_name(sequence: u64) -> String {
    format!("journal/{sequence:012}")
}

/// Reads an entry and checks that it is whole and has its number.
pub fn read_entry(objects: &Objects, sequence: u64) -> Result<Option<Stored>> {
    let name = entry_name(sequence);
    let Some(bytes) = objects.get(&name)? else { return Ok(None) };
    let entry: JournalEntry = serde_json::from_slice(&bytes).map_err(|error| damaged(&name, error))?;
    if entry.version > JOURNAL_VERSION {
        return Err(Error::new(
            Code::NewerFormat,
            format!("journal entry {name} has version {}, this Segno reads up to {JOURNAL_VERSION}", entry.version),
        )
        .with_help("run the newer Segno that wrote it"));
    }
    if entry.sequence != sequence {
        return Err(damaged(&name, format!("it says that it is number {}", entry.sequence)));
    }
    Ok(Some(Stored { entry, digest: sha256_hex(&bytes) }))
}

fn damaged(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Code::JournalDamaged, format!("journal object {name} is damaged: {why}"))
        .with_help("restore it from the bucket's versions; Segno never skips a journal entry")
}

/// Sequence of the last entry, found by probing upwards from `from` (an entry known to exist, or 0).
pub fn find_end(objects: &Objects, from: u64) -> Result<u64> {
    let hint = objects.get("journal-hint")?.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
    end::find_end(from, hint, || listed_end(objects), |sequence| Ok(objects.head(&entry_name(sequence))?.is_some()))
}

/// The highest sequence that a listing shows, which may be stale.
pub fn listed_end(objects: &Objects) -> Result<u64> {
    Ok(objects.list("journal")?.iter().filter_map(|(name, _)| name.parse().ok()).max().unwrap_or(0))
}

/// Sequence of the oldest entry that is left: 1, or what follows the collected ones. A stale listing can only make a
/// later reading stop at a gap.
pub fn first_left(objects: &Objects) -> Result<u64> {
    if read_entry(objects, 1)?.is_some() {
        return Ok(1);
    }
    Ok(objects.list("journal")?.iter().filter_map(|(name, _)| name.parse().ok()).min().unwrap_or(1))
}

/// Entries `first..=last` in order, each checked against the one before. `before` is the digest of entry `first - 1`,
/// when it is known.
pub fn read_range(objects: &Objects, first: u64, last: u64, before: Option<&str>) -> Result<Vec<Stored>> {
    let mut chain = before.map(str::to_owned);
    let mut entries = Vec::new();
    for sequence in first..=last {
        let Some(stored) = read_entry(objects, sequence)? else {
            return Err(Error::new(
                Code::JournalGap,
                format!("journal entry {sequence} is missing, while entry {last} exists"),
            )
            .with_help("restore the object from the bucket's versions; Segno never skips a journal entry"));
        };
        if let Some(expected) = &chain
            && stored.entry.previous != *expected
        {
            return Err(Error::new(
                Code::JournalChain,
                format!(
                    "journal entry {sequence} follows {}…, but the entry before it is {}…: one of them was replaced",
                    &stored.entry.previous.get(..12).unwrap_or(""),
                    expected.get(..12).unwrap_or("")
                ),
            )
            .with_help("restore the original object from the bucket's versions"));
        }
        chain = Some(stored.digest.clone());
        entries.push(stored);
    }
    Ok(entries)
}

impl Journal {
    /// The journal after entry `sequence`, whose digest is `chain`.
    pub fn new(objects: Objects, author: Author, sequence: u64, chain: String) -> Journal {
        Journal { objects, author, sequence, chain }
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Creates the next entry. It counts when the generation was read afterwards (`protocol::ownership`).
    pub fn append(&mut self, body: JournalBody) -> Result<Claim> {
        let entry = JournalEntry {
            version: JOURNAL_VERSION,
            sequence: self.sequence + 1,
            previous: self.chain.clone(),
            author: Author { nonce: nonce(), ..self.author.clone() },
            body,
        };
        let bytes = serde_json::to_vec(&entry)
            .map_err(|error| Error::new(Code::Internal, "a journal entry cannot be written").with_cause(error))?;
        let digest = sha256_hex(&bytes);
        let name = entry_name(entry.sequence);
        match self.objects.create(&name, Bytes::from(bytes))? {
            Created::Ours => {
                self.sequence = entry.sequence;
                self.chain = digest;
                Ok(Claim::Ours)
            }
            Created::Theirs(bytes) => {
                let theirs: JournalEntry = serde_json::from_slice(&bytes).map_err(|error| damaged(&name, error))?;
                Ok(Claim::Theirs(theirs.author))
            }
        }
    }

    /// Leaves a hint to the last entry now and then, once it counts: a hint of an owner that was overtaken would mislead.
    pub fn leave_hint(&self) -> Result<()> {
        if self.sequence % HINT_EVERY == 0 || self.sequence == 1 {
            self.objects.put("journal-hint", Bytes::from(self.sequence.to_string()))?;
        }
        Ok(())
    }

    /// Writes the detail sidecar of an epoch; its entry names it afterwards.
    pub fn put_detail(&self, epoch: u64, body: Vec<u8>) -> Result<DetailRef> {
        let sha256 = sha256_hex(&body);
        // The hash in the name keeps two writers of one epoch apart.
        let object = format!("detail/{epoch:012}-{}", &sha256[..12]);
        let bytes = body.len() as u64;
        self.objects.put(&object, Bytes::from(body))?;
        Ok(DetailRef { object, sha256, bytes })
    }
}

/// Reads a detail sidecar; `None` when it was collected or does not have its hash.
pub fn read_detail(objects: &Objects, detail: &DetailRef) -> Result<Option<Bytes>> {
    Ok(objects.get(&detail.object)?.filter(|bytes| sha256_hex(bytes) == detail.sha256))
}
