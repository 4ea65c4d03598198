//! Reading a file of text in large blocks.
//!
//! Owns: blocks and their memory, records that are too long, the end of a file that grows or does not.
//! Does not own: records (`format`), which files there are (`files`).
//!
//! Invariants: memory is bounded by a block, the longest record and what the receiver keeps, whatever the size of the
//! file. A chunk lies in one block, so that its raw bytes are shared and never copied. A block is used again only
//! when nobody holds a slice of it.

use super::place::{Followed, shrunk, unreadable};
use crate::format::json::scan::PADDING;
use crate::format::rows::Rows;
use crate::format::{Decoder, Stop, Window, too_long};
use bytes::Bytes;
use segno_core::Result;
use segno_core::source::{BAD_BYTES_MAX, Chunk, Next, PartitionReader, ReadLimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes read at once: enough that a system call costs nothing per record, little enough for the second-level cache.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Blocks that wait until their receivers are done with them.
const SPARE_BLOCKS: usize = 3;

pub(crate) struct TextReader {
    path: PathBuf,
    file: File,
    partition: u32,
    decoder: Box<dyn Decoder>,
    rows: Rows,
    record_bytes_max: usize,
    /// Bytes of a block; smaller in tests.
    block_bytes: usize,
    block: Block,
    spare: Vec<Arc<Vec<u8>>>,
    /// Bytes of data in the block.
    len: usize,
    /// Offset of the block's first byte.
    base: u64,
    /// Place in the block where reading goes on.
    at: usize,
    /// The file's end was met, and it does not grow.
    last: bool,
    followed: Option<Followed>,
    skipping: Option<Skipping>,
}

/// A record that is too long, on the way to its end.
struct Skipping {
    start: u64,
    kept: Vec<u8>,
}

/// Bytes kept of a record that is too long: with the end of its line, which is cut off later.
const KEPT_BYTES_MAX: usize = BAD_BYTES_MAX + 2;

struct Block {
    memory: Arc<Vec<u8>>,
    /// The same memory as slices are cut from it.
    shared: Bytes,
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Block {
    fn new(memory: Arc<Vec<u8>>) -> Block {
        Block { shared: Bytes::from_owner(Shared(memory.clone())), memory }
    }
}

pub(crate) struct TextStart {
    pub path: PathBuf,
    pub file: File,
    pub partition: u32,
    pub offset: u64,
    pub record_bytes_max: usize,
    pub follow: bool,
    pub block_bytes: usize,
}

impl TextReader {
    pub fn new(start: TextStart, decoder: Box<dyn Decoder>, rows: Rows) -> Result<TextReader> {
        let followed = match start.follow {
            true => Some(Followed::new(&start.path, &start.file)?),
            false => None,
        };
        Ok(TextReader {
            path: start.path,
            file: start.file,
            partition: start.partition,
            decoder,
            rows,
            record_bytes_max: start.record_bytes_max,
            block_bytes: start.block_bytes,
            block: Block::new(Arc::new(vec![b'\n'; PADDING])),
            spare: Vec::new(),
            len: 0,
            base: start.offset,
            at: 0,
            last: false,
            followed,
            skipping: None,
        })
    }

    /// Reads more behind what is left of the block. False: there is no more now.
    fn refill(&mut self) -> Result<bool> {
        let end = self.base + self.len as u64;
        let length = self.file.metadata().map_err(|error| unreadable(&self.path, &error))?.len();
        if length < end {
            return Err(shrunk(&self.path, length, end));
        }
        if length == end {
            return Ok(false);
        }
        let kept = self.len - self.at;
        let wanted = usize::try_from(length - end).unwrap_or(usize::MAX).min(self.block_bytes);
        let mut memory = self.memory(kept + wanted + PADDING);
        let Some(buf) = Arc::get_mut(&mut memory) else { return Ok(false) };
        buf[..kept].copy_from_slice(&self.block.memory[self.at..self.len]);
        let mut filled = kept;
        while filled < kept + wanted {
            match self.file.read_at(&mut buf[filled..kept + wanted], end + (filled - kept) as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&self.path, &error)),
            }
        }
        if filled == kept {
            return Err(shrunk(&self.path, end, length));
        }
        buf[filled..filled + PADDING].fill(b'\n');
        let old = std::mem::replace(&mut self.block, Block::new(memory));
        self.spare.push(old.memory);
        if self.spare.len() > SPARE_BLOCKS {
            self.spare.remove(0);
        }
        self.base += self.at as u64;
        self.len = filled;
        self.at = 0;
        Ok(true)
    }

    /// Memory of at least `bytes` that nobody else holds.
    fn memory(&mut self, bytes: usize) -> Arc<Vec<u8>> {
        // One owner: every slice that was given out is gone.
        let free = |memory: &Arc<Vec<u8>>| Arc::strong_count(memory) == 1 && memory.len() >= bytes;
        if let Some(at) = self.spare.iter().position(free) {
            return self.spare.swap_remove(at);
        }
        Arc::new(vec![0; bytes.max(self.block_bytes + PADDING + self.block_bytes / 4)])
    }

    /// What reading gives when the file holds no more: waiting, or the end.
    fn at_end(&mut self) -> Result<Option<Next>> {
        if let Some(followed) = &mut self.followed {
            followed.check(&self.path, &mut self.file, self.base + self.len as u64)?;
            return Ok(Some(Next::Waiting));
        }
        if self.last {
            self.decoder.finish(self.base + self.len as u64)?;
            return Ok(Some(Next::End));
        }
        self.last = true;
        Ok(None)
    }

    /// Goes on through a record that is too long. `None`: more of it must be read.
    fn skip(&mut self, mut skipping: Skipping) -> Result<Option<Next>> {
        let data = &self.block.memory[self.at..self.len];
        let end = self.decoder.skip(data);
        let passed = end.unwrap_or(data.len());
        let room = KEPT_BYTES_MAX - skipping.kept.len();
        skipping.kept.extend_from_slice(&data[..passed.min(room)]);
        self.at += passed;
        if end.is_none() {
            if self.refill()? {
                self.skipping = Some(skipping);
                return Ok(None);
            }
            if let Some(followed) = &mut self.followed {
                followed.check(&self.path, &mut self.file, self.base + self.len as u64)?;
                self.skipping = Some(skipping);
                return Ok(Some(Next::Waiting));
            }
            // Where the format says that the input cannot end here, what was skipped is no record.
            self.decoder.finish(self.base + self.len as u64)?;
        }
        let content = match skipping.kept.len() < KEPT_BYTES_MAX {
            true => self.decoder.content(&skipping.kept),
            false => &skipping.kept,
        };
        self.rows.push_bad(skipping.start, too_long(self.record_bytes_max), content);
        let end = self.base + self.at as u64;
        Ok(Some(Next::Chunk(self.rows.finish(self.partition, skipping.start, end, None)?)))
    }

    fn chunk(&mut self, to: usize) -> Result<Chunk> {
        let (from, base) = (self.at, self.base);
        self.at = to;
        let raw = self.block.shared.slice(from..to);
        self.rows.finish(self.partition, base + from as u64, base + to as u64, Some(raw))
    }
}

impl PartitionReader for TextReader {
    fn next(&mut self, limit: ReadLimit) -> Result<Next> {
        loop {
            if let Some(skipping) = self.skipping.take() {
                match self.skip(skipping)? {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            let window = Window {
                buf: &self.block.memory,
                len: self.len,
                base: self.base,
                last: self.last,
            };
            let (to, stop) = self.decoder.decode(&window, self.at, limit, &mut self.rows)?;
            if self.rows.records() > 0 {
                return Ok(Next::Chunk(self.chunk(to)?));
            }
            self.at = to;
            match stop {
                Stop::Limit => {}
                Stop::TooLong => {
                    self.decoder.begin_skip();
                    self.skipping = Some(Skipping { start: self.base + to as u64, kept: Vec::new() });
                }
                Stop::More => {
                    if !self.refill()?
                        && let Some(next) = self.at_end()?
                    {
                        return Ok(next);
                    }
                }
            }
        }
    }
}
