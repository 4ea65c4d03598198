//! The input of one epoch: the merged rows, where each came from, and what could not be decoded.
//!
//! Owns: assembling runs of chunks into one batch; the map from a row to its origin and original bytes; input digests.
//! Does not own: which records belong to the epoch (`plan`).
//!
//! Invariant: everything here is a function of the records taken and their order; chunk boundaries leave no trace.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use segno_core::Result;
use segno_core::columns::digest::RowsDigest;
use super::plan::TimeRules;
use segno_core::persisted::{InputDigest, LostRange, PartitionPosition, Position, Redrive};
use segno_core::columns::carried::write_announcement;
use segno_core::protocol::time::Moves;
use segno_core::protocol::writers::Announcement;
use segno_core::source::{Bad, Chunk, ReadPlan};
use segno_core::{Code, Error};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// Assumed size of a record whose original bytes are not kept (Parquet, generators), bytes: epochs are bounded by it.
pub const RECORD_BYTES_ASSUMED: usize = 64;

/// Runs shorter than this on average are gathered row by row, longer ones are copied whole.
const RUN_ROWS_LONG: usize = 16;

/// Logical times are kept in ms, event times in µs.
pub const US_PER_MS: i64 = 1_000;

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: u32,
    pub partition: u32,
    pub offset: u64,
}

/// A record that could not be decoded, in its place in the merged order.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// Number of good rows of the epoch before it.
    pub before_row: u32,
    pub source: u32,
    pub partition: u32,
    pub bad: Bad,
}

struct Run {
    piece: usize,
    rows: Range<usize>,
    /// First row of the epoch that it gives.
    at: usize,
}

struct Piece {
    source: u32,
    partition: u32,
    chunk: Arc<Chunk>,
}

/// The input digest of a partition: over original bytes where the format keeps them, over canonical rows where not.
/// Undecodable records have bytes in any case.
#[derive(Default)]
struct Digester {
    bytes: Option<Box<XxHash3_128>>,
    rows: Option<Box<RowsDigest>>,
}

impl Digester {
    fn bytes(&mut self) -> &mut XxHash3_128 {
        self.bytes.get_or_insert_with(|| Box::new(XxHash3_128::new()))
    }

    fn finish(self) -> String {
        let bytes = self.bytes.map(|digest| format!("{:032x}", digest.finish_128()));
        let rows = self.rows.map(|digest| digest.finish().digest);
        [bytes, rows].into_iter().flatten().collect::<Vec<_>>().join("+")
    }
}

pub struct EpochBuilder {
    rules: TimeRules,
    from: Position,
    watermark_in: Option<i64>,
    schema: Arc<arrow_schema::Schema>,
    pieces: Vec<Piece>,
    runs: Vec<Run>,
    bad: Vec<BadRow>,
    rows: usize,
    /// Announcements of writers.
    announced: usize,
    /// The watermark that they bring: (rows before it, watermark).
    told: Vec<(u32, i64)>,
    bytes: usize,
    digests: BTreeMap<(u32, u32), Digester>,
}

/// The rows of an epoch, ready to be executed.
pub struct EpochInput {
    pub from: Position,
    pub to: Position,
    pub idle: Vec<(u32, u32)>,
    pub new_partitions: Vec<(u32, u32)>,
    /// Set where the rows are dead letters that go through the pipeline again.
    pub redrive: Option<Redrive>,
    pub lost: Vec<LostRange>,
    /// When the epoch was cut, ms since 1970 UTC: with processing time, the event time of its records.
    pub logical_time_ms: i64,
    /// How the watermark moves.
    pub moves: Moves,
    pub batch: RecordBatch,
    /// Event time of each row; empty without event time.
    pub times: Vec<i64>,
    pub bad: Vec<BadRow>,
    pub bytes: usize,
    pub digests: Vec<InputDigest>,
    pieces: Vec<Piece>,
    runs: Vec<Run>,
}

impl EpochBuilder {
    pub fn new(plans: &[ReadPlan], from: Position, watermark: Option<i64>, rules: TimeRules) -> EpochBuilder {
        let columns = plans.first().map(|plan| plan.columns.clone()).unwrap_or_default();
        EpochBuilder {
            rules,
            from,
            watermark_in: watermark,
            schema: segno_core::columns::Schema::new(columns).to_arrow(),
            pieces: Vec::new(),
            runs: Vec::new(),
            bad: Vec::new(),
            rows: 0,
            announced: 0,
            told: Vec::new(),
            bytes: 0,
            digests: BTreeMap::new(),
        }
    }

    pub fn by_event_time(&self) -> bool {
        self.rules.by_event_time
    }

