//! Whether a pipeline may go on with what it finds: the same identity, an accepted change, or a refusal.
//!
//! Owns: the comparison of what the journal was written with and what is about to run.
//! Does not own: the checkpoint that a change needs.
//!
//! Invariant: an identity never changes silently, and never inside an epoch.

use crate::persisted::Identity;
use crate::{Code, Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing changed, or nothing was ever written.
    Same,
    /// Changed and accepted: checkpoint at the end of the journal, then a `Change` entry, then go on.
    Accepted { what: Vec<String> },
}

/// Compares the identity of the last committed epoch with the one about to run.
pub fn plan_continuation(last: Option<&Identity>, now: &Identity, accept_change: bool) -> Result<Continuation> {
    let Some(last) = last else { return Ok(Continuation::Same) };
    let what = differences(last, now);
    if what.is_empty() {
        return Ok(Continuation::Same);
    }
    if accept_change {
        return Ok(Continuation::Accepted { what });
    }
    Err(Error::new(
        Code::ChangedPipeline,
        format!("this pipeline has state and history, and it has changed: {}", what.join("; ")),
    )
    .with_help(
        "run with --accept-change to go on with it: unfinished epochs are finished with the old version, a checkpoint \
         is made, and the journal records the change; or give the changed pipeline another name",
    ))
}

fn differences(last: &Identity, now: &Identity) -> Vec<String> {
    let mut what = Vec::new();
    for (step, digest) in &now.components {
        match last.components.get(step) {
            None => what.push(format!("step \"{step}\" is new")),
            Some(old) if old != digest => {
                what.push(format!("the plugin of step \"{step}\" is another ({}… was {}…)", head(digest), head(old)));
            }
            Some(_) => {}
        }
    }
    for step in last.components.keys().filter(|step| !now.components.contains_key(*step)) {
        what.push(format!("step \"{step}\" is gone"));
    }
    if what.is_empty() && last.configuration != now.configuration {
        what.push("sources, graph or step configuration differ".to_owned());
    }
    if last.engine != now.engine {
        what.push(format!("the engine is another (\"{}\" was \"{}\")", now.engine, last.engine));
    }
    what
}

fn head(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(component: &str, configuration: &str, engine: &str) -> Identity {
        Identity {
            components: [("count".to_owned(), component.to_owned())].into(),
            configuration: configuration.to_owned(),
            engine: engine.to_owned(),
        }
    }

    #[test]
    fn a_new_pipeline_needs_no_acceptance() {
        assert_eq!(plan_continuation(None, &identity("a", "b", "c"), false).unwrap(), Continuation::Same);
    }

    #[test]
    fn each_part_of_the_identity_is_compared() {
        let old = identity("a", "b", "c");
        assert_eq!(plan_continuation(Some(&old), &old, false).unwrap(), Continuation::Same);
        for now in [identity("x", "b", "c"), identity("a", "x", "c"), identity("a", "b", "x")] {
            let error = plan_continuation(Some(&old), &now, false).unwrap_err();
            assert_eq!(error.code(), Code::ChangedPipeline);
            assert!(matches!(plan_continuation(Some(&old), &now, true).unwrap(), Continuation::Accepted { .. }));
        }
    }

    #[test]
    fn the_step_that_changed_is_named() {
        let error = plan_continuation(Some(&identity("a", "b", "c")), &identity("x", "b", "c"), false).unwrap_err();
        assert!(error.message().contains("step \"count\""), "{}", error.message());
    }
}
