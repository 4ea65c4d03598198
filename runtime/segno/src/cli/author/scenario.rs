//! A scenario: a folder with input and what must come of it.
//!
//! - `input.EXT`: for a pipeline with several sources, one `NAME.EXT` for each that it replaces
//! - `scenario.yaml`, if there is need: `config` laid over the step's, `fuel_per_record`
//! - `expected/STEP.PORT.jsonl`, `expected/STEP.TABLE.state.jsonl`, `expected/dead-letters.jsonl`: no file, no line
//!
//! Owns: reading these, comparing, and writing `expected` anew. Does not own: running (`play`).
//!
//! Invariant: a scenario without `expected` fails; it is recorded by intent.

use super::play::{Play, Played};
use super::project::Project;
use super::{EXPECTED, SCENARIO, SCENARIOS, failure};
use crate::cli::Failure;
use segno_core::pipeline::Pipeline;
use segno_core::{Code, Error, Place, Result};
use serde::Deserialize;
use serde_json::Value;
use similar::TextDiff;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of one call in the runs that are compared: as in production, and the least that a plugin can remember something in.
const BATCH_ROWS: [u32; 2] = [segno_core::pipeline::BATCH_ROWS_DEFAULT, 1];
/// Lines around a difference.
const CONTEXT_LINES: usize = 2;
const DEAD_LETTERS: &str = "dead-letters";

/// `scenario.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    config: Value,
    fuel_per_record: Option<u64>,
}

pub struct Scenario {
    pub name: String,
    folder: PathBuf,
    /// An error of one scenario does not keep the others from running.
    given: Result<Given>,
}

/// What a scenario brings in.
#[derive(Clone)]
pub struct Given {
    /// The file of each source.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Laid over the configuration.
    pub config: Value,
    fuel_per_record: Option<u64>,
}

/// What came of a scenario.
pub struct Verdict {
    pub played: Played,
    pub fuel_per_record: u64,
    /// In words, each of one or several lines.
    pub differences: Vec<String>,
    /// The result differs from what was recorded, and from nothing else.
    pub recordable: bool,
}

fn unfit(folder: &Path, message: impl Into<String>, help: &str) -> Error {
    Error::new(Code::ScenarioUnfit, message).with_help(help).with_place(Place::file(folder))
}

/// Every scenario of a project, or the one that is named.
pub fn all(project: &Project, only: Option<&str>) -> std::result::Result<Vec<Scenario>, Failure> {
    let root = project.folder.join(SCENARIOS);
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    if let Some(only) = only {
        folders.retain(|folder| folder.file_name().is_some_and(|name| name == only));
    }
    if folders.is_empty() {
        let what = only.map_or("the project has no scenario".to_owned(), |only| format!("the project has no scenario \"{only}\""));
        return Err(unfit(&root, what, "make a folder in scenarios/ with an input.jsonl, then run `segno test --update`").into());
    }
    let pipeline = project.pipeline()?;
    let scenario = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Scenario { name, given: Given::read(&folder, &pipeline), folder }
    };
    Ok(folders.into_iter().map(scenario).collect())
}

impl Given {
    fn read(folder: &Path, pipeline: &Pipeline) -> Result<Given> {
        let file = folder.join(SCENARIO);
        let Settings { config, fuel_per_record } = match std::fs::read_to_string(&file) {
            Ok(text) if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) => Settings::default(),
            Ok(text) => serde_saphyr::from_str(&text).map_err(|error| {
                unfit(&file, "the scenario's settings cannot be read", "it may have `config`, a map, and `fuel_per_record`, a number")
                    .with_cause(error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: "))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(error) => return Err(unfit(&file, "the scenario's settings cannot be read", "is it UTF-8 text?").with_cause(error)),
        };
        let mut inputs = BTreeMap::new();
        let names: Vec<&str> = pipeline.sources.iter().map(|source| source.spec.name()).collect();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.is_file()) else { continue };
            let source = match stem {
                "input" if names.len() == 1 => names[0],
                name => match names.iter().find(|one| **one == name) {
                    Some(name) => name,
                    None => continue,
                },
            };
            inputs.insert(source.to_owned(), path);
        }
        if inputs.is_empty() {
            let help = format!("put its records into input.jsonl; with several sources, a file for each by its name: {}", names.join(", "));
            return Err(unfit(folder, "the scenario has no input", &help));
        }
        Ok(Given { inputs, config, fuel_per_record })
    }
}

impl Scenario {
    pub fn given(&self) -> Result<&Given> {
        self.given.as_ref().map_err(Error::clone)
    }