    /// Records taken, good and bad, and announcements.
    pub fn records(&self) -> usize {
        self.rows + self.bad.len() + self.announced
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The end of the longest run from `start` that keeps the epoch within `room` bytes; at least one row.
    pub fn bounded_by_bytes(&self, chunk: &Chunk, start: usize, end: usize, room: usize) -> usize {
        if end <= start || room == usize::MAX {
            return end;
        }
        let rows = match &chunk.raw {
            Some(raw) => {
                let first = raw.rows[start].0 as usize;
                raw.rows[start..end].partition_point(|&(_, to)| to as usize - first <= room)
            }
            None => room / RECORD_BYTES_ASSUMED,
        };
        (start + rows.max(1)).min(end)
    }

    pub fn take_bad(&mut self, source: u32, partition: u32, bad: &Bad) {
        self.bytes += bad.bytes.len();
        let row = self.rows as u32;
        self.bad.push(BadRow { before_row: row, source, partition, bad: bad.clone() });
        let digest = self.digests.entry((source, partition)).or_default().bytes();
        digest.write(&bad.bytes);
        digest.write(b"\n");
    }

    /// `position` is that behind the announcement.
    pub fn take_announced(&mut self, position: &PartitionPosition, announcement: Announcement) {
        let bytes = write_announcement(announcement);
        self.announced += 1;
        self.bytes += bytes.len();
        let digest = self.digests.entry((position.source, position.partition)).or_default().bytes();
        digest.write(&bytes);
        digest.write(b"\n");
        if let Some(watermark) = position.writers.watermark() {
            self.told.push((self.rows as u32, watermark));
        }
    }

    pub fn take_rows(&mut self, position: &PartitionPosition, chunk: &Arc<Chunk>, rows: Range<usize>) {
        self.bytes += match &chunk.raw {
            Some(raw) => (raw.rows[rows.end - 1].1 - raw.rows[rows.start].0) as usize,
            None => rows.len() * RECORD_BYTES_ASSUMED,
        };
        let digester = self.digests.entry((position.source, position.partition)).or_default();
        match &chunk.raw {
            Some(raw) => digest_lines(digester.bytes(), &raw.bytes, &raw.rows[rows.clone()]),
            None => {
                let digest = digester.rows.get_or_insert_with(|| Box::new(RowsDigest::new()));
                digest.update(&chunk.columns.slice(rows.start, rows.len()));
            }
        }
        let known = self.pieces.last().is_some_and(|piece| Arc::ptr_eq(&piece.chunk, chunk));
        let piece = if known {
            self.pieces.len() - 1
        } else {
            self.pieces.iter().rposition(|piece| Arc::ptr_eq(&piece.chunk, chunk)).unwrap_or_else(|| {
                self.pieces.push(Piece {
                    source: position.source,
                    partition: position.partition,
                    chunk: Arc::clone(chunk),
                });
                self.pieces.len() - 1
            })
        };
        let length = rows.len();
        match self.runs.last_mut() {
            Some(last) if last.piece == piece && last.rows.end == rows.start => last.rows.end = rows.end,
            _ => self.runs.push(Run { piece, rows, at: self.rows }),
        }
        self.rows += length;
    }

    /// Without event time the partitions of an epoch follow each other in the order of their numbers, each in its own
    /// order: which of them was ready first while the epoch was read leaves no trace.
    fn order_by_partition(&mut self) {
        let mut rows: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let partition = |run: &Run| (self.pieces[run.piece].source, self.pieces[run.piece].partition);
        // First the place of each bad record among the rows of its own partition.
        let mut runs = self.runs.iter().peekable();
        for bad in &mut self.bad {
            let before = bad.before_row as usize;
            while let Some(run) = runs.next_if(|run| run.at + run.rows.len() <= before) {
                *rows.entry(partition(run)).or_default() += run.rows.len() as u32;
            }
            let own = (bad.source, bad.partition);
            let amid = runs.peek().filter(|run| run.at < before && partition(run) == own).map_or(0, |run| before - run.at);
            bad.before_row = rows.get(&own).copied().unwrap_or(0) + amid as u32;
        }
        for run in runs {
            *rows.entry(partition(run)).or_default() += run.rows.len() as u32;
        }
        // Then all of them behind the partitions before.
        for bad in &mut self.bad {
            bad.before_row += rows.range(..(bad.source, bad.partition)).map(|(_, rows)| rows).sum::<u32>();
        }
        self.bad.sort_by_key(|bad| (bad.source, bad.partition));
        let pieces = &self.pieces;
        self.runs.sort_by_key(|run| (pieces[run.piece].source, pieces[run.piece].partition));
        let mut at = 0;
        for run in &mut self.runs {
            run.at = at;
            at += run.rows.len();
        }
    }

    pub fn finish(mut self, to: Position, idle: Vec<(u32, u32)>, logical_time_ms: i64) -> Result<EpochInput> {
        if !self.rules.by_event_time {
            self.order_by_partition();
        }
        let within = self.from.timer_cursor.as_ref().and(self.watermark_in).map(|watermark| watermark.saturating_add(1));
        let batch = assemble(&self.schema, &self.pieces, &self.runs, self.rows)?;
        let mut times = Vec::new();
        if self.rules.by_event_time {
            times.reserve_exact(self.rows);
            for run in &self.runs {
                times.extend_from_slice(&self.pieces[run.piece].chunk.times[run.rows.clone()]);
            }
        }
        let mut moves = Moves::of_records(self.watermark_in, &times, self.rules.watermark_delay_us);
        // A shard behind a repartition step has one partition, so rows are still where they were taken.
        self.told.iter().filter(|_| self.rules.announced).for_each(|&(row, watermark)| moves.to(row, watermark));
        if self.rules.processing_time && self.rows + self.bad.len() > 0 {
            let time = logical_time_ms.saturating_mul(US_PER_MS);
            times = vec![time; self.rows];
            moves.to(0, time);
        }
        let digests = self
            .digests
            .into_iter()
            .map(|((source, partition), digest)| InputDigest {
                source,
                partition,
                digest: digest.finish(),
            })
            .collect();
        Ok(EpochInput {
            from: self.from,
            to,
            idle,
            new_partitions: Vec::new(),
            redrive: None,
            lost: Vec::new(),
            logical_time_ms,
            moves: moves.resumed_within(within),
            batch,
            times,
            bad: self.bad,
            bytes: self.bytes,
            digests,
            pieces: self.pieces,
            runs: self.runs,
        })
    }
}

/// XXH3 over each record's bytes followed by a line feed; neighbours that lie so in memory are hashed in one piece.
fn digest_lines(digest: &mut XxHash3_128, bytes: &[u8], rows: &[(u32, u32)]) {
    let mut first = 0;
    while first < rows.len() {
        let mut last = first;
        while last + 1 < rows.len()
            && rows[last + 1].0 == rows[last].1 + 1
            && bytes[rows[last].1 as usize] == b'\n'
        {
            last += 1;
        }
        digest.write(&bytes[rows[first].0 as usize..rows[last].1 as usize]);
        digest.write(b"\n");
        first = last + 1;
    }
}

fn assemble(
    schema: &Arc<arrow_schema::Schema>,
    pieces: &[Piece],
    runs: &[Run],
    rows: usize,
) -> Result<RecordBatch> {
    let failed = |error: arrow_schema::ArrowError| {
        Error::new(Code::Internal, "the rows of an epoch could not be put together").with_cause(error)
    };
    let Some(first) = runs.first() else { return Ok(RecordBatch::new_empty(Arc::clone(schema))) };
    if runs.len() == 1 {
        return Ok(pieces[first.piece].chunk.columns.slice(first.rows.start, first.rows.len()));
    }
    if rows / runs.len() >= RUN_ROWS_LONG || schema.fields().is_empty() {
        let slices: Vec<RecordBatch> =
            runs.iter().map(|run| pieces[run.piece].chunk.columns.slice(run.rows.start, run.rows.len())).collect();
        return concat_batches(slices[0].schema_ref(), &slices).map_err(failed);
    }
    let batches: Vec<&RecordBatch> = pieces.iter().map(|piece| &piece.chunk.columns).collect();
    let mut picks = Vec::with_capacity(rows);
    for run in runs {
        picks.extend(run.rows.clone().map(|row| (run.piece, row)));
    }
    interleave_record_batch(&batches, &picks).map_err(failed)
}

impl EpochInput {
    fn locate(&self, row: usize) -> (&Piece, usize) {
        let run = &self.runs[self.runs.partition_point(|run| run.at <= row) - 1];
        (&self.pieces[run.piece], run.rows.start + (row - run.at))
    }

