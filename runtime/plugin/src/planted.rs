//! A planted bug, for tests only: the host leaks entropy into one call.
//!
//! With SEGNO_PLANT_ENTROPY set, the fifth call of the process is given one record whose first i64 column is off by one, at
//! a row that the system's random source chooses. `replay --verify` must find it. The feature `testing` compiles it in; a
//! release binary lacks it.

use segno_wire::message::batch;
use segno_wire::{Check, ColumnType, FrameReader, MessageKind, MessageReader};
use std::sync::atomic::{AtomicU64, Ordering};

/// The call that sees something it must not see.
const CALL: u64 = 5;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// The batch that the plugin gets to see, when it is not the one that the host wrote.
pub fn leak(written: &[u8]) -> Option<Vec<u8>> {
    if std::env::var_os("SEGNO_PLANT_ENTROPY").is_none() || CALLS.fetch_add(1, Ordering::Relaxed) + 1 != CALL {
        return None;
    }
    let message = MessageReader::parse(written, MessageKind::Batch).ok()?;
    let section = message.section(batch::COLUMNS, 0)?;
    let frame = FrameReader::parse(section, Check::Values).ok()?;
    let column = frame.columns().find(|column| column.kind() == ColumnType::I64 && column.rows() > 0)?;
    let row = rand::random::<u64>() as usize % column.rows();
    let at = column.data().as_ptr() as usize - written.as_ptr() as usize + row * 8;
    let mut leaked = written.to_vec();
    leaked[at] ^= 1;
    Some(leaked)
}
