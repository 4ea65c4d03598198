//! What the rows of an epoch come from: records of its input, and timers that fired.
//!
//! Owns: the numbers by which rows name their cause, and what is known of a cause.
//! Does not own: the rows (`step`), firing (`lane`).
//!
//! Invariant: a cause below the number of input rows is that row; the others are the fired timers in the order of the
//! steps, each step's in the order in which they fired. So a cause is the same on every execution of the epoch.

use super::epoch::EpochInput;
use super::program::Program;
use segno_core::protocol::time::Moment;

/// A timer that fired, in the order in which timers fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    pub moment: Moment,
    /// Place among the timers of an instant that set each other.
    pub chain: u32,
    pub time: i64,
    /// Key bytes.
    pub key: Vec<u8>,
    pub number: u32,
    /// Number of the step.
    pub step: usize,
}

/// What a cause is called: source, partition and offset of a record; the step, the timer and its key, and its time in µs
/// of a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: String,
    pub partition: String,
    pub offset: u64,
}

/// The causes that are known so far.
#[derive(Clone, Copy)]
pub struct Causes<'a> {
    pub input: &'a EpochInput,
    pub fired: &'a [Fired],
}

impl<'a> Causes<'a> {
    fn records(&self) -> usize {
        self.input.batch.num_rows()
    }

    /// The number of the next timer.
    pub fn next(&self) -> u32 {
        (self.records() + self.fired.len()) as u32
    }

    /// `None`: a record.
    pub fn timer(&self, cause: u32) -> Option<&'a Fired> {
        self.fired.get((cause as usize).checked_sub(self.records())?)
    }

    /// Names a cause in lineage, dead letters and logs, the same on every execution.
    pub fn origin(&self, program: &Program, cause: u32) -> Origin {
        let Some(fired) = self.timer(cause) else {
            let record = self.input.origin(cause as usize);
            return Origin {
                source: program.source_names[record.source as usize].clone(),
                partition: self.input.partition_name(record.source, record.partition),
                offset: record.offset,
            };
        };
        let before = if fired.time < 0 { "/before-1970" } else { "" };
        Origin {
            source: program.graph.steps[fired.step].id.clone(),
            partition: format!("timer/{}/{}{before}", fired.number, hex::encode(&fired.key)),
            offset: fired.time.unsigned_abs(),
        }
    }

    pub fn moment(&self, cause: u32) -> Moment {
        self.timer(cause).map_or(Moment::of_record(cause), |fired| fired.moment)
    }

    /// The event time of a row: that of its record, or the last instant before the timer. `None` without event time.
    pub fn time(&self, cause: u32) -> Option<i64> {
        match self.timer(cause) {
            Some(fired) => Some(fired.time.saturating_sub(1)),
            None => self.input.times.get(cause as usize).copied(),
        }
    }
}
