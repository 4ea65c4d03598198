//! Why a call failed.
//!
//! Owns: the closed list of failures, their codes and words.
//! Does not own: what becomes of the records of a failed call.
//!
//! Invariants: a failure says nothing about which record caused it. Words that may reach a dead letter are Segno's own or
//! the plugin's, never the engine's: they must not change with its version.

use crate::limits::{ERROR_TEXT_BYTES, FUNCTION_NAME_BYTES, FUNCTIONS_SHOWN};
use segno_core::Code;
use std::fmt;
use wasmtime::{Trap, WasmBacktrace};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The plugin trapped; the name of the trap, the last line that it logged as an error, and the functions that it was in.
    Trap { name: String, said: Option<String>, within: Option<String> },
    OutOfFuel { fuel: u64 },
    Deadline { milliseconds: u64 },
    Memory { bytes: u64 },
    Table { elements: u64 },
    StackOverflow { within: Option<String> },
    OutputTooLarge { bytes: u64, limit: u64 },
    /// The answer has more of something than a limit allows.
    TooMuch(String),
    /// The answer is not what `describe` promised.
    Malformed(String),
    /// The plugin returned an error: not about a record.
    Fatal(String),
    /// The system gave the engine no memory. Never the plugin's fault.
    NoMemory(String),
    /// The host's side failed in another way. Never the plugin's fault.
    Engine(String),
}

impl CallFailure {
    pub fn malformed(why: String) -> CallFailure {
        CallFailure::Malformed(why)
    }

    /// An error that the plugin returned, cut to a length that a terminal bears.
    pub(crate) fn fatal(mut why: String) -> CallFailure {
        why.truncate(cut(&why, ERROR_TEXT_BYTES));
        CallFailure::Fatal(why)
    }

    /// What the engine itself could not do.
    pub(crate) fn of_engine(error: &wasmtime::Error) -> CallFailure {
        match without_memory(error) {
            true => CallFailure::NoMemory(format!("{error:#}")),
            false => CallFailure::Engine(format!("{error:#}")),
        }
    }

    /// Whether the same call on a fresh instance must fail again. Deadlines depend on the machine, stack depth on
    /// generated code, and the memory that is left on the calls before: verdicts from those hold because they are
    /// journalled.
    pub fn is_deterministic(&self) -> bool {
        match self {
            CallFailure::Trap { .. }
            | CallFailure::OutOfFuel { .. }
            | CallFailure::OutputTooLarge { .. }
            | CallFailure::TooMuch(_)
            | CallFailure::Malformed(_)
            | CallFailure::Fatal(_) => true,
            CallFailure::Deadline { .. }
            | CallFailure::Memory { .. }
            | CallFailure::Table { .. }
            | CallFailure::StackOverflow { .. }
            | CallFailure::NoMemory(_)
            | CallFailure::Engine(_) => false,
        }
    }

    /// Whether fewer records may share a call without it: a limit is reached that they use together.
    pub fn is_shared(&self) -> bool {
        matches!(
            self,
            CallFailure::OutOfFuel { .. }
                | CallFailure::Memory { .. }
                | CallFailure::Table { .. }
                | CallFailure::OutputTooLarge { .. }
                | CallFailure::TooMuch(_)
        )
    }

    /// Expiry of a deadline does not follow from the input.
    pub fn is_deadline(&self) -> bool {
        matches!(self, CallFailure::Deadline { .. })
    }

    /// The plugin itself says that it cannot go on, or the host cannot; there is nothing to split.
    pub fn is_fatal(&self) -> bool {
        matches!(self, CallFailure::Fatal(_) | CallFailure::NoMemory(_) | CallFailure::Engine(_))
    }

