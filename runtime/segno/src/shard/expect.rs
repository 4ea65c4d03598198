//! Expectations of a running shard: an executed epoch is judged before it is committed.
//!
//! Owns: what a broken rule leads to, and its words. Does not own: the counting (`segno_core::protocol::expect`).
//!
//! Invariants: the windows of the last committed epoch are those of its journal entry, so a restart goes on counting
//! where the journal ends. Rules decide no output: they may change without an acceptance.

use super::causes::{Causes, Origin};
use super::epoch::EpochInput;
use super::execute::{Executed, StepRejects};
use super::program::Program;
use segno_core::persisted::{EpochRecord, ExpectWindow, FirstReject};
use segno_core::pipeline::{Expectation, Otherwise};
use segno_core::protocol::expect::{breaks, follow, window};
use segno_core::sink::record_id;
use segno_core::{Code, Error, Result};
use std::collections::BTreeMap;

/// The rules, and how far their windows are filled.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// By step id.
    pub rules: BTreeMap<String, Vec<Expectation>>,
    /// After the last committed epoch.
    pub windows: Vec<ExpectWindow>,
}

/// An epoch that may be committed.
#[derive(Debug, Default)]
pub struct Judged {
    /// After the epoch.
    pub windows: Vec<ExpectWindow>,
    /// Rules that were broken and let the run go on, by step.
    pub broken: BTreeMap<String, u64>,
}

impl Expect {
    /// What becomes of the windows in an epoch of redriven records, which were counted when they were read first.
    pub fn unmoved(&self) -> Judged {
        Judged { windows: self.windows.clone(), broken: BTreeMap::new() }
    }

    /// Counts an epoch's rejects; an error where a rule stops the run. `accept`: all rules only warn.
    pub fn judge(&self, program: &Program, input: &EpochInput, executed: &Executed, accept: bool) -> Result<Judged> {
        let mut judged = Judged::default();
        let mut stops: Option<Error> = None;
        for (step, rejects) in program.graph.steps.iter().zip(&executed.rejects) {
            let Some(rules) = self.rules.get(&step.id) else { continue };
            let mut lengths: Vec<u64> = rules.iter().map(|rule| rule.over).collect();
            lengths.sort_unstable();
            lengths.dedup();
            for over in lengths {
                let rules = || rules.iter().filter(|rule| rule.over == over);
                let mut at = window(&self.windows, &step.id, over);
                fill(&mut at, program, Causes { input, fired: &executed.fired }, rejects, |window| {
                    for rule in rules().filter(|rule| breaks(window, rule.rejects)) {
                        if rule.otherwise == Otherwise::Stop && !accept {
                            stops.get_or_insert_with(|| stopped(window, rule));
                        } else {
                            *judged.broken.entry(step.id.clone()).or_default() += 1;
                            warn(window, rule);
                        }
                    }
                });
                judged.windows.push(at);
            }
        }
        judged.windows.sort_by(|a, b| (&a.step, a.over).cmp(&(&b.step, b.over)));
        match stops {
            Some(error) => Err(error),
            None => Ok(judged),
        }
    }
}

/// The windows of a re-executed epoch, from those before it: they must be those of its journal entry.
pub fn windows_again(
    before: &[ExpectWindow],
    record: &EpochRecord,
    program: &Program,
    input: &EpochInput,
    executed: &Executed,
) -> Vec<ExpectWindow> {
    let mut windows = Vec::with_capacity(record.expect_windows.len());
    for recorded in &record.expect_windows {
        let mut at = window(before, &recorded.step, recorded.over);
        let steps = program.graph.steps.iter().zip(&executed.rejects);
        // Redriven records were counted when they were read first.
        let steps = steps.filter(|_| record.facts.redrive.is_none());
        for (_, rejects) in steps.filter(|(step, _)| step.id == recorded.step) {
            fill(&mut at, program, Causes { input, fired: &executed.fired }, rejects, |_| {});
        }
        windows.push(at);
    }
    windows
}

fn fill(
    window: &mut ExpectWindow,
    program: &Program,
    causes: Causes<'_>,
    rejects: &StepRejects,
    counted: impl FnMut(&ExpectWindow),
) {
    let rows: Vec<u32> = rejects.rejected.iter().map(|rejected| rejected.row).collect();
    let first = |index: usize| {
        let Origin { source, partition, offset } = causes.origin(program, rejects.causes[index]);
        let rejected = &rejects.rejected[index];
        FirstReject {
            source,
            partition,
            offset,
            code: rejected.code.clone(),
            reason: rejected.reason.clone(),
        }
    };
    follow(window, rejects.records, &rows, first, counted);
}

fn describe(window: &ExpectWindow, rule: &Expectation) -> String {
    let mut text = format!(
        "step \"{}\" rejected {} of the first {} records of a window of {}, and at most {} are expected",
        window.step, window.rejects, window.records, window.over, rule.rejects
    );
    if let Some(first) = &window.first {
        text.push_str(&format!(
            "; the first is source \"{}\", {}, offset {}: [{}] {}",
            first.source, first.partition, first.offset, first.code, first.reason
        ));
    }
    text
}

fn stopped(window: &ExpectWindow, rule: &Expectation) -> Error {
    Error::new(Code::ExpectationBroken, describe(window, rule)).with_help(
        "mend the producer or the plugin, raise rejects under expect, or let this window through once with --accept-rejects",
    )
}

fn warn(window: &ExpectWindow, rule: &Expectation) {
    let code = Code::ExpectationBroken.name();
    let first = window.first.as_ref();
    let record = first.map(|first| record_id(&first.source, &first.partition, first.offset));
    tracing::warn!(code, record, step = window.step, rejects = window.rejects, over = window.over, "{}", describe(window, rule));
}
