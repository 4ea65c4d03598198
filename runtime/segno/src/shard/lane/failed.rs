//! A call that fails: the record that makes it fail is found, and what may be rejected is told from what stops the shard.
//!
//! Owns: the verdict. Does not own: where a rejected record goes (`execute`), in which steps the search goes (`protocol::split`).
//!
//! Invariant: on replay nothing here decides; what was decided is in the journal.

use super::batch::Batch;
use super::call::Called;
use super::timers::Due;
use super::LaneRun;
use segno_core::persisted::{ScriptedCall, Verdict};
use segno_core::protocol::split::{Split, Step as Trial};
use segno_core::protocol::time::time_text;
use segno_core::{Code, Error, Result};
use segno_plugin::CallFailure;
use std::sync::atomic::Ordering;

/// Records that may be rejected after failing calls in one epoch. More than that is a broken plugin, and each one costs
/// about ten calls to find.
pub const REJECTIONS_PER_EPOCH_MAX: u32 = 1_000;

/// How often an epoch is aborted for an expired deadline before its calls are split like any other failure.
pub const DEADLINE_ABORTS_MAX: u32 = 2;

impl LaneRun<'_> {
    /// Finds the record that makes a call fail and rejects it; what comes after it is left to the next call.
    pub(super) fn split(
        &mut self,
        batch: &Batch,
        failure: CallFailure,
        deadline_aborts: u32,
        calls: &mut Vec<ScriptedCall>,
    ) -> Result<()> {
        self.stop_on(&failure, deadline_aborts)?;
        let mut split = Split::new(batch.events());
        let mut good: Option<Called> = None;
        let mut last = failure;
        loop {
            match split.step() {
                Trial::Prefix { rows } => {
                    self.instance = None;
                    match self.call(&batch.prefix(rows)) {
                        Ok(called) => {
                            good = Some(called);
                            split.report(true);
                        }
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                }
                Trial::Alone { good: before } => {
                    if let Some(called) = good.take() {
                        let prefix = batch.prefix(before);
                        if let Some(events) = self.cut(&prefix, &called) {
                            self.shorten(events);
                            return Ok(());
                        }
                        calls.push(ScriptedCall { rows: before as u32, fresh: true, rejected: None });
                        self.apply(&prefix, called)?;
                        if self.timers.is_some() {
                            // What comes next may be a timer that the prefix set.
                            self.shorten(1);
                            return Ok(());
                        }
                    }
                    self.instance = None;
                    match self.call(&self.alone(batch, before)) {
                        Ok(_) => split.report(true),
                        Err(failure) => {
                            self.stop_on(&failure, deadline_aborts)?;
                            last = failure;
                            split.report(false);
                        }
                    }
                    self.instance = None;
                }
                Trial::Reject { good: before } => {
                    let alone = self.alone(batch, before);
                    if let Some(due) = alone.starts_with_timer() {
                        return Err(self.failed_timer(due, &last));
                    }
                    self.may_reject(&last)?;
                    let verdict = Verdict { code: last.code().name().to_owned(), reason: last.to_string() };
                    self.reject(alone.rows.start, &verdict);
                    self.pace.found();
                    calls.push(ScriptedCall { rows: 1, fresh: true, rejected: Some(verdict) });
                    return Ok(());
                }
                Trial::NoCulprit { good: before } => {
                    return Err(Error::new(
                        Code::EpochFailed,
                        format!(
                            "step \"{}\", lane {}: a call of {} rows fails ({last}), but row {} after the first {before} does not fail alone",
                            self.context.graph.id,
                            self.lane,
                            batch.events(),
                            before + 1
                        ),
                    )
                    .with_help("the failure depends on several records together: raise the limit that it names, or mend the plugin"));
                }
            }
        }
    }

    fn failed_timer(&self, due: &Due, failure: &CallFailure) -> Error {
        let key = self.keys.zip(self.timers.as_ref()).map(|((keys, ids), timers)| keys.get(ids[timers.key(due) as usize] as usize));
        Error::new(
            Code::TimerFailed,
            format!(
                "step \"{}\": timer {} for {} of key {} makes a call fail: {failure}",
                self.context.graph.id,
                due.number(),
                time_text(due.time()),
                key.map_or_else(String::new, |key| self.context.key_text(key)),
            ),
        )
        .with_help("a timer cannot be left out like a record: mend the plugin, then go on with --accept-change")
    }

    /// Each rejected record costs about ten calls, and many of them are no poison.
    fn may_reject(&self, last: &CallFailure) -> Result<()> {
        let so_far = self.context.rejections.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far <= REJECTIONS_PER_EPOCH_MAX {
            return Ok(());
        }
        Err(Error::new(
            Code::TooManyRejections,
            format!(
                "step \"{}\": more than {REJECTIONS_PER_EPOCH_MAX} records of one epoch made calls fail; the last: {last}",
                self.context.graph.id
            ),
        )
        .with_help("this is a broken plugin or input, not a poison record, and nothing of the epoch was committed: mend what the last failure names"))
    }

    fn stop_on(&self, failure: &CallFailure, deadline_aborts: u32) -> Result<()> {
        if failure.is_fatal() {
            return Err(Error::new(
                failure.code(),
                format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
            )
            .with_help("nothing of this epoch was committed; mend the plugin, or remove the cause that it names"));
        }
        if !failure.is_deadline() || deadline_aborts >= DEADLINE_ABORTS_MAX {
            return Ok(());
        }
        Err(Error::new(
            Code::DeadlineExpired,
            format!("step \"{}\", lane {}: {failure}", self.context.graph.id, self.lane),
        )
        .with_help("raise limits.deadline of the step if the machine is slow; else the plugin is stuck"))
    }

    pub(super) fn replay_failure(&self, batch: &Batch, failure: &CallFailure) -> Error {
        let row = self.input_row(batch.rows.start);
        Error::new(
            Code::ReplayDiffers,
            format!(
                "step \"{}\", lane {}: a call of {} rows and timers that succeeded before now fails: {failure}",
                self.context.graph.id,
                self.lane,
                batch.events()
            ),
        )
        .with_cause(format!("first row of the call: input row {row}"))
    }
}
