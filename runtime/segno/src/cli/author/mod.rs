//! The plugin author's day: new, build, test, dev.
//!
//! - `language`: what each language has to do: toolchain, build, files of a new project
//! - `new`, `template`: a project that runs before anything is filled in
//! - `build`, `made`: from a project to its component, and when that is needed
//! - `project`, `play`: a project's pipeline on given input, in a scratch folder
//! - `test`, `scenario`, `contract`: what it must give, and what others rely on
//! - `tapped`: a scenario of records that passed a step of a running pipeline
//! - `failure`: a rejected record, and how to see it rejected again
//! - `dev`: all of it again whenever a file changes
//!
//! Owns: what happens in an author's folder. Does not own: admission and the sandbox (`segno_plugin`), running pipelines
//! (`worker`, `shard`).

pub mod build;
mod contract;
pub mod dev;
mod failure;
pub mod language;
mod made;
pub mod new;
mod play;
mod project;
mod scenario;
pub mod tapped;
mod template;
pub mod test;

/// Names of a project's files.
const PIPELINE: &str = "pipeline.yaml";
const CONTRACT: &str = "contract.json";
const SCENARIOS: &str = "scenarios";
const SCENARIO: &str = "scenario.yaml";
const EXPECTED: &str = "expected";
