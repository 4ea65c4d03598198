//! Taking a shard over: generation, fence, journal, base state, re-execution up to the journal's end.
//!
//! Owns: the order of these steps and the comparison of what is executed again.
//! Does not own: the decisions (`segno_core::protocol::{recovery, change}`).
//!
//! Invariants: nothing is read before this process owns the shard. Re-execution writes no output; what the journal
//! names is rolled forward instead. A difference stops the shard.

use super::epoch::EpochInput;
use super::execute::{Executed, Execution};
use super::lane::Mode;
use super::plan::Planner;
use super::program::Program;
use super::step::StateReader;
use super::expect::windows_again;
use super::verify::{Detail, Difference, first_difference, first_window};
use segno_core::persisted::{EpochRecord, ExpectWindow};
use segno_core::{Error, Result};

/// A re-executed epoch.
pub struct Reexecuted {
    pub input: EpochInput,
    pub executed: Executed,
    pub difference: Option<Difference>,
}

/// Executes an epoch again from its record and compares. `windows` are those of the epoch before, where they are known;
/// `detail` is read only when something differs.
pub fn reexecute(
    program: &Program,
    planner: &mut Planner,
    state: &dyn StateReader,
    record: &EpochRecord,
    windows: Option<&[ExpectWindow]>,
    threads: usize,
    detail: impl FnOnce() -> Result<Option<Detail>>,
) -> Result<Reexecuted> {
    let input = planner.recorded_epoch(record)?;
    let execute = |block_rows: usize| {
        Execution {
            program,
            input: &input,
            state,
            batch_rows: record.batch_rows,
            threads,
            block_rows,
            taps: None,
        }
        .execute(Mode::Replay { scripts: &record.facts.lane_scripts })
    };
    let mut executed = execute(super::BLOCK_ROWS)?;
    let mut difference = first_difference(record, &input, &executed, None);
    if difference.is_some()
        && let Some(detail) = detail()?
    {
        // Block digests are only comparable at the size they were kept with.
        if detail.block_rows as usize != super::BLOCK_ROWS {
            executed = execute(detail.block_rows as usize)?;
        }
        difference = first_difference(record, &input, &executed, Some(&detail));
    }
    if let (None, Some(before)) = (&difference, windows) {
        let again = windows_again(before, record, program, &input, &executed);
        difference = first_window(record, &again);
    }
    Ok(Reexecuted { input, executed, difference })
}

/// The error of a difference found while recovering.
pub fn differs(difference: &Difference) -> Error {
    let code = difference.code();
    Error::new(code, difference.describe())
        .with_help(format!("`segno replay --verify` examines the whole history; see `segno explain {}`", code.name()))
}
