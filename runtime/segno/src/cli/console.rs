//! Data on standard output; notes, warnings, errors and progress on standard error.
//!
//! Owns: both streams, and how a number, a size or a time is written for people.
//!
//! Invariants: a reader that closes standard output early ends nothing in error. Progress is drawn on a terminal only.

use super::report;
use segno_core::Error;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: one JSON object per result, one per line for lists; errors on standard error.
    Json,
}

pub struct Console {
    output: Output,
    quiet: bool,
    fancy: bool,
}

impl Console {
    pub fn new(output: Output, quiet: bool) -> Console {
        let fancy = output == Output::Text && std::io::stderr().is_terminal();
        Console { output, quiet, fancy }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Whether people read it on a terminal.
    pub fn is_fancy(&self) -> bool {
        self.fancy
    }

    /// A result: text for people, or the same as a JSON line.
    pub fn result(&self, text: impl FnOnce() -> String, json: &impl Serialize) {
        match self.output {
            Output::Text => self.bytes(text().as_bytes()),
            Output::Json => self.json(json),
        }
    }

    pub fn json(&self, json: &impl Serialize) {
        let mut line = serde_json::to_vec(json).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}").into_bytes());
        line.push(b'\n');
        self.bytes(&line);
    }

    /// Bytes as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // `segno … | head` closes the pipe: that is the reader's right.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Something to know that is no result.
    pub fn note(&self, text: &str) {
        if !self.quiet && self.output == Output::Text {
            eprintln!("{text}");
        }
    }

    pub fn warning(&self, warning: &Error) {
        if !self.quiet {
            self.draw(warning, report::Severity::Warning);
        }
    }

    pub fn error(&self, error: &Error) {
        self.draw(error, report::Severity::Error);
    }

    fn draw(&self, error: &Error, severity: report::Severity) {
        let text = match (self.output, self.fancy) {
            (Output::Json, _) => report::json(error, severity).to_string(),
            (Output::Text, true) => report::fancy(error, severity),
            (Output::Text, false) => report::plain(error, severity),
        };
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
    }

    /// A line that is drawn again and again while something goes on.
    pub fn progress(&self) -> Progress {
        if !self.fancy || self.quiet {
            return Progress(None);
        }
        let bar = indicatif::ProgressBar::new_spinner();
        if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(Some(bar))
    }
}

pub struct Progress(Option<indicatif::ProgressBar>);

impl Progress {
    pub fn set(&self, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(message());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A terminal is not to be driven by what is in a record.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `1234567` as `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 epoch`, `2,000 epochs`. For words that take an s.
pub fn count(value: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(value), if value == 1 { "" } else { "s" })
}

/// Bytes with a binary unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds since 1970 as RFC 3339.
pub fn time_ms(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// Microseconds since 1970 as RFC 3339.
pub fn time_us(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}

/// Rows of text in aligned columns, two spaces apart; the first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A word of a command that is shown to be pasted into a shell.
pub fn word(text: impl AsRef<std::path::Path>) -> String {
    let text = text.as_ref().display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_survives_the_shell() {
        assert_eq!(word("./a-b/c.d"), "./a-b/c.d");
        assert_eq!(word("my plugin"), "'my plugin'");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!((count(1, "epoch"), count(2_000, "epoch")), ("1 epoch".to_owned(), "2,000 epochs".to_owned()));
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(time_ms(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
    }
}
