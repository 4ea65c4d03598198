//! `segno checkpoint`: create, list, inspect, verify.
//!
//! Only `create` owns the pipeline; the others read the store beside a running one.

use super::console::{Console, Progress, number, size, table, time_ms, time_us};
use super::pipeline::{placed, read};
use super::{Outcome, PipelineFile, Shard};
use crate::worker::plan::Plan;
use crate::worker::tables::Databases;
use crate::worker::open::{RunOptions, objects, open};
use crate::worker::{archive, layout, load};
use segno_core::persisted::{JournalBody, Manifest};
use segno_core::pipeline::Pipeline;
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Kind, Result};
use segno_durable::{checkpoint, generation, journal};
use segno_durable::store::Objects;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(clap::Subcommand)]
pub enum CheckpointCommand {
    /// Recover a stopped pipeline to the end of its journal and make a checkpoint.
    Create {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
    },
    /// List the checkpoints that are kept, newest first.
    List {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
    },
    /// Show one checkpoint: position, files, digests.
    Inspect {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        /// Number of the checkpoint; the newest if not given.
        number: Option<u64>,
    },
    /// Read every object of checkpoints, journal and archive, and compare its hash.
    Verify {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        /// Number of the checkpoint; all if not given.
        number: Option<u64>,
    },
}

pub fn run(console: &Console, command: CheckpointCommand) -> Outcome {
    match command {
        CheckpointCommand::Create { pipeline, shard } => create(console, &pipeline, &shard),
        CheckpointCommand::List { pipeline, shard } => {
            each(console, &pipeline, &shard, |objects, which| list(console, objects, which))
        }
        CheckpointCommand::Inspect { pipeline, shard, number } => {
            each(console, &pipeline, &shard, |objects, _| inspect(console, objects, number))
        }
        CheckpointCommand::Verify { pipeline, shard, number } => {
            each(console, &pipeline, &shard, |objects, which| verify(console, objects, which, number))
        }
    }
}

/// Shows something of every chosen shard, under its number where there are several; the worst exit code counts.
fn each(
    console: &Console,
    file: &PipelineFile,
    shard: &Shard,
    mut show: impl FnMut(&Objects, &Which) -> Outcome,
) -> Outcome {
    let mut code = 0;
    for pipeline in shard.stages(read(&file.file)?)? {
        for shard in layout::chosen(&pipeline, shard.shard)? {
            let which = Which::new(&pipeline, shard);
            if let (Some(number), false) = (which.shard, console.is_json()) {
                let stage = which.stage.as_ref().map_or(String::new(), |stage| format!("stage {stage}, "));
                console.bytes(format!("{stage}shard {number}\n").as_bytes());
            }
            code = code.max(show(&objects(&pipeline, shard)?, &which)?);
        }
    }
    Ok(code)
}

/// Which one of several shards, and of several stages.
struct Which {
    stage: Option<String>,
    shard: Option<u32>,
}

impl Which {
    fn new(pipeline: &Pipeline, shard: ShardId) -> Which {
        Which { stage: pipeline.stage.as_ref().map(|stage| stage.id.clone()), shard: shard.number() }
    }
}

/// `json` of a shard, with its number and its stage where there are several.
fn of_shard(mut json: Value, which: &Which) -> Value {
    if let Some(number) = which.shard {
        json["shard"] = json!(number);
    }
    if let Some(stage) = &which.stage {
        json["stage"] = json!(stage);
    }
    json
}

fn create(console: &Console, pipeline: &PipelineFile, shard: &Shard) -> Outcome {
    let pipeline = read(&pipeline.file)?;
    let wanted: Vec<String> = shard.stages(pipeline.clone())?.into_iter().map(|stage| stage.name).collect();
    let stages = load::load(pipeline, Databases::default())?;
    for loaded in stages.iter().filter(|loaded| wanted.contains(&loaded.pipeline.name)) {
        for shard in layout::chosen(&loaded.pipeline, shard.shard)? {
            let mut opened = open(loaded, shard, &RunOptions::default()).map_err(|error| placed(&loaded.pipeline, error))?;
            opened.shard.checkpoint_now()?;
            let newest = checkpoint::newest(&objects(&loaded.pipeline, shard)?)?;
            let epoch = opened.shard.epoch;
            let which = Which::new(&loaded.pipeline, shard);
            let of = which.shard.map_or(String::new(), |number| format!(" of shard {number}"));
            let stage = which.stage.as_ref().map_or(String::new(), |stage| format!(" of stage {stage}"));
            console.result(
                || format!("checkpoint {newest}{of}{stage} holds the state after epoch {}\n", number(epoch)),
                &of_shard(json!({"number": newest, "epoch": epoch}), &which),
            );
        }
    }
    Ok(0)
}

