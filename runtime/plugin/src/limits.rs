//! Limits of a step: what a plugin may use. Each has a default here and a setting in the pipeline file.
//!
//! Owns: the numbers, their units and reasons. Does not own: enforcing them (`instance`, `admission`).

use std::time::Duration;

/// Fuel of a record alone: about as many simple instructions, so that nobody works longer than about a second. A record that needs more is a
/// runaway loop, not work. A call of several records gets less, whatever their number, so that none passes beside others that would not pass
/// alone, and which records share a call decides nothing. Interpreters want long calls: each key of one costs them as much as many records.
pub const FUEL_PER_RECORD: u64 = 1_000_000_000;
/// Fuel of what instantiates a component, before any record.
pub const FUEL_INSTANTIATE: u64 = 10_000_000;
/// Fuel of `describe`, which gives back a constant.
pub const FUEL_DESCRIBE: u64 = 1_000_000_000;
/// Fuel of `init`, which may build tables of a few million entries.
pub const FUEL_INIT: u64 = 100_000_000_000;
/// Wall time of one call. It only catches what fuel cannot see; fuel ends a loop long before.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Linear memory of an instance, bytes, all memories together.
pub const MEMORY_BYTES: u64 = 64 << 20;
/// Elements of all tables: function tables of large plugins hold some ten thousand.
pub const TABLE_ELEMENTS: u64 = 100_000;
/// Bytes of one answer: a call gets some thousand records, so this is kilobytes for each.
pub const OUTPUT_BYTES: u64 = 64 << 20;
/// State changes of one answer.
pub const MUTATIONS: u64 = 1_000_000;
/// Log lines of one call; further ones are counted and dropped.
pub const LOG_LINES: u64 = 100;
/// Bytes of one log line; the rest is cut.
pub const LOG_LINE_BYTES: usize = 4096;
/// Counters of one step: each is a metric.
pub const COUNTERS: usize = 64;
/// Stack of a call, bytes.
pub const STACK_BYTES: usize = 512 << 10;
/// Functions that are looked at where a plugin traps, and those that are named; of a recursion many are the same.
pub const FRAMES: usize = 16;
pub const FUNCTIONS_SHOWN: usize = 3;
/// Bytes of a function's name; the rest is cut.
pub const FUNCTION_NAME_BYTES: usize = 200;
/// Instances, memories and tables of one component: a plugin in Rust is one module and a few shims; an interpreter comes as
/// a dozen libraries that share a memory, and a shim for each interface that it would like to have.
pub const INSTANCES: usize = 128;
/// Size of a component file, bytes: compiling takes time and memory in proportion.
pub const COMPONENT_BYTES: usize = 32 << 20;
/// Bytes of a counter's name; longer ones are dropped.
pub const COUNTER_NAME_BYTES: usize = 128;
/// Bytes of an error that a plugin returns; the rest is cut: it goes into logs and onto terminals.
pub const ERROR_TEXT_BYTES: usize = 4096;

/// The limits of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub fuel_per_record: u64,
    pub fuel_init: u64,
    pub deadline: Duration,
    pub memory: u64,
    pub tables: u64,
    pub output_bytes: u64,
    pub mutations: u64,
    pub log_lines: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel_per_record: FUEL_PER_RECORD,
            fuel_init: FUEL_INIT,
            deadline: DEADLINE,
            memory: MEMORY_BYTES,
            tables: TABLE_ELEMENTS,
            output_bytes: OUTPUT_BYTES,
            mutations: MUTATIONS,
            log_lines: LOG_LINES,
        }
    }
}
