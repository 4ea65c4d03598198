//! Every scenario through the conformance component of every language, by the released command.
//!
//! Owns: which settings a scenario runs with, and what is compared. Does not own: running and reading (`play`), the list of
//! languages (`languages`).
//!
//! Invariant: what is expected is the same for all languages and all settings, but for what README.md calls a language's own.

mod languages;
mod play;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use languages::Language;
use play::{Found, Scenario, Setting, Stop};

/// Batches of 1, 7 and 1024 records; one thread and several; one epoch and many; kills with local state and without.
const SETTINGS: [Setting; 4] = [
    Setting { name: "batches of 7, epochs of 20", batch_rows: 7, threads: 2, lanes: 8, epoch: EPOCH, stop: Stop::Never },
    Setting { name: "batches of 1024, one thread, one epoch", batch_rows: 1024, threads: 1, lanes: 8, epoch: 100_000, stop: Stop::Never },
    Setting { name: "batches of 1, one lane, killed after a commit", batch_rows: 1, threads: 1, lanes: 1, epoch: 23, stop: Stop::Killed },
    Setting { name: "batches of 7, three threads, killed, state lost", batch_rows: 7, threads: 3, lanes: 5, epoch: 9, stop: Stop::StateLost },
];

/// The setting whose epochs' digests are compared.
const EPOCHS: usize = 0;
const EPOCH: u32 = 20;

/// What a run has apart from a file for each port.
const DLQ: &str = "dlq";

pub fn every_scenario(language: &Language) {
    play::describes(language);
    let only = std::env::var("SEGNO_SCENARIO").ok();
    let mut scenarios = Scenario::all();
    assert!(scenarios.len() >= 16, "scenarios are missing: {} are there", scenarios.len());
    scenarios.retain(|scenario| only.as_ref().is_none_or(|only| *only == scenario.name));
    // Two at a time: a command waits for its disk as often as for a core.
    let next = AtomicUsize::new(0);
    let some = || {
        let taken = std::iter::repeat_with(|| scenarios.get(next.fetch_add(1, Ordering::Relaxed))).map_while(|scenario| scenario);
        taken.filter_map(|scenario| run(language, scenario).err()).collect::<Vec<String>>()
    };
    let mut wrong = std::thread::scope(|scope| {
        let other = scope.spawn(some);
        let mut wrong = some();
        wrong.extend(other.join().expect("a thread of the suite"));
        wrong
    });
    wrong.sort();
    if only.is_none() {
        wrong.extend(play::refuses(language));
    }
    assert!(wrong.is_empty(), "{} of {} scenarios:\n{}", language.name, scenarios.len(), wrong.join("\n"));
    println!("## {}: {} scenarios, each with {} settings", language.name, scenarios.len(), SETTINGS.len());
}

fn run(language: &Language, scenario: &Scenario) -> Result<(), String> {
    let bless = std::env::var_os("SEGNO_BLESS").is_some();
    let mut first: Option<BTreeMap<String, Vec<String>>> = None;
    for (number, setting) in SETTINGS.iter().enumerate() {
        let at = format!("{} in {}, {}", scenario.name, language.name, setting.name);
        let Found { mut files, epochs, logs, counters } =
            play::run(language, scenario, setting).map_err(|error| format!("{at}: {error}"))?;
        let own = files.clone();
        if let Some(first) = &first {
            // All settings of a language agree, also in what is its own.
            compare(&at, "with the first setting", first, &own)?;
        }
        first.get_or_insert(own);
        scenario.mask(&mut files);
        // Digests of rows that hold a language's own are its own.
        if number == EPOCHS && !scenario.has_own() {
            files.insert("epochs".to_owned(), epochs);
        }
        if bless && number == EPOCHS {
            assert_eq!(language.name, "rust", "what is expected is recorded from the reference");
            scenario.record(&files, &logs, &counters);
        }
        let mut expected = scenario.expected();
        if number != EPOCHS {
            expected.remove("epochs");
        }
        compare(&at, "as expected", &expected, &files)?;
        // A kill loses or repeats what is told only.
        if let (Stop::Never, Some(wanted)) = (setting.stop, scenario.logs()) {
            let both = |lines| BTreeMap::from([("logs".to_owned(), lines)]);
            compare(&at, "as expected", &both(wanted), &both(logs))?;
        }
        if let Some(wanted) = scenario.counters().filter(|wanted| *wanted != counters) {
            return Err(format!("{at}: counters are\n    {counters}\n  and must be\n    {wanted}"));
        }
    }
    Ok(())
}

/// The first line that differs, with its file.
fn compare(at: &str, how: &str, wanted: &BTreeMap<String, Vec<String>>, found: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let none = Vec::new();
    let names: std::collections::BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    for name in names {
        let (wanted, found) = (wanted.get(name).unwrap_or(&none), found.get(name).unwrap_or(&none));
        if wanted != found {
            let line = wanted.iter().zip(found).take_while(|(one, other)| one == other).count();
            let shown = |lines: &[String]| lines.get(line).map_or("(no line)".to_owned(), Clone::clone);
            return Err(format!(
                "{at}: {name}, line {} of {}, is not {how}\n    {}\n  and must be\n    {}",
                line + 1,
                found.len(),
                shown(found),
                shown(wanted)
            ));
        }
    }
    Ok(())
}

/// Tests run in their crate's folder.
fn folder() -> PathBuf {
    Path::new(".").canonicalize().expect("the folder of the suite")
}

/// What README.md says of numbers, timers and windows, worked out by a program that shares nothing with any SDK.
#[test]
fn expected_files_follow_from_the_page() {
    let output = std::process::Command::new("python3").arg("derive.py").current_dir(folder()).output().expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    print!("{said}");
}
