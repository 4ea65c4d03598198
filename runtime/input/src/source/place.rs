//! The bytes just before an offset, and files that are not what they were.
//!
//! Owns: marks, and every way in which a file can turn out to be another one.
//! Does not own: what is read from the file.
//!
//! Invariant: a mark depends on the file's bytes and the offset only: not on its path, inode or times, so that a
//! file that was moved or restored is still itself.

use segno_core::{Code, Error, Result};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use twox_hash::XxHash3_64;

/// Bytes before an offset that its mark covers: a page, read once per epoch.
pub(crate) const MARK_BYTES: u64 = 4096;

/// The mark of an offset in a file of text.
pub(crate) fn mark(path: &Path, file: &File, offset: u64) -> Result<u64> {
    let start = offset.saturating_sub(MARK_BYTES);
    let mut bytes = vec![0; (offset - start) as usize];
    match file.read_exact_at(&mut bytes, start) {
        Ok(()) => Ok(hash(&bytes, offset)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(shrunk(path, file.metadata().map_or(0, |metadata| metadata.len()), offset))
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

pub(crate) fn hash(bytes: &[u8], offset: u64) -> u64 {
    // The offset is the seed: equal bytes at other places have other marks.
    XxHash3_64::oneshot_with_seed(offset, bytes)
}

/// Refuses to go on at an offset whose mark is another one now.
pub(crate) fn check_mark(path: &Path, file: &File, offset: u64, wanted: Option<u64>) -> Result<()> {
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    if length < offset {
        return Err(shrunk(path, length, offset));
    }
    match wanted {
        Some(wanted) if mark(path, file, offset)? != wanted => {
            Err(changed(path, &format!("the {} bytes before offset {offset} are other ones", offset.min(MARK_BYTES))))
        }
        _ => Ok(()),
    }
}

#[cold]
pub(crate) fn shrunk(path: &Path, length: u64, read: u64) -> Error {
    Error::new(
        Code::SourceShrunk,
        format!("{} has {length} bytes now, but was read up to byte {read}", path.display()),
    )
    .with_help("Restore the file. To start over with the new one, use another pipeline name or checkpoint folder.")
}

#[cold]
pub(crate) fn changed(path: &Path, what: &str) -> Error {
    Error::new(Code::SourceChanged, format!("{} is not the file that was read: {what}", path.display()))
        .with_help("Restore the file. To start over with the new one, use another pipeline name or checkpoint folder.")
}

#[cold]
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(Code::SourceMissing, format!("{} does not exist", path.display()))
            .with_help("Paths are relative to the folder of the pipeline file. One that is written later: files: { path: \"in-*.jsonl\", follow: true }.");
    }
    Error::new(Code::SourceUnreadable, format!("{} cannot be read", path.display())).with_cause(error)
}

/// A file that is followed by its path: what stands at the path must stay the file that is read.
pub(crate) struct Followed {
    device: u64,
    inode: u64,
}

impl Followed {
    pub fn new(path: &Path, file: &File) -> Result<Followed> {
        let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
        Ok(Followed { device: metadata.dev(), inode: metadata.ino() })
    }

    /// At the end of what is there: `end` bytes were read. A file put in the place of the old one is taken when it
    /// goes on where that one ended.
    pub fn check(&mut self, path: &Path, file: &mut File, end: u64) -> Result<()> {
        let now = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(changed(path, "it was removed or renamed while it was followed"));
            }
            Err(error) => return Err(unreadable(path, &error)),
        };
        if now.len() < end {
            return Err(shrunk(path, now.len(), end));
        }
        if (now.dev(), now.ino()) == (self.device, self.inode) {
            return Ok(());
        }
        let other = File::open(path).map_err(|error| unreadable(path, &error))?;
        if mark(path, &other, end)? != mark(path, file, end)? {
            return Err(changed(path, "another file was put in its place while it was followed"));
        }
        (self.device, self.inode) = (now.dev(), now.ino());
        *file = other;
        Ok(())
    }
}
