//! Files that a power failure of the machine does not take.
//!
//! Owns: writing so that contents, and the names of files, are on the disk when the call returns. Does not own: objects of a store
//! in a folder (`object_store` syncs them), nor local state, which may be lost.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};
use std::path::Path;

/// Writes a file. Its name lasts once `names` was called for its folder.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a folder last: those that were added, and that others were removed.
pub fn names(folder: &Path) -> Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems sync no folders: they keep names by themselves.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

/// Makes a folder and those above it, where they are missing. All are synced: whoever made them may have been killed before.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)?;
    let whole = std::path::absolute(path)?;
    // Above what this user may read, others made the folders.
    whole.ancestors().map_while(|above| File::open(above).ok().map(|_| above)).try_for_each(names)
}
