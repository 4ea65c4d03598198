//! The archived plan: everything but the components and the input that decides output.
//!
//! Owns: its shape, its digest, and building a program from it. A live run builds the plan from the pipeline file and
//! then the program from the plan; recovery and replay take the plan from the archive. So both run the same program.
//! Does not own: the pipeline file (`segno_core::pipeline`), the archive's objects (`segno-durable`).
//!
//! Invariant: the plan's JSON is canonical (fields in declaration order, maps sorted), so equal plans have equal digests.

use crate::shard::program::{Program, StepProgram};
use segno_core::persisted::{Identity, TableVersion, TableVersions};
use segno_core::pipeline::graph::Graph;
use segno_core::pipeline::{LimitsSpec, OnError, PostgresTableSpec, SinkFormat, SinkKind};
use segno_core::source::{ReadPlan, SourceSpec, TimeColumn};
use segno_core::{Code, Error, Result};
use segno_plugin::{Engine, Limits};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub const PLAN_VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub sources: Vec<PlannedSource>,
    pub graph: Graph,
    /// In the graph's order.
    pub steps: Vec<PlannedStep>,
    /// In the graph's order.
    pub sinks: Vec<PlannedSink>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedSource {
    /// Paths as written in the pipeline file.
    pub spec: SourceSpec,
    pub time: Option<TimeColumn>,
    pub watermark_delay_us: i64,
    pub on_error: OnError,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub id: String,
    /// SHA-256 of the component, archived under it.
    pub component: String,
    /// SHA-256 of the init message (configuration and side tables), archived under it.
    pub init: String,
    /// SHA-256 of the init message without rows of databases, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_without: Option<String>,
    /// Side tables of databases: their rows are data, and other rows are another version of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<PlannedTable>,
    pub on_error: OnError,
    pub limits: LimitsSpec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedTable {
    pub name: String,
    /// Where the rows come from, without address and secrets.
    pub from: PostgresTableSpec,
    /// SHA-256 of the rows as `init` gets them, and how many there are.
    pub sha256: String,
    pub rows: u64,
    /// Decides nothing, so it is no part of what is archived.
    #[serde(skip)]
    pub read_at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedSink {
    pub name: String,
    pub format: Option<SinkFormat>,
    /// For sinks that keep their own mark: what they write to, without addresses and secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SinkKind>,
}

/// Reads archived objects by digest.
pub trait Archive {
    fn read(&self, sha256: &str) -> Result<Vec<u8>>;
}

impl Plan {
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Code::Internal, "the plan cannot be written").with_cause(error))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Plan> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::new(Code::ArchiveDamaged, "an archived plan cannot be read").with_cause(error)
        })
    }

    /// What an archived plan names in the archive.
    pub fn named_by(bytes: &[u8]) -> Result<Vec<String>> {
        let steps = Plan::from_bytes(bytes)?.steps.into_iter();
        Ok(steps.flat_map(|step| [Some(step.component), Some(step.init), step.init_without]).flatten().collect())
    }

    /// What the journal compares: the plan's digest, the components, the engine.
    pub fn identity(&self, engine: &Engine) -> Result<Identity> {
        Ok(Identity {
            components: self.steps.iter().map(|step| (step.id.clone(), step.component.clone())).collect(),
            configuration: sha256_hex(&self.to_bytes()?),
            engine: format!("{} host/{}", engine.fingerprint(), HOST_VERSION),
            tables: self.table_versions()?,
        })
    }

    fn table_versions(&self) -> Result<Option<TableVersions>> {
        let mut versions = BTreeMap::new();
        let mut without = self.clone();
        for step in &mut without.steps {
            if let Some(init) = step.init_without.take() {
                step.init = init;
            }
            for table in &mut step.tables {
                let sha256 = std::mem::take(&mut table.sha256);
                let version = TableVersion { sha256, rows: std::mem::take(&mut table.rows), read_at_ms: table.read_at_ms };
                versions.insert(format!("{}.{}", step.id, table.name), version);
            }
        }
        if versions.is_empty() {
            return Ok(None);
        }
        Ok(Some(TableVersions { program: sha256_hex(&without.to_bytes()?), versions }))
    }

    /// What each source decodes.
    pub fn read_plans(&self) -> Vec<ReadPlan> {
        self.sources
            .iter()
            .map(|source| ReadPlan {
                columns: self.graph.source.columns.clone(),
                time: source.time.clone().filter(|time| !time.is_processing_time()),
            })
            .collect()
    }

    /// The program, with components and init messages from the archive.
    pub fn program(&self, engine: &Engine, archive: &dyn Archive) -> Result<Program> {
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let limits = limits(&step.limits);
            let component = engine.load(&archive.read(&step.component)?, &limits)?;
            let template = engine.template(&component, &archive.read(&step.init)?, &limits);
            let template = template.map_err(|error| error.about(format_args!("step \"{}\"", step.id)))?;
            steps.push(StepProgram { template, limits, on_error: step.on_error, component: step.component.clone() });
        }
        Ok(Program {
            identity: self.identity(engine)?,
            graph: self.graph.clone(),
            steps,
            source_on_error: self.sources.iter().map(|source| source.on_error).collect(),
            source_names: self.sources.iter().map(|source| source.spec.name().to_owned()).collect(),
            sink_names: self.sinks.iter().map(|sink| sink.name.clone()).collect(),
            sink_targets: self.sinks.iter().map(|sink| sink.target.clone()).collect(),
        })
    }
}

/// Version of the host parts that can change an answer: decoders, key bytes, canonical form, merge, ticks. Raised
/// whenever one of them changes what it gives.
pub const HOST_VERSION: u32 = 1;

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The engine's limits with the step's settings.
pub fn limits(spec: &LimitsSpec) -> Limits {
    let mut limits = Limits::default();
    macro_rules! set {
        ($($field:ident),*) => { $(if let Some(value) = spec.$field { limits.$field = value.try_into().unwrap_or(limits.$field); })* };
    }
    set!(fuel_per_record, fuel_init, memory, tables, output_bytes, mutations, log_lines);
    if let Some(deadline) = spec.deadline {
        limits.deadline = deadline;
    }
    limits
}
