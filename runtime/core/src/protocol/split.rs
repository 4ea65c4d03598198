//! Which record makes a call fail: split, never blamed.
//!
//! Owns: the search for the shortest failing prefix of a call, as a state machine that asks for trials.
//! Does not own: calling plugins, nor what becomes of a rejected record.
//!
//! Invariants: a record is rejected only when the prefix before it succeeds and it fails alone. Every trial runs on
//! a fresh instance against the state as it was before the call.

/// What to try next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the first `rows` rows of the call on a fresh instance and report.
    Prefix { rows: usize },
    /// Keep the effects of the last successful prefix (`good` rows, may be 0), then run row `good` alone, after them,
    /// on a fresh instance and report.
    Alone { good: usize },
    /// Row `good` is the culprit: reject it, keep the `good` rows before it, go on after it.
    Reject { good: usize },
    /// The call fails, yet no record fails alone: the epoch fails.
    NoCulprit { good: usize },
}

/// The search over a call of `rows` rows that has failed as a whole.
#[derive(Clone, Debug)]
pub struct Split {
    /// A prefix of this length succeeds.
    good: usize,
    /// A prefix of this length fails.
    failing: usize,
    state: Option<Step>,
}

impl Split {
    pub fn new(rows: usize) -> Split {
        assert!(rows > 0, "a call without rows has no culprit");
        let mut split = Split { good: 0, failing: rows, state: None };
        split.state = Some(split.next_trial());
        split
    }

    fn next_trial(&self) -> Step {
        if self.failing - self.good > 1 {
            Step::Prefix { rows: self.good + (self.failing - self.good) / 2 }
        } else {
            Step::Alone { good: self.good }
        }
    }

    /// What to do now.
    pub fn step(&self) -> Step {
        self.state.unwrap_or(Step::NoCulprit { good: self.good })
    }

    /// Reports whether the trial that `step` named succeeded.
    pub fn report(&mut self, succeeded: bool) {
        self.state = Some(match self.step() {
            Step::Prefix { rows } => {
                if succeeded {
                    self.good = rows;
                } else {
                    self.failing = rows;
                }
                self.next_trial()
            }
            Step::Alone { good } if succeeded => Step::NoCulprit { good },
            Step::Alone { good } => Step::Reject { good },
            done @ (Step::Reject { .. } | Step::NoCulprit { .. }) => done,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(rows: usize, fails: impl Fn(usize, usize) -> bool) -> (Step, usize) {
        let mut split = Split::new(rows);
        for trials in 0.. {
            let ok = match split.step() {
                Step::Prefix { rows } => !fails(0, rows),
                Step::Alone { good } => !fails(good, good + 1),
                done => return (done, trials),
            };
            split.report(ok);
        }
        unreachable!()
    }

    #[test]
    fn the_first_record_that_fails_alone_is_rejected() {
        for poison in 0..100 {
            let (found, trials) = search(100, |from, to| (from..to).contains(&poison));
            assert_eq!(found, Step::Reject { good: poison });
            assert!(trials <= 8, "{trials} trials for 100 rows");
        }
    }

    #[test]
    fn a_failure_that_needs_many_records_blames_nobody() {
        let (found, _) = search(64, |from, to| to - from > 20);
        assert_eq!(found, Step::NoCulprit { good: 20 });
    }

    #[test]
    fn one_row_is_tried_alone_before_it_is_rejected() {
        let (found, trials) = search(1, |_, _| true);
        assert_eq!((found, trials), (Step::Reject { good: 0 }, 1));
        let (found, _) = search(1, |_, _| false);
        assert_eq!(found, Step::NoCulprit { good: 0 });
    }
}
