//! Reading a partition as the epoch loop does, and what must come out.
//!
//! Owns: one picture of a record that can be compared. Does not own: the rules (`source`).

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::array_value_to_string;
use segno_core::Code;
use segno_core::source::{Chunk, Next, PartitionReader, ReadLimit};
use std::time::{Duration, Instant};

/// As much as there is.
pub const ALL: ReadLimit = ReadLimit { rows: usize::MAX, bytes: usize::MAX };

/// Longer than any source needs for its next record on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record as it must come out every time: `(offset, values or why it is bad, original bytes)`.
pub type Seen = (u64, String, Vec<u8>);

/// What a reader gave until it had nothing more.
#[derive(Debug, Default, PartialEq)]
pub struct Given {
    pub records: Vec<Seen>,
    /// Where each chunk ended.
    pub ends: Vec<u64>,
    /// The error where it stopped.
    pub error: Option<Code>,
}

fn value(batch: &RecordBatch, column: usize, row: usize) -> String {
    let array = batch.column(column);
    if array.is_null(row) {
        return "null".to_owned();
    }
    // Display knows no zone by name.
    match array.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => times.value(row).to_string(),
        None => array_value_to_string(array, row).expect("a value that can be shown"),
    }
}

/// Adds the records of a chunk, whose parts must fit together.
pub fn see(chunk: &Chunk, into: &mut Vec<Seen>) {
    let rows = chunk.columns.num_rows();
    assert_eq!(chunk.offsets.len(), rows);
    assert!(chunk.start < chunk.end, "a chunk covers a range: {} to {}", chunk.start, chunk.end);
    if let Some(raw) = &chunk.raw {
        assert!(!raw.offsets_are_bytes || raw.bytes.len() as u64 == chunk.end - chunk.start, "the bytes are those of the range");
        assert_eq!(raw.rows.len(), rows);
    }
    chunk.columns.columns().iter().for_each(|array| array.to_data().validate_full().expect("a sound column"));
    let first = into.len();
    let mut bad = chunk.bad.iter().peekable();
    for row in 0..=rows {
        while let Some(bad) = bad.next_if(|bad| bad.before_row as usize == row) {
            into.push((bad.offset, format!("{} {}", bad.code.name(), bad.reason), bad.bytes.to_vec()));
        }
        if row == rows {
            break;
        }
        let columns = 0..chunk.columns.num_columns();
        let mut values: Vec<String> = columns.map(|column| value(&chunk.columns, column, row)).collect();
        values.extend(chunk.times.get(row).map(|time| format!("@{time}")));
        let raw = chunk.raw.as_ref().map_or(Vec::new(), |raw| {
            let (start, end) = raw.rows[row];
            raw.bytes[start as usize..end as usize].to_vec()
        });
        into.push((chunk.offsets[row], values.join("|"), raw));
    }
    assert!(bad.next().is_none(), "bad records stand among the rows of their chunk");
    assert!(into[first..].iter().all(|(offset, ..)| (chunk.start..chunk.end).contains(offset)), "records lie in their range");
    assert!(into.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets grow");
}

/// Where reading stops: at the end, wherever else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    AtEnd,
    /// When it waits at this offset or behind it.
    At(u64),
    WhenItWaits,
}

/// Reads with these limits in turn.
pub fn read(reader: &mut dyn PartitionReader, from: u64, limits: &[ReadLimit], stop: Stop) -> Given {
    let mut given = Given::default();
    let started = Instant::now();
    for limit in limits.iter().cycle() {
        let at = given.ends.last().copied().unwrap_or(from);
        match reader.next(*limit) {
            Ok(Next::Chunk(chunk)) => {
                let records = chunk.columns.num_rows() + chunk.bad.len();
                assert!(records <= limit.rows.max(1), "{records} records, of at most {}", limit.rows);
                assert!(chunk.start >= at, "a range begins at {}, behind {at}", chunk.start);
                see(&chunk, &mut given.records);
                given.ends.push(chunk.end);
            }
            Ok(Next::Waiting) => {
                if stop == Stop::WhenItWaits || matches!(stop, Stop::At(end) if at >= end) {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "nothing comes at {at}; wanted: {stop:?}");
            }
            Ok(Next::End) => break,
            Err(error) => {
                given.error = Some(error.code());
                break;
            }
        }
    }
    given
}
