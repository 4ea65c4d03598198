//! The stages of a pipeline: which columns flow from one to the next, and running them beside each other.
//!
//! Owns: the columns of repartition topics, which the plugins on both sides decide; whether watermarks are announced in them; what `mask`
//! names; the order in which stages end.
//! Does not own: cutting a pipeline file (`segno_core::pipeline`), a stage's shards (`several`), the topics (`segno_kafka`).
//!
//! Invariants: a topic holds the columns that somebody behind it reads, and no others, and watermarks where somebody needs them. A stage knows nothing of the others
//! but its topics. With `until: latest` a stage begins when this process has ended the one in front of it: whoever ends the
//! last shard of that one finds all of its rows.

use super::load::{Admitted, Checked, Loaded, admit};
use super::open::RunOptions;
use super::several::{Several, run_several};
use crate::observe::Shards;
use crate::shard::Totals;
use segno_core::columns::Column;
use segno_core::pipeline::{list, nearest};
use segno_core::pipeline::graph::Graph;
use segno_core::pipeline::{Pipeline, SinkKind, Stage};
use segno_core::source::{FormatSpec, SourceSpec};
use segno_core::{Code, Error, Result};
use segno_kafka::Topic;
use segno_plugin::Engine;
use std::sync::atomic::{AtomicBool, Ordering};

