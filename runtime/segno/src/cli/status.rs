//! `segno status` and `segno top`: what a running pipeline is doing.
//!
//! Owns: how it is shown. Does not own: what is known (`observe`).

use super::console::{Console, count, number, size};
use super::pipeline::read as read_pipeline;
use super::{Outcome, PipelineFile, Shard};
use crate::shard::now_ms;
use crate::observe::{Status, ask};
use crate::worker::load::whole_work_dir;
use segno_core::pipeline::Pipeline;
use segno_core::protocol::time::END;
use segno_core::{Code, Error, Result};
use std::io::IsTerminal;
use std::time::Duration;

/// How often `top` draws.
const TOP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    #[command(flatten)]
    shard: Shard,
}

#[derive(clap::Args)]
pub struct TopArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    #[command(flatten)]
    shard: Shard,
    /// Draw so many times, then end; for ever if not given.
    #[arg(long, env = "SEGNO_TOP_COUNT", value_name = "N")]
    count: Option<u64>,
}

pub fn status(console: &Console, args: &StatusArgs) -> Outcome {
    let pipeline = read_pipeline(&args.pipeline.file)?;
    for status in read(&pipeline, &args.shard)? {
        console.result(|| describe(&status, None), &status);
    }
    Ok(0)
}

pub fn top(console: &Console, args: &TopArgs) -> Outcome {
    let pipeline = read_pipeline(&args.pipeline.file)?;
    let mut before: Option<Vec<Status>> = None;
    let mut drawn = 0;
    loop {
        let statuses = match read(&pipeline, &args.shard) {
            // It was there: then this is how the run ended.
            Err(error) if before.is_some() && error.code() == Code::NotRunning => return Ok(0),
            other => other?,
        };
        if !console.is_json() && std::io::stdout().is_terminal() {
            console.bytes(b"\x1b[H\x1b[2J");
        }
        for status in &statuses {
            let of = |status: &Status| (status.pipeline.clone(), status.shard.clone(), status.process);
            let last = before.iter().flatten().find(|last| of(last) == of(status));
            console.result(|| describe(status, last), status);
        }
        drawn += 1;
        if args.count.is_some_and(|count| drawn >= count) {
            return Ok(0);
        }
        before = Some(statuses);
        std::thread::sleep(TOP_INTERVAL);
    }
}

/// What the processes of this machine run of the pipeline, or of one shard.
fn read(pipeline: &Pipeline, shard: &Shard) -> Result<Vec<Status>> {
    let work_dir = whole_work_dir(pipeline);
    let names: Vec<String> = shard.stages(pipeline.clone())?.into_iter().map(|stage| stage.name).collect();
    let not_running = |what: String| {
        Error::new(Code::NotRunning, what)
            .with_help("start the pipeline with `segno run`; on the machine where it runs, ask there")
    };
    let mut found = ask(&work_dir)?.ok_or_else(|| not_running(format!("nothing runs in {}", work_dir.display())))?;
    found.retain(|status| names.contains(&status.pipeline));
    let Some(number) = shard.shard else { return Ok(found) };
    let wanted: Vec<Status> = found.into_iter().filter(|status| status.shard == number.to_string()).collect();
    match wanted.is_empty() {
        true => Err(not_running(format!("no process in {} runs shard {number}", work_dir.display()))),
        false => Ok(wanted),
    }
}

fn describe(status: &Status, before: Option<&Status>) -> String {
    let time = |us: i64| jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string());
    let mut text = format!(
        "{}/{}/{}  {}  process {}, generation {}, epoch {}\n",
        status.tenant,
        status.pipeline,
        status.shard,
        status.health.name(),
        status.process,
        status.generation,
        number(status.epoch)
    );
    if let Some(problem) = &status.problem {
        text.push_str(&format!("  problem      {problem}\n"));
    }
    if let (Some(what), Some(since)) = (&status.waits_for, status.waits_since_ms) {
        let seconds = (now_ms() - since).max(0) as f64 / 1e3;
        text.push_str(&format!("  waits for    {what}, {seconds:.1} s\n"));
    }
    let rate = before.map_or(String::new(), |before| {
        let per_second = status.records.saturating_sub(before.records) as f64 / TOP_INTERVAL.as_secs_f64();
        format!(" ({}/s)", number(per_second as u64))
    });
    text.push_str(&format!("  read         {}{rate}, {}\n", count(status.records, "record"), size(status.bytes)));
    for (name, sink) in &status.sinks {
        let mark = sink.mark.map_or(String::new(), |mark| format!(", holds epoch {}", number(mark)));
        text.push_str(&format!("  sink         {name}: {}{mark}\n", count(sink.rows, "row")));
    }
    for (name, version) in &status.tables {
        let digest = version.sha256.get(..12).unwrap_or_default();
        text.push_str(&format!(
            "  side table   {name}: {} rows, {digest}, read at {}\n",
            number(version.rows),
            time(version.read_at_ms * 1_000)
        ));
    }
    if let Some(problem) = &status.refresh_problem {
        text.push_str(&format!("  refresh      failed {} times in a row: {problem}\n", number(status.failed_refreshes)));
    }
    text.push_str(&format!("  dead letters {}, skipped {}\n", number(status.dead_letters), number(status.skipped)));
    for (step, broken) in &status.broken_expectations {
        text.push_str(&format!("  expectations {} of step {step} broken\n", number(*broken)));
    }
    if let Some(watermark) = status.watermark_us {
        let at = if watermark == END { "the end of the input".to_owned() } else { time(watermark) };
        text.push_str(&format!("  watermark    {at}\n"));
    }
    for (step, timers) in &status.timers {
        text.push_str(&format!("  timers       {} of step {step} fired\n", number(*timers)));
    }
    for (name, count) in &status.counters {
        text.push_str(&format!("  counter      {name}: {}\n", number(*count)));
    }
    for partition in &status.partitions {
        let lag = partition.lag.map_or(String::new(), |lag| format!(", {} behind", number(lag)));
        text.push_str(&format!("  partition    {} at {}{lag}\n", partition.name, partition.offset));
    }
    let made = status.checkpoint_at_ms.map_or("none by this process".to_owned(), |at| {
        format!("epoch {} at {}, {}", number(status.checkpoint_epoch), time(at * 1_000), size(status.checkpoint_bytes))
    });
    text.push_str(&format!(
        "  checkpoint   {made}; {:.1} s to execute again after a crash\n",
        status.replay_debt_ms as f64 / 1e3
    ));
    text.push_str(&format!("  state        {}\n", size(status.state_bytes)));
    if status.restarts > 0 {
        text.push_str(&format!("  restarts     {}\n", number(status.restarts.into())));
    }
    text
}
