//! docs/reference.md: the commands, the interfaces of plugins and the error codes, as the sources have them.
//!
//! Owns: the page, which a test compares. Does not own: the pipeline file's page (`segno_core::pipeline::schema`).

use super::Cli;
use clap::CommandFactory;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = "../../docs/reference.md";
const INTERFACES: [&str; 2] = ["../../wit/transform.wit", "../../wit/observe.wit"];
const HEAD: &str = "# Reference

Made of the sources, and compared with them by a test. The pipeline file has [a page of its own](pipeline.md); the bytes that cross the
interface of a plugin are in [frame.md](../wit/frame.md); the SDKs' own pages are their sources and the tutorials.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Commands\n\nEvery flag has an environment variable; the flag beats it.\n");
    let mut command = Cli::command();
    command.build();
    let global: Vec<&clap::Arg> = command.get_arguments().filter(|one| one.is_global_set()).collect();
    page.push_str("\nWith every command:\n\n");
    arguments(&mut page, global.into_iter());
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        describe(&mut page, one, &format!("segno {}", one.get_name()));
    }
    page.push_str("\n## Interfaces of a plugin\n");
    for file in INTERFACES {
        let text = std::fs::read_to_string(file).expect("an interface");
        interface(&mut page, &text);
    }
    page.push_str("\n## Error codes\n\n`segno explain CODE` says more about each. Exit codes: 1 a check or a run failed, 2 usage, 78 configuration.\n\n");
    page.push_str("| code | exit | what |\n|---|---|---|\n");
    for code in segno_core::error::ALL {
        writeln!(page, "| {} | {} | {} |", code.name(), code.kind().exit_code(), cell(code.title())).expect("text grows");
    }
    page
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn describe(page: &mut String, command: &clap::Command, name: &str) {
    let inner: Vec<&clap::Command> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if !inner.is_empty() {
        for one in inner {
            describe(page, one, &format!("{name} {}", one.get_name()));
        }
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(page, "\n### {name}\n\n{about}\n").expect("text grows");
    arguments(page, command.get_arguments().filter(|one| !one.is_global_set() && !matches!(one.get_id().as_str(), "help" | "version")));
}

fn arguments<'a>(page: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) {
    let mut rows = String::new();
    for one in arguments {
        let value = one.get_value_names().filter(|_| one.get_action().takes_values()).map(|names| names[0].to_string());
        let shown = match (one.get_long(), value) {
            (Some(long), Some(value)) => format!("`--{long} {value}`"),
            (Some(long), None) => format!("`--{long}`"),
            (None, value) => format!("`{}`", value.unwrap_or_default()),
        };
        let env = one.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
        let mut help = one.get_help().map(ToString::to_string).unwrap_or_default();
        if !help.is_empty() && !help.ends_with('.') {
            help.push('.');
        }
        let defaults: Vec<String> = one.get_default_values().iter().map(|one| one.to_string_lossy().into_owned()).collect();
        if !defaults.is_empty() && one.get_action().takes_values() {
            write!(help, " Default: {}.", defaults.join(", ")).expect("text grows");
        }
        let choices: Vec<String> = one.get_possible_values().iter().map(|one| one.get_name().to_owned()).collect();
        if !choices.is_empty() && one.get_action().takes_values() && choices != ["true", "false"] {
            write!(help, " One of: {}.", choices.join(", ")).expect("text grows");
        }
        writeln!(rows, "| {shown} | {env} | {} |", cell(&help)).expect("text grows");
    }
    if !rows.is_empty() {
        page.push_str("| argument | variable | what |\n|---|---|---|\n");
        page.push_str(&rows);
    }
}

/// Each function with the comment in front of it.
fn interface(page: &mut String, text: &str) {
    let mut comment = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            comment.push_str(said);
        } else if let Some(name) = line.strip_suffix('{') {
            writeln!(page, "\n### {}\n\n{}", name.trim(), comment.trim()).expect("text grows");
            comment.clear();
        } else if line.contains("func(") {
            writeln!(page, "\n- `{}`: {}", line.trim_end_matches(';'), comment.trim()).expect("text grows");
            comment.clear();
        }
    }
}

#[test]
fn the_page_of_reference_is_true() {
    if std::env::var_os("SEGNO_UPDATE").is_some() {
        std::fs::write(PAGE, page()).expect("the page");
    }
    let written = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert!(written == page(), "docs/reference.md is not what the sources say; write it anew: SEGNO_UPDATE=1 scripts/test.py segno -- the_page_of");
}
