//! Templates of new projects: what is the same in every language.
//!
//! Owns: the pipeline, the sample, the golden scenario and the contract of each template, and filling in what differs.
//! Does not own: the code (`language`), writing files (`new`).
//!
//! Invariant: a template does the same in every language, byte for byte: one pipeline, one expectation.

use super::{CONTRACT, EXPECTED, PIPELINE, SCENARIO, SCENARIOS};
use super::language::{Files, Language};
use segno_core::pipeline::schema::json_schema;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    Map,
    Filter,
    Window,
    /// By an operator of the SDK in Rust, by hand in the other languages: with the same state.
    Join,
}

/// A project that is to be made.
pub struct Blank<'a> {
    pub name: &'a str,
    pub template: Template,
}

/// What differs from template to template, and not from language to language.
struct Texts {
    pipeline: &'static str,
    sample: &'static str,
    contract: &'static str,
    expected: &'static [(&'static str, &'static str)],
    /// What `segno check` must be told.
    check: &'static str,
}

macro_rules! texts {
    ($folder:literal, $sample:literal, $check:literal, [$($expected:literal),*]) => {
        Texts {
            sample: include_str!(concat!("templates/", $sample)),
            pipeline: include_str!(concat!("templates/", $folder, "/pipeline.yaml")),
            contract: include_str!(concat!("templates/", $folder, "/contract.json")),
            expected: &[$(($expected, include_str!(concat!("templates/", $folder, "/expected/", $expected)))),*],
            check: $check,
        }
    };
}

impl Template {
    /// As `--template` has it.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn texts(self) -> Texts {
        match self {
            Template::Map => texts!("map", "sample.jsonl", "", ["orders.out.jsonl", "dead-letters.jsonl"]),
            Template::Filter => texts!("filter", "sample.jsonl", " --config '{\"min_cents\": 1000}'", ["orders.out.jsonl", "dead-letters.jsonl"]),
            Template::Window => texts!("window", "sample.jsonl", " --key customer", ["orders.windows.jsonl", "orders.late.jsonl", "dead-letters.jsonl"]),
            Template::Join => texts!("join", "join/sample.jsonl", " --key order", ["orders.out.jsonl", "dead-letters.jsonl"]),
        }
    }
}

impl Blank<'_> {
    /// The name where a language allows no `-`; the component's, too.
    pub fn module(&self) -> String {
        self.name.replace('-', "_")
    }

    /// A text with what this project is called.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", self.name).replace("{{module}}", &self.module()).replace("{{check}}", self.template.texts().check)
    }

    /// The files that the project has in whatever language.
    pub fn files(&self, language: &dyn Language) -> Files {
        let texts = self.template.texts();
        let sample = texts.sample;
        let scenario = include_str!("templates/scenario.yaml").replace("{{fuel}}", &language.fuel_per_record(self).to_string());
        let first = Path::new(SCENARIOS).join("first");
        let mut files = vec![
            (PathBuf::from(PIPELINE), self.fill(texts.pipeline)),
            (PathBuf::from("pipeline.schema.json"), format!("{:#}\n", json_schema())),
            (PathBuf::from("sample.jsonl"), sample.to_owned()),
            (first.join("input.jsonl"), sample.to_owned()),
            (first.join(SCENARIO), scenario),
            (PathBuf::from(CONTRACT), self.fill(texts.contract)),
        ];
        files.extend(texts.expected.iter().map(|(file, text)| (first.join(EXPECTED).join(file), self.fill(text))));
        files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect()
    }
}
