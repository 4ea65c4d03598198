//! `segno tap`: records on their way past a step of a running pipeline.
//!
//! Owns: asking again until there are enough, and how they are shown. Does not own: which are shown and what is hidden of them
//! (`shard::tap`), scenarios (`author::tapped`).

use super::author::tapped;
use super::console::{Console, count};
use super::pipeline::{read as read_pipeline, stage_of};
use super::run::stop_on_signals;
use super::{Outcome, PipelineFile};
use crate::observe::tap as ask;
use crate::shard::tap::{Passed, RECORDS_MAX};
use crate::worker::load::whole_work_dir;
use segno_core::{Code, Error};
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Records of one epoch when there is no end: nobody reads more in a second.
const AT_ONCE: usize = 10;
/// How often more are asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a wait looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub struct TapArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    /// The step.
    #[arg(value_name = "STEP")]
    step: String,
    /// End after so many records, spread over an epoch; 0: go on until Ctrl-C, with some of each second.
    #[arg(long, env = "SEGNO_LIMIT", value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Only this shard of a pipeline with sharding: by_partition; all that run on this machine if not given.
    #[arg(long, env = "SEGNO_SHARD", value_name = "N")]
    shard: Option<u32>,
    /// Make a scenario of this name of what reached the step, in the plugin's project, and record what comes of it.
    #[arg(long, env = "SEGNO_SAVE", value_name = "NAME")]
    save: Option<String>,
    /// Folder of that project.
    #[arg(long, env = "SEGNO_PROJECT", value_name = "DIR", default_value = ".", requires = "save")]
    project: PathBuf,
}

pub fn run(console: &Console, args: &TapArgs) -> Outcome {
    let mut pipeline = read_pipeline(&args.pipeline.file)?;
    let work_dir = whole_work_dir(&pipeline);
    let stage = stage_of(&mut pipeline, &args.step)?.name.clone();
    // Whatever is wrong there is said before anybody waits for records.
    let target = args.save.as_deref().map(|name| tapped::Target::find(&args.project, name)).transpose()?;
    let stopping = stop_on_signals()?;
    let mut inputs: Vec<Box<RawValue>> = Vec::new();
    let mut shown = 0;
    let mut was_there = false;
    while (args.limit == 0 || shown < args.limit) && !stopping.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let wanted = if args.limit == 0 { AT_ONCE } else { (args.limit - shown).min(RECORDS_MAX) };
        let Some(mut passed) = ask(&work_dir, &stage, args.shard, &args.step, wanted)? else {
            if was_there {
                console.note("the run ended");
                break;
            }
            return Err(not_running(&work_dir.display().to_string(), args).into());
        };
        if passed.is_empty() && !was_there {
            console.note("no record passes now; waiting for one, Ctrl-C ends");
        }
        was_there = true;
        // Several processes may have answered.
        passed.truncate(wanted);
        shown += passed.len();
        for one in passed {
            console.result(|| describe(&one), &one);
            inputs.extend(one.input);
        }
        if args.limit == 0 || shown < args.limit {
            rest(asked, &stopping);
        }
    }
    match target {
        Some(target) => target.save(console, &inputs),
        None => Ok(0),
    }
}

fn rest(asked: Instant, stopping: &AtomicBool) {
    while asked.elapsed() < INTERVAL && !stopping.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
    }
}

fn not_running(folder: &str, args: &TapArgs) -> Error {
    let what = match args.shard {
        Some(shard) => format!("no process in {folder} runs shard {shard}"),
        None => format!("nothing runs in {folder}"),
    };
    Error::new(Code::NotRunning, what).with_help("start the pipeline with `segno run`; on the machine where it runs, ask there")
}

fn describe(passed: &Passed) -> String {
    let time = passed.time_us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    let time = time.map_or(String::new(), |time| format!(", {time}"));
    let mut text = format!("{} {}, offset {}{time}\n", passed.source, passed.partition, passed.offset);
    let mut line = |what: &str, value: &str| text.push_str(&format!("  {what:<10} {value}\n"));
    passed.input.iter().for_each(|row| line("in", row.get()));
    for (port, rows) in &passed.output {
        rows.iter().for_each(|row| line(port, row.get()));
    }
    for rejection in &passed.rejected {
        line("rejected", &format!("[{}] {}", rejection.code, rejection.reason));
    }
    if passed.input.is_empty() && passed.output.is_empty() && passed.rejected.is_empty() {
        line("nothing", "came of it");
    }
    if passed.omitted > 0 {
        line("and", &format!("{} more", count(passed.omitted, "row")));
    }
    text
}
