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
        for row in 0..rows.num_rows() {
            for column in &columns {
                column.write(&mut self.buffer, row);
            }
            self.end_row();
        }
    }

    /// A row that is given as its canonical bytes.
    pub fn update_bytes(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
        self.end_row();
    }

    fn end_row(&mut self) {
        self.rows_in_block += 1;
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

/// The digest of state changes (key, table, new value) in their order, and of each block of them.
pub fn changes_digest<'a>(
    changes: impl Iterator<Item = (&'a [u8], u16, Option<&'a [u8]>)>,
    block_rows: usize,
) -> (String, Vec<u64>) {
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
    let finished = digest.finish();
    (finished.digest, finished.blocks)
}
