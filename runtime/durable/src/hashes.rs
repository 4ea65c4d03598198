//! The hashes of immutable state files, kept from checkpoint to checkpoint and from start to start.
//!
//! Owns: hashing a file, remembering it, and which hashes this process saw in the store.
//! Does not own: uploading (`checkpoint`).
//!
//! Invariants: a hash is believed only of a file with the same name, length and time of change; a link keeps all three, and
//! a file that was restored or made anew has another time. What cannot be read is hashed again. So a file that was damaged
//! on the disk after it was uploaded does not take the place of the intact object.

use crate::checkpoint::io;
use segno_core::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is read of a file at a time, bytes: it stays in the processor's cache.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hashed {
    pub name: String,
    pub bytes: u64,
    changed: (i64, i64),
    pub sha256: String,
}

/// What is known of the files of one state store.
pub struct Hashes {
    path: PathBuf,
    known: Vec<Hashed>,
    /// Hashes of objects that this process wrote or found; an earlier one may have used another store.
    pub stored: BTreeSet<String>,
}

impl Hashes {
    /// Remembers in the file `path`. Where it is absent or unreadable, every file is hashed again.
    pub fn open(path: PathBuf) -> Hashes {
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Hashes { path, known, stored: BTreeSet::new() }
    }

    /// Name, length and hash of a file; RocksDB never changes a file that ends in `.sst`.
    pub fn of(&self, path: &Path) -> Result<Hashed> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let meta = std::fs::metadata(path).map_err(|error| io("reading", path, error))?;
        let changed = (meta.mtime(), meta.mtime_nsec());
        let immutable = name.ends_with(".sst");
        let same = |known: &&Hashed| immutable && known.name == name && known.bytes == meta.len() && known.changed == changed;
        if let Some(known) = self.known.iter().find(same) {
            return Ok(known.clone());
        }
        Ok(Hashed { sha256: sha256_of(path)?, bytes: meta.len(), changed, name })
    }

    /// Remembers these files and forgets all others.
    pub fn keep(&mut self, files: Vec<Hashed>) {
        self.stored = files.iter().map(|file| file.sha256.clone()).collect();
        self.known = files;
        // Where it cannot be written the next process hashes again; half of it is not JSON.
        if let Ok(text) = serde_json::to_vec(&self.known) {
            let _ = std::fs::write(&self.path, text);
        }
    }
}

fn sha256_of(path: &Path) -> Result<String> {
    let failed = |error| io("reading", path, error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            length => hasher.update(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_believed_of_an_unchanged_file_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let [state, link, kept] = ["000007.sst", "image", "hashes"].map(|name| folder.path().join(name));
        std::fs::create_dir(&link).expect("a folder");
        let link = link.join("000007.sst");
        std::fs::write(&state, "one").expect("a file");
        let mut hashes = Hashes::open(kept.clone());
        let mut known = hashes.of(&state).expect("a hash");
        // A mark that only memory can have: a file that was hashed again shows its real hash.
        known.sha256 = "remembered".to_owned();
        hashes.keep(vec![known]);
        let hashes = Hashes::open(kept.clone());
        assert_eq!(hashes.stored.len(), 0, "another process may have used another store");
        std::fs::hard_link(&state, &link).expect("a link");
        assert_eq!(hashes.of(&link).expect("a hash").sha256, "remembered", "a link of the same file");
        let file = std::fs::File::options().write(true).open(&state).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH).expect("a time");
        assert_ne!(hashes.of(&state).expect("a hash").sha256, "remembered", "changed since");
        std::fs::write(&kept, "[{\"name").expect("a file");
        assert_ne!(Hashes::open(kept).of(&state).expect("a hash").sha256, "remembered", "a torn memory is none");
    }
}
