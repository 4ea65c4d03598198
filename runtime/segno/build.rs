//! Puts the sources of the SDKs into the command, so that `segno new` needs no checkout and no registry that has them.
//!
//! Owns: which files these are, and the manifests that make those of Rust a workspace of their own.
//! Does not own: where a project keeps them (`cli::author::language`).
//!
//! Invariant: contents are copied into what is compiled. A path would be one of the clone that compiled it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

const ROOT: &str = "../..";
const CRATES: [&str; 3] = ["sdk/rust", "sdk/rust-derive", "wit"];
/// The cookbook is a part of the SDK's documentation.
const AS_THEY_ARE: [&str; 2] = ["LICENSE", "docs/operators.md"];
/// What the SDK takes from the registry, in the versions that it is tested with here.
const LOCKED: [(&str, &str); 4] = [("proc-macro2", "1."), ("quote", "1."), ("syn", "2."), ("unicode-ident", "1.")];

fn main() {
    let mut files = Vec::new();
    let read = |path: &Path| std::fs::read(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = |path: &str| String::from_utf8(read(Path::new(path))).unwrap_or_else(|error| panic!("{path}: {error}"));
    for one in CRATES {
        let manifest = without_tests(&text(&format!("{one}/Cargo.toml")));
        files.push((format!("{one}/Cargo.toml"), manifest.into_bytes()));
        for path in sources(&Path::new(one).join("src")) {
            let name = path.to_str().expect("a name in UTF-8").to_owned();
            files.push((name, read(&path)));
        }
        println!("cargo::rerun-if-changed={ROOT}/{one}");
    }
    files.push(("Cargo.toml".to_owned(), workspace(&text("Cargo.toml")).into_bytes()));
    for file in AS_THEY_ARE {
        files.push((file.to_owned(), read(Path::new(file))));
    }
    for file in AS_THEY_ARE.iter().chain(&["Cargo.toml", "Cargo.lock"]) {
        println!("cargo::rerun-if-changed={ROOT}/{file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    files.sort();
    let mut code = constant("RUST", &files);
    writeln!(code, "pub const LOCKED: &str = {:?};", locked(&text("Cargo.lock"))).expect("text grows");
    code.push_str(&constant("PYTHON", &folder(Path::new("sdk/python"), Path::new("sdk/python/segno"), "py")));
    let mut js = folder(Path::new("sdk/js"), Path::new("sdk/js/src"), "js");
    js.extend(folder(Path::new("sdk/js"), Path::new("sdk/js/src"), "ts"));
    js.push(("package.json".to_owned(), read(Path::new("sdk/js/package.json"))));
    println!("cargo::rerun-if-changed={ROOT}/sdk/js/package.json");
    js.sort();
    code.push_str(&constant("JS", &js));
    let mut c: Vec<(String, Vec<u8>)> = ["build.sh", "test.sh", "flags"].map(|name| (name.to_owned(), read(Path::new(&format!("sdk/c/{name}"))))).to_vec();
    for part in ["include", "sandbox", "src", "testing"] {
        for ending in ["c", "h", "s", "bin"] {
            c.extend(folder(Path::new("sdk/c"), Path::new(&format!("sdk/c/{part}")), ending));
        }
    }
    println!("cargo::rerun-if-changed={ROOT}/sdk/c");
    c.sort();
    code.push_str(&constant("C", &c));
    code.push_str(&constant("WIT", &folder(Path::new("wit"), Path::new("wit"), "wit")));
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(PathBuf::from(out).join("sdk.rs"), code).expect("OUT_DIR is writable");
}

/// A list of files as a constant.
fn constant(name: &str, files: &[(String, Vec<u8>)]) -> String {
    let mut code = format!("pub const {name}: &[(&str, &[u8])] = &[\n");
    for (name, bytes) in files {
        writeln!(code, "    ({name:?}, b\"{}\"),", bytes.escape_ascii()).expect("text grows");
    }
    code.push_str("];\n");
    code
}

/// The files of a folder that have this ending, with names relative to `base`.
fn folder(base: &Path, folder: &Path, ending: &str) -> Vec<(String, Vec<u8>)> {
    println!("cargo::rerun-if-changed={ROOT}/{}", folder.display());
    let mut paths: Vec<PathBuf> = sources(folder).into_iter().filter(|path| path.extension().is_some_and(|one| one == ending)).collect();
    paths.sort();
    let file = |path: &PathBuf| {
        let name = path.strip_prefix(base).ok().and_then(Path::to_str).expect("a name in UTF-8").to_owned();
        (name, std::fs::read(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    paths.iter().map(file).collect()
}

/// The files of a folder, relative to the root of the repository.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder of the SDK").flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() { found.extend(sources(&path)) } else { found.push(path) }
    }
    found
}

/// Sections of a manifest, each with its head.
fn sections(manifest: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in manifest.lines() {
        if line.starts_with('[') {
            sections.push(String::new());
        }
        let section = sections.last_mut().expect("there is one");
        section.push_str(line);
        section.push('\n');
    }
    sections
}

/// A crate's manifest without its tests, which need more than the SDK.
fn without_tests(manifest: &str) -> String {
    let is_kept = |section: &String| !section.starts_with("[[test]]") && !section.starts_with("[dev-dependencies]");
    sections(manifest).into_iter().filter(is_kept).collect()
}

/// The manifest of the workspace that the three crates make.
fn workspace(manifest: &str) -> String {
    let members: Vec<String> = CRATES.iter().map(|one| format!("{one:?}")).collect();
    let mut text = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n", members.join(", "));
    for section in sections(manifest) {
        if section.starts_with("[workspace.package]") {
            text.push_str(&section);
        } else if section.starts_with("[workspace.dependencies]") {
            text.push_str("[workspace.dependencies]\n");
            let ours = |line: &&str| CRATES.iter().any(|one| line.contains(&format!("path = {one:?}")));
            section.lines().filter(ours).for_each(|line| text.push_str(&format!("{line}\n")));
        }
    }
    text
}

/// The entries of what comes from the registry.
fn locked(lock: &str) -> String {
    let field = |entry: &str, name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let is_ours = |entry: &&str| {
        let (name, version) = (field(entry, "name"), field(entry, "version"));
        name.zip(version).is_some_and(|(name, version)| LOCKED.iter().any(|(one, major)| name == *one && version.starts_with(major)))
    };
    let entries: Vec<&str> = lock.split("\n\n").map(str::trim).filter(is_ours).collect();
    assert_eq!(entries.len(), LOCKED.len(), "Cargo.lock has {entries:?}");
    entries.join("\n\n")
}
