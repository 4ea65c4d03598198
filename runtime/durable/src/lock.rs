//! The lock of a work folder: one process at a time on one machine.
//!
//! Owns: the lock file with the owner's process id. The kernel frees it when the process dies, kill -9 included.
//! Does not own: ownership across machines (generations do).

use rustix::fs::{FlockOperation, flock};
use segno_core::{Code, Error, Result};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held while this value lives.
#[derive(Debug)]
pub struct WorkLock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl WorkLock {
    /// `None`: another process holds it; its id, as far as it is readable, is in the error of `refuse`.
    pub fn acquire(folder: &Path) -> Result<WorkLock> {
        let path = folder.join("lock");
        let failed = |error: std::io::Error| {
            Error::new(Code::WorkDirUnusable, format!("the work folder {} cannot be used", folder.display()))
                .with_cause(error)
                .with_help("choose another one with work_dir in the pipeline file")
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            return Err(Error::new(
                Code::AlreadyRunning,
                format!("process {} runs this pipeline (work folder {})", owner.trim(), folder.display()),
            )
            .with_help("stop it, or run with --take-over: the other process then commits nothing more"));
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(WorkLock(file))
    }
}
