//! Owns collecting texts and byte strings row by row.
//! Does not own the other columns (`builder`), nor laying a column out (`writer`).
//! Invariant: a value borrowed from the source is copied once, when the column is written.

use super::FrameWriter;
use super::builder::{ColumnBuilder, Validity};
use crate::ColumnType;
use crate::error::{Fault, Result};
use crate::short::append;

/// A run of bytes to copy.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: RunFrom,
    length: usize,
}

/// Where a run lies.
#[derive(Clone, Copy, Debug)]
enum RunFrom {
    /// So many bytes into the source.
    Source(usize),
    /// Right after the last run of our own.
    Own,
}

/// Texts or byte strings.
///
/// A value that lies in the source (the batch that a plugin reads) is not copied when it is pushed: the builder notes
/// where it lies, joins neighbours, and copies once into the answer. Forwarding a whole column is one copy.
#[derive(Clone, Debug, Default)]
pub struct VarBuilder {
    /// The end of each value, as it will be in the frame if that is not too large.
    ends: Vec<[u8; 4]>,
    end: u64,
    /// Finished runs; the current one is `run_from` and what came since `run_start`.
    runs: Vec<Run>,
    run_from: Option<usize>,
    run_start: u64,
    /// The address at which a value continues the current run of the source; 0 when that is not one.
    run_next: usize,
    own: Vec<u8>,
    validity: Validity,
    source_at: usize,
    source_end: usize,
}

impl VarBuilder {
    #[inline(always)]
    pub fn push(&mut self, value: &[u8]) {
        // The common case first: the value lies in the source, right after the one before it.
        let at = value.as_ptr().addr();
        if at == self.run_next && value.len() <= self.source_end - at {
            self.run_next = at + value.len();
        } else {
            self.push_apart(value);
        }
        self.end += value.len() as u64;
        self.ends.push((self.end as u32).to_le_bytes());
    }

    /// Notes or copies a value that does not continue a run of the source.
    fn push_apart(&mut self, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let at = value.as_ptr().addr();
        if at >= self.source_at && at < self.source_end && value.len() <= self.source_end - at {
            self.close_run();
            self.run_from = Some(at - self.source_at);
            self.run_next = at + value.len();
        } else {
            if self.run_from.is_some() {
                self.close_run();
            }
            append(&mut self.own, value);
        }
    }

    /// Adds a value that `write` appends, and gives it.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.run_from.is_some() {
            self.close_run();
        }
        let at = self.own.len();
        write(&mut self.own);
        let value = &self.own[at..];
        self.end += value.len() as u64;
        self.ends.push((self.end as u32).to_le_bytes());
        value
    }

    fn current_run(&self) -> Run {
        Run {
            from: self.run_from.map_or(RunFrom::Own, RunFrom::Source),
            length: (self.end - self.run_start) as usize,
        }
    }

    fn close_run(&mut self) {
        let run = self.current_run();
        if run.length > 0 {
            self.runs.push(run);
        }
        self.run_start = self.end;
        self.run_from = None;
        self.run_next = 0;
    }
}

impl ColumnBuilder for VarBuilder {
    fn rows(&self) -> usize {
        self.ends.len()
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.ends.len());
        self.ends.push((self.end as u32).to_le_bytes());
    }

    fn truncate(&mut self, rows: usize) {
        if rows >= self.ends.len() {
            return;
        }
        self.close_run();
        // Ends are kept modulo 2^32; what goes is known exactly all the same, because it came in one record.
        let end = rows
            .checked_sub(1)
            .map_or(0, |last| u32::from_le_bytes(self.ends[last]));
        let mut surplus = u64::from((self.end as u32).wrapping_sub(end));
        if rows == 0 {
            surplus = self.end;
        }
        self.ends.truncate(rows);
        self.end -= surplus;
        self.run_start = self.end;
        while surplus > 0
            && let Some(last) = self.runs.last_mut()
        {
            let cut = last.length.min(surplus as usize);
            last.length -= cut;
            surplus -= cut as u64;
            if matches!(last.from, RunFrom::Own) {
                self.own.truncate(self.own.len() - cut);
            }
            if last.length == 0 {
                self.runs.pop();
            }
        }
        self.validity.truncate(rows);
    }

    fn begin(&mut self, source: &[u8]) {
        self.ends.clear();
        self.end = 0;
        self.runs.clear();
        self.run_from = None;
        self.run_start = 0;
        self.run_next = 0;
        self.own.clear();
        self.validity.clear();
        self.source_at = source.as_ptr().addr();
        self.source_end = self.source_at + source.len();
    }

    fn write(&self, kind: ColumnType, source: &[u8], frame: &mut FrameWriter<'_>) -> Result<()> {
        if self.end > u64::from(u32::MAX) {
            return Err(Fault::FrameTooLarge.into());
        }
        let mut column = frame.begin_column(kind)?;
        if !kind.is_variable() || self.ends.len() != column.rows {
            return Err(Fault::DataLength.into());
        }
        self.validity.write(&mut column);
        column.offsets(|out| {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(self.ends.as_flattened());
        });
        column.data(|out| {
            out.reserve(self.end as usize);
            let mut own = &self.own[..];
            for run in self.runs.iter().copied().chain([self.current_run()]) {
                let bytes = match run.from {
                    RunFrom::Source(at) => &source[at..at + run.length],
                    RunFrom::Own => own.split_off(..run.length).unwrap_or_default(),
                };
                append(out, bytes);
            }
        });
        Ok(())
    }
}
