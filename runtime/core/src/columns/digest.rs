//! Digests over values in canonical form, specified in `docs/formats/digests.md`.
//!
//! Owns: the canonical bytes of a row, the digest of an epoch's rows and changes, truncated digests per block.
//! Does not own: where digests are kept (`persisted`).
//!
//! Invariants: a digest depends on the values and their order only, never on how rows came in batches, on buffers, or
//! on the size of blocks.

use super::schema::column_type;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{Buffer, NullBuffer};
use twox_hash::XxHash3_64;

/// Rows that are written column by column: few enough that they stay in the core's cache.
const ROWS_AT_ONCE: usize = 256;
/// Fewer are written row by row.
const ROWS_AT_ONCE_MIN: usize = 8;

/// Bytes collected before they are hashed: enough for BLAKE3 to use wide registers.
const HASH_CHUNK_BYTES: usize = 1 << 17;

/// The digest of a sequence of rows, and of each block of them.
pub struct RowsDigest {
    /// `None`: only the blocks are wanted.
    hasher: Option<blake3::Hasher>,
    buffer: Vec<u8>,
    block_rows: usize,
    /// Rows in the unfinished block, and where it begins in `buffer`.
    rows_in_block: usize,
    block_start: usize,
    blocks: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// BLAKE3 over all rows, hex; empty for blocks only.
    pub digest: String,
    /// XXH3-64 of each block.
    pub blocks: Vec<u64>,
}

impl Default for RowsDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl RowsDigest {
    pub fn new() -> RowsDigest {
        RowsDigest::with_block_rows(usize::MAX)
    }

    /// `block_rows`: rows per block digest; `usize::MAX`: none.
    pub fn with_block_rows(block_rows: usize) -> RowsDigest {
        RowsDigest {
            hasher: Some(blake3::Hasher::new()),
            buffer: Vec::new(),
            block_rows: block_rows.max(1),
            rows_in_block: 0,
            block_start: 0,
            blocks: Vec::new(),
        }
    }

    /// The digests of blocks, without that of all rows.
    pub fn of_blocks(block_rows: usize) -> RowsDigest {
        RowsDigest { hasher: None, ..RowsDigest::with_block_rows(block_rows) }
    }

    pub fn update(&mut self, rows: &RecordBatch) {
        let columns: Vec<Canonical<'_>> = rows.columns().iter().map(Canonical::new).collect();
        let mut row = 0;
        while row < rows.num_rows() {
            let count = (rows.num_rows() - row).min(self.block_rows - self.rows_in_block).min(ROWS_AT_ONCE);
            if count < ROWS_AT_ONCE_MIN {
                for row in row..row + count {
                    columns.iter().for_each(|column| column.write(&mut self.buffer, row));
                }
            } else {
                write_columns(&columns, row, count, &mut self.buffer);
            }
            self.end_rows(count);
            row += count;
        }
    }

    /// A row that is given as its canonical bytes.
    pub fn update_bytes(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
        self.end_rows(1);
    }

    /// So many rows were written, of one block.
    fn end_rows(&mut self, count: usize) {
        self.rows_in_block += count;
        if self.rows_in_block == self.block_rows {
            self.end_block();
        }
        if self.buffer.len() >= HASH_CHUNK_BYTES && (self.rows_in_block == 0 || self.block_rows == usize::MAX) {
            self.hash();
            self.block_start = 0;
        }
    }

    fn hash(&mut self) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer);
        }
        self.buffer.clear();
    }

    fn end_block(&mut self) {
        self.blocks.push(XxHash3_64::oneshot(&self.buffer[self.block_start..]));
        self.block_start = self.buffer.len();
        self.rows_in_block = 0;
    }

    pub fn finish(mut self) -> Finished {
        if self.rows_in_block > 0 && self.block_rows != usize::MAX {
            self.end_block();
        }
        self.hash();
        let digest = self.hasher.map_or_else(String::new, |hasher| hasher.finalize().to_hex().to_string());
        Finished { digest, blocks: self.blocks }
    }
}

/// Writes the canonical bytes of one column's values: 0 for null; else 1, then the little-endian value, or a u32 length
/// and the bytes. Arrays inside the host are canonical already (one NaN).
pub(super) struct Canonical<'a> {
    nulls: Option<&'a NullBuffer>,
    layout: Layout<'a>,
}

enum Layout<'a> {
    Bool(&'a arrow_array::BooleanArray),
    /// Values of eight bytes, which most are.
    Eight(Buffer),
    Fixed { values: Buffer, width: usize },
    Variable { offsets: &'a [i32], data: &'a [u8] },
}

