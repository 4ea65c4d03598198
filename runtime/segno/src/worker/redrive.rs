//! Redrive: which dead letters go through the pipeline again, and with which plugins.
//!
//! Owns: choosing letters, refusing what cannot be exactly once, the report. Does not own: the way of the records
//! (`shard::redrive`), opening the shard (`open`).
//!
//! Invariant: a letter is chosen once, unless the user says again: what is marked in the state was taken by an epoch that
//! is committed. So a redrive that was killed is simply repeated.

use super::letters::{letters, record, text};
use super::load::Loaded;
use super::open::{RunOptions, objects, open, planner, span};
use super::{archive, layout};
use crate::shard::redrive::{Part, REDRIVEN, Rejected, mark_keys, marked_epoch, parts};
use crate::shard::{Progress, Shard};
use segno_core::persisted::{Redrive, RedrivenLetter, RedrivenPartition};
use segno_core::pipeline::graph::Graph;
use segno_core::shard::ShardId;
use segno_core::{Code, Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records of one redrive: their places are held in memory, about 200 bytes each.
const RECORDS_MAX: usize = 2_000_000;

/// Letters that no step rejected as a whole: entering the step again would take something twice.
const NEVER_CHOSEN: [Code; 2] = [Code::RecordTooLarge, Code::RedriveRows];

/// Which letters.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// With `sharding: by_partition`: only those of one shard.
    pub shard: Option<u32>,
    pub step: Option<String>,
    pub code: Option<String>,
    /// One record, as `letters::record` names it.
    pub record: Option<String>,
    /// Epochs in which they were rejected.
    pub epochs: RangeInclusive<u64>,
    /// Also those that were redriven before.
    pub again: bool,
}

/// What a redrive did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub pipeline: String,
    /// Records that went through the pipeline again.
    pub redriven: u64,
    /// Rejects among them: they are dead letters again, or skipped.
    pub rejected_again: u64,
    /// Chosen, and redriven before: left out.
    pub already: u64,
    /// Chosen, and left out because taking them again would take something twice, by code.
    pub left_out: BTreeMap<String, u64>,
    pub epochs: u64,
    pub rows_out: BTreeMap<String, u64>,
    /// True when it ended because it was asked to; the rest is left for the next one.
    pub stopped: bool,
}

/// A redrive that is asked for.
pub struct Redriving<'a> {
    pub loaded: &'a Loaded,
    /// What the records go through: the pipeline itself, or the pipeline with other plugins.
    pub with: &'a Loaded,
    pub options: RunOptions,
    pub chosen: Chosen,
    pub stopping: &'a AtomicBool,
}

impl Redriving<'_> {
    /// Takes each shard over, and puts the chosen letters through it. `watch` is told how many records were redriven, and
    /// how many of them were rejected again.
    pub fn run(&self, watch: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        same_rows(&self.loaded.plan.graph, &self.with.plan.graph)?;
        let mut report = Report { pipeline: self.loaded.pipeline.name.clone(), ..Report::default() };
        for shard in layout::chosen(&self.loaded.pipeline, self.chosen.shard)? {
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            self.one_shard(shard, &mut report, watch)?;
        }
        report.stopped = self.stopping.load(Ordering::Relaxed);
        Ok(report)
    }

    fn one_shard(&self, id: ShardId, report: &mut Report, watch: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let Redriving { loaded, with, options, chosen, stopping } = self;
        let _inside = span(&loaded.pipeline, id).entered();
        let mut opened = open(loaded, id, options)?;
        let shard = &mut opened.shard;
        // Only now: opening has published what was committed.
        let records = choose(loaded, id, shard, chosen, report)?;
        let lists = lists(shard, records)?;
        let program = with.program()?;
        archive::put(&objects(&loaded.pipeline, id)?, &with.plan, &with.blobs)?;
        let source = planner(with, id, options, &with.plan, &shard.position, shard.watermark)?;
        let before = (report.redriven, report.rejected_again);
        let mut seen = |progress: &Progress<'_>| {
            let totals = progress.totals;
            watch(before.0 + totals.records, before.1 + totals.dead_letters + totals.skipped);
        };
        for list in &lists {
            let mut planner = source.redriven(&shard.position, list)?;
            shard.redrive(&program, &mut planner, list, stopping, &mut seen)?;
        }
        shard.checkpoint_now()?;
        let totals = &shard.totals;
        report.redriven += totals.records;
        report.rejected_again += totals.dead_letters + totals.skipped;
        report.epochs += totals.epochs;
        for (sink, rows) in &totals.rows_out {
            *report.rows_out.entry(sink.clone()).or_default() += rows;
        }
        Ok(())
    }
}

/// The pipeline goes on with its own plugins, so what reaches sinks and state must look as theirs does.
fn same_rows(graph: &Graph, with: &Graph) -> Result<()> {
    let refused = |what: String| {
        Error::new(Code::RedriveRefused, format!("{what} than by the pipeline's own plugin"))
            .with_help("put the plugin into the pipeline file and redrive with --accept-change")
    };
    for (one, other) in graph.steps.iter().zip(&with.steps) {
        if !one.key.is_empty() && one.tables != other.tables {
            return Err(refused(format!("step \"{}\" would keep state of another shape", one.id)));
        }
    }
    for (one, other) in graph.sinks.iter().zip(&with.sinks) {
        if (&one.schema, one.written) != (&other.schema, other.written) {
            return Err(refused("a sink would be given rows with other columns".to_owned()));
        }
    }
    Ok(())
}

