//! Looking into a file without reading it as records.
//!
//! Owns: the first and the last byte that say something.
//! Does not own: what they say (`files`).

use super::place::unreadable;
use crate::format::BYTE_ORDER_MARK;
use segno_core::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes looked at in one go when searching for the first or last byte that is no white space.
pub(crate) const PEEK_BYTES: usize = 4096;

/// The first byte that is neither byte order mark nor white space.
pub(crate) fn first_byte(path: &Path, file: &File) -> Result<Option<u8>> {
    let mut buf = [0; PEEK_BYTES];
    let mut offset = 0;
    loop {
        let count = file.read_at(&mut buf, offset).map_err(|error| unreadable(path, &error))?;
        if count == 0 {
            return Ok(None);
        }
        let bytes = match offset {
            0 => buf[..count].strip_prefix(BYTE_ORDER_MARK).unwrap_or(&buf[..count]),
            _ => &buf[..count],
        };
        if let Some(byte) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Some(*byte));
        }
        offset += count as u64;
    }
}

/// The last byte before `offset` that is no white space.
pub(crate) fn byte_before(path: &Path, file: &File, offset: u64) -> Result<Option<u8>> {
    let mut buf = [0; PEEK_BYTES];
    let mut end = offset;
    while end > 0 {
        let start = end.saturating_sub(PEEK_BYTES as u64);
        let bytes = &mut buf[..(end - start) as usize];
        file.read_exact_at(bytes, start).map_err(|error| unreadable(path, &error))?;
        if let Some(byte) = bytes.iter().rev().find(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Some(*byte));
        }
        end = start;
    }
    Ok(None)
}
