//! Generations: who owns a shard. Each is an object made by conditional create; the highest number rules.
//!
//! Owns: taking the next generation. Does not own: fencing (the journal's fence entry does).

use crate::journal::nonce;
use crate::store::{Created, Objects};
use bytes::Bytes;
use segno_core::persisted::{Author, Generation, MANIFEST_VERSION};
use segno_core::{Code, Error, Result};

fn name(generation: u64) -> String {
    format!("generation/{generation:06}")
}

/// The highest generation, 0 when there is none.
pub fn current(objects: &Objects) -> Result<u64> {
    let hint = objects.get("generation-hint")?;
    let hint: Option<u64> = hint.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
    since(objects, hint.unwrap_or(0))
}

/// The highest generation, from one that is known to exist: generations are never removed, so that an owner asks for one
/// object only.
pub fn since(objects: &Objects, mut number: u64) -> Result<u64> {
    while objects.head(&name(number + 1))?.is_some() {
        number += 1;
    }
    Ok(number)
}

/// Creates the next generation and gives its author.
pub fn take(objects: &Objects, writer: &str, journal: &str) -> Result<Author> {
    loop {
        let number = current(objects)? + 1;
        let author = Author { generation: number, writer: writer.to_owned(), nonce: nonce() };
        let generation = Generation { version: MANIFEST_VERSION, author: author.clone(), journal: journal.to_owned() };
        let bytes = serde_json::to_vec(&generation)
            .map_err(|error| Error::new(Code::Internal, "a generation cannot be written").with_cause(error))?;
        if objects.create(&name(number), Bytes::from(bytes))? == Created::Ours {
            objects.put("generation-hint", Bytes::from(number.to_string()))?;
            return Ok(author);
        }
    }
}