/// The newest letters of a record at a step.
struct Newest {
    epoch: u64,
    letters: u32,
    chosen: bool,
}

fn choose(loaded: &Loaded, id: ShardId, shard: &Shard, chosen: &Chosen, report: &mut Report) -> Result<Vec<(Rejected, RedrivenLetter)>> {
    let mut newest: BTreeMap<Rejected, Newest> = BTreeMap::new();
    let mut too_many = false;
    letters(&loaded.pipeline, id.number(), &mut |letter| {
        let (Some(epoch), Some(offset)) = (letter["epoch"].as_u64(), letter["offset"].as_u64()) else { return true };
        let code = text(&letter, "code");
        let step = letter["step"].as_str().map(str::to_owned);
        let matches = chosen.epochs.contains(&epoch)
            && chosen.code.as_ref().is_none_or(|wanted| code.eq_ignore_ascii_case(wanted))
            && chosen.step.as_ref().is_none_or(|wanted| step.as_ref() == Some(wanted))
            && chosen.record.as_ref().is_none_or(|wanted| record(&letter) == *wanted);
        if NEVER_CHOSEN.iter().any(|never| code == never.name()) {
            if matches {
                *report.left_out.entry(code).or_default() += 1;
            }
            return true;
        }
        let key = Rejected { step, source: text(&letter, "source"), partition: text(&letter, "partition"), offset };
        let at = newest.entry(key).or_insert(Newest { epoch, letters: 0, chosen: false });
        if epoch > at.epoch {
            // A later rejection of the same record.
            *at = Newest { epoch, letters: 0, chosen: false };
        }
        if epoch == at.epoch {
            at.letters += 1;
            at.chosen |= matches;
        }
        too_many = newest.len() > RECORDS_MAX;
        !too_many
    })?;
    if too_many {
        return Err(Error::new(Code::RedriveRefused, format!("there are more than {RECORDS_MAX} dead letters"))
            .with_help("take them in parts: move older files of the dead letters elsewhere, redrive, and move them back"));
    }
    let wanted = newest.into_iter().filter(|(_, newest)| newest.chosen);
    let wanted: Vec<(Rejected, RedrivenLetter)> = wanted
        .map(|(key, newest)| {
            let letter = RedrivenLetter { offset: key.offset, epoch: newest.epoch, letters: newest.letters };
            (key, letter)
        })
        .collect();
    if chosen.again {
        return Ok(wanted);
    }
    let rejected: Vec<Rejected> = wanted.iter().map(|(key, _)| key.clone()).collect();
    let keys = mark_keys(&rejected);
    let marks = shard.state.get_many(REDRIVEN, 0, (0..keys.len()).map(|at| keys.get(at)))?;
    let mut left = Vec::with_capacity(wanted.len());
    for ((key, letter), mark) in wanted.into_iter().zip(marks) {
        match mark.as_deref().and_then(marked_epoch) {
            Some(epoch) if epoch >= letter.epoch => report.already += 1,
            _ => left.push((key, letter)),
        }
    }
    Ok(left)
}

/// One list for each step, in the order of the graph; undecodable records, which no step saw, come first.
fn lists(shard: &Shard, records: Vec<(Rejected, RedrivenLetter)>) -> Result<Vec<Redrive>> {
    let graph = &shard.program.graph;
    let mut by_step: BTreeMap<Option<usize>, BTreeMap<(u32, u32), Vec<RedrivenLetter>>> = BTreeMap::new();
    for (rejected, letter) in records {
        let refused = |what: String| {
            let message = format!(
                "{what}: source \"{}\", {}, offset {}, rejected in epoch {}",
                rejected.source, rejected.partition, rejected.offset, letter.epoch
            );
            Error::new(Code::RedriveRefused, message).with_help("choose other letters with --step, --code, --record and --epoch")
        };
        let step = match &rejected.step {
            None => None,
            Some(id) => Some(entry(graph, id).map_err(refused)?),
        };
        let source = shard.program.source_names.iter().position(|name| *name == rejected.source);
        let known = shard.position.partitions.iter().find(|partition| {
            Some(partition.source as usize) == source && partition.name == rejected.partition && rejected.offset < partition.offset
        });
        let known = known.ok_or_else(|| refused("the pipeline did not read this record".to_owned()))?;
        by_step.entry(step).or_default().entry((known.source, known.partition)).or_default().push(letter);
    }
    let list = |(step, partitions): (Option<usize>, BTreeMap<(u32, u32), Vec<RedrivenLetter>>)| Redrive {
        step: step.map(|step| graph.steps[step].id.clone()),
        partitions: partitions
            .into_iter()
            .map(|((source, partition), mut letters)| {
                letters.sort_by_key(|letter| letter.offset);
                RedrivenPartition { source, partition, letters }
            })
            .collect(),
    };
    Ok(by_step.into_iter().map(list).collect())
}

/// The step at which letters of it enter; why they cannot.
fn entry(graph: &Graph, id: &str) -> std::result::Result<usize, String> {
    let entry = graph.steps.iter().position(|step| step.id == *id);
    let entry = entry.ok_or_else(|| format!("the pipeline has no step \"{id}\" any more"))?;
    let mut before = graph.steps.iter().zip(parts(graph, entry)).filter(|(_, part)| *part == Part::Before);
    match before.find(|(step, _)| !step.key.is_empty()) {
        None => Ok(entry),
        Some((before, _)) => Err(format!(
            "step \"{}\" stands before step \"{id}\" and keeps state, which the record has changed already",
            before.id
        )),
    }
}