impl<'a> Canonical<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Canonical<'a> {
        use super::ColumnType;
        let ty = column_type(array.data_type()).expect("a column of the host");
        let layout = match ty {
            ColumnType::Bool => Layout::Bool(array.as_boolean()),
            ColumnType::Utf8 => {
                let strings = array.as_string::<i32>();
                Layout::Variable { offsets: strings.value_offsets(), data: strings.value_data() }
            }
            ColumnType::Binary => {
                let bytes = array.as_binary::<i32>();
                Layout::Variable { offsets: bytes.value_offsets(), data: bytes.value_data() }
            }
            fixed => {
                let data = array.to_data();
                let width = fixed.width().expect("a fixed width");
                let values = data.buffers()[0].slice(data.offset() * width);
                if width == 8 { Layout::Eight(values) } else { Layout::Fixed { values, width } }
            }
        };
        Canonical { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), layout }
    }

    /// The bytes of each value, where all have the same number.
    fn size(&self) -> Option<usize> {
        match &self.layout {
            _ if self.nulls.is_some() => None,
            Layout::Eight(_) => Some(9),
            Layout::Bool(_) => Some(2),
            Layout::Fixed { width, .. } => Some(1 + width),
            Layout::Variable { .. } => None,
        }
    }

    fn size_of(&self, row: usize) -> usize {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return 1;
        }
        match &self.layout {
            Layout::Eight(_) => 9,
            Layout::Bool(_) => 2,
            Layout::Fixed { width, .. } => 1 + width,
            Layout::Variable { offsets, .. } => 5 + (offsets[row + 1] - offsets[row]) as usize,
        }
    }

    /// Writes the values of the rows from `first` on, each where the one of the column before ended.
    fn write_at(&self, out: &mut [u8], ends: &mut [usize], first: usize) {
        if let (Layout::Eight(values), None) = (&self.layout, self.nulls) {
            let values = values.as_slice()[first * 8..].chunks_exact(8);
            for (end, value) in ends.iter_mut().zip(values) {
                let cell = &mut out[*end..*end + 9];
                cell[0] = 1;
                cell[1..].copy_from_slice(value);
                *end += 9;
            }
            return;
        }
        for (row, end) in (first..).zip(ends) {
            if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
                out[*end] = 0;
                *end += 1;
                continue;
            }
            out[*end] = 1;
            let at = *end + 1;
            let mut put = |from: usize, bytes: &[u8]| {
                out[from..from + bytes.len()].copy_from_slice(bytes);
                *end = from + bytes.len();
            };
            match &self.layout {
                Layout::Eight(values) => put(at, &values.as_slice()[row * 8..row * 8 + 8]),
                Layout::Bool(values) => put(at, &[u8::from(values.value(row))]),
                Layout::Fixed { values, width } => put(at, &values.as_slice()[row * width..(row + 1) * width]),
                Layout::Variable { offsets, data } => {
                    let value = &data[offsets[row] as usize..offsets[row + 1] as usize];
                    put(at, &(value.len() as u32).to_le_bytes());
                    put(at + 4, value);
                }
            }
        }
    }

    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, row: usize) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.push(0);
            return;
        }
        match &self.layout {
            Layout::Eight(values) => {
                let mut cell = [1; 9];
                cell[1..].copy_from_slice(&values.as_slice()[row * 8..row * 8 + 8]);
                out.extend_from_slice(&cell);
            }
            Layout::Bool(values) => out.extend_from_slice(&[1, u8::from(values.value(row))]),
            Layout::Fixed { values, width } => {
                out.push(1);
                out.extend_from_slice(&values.as_slice()[row * width..(row + 1) * width]);
            }
            Layout::Variable { offsets, data } => {
                let value = &data[offsets[row] as usize..offsets[row + 1] as usize];
                let mut length = [1; 5];
                length[1..].copy_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(&length);
                out.extend_from_slice(value);
            }
        }
    }
}

/// The canonical bytes of so many rows, from `first` on: the same as row by row, with one decision for a column and not for a value.
fn write_columns(columns: &[Canonical<'_>], first: usize, count: usize, out: &mut Vec<u8>) {
    let always: usize = columns.iter().filter_map(Canonical::size).sum();
    let mut ends = [always; ROWS_AT_ONCE];
    let ends = &mut ends[..count];
    for column in columns.iter().filter(|column| column.size().is_none()) {
        for (row, size) in (first..).zip(ends.iter_mut()) {
            *size += column.size_of(row);
        }
    }
    // From the size of a row to where it begins.
    let mut at = out.len();
    for end in ends.iter_mut() {
        at += std::mem::replace(end, at);
    }
    out.resize(at, 0);
    columns.iter().for_each(|column| column.write_at(out, ends, first));
}

/// The digest of state changes (key, table, new value) in their order, and of each block of them.
pub fn changes_digest<'a>(
    changes: impl Iterator<Item = (&'a [u8], u16, Option<&'a [u8]>)>,
    block_rows: usize,
) -> Finished {
    let mut digest = RowsDigest::with_block_rows(block_rows);
    for (key, table, value) in changes {
        digest.update_bytes(|out| {
            out.extend_from_slice(&table.to_le_bytes());
            out.extend_from_slice(&(key.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
            match value {
                None => out.push(0),
                Some(value) => {
                    out.push(1);
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                }
            }
        });
    }
    digest.finish()
}