    /// Runs the scenario with calls of both sizes and compares. With `only`, just this record, once, compared with nothing.
    pub fn run(&self, project: &Project, component: &Path, only: Option<u64>, update: bool) -> std::result::Result<Verdict, Failure> {
        let given = self.given()?;
        let play = |batch_rows| {
            let play = Play { project, component, inputs: given.inputs.clone(), only, config: given.config.clone(), batch_rows };
            play.run().map_err(|Failure(errors)| Failure(errors.into_iter().map(|error| self.own(given, error)).collect()))
        };
        let played = play(BATCH_ROWS[0])?;
        let fuel_per_record = played.fuel.div_ceil(played.records.max(1));
        let mut differences = Vec::new();
        let mut recordable = true;
        if only.is_none() {
            let [large, small] = BATCH_ROWS;
            let again = play(small)?;
            let (first, second) = (golden(&played), golden(&again));
            if first != second {
                recordable = false;
                let names = (format!("calls of {large} records"), format!("calls of {small} record"));
                let changed = compare(&first, &second, &names.0, &names.1).join("");
                differences.push(format!(
                    "[{}] calls of {large} records and of {small} give different results: {}\n{changed}",
                    Code::HiddenMemory.name(),
                    hidden(component)
                ));
            } else if update {
                self.record(&first)?;
            } else {
                differences.extend(self.compare(&first)?);
            }
        }
        if let Some(budget) = given.fuel_per_record
            && fuel_per_record > budget
            && only.is_none()
        {
            recordable = false;
            differences.push(format!(
                "a record costs {fuel_per_record} units of fuel on average; {budget} are allowed (fuel_per_record in {SCENARIO})\n"
            ));
        }
        Ok(Verdict { played, fuel_per_record, differences, recordable })
    }

    /// What the scenario brings in is wrong in its own files, not in the pipeline's.
    fn own(&self, given: &Given, error: Error) -> Error {
        match error.code() {
            Code::PluginConfiguration if !given.config.is_null() => error.with_place(Place::file(self.folder.join(SCENARIO))),
            Code::SourceEmpty => error.with_help("an input of a scenario has at least one record").with_place(Place::file(&self.folder)),
            Code::SourceFormat => error.with_place(Place::file(&self.folder)),
            // Nothing runs that could go on with the mended plugin.
            Code::TimerFailed => error
                .with_help("mend the plugin: what its timer finds is what the records before it left")
                .with_place(Place::file(&self.folder)),
            _ => error,
        }
    }

    fn compare(&self, found: &BTreeMap<String, String>) -> Result<Vec<String>> {
        let folder = self.folder.join(EXPECTED);
        if !folder.is_dir() {
            return Ok(vec!["nothing is expected yet: read what it gives, then record it with `segno test --update`\n".to_owned()]);
        }
        let mut expected = BTreeMap::new();
        for path in recorded(&folder) {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Error::new(Code::FileUnreadable, format!("{} cannot be read", path.display())).with_cause(error))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !text.is_empty() {
                expected.insert(name, text);
            }
        }
        Ok(compare(&expected, found, EXPECTED, "found"))
    }

    /// Writes what is expected from now on.
    fn record(&self, found: &BTreeMap<String, String>) -> Result<()> {
        let folder = self.folder.join(EXPECTED);
        let failed = |error: std::io::Error| {
            Error::new(Code::ProjectUnwritable, format!("{} cannot be written", folder.display())).with_cause(error)
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for path in recorded(&folder) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        for (name, text) in found {
            std::fs::write(folder.join(format!("{name}.jsonl")), text).map_err(failed)?;
        }
        Ok(())
    }
}

/// What a plugin whose results depend on the size of calls has that it should not have.
fn hidden(component: &Path) -> &'static str {
    let inspection = std::fs::read(component).ok().and_then(|bytes| segno_plugin::admission::inspect(&bytes).ok());
    inspection.and_then(|inspection| inspection.warning()).unwrap_or("the plugin remembers something that is no keyed state")
}

/// The golden files of a folder.
fn recorded(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect()
}

/// Everything that is compared, by the name of its file.
pub fn golden(played: &Played) -> BTreeMap<String, String> {
    let mut all = played.lines.clone();
    if !played.letters.is_empty() {
        let letters = played.letters.iter().map(|letter| failure::golden(letter) + "\n").collect();
        all.insert(DEAD_LETTERS.to_owned(), letters);
    }
    all
}

/// A difference for each file that differs, line by line.
fn compare(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>, one: &str, other: &str) -> Vec<String> {
    let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    let text = |of: &BTreeMap<String, String>, name: &String| of.get(name).cloned().unwrap_or_default();
    let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let difference = differing.map(|name| {
        let (before, now) = (text(expected, name), text(found, name));
        let diff = TextDiff::from_lines(&before, &now);
        let heads = (format!("{one}/{name}.jsonl"), format!("{other}/{name}.jsonl"));
        diff.unified_diff().context_radius(CONTEXT_LINES).header(&heads.0, &heads.1).to_string()
    });
    difference.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_difference_names_the_file_and_shows_both_lines() {
        let expected = files(&[("a.out", "1\n2\n3\n4\n5\n6\n"), ("gone", "x\n")]);
        let found = files(&[("a.out", "1\n2\n3\n4\nfive\n6\n"), ("new", "y\n")]);
        let differences = compare(&expected, &found, "expected", "found");
        assert_eq!(differences.len(), 3);
        assert!(differences[0].contains("--- expected/a.out.jsonl\n+++ found/a.out.jsonl\n"), "{}", differences[0]);
        assert!(differences[0].contains(" 4\n-5\n+five\n 6\n") && !differences[0].contains(" 1\n"), "{}", differences[0]);
        assert!(differences[1].contains("-x\n") && differences[2].contains("+y\n"));
        assert!(compare(&expected, &expected, "", "").is_empty());
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_saphyr::from_str::<Settings>("fuel: 3\n").is_err());
        let settings: Settings = serde_saphyr::from_str("config: { a: 1 }\nfuel_per_record: 300\n").unwrap();
        assert_eq!((settings.config["a"].as_u64(), settings.fuel_per_record), (Some(1), Some(300)));
    }
}
