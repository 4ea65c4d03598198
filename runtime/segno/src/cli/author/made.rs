//! A component that is there already, of the same sources: not made again where making it takes long.
//!
//! Owns: what a project's sources are, and the note beside a component that says of which it was made. Does not own: making it
//! (`language`).
//!
//! Invariant: only a component that is what it was when it was noted, of sources that are the same bytes, by the same command, is taken.

use super::language::{Built, Profile};
use super::project::Project;
use super::{CONTRACT, PIPELINE, SCENARIOS};
use segno_core::Result;
use segno_plugin::admission;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Folders that tools write.
pub const WRITTEN: [&str; 5] = ["target", "node_modules", ".segno", ".git", "expected"];
/// Files that say what is done with a component, not what it is.
const OF_NO_SOURCE: [&str; 5] = [PIPELINE, CONTRACT, "pipeline.schema.json", "ci.sh", "README.md"];
/// Where tools are that the environment names.
const TOOLS: [&str; 3] = ["SEGNO_COMPONENTIZE_PY", "SEGNO_COMPONENTIZE_JS", "PATH"];

impl Project {
    /// The component at `out`: made, unless it is there and was made of these sources.
    pub fn made(&self, profile: Profile, out: &Path) -> Result<Built> {
        let noted = if self.is_noted() { self.noted(out, &self.sources(profile)) } else { None };
        noted.map_or_else(|| self.make(profile, out, true), Ok)
    }

    /// Where the same sources make the same bytes, making them is fast, and the tools know best what has changed.
    fn is_noted(&self) -> bool {
        !self.package.is_reproducible()
    }

    /// Makes the component, and notes of what.
    pub fn make(&self, profile: Profile, out: &Path, quiet: bool) -> Result<Built> {
        if !self.is_noted() {
            return self.package.build(profile, out, quiet);
        }
        // Before: what is changed meanwhile is a change.
        let sources = self.sources(profile);
        let built = self.package.build(profile, out, quiet)?;
        let note = self.note(out);
        // Without a note it is made again the next time.
        let _ = std::fs::create_dir_all(note.parent().unwrap_or(Path::new("")));
        let _ = std::fs::write(note, format!("{sources} {}\n", built.inspection.sha256));
        Ok(built)
    }

    fn note(&self, out: &Path) -> PathBuf {
        // By the whole path: two components of a project may have one name.
        let out = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
        let name = blake3::hash(out.as_os_str().as_encoded_bytes()).to_hex();
        self.folder.join(".segno/made").join(&name[..16])
    }

    fn noted(&self, out: &Path, sources: &str) -> Option<Built> {
        let note = std::fs::read_to_string(self.note(out)).ok()?;
        let (of, component) = note.trim_end().split_once(' ')?;
        let inspection = (of == sources).then(|| admission::admit(&std::fs::read(out).ok()?).ok())??;
        (inspection.sha256 == component).then(|| Built { path: out.to_owned(), inspection, took: Duration::ZERO })
    }

    /// A hash of everything that the component is made of. What cannot be read, such as the link by which an editor locks a file, is
    /// left to the tools.
    fn sources(&self, profile: Profile) -> String {
        let mut hash = blake3::Hasher::new();
        let command = std::env::current_exe().and_then(|path| path.metadata()).ok();
        let command = command.map(|found| (found.len(), found.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default()));
        hash.update(format!("{profile:?} {command:?} {:?}", TOOLS.map(std::env::var_os)).as_bytes());
        let mut files = Vec::new();
        collect(&self.folder, &mut files);
        files.sort();
        for file in files {
            let Ok(bytes) = std::fs::read(&file) else { continue };
            hash.update(file.strip_prefix(&self.folder).unwrap_or(&file).as_os_str().as_encoded_bytes());
            hash.update(&[0]);
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
        // What is installed changes with what says what is to be installed, and by its own time.
        let installed = self.folder.join("node_modules");
        for entry in std::fs::read_dir(installed).into_iter().flatten().flatten() {
            hash.update(format!("{:?} {:?}", entry.file_name(), entry.metadata().and_then(|found| found.modified()).ok()).as_bytes());
        }
        hash.finalize().to_hex().to_string()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let is = |names: &[&str]| names.iter().any(|one| name == *one);
        // Links to folders are not followed: they may lead in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !is(&WRITTEN) && !is(&[SCENARIOS, "__pycache__"]) {
                collect(&path, files);
            }
        } else if !is(&OF_NO_SOURCE) && path.extension().is_none_or(|ending| ending != "wasm" && ending != "jsonl") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_a_circle_and_locks_of_editors_stop_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["src", "target", ".segno", "scenarios"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("a.py"), "1").unwrap();
        }
        for name in ["sample.jsonl", "x.wasm", "pipeline.yaml", "b.py"] {
            std::fs::write(folder.path().join(name), "1").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("src/up")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join(".#b.py")).unwrap();
        let mut files = Vec::new();
        collect(folder.path(), &mut files);
        let mut names: Vec<String> = files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
        names.sort();
        assert_eq!(names, [".#b.py", "b.py", "src/a.py", "src/up"]);
    }
}
