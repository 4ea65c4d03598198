//! `segno test`: the plugin is built, its contract compared, every scenario run.
//!
//! Owns: the order, and the report. Does not own: what a scenario is (`scenario`), what a contract is (`contract`).

use super::language::Profile;
use super::contract::{self, Verdict as Contract};
use super::play::stops;
use super::project::Project;
use super::scenario::{self, Scenario, Verdict};
use super::{CONTRACT, SCENARIOS, failure};
use crate::cli::console::{Console, count, number, word};
use crate::cli::plugin::load;
use crate::cli::report::{self, Severity};
use crate::cli::{Failure, Outcome};
use crate::worker::load::cache_dir;
use segno_core::{Code, Error};
use segno_plugin::Engine;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct TestArgs {
    /// Folder of the plugin's project.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Record what the scenarios give, and the contract, as what is expected from now on.
    #[arg(long, env = "SEGNO_TEST_UPDATE", value_parser = clap::builder::BoolishValueParser::new())]
    update: bool,
    /// Only this scenario.
    #[arg(long, env = "SEGNO_SCENARIO", value_name = "NAME")]
    scenario: Option<String>,
    /// Of that scenario, run only the record at this offset of its input, and show what comes of it.
    #[arg(long, env = "SEGNO_RECORD", value_name = "OFFSET", requires = "scenario", conflicts_with = "update")]
    record: Option<u64>,
    /// Test this component, and build nothing.
    #[arg(long, env = "SEGNO_COMPONENT", value_name = "X.wasm")]
    component: Option<PathBuf>,
}

pub fn run(console: &Console, args: &TestArgs) -> Outcome {
    let (project, component) = match &args.component {
        Some(component) => (Project::open(&args.folder)?, std::path::absolute(component).unwrap_or_else(|_| component.clone())),
        None => {
            let project = Project::to_build(&args.folder)?;
            let built = project.made(Profile::Release, &project.component)?;
            (project, built.path)
        }
    };
    let description = load(&Engine::new(Some(&cache_dir()))?, &component)?.description;
    let scenarios = scenario::all(&project, args.scenario.as_deref())?;
    if let Some(record) = args.record {
        return one_record(console, args, &project, &component, &scenarios, record);
    }
    let mut failed: Vec<Error> = Vec::new();
    match contract::check(&project.folder, &description, args.update) {
        Ok(verdict) => tell_contract(console, &verdict),
        Err(error) => failed.push(error),
    }
    let (mut wrong, mut recordable) = (0, false);
    for scenario in &scenarios {
        match scenario.run(&project, &component, None, args.update) {
            Ok(verdict) => {
                wrong += usize::from(!verdict.differences.is_empty());
                recordable |= verdict.recordable && !verdict.differences.is_empty();
                report(console, args, scenario, &verdict);
            }
            // The others are run all the same.
            Err(Failure(errors)) => {
                wrong += 1;
                report_stopped(console, scenario, &errors);
            }
        }
    }
    if wrong > 0 {
        let all = count(scenarios.len() as u64, "scenario");
        failed.push(
            Error::new(Code::ScenarioFailed, format!("{wrong} of {all} failed")).with_help(if recordable {
                "mend the plugin; or, where the new result is right, record it with `segno test --update` and read the change"
            } else {
                "mend the plugin, or the scenario: this is nothing that could be recorded"
            }),
        );
    }
    if failed.is_empty() { Ok(0) } else { Err(Failure(failed)) }
}

fn tell_contract(console: &Console, verdict: &Contract) {
    match verdict {
        Contract::Recorded(broken) if broken.is_empty() => console.note(&format!("{CONTRACT} recorded")),
        Contract::Recorded(broken) => {
            console.note(&format!("{CONTRACT} recorded; this breaks whoever relied on it:"));
            broken.iter().for_each(|one| console.note(&format!("  {one}")));
        }
        Contract::Same => {}
        Contract::Additions(added) => {
            console.note(&format!("{CONTRACT} lacks what is new; `segno test --update` records it:"));
            added.iter().for_each(|one| console.note(&format!("  {one}")));
        }
        Contract::Missing => console.note(&format!("no {CONTRACT}: `segno test --update` records what others may rely on")),
    }
}

fn rows(verdict: &Verdict) -> u64 {
    let lines = verdict.played.lines.iter().filter(|(name, _)| !name.ends_with(".state"));
    lines.map(|(_, text)| text.lines().count() as u64).sum()
}

