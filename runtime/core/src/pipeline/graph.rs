//! The checked graph: every column of every edge resolved to an index, so that the epoch loop looks nothing up.
//!
//! Owns: names, types and liveness along every edge. A column that nobody reads further on is not decoded, not
//! carried and does not cross the boundary.
//! Does not own: the pipeline file's text (`file`), nor running anything.
//!
//! Invariants: a step's input is the source stream or a port of an earlier step. `carried` and `added` index live
//! columns only; a port's schema is its carried columns, then its added ones.

mod build;
mod flow;
mod types;

pub use build::build;

use crate::columns::Schema;
use serde::{Deserialize, Serialize};

/// Where the rows of an edge come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortRef {
    /// The merged input of all sources.
    Source,
    Step { step: usize, port: usize },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The columns that every source decodes: the merged stream.
    pub source: Schema,
    pub steps: Vec<GraphStep>,
    pub sinks: Vec<GraphSink>,
}

impl Graph {
    /// True when a step sets timers: the end of the input is an event then.
    pub fn has_timers(&self) -> bool {
        self.steps.iter().any(|step| step.timers)
    }

    /// The columns that flow along an edge.
    pub fn stream(&self, port: PortRef) -> Option<&Schema> {
        match port {
            PortRef::Source => Some(&self.source),
            PortRef::Step { step, port } => Some(&self.steps.get(step)?.outputs.get(port)?.schema),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphStep {
    pub id: String,
    pub input: PortRef,
    /// Columns of the input handed to the plugin, in the order of its description.
    pub reads: Vec<usize>,
    /// What the plugin declares for them (types are checked equal; a nullable input for a non-nullable read makes
    /// null values bad records).
    pub read_schema: Schema,
    /// Key columns of the input; empty for a step without key.
    pub key: Vec<usize>,
    /// Time to live of the state, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    pub wants_event_time: bool,
    /// The plugin sets timers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timers: bool,
    pub outputs: Vec<GraphPort>,
    pub tables: Vec<GraphTable>,
    /// Key groups; fixed and journalled.
    pub lanes: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphPort {
    pub name: String,
    /// False when nobody reads the port: its rows are counted and dropped.
    pub used: bool,
    /// Everything the plugin puts into the port's frame after the cause.
    pub declared: Schema,
    /// Columns of the step's input that are carried: by row for ports that extend their input, by key for ports that give
    /// rows of the key.
    pub carried: Vec<usize>,
    /// Rows are of the key: what is carried are columns of it, and timers may cause rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_key: bool,
    /// Columns of `declared` that somebody reads.
    pub added: Vec<usize>,
    /// Carried columns, then added ones.
    pub schema: Schema,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphTable {
    pub name: String,
    /// Schema version of the values.
    pub version: u16,
    pub value: Schema,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphSink {
    /// Index into the pipeline's list of sinks.
    pub sink: usize,
    pub input: PortRef,
    /// Columns of the input that the sink is given, in this order: those that it writes, then keys and headers that
    /// are not among them.
    pub columns: Vec<usize>,
    pub schema: Schema,
    /// How many of the columns are written.
    pub written: usize,
}
