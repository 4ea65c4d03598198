//! Errors and warnings as they are shown: drawn on a terminal, plain elsewhere, JSON for programs.
//!
//! Owns: the three forms. Does not own: the words (`segno_core::Error`).
//!
//! Invariant: all forms hold the code, the message, the place and the help.

use miette::{Diagnostic, LabeledSpan, MietteHandlerOpts, NamedSource, ReportHandler};
use segno_core::Error;
use serde_json::{Value, json};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Message and causes on one line.
fn message(error: &Error) -> String {
    let mut text = error.message().to_owned();
    for cause in error.causes() {
        text.push_str(": ");
        text.push_str(cause);
    }
    text
}

pub fn json(error: &Error, severity: Severity) -> Value {
    let mut shown = json!({
        "severity": severity.name(),
        "code": error.code().name(),
        "message": error.message(),
    });
    if !error.causes().is_empty() {
        shown["causes"] = json!(error.causes());
    }
    if let Some(help) = error.help() {
        shown["help"] = json!(help);
    }
    if let Some(place) = error.place() {
        shown["file"] = json!(place.file.display().to_string());
        if !place.text.is_empty() {
            let (line, column) = place.line_column();
            shown["line"] = json!(line);
            shown["column"] = json!(column);
            shown["length"] = json!(place.span.len());
        }
    }
    shown
}

/// Without colours and drawings: the line of the file with a mark under it.
pub fn plain(error: &Error, severity: Severity) -> String {
    let mut text = format!("{}[{}]: {}\n", severity.name(), error.code().name(), message(error));
    if let Some(place) = error.place() {
        if place.text.is_empty() {
            text.push_str(&format!("  --> {}\n", place.file.display()));
        } else {
            let (line, column) = place.line_column();
            text.push_str(&format!("  --> {}:{line}:{column}\n", place.file.display()));
            let start = place.span.start.min(place.text.len());
            let begin = place.text[..start].rfind('\n').map_or(0, |at| at + 1);
            let source = place.text[begin..].lines().next().unwrap_or_default();
            let before = &place.text[begin..start];
            let marked = place.text.get(place.span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
            let (source, before, marked) = window(source, before, marked);
            let number = line.to_string();
            // A tab stays a tab, so that the mark stands under what it marks.
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let marks = "^".repeat(marked.chars().count().max(1));
            text.push_str(&format!("{number} | {source}\n{} | {indent}{marks}\n", " ".repeat(number.len())));
        }
    }
    if let Some(help) = error.help() {
        text.push_str(&format!("  help: {help}\n"));
    }
    text
}

/// A long line cut to what stands around the mark: (line, what is before the mark, what is marked).
fn window<'t>(source: &'t str, before: &'t str, marked: &'t str) -> (&'t str, &'t str, &'t str) {
    let floor = |text: &str, mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let from = floor(source, before.len().saturating_sub(LINE_BYTES_MAX / 2));
    let to = floor(source, from + LINE_BYTES_MAX).max(from);
    let marked_to = floor(marked, to.saturating_sub(before.len()));
    (&source[from..to], &before[floor(before, from)..], &marked[..marked_to])
}

/// The longest part of a line that is shown, in bytes.
const LINE_BYTES_MAX: usize = 160;

/// Drawn, for a terminal.
pub fn fancy(error: &Error, severity: Severity) -> String {
    Drawing(Drawn::new(error, severity)).to_string()
}

struct Drawing(Drawn);

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Width and colours are those of the terminal; NO_COLOR is heard.
        MietteHandlerOpts::new().terminal_links(false).force_graphical(true).build().debug(&self.0, f)
    }
}

#[derive(Debug)]
struct Drawn {
    code: &'static str,
    message: String,
    help: Option<String>,
    severity: miette::Severity,
    source: Option<NamedSource<String>>,
    span: std::ops::Range<usize>,
}

impl Drawn {
    fn new(error: &Error, severity: Severity) -> Drawn {
        let place = error.place().filter(|place| !place.text.is_empty());
        let mut message = message(error);
        if let (None, Some(place)) = (place, error.place()) {
            message = format!("{}: {message}", place.file.display());
        }
        Drawn {
            code: error.code().name(),
            message,
            help: error.help().map(str::to_owned),
            severity: match severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
            },
            source: place.map(|place| NamedSource::new(place.file.display().to_string(), place.text.to_string())),
            span: place.map_or(0..0, |place| {
                let end = place.text.len();
                place.span.start.min(end)..place.span.end.min(end)
            }),
        }
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn {}

impl Diagnostic for Drawn {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = LabeledSpan::new(None, self.span.start, self.span.len());
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segno_core::pipeline::Pipeline;
    use std::path::Path;

    fn errors() -> Vec<Error> {
        let yaml = "version: 1\nname: größe\nsurce: {}\n";
        Pipeline::parse(Path::new("p.yaml"), yaml, &|_| None).unwrap_err()
    }

    fn of(code: &str) -> Error {
        errors().into_iter().find(|error| error.code().name() == code).unwrap()
    }

    #[test]
    fn plain_errors_show_the_line_and_a_mark() {
        assert_eq!(
            plain(&of("C003"), Severity::Error),
            "error[C003]: the pipeline file has no field \"surce\"\n  --> p.yaml:3:1\n3 | surce: {}\n  | ^^^^^\n  help: did you mean \"source\"?\n"
        );
        let named = plain(&of("C009"), Severity::Warning);
        assert!(named.starts_with("warning[C009]: ") && named.contains("2 | name: größe\n  |       ^^^^^\n"), "{named}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let yaml = format!("version: 1\nname: x\nü: {{ {}, b: c }}\n", "é".repeat(5000));
        let errors = Pipeline::parse(Path::new("p.yaml"), &yaml, &|_| None).unwrap_err();
        for error in &errors {
            assert!(plain(error, Severity::Error).lines().all(|line| line.len() < 400), "{error}");
        }
        let source = format!("{}MARK{}", "a".repeat(1000), "b".repeat(1000));
        let (line, before, marked) = window(&source, &source[..1000], &source[1000..1004]);
        assert_eq!((line.len(), before.len(), marked), (160, 80, "MARK"));
        assert_eq!(&line[before.len()..][..4], "MARK");
    }

    #[test]
    fn json_errors_hold_everything() {
        let shown = json(&of("C003"), Severity::Error);
        assert_eq!(
            shown,
            json!({
                "severity": "error", "code": "C003", "message": "the pipeline file has no field \"surce\"",
                "help": "did you mean \"source\"?", "file": "p.yaml", "line": 3, "column": 1, "length": 5,
            })
        );
    }

    #[test]
    fn every_error_can_be_drawn() {
        for error in errors() {
            let drawn = fancy(&error, Severity::Error);
            assert!(drawn.contains(error.code().name()) && drawn.contains("p.yaml"), "{drawn}");
        }
        let drawn = fancy(&of("C003"), Severity::Error);
        assert!(drawn.contains("surce: {}") && drawn.contains("did you mean"), "{drawn}");
    }
}
