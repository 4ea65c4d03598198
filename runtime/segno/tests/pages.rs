//! Blocks of the other pages: what stands there as a pipeline file is one, what stands there as commands runs.
//!
//! Owns: that no page shows what is refused. Does not own: tutorials and cookbook, which are followed (`tutorial`, `cookbook`), nor code
//! in Rust, which is compiled (documentation of the SDK).

use crate::author::Folder;
use crate::lab::variable;
use crate::tutorial::blocks;
use segno_core::pipeline::Pipeline;
use std::path::{Path, PathBuf};

const ROOT: &str = "../..";
/// What a block of a pipeline file leaves out.
const LEFT_OUT: [(&str, &str); 6] = [
    ("version", "version: 1\n"),
    ("name", "name: page\n"),
    ("source", "source: { kafka: { brokers: \"b:9092\", topics: [t] }, format: json, columns: { shop: utf8 } }\n"),
    ("steps", "steps: [{ id: one, plugin: one.wasm }]\n"),
    ("sinks", "sinks: [{ blackhole: {} }]\n"),
    ("checkpoint", "checkpoint: { store: \"s3://bucket/page\" }\n"),
];

/// The blocks of a kind that are on the pages of a folder.
fn of_kind(folder: &str, kind: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    pages.sort();
    let of_page = |page: &PathBuf| {
        let text = std::fs::read_to_string(page).expect("a page");
        blocks(&text).into_iter().filter(|(found, _)| found == kind).map(|(_, text)| (page.clone(), text)).collect::<Vec<_>>()
    };
    pages.iter().flat_map(of_page).collect()
}

/// A whole pipeline file around a part of one.
fn whole(part: &str) -> String {
    let has = |name: &str| part.lines().any(|line| line.starts_with(&format!("{name}:")));
    // Settings of librdkafka stand within a source or a sink.
    if has("settings") {
        let inside: String = part.lines().map(|line| format!("    {line}\n")).collect();
        return whole(&format!("source:\n  kafka:\n    brokers: b:9092\n    topics: [t]\n{inside}  format: json\n"));
    }
    let mut text: String = LEFT_OUT.iter().filter(|(name, _)| !has(name)).map(|(_, line)| *line).collect();
    if part.contains("repartition:") {
        text.push_str("sharding: by_partition\n");
    }
    text + part
}

#[test]
fn every_part_of_a_pipeline_file_on_a_page_is_taken() {
    let lookup = |name: &str| ["KAFKA_PASSWORD", "PASSWORD"].contains(&name).then(|| "secret".to_owned());
    let mut seen = 0;
    for (page, part) in ["docs", "docs/formats", "docs/runbooks"].iter().flat_map(|folder| of_kind(folder, "yaml")) {
        let text = whole(&part);
        if let Err(errors) = Pipeline::parse(Path::new("page.yaml"), &text, &lookup) {
            panic!("{}:\n{text}\n{errors:#?}", page.display());
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} blocks were found");
    assert!(Pipeline::parse(Path::new("page.yaml"), &whole("steps: [{ id: one, plugin: one.wasm, no: 1 }]\n"), &lookup).is_err(), "what is wrong is seen");
}

#[test]
fn the_commands_of_the_readme_run() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the page");
    let commands: Vec<String> = blocks(&page).into_iter().filter(|(kind, text)| kind == "sh" && text.starts_with("segno new")).map(|(_, text)| text).collect();
    let [commands] = &commands[..] else { panic!("{} blocks begin with segno new", commands.len()) };
    // The loop ends after one round.
    let commands: String = commands.lines().map(|line| format!("{}\n", line.replacen("segno dev ", "segno dev --once ", 1))).collect();
    assert!(commands.contains("--once"), "{commands}");
    let said = Folder::new().shell("", &commands).good();
    for words in ["sha256", "\"total_cents\"", "passed scenarios/first"] {
        assert!(said.out.contains(words), "no {words} in {}", said.out);
    }
}

#[test]
fn the_commands_of_the_nexmark_example_run() {
    let example = Path::new(ROOT).join("examples/nexmark");
    let page = std::fs::read_to_string(example.join("README.md")).expect("the page");
    let [(_, commands)] = &blocks(&page).into_iter().filter(|(kind, _)| kind == "sh").collect::<Vec<_>>()[..] else { panic!("one block") };
    // What is built is built already, and a few events do.
    let built = variable("CARGO_TARGET_DIR");
    let commands = commands.replacen("make build\n", "", 1).replace("~/.cache/segno/target", &built.to_string_lossy()).replace(" 1000000 ", " 20000 ");
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("examples/nexmark")).expect("a folder");
    std::fs::copy(example.join("q5.yaml"), folder.path("examples/nexmark/q5.yaml")).expect("a copy");
    folder.shell("", &commands).good();
    let rows = folder.shell("", "cat out/q5/*").good().out;
    assert!(rows.lines().count() > 3 && rows.contains("\"auction\""), "{rows}");
}
