//! A plugin's project: its code, its pipeline file, and which steps of it run the plugin.
//!
//! Owns: finding these, and putting another component of the plugin into the pipeline.
//! Does not own: making a project (`new`), running it (`play`).

use super::PIPELINE;
use super::language::{self, Language, Package};
use crate::cli::Failure;
use crate::cli::pipeline::read;
use segno_core::pipeline::Pipeline;
use segno_core::{Code, Error, Place, Result};
use std::path::{Path, PathBuf};

pub struct Project {
    pub folder: PathBuf,
    pub package: Box<dyn Package>,
    /// Where `segno build` writes the component, and the pipeline file finds it.
    pub component: PathBuf,
}

impl Project {
    pub fn open(folder: &Path) -> Result<Project> {
        Project::of(language::of(folder)?.as_ref(), folder)
    }

    /// Opened to be built: what builds it is looked for first, since it is asked about the project, too.
    pub fn to_build(folder: &Path) -> Result<Project> {
        let language = language::of(folder)?;
        language.toolchain(folder)?;
        Project::of(language.as_ref(), folder)
    }

    /// Opened again, with what the language found out before.
    pub fn of(language: &dyn Language, folder: &Path) -> Result<Project> {
        let package = language.package(folder)?;
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let component = folder.join(package.component());
        Ok(Project { folder, package, component })
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join(PIPELINE)
    }

    pub fn pipeline(&self) -> std::result::Result<Pipeline, Failure> {
        let file = self.file();
        if !file.exists() {
            return Err(Error::new(Code::ScenarioUnfit, format!("the project has no {PIPELINE}"))
                .with_help(format!("write a {PIPELINE} that runs the plugin; `segno new` makes projects that have one"))
                .with_place(Place::file(&self.folder))
                .into());
        }
        Ok(read(&file)?)
    }

    /// Lets the steps of this plugin run another component of it.
    pub fn give(&self, pipeline: &mut Pipeline, component: &Path) -> Result<()> {
        let place = pipeline.place("steps");
        let mut found = 0;
        for number in 0..pipeline.steps.len() {
            if pipeline.path(&pipeline.steps[number].plugin) == self.component {
                pipeline.steps[number].plugin = component.to_owned();
                found += 1;
            }
        }
        if found > 0 {
            return Ok(());
        }
        let name = self.package.component();
        Err(Error::new(Code::ScenarioUnfit, format!("no step of the pipeline runs {name}, the plugin of this project"))
            .with_help(format!("say `plugin: {name}` in a step: that is what `segno build` writes"))
            .with_place(place))
    }
}
