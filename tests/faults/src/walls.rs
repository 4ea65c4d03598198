//! Walls between crates: what a crate may name, checked in its manifest and in its sources.
//!
//! Owns: invariants of absence. Does not own: what the crates do behind their walls.

use crate::lab::repository;
use std::path::{Path, PathBuf};

/// A library with a large surface, and the one crate that may name it.
const CONFINED: &[(&str, &str)] = &[
    ("wasmtime", "runtime/plugin"),
    ("rocksdb", "runtime/durable"),
    ("object_store", "runtime/durable"),
    ("rdkafka", "runtime/kafka"),
    ("tokio_postgres", "runtime/postgres"),
    ("openssl", "runtime/postgres"),
];

/// Files with this ending, without build folders.
fn sources(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path, ending));
        } else if path.is_file() && name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the repository")
}

/// Names that a manifest depends on, with `_` for `-`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                names.push(name.replace('-', "_"));
            }
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.push(name.replace('-', "_"));
        }
    }
    names
}

/// Manifests of the crates under these folders.
fn manifests(folders: &[&str]) -> Vec<PathBuf> {
    let found: Vec<PathBuf> = folders.iter().flat_map(|folder| sources(&repository().join(folder), "Cargo.toml")).collect();
    assert!(!found.is_empty(), "{folders:?} have no crates");
    found
}

fn none_depends(folders: &[&str], forbidden: impl Fn(&str) -> bool) {
    for manifest in manifests(folders) {
        let wrong: Vec<String> = dependencies(&read(&manifest)).into_iter().filter(|name| forbidden(name)).collect();
        assert!(wrong.is_empty(), "{} depends on {wrong:?}", manifest.display());
    }
}

fn of_the_runtime(name: &str) -> bool {
    ["segno", "segno_core", "segno_input", "segno_plugin", "segno_durable", "segno_postgres"].contains(&name)
}

#[test]
fn large_libraries_are_named_by_one_crate_only() {
    let all = ["wit", "sdk", "runtime", "plugins", "bench", "tests", "examples"];
    for (library, home) in CONFINED {
        let home = repository().join(if home.is_empty() { "nowhere" } else { home });
        let at_home = |path: &Path| path.starts_with(&home);
        let mut owners = 0;
        for manifest in sources(repository(), "Cargo.toml").iter().filter(|path| path.parent() != Some(repository())) {
            if dependencies(&read(manifest)).iter().any(|name| name == library) {
                assert!(at_home(manifest), "{} depends on {library}", manifest.display());
                owners += 1;
            }
        }
        assert_eq!(owners, usize::from(home.exists()), "{library} has another number of owners: the list above is out of date");
        for folder in all.iter().map(|folder| repository().join(folder)).filter(|folder| folder.is_dir()) {
            for source in sources(&folder, ".rs").iter().filter(|path| !at_home(path)) {
                let text = read(source);
                let named = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| {
                    line.contains(&format!("{library}::")) || line.starts_with(&format!("use {library};"))
                });
                assert!(!named, "{} names {library}", source.display());
            }
        }
    }
}

#[test]
fn the_runtime_never_depends_on_the_sdk() {
    none_depends(&["runtime"], |name| name.starts_with("segno_sdk"));
}

#[test]
fn the_boundary_and_the_sdk_know_nothing_of_the_runtime() {
    none_depends(&["wit", "sdk"], of_the_runtime);
    none_depends(&["wit"], |name| name.starts_with("segno"));
}

#[test]
fn no_guest_depends_on_the_runtime() {
    none_depends(&["plugins", "tests/guests"], of_the_runtime);
}

#[test]
fn tests_from_outside_link_no_crate_of_segno() {
    none_depends(&["tests/faults", "tests/checker", "tests/proxy"], |name| name.starts_with("segno"));
}

#[test]
fn every_source_file_says_what_it_owns() {
    for folder in ["runtime", "sdk", "wit"] {
        for source in sources(&repository().join(folder), ".rs") {
            assert!(read(&source).starts_with("//!"), "{} does not open with //!", source.display());
        }
    }
}

/// A build cache outlives the clone that filled it, and the next clone lies elsewhere: what the compiler saw of the folder
/// then is not there any more.
#[test]
fn no_file_keeps_the_folder_in_which_it_was_compiled() {
    let written = ["env!(\"CARGO", "_MANIFEST_DIR\")"].concat();
    for source in sources(repository(), ".rs") {
        assert!(!read(&source).contains(&written), "{} keeps its folder: use the working directory", source.display());
    }
}
