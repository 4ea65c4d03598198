//! `segno run`.
//!
//! Owns: signals, progress, the summary. The first SIGINT or SIGTERM stops after the epoch; the second one at once,
//! which loses nothing either.

use super::console::{Console, count, number, size};
use super::pipeline::{at_store, check_sources, placed, read_and_warn};
use super::{Outcome, PipelineFile};
use crate::shard::Totals;
use crate::worker::load::{self, Loaded};
use crate::observe::{Server, Shards};
use crate::shard::stop::Stop;
use crate::worker::layout;
use crate::worker::open::{RunOptions, folder};
use crate::worker::refresh::Refresh;
use crate::worker::tables::Databases;
use crate::worker::run::{Summary, run as run_shard};
use crate::worker::several::Several;
use crate::worker::stages::{check_topic, run_stages};
use segno_core::pipeline::{Sharding, SinkKind};
use segno_core::shard::ShardId;
use segno_core::{Code, Error};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a shell reports for a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    /// Take the pipeline over from another process, which commits nothing more.
    #[arg(long, env = "SEGNO_TAKE_OVER", value_parser = clap::builder::BoolishValueParser::new())]
    take_over: bool,
    /// Go on with changed plugins, configuration or graph; the change is recorded.
    #[arg(long, env = "SEGNO_ACCEPT_CHANGE", value_parser = clap::builder::BoolishValueParser::new())]
    accept_change: bool,
    /// Go on although records are gone that were never read: at the first that is left. The loss is recorded.
    #[arg(long, env = "SEGNO_ACCEPT_DATA_LOSS", value_parser = clap::builder::BoolishValueParser::new())]
    accept_data_loss: bool,
    /// Let windows through in which a step rejects more than its `expect` allows: what would have stopped warns.
    #[arg(long, env = "SEGNO_ACCEPT_REJECTS", value_parser = clap::builder::BoolishValueParser::new())]
    accept_rejects: bool,
    /// Threads that run plugins; one for each core if not given. Output does not depend on it.
    #[arg(long, env = "SEGNO_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Serve /metrics, /status and /health on this TCP address, such as 127.0.0.1:9464.
    #[arg(long, env = "SEGNO_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub fn run(console: &Console, args: RunArgs) -> Outcome {
    let stopping = stop_on_signals()?;
    let pipeline = read_and_warn(console, &args.pipeline.file)?;
    let stages = load::load(pipeline, Databases::default())?;
    let Some(first) = stages.first() else { return Ok(0) };
    let sinks = |loaded: &Loaded| loaded.pipeline.sinks.clone().into_iter().chain(loaded.pipeline.dlq.clone());
    let rows_on_stdout = stages.iter().flat_map(sinks).any(|sink| matches!(sink.kind, SinkKind::Stdout { .. }));
    let mut sizes = Vec::new();
    for loaded in &stages {
        check_topic(&loaded.pipeline, true).map_err(|error| placed(&loaded.pipeline, error))?;
        check_sources(loaded, false)?;
        sizes.push(layout::wanted(loaded).map_err(|error| placed(&loaded.pipeline, error))?.len() as u32);
    }
    // A store that cannot even be opened now is a mistake, not a failure that passes.
    folder(&first.pipeline, segno_durable::layout::FOLDER).map_err(|error| at_store(&first.pipeline, error))?;
    let options = RunOptions {
        take_over: args.take_over,
        accept_change: args.accept_change,
        accept_data_loss: args.accept_data_loss,
        accept_rejects: args.accept_rejects,
        threads: args.threads.map(usize::from),
    };
    let seen = Shards::new(&first.pipeline.tenant);
    let several = first.pipeline.sharding == Sharding::ByPartition;
    let server = Server::start(Arc::clone(&seen), &first.work_dir, args.listen, args.take_over, several)?;
    if let Some(address) = server.address {
        console.note(&format!("metrics and status: http://{address}/metrics, http://{address}/status"));
    }
    let progress = console.progress();
    progress.set(|| "starting".to_owned());
    let started = Instant::now();
    let show = |totals: &Totals| progress.set(|| progress_line(totals, started, stopping.load(Ordering::Relaxed)));
    let refresh = stages.iter().map(|loaded| Refresh::start(loaded, &seen.refreshes)).collect::<Result<Vec<_>, _>>()?;
    let (text, json) = if several {
        let runs = run_stages(&stages, &sizes, &options, &stopping, &seen, &show).map_err(|errors| {
            let place = |(stage, error): (usize, Error)| placed(&stages[stage].pipeline, error);
            errors.into_iter().map(place).collect::<Vec<Error>>()
        })?;
        let text = runs.iter().map(describe_several).collect();
        // One stage is shown as it was before there were several.
        let json = match runs.as_slice() {
            [only] if stages.len() == 1 => serde_json::json!(only),
            runs => serde_json::json!({"stages": runs}),
        };
        (text, json)
    } else {
        let stop = Stop::new(Arc::clone(&stopping));
        let observed = seen.begin(&first.pipeline.name, ShardId::Single);
        let run = run_shard(first, ShardId::Single, &options, &stop, &observed, &mut |totals| show(totals));
        let run = run.map_err(|error| placed(&first.pipeline, error))?;
        (describe(&run), serde_json::json!(run))
    };
    drop(refresh);
    drop(progress);
    if rows_on_stdout {
        // Standard output belongs to the rows.
        if !console.is_quiet() {
            eprint!("{}", if console.is_json() { json.to_string() + "\n" } else { text });
        }
    } else {
        console.result(|| text, &json);
    }
    Ok(0)
}

pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Error> {
    let failed = |error: std::io::Error| Error::new(Code::Internal, "signals cannot be handled").with_cause(error);
    let stopping = Arc::new(AtomicBool::new(false));
    // SIGINT last: whoever sees that it is caught may send a SIGTERM, and tests do.
    for signal in [SIGTERM, SIGINT] {
        // In this order: the second signal finds the flag set and ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&stopping)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&stopping)).map_err(failed)?;
    }
    Ok(stopping)
}

fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 }
}

fn progress_line(totals: &Totals, started: Instant, stopping: bool) -> String {
    let seconds = started.elapsed().as_secs_f64();
    let rows: u64 = totals.rows_out.values().sum();
    let mut line = format!(
        "{} ({}/s), {}, {}, epoch {}",
        count(totals.records, "record"),
        number(rate(totals.records, seconds)),
        count(rows, "row"),
        count(totals.dead_letters, "dead letter"),
        number(totals.epochs),
    );
    if stopping {
        line.push_str(", stopping");
    }
    line
}

fn describe(summary: &Summary) -> String {
    let totals = &summary.totals;
    let mut text = head(&summary.pipeline, summary.stopped, summary.seconds, totals);
    if totals.epochs == 0 && summary.epoch > 0 && !summary.stopped {
        text.push_str("  nothing new   earlier runs read the input to its end\n");
    }
    text.push_str(&written(totals));
    text.push_str(&format!(
        "  epochs        {} committed, {} executed again at the start; the last is {}\n",
        number(totals.epochs),
        number(totals.reexecuted),
        number(summary.epoch),
    ));
    text.push_str(&tail(totals, summary.restarts));
    text
}

fn describe_several(run: &Several) -> String {
    let totals = &run.totals;
    let mut text = head(&run.pipeline, run.stopped, run.seconds, totals);
    text.push_str(&format!("  shards        {} at the end\n", number(run.shards.len() as u64)));
    text.push_str(&written(totals));
    text.push_str(&format!(
        "  epochs        {} committed, {} executed again\n",
        number(totals.epochs),
        number(totals.reexecuted)
    ));
    text.push_str(&tail(totals, run.shards.values().map(|summary| summary.restarts).sum()));
    text
}

fn head(pipeline: &str, stopped: bool, seconds: f64, totals: &Totals) -> String {
    let how = if stopped { "stopped" } else { "finished" };
    format!(
        "{pipeline} {how} after {seconds:.1} s\n  read          {}, {} ({}/s)\n",
        count(totals.records, "record"),
        size(totals.bytes),
        count(rate(totals.records, seconds), "record"),
    )
}

fn written(totals: &Totals) -> String {
    let mut text = String::new();
    for (sink, rows) in &totals.rows_out {
        text.push_str(&format!("  wrote         {} to {sink}\n", count(*rows, "row")));
    }
    if totals.dead_letters > 0 || totals.skipped > 0 {
        text.push_str(&format!("  dead letters  {}, skipped {}\n", number(totals.dead_letters), number(totals.skipped)));
    }
    for (step, broken) in &totals.broken_expectations {
        text.push_str(&format!("  expectations  {} of step {step} broken\n", number(*broken)));
    }
    if totals.lost > 0 {
        text.push_str(&format!("  lost          {} gone before they were read\n", count(totals.lost, "offset")));
    }
    text
}

fn tail(totals: &Totals, restarts: u32) -> String {
    let mut text = format!("  checkpoints   {}\n", number(totals.checkpoints));
    if restarts > 0 {
        text.push_str(&format!("  restarts      {}\n", number(restarts.into())));
    }
    for (counter, value) in &totals.counters {
        text.push_str(&format!("  counter       {counter} = {}\n", number(*value)));
    }
    text
}
