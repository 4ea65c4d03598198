//! Owns checking a plugin's answer against its description and its batch, so that a host can use it as it is.
//! Does not own merging, state or what happens to a rejected record.
//! Invariant: after `EffectsReader::parse` every cause is a record or a due timer of the batch, every key index is one of
//! its keys, every column has its declared type, no rejected record causes output, and no timer extends a record.

use crate::ColumnType;
use crate::describe::{ColumnSpec, Description, OutputKind, OutputPort};
use crate::error::{Fault, Result, WireError};
use crate::frame::{Check, FrameReader};
use crate::message::{MessageKind, MessageReader, effects};

/// What an answer may refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchShape<'b> {
    /// Records and due timers.
    pub events: usize,
    /// Which of the events are timers, ascending.
    pub timers: &'b [u32],
    /// Distinct keys.
    pub keys: usize,
}

impl BatchShape<'_> {
    /// The shape of a batch without timers.
    pub const fn of_records(records: usize, keys: usize) -> Self {
        BatchShape { events: records, timers: &[], keys }
    }
}

/// A plugin's answer, checked.
#[derive(Clone, Copy, Debug)]
pub struct EffectsReader<'a> {
    message: MessageReader<'a>,
}

impl<'a> EffectsReader<'a> {
    /// Checks the whole answer to a batch. `check` below [`Check::Values`] is raised to it.
    pub fn parse(
        bytes: &'a [u8],
        description: &Description,
        batch: &BatchShape<'_>,
        check: Check,
    ) -> Result<Self> {
        let message = MessageReader::parse(bytes, MessageKind::Effects)?;
        let reader = Self { message };
        for section in message.sections() {
            let index = section.index as usize;
            match section.kind {
                effects::OUTPUT => description
                    .outputs
                    .get(index)
                    .ok_or(Fault::SectionUnexpected.into())
                    .and_then(|port| check_output(section.bytes, port, batch, check)),
                effects::MUTATIONS if index < description.tables.len() => {
                    check_mutations(section.bytes, batch.keys, check)
                }
                effects::TIMERS if index == 0 && description.timers => check_timers(section.bytes, batch, check),
                effects::REJECTS if index == 0 => check_rejects(section.bytes, batch, check),
                _ => Err(Fault::SectionUnexpected.into()),
            }
            .map_err(|error| error.in_section(section.kind, section.index))?;
        }
        reader.check_rejected_causes(description.outputs.len())?;
        Ok(reader)
    }

    /// The rows of an output port: the causes, then the port's columns. Nothing when it got no rows.
    pub fn output(&self, port: u16) -> Option<FrameReader<'a>> {
        self.frame(effects::OUTPUT, port)
    }

    /// The changes of a table: key indices, then values (null deletes).
    pub fn mutations(&self, table: u16) -> Option<FrameReader<'a>> {
        self.frame(effects::MUTATIONS, table)
    }

    /// The timers that change: causes, times, numbers, and whether each is set.
    pub fn timers(&self) -> Option<FrameReader<'a>> {
        self.frame(effects::TIMERS, 0)
    }

    /// The rejected records: causes, then reasons.
    pub fn rejects(&self) -> Option<FrameReader<'a>> {
        self.frame(effects::REJECTS, 0)
    }

    fn frame(&self, kind: u16, index: u16) -> Option<FrameReader<'a>> {
        let bytes = self.message.section(kind, index)?;
        // SAFETY: `parse` has checked every frame of this message.
        unsafe { FrameReader::parse_trusted(bytes) }.ok()
    }

    fn check_rejected_causes(&self, ports: usize) -> Result<()> {
        let Some(rejected) = self
            .rejects()
            .and_then(|rejects| rejects.column(0)?.values::<4>())
        else {
            return Ok(());
        };
        for port in 0..ports as u16 {
            let Some(causes) = self
                .output(port)
                .and_then(|output| output.column(0)?.values::<4>())
            else {
                continue;
            };
            for cause in rejected {
                let cause = u32::from_le_bytes(*cause);
                if let Ok(row) =
                    causes.binary_search_by_key(&cause, |other| u32::from_le_bytes(*other))
                {
                    return Err(WireError::new(Fault::RejectedCause)
                        .in_section(effects::OUTPUT, port)
                        .at_row(row));
                }
            }
        }
        Ok(())
    }
}

