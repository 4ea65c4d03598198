//! `segno dlq`: dead letters of a files sink, looked at and put through the pipeline again.
//!
//! Owns: arguments and words. Does not own: reading letters (`worker::letters`), the redrive (`worker::redrive`).

use super::console::{Console, count, number, printable, table, word};
use super::pipeline::{placed, read, stage_of, step_position};
use super::run::stop_on_signals;
use super::{Outcome, PipelineFile, Shard};
use crate::worker::tables::Databases;
use crate::worker::letters::{letters, record, text};
use crate::worker::load::{self, Loaded};
use crate::worker::open::RunOptions;
use crate::worker::redrive::{Chosen, Redriving, Report};
use segno_core::pipeline::Pipeline;
use segno_core::{Code, Error};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(clap::Subcommand)]
pub enum DlqCommand {
    /// Count dead letters by source, step and reason's code.
    List {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
    },
    /// Print dead letters with their reasons and original bytes.
    Show {
        #[command(flatten)]
        pipeline: PipelineFile,
        #[command(flatten)]
        shard: Shard,
        #[command(flatten)]
        which: Which,
        /// The most letters to print; 0 for all.
        #[arg(long, env = "SEGNO_LIMIT", default_value_t = 20)]
        limit: u64,
    },
    /// Put dead letters through the pipeline again, each once, from the step that rejected them. The pipeline must not run.
    Redrive(RedriveArgs),
}

#[derive(clap::Args)]
pub struct Which {
    /// Only letters with this code, as in D001.
    #[arg(long, env = "SEGNO_CODE")]
    code: Option<String>,
    /// Only letters of this step.
    #[arg(long, env = "SEGNO_STEP")]
    step: Option<String>,
    /// Only letters of this record, as `dlq show` names it: source/partition/offset.
    #[arg(long, env = "SEGNO_RECORD")]
    record: Option<String>,
}

#[derive(clap::Args)]
pub struct RedriveArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    #[command(flatten)]
    shard: Shard,
    #[command(flatten)]
    which: Which,
    /// Only letters of these epochs: N, N..M, N.. or ..M; both ends are included.
    #[arg(long, env = "SEGNO_EPOCH", value_name = "N..M", value_parser = parse_epochs)]
    epoch: Option<RangeInclusive<u64>>,
    /// Another plugin for a step, for these letters only; the pipeline keeps its own. May be given for several steps.
    #[arg(long, env = "SEGNO_WITH", value_name = "STEP=PLUGIN", value_parser = parse_with, value_delimiter = ',')]
    with: Vec<(String, PathBuf)>,
    /// Also letters that were redriven before: their rows may be written twice.
    #[arg(long, env = "SEGNO_AGAIN", value_parser = clap::builder::BoolishValueParser::new())]
    again: bool,
    /// Go on with changed plugins, configuration or graph; the change is recorded.
    #[arg(long, env = "SEGNO_ACCEPT_CHANGE", value_parser = clap::builder::BoolishValueParser::new())]
    accept_change: bool,
    /// Threads that run plugins; one for each core if not given. Output does not depend on it.
    #[arg(long, env = "SEGNO_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub fn run(console: &Console, command: DlqCommand) -> Outcome {
    match command {
        DlqCommand::List { pipeline, shard } => list(console, &pipeline, &shard),
        DlqCommand::Show { pipeline, shard, which: Which { code, step, record: one }, limit } => {
            let wanted = |letter: &Value| {
                code.as_ref().is_none_or(|code| text(letter, "code").eq_ignore_ascii_case(code))
                    && step.as_ref().is_none_or(|step| text(letter, "step") == *step)
                    && one.as_ref().is_none_or(|one| record(letter) == *one)
            };
            show(console, &pipeline, &shard, wanted, limit)
        }
        DlqCommand::Redrive(args) => again(console, args),
    }
}

fn parse_epochs(text: &str) -> Result<RangeInclusive<u64>, String> {
    let one = |text: &str, open: u64| if text.is_empty() { Some(open) } else { text.parse::<u64>().ok().filter(|epoch| *epoch > 0) };
    let range = match text.split_once("..") {
        Some((from, to)) => one(from, 1).zip(one(to, u64::MAX)),
        None => text.parse::<u64>().ok().filter(|epoch| *epoch > 0).map(|epoch| (epoch, epoch)),
    };
    let (from, to) = range.filter(|(from, to)| from <= to).ok_or("write an epoch, or a range such as 3..7, 3.. or ..7")?;
    Ok(from..=to)
}

