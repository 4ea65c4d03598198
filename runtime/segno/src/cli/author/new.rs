//! `segno new`: a project that runs before anything is filled in.
//!
//! Owns: what is refused before the first file is written, and writing them.
//! Does not own: which files a project has (`template`, `language`).
//!
//! Invariant: a folder that holds anything is left as it is.

use super::PIPELINE;
use super::language::{self, Files, Language};
use super::template::{Blank, Template};
use crate::cli::Outcome;
use crate::cli::console::Console;
use segno_core::{Code, Error, Place, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct NewArgs {
    /// Name of the plugin, and of its folder, which is made.
    #[arg(value_name = "NAME")]
    name: String,
    /// The language of the plugin: rust, python, js or c.
    #[arg(long, env = "SEGNO_LANG", value_name = "LANGUAGE", default_value = "rust")]
    lang: String,
    /// What the plugin does with orders: adds a column, leaves some out, adds up windows of event time, or finds their payments.
    #[arg(long, env = "SEGNO_TEMPLATE", value_enum, default_value_t = Template::Map)]
    template: Template,
    /// A checkout of Segno whose SDK the project uses; its sources are copied into the project if not given.
    #[arg(long, env = "SEGNO_SDK", value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub fn new(console: &Console, args: &NewArgs) -> Outcome {
    let language = language::named(&args.lang)?;
    language.check_name(&args.name)?;
    let folder = PathBuf::from(&args.name);
    let blank = Blank { name: &args.name, template: args.template };
    let files = files(language.as_ref(), &blank, args.sdk.as_deref())?;
    check_folder(&folder)?;
    for (name, bytes) in &files {
        write(&folder.join(name), bytes)?;
    }
    for (name, target) in language.links() {
        link(&folder.join(name), target)?;
    }
    for program in language.programs().iter().chain(&["ci.sh"]) {
        make_executable(&folder.join(program))?;
    }
    let shown = json!({"folder": folder.display().to_string(), "files": files.len(), "template": args.template.name()});
    let name = &args.name;
    console.result(
        || format!("{name}/ has a plugin, a pipeline and a golden test. Next:\n  cd {name}\n  segno build\n  segno run {PIPELINE}\n  segno test\n  segno dev\n"),
        &shown,
    );
    Ok(0)
}

fn check_folder(folder: &Path) -> Result<()> {
    let is_free = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound && folder.symlink_metadata().is_err(),
    };
    if is_free {
        return Ok(());
    }
    Err(Error::new(Code::NotEmpty, format!("{} is there already, and is no empty folder", folder.display()))
        .with_help("choose another name, or empty the folder: nothing is overwritten")
        .with_place(Place::file(folder)))
}

/// Every file of a project, in the order in which they are written.
fn files(language: &dyn Language, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
    let mut files = language.files(blank, checkout)?;
    files.extend(blank.files(language));
    Ok(files)
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Code::ProjectUnwritable, format!("{} cannot be written", path.display()))
        .with_cause(error)
        .with_help("make the project in a folder that this user may write to, on a disk that has room")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes)).map_err(|error| unwritable(path, error))
}

fn link(path: &Path, target: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::os::unix::fs::symlink(target, path)).map_err(|error| unwritable(path, error))
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|error| unwritable(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_no_placeholder_left() {
        for language in language::all() {
            for &template in <Template as clap::ValueEnum>::value_variants() {
                let blank = Blank { name: "big-orders", template };
                for (path, bytes) in files(language.as_ref(), &blank, None).unwrap() {
                    let text = String::from_utf8_lossy(&bytes);
                    assert!(path.starts_with("vendor") || path.starts_with("segno") || !text.contains("{{"), "{}: {text}", path.display());
                }
            }
        }
    }
}