/// Numbers of the checkpoints that are kept, newest first, with what each says.
pub fn kept(objects: &Objects) -> Result<Vec<(u64, Result<Manifest>)>> {
    let newest = checkpoint::newest(objects)?;
    let mut found = Vec::new();
    let mut missing = 0;
    for number in (1..=newest).rev() {
        match checkpoint::read(objects, number) {
            Ok(Some(manifest)) => {
                for gone in (number + 1..=number + missing).rev() {
                    let error = Error::new(Code::CheckpointDamaged, format!("checkpoint {gone}: its manifest is gone"))
                        .with_help("restore the object manifest from the bucket's versions; recovery uses the others");
                    found.push((gone, Err(error)));
                }
                missing = 0;
                found.push((number, Ok(manifest)));
            }
            // Collected ones are gone all together; a single gap is damage, and those behind it still count.
            Ok(None) => {
                missing += 1;
                if missing > 1 {
                    break;
                }
            }
            Err(error) if error.code() == Code::CheckpointDamaged => found.push((number, Err(error))),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn none_there(objects: &Objects) -> Error {
    Error::new(Code::NoSuchCheckpoint, format!("{} holds no checkpoint of this pipeline", objects.url()))
        .with_help("run the pipeline, or make one with `segno checkpoint create`")
}

fn bytes_of(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|file| file.bytes).sum()
}

fn list(console: &Console, objects: &Objects, which: &Which) -> Outcome {
    let kept = kept(objects)?;
    if console.is_json() {
        for (number, manifest) in &kept {
            match manifest {
                Ok(manifest) => console.json(&of_shard(json!({
                    "number": number,
                    "epoch": manifest.epoch,
                    "written_at": time_ms(manifest.written_at_ms),
                    "files": manifest.files.len(),
                    "bytes": bytes_of(manifest),
                    "replay_debt_ms": manifest.replay_debt_ms,
                    "damaged": false,
                }), which)),
                Err(error) => {
                    console.json(&of_shard(json!({"number": number, "damaged": true, "why": error.message()}), which));
                }
            }
        }
        return Ok(0);
    }
    if kept.is_empty() {
        console.note("no checkpoint yet");
        return Ok(0);
    }
    let mut rows = vec![["NUMBER", "EPOCH", "WRITTEN", "FILES", "SIZE"].map(str::to_owned).to_vec()];
    for (at, manifest) in &kept {
        rows.push(match manifest {
            Ok(manifest) => vec![
                at.to_string(),
                manifest.epoch.to_string(),
                time_ms(manifest.written_at_ms),
                manifest.files.len().to_string(),
                size(bytes_of(manifest)),
            ],
            Err(_) => vec![at.to_string(), "?".to_owned(), "damaged".to_owned()],
        });
    }
    console.bytes(table(&rows).as_bytes());
    Ok(0)
}

fn read_one(objects: &Objects, number: Option<u64>) -> Result<Manifest> {
    let number = match number {
        Some(number) => number,
        None => match checkpoint::newest(objects)? {
            0 => return Err(none_there(objects)),
            newest => newest,
        },
    };
    checkpoint::read(objects, number)?.ok_or_else(|| {
        Error::new(Code::NoSuchCheckpoint, format!("there is no checkpoint {number}"))
            .with_help("`segno checkpoint list` shows those that are kept")
    })
}

fn inspect(console: &Console, objects: &Objects, number: Option<u64>) -> Outcome {
    let manifest = read_one(objects, number)?;
    console.result(|| describe(&manifest), &manifest);
    Ok(0)
}

fn describe(manifest: &Manifest) -> String {
    let mut text = format!("checkpoint {}: the state after epoch {}\n", manifest.number, number(manifest.epoch));
    text.push_str(&format!("  written        {} by {}\n", time_ms(manifest.written_at_ms), manifest.author.writer));
    text.push_str(&format!("  generation     {}\n", manifest.author.generation));
    text.push_str(&format!("  journal entry  {} ({})\n", manifest.sequence, manifest.chain));
    text.push_str(&format!("  watermark      {}\n", manifest.watermark.map_or("none".to_owned(), time_us)));
    text.push_str(&format!("  configuration  {}\n", manifest.identity.configuration));
    for (step, component) in &manifest.identity.components {
        text.push_str(&format!("  component      {step} {component}\n"));
    }
    text.push_str(&format!("  engine         {}\n", manifest.identity.engine));
    for (table, version) in manifest.identity.tables.iter().flat_map(|tables| &tables.versions) {
        let (rows, read_at) = (number(version.rows), time_ms(version.read_at_ms));
        text.push_str(&format!("  side table     {table}: {rows} rows, {}, read at {read_at}\n", version.sha256));
    }
    for partition in &manifest.position.partitions {
        text.push_str(&format!("  position       {} at {}\n", partition.name, partition.offset));
    }
    for file in &manifest.files {
        text.push_str(&format!("  file           {:<24} {:>10}  {}\n", file.name, size(file.bytes), file.sha256));
    }
    text
}

fn verify(console: &Console, objects: &Objects, which: &Which, number: Option<u64>) -> Outcome {
    let chosen = match number {
        Some(_) => {
            let manifest = read_one(objects, number);
            vec![(number.unwrap_or_default(), manifest)]
        }
        None => kept(objects)?,
    };
    if chosen.is_empty() {
        // A shard may have had no record yet.
        if which.shard.is_some() {
            console.note("no checkpoint yet");
            return Ok(0);
        }
        return Err(none_there(objects).into());
    }
    let progress = console.progress();
    // The journal and the archive as well, unless only one checkpoint is asked for.
    let oldest = chosen.iter().filter_map(|(_, manifest)| manifest.as_ref().ok()).map(|manifest| manifest.sequence).min();
    let history = match number {
        Some(_) => None,
        None => Some(verify_history(objects, oldest, &progress)?),
    };
    let mut bad = 0;
    let mut results: Vec<(u64, Option<u64>, Vec<Error>)> = Vec::new();
    for (at, manifest) in chosen {
        progress.set(|| format!("checkpoint {at}"));
        let (epoch, wrong) = match manifest {
            Ok(manifest) => (Some(manifest.epoch), checkpoint::verify(objects, &manifest)?),
            Err(error) if error.code() == Code::CheckpointDamaged => (None, vec![error]),
            Err(error) => return Err(error.into()),
        };
        bad += usize::from(!wrong.is_empty());
        results.push((at, epoch, wrong));
    }
    drop(progress);
    for (at, epoch, wrong) in &results {
        let shown: Vec<Value> = wrong.iter().map(|error| json!(error.message())).collect();
        console.result(
            || match wrong.as_slice() {
                [] => format!("checkpoint {at}: intact\n"),
                wrong => format!("checkpoint {at}: DAMAGED, {} objects\n", wrong.len()),
            },
            &of_shard(json!({"number": at, "epoch": epoch, "intact": wrong.is_empty(), "damages": shown}), which),
        );
        for error in wrong {
            console.error(error);
        }
    }
    if let Some(history) = &history {
        let damages: Vec<&str> = history.wrong.iter().map(Error::message).collect();
        console.result(
            || {
                let History { first, last, archived, details, .. } = history;
                let what = format!("journal: entries {first} to {last}, {details} details, {archived} archived objects");
                match history.wrong.as_slice() {
                    [] => format!("{what}: intact\n"),
                    wrong => format!("{what}: DAMAGED, {} objects\n", wrong.len()),
                }
            },
            &of_shard(
                json!({
                    "journal": {"first": history.first, "last": history.last, "archived": history.archived, "details": history.details},
                    "intact": history.wrong.is_empty(),
                    "damages": damages,
                }),
                which,
            ),
        );
        bad += usize::from(!history.wrong.is_empty());
        for error in &history.wrong {
            console.error(error);
        }
    }
    Ok(u8::from(bad > 0))
}

struct History {
    first: u64,
    last: u64,
    archived: usize,
    details: usize,
    wrong: Vec<Error>,
}

/// Reads the generations, the journal from an entry on (or from its start, where that is kept), and everything that it names:
/// details and the archive.
fn verify_history(objects: &Objects, from: Option<u64>, progress: &Progress) -> Result<History> {
    progress.set(|| "journal".to_owned());
    let last = match checkpoint::journal_end(objects) {
        Ok(last) => last,
        Err(error) if error.kind() == Kind::Failed => {
            return Ok(History { first: from.unwrap_or(1), last: 0, archived: 0, details: 0, wrong: vec![error] });
        }
        Err(error) => return Err(error),
    };
    let whole = journal::read_entry(objects, 1).is_ok_and(|entry| entry.is_some());
    let first = if whole { 1 } else { from.unwrap_or(1) };
    let mut history = History { first, last, archived: 0, details: 0, wrong: generation::verify(objects)? };
    let entries = match journal::read_range(objects, first, last, None) {
        Ok(entries) => entries,
        Err(error) if error.kind() == Kind::Failed => {
            history.wrong.push(error);
            return Ok(history);
        }
        Err(error) => return Err(error),
    };
    let mut plans = BTreeSet::new();
    let mut named = BTreeSet::new();
    for stored in &entries {
        if let JournalBody::Epoch(record) = &stored.entry.body
            && let Some(detail) = &record.detail
        {
            history.details += 1;
            if journal::read_detail(objects, detail)?.is_none() {
                let what = format!("{} is gone, or does not have the hash that the journal names", detail.object);
                history.wrong.push(Error::new(Code::JournalDamaged, what).with_help(format!(
                    "restore the object from the bucket's versions: without it a difference in epoch {} is named less exactly",
                    record.epoch
                )));
            }
        }
        let identities = match &stored.entry.body {
            JournalBody::Epoch(record) => vec![&record.identity],
            JournalBody::Change(change) => vec![&change.before, &change.after],
            JournalBody::Fence(_) => Vec::new(),
        };
        for identity in identities {
            plans.insert(identity.configuration.clone());
            named.extend(identity.components.values().cloned());
        }
    }
    for sha256 in &plans {
        match archive::read(objects, sha256).and_then(|bytes| Plan::from_bytes(&bytes)) {
            Ok(plan) => named.extend(plan.steps.into_iter().map(|step| step.init)),
            Err(error) if error.kind() == Kind::Failed => history.wrong.push(error),
            Err(error) => return Err(error),
        }
    }
    for sha256 in &named {
        match archive::read(objects, sha256) {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Failed => history.wrong.push(error),
            Err(error) => return Err(error),
        }
    }
    history.archived = plans.len() + named.len();
    Ok(history)
}
