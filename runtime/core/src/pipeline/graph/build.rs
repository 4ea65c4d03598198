//! From what flows to indices: the graph that the epoch loop runs.
//!
//! Owns: liveness. Does not own: the checks (`flow`).
//!
//! Invariants: a column is in a stream's schema only when somebody further on reads it. The order of columns is that
//! of the source, then of the plugins' descriptions; it does not depend on who reads what.

use super::flow::Flow;
use super::{Graph, GraphPort, GraphSink, GraphStep, GraphTable, PortRef};
use crate::columns::{Column, Schema};
use crate::pipeline::spec::Pipeline;
use crate::{Code, Error};
use segno_wire::Description;
use segno_wire::describe::{ColumnSpec, OutputKind};
use std::collections::{BTreeMap, BTreeSet};

/// The checked graph of a pipeline. `descriptions` are by step id; `source_schemas` are by source, `None` where only
/// the records know.
///
/// # Errors
/// Everything that does not fit together, with its place in the pipeline file.
pub fn build(
    pipeline: &Pipeline,
    descriptions: &BTreeMap<String, Description>,
    source_schemas: &[Option<Schema>],
) -> Result<Graph, Vec<Error>> {
    let flow = Flow::trace(pipeline, descriptions, source_schemas)?;
    let needed = needed(&flow);
    assemble(&flow, &needed).ok_or_else(|| {
        vec![Error::new(Code::Internal, "the graph was checked, and yet a column is not where it should be")]
    })
}

type Needed = BTreeMap<PortRef, BTreeSet<String>>;

/// The columns that somebody reads, by stream. A stream that is not in the map is read by nobody.
fn needed(flow: &Flow<'_>) -> Needed {
    let mut needed = Needed::new();
    for (sink, input) in flow.pipeline.sinks.iter().zip(&flow.sink_inputs) {
        let columns = sink.columns.clone().unwrap_or_else(|| flow.flowing(*input));
        let beside = sink.kind.reads().into_iter().map(str::to_owned);
        needed.entry(*input).or_default().extend(columns.into_iter().chain(beside));
    }
    for (number, step) in flow.pipeline.steps.iter().enumerate().rev() {
        let description = flow.descriptions[number];
        let mut of_input: BTreeSet<String> = step.key.iter().cloned().collect();
        of_input.extend(description.inputs.iter().flat_map(|port| &port.columns).map(|column| column.name.clone()));
        for (port, output) in description.outputs.iter().enumerate() {
            if output.kind == OutputKind::Extend {
                let carried = needed.get(&PortRef::Step { step: number, port }).into_iter().flatten();
                let own = |name: &String| output.columns.iter().any(|column| column.name == *name);
                of_input.extend(carried.filter(|name| !own(name)).cloned());
            }
        }
        needed.entry(flow.inputs[number]).or_default().extend(of_input);
    }
    needed
}

fn assemble(flow: &Flow<'_>, needed: &Needed) -> Option<Graph> {
    let nothing = BTreeSet::new();
    let of_source = needed.get(&PortRef::Source).unwrap_or(&nothing);
    let source = Schema::new(flow.source.iter().filter(|column| of_source.contains(&column.name)).cloned().collect());
    let mut steps: Vec<GraphStep> = Vec::new();
    for (number, spec) in flow.pipeline.steps.iter().enumerate() {
        let description = flow.descriptions[number];
        let input = schema_of(&source, &steps, flow.inputs[number])?.clone();
        let read_schema = schema(description.inputs.iter().flat_map(|port| &port.columns));
        let reads = read_schema.columns.iter().map(|column| input.index_of(&column.name)).collect::<Option<_>>()?;
        let key = spec.key.iter().map(|name| input.index_of(name)).collect::<Option<_>>()?;
        let mut outputs = Vec::new();
        for (port, output) in description.outputs.iter().enumerate() {
            let wanted = needed.get(&PortRef::Step { step: number, port });
            let declared = schema(&output.columns);
            let is_wanted = |name: &str| wanted.is_some_and(|wanted| wanted.contains(name));
            let carried: Vec<usize> = match output.kind {
                OutputKind::Emit => Vec::new(),
                OutputKind::Extend | OutputKind::PerKey => (0..input.columns.len())
                    .filter(|&at| {
                        let name = &input.columns[at].name;
                        let flows = output.kind == OutputKind::Extend || spec.key.contains(name);
                        flows && is_wanted(name) && declared.get(name).is_none()
                    })
                    .collect(),
            };
            let added: Vec<usize> =
                (0..declared.columns.len()).filter(|&at| is_wanted(&declared.columns[at].name)).collect();
            let columns = carried.iter().map(|&at| &input.columns[at]);
            let columns = columns.chain(added.iter().map(|&at| &declared.columns[at])).cloned().collect();
            outputs.push(GraphPort {
                name: output.name.clone(),
                used: wanted.is_some(),
                carried,
                per_key: output.kind == OutputKind::PerKey,
                added,
                schema: Schema::new(columns),
                declared,
            });
        }
        let tables = description
            .tables
            .iter()
            .map(|table| GraphTable {
                name: table.name.clone(),
                version: table.version,
                value: Schema::new(
                    table.columns.iter().map(|one| Column::new(&one.name, one.kind, one.nullable)).collect(),
                ),
            })
            .collect();
        steps.push(GraphStep {
            id: spec.id.clone(),
            input: flow.inputs[number],
            reads,
            read_schema,
            key,
            ttl: spec.ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)),
            wants_event_time: description.event_time,
            timers: description.timers,
            outputs,
            tables,
            lanes: spec.lanes,
        });
    }
    let mut sinks = Vec::new();
    for (number, spec) in flow.pipeline.sinks.iter().enumerate() {
        let input = flow.sink_inputs[number];
        let stream = schema_of(&source, &steps, input)?;
        let names = spec.columns.clone().unwrap_or_else(|| flow.flowing(input));
        let written = names.len();
        let beside = spec.kind.reads().into_iter().filter(|name| !names.iter().any(|one| one == name));
        let all: Vec<&str> = names.iter().map(String::as_str).chain(beside).collect();
        let columns = all.iter().map(|name| stream.index_of(name)).collect::<Option<Vec<_>>>()?;
        let schema = Schema::new(columns.iter().map(|&at| stream.columns[at].clone()).collect());
        sinks.push(GraphSink { sink: number, input, columns, schema, written });
    }
    Some(Graph { source, steps, sinks })
}

fn schema_of<'s>(source: &'s Schema, steps: &'s [GraphStep], port: PortRef) -> Option<&'s Schema> {
    match port {
        PortRef::Source => Some(source),
        PortRef::Step { step, port } => Some(&steps.get(step)?.outputs.get(port)?.schema),
    }
}

fn schema<'c>(columns: impl IntoIterator<Item = &'c ColumnSpec>) -> Schema {
    Schema::new(columns.into_iter().map(|one| Column::new(&one.name, one.kind, one.nullable)).collect())
}

#[cfg(test)]
mod tests;
