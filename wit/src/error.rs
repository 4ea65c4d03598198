//! Owns every way in which bytes at the boundary can be wrong.
//! Does not own what a host does about it (reject the plugin, stop the epoch).
//! Invariants: `Fault` is closed and its names are stable, because the shared vectors and the hosts' error texts name
//! them; a fault carries no bytes of the message, so that it can be shown to anyone.

use core::fmt;

macro_rules! faults {
    ($($variant:ident $name:literal $text:literal)*) => {
        /// One way in which a frame, a message or a state value can be malformed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault { $(#[doc = $text] $variant,)* }

        impl Fault {
            /// All of them, in the order of the specification.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// The stable name, as used by the shared vectors.
            pub const fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }

            /// One sentence for a person.
            pub const fn text(self) -> &'static str {
                match self { $(Fault::$variant => $text,)* }
            }
        }
    };
}

faults! {
    MessageShort "message-short" "the message is shorter than its header and section table"
    MessageMagic "message-magic" "the message does not start with the expected magic"
    MessageVersion "message-version" "the message's version is not known"
    MessageLength "message-length" "the message's stated length is not the length received"
    MessageReserved "message-reserved" "a reserved field of the message is not zero"
    SectionUnknown "section-unknown" "a section's kind is not known"
    SectionOrder "section-order" "sections are not in strictly ascending order of kind and index"
    SectionMisaligned "section-misaligned" "a section does not start at a multiple of 8"
    SectionOverlap "section-overlap" "a section overlaps the table or the section before it"
    SectionGap "section-gap" "there are unused bytes before a section or after the last one"
    SectionBounds "section-bounds" "a section reaches past the end of the message"
    SectionMissing "section-missing" "a required section is missing"
    SectionUnexpected "section-unexpected" "a section names a port or a table that the plugin did not declare"
    FrameShort "frame-short" "the frame is shorter than its header and column descriptors"
    FrameMagic "frame-magic" "the frame does not start with the expected magic"
    FrameVersion "frame-version" "the frame's version is not known"
    FrameLength "frame-length" "the frame's stated length is not the length of its section"
    FrameTooLarge "frame-too-large" "the frame or message would be longer than 32 bits can say"
    FrameReserved "frame-reserved" "a reserved field of a column descriptor is not zero"
    TypeUnknown "type-unknown" "a column's type is not known"
    TypeParameters "type-parameters" "a column's precision or scale is not valid for its type"
    FlagsUnknown "flags-unknown" "a column has unknown flags"
    BufferMisaligned "buffer-misaligned" "a buffer does not start at a multiple of 8"
    BufferOverlap "buffer-overlap" "a buffer overlaps the descriptors or the buffer before it"
    BufferGap "buffer-gap" "there are unused bytes before a buffer or after the last one"
    BufferBounds "buffer-bounds" "a buffer reaches past the end of the frame"
    BufferUnexpected "buffer-unexpected" "a column names a buffer that its type or flags do not have"
    DataLength "data-length" "a column's data length does not follow from its type and its rows"
    OffsetsStart "offsets-start" "a column's offsets do not start at zero"
    OffsetsOrder "offsets-order" "a column's offsets decrease"
    OffsetsEnd "offsets-end" "a column's last offset is not the length of its data"
    Utf8Invalid "utf8-invalid" "a text value is not UTF-8"
    NullSlot "null-slot" "a null's slot is not zero"
    TailBits "tail-bits" "bits past the last row are set"
    Padding "padding" "padding bytes are not zero"
    NanPayload "nan-payload" "a NaN is not the canonical one"
    ValidityNeedless "validity-needless" "a column without nulls has a validity bitmap"
    ColumnCount "column-count" "the frame does not have the declared number of columns"
    ColumnKind "column-type" "a column does not have the declared type"
    ColumnNull "column-null" "a column that is declared as not nullable has a null"
    DecimalRange "decimal-range" "a decimal has more digits than its precision"
    CauseRange "cause-range" "a cause is not a record or timer of this batch"
    CauseOrder "cause-order" "causes are not in ascending order"
    CauseTimer "cause-timer" "a timer causes a row that extends a record, or is rejected"
    KeyRange "key-range" "a key index is not one of this batch's keys"
    KeyOrder "key-order" "key indices are not in strictly ascending order"
    RejectedCause "rejected-cause" "a rejected row also causes output"
    StateShort "state-short" "a state value ends too early"
    StateTrailing "state-trailing" "a state value has bytes after its last field"
    StateVersion "state-version" "a state value has a version that its table does not know"
    StatePresence "state-presence" "a presence byte of a state value is neither 0 nor 1"
    StateValue "state-value" "a field of a state value is not valid for its type"
}

/// A fault and where it was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WireError {
    pub fault: Fault,
    /// The section of a message as (kind, index).
    pub section: Option<(u16, u16)>,
    /// The column of a frame, counted from zero, control columns included.
    pub column: Option<u16>,
    /// The row of a frame, counted from zero.
    pub row: Option<u32>,
}

/// The result of everything that reads or writes the boundary.
pub type Result<T, E = WireError> = core::result::Result<T, E>;

impl WireError {
    pub(crate) const fn new(fault: Fault) -> Self {
        Self {
            fault,
            section: None,
            column: None,
            row: None,
        }
    }

    pub(crate) const fn at_column(mut self, column: usize) -> Self {
        self.column = Some(column as u16);
        self
    }

    pub(crate) const fn at_row(mut self, row: usize) -> Self {
        self.row = Some(row as u32);
        self
    }

    pub(crate) const fn in_section(mut self, kind: u16, index: u16) -> Self {
        self.section = Some((kind, index));
        self
    }
}

impl From<Fault> for WireError {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.text())?;
        let mut before = " (";
        if let Some((kind, index)) = self.section {
            write!(f, "{before}section {kind}.{index}")?;
            before = ", ";
        }
        if let Some(column) = self.column {
            write!(f, "{before}column {column}")?;
            before = ", ";
        }
        if let Some(row) = self.row {
            write!(f, "{before}row {row}")?;
            before = ", ";
        }
        if before == ", " {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.fault.name())
    }
}

impl std::error::Error for WireError {}
