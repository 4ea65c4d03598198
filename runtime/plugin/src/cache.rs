//! The cache of compiled components, with a MAC under a key of this installation.
//!
//! Owns: entries keyed by (component, init message, engine), their MAC, the key file.
//! Does not own: compiling.
//!
//! Invariants: the folder holds `CACHE_BYTES_MAX` at most, apart from the newest entry: what was not used for longest goes.
//! Compiled code is native code, so an entry is loaded only when its MAC is right. The key is random, made
//! once per cache folder, readable by its owner only. A bad entry is compiled again, never loaded, never fatal.

use rustix::fs::{Mode, OFlags};
use segno_core::{Code, Error, Result};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Bytes of all entries at most. Each version of a side table is an entry, as large as its rows; dozens of plugins with some
/// versions each have room.
const CACHE_BYTES_MAX: u64 = 2 << 30;

pub struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Cache {
    pub fn open(folder: &Path) -> Result<Cache> {
        let failed = |error: std::io::Error| {
            Error::new(Code::WorkDirUnusable, format!("the plugin cache {} cannot be used", folder.display()))
                .with_cause(error)
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        Ok(Cache { folder: folder.to_owned(), key: key(folder).map_err(failed)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.cwasm"))
    }

    fn mac(&self, name: &str, body: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes());
        hasher.update(body);
        hasher.finalize()
    }

    /// The compiled code under a name; `None` when there is none, or when it is not what this installation wrote.
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = std::fs::read(self.path(name)).ok()?;
        let good = bytes.len().checked_sub(MAC_BYTES).filter(|&length| {
            let (body, mac) = bytes.split_at(length);
            <[u8; MAC_BYTES]>::try_from(mac).is_ok_and(|mac| self.mac(name, body) == blake3::Hash::from_bytes(mac))
        });
        match good {
            Some(length) => {
                self.used(name);
                bytes.truncate(length);
                Some(bytes)
            }
            None => {
                tracing::warn!(
                    code = Code::CacheTampered.name(),
                    "{}: not what this installation wrote; it is compiled again",
                    self.path(name).display()
                );
                None
            }
        }
    }

    /// Keeps compiled code. A cache that cannot be written costs time only.
    pub fn store(&self, name: &str, body: &[u8]) {
        let written = tempfile_in(&self.folder).and_then(|(mut file, path)| {
            file.write_all(body)?;
            file.write_all(self.mac(name, body).as_bytes())?;
            std::fs::rename(path, self.path(name))?;
            self.trim(name, CACHE_BYTES_MAX)
        });
        if let Err(error) = written {
            tracing::warn!("the plugin cache {} cannot be written: {error}", self.folder.display());
        }
    }
}

impl Cache {
    /// An entry that was used lately stays longer. Where this cannot be noted, it is compiled again some day.
    fn used(&self, name: &str) {
        let now = std::time::SystemTime::now();
        let _ = std::fs::File::options().write(true).open(self.path(name)).and_then(|file| file.set_modified(now));
    }

    /// Removes what was not used for longest, and never the entry `name`. Other processes may do so at the same time.
    fn trim(&self, name: &str, bytes_max: u64) -> std::io::Result<()> {
        let kept = [self.path(name), self.folder.join("key")];
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            bytes += meta.len();
            if meta.is_file() && !kept.contains(&entry.path()) {
                entries.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        entries.sort();
        for (_, length, path) in entries {
            if bytes <= bytes_max {
                break;
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => bytes = bytes.saturating_sub(length),
            }
        }
        Ok(())
    }
}

fn tempfile_in(folder: &Path) -> std::io::Result<(std::fs::File, PathBuf)> {
    let path = folder.join(format!("new-{}", hex::encode(rand::random::<[u8; 8]>())));
    Ok((private_file(&path)?, path))
}

/// A new file that only its owner may read.
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(std::fs::File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

/// The installation's key, made at first use. Two processes that start together end up with the same one.
fn key(folder: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let path = folder.join("key");
    loop {
        match std::fs::File::open(&path) {
            Ok(mut file) => {
                let mut key = [0; KEY_BYTES];
                file.read_exact(&mut key)?;
                return Ok(key);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (mut file, temporary) = tempfile_in(folder)?;
        file.write_all(&rand::random::<[u8; KEY_BYTES]>())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&temporary, &path);
        std::fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_was_used_lately_and_stays_within_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path()).expect("a cache");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1_000);
        for (age, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            cache.store(name, &[7; 1_000]);
            let file = std::fs::File::options().write(true).open(cache.path(name)).expect("an entry");
            file.set_modified(old + std::time::Duration::from_secs(age as u64)).expect("a time");
        }
        assert!(cache.load("a").is_some(), "the oldest is used");
        // The key and two entries with their MACs.
        cache.trim("b", 2 * 1_032 + 32).expect("trimmed");
        let left = ["a", "b", "c", "d"].map(|name| cache.path(name).exists());
        assert_eq!(left, [true, true, false, false], "the last one used, and the one just written");
        assert!(cache.load("b").is_some(), "the key stays");
    }
}
