//! Which columns flow along which edge: every read traced back to the step, or the source, that gives the column.
//!
//! Owns: the checks of names, types and ports. Does not own: the types of the source's columns (`types`), indices
//! (`build`).
//!
//! Invariant: an edge between two steps has equal types on both ends.

use super::PortRef;
use crate::columns::{Column, ColumnType, Schema};
use crate::pipeline::fields::{list, nearest, suggest};
use crate::pipeline::spec::*;
use crate::source::SourceSpec;
use crate::{Code, Error};
use segno_wire::Description;
use segno_wire::describe::{OutputKind, OutputPort};
use std::collections::BTreeMap;

/// The key of a message, from which its partition follows.
const MESSAGE_KEY: &str = "kafka.key";

/// Somebody reads a column of the source.
pub(super) struct Demand {
    pub column: String,
    /// The type and whether null is welcome; `None` where any will do (keys, sinks).
    pub wants: Option<(ColumnType, bool)>,
    /// For messages: `step "score" reads`.
    pub who: String,
    /// A path of the pipeline file.
    pub at: String,
}

pub struct Flow<'a> {
    pub pipeline: &'a Pipeline,
    /// In the order of the steps.
    pub descriptions: Vec<&'a Description>,
    /// Input of each step.
    pub inputs: Vec<PortRef>,
    /// Input of each sink.
    pub sink_inputs: Vec<PortRef>,
    /// Every column that the source can give, with its type.
    pub source: Vec<Column>,
    pub(super) demands: Vec<Demand>,
    pub errors: Vec<Error>,
}

/// Where a column comes from.
enum Origin<'a> {
    Source,
    Step { step: usize, column: &'a segno_wire::describe::ColumnSpec },
    /// The step emits rows of its own, without that column.
    Nowhere { step: usize },
}

