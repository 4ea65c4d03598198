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

/// What is wrong with the generations. They decide by being there, whatever they say; one that is gone or says something
/// else shows that somebody changed the store.
pub fn verify(objects: &Objects) -> Result<Vec<Error>> {
    let mut wrong = Vec::new();
    for number in 1..=current(objects)? {
        let why = match objects.get(&name(number))? {
            None => "is gone",
            Some(bytes) => match serde_json::from_slice::<Generation>(&bytes) {
                Ok(found) if found.author.generation == number => continue,
                Ok(_) => "has another number in it",
                Err(_) => "cannot be read",
            },
        };
        wrong.push(
            Error::new(Code::JournalDamaged, format!("{} {why}", name(number)))
                .with_help("restore the object from the bucket's versions; it decides who owned the shard"),
        );
    }
    Ok(wrong)
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
