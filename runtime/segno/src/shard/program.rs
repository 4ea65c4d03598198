//! What a shard runs: the checked graph with a ready template for each step.
//!
//! Owns: the executable form of one identity (components, configuration, engine). Live runs, recovery and replay are
//! the same loop over different programs.
//! Does not own: building it from a pipeline file (`worker`) or from the archive (`worker::archive`).

use segno_core::persisted::Identity;
use segno_core::pipeline::graph::Graph;
use segno_core::pipeline::{OnError, SinkKind};
use segno_plugin::{Limits, Template};
use std::sync::Arc;

#[derive(Clone)]
pub struct Program {
    pub identity: Identity,
    pub graph: Graph,
    /// In the graph's order.
    pub steps: Vec<StepProgram>,
    /// What happens to records that no source could decode, by source number.
    pub source_on_error: Vec<OnError>,
    /// Names of the sources, for dead letters.
    pub source_names: Vec<String>,
    /// Names of the graph's sinks, in its order.
    pub sink_names: Vec<String>,
    /// What they write to, for sinks that keep their own mark.
    pub sink_targets: Vec<Option<SinkKind>>,
}

#[derive(Clone)]
pub struct StepProgram {
    pub template: Arc<Template>,
    pub limits: Limits,
    pub on_error: OnError,
    /// SHA-256 of the component, hex.
    pub component: String,
}
