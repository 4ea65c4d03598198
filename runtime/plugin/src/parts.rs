//! Compiled functions, by what they were compiled from: an interpreter's are the same in each plugin that it runs, before
//! and after `init`, and compiling them takes most of a minute.
//!
//! Owns: these parts in memory, those of one interpreter at a time, and as an entry of the cache for each interpreter. Does not
//! own: the entry's file and its MAC (`cache`), what a key is made of (the engine: a digest of the function and of every setting that decides code).
//!
//! Invariants: a part that is not there is compiled: losing all of them costs time only. What the cache's MAC does not
//! vouch for is never read. The parts are read when something has to be compiled, and not before. Plugins that bring no
//! interpreter have none: compiling them takes less than reading what others left.

use crate::cache::Cache;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use wasmparser::{Parser, Payload};
use wasmtime::CacheStore;

/// Bytes of all parts; an interpreter has some forty million. With more, all are forgotten.
const BYTES_MAX: usize = 128 << 20;

/// Bytes of the code of a module that is an interpreter.
const INTERPRETER_MIN: u32 = 2 << 20;

/// Which interpreter a component brings, by the sizes of the code of its large modules: a plugin changes bytes in it, and no size.
/// `None`: none. Where two interpreters have the same sizes, their parts lie together, which costs time only.
pub fn interpreter(component: &[u8]) -> Option<String> {
    let sizes = Parser::new(0).parse_all(component).filter_map(|payload| match payload {
        Ok(Payload::CodeSectionStart { size, .. }) if size >= INTERPRETER_MIN => Some(size.to_string()),
        _ => None,
    });
    let sizes: Vec<String> = sizes.collect();
    (!sizes.is_empty()).then(|| sizes.join("-"))
}

#[derive(Debug, Default)]
pub struct Parts {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    parts: HashMap<Vec<u8>, Arc<[u8]>>,
    bytes: usize,
    /// The entry of the cache that they belong to; without one none are kept.
    entry: Option<String>,
    grown: bool,
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads what the cache has under a name, in place of what is there of another one; without a name nothing is kept.
    pub fn load(&self, cache: &Cache, name: Option<&str>) {
        let mut inner = self.lock();
        if inner.entry.as_deref() == name {
            return;
        }
        *inner = Inner { entry: name.map(str::to_owned), ..Inner::default() };
        let entry = name.and_then(|name| cache.load(name)).unwrap_or_default();
        let mut rest = &entry[..];
        while let Some((key, value, after)) = take(rest) {
            inner.add(key.to_vec(), value.into());
            rest = after;
        }
        inner.grown = false;
    }

    /// Keeps what was added.
    pub fn save(&self, cache: &Cache) {
        let mut inner = self.lock();
        let Some(name) = inner.entry.clone() else { return };
        if !std::mem::take(&mut inner.grown) {
            return;
        }
        let mut entry = Vec::with_capacity(inner.bytes + 8 * inner.parts.len());
        for (key, value) in &inner.parts {
            for one in [&key[..], value] {
                entry.extend_from_slice(&(one.len() as u32).to_le_bytes());
                entry.extend_from_slice(one);
            }
        }
        cache.store(&name, &entry);
    }
}

impl Inner {
    fn add(&mut self, key: Vec<u8>, value: Arc<[u8]>) {
        if self.entry.is_none() {
            return;
        }
        let bytes = key.len() + value.len();
        if self.bytes + bytes > BYTES_MAX {
            self.parts.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.grown |= self.parts.insert(key, value).is_none();
    }
}

/// A key, its part and what follows them.
fn take(entry: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    fn one(from: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = from.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    }
    let (key, rest) = one(entry)?;
    let (value, rest) = one(rest)?;
    Some((key, value, rest))
}

impl CacheStore for Parts {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let part = self.lock().parts.get(key).cloned();
        part.map(|part| Cow::Owned(part.to_vec()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.lock().add(key.to_vec(), value.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_found_by_another_process_unless_it_was_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path()).expect("a cache");
        let parts = Parts::default();
        parts.load(&cache, Some("parts"));
        parts.insert(b"one", vec![1; 100]);
        parts.insert(b"two", Vec::new());
        parts.save(&cache);
        // Those of another interpreter are apart, and a plugin without one leaves none.
        for name in [Some("others"), None] {
            parts.load(&cache, name);
            assert!(parts.get(b"one").is_none());
            parts.insert(b"three", vec![3]);
            parts.save(&cache);
        }
        let other = Parts::default();
        other.load(&cache, Some("parts"));
        assert_eq!(other.get(b"one").as_deref(), Some(&[1; 100][..]));
        assert_eq!(other.get(b"two").as_deref(), Some(&[][..]));
        assert!(other.get(b"three").is_none());
        let file = folder.path().join("parts.cwasm");
        let mut bytes = std::fs::read(&file).expect("the entry");
        bytes[10] ^= 1;
        std::fs::write(&file, bytes).expect("a changed entry");
        let third = Parts::default();
        third.load(&cache, Some("parts"));
        assert!(third.get(b"one").is_none() && third.get(b"two").is_none());
    }

    #[test]
    fn there_is_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = Parts::default();
        parts.load(&Cache::open(folder.path()).expect("a cache"), Some("parts"));
        for number in 0..10_u8 {
            parts.insert(&[number], vec![number; BYTES_MAX / 4]);
            assert!(parts.lock().bytes <= BYTES_MAX);
        }
        assert!(parts.get(&[9]).is_some() && parts.get(&[0]).is_none());
    }
}
