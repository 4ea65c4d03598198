//! Owns what operators say of a record that comes too late for them.
//! Does not own what becomes of it: with `?` it is rejected, and goes the step's `on_error` way.

use core::fmt;

use crate::observe::count;
use crate::time::Timestamp;
use crate::timer::Timers;
use crate::transform::Reject;

/// A record that came when the watermark had reached the end of all that it could have been a part of. Counted as
/// `late_records`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The end of it: of the last of a record's windows, or of the time for which an operator waits for the record.
    pub end: Timestamp,
}

impl Late {
    #[cold]
    pub(crate) fn of(end: Timestamp) -> Self {
        count("late_records", 1);
        Self { end }
    }

    /// # Errors
    /// The watermark has reached the end.
    #[inline]
    pub(crate) fn check(timers: &Timers, end: Timestamp) -> Result<(), Late> {
        if timers.reached(end) { Err(Self::of(end)) } else { Ok(()) }
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record is late: what it belongs to ended at {}, which the watermark has reached", self.end)
    }
}

impl From<Late> for Reject {
    fn from(late: Late) -> Self {
        late.to_string().into()
    }
}