fn parse_with(text: &str) -> Result<(String, PathBuf), String> {
    let (step, plugin) = text.split_once('=').filter(|(step, plugin)| !step.is_empty() && !plugin.is_empty()).ok_or("write STEP=PLUGIN.wasm")?;
    // As the shell sees it, and not from the folder of the pipeline file.
    let plugin = std::path::absolute(plugin).map_err(|error| error.to_string())?;
    Ok((step.to_owned(), plugin))
}

/// The pipeline with other plugins.
fn replaced(mut pipeline: Pipeline, with: &[(String, PathBuf)]) -> Result<Pipeline, Error> {
    for (id, plugin) in with {
        let stage = stage_of(&mut pipeline, id)?;
        let step = step_position(stage, id)?;
        stage.steps[step].plugin.clone_from(plugin);
    }
    Ok(pipeline)
}

fn again(console: &Console, args: RedriveArgs) -> Outcome {
    let stopping = stop_on_signals()?;
    let mut pipeline = read(&args.pipeline.file)?;
    let mut wanted: Vec<String> = args.shard.stages(pipeline.clone())?.into_iter().map(|stage| stage.name).collect();
    if let Some(step) = &args.which.step {
        let of_step = stage_of(&mut pipeline, step)?.name.clone();
        wanted.retain(|name| *name == of_step);
    }
    let with = match args.with.is_empty() {
        true => None,
        false => Some(load::load(replaced(pipeline.clone(), &args.with)?, Databases::default())?),
    };
    let stages = load::load(pipeline, Databases::default())?;
    let mut found = 0;
    for (number, loaded) in stages.iter().enumerate().filter(|(_, loaded)| wanted.contains(&loaded.pipeline.name)) {
        let with = with.as_ref().map_or(loaded, |with| &with[number]);
        let report = redrive(console, &args, loaded, with, &stopping)?;
        found += report.redriven + report.already + report.left_out.values().sum::<u64>();
    }
    match &args.which.record {
        Some(record) if found == 0 => Err(Error::new(Code::NoSuchRecord, format!("no dead letter is of record {record}"))
            .with_help("`segno dlq show` names the record of each")
            .into()),
        _ => Ok(0),
    }
}

fn redrive(console: &Console, args: &RedriveArgs, loaded: &Loaded, with: &Loaded, stopping: &Arc<AtomicBool>) -> Result<Report, super::Failure> {
    let redriving = Redriving {
        loaded,
        with,
        options: RunOptions {
            accept_change: args.accept_change,
            threads: args.threads.map(usize::from),
            ..RunOptions::default()
        },
        chosen: Chosen {
            shard: args.shard.shard,
            step: args.which.step.clone(),
            code: args.which.code.clone(),
            record: args.which.record.clone(),
            epochs: args.epoch.clone().unwrap_or(0..=u64::MAX),
            again: args.again,
        },
        stopping,
    };
    let progress = console.progress();
    progress.set(|| "starting".to_owned());
    let report = redriving
        .run(&mut |records, rejected| {
            progress.set(|| format!("{} redriven, {} rejected again", count(records, "record"), number(rejected)));
        })
        .map_err(|error| placed(&loaded.pipeline, error))?;
    drop(progress);
    console.result(|| describe_redrive(&report), &report);
    Ok(report)
}

/// Hands over the letters of every stage that is asked for, until `visit` says false.
fn of_stages(pipeline: Pipeline, shard: &Shard, visit: &mut dyn FnMut(Value) -> bool) -> Result<(), Error> {
    let mut more = true;
    for stage in shard.stages(pipeline)? {
        if more {
            letters(&stage, shard.shard, &mut |letter| {
                more = visit(letter);
                more
            })?;
        }
    }
    Ok(())
}

fn describe_redrive(report: &Report) -> String {
    let mut text = match report.redriven {
        0 => format!("{}: no dead letter to redrive\n", report.pipeline),
        records => {
            let records = count(records, "record");
            format!("{}: {records} redriven, {} rejected again\n", report.pipeline, number(report.rejected_again))
        },
    };
    for (sink, rows) in &report.rows_out {
        text.push_str(&format!("  wrote         {} to {sink}\n", count(*rows, "row")));
    }
    if report.already > 0 {
        text.push_str(&format!("  left out      {} that were redriven before; --again takes them too\n", number(report.already)));
    }
    for (code, letters) in &report.left_out {
        text.push_str(&format!("  left out      {} with {code}, parts of which were taken\n", number(*letters)));
    }
    if report.stopped {
        text.push_str("  stopped       the same command goes on with the rest\n");
    }
    text
}