    /// Where a row of `batch` came from.
    pub fn origin(&self, row: usize) -> Origin {
        let (piece, at) = self.locate(row);
        Origin { source: piece.source, partition: piece.partition, offset: piece.chunk.offsets[at] }
    }

    /// The original bytes of a row, where its format keeps them.
    pub fn original(&self, row: usize) -> Option<&[u8]> {
        let (piece, at) = self.locate(row);
        let raw = piece.chunk.raw.as_ref()?;
        let (from, to) = raw.rows[at];
        Some(&raw.bytes[from as usize..to as usize])
    }

    /// Dead letters that go through the pipeline again: event time stands still meanwhile.
    pub fn redriven(self, redrive: Redrive, watermark: Option<i64>) -> EpochInput {
        EpochInput { redrive: Some(redrive), moves: Moves::of_records(watermark, &[], 0), ..self }
    }

    /// The name of a partition; its number where it has none.
    pub fn partition_name(&self, source: u32, partition: u32) -> String {
        self.to
            .partitions
            .iter()
            .find(|p| p.source == source && p.partition == partition)
            .map_or_else(|| partition.to_string(), |p| p.name.clone())
    }

    /// Records read, good and bad.
    pub fn records(&self) -> usize {
        self.batch.num_rows() + self.bad.len()
    }
}
