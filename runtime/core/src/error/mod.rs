//! Errors as a user meets them: a stable code, a message, the place in the user's file, what to do.
//!
//! Owns: the shape of an error, its kind and its exit code. The codes and their explanations are in `codes`.
//! Does not own: how an error is drawn on a terminal (`cli`).
//!
//! Invariant: a code, once released, keeps its meaning for ever.

mod codes;

pub use codes::{ALL, Code};

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error; decides the exit code of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A check or a run failed: exit code 1.
    Failed,
    /// The command line is wrong: exit code 2.
    Usage,
    /// The pipeline file or something it names is wrong: exit code 78.
    Configuration,
    /// May go away by itself (a store that times out); the shard is restarted with backoff. Exit code 1.
    Transient,
}

impl Kind {
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed | Kind::Transient => 1,
            Kind::Usage => 2,
            Kind::Configuration => 78,
        }
    }
}

/// How long a failure is worth waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It stays as it is.
    None,
    /// It may be gone after a restart or a few.
    Bounded,
    /// Something outside is away or full, and only waiting helps: a store, a broker, a database, a disk.
    Endless,
}

impl Code {
    pub fn patience(self) -> Patience {
        match self {
            // The epoch was tried again before it came so far.
            Code::DeadlineExpired => Patience::None,
            // Of this process, or not understood: for ever would hide it.
            Code::StateDamaged | Code::MachineMemory | Code::KafkaFailed => Patience::Bounded,
            code if code.kind() == Kind::Transient => Patience::Endless,
            _ => Patience::None,
        }
    }
}

/// A place in a file of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// The whole text of the file, to draw the lines around the span. Empty when only the file is meant.
    pub text: Arc<str>,
    /// Bytes of `text`.
    pub span: Range<usize>,
}

impl Place {
    pub fn file(file: impl Into<PathBuf>) -> Place {
        Place { file: file.into(), text: Arc::from(""), span: 0..0 }
    }

    /// Line and column, from 1, of the start of the span.
    pub fn line_column(&self) -> (usize, usize) {
        let start = self.span.start.min(self.text.len());
        let before = &self.text.as_bytes()[..start];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = start - before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1) + 1;
        (line, column)
    }
}

/// An error with a stable code. Boxed, so that a `Result` stays small on hot paths.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    message: String,
    help: Option<String>,
    place: Option<Place>,
    causes: Vec<String>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { code, message: message.into(), help: None, place: None, causes: Vec::new() }))
    }

    /// What the user can do about it; replaces an earlier help.
    pub fn with_help(mut self, help: impl Into<String>) -> Error {
        self.0.help = Some(help.into());
        self
    }

    /// What the error is about, in front of its message.
    pub fn about(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    pub fn with_place(mut self, place: Place) -> Error {
        self.0.place = Some(place);
        self
    }

    /// The error underneath, as text, nearest first.
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Error {
        self.0.causes.push(cause.to_string());
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn kind(&self) -> Kind {
        self.0.code.kind()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    pub fn causes(&self) -> &[String] {
        &self.0.causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.0.code.name())?;
        if let Some(place) = &self.0.place {
            let (line, column) = place.line_column();
            if place.text.is_empty() {
                write!(f, "{}: ", place.file.display())?;
            } else {
                write!(f, "{}:{line}:{column}: ", place.file.display())?;
            }
        }
        f.write_str(&self.0.message)?;
        for cause in &self.0.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        for (at, code) in ALL.iter().enumerate() {
            assert_eq!(Code::from_name(code.name()), Some(*code));
            assert!(ALL[..at].iter().all(|other| other.name() != code.name()), "{} is given twice", code.name());
        }
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        for &code in ALL {
            let passes = code.kind() == Kind::Transient && code != Code::DeadlineExpired;
            assert_eq!(code.patience() != Patience::None, passes, "{}", code.name());
        }
        for away in [Code::KafkaUnreachable, Code::StoreUnusable, Code::SinkFailed, Code::DiskFull] {
            assert_eq!(away.patience(), Patience::Endless);
        }
        for stays in [Code::OwnershipLost, Code::JournalDamaged, Code::KafkaDenied, Code::StoreDenied, Code::OffsetsGone] {
            assert_eq!(stays.patience(), Patience::None);
        }
    }

    #[test]
    fn a_bug_is_no_failure_that_passes_and_asks_for_a_report() {
        let bug = Error::new(Code::Internal, "a column is not where it should be").with_cause("row 7");
        assert_eq!((bug.kind(), bug.kind().exit_code()), (Kind::Failed, 1));
        assert_eq!(bug.to_string(), "[R900] a column is not where it should be: row 7");
        assert!(bug.code().explain().contains("report"));
    }
}
