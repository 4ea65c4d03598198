//! `segno dev`: whenever a file of the project changes, the plugin is built and the pipeline runs on its sample again.
//!
//! Owns: watching, and the report of a round. Does not own: building (`build`), running (`play`).
//!
//! Invariants: a round that fails ends nothing: the next change is the next try. What a round itself writes starts none.

use super::language::{self, Language, Profile};
use super::made::WRITTEN;
use super::play::Play;
use super::project::Project;
use super::scenario;
use super::test::show;
use crate::cli::console::{Console, count, word};
use crate::cli::run::stop_on_signals;
use crate::cli::{Failure, Outcome};
use notify::{RecursiveMode, Watcher};
use segno_core::{Code, Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Editors write a file in several steps, and several files at once: a round begins when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(60);
/// How often a waiting round looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);
/// Where the component of this loop goes: never where a pipeline would find it.
const COMPONENT: &str = ".segno/dev";

#[derive(clap::Args)]
pub struct DevArgs {
    /// Folder of the plugin's project.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// One round, without waiting for changes.
    #[arg(long, env = "SEGNO_ONCE", value_parser = clap::builder::BoolishValueParser::new())]
    once: bool,
    /// Run the input and the configuration of this scenario, in place of the pipeline's sample.
    #[arg(long, env = "SEGNO_SCENARIO", value_name = "NAME")]
    scenario: Option<String>,
    /// Run only the record at this offset of the first source's file.
    #[arg(long, env = "SEGNO_RECORD", value_name = "OFFSET")]
    record: Option<u64>,
}

pub fn run(console: &Console, args: &DevArgs) -> Outcome {
    let language = language::of(&args.folder)?;
    language.toolchain(&args.folder)?;
    let project = Project::of(language.as_ref(), &args.folder)?;
    if args.once {
        return round(console, args, language.as_ref()).map(u8::from);
    }
    let stopping = stop_on_signals()?;
    let (changes, _watcher) = watch(&project.folder)?;
    loop {
        if let Err(Failure(errors)) = round(console, args, language.as_ref()) {
            errors.iter().for_each(|error| console.error(error));
        }
        console.note("── waiting for a change; Ctrl-C ends");
        loop {
            if stopping.load(Ordering::Relaxed) {
                return Ok(0);
            }
            match changes.recv_timeout(TICK) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(unwatched("the watcher ended").into()),
            }
        }
        while changes.recv_timeout(QUIET).is_ok() {}
    }
}

fn unwatched(why: impl std::fmt::Display) -> Error {
    Error::new(Code::NotWatched, "the project's files cannot be watched")
        .with_cause(why)
        .with_help("`segno dev --once` makes one round; on Linux, fs.inotify.max_user_watches may be too low")
}

/// Tells of changes to what the author writes.
fn watch(folder: &Path) -> Result<(Receiver<()>, notify::RecommendedWatcher)> {
    let (sender, receiver) = channel();
    let root = folder.to_owned();
    let tell = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let of_the_author = |path: &PathBuf| {
            let inside = path.strip_prefix(&root).unwrap_or(path);
            let written = inside.iter().any(|part| WRITTEN.iter().any(|one| part == *one));
            !written && path.extension().is_none_or(|ending| ending != "wasm") && !path.ends_with("Cargo.lock")
        };
        if !event.kind.is_access() && event.paths.iter().any(of_the_author) {
            let _ = sender.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).map_err(unwatched)?;
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(unwatched)?;
    // Not the folder as a whole: a build writes thousands of files below it.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if entry.path().is_dir() && !WRITTEN.iter().any(|one| name == *one) {
            watcher.watch(&entry.path(), RecursiveMode::Recursive).map_err(unwatched)?;
        }
    }
    Ok((receiver, watcher))
}

/// Builds and runs once. True when the plugin failed at a record, `segno run` would have stopped at one, or none came through.
fn round(console: &Console, args: &DevArgs, language: &dyn Language) -> std::result::Result<bool, Failure> {
    let started = Instant::now();
    let project = Project::of(language, &args.folder)?;
    let component = project.folder.join(COMPONENT).join(project.package.component());
    let built = project.made(Profile::Quick, &component)?;
    let playing = Instant::now();
    let (inputs, config) = match &args.scenario {
        None => (BTreeMap::new(), Value::Null),
        Some(name) => {
            let given = scenario::all(&project, Some(name))?[0].given()?.clone();
            (given.inputs, given.config)
        }
    };
    let batch_rows = segno_core::pipeline::BATCH_ROWS_DEFAULT;
    let played = Play { project: &project, component: &component, inputs, only: args.record, config, batch_rows }.run()?;
    let of = args.scenario.as_ref().map_or(String::new(), |name| format!(" --scenario {}", word(name)));
    let again = |letter: &Value| format!("segno dev {} --once{of} --record {}", word(&args.folder), letter["offset"]);
    let (text, mut shown) = show(&played, &again);
    shown["build_seconds"] = built.took.as_secs_f64().into();
    shown["seconds"] = started.elapsed().as_secs_f64().into();
    console.result(|| text, &shown);
    console.note(&format!(
        "{}, {}; built in {:.1} s, ran in {:.1} s",
        count(played.records, "record"),
        count(played.letters.len() as u64, "dead letter"),
        built.took.as_secs_f64(),
        playing.elapsed().as_secs_f64(),
    ));
    if played.is_in_vain() {
        console.note("no record came through: each is a dead letter");
    }
    let is_wrong = |letter: &Value| super::failure::is_failure(letter) || super::play::stops(letter);
    Ok(played.is_in_vain() || played.letters.iter().any(is_wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_cannot_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        assert_eq!(watch(&gone).err().map(|error| error.code()), Some(Code::NotWatched));
    }

    #[test]
    fn what_tools_write_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["src", "target", ".segno"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (changes, _watcher) = watch(folder.path()).unwrap();
        for name in ["target/x", ".segno/y", "plugin.wasm", "Cargo.lock"] {
            std::fs::write(folder.path().join(name), "1").unwrap();
        }
        std::fs::write(folder.path().join("src/lib.rs"), "1").unwrap();
        changes.recv_timeout(Duration::from_secs(10)).unwrap();
        // Those before it were told in order: none of them was sent.
        while changes.recv_timeout(QUIET).is_ok() {}
        std::fs::write(folder.path().join("plugin.wasm"), "2").unwrap();
        assert!(changes.recv_timeout(QUIET * 5).is_err());
    }
}
