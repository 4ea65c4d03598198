//! Whether a pipeline may go on with what it finds: the same identity, other rows of a database, an accepted change, or a
//! refusal.
//!
//! Owns: the comparison of what the journal was written with and what is about to run.
//! Does not own: the checkpoint that a change needs.
//!
//! Invariants: an identity never changes silently, and never inside an epoch. A table never goes back to rows that were
//! read before those that the journal names.

use crate::persisted::{Identity, TableVersion};
use crate::{Code, Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing changed, or nothing was ever written.
    Same,
    /// Rows of databases differ, and nothing else: checkpoint at the end of the journal, then a `Change` entry, then go on.
    NewRows { what: Vec<String> },
    /// Rows of databases differ, and the journal's were read later: another process read them, and the shard goes on with
    /// them.
    OldRows { what: Vec<String> },
    /// Changed and accepted: as with new rows.
    Accepted { what: Vec<String> },
}

/// Compares the identity of the last committed epoch with the one about to run.
pub fn plan_continuation(last: Option<&Identity>, now: &Identity, accept_change: bool) -> Result<Continuation> {
    let Some(last) = last else { return Ok(Continuation::Same) };
    if let Some(continuation) = other_rows(last, now) {
        return Ok(continuation);
    }
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

/// `Some` when the two differ in nothing but rows of databases.
fn other_rows(last: &Identity, now: &Identity) -> Option<Continuation> {
    let (before, after) = (last.tables.as_ref()?, now.tables.as_ref()?);
    let same_program =
        last.components == now.components && last.engine == now.engine && before.program == after.program;
    if !same_program || last.configuration == now.configuration {
        return None;
    }
    let mut what = Vec::new();
    let mut older = false;
    for (table, after) in &after.versions {
        let before = before.versions.get(table)?;
        if before.sha256 != after.sha256 {
            older |= after.read_at_ms < before.read_at_ms;
            what.push(format!(
                "the rows of side table {table} are {} ({} were {})",
                shown(after),
                after.rows,
                before.rows
            ));
        }
    }
    Some(if older { Continuation::OldRows { what } } else { Continuation::NewRows { what } })
}

fn shown(version: &TableVersion) -> String {
    format!("{}…", head(&version.sha256))
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
    use crate::persisted::TableVersions;

    fn identity(component: &str, configuration: &str, engine: &str) -> Identity {
        Identity {
            components: [("count".to_owned(), component.to_owned())].into(),
            configuration: configuration.to_owned(),
            engine: engine.to_owned(),
            tables: None,
        }
    }

    /// With one table of a database, whose rows were read at this time; the plan's digest follows from both.
    fn with_rows(program: &str, rows: &str, read_at_ms: i64) -> Identity {
        let version = TableVersion { sha256: rows.to_owned(), rows: 1, read_at_ms };
        let versions = [("count.airports".to_owned(), version)].into();
        Identity {
            tables: Some(TableVersions { program: program.to_owned(), versions }),
            ..identity("a", &format!("{program}+{rows}"), "c")
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

    #[test]
    fn other_rows_of_a_database_need_no_acceptance_and_are_named() {
        let now = with_rows("p", "new", 2);
        let found = plan_continuation(Some(&with_rows("p", "old", 1)), &now, false).unwrap();
        let Continuation::NewRows { what } = found else { panic!("{found:?}") };
        assert!(what[0].contains("count.airports"), "{what:?}");
    }

    #[test]
    fn the_same_rows_read_again_are_no_change() {
        let found = plan_continuation(Some(&with_rows("p", "same", 1)), &with_rows("p", "same", 2), false).unwrap();
        assert_eq!(found, Continuation::Same);
    }

    #[test]
    fn rows_that_were_read_before_those_of_the_journal_are_not_gone_back_to() {
        let found = plan_continuation(Some(&with_rows("p", "new", 2)), &with_rows("p", "old", 1), true).unwrap();
        assert!(matches!(found, Continuation::OldRows { .. }), "{found:?}");
    }

    #[test]
    fn other_rows_excuse_no_other_change() {
        let last = with_rows("p", "old", 1);
        let component = Identity { components: identity("x", "", "").components, ..with_rows("p", "new", 2) };
        let engine = Identity { engine: "x".to_owned(), ..with_rows("p", "new", 2) };
        let from_a_file = identity("a", "p+old", "c");
        for (last, now) in [
            (&last, &with_rows("q", "new", 2)),
            (&last, &component),
            (&last, &engine),
            (&last, &identity("a", "p+new", "c")),
            (&from_a_file, &with_rows("p", "new", 2)),
        ] {
            assert_eq!(plan_continuation(Some(last), now, false).unwrap_err().code(), Code::ChangedPipeline, "{now:?}");
        }
    }
}