/// Admits every plugin and checks the graphs, without running `init`; says on each stage which columns its topics hold.
pub fn check(stages: &mut [Pipeline], engine: &Engine) -> Result<Vec<Checked>, Vec<Error>> {
    let mut admitted = Vec::new();
    let mut errors = Vec::new();
    for stage in stages.iter() {
        match admit(stage, engine) {
            Ok(found) => admitted.push(found),
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // Forwards: everything that could flow into each topic, with its type. A stage stands behind the one in front of it.
    let mut graphs: Vec<Graph> = Vec::new();
    for number in 0..stages.len() {
        hold(stages, number, &graphs)?;
        graphs.push(admitted[number].graph(&stages[number])?);
    }
    // Backwards: only what somebody reads.
    for number in (1..stages.len()).rev() {
        let Some(Stage { id, front, .. }) = stages[number].stage.clone() else { continue };
        let wanted = &graphs[number].source;
        let columns = flowing(&stages[front], &graphs[front], &id).into_iter().map(|column| column.name);
        let columns: Vec<String> = columns.filter(|name| wanted.get(name).is_some()).collect();
        let follows = follows(&stages[number], &graphs[number]);
        for sink in &mut stages[front].sinks {
            if sink.kind.is_repartition() && sink.name == id {
                sink.columns = Some(Vec::clone(&columns));
                if let SinkKind::Kafka(kafka) = &mut sink.kind {
                    kafka.announces = follows;
                }
            }
        }
        graphs[front] = admitted[front].graph(&stages[front])?;
    }
    for number in 1..stages.len() {
        hold(stages, number, &graphs)?;
        graphs[number] = admitted[number].graph(&stages[number])?;
    }
    mask_is_known(stages, &admitted, &graphs)?;
    Ok(admitted.into_iter().zip(graphs).map(|(admitted, graph)| Checked { components: admitted.components, graph }).collect())
}

/// A name under `mask` that no column has is a slip, which would show what is to be hidden.
fn mask_is_known(stages: &[Pipeline], admitted: &[Admitted], graphs: &[Graph]) -> Result<(), Vec<Error>> {
    let declared = stages.iter().flat_map(|stage| &stage.sources).flat_map(|source| &source.columns);
    let found = admitted.iter().flat_map(|stage| stage.schemas.iter().flatten()).flat_map(|schema| &schema.columns);
    let read = graphs.iter().flat_map(|graph| &graph.source.columns);
    let steps = graphs.iter().flat_map(|graph| &graph.steps);
    let given = steps.flat_map(|step| &step.outputs).flat_map(|port| &port.declared.columns);
    let mut known: Vec<&str> = declared.chain(found).chain(read).chain(given).map(|column| column.name.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let Some(pipeline) = stages.first() else { return Ok(()) };
    let unknown = pipeline.mask.iter().filter(|name| known.binary_search(&name.as_str()).is_err());
    let errors: Vec<Error> = unknown
        .map(|name| {
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the columns that are read or given are {}", list(known.iter().copied())),
            };
            let message = format!("mask names \"{name}\", and no column is called so");
            Error::new(Code::ColumnMismatch, message).with_help(help).with_place(pipeline.place("mask"))
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Says on a stage's source what the stage in front writes to the topic.
fn hold(stages: &mut [Pipeline], number: usize, graphs: &[Graph]) -> Result<(), Vec<Error>> {
    let Some(Stage { id, front, .. }) = stages[number].stage.clone() else { return Ok(()) };
    let columns = flowing(&stages[front], &graphs[front], &id);
    let Some(source) = stages[number].sources.first_mut() else {
        return Err(vec![Error::new(Code::Internal, format!("stage \"{id}\" has no source"))]);
    };
    source.columns.clone_from(&columns);
    if let SourceSpec::Kafka(kafka) = &mut source.spec {
        kafka.columns.clone_from(&columns);
        kafka.format = FormatSpec::Rows { columns };
    }
    Ok(())
}

/// Whether a stage, or one behind it, needs to know how far event time is.
fn follows(stage: &Pipeline, graph: &Graph) -> bool {
    graph.has_timers() || stage.steps.iter().any(|step| step.ttl.is_some()) || stage.sinks.iter().any(|sink| sink.kind.announces())
}

/// The columns that a stage writes to the topic of a repartition step.
fn flowing(front: &Pipeline, graph: &Graph, id: &str) -> Vec<Column> {
    let of_step = |sink: usize| front.sinks.get(sink).is_some_and(|sink| sink.kind.is_repartition() && sink.name == id);
    let sink = graph.sinks.iter().find(|sink| of_step(sink.sink));
    sink.map(|sink| sink.schema.columns[..sink.written].to_vec()).unwrap_or_default()
}

/// Looks at the topic that a stage reads, and makes it where `make` says so. The first stage has none of this kind.
pub fn check_topic(pipeline: &Pipeline, make: bool) -> Result<Topic> {
    let Some(stage) = &pipeline.stage else { return Ok(Topic::There) };
    let Some(SourceSpec::Kafka(kafka)) = pipeline.sources.first().map(|source| &source.spec) else {
        return Err(Error::new(Code::Internal, format!("stage \"{}\" has no topic", stage.id)));
    };
    let found = segno_kafka::check_topic(&kafka.connection, &stage.topic, &stage.id, stage.partitions, make)?;
    if found == Topic::Made {
        tracing::info!(topic = stage.topic, partitions = stage.partitions, "made the topic of step \"{}\"", stage.id);
    }
    Ok(found)
}

/// Runs every stage, whose numbers of shards are `sizes`, until all have ended or `stopping` is set. One that fails takes
/// the others to rest.
///
/// # Errors
/// Each with the number of its stage.
pub fn run_stages(
    stages: &[Loaded],
    sizes: &[u32],
    options: &RunOptions,
    stopping: &AtomicBool,
    shards: &Shards,
    watch: &(dyn Fn(&Totals) + Sync),
) -> Result<Vec<Several>, Vec<(usize, Error)>> {
    let run = |number: usize, watch: &(dyn Fn(&Totals) + Sync)| {
        let result = run_several(&stages[number], sizes[number], options, stopping, shards, watch);
        result.map_err(|errors| {
            stopping.store(true, Ordering::Relaxed);
            errors.into_iter().map(|error| (number, error)).collect::<Vec<_>>()
        })
    };
    let ends = |loaded: &Loaded| {
        loaded.pipeline.sources.iter().all(|source| matches!(&source.spec, SourceSpec::Kafka(kafka) if kafka.until_latest))
    };
    let mut runs = Vec::new();
    if stages.len() == 1 || stages.iter().all(ends) {
        for number in 0..stages.len() {
            if number == 0 || !stopping.load(Ordering::Relaxed) {
                runs.push(run(number, watch)?);
            }
        }
        return Ok(runs);
    }
    let mut errors = Vec::new();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, loaded) in stages.iter().enumerate() {
            let run = &run;
            // Progress is what comes in from outside.
            let watch = move |totals: &Totals| {
                if number == 0 {
                    watch(totals);
                }
            };
            let name = format!("stage-{}", loaded.pipeline.stage_name());
            match std::thread::Builder::new().name(name).spawn_scoped(scope, move || run(number, &watch)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    stopping.store(true, Ordering::Relaxed);
                    errors.push((number, Error::new(Code::Internal, "a stage's thread cannot start").with_cause(error)));
                }
            }
        }
        for thread in threads {
            match thread.join() {
                Ok(Ok(run)) => runs.push(run),
                Ok(Err(more)) => errors.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    if errors.is_empty() { Ok(runs) } else { Err(errors) }
}