fn check_output(bytes: &[u8], port: &OutputPort, batch: &BatchShape<'_>, check: Check) -> Result<()> {
    let columns: &[ColumnSpec] = &port.columns;
    let frame = open(bytes, columns.len() + 1, check)?;
    check_indices(&frame, batch.events, false, Fault::CauseRange, Fault::CauseOrder)?;
    if port.kind == OutputKind::Extend {
        check_causes_are_records(&frame, batch)?;
    }
    for (index, column) in columns.iter().enumerate() {
        frame.expect(index + 1, column.kind, column.nullable)?;
    }
    Ok(())
}

/// A timer has no record that could be extended or rejected.
fn check_causes_are_records(frame: &FrameReader<'_>, batch: &BatchShape<'_>) -> Result<()> {
    if batch.timers.is_empty() {
        return Ok(());
    }
    let causes = frame.expect(0, ColumnType::U32, false)?.data().as_chunks::<4>().0;
    let is_timer = |cause: &[u8; 4]| batch.timers.binary_search(&u32::from_le_bytes(*cause)).is_ok();
    match causes.iter().position(is_timer) {
        None => Ok(()),
        Some(row) => Err(WireError::new(Fault::CauseTimer).at_column(0).at_row(row)),
    }
}

fn check_timers(bytes: &[u8], batch: &BatchShape<'_>, check: Check) -> Result<()> {
    let frame = open(bytes, 4, check)?;
    check_indices(&frame, batch.events, false, Fault::CauseRange, Fault::CauseOrder)?;
    frame.expect(1, ColumnType::Timestamp, false)?;
    frame.expect(2, ColumnType::U32, false)?;
    frame.expect(3, ColumnType::Bool, false)?;
    Ok(())
}

fn check_mutations(bytes: &[u8], keys: usize, check: Check) -> Result<()> {
    let frame = open(bytes, 2, check)?;
    check_indices(&frame, keys, true, Fault::KeyRange, Fault::KeyOrder)?;
    frame.expect(1, ColumnType::Binary, true)?;
    Ok(())
}

fn check_rejects(bytes: &[u8], batch: &BatchShape<'_>, check: Check) -> Result<()> {
    let frame = open(bytes, 2, check)?;
    check_indices(&frame, batch.events, true, Fault::CauseRange, Fault::CauseOrder)?;
    check_causes_are_records(&frame, batch)?;
    frame.expect(1, ColumnType::Utf8, false)?;
    Ok(())
}

fn open(bytes: &[u8], columns: usize, check: Check) -> Result<FrameReader<'_>> {
    let frame = FrameReader::parse(bytes, check)?;
    if frame.width() != columns {
        return Err(Fault::ColumnCount.into());
    }
    Ok(frame)
}

/// Column 0 holds ascending indices below `limit`.
fn check_indices(
    frame: &FrameReader<'_>,
    limit: usize,
    strict: bool,
    range: Fault,
    order: Fault,
) -> Result<()> {
    let column = frame.expect(0, ColumnType::U32, false)?;
    let indices = column.data().as_chunks::<4>().0;
    let index = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    // Ascending first: then the last one alone decides about the range.
    let pairs = || indices.iter().zip(indices.iter().skip(1));
    let wrong = |(a, b): (&[u8; 4], &[u8; 4])| {
        if strict {
            index(a) >= index(b)
        } else {
            index(a) > index(b)
        }
    };
    if pairs().fold(false, |bad, pair| bad | wrong(pair)) {
        let row = pairs().position(wrong).map_or(0, |row| row + 1);
        return Err(WireError::new(order).at_column(0).at_row(row));
    }
    if let Some(last) = indices.last()
        && index(last) as usize >= limit
    {
        let row = indices.partition_point(|bytes| (index(bytes) as usize) < limit);
        return Err(WireError::new(range).at_column(0).at_row(row));
    }
    Ok(())
}
