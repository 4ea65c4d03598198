//! Golden folders: a pipeline, its input, and what must come of it.
//!
//! A folder of tests/scenarios holds pipeline.yaml and its files, and of these what applies:
//! - `args`: commands, one a line, run in a copy of the folder; `run -q pipeline.yaml` if there is none. A line that
//!   begins with `$` is for the shell. All but the last must succeed; the last one is judged.
//! - `error.txt`: the exit code of the last command, then texts that it must say.
//! - `expected/NAME.jsonl`: the files of the folder NAME, one after the other. `expected/stdout.txt`: standard output.
//!
//! Every line of input has a fate: without `error.txt`, the test is whole only with an `expected`.
//! SEGNO_BLESS=1 writes `expected` anew, to be read before it is committed.

use crate::lab::{finish, read_folder, repository, text, variable};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("tests/scenarios")).expect("tests/scenarios");
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a scenario").flatten() {
        let name = entry.file_name();
        if entry.path().is_dir() {
            if name != "expected" {
                std::fs::create_dir(to.join(&name)).expect("a folder");
                copy(&entry.path(), &to.join(&name));
            }
        } else if name != "args" && name != "error.txt" {
            std::fs::copy(entry.path(), to.join(&name)).expect("a file");
        }
    }
}

fn execute(line: &str, folder: &Path) -> Output {
    let mut command = match line.strip_prefix('$') {
        Some(script) => {
            let mut command = Command::new("sh");
            command.arg("-ec").arg(script);
            command
        }
        None => {
            let mut command = Command::new(variable("SEGNO_BIN"));
            command.args(line.split_whitespace());
            command
        }
    };
    command.current_dir(folder).env_remove("FAILPOINTS").env_remove("NOBODY_SETS_THIS");
    command.env("SEGNO_COMPONENTS", variable("SEGNO_COMPONENTS")).env("SEGNO_BIN", variable("SEGNO_BIN"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().expect("a command starts"))
}

/// Another compiler gives a component another hash.
fn without_hashes(mut text: String) -> String {
    const BEFORE: &str = "\"component\":\"";
    let mut from = 0;
    while let Some(at) = text[from..].find(BEFORE).map(|at| from + at + BEFORE.len()) {
        let end = text[at..].find('"').map_or(text.len(), |length| at + length);
        text.replace_range(at..end, "-");
        from = at;
    }
    text
}

/// What went wrong, in words.
fn play(scenario: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder for the scenario");
    copy(scenario, folder.path());
    let args = std::fs::read_to_string(scenario.join("args")).unwrap_or_else(|_| "run -q pipeline.yaml".to_owned());
    let lines: Vec<&str> = args.lines().filter(|line| !line.trim().is_empty()).collect();
    let (last, before) = lines.split_last().ok_or("args is empty")?;
    for line in before {
        let output = execute(line, folder.path());
        if !output.status.success() {
            return Err(format!("`{line}` failed with {}: {}", output.status, text(&output.stderr)));
        }
    }
    let output = execute(last, folder.path());
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    let error = std::fs::read_to_string(scenario.join("error.txt")).ok();
    let mut wanted = error.as_deref().unwrap_or("exit 0").lines();
    let exit = wanted.next().and_then(|line| line.strip_prefix("exit ")).and_then(|code| code.parse::<i32>().ok());
    if exit.is_none() {
        return Err("error.txt does not begin with `exit N`".to_owned());
    }
    if output.status.code() != exit {
        return Err(format!("`{last}` ended with {}, must end with {exit:?}: {said}{printed}", output.status));
    }
    // Errors may be wrapped anywhere.
    let flat = |text: &str| text.split(|c: char| c.is_whitespace() || c == '│').collect::<String>();
    for part in wanted.filter(|part| !part.is_empty()) {
        if !flat(&said).contains(&flat(part)) && !flat(&printed).contains(&flat(part)) {
            return Err(format!("`{part}` is not said: {said}{printed}"));
        }
    }
    // A plugin's own panic is quoted; one of Segno names its source.
    if said.contains("panicked at runtime/") || said.contains("RUST_BACKTRACE") {
        return Err(format!("it panicked: {said}"));
    }
    let expected = scenario.join("expected");
    let bless = std::env::var_os("SEGNO_BLESS").is_some() && (expected.is_dir() || error.is_none());
    if bless && !expected.is_dir() {
        std::fs::create_dir(&expected).expect("a folder");
        for name in ["out", "dead"].iter().filter(|name| folder.path().join(name).is_dir()) {
            std::fs::write(expected.join(format!("{name}.jsonl")), "").expect("a file");
        }
    }
    let mut files: Vec<PathBuf> = match std::fs::read_dir(&expected) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) if error.is_some() => Vec::new(),
        Err(_) => return Err("neither error.txt nor expected".to_owned()),
    };
    files.sort();
    if files.is_empty() && error.is_none() {
        return Err("expected is empty: nothing is compared".to_owned());
    }
    for file in &files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let found = if name == "stdout" { printed.clone() } else { text(&read_folder(&folder.path().join(&name))) };
        let found = without_hashes(found);
        if bless {
            std::fs::write(file, &found).expect("a file");
        }
        let expected = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if found != expected {
            return Err(format!("{name} is\n{found}and must be\n{expected}standard error: {said}"));
        }
    }
    Ok(())
}

#[test]
fn every_scenario_ends_as_its_folder_says() {
    let folders = folders();
    assert!(folders.len() >= 50, "scenarios are missing: {} folders", folders.len());
    let failed: Vec<String> = folders
        .iter()
        .filter_map(|folder| play(folder).err().map(|why| format!("{}: {why}", folder.file_name().unwrap_or_default().display())))
        .collect();
    println!("## {} scenarios", folders.len());
    assert!(failed.is_empty(), "{} scenarios failed\n\n{}", failed.len(), failed.join("\n\n"));
}
