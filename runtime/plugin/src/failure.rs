//! Why a call failed.
//!
//! Owns: the closed list of failures, their codes and words. No text of the host's or the engine's gets further than
//! here, except the trap's own name.
//! Invariant: a failure says nothing about which record caused it.

use segno_core::Code;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The plugin trapped; the name of the trap, and the last line that it logged as an error.
    Trap { name: String, said: Option<String> },
    OutOfFuel { fuel: u64 },
    Deadline { milliseconds: u64 },
    Memory { bytes: u64 },
    Table { elements: u64 },
    StackOverflow,
    /// The answer is not what `describe` promised.
    Malformed(String),
    /// The plugin returned an error: not about a record.
    Fatal(String),
    /// The engine refused something else.
    Engine(String),
}

impl CallFailure {
    pub fn malformed(why: String) -> CallFailure {
        CallFailure::Malformed(why)
    }

    /// Expiry of a deadline does not follow from the input.
    pub fn is_deadline(&self) -> bool {
        matches!(self, CallFailure::Deadline { .. })
    }

    /// The plugin itself says that it cannot go on; there is nothing to split.
    pub fn is_fatal(&self) -> bool {
        matches!(self, CallFailure::Fatal(_) | CallFailure::Engine(_))
    }

    pub fn code(&self) -> Code {
        match self {
            CallFailure::Trap { .. } => Code::PluginTrapped,
            CallFailure::OutOfFuel { .. } => Code::PluginOutOfFuel,
            CallFailure::Deadline { .. } => Code::DeadlineExpired,
            CallFailure::Memory { .. } => Code::PluginOutOfMemory,
            CallFailure::Table { .. } => Code::PluginTableLimit,
            CallFailure::StackOverflow => Code::PluginStackOverflow,
            CallFailure::Malformed(_) => Code::PluginAnswer,
            CallFailure::Fatal(_) => Code::PluginFatal,
            CallFailure::Engine(_) => Code::Internal,
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFailure::Trap { name, said: Some(said) } => write!(f, "the plugin trapped ({name}): {said}"),
            CallFailure::Trap { name, said: None } => write!(f, "the plugin trapped ({name})"),
            CallFailure::OutOfFuel { fuel } => write!(f, "the call used up its {fuel} units of fuel"),
            CallFailure::Deadline { milliseconds } => write!(f, "the call ran longer than {milliseconds} ms"),
            CallFailure::Memory { bytes } => write!(f, "the plugin wanted more than {bytes} bytes of memory"),
            CallFailure::Table { elements } => write!(f, "the plugin wanted more than {elements} table elements"),
            CallFailure::StackOverflow => f.write_str("the plugin overflowed its stack"),
            CallFailure::Malformed(why) => f.write_str(why),
            CallFailure::Fatal(why) => write!(f, "the plugin gave up: {why}"),
            CallFailure::Engine(why) => write!(f, "the engine refused: {why}"),
        }
    }
}

impl std::error::Error for CallFailure {}
