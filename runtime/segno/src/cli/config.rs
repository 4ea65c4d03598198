//! `segno explain`, `segno config`, `segno schema`.

use super::console::{Console, table};
use super::pipeline::read;
use super::{Outcome, PipelineFile};
use segno_core::error::ALL;
use segno_core::pipeline::schema::json_schema;
use segno_core::{Code, Error};
use serde_json::json;

#[derive(clap::Args)]
pub struct ExplainArgs {
    /// The code, as in C003; all codes if not given.
    code: Option<String>,
}

#[derive(clap::Subcommand)]
pub enum ConfigCommand {
    /// Show the pipeline file with variables replaced and defaults written out; secrets are masked.
    Show {
        #[command(flatten)]
        pipeline: PipelineFile,
        /// Replace variables and write out defaults. Always on: only what is resolved can be masked.
        #[arg(long, env = "SEGNO_RESOLVED", value_parser = clap::builder::BoolishValueParser::new())]
        resolved: bool,
    },
}

pub fn explain(console: &Console, args: &ExplainArgs) -> Outcome {
    let Some(name) = &args.code else {
        if console.is_json() {
            for code in ALL {
                console.json(&json!({"code": code.name(), "title": code.title()}));
            }
        } else {
            let rows: Vec<Vec<String>> = ALL.iter().map(|code| vec![code.name().to_owned(), code.title().to_owned()]).collect();
            console.bytes(table(&rows).as_bytes());
        }
        return Ok(0);
    };
    // Copied from an error, the brackets come along.
    let Some(code) = Code::from_name(name.trim_matches(['[', ']'])) else {
        return Err(Error::new(Code::UnknownCode, format!("there is no error code \"{name}\""))
            .with_help("`segno explain` lists all of them")
            .into());
    };
    let shown = json!({"code": code.name(), "title": code.title(), "explanation": code.explain(), "exit_code": code.kind().exit_code()});
    console.result(|| format!("{}: {}\n\n{}\n", code.name(), code.title(), wrap(code.explain(), 100)), &shown);
    Ok(0)
}

/// Breaks long lines at spaces; lines that begin with spaces are examples and stay as they are.
fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            wrapped.push_str(line);
        } else {
            let mut length = 0;
            for word in line.split(' ') {
                let word_length = word.chars().count();
                if length > 0 && length + 1 + word_length > width {
                    wrapped.push('\n');
                    length = 0;
                } else if length > 0 {
                    wrapped.push(' ');
                    length += 1;
                }
                wrapped.push_str(word);
                length += word_length;
            }
        }
        wrapped.push('\n');
    }
    wrapped.trim_end().to_owned()
}

pub fn run(console: &Console, command: ConfigCommand) -> Outcome {
    let ConfigCommand::Show { pipeline, resolved: _ } = command;
    let pipeline = read(&pipeline.file)?;
    console.result(|| pipeline.show_yaml(), &pipeline.show());
    Ok(0)
}

pub fn schema(console: &Console) -> Outcome {
    let schema = json_schema();
    console.result(|| format!("{schema:#}\n"), &schema);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_in_sentences() {
        for code in ALL {
            let text = code.explain();
            assert!(text.len() > 40 && text.ends_with(['.', ')']), "{}: {text}", code.name());
            assert!(!code.title().ends_with('.') && code.title().len() < 90, "{}: {}", code.name(), code.title());
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut names: Vec<&str> = ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn long_lines_are_broken_and_examples_are_not() {
        assert_eq!(wrap("aa bb cc\n\n    dd ee ff gg", 5), "aa bb\ncc\n\n    dd ee ff gg");
    }
}
