//! A scenario of records that passed a step of a running pipeline.
//!
//! Owns: where it is written, and that it holds what the project's own pipeline can read. Does not own: which records these are
//! (`cli::tap`), what a scenario is (`scenario`).
//!
//! Invariant: a scenario that exists is never changed; one that cannot be read is not left behind.

use super::language::Profile;
use super::project::Project;
use super::{SCENARIOS, scenario};
use crate::cli::Outcome;
use crate::cli::console::{Console, count, word};
use segno_core::source::{FormatSpec, SourceSpec};
use segno_core::{Code, Error, Place};
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// Where the scenario is to be.
pub struct Target {
    project: Project,
    folder: PathBuf,
    name: String,
    /// The project's component.
    component: PathBuf,
}

impl Target {
    pub fn find(project: &Path, name: &str) -> Result<Target, crate::cli::Failure> {
        let refused = |message: String, help: &str| Error::new(Code::ScenarioUnfit, message).with_help(help);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(refused(format!("\"{name}\" is no name of a scenario"), "use letters, digits, - and _").into());
        }
        let project = Project::to_build(project)?;
        let folder = project.folder.join(SCENARIOS).join(name);
        if folder.exists() {
            let error = refused(format!("the scenario \"{name}\" exists"), "choose another name, or remove its folder");
            return Err(error.with_place(Place::file(&folder)).into());
        }
        let pipeline = project.pipeline()?;
        let format = match pipeline.sources.as_slice() {
            [source] => match &source.spec {
                SourceSpec::Files(files) => Some(&files.format),
                SourceSpec::Kafka(kafka) => Some(&kafka.format),
                SourceSpec::Nexmark(_) => Some(&FormatSpec::Json),
            },
            _ => None,
        };
        if format != Some(&FormatSpec::Json) {
            let help = "records are saved as JSON lines: let the project's pipeline.yaml have one source, with format: json";
            return Err(refused("the project's pipeline cannot read what would be saved".to_owned(), help).with_place(Place::file(project.file())).into());
        }
        // Records that have passed do not pass again: a plugin that cannot be built is told before they do.
        let component = project.made(Profile::Release, &project.component)?.path;
        Ok(Target { project, folder, name: name.to_owned(), component })
    }

    /// Writes the rows as the scenario's input, and records what comes of them.
    pub fn save(self, console: &Console, rows: &[Box<RawValue>]) -> Outcome {
        if rows.is_empty() {
            let message = format!("no record passed, so there is nothing to make scenario \"{}\" of", self.name);
            return Err(Error::new(Code::ScenarioUnfit, message).with_help("wait until records flow, or tap another step").into());
        }
        let mut text = String::new();
        rows.iter().for_each(|row| text.push_str(&format!("{}\n", row.get())));
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| std::fs::write(self.folder.join("input.jsonl"), text));
        written.map_err(|error| {
            Error::new(Code::ProjectUnwritable, format!("{} cannot be written", self.folder.display())).with_cause(error)
        })?;
        let recorded = self.record();
        if !matches!(recorded, Ok(None)) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        if let Some(problem) = recorded? {
            return Err(problem.into());
        }
        let folder = word(&self.project.folder);
        console.note(&format!(
            "{SCENARIOS}/{} has {} and what comes of them: read it, then keep it; `segno test {folder} --scenario {0}` compares",
            self.name,
            count(rows.len() as u64, "record"),
        ));
        Ok(0)
    }

    /// What is wrong with it, if something is.
    fn record(&self) -> Result<Option<Error>, crate::cli::Failure> {
        let found = scenario::all(&self.project, Some(&self.name))?;
        let Some(scenario) = found.first() else { return Ok(None) };
        let verdict = scenario.run(&self.project, &self.component, None, true)?;
        if let Some(difference) = verdict.differences.first() {
            return Ok(Some(Error::new(Code::ScenarioFailed, difference.trim_end().to_owned())));
        }
        if !verdict.played.is_in_vain() {
            return Ok(None);
        }
        let first = verdict.played.letters.first();
        let why = first.map_or(String::new(), |letter| format!(": {}", letter["reason"].as_str().unwrap_or_default()));
        let message = format!("the project's pipeline rejects every record that was saved{why}");
        let help = "let its source read the columns that reach the tapped step, under their names; or tap the step that this plugin runs in";
        Ok(Some(Error::new(Code::ScenarioUnfit, message).with_help(help).with_place(Place::file(self.project.file()))))
    }
}