fn list(console: &Console, pipeline: &PipelineFile, shard: &Shard) -> Outcome {
    let pipeline = read(&pipeline.file)?;
    let mut groups: BTreeMap<(String, String, String), (u64, String)> = BTreeMap::new();
    of_stages(pipeline, shard, &mut |letter| {
        let group = (text(&letter, "code"), text(&letter, "step"), text(&letter, "source"));
        let entry = groups.entry(group).or_insert_with(|| (0, text(&letter, "reason")));
        entry.0 += 1;
        true
    })?;
    if console.is_json() {
        for ((code, step, source), (count, example)) in &groups {
            let step = (step != "-").then_some(step);
            console.json(&json!({"code": code, "step": step, "source": source, "count": count, "example": example}));
        }
        return Ok(0);
    }
    if groups.is_empty() {
        console.note("no dead letters");
        return Ok(0);
    }
    let mut rows = vec![["COUNT", "CODE", "STEP", "SOURCE", "FOR EXAMPLE"].map(str::to_owned).to_vec()];
    for ((code, step, source), (count, example)) in groups {
        rows.push(vec![number(count), code, step, source, one_line(&example)]);
    }
    console.bytes(table(&rows).as_bytes());
    Ok(0)
}

/// A reason may be of several lines, and of anything.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn show(
    console: &Console,
    pipeline: &PipelineFile,
    shard: &Shard,
    wanted: impl Fn(&Value) -> bool,
    limit: u64,
) -> Outcome {
    let again = format!("segno dlq redrive {} --record ", word(&pipeline.file));
    let pipeline = read(&pipeline.file)?;
    let mut shown = 0;
    let mut more = false;
    of_stages(pipeline, shard, &mut |letter| {
        if !wanted(&letter) {
            return true;
        }
        if limit > 0 && shown == limit {
            more = true;
            return false;
        }
        shown += 1;
        let mut with_id = letter.clone();
        with_id["record"] = json!(record(&letter));
        console.result(|| describe(&letter, &again), &with_id);
        true
    })?;
    if more {
        console.note(&format!("more than {}; --limit 0 prints all", number(limit)));
    } else if shown == 0 {
        console.note("no dead letters");
    }
    Ok(0)
}

/// `again` is the command that puts a record through the pipeline once more, but for the record.
fn describe(letter: &Value, again: &str) -> String {
    let reason: Vec<String> = text(letter, "reason").lines().map(printable).collect();
    let mut head = format!("[{}] {}\n", text(letter, "code"), reason.join("\n  "));
    head.push_str(&format!(
        "  from   {} {} at offset {}, epoch {}\n",
        text(letter, "source"),
        text(letter, "partition"),
        text(letter, "offset"),
        text(letter, "epoch"),
    ));
    head.push_str(&format!("  record {}\n", record(letter)));
    if !letter["step"].is_null() {
        head.push_str(&format!("  step   {}\n", text(letter, "step")));
    }
    if !letter["time"].is_null() {
        head.push_str(&format!("  time   {}\n", text(letter, "time")));
    }
    match (&letter["value"], &letter["value_base64"]) {
        (Value::Null, Value::Null) => {}
        (Value::String(value), _) => head.push_str(&format!("  bytes  {}\n", printable(value))),
        (_, base64) => head.push_str(&format!("  bytes  not UTF-8; base64 {}\n", base64.as_str().unwrap_or_default())),
    }
    head.push_str(&format!("  again  {again}{}\n", word(record(letter))));
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_one_or_a_range() {
        assert_eq!(parse_epochs("3"), Ok(3..=3));
        assert_eq!(parse_epochs("3..7"), Ok(3..=7));
        assert_eq!(parse_epochs("3.."), Ok(3..=u64::MAX));
        assert_eq!(parse_epochs("..7"), Ok(1..=7));
        for wrong in ["", "0", "7..3", "a", "1..b", "-1"] {
            assert!(parse_epochs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plugin_is_given_to_a_step_by_name() {
        let (step, plugin) = parse_with("clean=mended.wasm").unwrap();
        assert_eq!(step, "clean");
        assert!(plugin.is_absolute() && plugin.ends_with("mended.wasm"));
        for wrong in ["clean", "=a.wasm", "clean="] {
            assert!(parse_with(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reason_of_several_lines_is_one_row() {
        assert_eq!(one_line("no such key\n  at line 2\tof\u{1b} it"), "no such key at line 2 of it");
    }

    #[test]
    fn control_characters_of_a_bad_record_are_not_printed() {
        let shown = describe(&json!({"code": "D001", "reason": "r\u{1b}[2J", "value": "a\u{1b}[2Jb"}), "x ");
        assert!(!shown.contains('\u{1b}') && shown.contains("b"), "{shown}");
    }
}
