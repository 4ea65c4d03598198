//! Owns the message: sections in one run of bytes, so that one flat list crosses the boundary each way.
//! Does not own what is in a section (`frame`, `effects`).
//! Invariant: sections are in strictly ascending order of (kind, index) without gaps; a message that opens can be read
//! without further checks.

use crate::error::{Fault, Result, WireError};
use crate::frame::{ALIGNMENT_BYTES, aligned, u16_at, u32_at};

/// The version of all three messages.
pub const MESSAGE_VERSION: u16 = 1;
/// Bytes before the section table.
pub const MESSAGE_HEADER_BYTES: usize = 16;
/// Bytes of one entry of the section table.
pub const SECTION_ENTRY_BYTES: usize = 16;

/// Which way a message goes and what its sections mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Host to plugin: records, keys, states.
    Batch,
    /// Plugin to host: outputs, mutations, rejects.
    Effects,
    /// Host to plugin, once: configuration and side tables.
    Init,
}

impl MessageKind {
    pub const fn magic(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Batch => *b"SGB1",
            Self::Effects => *b"SGE1",
            Self::Init => *b"SGI1",
        })
    }

    /// The highest section kind.
    const fn sections(self) -> u16 {
        match self {
            Self::Batch => 6,
            Self::Effects => 4,
            Self::Init => 2,
        }
    }
}

/// Section kinds of a batch.
pub mod batch {
    /// A frame with the records of input port `index`, columns in the order of the description.
    pub const COLUMNS: u16 = 1;
    /// A frame of one U32 column: for each record the index of its key among the batch's distinct keys.
    pub const KEYS: u16 = 2;
    /// A frame of one nullable binary column: for each distinct key its value in table `index`.
    pub const STATES: u16 = 3;
    /// A frame with the due timers: the record before which each fires, the index of its key, its time, its number, the
    /// watermark while it fires.
    pub const TIMERS: u16 = 4;
    /// A frame of one timestamp column: the records' event times.
    pub const TIMES: u16 = 5;
    /// A frame that says how the watermark moves: a record, and the watermark from it on.
    pub const WATERMARKS: u16 = 6;
}

/// Section kinds of effects.
pub mod effects {
    /// A frame with the rows of output port `index`: the cause, then the port's columns.
    /// Causes are records and due timers of the batch, counted together in the order in which they happen.
    pub const OUTPUT: u16 = 1;
    /// A frame with the changes of table `index`: key index, nullable value (null deletes).
    pub const MUTATIONS: u16 = 2;
    /// A frame with the timers that change: cause, time, number, true to set and false to delete.
    pub const TIMERS: u16 = 3;
    /// A frame with the rejected records: cause, reason.
    pub const REJECTS: u16 = 4;
}

/// Section kinds of an init message.
pub mod init {
    /// The configuration as one JSON object.
    pub const CONFIG: u16 = 1;
    /// A frame with the rows of side table `index`, columns in the order of the description.
    pub const SIDE_TABLE: u16 = 2;
}

/// One section of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    pub kind: u16,
    pub index: u16,
    pub bytes: &'a [u8],
}

/// An opened message.
#[derive(Clone, Copy, Debug)]
pub struct MessageReader<'a> {
    bytes: &'a [u8],
    sections: usize,
}

impl<'a> MessageReader<'a> {
    /// Opens a message and checks its header, its section table and its padding.
    pub fn parse(bytes: &'a [u8], kind: MessageKind) -> Result<Self> {
        if bytes.len() < MESSAGE_HEADER_BYTES {
            return Err(Fault::MessageShort.into());
        }
        if u32_at(bytes, 0) != kind.magic() {
            return Err(Fault::MessageMagic.into());
        }
        if u16_at(bytes, 4) != MESSAGE_VERSION {
            return Err(Fault::MessageVersion.into());
        }
        if u32_at(bytes, 8) as usize != bytes.len() {
            return Err(Fault::MessageLength.into());
        }
        if u32_at(bytes, 12) != 0 {
            return Err(Fault::MessageReserved.into());
        }
        let message = Self {
            bytes,
            sections: u16_at(bytes, 6) as usize,
        };
        let mut cursor = (MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * message.sections) as u64;
        if (bytes.len() as u64) < cursor {
            return Err(Fault::MessageShort.into());
        }
        let mut before = None;
        for number in 0..message.sections {
            let (section, index) = message.identity(number);
            message
                .check_entry(number, kind, before, &mut cursor)
                .map_err(|fault| WireError::new(fault).in_section(section, index))?;
            before = Some((section, index));
        }
        if aligned(cursor) != bytes.len() as u64 {
            return Err(Fault::SectionGap.into());
        }
        if bytes[cursor as usize..].iter().any(|&byte| byte != 0) {
            return Err(Fault::Padding.into());
        }
        Ok(message)
    }