fn report(console: &Console, args: &TestArgs, scenario: &Scenario, verdict: &Verdict) {
    let passed = verdict.differences.is_empty();
    // Those that are meant to be there are no news.
    let failures: Vec<&Value> = if passed { Vec::new() } else { verdict.played.letters.iter().filter(|letter| failure::is_failure(letter)).collect() };
    let again = |letter: &Value| {
        format!("segno test {} --scenario {} --record {}", word(&args.folder), word(&scenario.name), letter["offset"])
    };
    let shown = json!({
        "scenario": scenario.name,
        "passed": passed,
        "records": verdict.played.records,
        "rows": rows(verdict),
        "dead_letters": verdict.played.letters.len(),
        "fuel_per_record": verdict.fuel_per_record,
        "differences": verdict.differences,
        "failures": failures.iter().map(|letter| failure::json(letter, &again(letter))).collect::<Vec<_>>(),
    });
    console.result(
        || {
            let mut text = format!(
                "{} {SCENARIOS}/{}: {}, {}, {}, {} of fuel for each record\n",
                if passed { "passed" } else { "FAILED" },
                scenario.name,
                count(verdict.played.records, "record"),
                count(rows(verdict), "row"),
                count(verdict.played.letters.len() as u64, "dead letter"),
                count(verdict.fuel_per_record, "unit"),
            );
            for part in verdict.differences.iter().cloned().chain(failures.iter().map(|letter| failure::describe(letter, &again(letter)))) {
                part.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
            text
        },
        &shown,
    );
}

/// A scenario whose run ended in an error.
fn report_stopped(console: &Console, scenario: &Scenario, errors: &[Error]) {
    let shown = json!({
        "scenario": scenario.name,
        "passed": false,
        "errors": errors.iter().map(|error| report::json(error, Severity::Error)).collect::<Vec<_>>(),
    });
    console.result(
        || {
            let mut text = format!("FAILED {SCENARIOS}/{}: it does not run to its end\n", scenario.name);
            for error in errors {
                report::plain(error, Severity::Error).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
            }
            text
        },
        &shown,
    );
}

/// Shows what comes of one record.
fn one_record(console: &Console, args: &TestArgs, project: &Project, component: &Path, scenarios: &[Scenario], record: u64) -> Outcome {
    let Some(scenario) = scenarios.first() else { return Ok(1) };
    let verdict = scenario.run(project, component, Some(record), false)?;
    let again = format!("segno test {} --scenario {} --record {record}", word(&args.folder), word(&scenario.name));
    let (text, shown) = show(&verdict.played, &|_| again.clone());
    console.result(|| format!("{text}{} of fuel\n", count(verdict.played.fuel, "unit")), &shown);
    Ok(u8::from(verdict.played.letters.iter().any(failure::is_failure)))
}

/// What a run gave: rows by port, dead letters, failures.
pub fn show(played: &super::play::Played, again: &dyn Fn(&Value) -> String) -> (String, Value) {
    let mut text = String::new();
    for (name, lines) in &played.lines {
        text.push_str(&format!("── {name} ({})\n{lines}", number(lines.lines().count() as u64)));
    }
    let rejected: Vec<&Value> = played.letters.iter().filter(|letter| !failure::is_failure(letter)).collect();
    let (stopping, kept): (Vec<&Value>, Vec<&Value>) = rejected.iter().copied().partition(|letter| stops(letter));
    for (title, letters) in [("dead letters", kept), ("rejected, and `segno run` stops at the first (on_error: fail)", stopping)] {
        if !letters.is_empty() {
            text.push_str(&format!("── {title} ({})\n", letters.len()));
            letters.iter().for_each(|letter| text.push_str(&format!("{}\n", failure::golden(letter))));
        }
    }
    let failures: Vec<&Value> = played.letters.iter().filter(|letter| failure::is_failure(letter)).collect();
    failures.iter().for_each(|letter| text.push_str(&failure::describe(letter, &again(letter))));
    let lines = |text: &String| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
    let shown = json!({
        "records": played.records,
        "fuel": played.fuel,
        "lines": played.lines.iter().map(|(name, text)| (name.clone(), json!(lines(text)))).collect::<serde_json::Map<_, _>>(),
        "rejected": rejected,
        "failures": failures.iter().map(|letter| failure::json(letter, &again(letter))).collect::<Vec<_>>(),
    });
    (text, shown)
}
