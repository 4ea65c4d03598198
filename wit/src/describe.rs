//! Owns a plugin's description: what it reads, gives and keeps, as JSON with a version.
//! Does not own comparing it with a pipeline.
//! Invariant: a description that parses is complete and consistent: names are unique and well-formed, types exist,
//! limits hold.

mod read;
mod write;

use crate::ColumnType;

pub use read::DescriptionError;

/// The version of the description and of the messages that follow it.
pub const ABI_VERSION: u32 = 1;
/// Columns of one port or table; frames could hold 65,535, but nobody can read such a description.
pub const COLUMNS_MAX: usize = 1024;
/// Ports of one direction, tables or side tables of one plugin.
pub const PORTS_MAX: usize = 64;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;

/// What a plugin reads, gives and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub name: String,
    pub version: String,
    pub inputs: Vec<InputPort>,
    /// True when every batch carries the records' event times.
    pub event_time: bool,
    /// True when it sets timers: every batch carries watermarks, and the timers that are due. A keyed step.
    pub timers: bool,
    pub outputs: Vec<OutputPort>,
    /// Keyed state. A plugin with tables is a keyed step.
    pub tables: Vec<StateTable>,
    pub side_tables: Vec<SideTable>,
}

/// Where records come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPort {
    pub name: String,
    pub columns: Vec<ColumnSpec>,
}

/// Where rows go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPort {
    pub name: String,
    pub kind: OutputKind,
    pub columns: Vec<ColumnSpec>,
}

/// What the columns of an output row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The columns of the input row that caused it, then the port's. Without columns of its own the port is a filter.
    Extend,
    /// The port's columns only.
    Emit,
    /// The key's columns, then the port's: rows that a record or a timer caused. A keyed step.
    PerKey,
}

impl Description {
    /// True when the pipeline has to say by which columns records belong together.
    pub fn is_keyed(&self) -> bool {
        self.timers || !self.tables.is_empty() || self.outputs.iter().any(|port| port.kind == OutputKind::PerKey)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    pub name: String,
    pub kind: ColumnType,
    pub nullable: bool,
}

/// One table of keyed state: one value for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTable {
    pub name: String,
    /// At least 1; raised when columns are appended.
    pub version: u16,
    pub columns: Vec<StateColumn>,
}

/// One field of a state value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateColumn {
    pub name: String,
    pub kind: ColumnType,
    pub nullable: bool,
    /// The table's version that brought it; values of older versions do not have it.
    pub since: u16,
    /// What each item of a list holds; empty for a single value. A list is kept as the bytes of its items.
    pub items: Vec<StateColumn>,
}

/// The word for a list among the types of state columns.
pub const LIST: &str = "list";
/// How deep lists may hold lists.
pub const LIST_DEPTH_MAX: usize = 4;

/// Rows that the pipeline hands to `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideTable {
    pub name: String,
    pub columns: Vec<ColumnSpec>,
    /// The column whose values are unique and not null, when there is one.
    pub key: Option<String>,
}
