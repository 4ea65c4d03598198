//! Owns checking a plugin's answer against its description and its batch, so that a host can use it as it is.
//! Does not own merging, state or what happens to a rejected record.
//! Invariant: after `EffectsReader::parse` every cause is a row of the batch, every key index is one of its keys, every
//! column has its declared type, and no rejected row causes output.

use crate::ColumnType;
use crate::describe::{ColumnSpec, Description};
use crate::error::{Fault, Result, WireError};
use crate::frame::{Check, FrameReader};
use crate::message::{MessageKind, MessageReader, effects};

/// A plugin's answer, checked.
#[derive(Clone, Copy, Debug)]
pub struct EffectsReader<'a> {
    message: MessageReader<'a>,
}

impl<'a> EffectsReader<'a> {
    /// Checks the whole answer to a batch of `rows` records with `keys` distinct keys. `check` below [`Check::Values`]
    /// is raised to it.
    pub fn parse(
        bytes: &'a [u8],
        description: &Description,
        rows: usize,
        keys: usize,
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
                    .and_then(|port| check_output(section.bytes, &port.columns, rows, check)),
                effects::MUTATIONS if index < description.tables.len() => {
                    check_mutations(section.bytes, keys, check)
                }
                effects::REJECTS if index == 0 => check_rejects(section.bytes, rows, check),
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

fn check_output(bytes: &[u8], columns: &[ColumnSpec], rows: usize, check: Check) -> Result<()> {
    let frame = open(bytes, columns.len() + 1, check)?;
    check_indices(&frame, rows, false, Fault::CauseRange, Fault::CauseOrder)?;
    for (index, column) in columns.iter().enumerate() {
        frame.expect(index + 1, column.kind, column.nullable)?;
    }
    Ok(())
}

fn check_mutations(bytes: &[u8], keys: usize, check: Check) -> Result<()> {
    let frame = open(bytes, 2, check)?;
    check_indices(&frame, keys, true, Fault::KeyRange, Fault::KeyOrder)?;
    frame.expect(1, ColumnType::Binary, true)?;
    Ok(())
}

fn check_rejects(bytes: &[u8], rows: usize, check: Check) -> Result<()> {
    let frame = open(bytes, 2, check)?;
    check_indices(&frame, rows, true, Fault::CauseRange, Fault::CauseOrder)?;
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