    fn check_entry(
        &self,
        number: usize,
        kind: MessageKind,
        before: Option<(u16, u16)>,
        cursor: &mut u64,
    ) -> Result<(), Fault> {
        let at = MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * number;
        let identity = self.identity(number);
        if identity.0 == 0 || identity.0 > kind.sections() {
            return Err(Fault::SectionUnknown);
        }
        if before.is_some_and(|before| before >= identity) {
            return Err(Fault::SectionOrder);
        }
        if u32_at(self.bytes, at + 12) != 0 {
            return Err(Fault::MessageReserved);
        }
        let start = u64::from(u32_at(self.bytes, at + 4));
        let length = u64::from(u32_at(self.bytes, at + 8));
        if !start.is_multiple_of(ALIGNMENT_BYTES as u64) {
            return Err(Fault::SectionMisaligned);
        }
        if start < *cursor {
            return Err(Fault::SectionOverlap);
        }
        if start + length > self.bytes.len() as u64 {
            return Err(Fault::SectionBounds);
        }
        if start != aligned(*cursor) {
            return Err(Fault::SectionGap);
        }
        if self.bytes[*cursor as usize..start as usize]
            .iter()
            .any(|&byte| byte != 0)
        {
            return Err(Fault::Padding);
        }
        *cursor = start + length;
        Ok(())
    }

    fn identity(&self, number: usize) -> (u16, u16) {
        let at = MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * number;
        (u16_at(self.bytes, at), u16_at(self.bytes, at + 2))
    }

    /// The number of sections.
    pub fn len(&self) -> usize {
        self.sections
    }

    pub fn is_empty(&self) -> bool {
        self.sections == 0
    }

    /// All sections, in ascending order of (kind, index).
    pub fn sections(&self) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let message = *self;
        (0..self.sections).map(move |number| {
            let at = MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * number;
            let (kind, index) = message.identity(number);
            let start = u32_at(message.bytes, at + 4) as usize;
            let length = u32_at(message.bytes, at + 8) as usize;
            Section {
                kind,
                index,
                bytes: &message.bytes[start..start + length],
            }
        })
    }

    /// The bytes of one section.
    pub fn section(&self, kind: u16, index: u16) -> Option<&'a [u8]> {
        self.sections()
            .find(|section| (section.kind, section.index) == (kind, index))
            .map(|section| section.bytes)
    }

    /// The bytes of a section that must be there.
    pub fn require(&self, kind: u16, index: u16) -> Result<&'a [u8]> {
        self.section(kind, index)
            .ok_or_else(|| WireError::new(Fault::SectionMissing).in_section(kind, index))
    }
}

/// Writes a message into a buffer, which it empties first and whose memory it reuses.
#[derive(Debug)]
pub struct MessageWriter<'o> {
    out: &'o mut Vec<u8>,
    sections: usize,
    written: usize,
    last: Option<(u16, u16)>,
}

impl<'o> MessageWriter<'o> {
    /// Reserves the section table of exactly `sections` sections.
    pub fn begin(out: &'o mut Vec<u8>, kind: MessageKind, sections: u16) -> Self {
        out.clear();
        out.extend_from_slice(&kind.magic().to_le_bytes());
        out.extend_from_slice(&MESSAGE_VERSION.to_le_bytes());
        out.extend_from_slice(&sections.to_le_bytes());
        out.resize(
            MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * sections as usize,
            0,
        );
        Self {
            out,
            sections: sections as usize,
            written: 0,
            last: None,
        }
    }

    /// Writes the next section. `write` appends its bytes; it must not touch what is there already.
    ///
    /// # Errors
    /// `SectionOrder` when (kind, index) does not ascend, `SectionUnexpected` past the announced number, `FrameTooLarge`
    /// past 4 GiB, and whatever `write` returns.
    pub fn section(
        &mut self,
        kind: u16,
        index: u16,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let name = |error: WireError| error.in_section(kind, index);
        if self.last.is_some_and(|last| last >= (kind, index)) {
            return Err(name(Fault::SectionOrder.into()));
        }
        if self.written == self.sections {
            return Err(name(Fault::SectionUnexpected.into()));
        }
        let start = self.out.len();
        write(self.out).map_err(name)?;
        let end = u32::try_from(self.out.len()).map_err(|_| name(Fault::FrameTooLarge.into()))?;
        let entry = MESSAGE_HEADER_BYTES + SECTION_ENTRY_BYTES * self.written;
        self.out[entry..entry + 2].copy_from_slice(&kind.to_le_bytes());
        self.out[entry + 2..entry + 4].copy_from_slice(&index.to_le_bytes());
        self.out[entry + 4..entry + 8].copy_from_slice(&(start as u32).to_le_bytes());
        self.out[entry + 8..entry + 12].copy_from_slice(&(end - start as u32).to_le_bytes());
        crate::frame::pad(self.out);
        self.written += 1;
        self.last = Some((kind, index));
        Ok(())
    }

    /// Ends the message.
    ///
    /// # Errors
    /// `SectionMissing` when fewer sections were written than announced.
    pub fn finish(self) -> Result<()> {
        if self.written != self.sections {
            return Err(Fault::SectionMissing.into());
        }
        let length = u32::try_from(self.out.len()).map_err(|_| Fault::FrameTooLarge)?;
        self.out[8..12].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}