    pub fn code(&self) -> Code {
        match self {
            CallFailure::Trap { .. } => Code::PluginTrapped,
            CallFailure::OutOfFuel { .. } => Code::PluginOutOfFuel,
            CallFailure::Deadline { .. } => Code::DeadlineExpired,
            CallFailure::Memory { .. } => Code::PluginOutOfMemory,
            CallFailure::Table { .. } => Code::PluginTableLimit,
            CallFailure::StackOverflow { .. } => Code::PluginStackOverflow,
            CallFailure::OutputTooLarge { .. } | CallFailure::TooMuch(_) | CallFailure::Malformed(_) => Code::PluginAnswer,
            CallFailure::Fatal(_) => Code::PluginFatal,
            CallFailure::NoMemory(_) => Code::MachineMemory,
            CallFailure::Engine(_) => Code::Internal,
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFailure::Trap { name, said: Some(said), .. } => write!(f, "the plugin trapped ({name}): {said}"),
            CallFailure::Trap { name, within, .. } => write!(f, "the plugin trapped ({name}){}", placed(within.as_deref())),
            CallFailure::OutOfFuel { fuel } => write!(f, "the call used up its {fuel} units of fuel (limits.fuel_per_record of the step)"),
            CallFailure::Deadline { milliseconds } => write!(f, "the call ran longer than {milliseconds} ms"),
            CallFailure::Memory { bytes } => write!(f, "the plugin wanted more than {bytes} bytes of memory (limits.memory of the step)"),
            CallFailure::Table { elements } => write!(f, "the plugin wanted more than {elements} table elements"),
            CallFailure::StackOverflow { within } => write!(f, "the plugin overflowed its stack{}", placed(within.as_deref())),
            CallFailure::OutputTooLarge { bytes, limit } => {
                write!(f, "the plugin's answer has {bytes} bytes; {limit} are allowed (limits.output_bytes of the step)")
            }
            CallFailure::TooMuch(why) | CallFailure::Malformed(why) => f.write_str(why),
            CallFailure::Fatal(why) => write!(f, "the plugin gave up: {why}"),
            CallFailure::NoMemory(why) => write!(f, "the machine has no memory for the plugin: {why}"),
            CallFailure::Engine(why) => write!(f, "the host failed: {why}"),
        }
    }
}

impl std::error::Error for CallFailure {}

fn placed(within: Option<&str>) -> String {
    within.map_or_else(String::new, |within| format!(" in {within}"))
}

/// The innermost functions of a trap by the component's own names: `deep, called by process`. `None` where it has no names.
pub(crate) fn within(error: &wasmtime::Error) -> Option<String> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    let mut names: Vec<String> = names.map(readable).collect();
    names.dedup();
    names.truncate(FUNCTIONS_SHOWN);
    (!names.is_empty()).then(|| names.join(", called by "))
}

/// A function's name as its author knows it.
fn readable(name: &str) -> String {
    let mut name = format!("{:#}", rustc_demangle::demangle(&name[..cut(name, FUNCTION_NAME_BYTES)]));
    name.truncate(cut(&name, FUNCTION_NAME_BYTES));
    name
}

/// The largest length up to `max` at which `text` can be cut.
pub(crate) fn cut(text: &str, max: usize) -> usize {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// Whether the system gave the engine no memory or no addresses.
pub(crate) fn without_memory(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOMEM)
}

/// The name of a trap.
pub(crate) fn name(trap: Trap) -> &'static str {
    match trap {
        Trap::MemoryOutOfBounds => "out of bounds memory access: a wrong pointer, or calls that are nested too deeply",
        Trap::TableOutOfBounds => "out of bounds table access",
        Trap::IndirectCallToNull => "call of an empty table element",
        Trap::BadSignature => "indirect call type mismatch",
        Trap::IntegerOverflow => "integer overflow",
        Trap::IntegerDivisionByZero => "integer divide by zero",
        Trap::BadConversionToInteger => "invalid conversion to integer",
        Trap::UnreachableCodeReached => "unreachable instruction executed",
        Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "call where none is allowed",
        _ => "other trap",
    }
}
