//! `segno replay`.

use super::console::{Console, count, number};
use super::pipeline::{placed, read};
use super::{Outcome, PipelineFile, Shard};
use crate::worker::layout;
use crate::worker::open::RunOptions;
use crate::worker::published::Published;
use crate::worker::replay::{From, Report, replay as replay_history};

#[derive(clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pipeline: PipelineFile,
    #[command(flatten)]
    shard: Shard,
    /// Where to start: `start`, or the number of a checkpoint.
    #[arg(long, env = "SEGNO_FROM", value_name = "CHECKPOINT|start", default_value = "start", value_parser = parse_from)]
    from: From,
    /// Compare every digest with the journal; a difference ends with exit code 1. Always on: a replay is a comparison.
    #[arg(long, env = "SEGNO_VERIFY", value_parser = clap::builder::BoolishValueParser::new())]
    verify: bool,
    /// Threads that run plugins; one for each core if not given.
    #[arg(long, env = "SEGNO_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "start" => Ok(From::Start),
        number => number
            .parse::<u64>()
            .ok()
            .filter(|number| *number > 0)
            .map(From::Checkpoint)
            .ok_or_else(|| "write start, or the number of a checkpoint (`segno checkpoint list` shows them)".to_owned()),
    }
}

pub fn replay(console: &Console, args: &ReplayArgs) -> Outcome {
    let pipeline = read(&args.pipeline.file)?;
    let options = RunOptions { threads: args.threads.map(usize::from), ..RunOptions::default() };
    let progress = console.progress();
    progress.set(|| "starting".to_owned());
    let mut identical = true;
    for pipeline in args.shard.stages(pipeline)? {
        for shard in layout::chosen(&pipeline, args.shard.shard)? {
            let report = replay_history(&pipeline, shard, args.from, &options, &mut |epochs, records| {
                progress.set(|| format!("{}, {} identical", count(epochs, "epoch"), count(records, "record")));
            })
            .map_err(|error| placed(&pipeline, error))?;
            identical &= report.identical;
            console.result(|| describe(&report), &report);
        }
    }
    Ok(u8::from(!identical))
}

fn describe(report: &Report) -> String {
    let stage = report.stage.as_ref().map_or(String::new(), |stage| format!("stage {stage}, "));
    let shard = report.shard.map_or(String::new(), |shard| format!("shard {shard}: "));
    stage + &shard + &describe_one(report)
}

fn describe_one(report: &Report) -> String {
    if report.epochs == 0 {
        return "nothing to execute again: no epoch follows this place\n".to_owned();
    }
    let range = format!("epochs {} to {}", number(report.first), number(report.last));
    let Some(difference) = &report.difference else {
        let executed = format!(
            "identical: {range}, {} in, {} out, executed again in {:.1} s\n",
            count(report.records, "record"),
            count(report.rows_out, "row"),
            report.seconds,
        );
        return executed + &describe_published(&report.published);
    };
    let mut text = format!("DIFFERENT: {}\n", difference.describe());
    if report.epochs > 1 {
        let before = difference.epoch.saturating_sub(1);
        text.push_str(&format!("  epochs {} to {} are identical\n", number(report.first), number(before)));
    }
    for field in &report.fields {
        text.push_str(&format!(
            "  {} line {}: {} was {}, replay gives {}\n",
            field.object, field.line, field.field, field.published, field.replayed
        ));
    }
    text.push_str(&format!("  `segno explain {}` tells what this can mean\n", difference.code().name()));
    text
}

fn describe_published(published: &Published) -> String {
    let mut text = String::new();
    if published.intact > 0 || published.gone > 0 {
        text.push_str(&format!("  {}: as written", count(published.intact, "published file")));
        if published.gone > 0 {
            text.push_str(&format!(", {} not there any more", number(published.gone)));
        }
        text.push('\n');
    }
    for changed in &published.changed {
        text.push_str(&format!(
            "CHANGED: {} (epoch {}) is not what was written: its SHA-256 was {}, and is {}\n",
            changed.file.display(),
            number(changed.epoch),
            changed.written,
            changed.found
        ));
    }
    if !published.changed.is_empty() {
        text.push_str("  somebody or something changed it after its publication: what Segno executes again is right; restore the file\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_is_the_start_or_a_checkpoint() {
        assert_eq!(parse_from("start"), Ok(From::Start));
        assert_eq!(parse_from("12"), Ok(From::Checkpoint(12)));
        assert!(parse_from("0").is_err() && parse_from("end").is_err() && parse_from("-1").is_err());
    }
}