impl<'a> Flow<'a> {
    pub fn trace(
        pipeline: &'a Pipeline,
        descriptions: &'a BTreeMap<String, Description>,
        source_schemas: &[Option<Schema>],
    ) -> Result<Flow<'a>, Vec<Error>> {
        let mut found = Vec::with_capacity(pipeline.steps.len());
        for step in &pipeline.steps {
            match descriptions.get(&step.id) {
                Some(description) => found.push(description),
                None => {
                    return Err(vec![Error::new(Code::Internal, format!("step \"{}\" has no description", step.id))]);
                }
            }
        }
        let mut flow = Flow {
            pipeline,
            descriptions: found,
            inputs: Vec::new(),
            sink_inputs: Vec::new(),
            source: Vec::new(),
            demands: Vec::new(),
            errors: Vec::new(),
        };
        flow.ports();
        if !flow.errors.is_empty() {
            return Err(flow.errors);
        }
        for step in 0..pipeline.steps.len() {
            flow.step_reads(step);
        }
        for sink in 0..pipeline.sinks.len() {
            flow.sink_reads(sink);
        }
        flow.type_source(source_schemas);
        flow.repartition_keys();
        if flow.errors.is_empty() { Ok(flow) } else { Err(flow.errors) }
    }

    pub fn port(&self, step: usize, port: usize) -> &'a OutputPort {
        &self.descriptions[step].outputs[port]
    }

    pub fn error(&mut self, code: Code, at: &str, message: String, help: impl Into<String>) {
        let place = self.pipeline.place(at);
        self.errors.push(Error::new(code, message).with_help(help).with_place(place));
    }

    /// Where a step's reading is best shown.
    fn reader_at(&self, step: usize) -> String {
        format!("steps[{step}].{}", if self.pipeline.spots.has(&format!("steps[{step}].from")) { "from" } else { "plugin" })
    }

    fn ports(&mut self) {
        for (number, step) in self.pipeline.steps.iter().enumerate() {
            let input = self.resolve(&step.from, &format!("steps[{number}].from"), &format!("step \"{}\"", step.id));
            self.inputs.push(input);
            let description = self.descriptions[number];
            if description.inputs.len() != 1 {
                let count = description.inputs.len();
                self.error(
                    Code::PortCount,
                    &format!("steps[{number}].plugin"),
                    format!("the plugin of step \"{}\" has {count} input ports; a step reads one stream", step.id),
                    "use a plugin with one input port; `segno inspect` prints a plugin's ports",
                );
            }
            self.keyed(number);
            self.time_to_live(number);
            self.side_tables(number);
            if self.wants_time(number) && self.pipeline.sources.iter().any(|source| source.time.is_none()) {
                self.error(
                    Code::EventTimeMissing,
                    &format!("steps[{number}].plugin"),
                    format!("the plugin of step \"{}\" wants event times, and the source has none", step.id),
                    "say on the source which column holds it: time: column",
                );
            }
        }
        for (number, sink) in self.pipeline.sinks.iter().enumerate() {
            let at = self.pipeline.sink_path(number);
            let input = self.resolve(&sink.from, &format!("{at}.from"), &format!("sink \"{}\"", sink.name));
            self.sink_inputs.push(input);
        }
    }

    fn resolve(&mut self, from: &Upstream, at: &str, who: &str) -> PortRef {
        let (step, name) = match from {
            Upstream::Source => return PortRef::Source,
            Upstream::Step { step, port } => (*step, port.as_deref()),
        };
        let id = self.pipeline.steps[step].id.clone();
        let outputs = &self.descriptions[step].outputs;
        let port = match name {
            None => (!outputs.is_empty()).then_some(0),
            Some(name) => outputs.iter().position(|port| port.name == name),
        };
        match port {
            Some(port) => PortRef::Step { step, port },
            None => {
                let names: Vec<&str> = outputs.iter().map(|port| port.name.as_str()).collect();
                let (message, help) = match name {
                    _ if names.is_empty() => (
                        format!("{who} reads from step \"{id}\", whose plugin gives nothing"),
                        "read from the source or from another step".to_owned(),
                    ),
                    Some(name) => (
                        format!("{who} reads from \"{id}.{name}\", and the plugin of step \"{id}\" has no such port"),
                        suggest(name, "its ports are", names.iter().copied()),
                    ),
                    None => (format!("{who} reads from step \"{id}\", whose plugin gives nothing"), String::new()),
                };
                self.error(Code::PortUnknown, at, message, help);
                PortRef::Source
            }
        }
    }

    fn keyed(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let keyed = self.descriptions[number].is_keyed();
        if keyed && step.key.is_empty() {
            let columns = self.descriptions[number].inputs.first().map(|port| &port.columns);
            let example = columns.and_then(|columns| columns.first()).map_or("column", |column| column.name.as_str());
            self.error(
                Code::KeyMissing,
                &format!("steps[{number}]"),
                format!("step \"{}\" works by key, and key: is missing", step.id),
                format!("name the columns that make the key, as in key: /{}", example.replace('.', "/")),
            );
        } else if !keyed && !step.key.is_empty() {
            self.error(
                Code::KeyMissing,
                &format!("steps[{number}].key"),
                format!("step \"{}\" has a key, and its plugin does not work by key", step.id),
                "remove key: only plugins that keep state or set timers use it",
            );
        }
    }

    fn wants_time(&self, number: usize) -> bool {
        let description = &self.descriptions[number];
        description.event_time || description.timers
    }

    /// State ends by the watermark, so there must be one.
    fn time_to_live(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        if step.ttl.is_none() {
            return;
        }
        let at = format!("steps[{number}].ttl");
        if self.descriptions[number].tables.is_empty() {
            let message = format!("step \"{}\" has a ttl, and its plugin keeps no state", step.id);
            self.error(Code::KeyMissing, &at, message, "remove ttl: there is nothing to forget");
        } else if self.pipeline.sources.iter().any(|source| source.time.is_none()) && !self.wants_time(number) {
            let message = format!("step \"{}\" has a ttl, which counts event time, and the source has none", step.id);
            self.error(Code::EventTimeMissing, &at, message, "say on the source which column holds it: time: column; or time: segno.processing_time");
        }
    }

    fn side_tables(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let wanted: Vec<&str> =
            self.descriptions[number].side_tables.iter().map(|table| table.name.as_str()).collect();
        let given: Vec<&str> = step.tables.iter().map(|table| table.name.as_str()).collect();
        for name in &wanted {
            if !given.contains(name) {
                self.error(
                    Code::TableMismatch,
                    &format!("steps[{number}].tables"),
                    format!("the plugin of step \"{}\" wants a side table \"{name}\"", step.id),
                    format!("add tables: {{ {name}: {{ path: ./{name}.csv }} }}"),
                );
            }
        }
        for name in &given {
            if !wanted.contains(name) {
                let help = match nearest(name, wanted.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None if wanted.is_empty() => "remove it: the plugin wants no side tables".to_owned(),
                    None => format!("the plugin wants {}", list(wanted.iter().copied())),
                };
                self.error(
                    Code::TableMismatch,
                    &format!("steps[{number}].tables.{name}"),
                    format!("the plugin of step \"{}\" has no side table \"{name}\"", step.id),
                    help,
                );
            }
        }
    }

    fn origin(&self, mut port: PortRef, column: &str) -> Origin<'a> {
        loop {
            let PortRef::Step { step, port: number } = port else { return Origin::Source };
            let output = self.port(step, number);
            if let Some(column) = output.columns.iter().find(|one| one.name == column) {
                return Origin::Step { step, column };
            }
            match output.kind {
                OutputKind::Extend => port = self.inputs[step],
                OutputKind::PerKey if self.pipeline.steps[step].key.iter().any(|one| one == column) => port = self.inputs[step],
                OutputKind::PerKey | OutputKind::Emit => return Origin::Nowhere { step },
            }
        }
    }

    fn step_reads(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        let who = format!("step \"{}\" reads", step.id);
        let at = self.reader_at(number);
        let description = self.descriptions[number];
        for column in description.inputs.iter().flat_map(|port| &port.columns) {
            self.read(self.inputs[number], &column.name, Some((column.kind, column.nullable)), &who, &at);
        }
        let who = format!("step \"{}\" has the key", step.id);
        for (index, column) in step.key.iter().enumerate() {
            self.read(self.inputs[number], column, None, &who, &format!("steps[{number}].key[{index}]"));
        }
        self.key_stays(number);
    }

    /// Where state is divided among shards, a step's key must hold what decides the partition.
    fn key_stays(&mut self, number: usize) {
        let step = &self.pipeline.steps[number];
        if let Some(stage) = self.pipeline.stage.as_ref().filter(|_| !step.key.is_empty()) {
            let input = self.inputs[number];
            let whole = |column: &String| *column == stage.key && matches!(self.origin(input, column), Origin::Source);
            if !step.key.iter().any(whole) {
                self.error(
                    Code::RepartitionUnfit,
                    &format!("steps[{number}].key"),
                    format!("step \"{}\" keeps state by a key that need not stay in a partition of the repartition step \"{}\"", step.id, stage.id),
                    format!("write key: {} (or a list that holds it); or give the step the key of this one", stage.key),
                );
            }
            return;
        }
        let checked = |source: &SourceBlock| matches!(&source.spec, SourceSpec::Kafka(kafka) if kafka.check_keys);
        if step.key.is_empty() || !self.pipeline.sources.iter().any(checked) {
            return;
        }
        let input = self.inputs[number];
        let whole = |column: &String| column == MESSAGE_KEY && matches!(self.origin(input, column), Origin::Source);
        if !step.key.iter().any(whole) {
            self.error(
                Code::ShardingUnfit,
                &format!("steps[{number}].key"),
                format!("step \"{}\" keeps state by a key that need not stay in its partition", step.id),
                format!("write key: {MESSAGE_KEY} (or a list that holds it), and columns: {{ {MESSAGE_KEY}: utf8 }} on the source; or partitioner: unchecked, if producers keep the key together"),
            );
        }
    }

    fn sink_reads(&mut self, number: usize) {
        let sink = &self.pipeline.sinks[number];
        let kind = if sink.kind.is_repartition() { "step" } else { "sink" };
        let who = format!("{kind} \"{}\" writes", sink.name);
        let path = self.pipeline.sink_path(number);
        for (index, column) in sink.columns.iter().flatten().enumerate() {
            self.read(self.sink_inputs[number], column, None, &who, &format!("{path}.columns[{index}]"));
        }
        let who = if sink.kind.is_repartition() { format!("step \"{}\" has the key", sink.name) } else { who };
        for column in sink.kind.reads() {
            self.read(self.sink_inputs[number], column, None, &who, &format!("{path}.{}", sink.kind.word()));
        }
    }

    /// The type that a column has along an edge, once the source's columns are typed.
    fn type_of(&self, port: PortRef, name: &str) -> Option<ColumnType> {
        match self.origin(port, name) {
            Origin::Source => self.source.iter().find(|column| column.name == name).map(|column| column.ty),
            Origin::Step { column, .. } => Some(column.kind),
            Origin::Nowhere { .. } => None,
        }
    }

    /// Equal values of a repartition's key must have equal bytes.
    fn repartition_keys(&mut self) {
        for (number, sink) in self.pipeline.sinks.iter().enumerate() {
            let SinkKind::Kafka(KafkaSinkSpec { format: SinkFormat::Rows, key: Some(key), .. }) = &sink.kind else {
                continue;
            };
            if let Some(ty @ (ColumnType::Bool | ColumnType::F64)) = self.type_of(self.sink_inputs[number], key) {
                self.error(
                    Code::RepartitionUnfit,
                    &format!("{}.kafka", self.pipeline.sink_path(number)),
                    format!("the repartition step \"{}\" has the key {key}: {ty}, which cannot decide a partition", sink.name),
                    "use a column that is text, binary, a whole number, a decimal, a date or a timestamp",
                );
            }
        }
    }

    fn read(&mut self, port: PortRef, name: &str, wants: Option<(ColumnType, bool)>, who: &str, at: &str) {
        let wanted = wants.map_or(name.to_owned(), |(ty, _)| format!("{name}: {ty}"));
        match self.origin(port, name) {
            Origin::Source => self.demands.push(Demand {
                column: name.to_owned(),
                wants,
                who: who.to_owned(),
                at: at.to_owned(),
            }),
            Origin::Step { step, column } => {
                let giver = &self.pipeline.steps[step].id;
                if let Some((ty, _)) = wants.filter(|(ty, _)| *ty != column.kind) {
                    let message = format!("{who} {wanted}; step \"{giver}\" gives {name}: {}", column.kind);
                    let help = format!("change one of the two plugins, or put a step between them that gives {name}: {ty}");
                    self.error(Code::ColumnMismatch, at, message, help);
                }
            }
            Origin::Nowhere { step } => {
                let giver = self.pipeline.steps[step].id.clone();
                let flowing = self.flowing(port);
                let given = list(flowing.iter().map(String::as_str));
                let message = format!("{who} {wanted}; step \"{giver}\" gives no column \"{name}\"");
                let help = match nearest(name, flowing.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean \"{near}\"? What reaches it: {given}"),
                    None if flowing.is_empty() => "no column reaches it".to_owned(),
                    None => format!("what reaches it: {given}"),
                };
                self.error(Code::ColumnMismatch, at, message, help);
            }
        }
    }

    /// Names of all columns that flow along an edge, carried ones first.
    pub fn flowing(&self, port: PortRef) -> Vec<String> {
        let PortRef::Step { step, port: number } = port else {
            return self.source.iter().map(|column| column.name.clone()).collect();
        };
        let output = self.port(step, number);
        let mut names = match output.kind {
            OutputKind::Extend => self.flowing(self.inputs[step]),
            OutputKind::PerKey => self.pipeline.steps[step].key.clone(),
            OutputKind::Emit => Vec::new(),
        };
        names.retain(|name| output.columns.iter().all(|column| column.name != *name));
        names.extend(output.columns.iter().map(|column| column.name.clone()));
        names
    }
}
