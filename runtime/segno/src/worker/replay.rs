//! Replay: history executed again in a scratch store, every digest compared.
//!
//! Owns: where a replay starts and ends, and naming what differs. Does not own: the comparison of digests (`shard::verify`) and
//! of published files (`published`).
//!
//! Invariant: a replay writes nothing but its scratch folder; it takes no lock and no generation, and may run beside the
//! pipeline.

use super::archive::Versions;
use super::load::{self};
use super::open::{RunOptions, objects, open_sink, read_detail, threads};
use super::plan::Plan;
use super::published::{Folders, Published};
use super::sources;
use crate::shard::commit::apply;
use crate::shard::plan::Planner;
use crate::shard::recover::{Reexecuted, reexecute};
use crate::shard::verify::Difference;
use segno_core::persisted::{EpochRecord, JournalBody, Position};
use segno_core::pipeline::{Pipeline, SinkFormat};
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Result};
use segno_durable::checkpoint;
use segno_durable::journal;
use segno_durable::sink::write_rows;
use segno_durable::state::StateStore;
use segno_plugin::Engine;
use serde::Serialize;

/// Where a replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Start,
    /// Number of a checkpoint.
    Checkpoint(u64),
}

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The repartition step that the stage begins with; none for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Its number, with `sharding: by_partition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// First and last epoch that were executed again; none when first is greater.
    pub first: u64,
    pub last: u64,
    pub epochs: u64,
    pub records: u64,
    pub rows_out: u64,
    pub identical: bool,
    pub difference: Option<Difference>,
    /// Where the sink could be read back: what the published row says and what replay gives, field by field.
    pub fields: Vec<FieldDifference>,
    pub published: Published,
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDifference {
    pub object: String,
    /// Line of the object, from 1.
    pub line: u64,
    pub field: String,
    pub published: String,
    pub replayed: String,
}

/// Executes history again; stops at the first difference.
pub fn replay(
    pipeline: &Pipeline,
    shard: ShardId,
    from: From,
    options: &RunOptions,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Report> {
    let started = std::time::Instant::now();
    let objects = objects(pipeline, shard)?;
    let end = checkpoint::journal_end(&objects)?;
    if end == 0 {
        return Err(Error::new(Code::NothingToReplay, format!("{} holds no journal of \"{}\"", objects.url(), pipeline.name))
            .with_help("run the pipeline first; or check checkpoint.store, name and tenant"));
    }
    let scratch = tempfile::tempdir()
        .map_err(|error| Error::new(Code::WorkDirUnusable, "no scratch folder can be made").with_cause(error))?;
    let folder = scratch.path().join("state");
    let (first_entry, before, position, watermark, base, mut windows) = match from {
        From::Start => {
            if journal::first_left(&objects)? > 1 {
                let (checkpoint, epoch) = oldest(&objects)?;
                return Err(Error::new(
                    Code::JournalCollected,
                    format!("the oldest epochs were collected; the oldest one left is epoch {}, after checkpoint {checkpoint}", epoch + 1),
                )
                .with_help(format!("start there with --from {checkpoint}, or keep more with checkpoint.keep from now on")));
            }
            (1, Some(String::new()), Position::default(), None, 0, Some(Vec::new()))
        }
        From::Checkpoint(number) => {
            let manifest = checkpoint::read(&objects, number)?.ok_or_else(|| {
                Error::new(Code::NoSuchCheckpoint, format!("there is no checkpoint {number}"))
                    .with_help("`segno checkpoint list` shows those that are kept")
            })?;
            checkpoint::restore(&objects, &manifest, &folder)?;
            let windows = match journal::read_entry(&objects, manifest.sequence)?.map(|stored| stored.entry.body) {
                Some(JournalBody::Epoch(record)) => Some(record.expect_windows),
                _ => None,
            };
            (manifest.sequence + 1, Some(manifest.chain), manifest.position, manifest.watermark, manifest.epoch, windows)
        }
    };
    let state = StateStore::open_within(&folder, pipeline.state.memory)?;
    let entries = journal::read_range(&objects, first_entry, end, before.as_deref())?;
    let engine = Engine::new(Some(&load::cache_dir()))?;
    let mut versions = Versions::new(&engine, &objects);
    let threads = threads(pipeline, shard, options);
    let mut report = Report {
        stage: pipeline.stage.as_ref().map(|stage| stage.id.clone()),
        shard: shard.number(),
        first: base + 1,
        last: base,
        epochs: 0,
        records: 0,
        rows_out: 0,
        identical: true,
        difference: None,
        fields: Vec::new(),
        published: Published::default(),
        seconds: 0.0,
    };
    let folders = Folders::of(pipeline);
    let mut at = (position, watermark);
    let mut running: Option<(String, Planner)> = None;
    for stored in entries {
        let JournalBody::Epoch(record) = &stored.entry.body else { continue };
        let version = versions.get(&record.identity)?;
        let planner = match &mut running {
            Some((identity, planner)) if *identity == record.identity.configuration => planner,
            other => {
                let planner = planner(pipeline, shard, &version.plan, &at, threads)?;
                &mut other.insert((record.identity.configuration.clone(), planner)).1
            }
        };
        let detail = || read_detail(&objects, record);
        let again = reexecute(&version.program, planner, &state, record, windows.as_deref(), threads, detail)?;
        windows = Some(record.expect_windows.clone());
        report.last = record.epoch;
        report.epochs += 1;
        report.records += record.counts.records;
        report.rows_out += record.counts.rows_out.values().sum::<u64>();
        if let Some(difference) = &again.difference {
            report.identical = false;
            report.fields = name_fields(pipeline, shard, &version.plan, record, &again).unwrap_or_default();
            report.difference = Some(difference.clone());
            break;
        }
        folders.compare(record, &mut report.published);
        apply(&state, record, &stored.digest, &again.executed)?;
        at = (record.to.clone(), record.watermark_out);
        watch(report.epochs, report.records);
    }
    report.identical &= report.published.changed.is_empty();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The oldest checkpoint that is kept, and its epoch.
fn oldest(objects: &segno_durable::store::Objects) -> Result<(u64, u64)> {
    let mut number = checkpoint::newest(objects)?;
    let mut epoch = 0;
    while let Ok(Some(manifest)) = checkpoint::read(objects, number) {
        epoch = manifest.epoch;
        if number <= 1 || !matches!(checkpoint::read(objects, number - 1), Ok(Some(_))) {
            break;
        }
        number -= 1;
    }
    Ok((number, epoch))
}

fn planner(pipeline: &Pipeline, shard: ShardId, plan: &Plan, at: &(Position, Option<i64>), threads: usize) -> Result<Planner> {
    Planner::new(
        sources::open(pipeline, plan, shard)?,
        plan.read_plans(),
        sources::time_rules(pipeline, plan),
        threads,
        &at.0,
        at.1,
    )
}

/// Compares published lines with what the replay gives, and names the fields of the first line that differs.
fn name_fields(
    pipeline: &Pipeline,
    shard: ShardId,
    plan: &Plan,
    record: &EpochRecord,
    again: &Reexecuted,
) -> Result<Vec<FieldDifference>> {
    let mut fields = Vec::new();
    for (output, sink) in again.executed.sinks.iter().zip(&plan.graph.sinks) {
        let Some(spec) = pipeline.sinks.get(sink.sink).filter(|spec| spec.name == output.name) else { continue };
        let planned = plan.sinks.iter().find(|planned| planned.name == output.name);
        let Some(SinkFormat::Json) = planned.and_then(|planned| planned.format) else { continue };
        let replayed = write_rows(SinkFormat::Json, &sink.schema, &output.rows.batch)?;
        for object in record.outputs.get(&output.name).into_iter().flatten() {
            let Some(published) = open_sink(pipeline, shard, spec, &sink.schema)?.read_back(object)? else { continue };
            let pairs = published.split(|&b| b == b'\n').zip(replayed.split(|&b| b == b'\n'));
            let Some((line, (old, new))) = pairs.enumerate().find(|(_, (old, new))| old != new) else { continue };
            let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
            if let (Ok(old), Ok(new)) = (parse(old), parse(new)) {
                for (field, value) in &new {
                    let before = old.get(field);
                    if before != Some(value) {
                        fields.push(FieldDifference {
                            object: object.target.clone(),
                            line: line as u64 + 1,
                            field: field.clone(),
                            published: before.map_or("absent".to_owned(), ToString::to_string),
                            replayed: value.to_string(),
                        });
                    }
                }
            }
        }
    }
    Ok(fields)
}
