//! Languages that plugins are written in: what differs from one to the other.
//!
//! - `c`: one file, compiled by clang with the SDK's sources
//! - `js`: modules in JavaScript or TypeScript, which an engine runs that componentize-js puts into the component
//! - `python`: classes, which an interpreter runs that componentize-py puts into the component
//! - `rust`: crates, compiled by cargo
//!
//! Owns: the list of languages, how a folder is known as a project of one, and what each of them has to do.
//! Does not own: what is the same for all: the pipeline and the scenarios of a new project (`template`), reports (`build`),
//! admission (`segno_plugin`).
//!
//! Invariant: a folder is a project of one language: of the first in the list whose manifest it has.

mod c;
mod js;
mod python;
mod rust;

use super::template::Blank;
use segno_core::{Code, Error, Place, Result};
use segno_plugin::admission::Inspection;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sources of the SDKs, and the interfaces, as they were when this command was built.
mod carried {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// A language, with what was found out about its toolchain.
pub trait Language {
    /// As `--lang` and `doctor` name it.
    fn name(&self) -> &'static str;
    /// The file by which a folder is known as a project of this language.
    fn manifest(&self) -> &'static str;
    /// What builds plugins in this language here, in words. Looked for in `folder`, which may choose another version.
    fn toolchain(&self, folder: &Path) -> Result<String>;
    /// The plugin in `folder`, which exists and has the manifest.
    fn package(&self, folder: &Path) -> Result<Box<dyn Package>>;
    /// Refuses a name that the language's own tools would not take.
    fn check_name(&self, name: &str) -> Result<()>;
    /// The files of a new project that are this language's own: manifest, code, native tests, SDK, `ci.sh`, `.gitignore`.
    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files>;
    /// Symbolic links of a new project, and where each leads from its own folder.
    fn links(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// Files of a new project that are programs, beside ci.sh.
    fn programs(&self) -> &'static [&'static str] {
        &[]
    }
    /// What a record may cost the plugin of a new project: several times what it costs, since a few records share the cost of
    /// a call.
    fn fuel_per_record(&self, blank: &Blank) -> u64;
}

/// Contents by path, relative to the project's folder.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// A plugin's project, as the tools of its language see it.
pub trait Package {
    /// The file of its component.
    fn component(&self) -> String;
    /// Makes the component and writes it to `out`.
    fn build(&self, profile: Profile, out: &Path, quiet: bool) -> Result<Built>;
    /// Whether the same sources and tools make the same bytes.
    fn is_reproducible(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Release,
    /// Built fast, for the loop of `segno dev`.
    Quick,
}

/// A finished build.
pub struct Built {
    pub path: PathBuf,
    pub inspection: Inspection,
    pub took: Duration,
}

pub fn all() -> Vec<Box<dyn Language>> {
    vec![Box::new(rust::Rust::default()), Box::new(python::Python), Box::new(js::Js), Box::new(c::C)]
}

/// The language of that name.
pub fn named(name: &str) -> Result<Box<dyn Language>> {
    let known = all().iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    all().into_iter().find(|one| one.name() == name).ok_or_else(|| {
        Error::new(Code::NoLanguage, format!("\"{name}\" is no language that plugins are written in"))
            .with_help(format!("--lang takes one of: {known}"))
    })
}

/// The language of the project in a folder.
pub fn of(folder: &Path) -> Result<Box<dyn Language>> {
    let found = all().into_iter().find(|one| folder.join(one.manifest()).exists());
    found.ok_or_else(|| {
        let manifests = all().iter().map(|one| one.manifest()).collect::<Vec<_>>().join(", ");
        let (what, help) = match folder.is_dir() {
            true => (format!("is no plugin's project: it has no {manifests}"), "name the folder of the plugin, or make one with `segno new NAME`"),
            false => ("is no folder".to_owned(), "name the folder of the plugin"),
        };
        Error::new(Code::BuildFailed, format!("{} {what}", folder.display())).with_help(help).with_place(Place::file(folder))
    })
}

/// A name longer than this makes paths and metric labels that nobody reads.
const NAME_BYTES_MAX: usize = 64;

/// Refuses what is no name of a `what`: a crate, a module. `is_taken` knows the words that `whose` tools have already.
fn check_name(name: &str, what: &str, whose: &str, is_taken: impl Fn(&str) -> bool) -> Result<()> {
    let why = match name {
        "" => "it is empty".to_owned(),
        _ if name.len() > NAME_BYTES_MAX => format!("it is longer than {NAME_BYTES_MAX} characters"),
        _ if !name.starts_with(|first: char| first.is_ascii_lowercase()) => "it does not begin with a small letter".to_owned(),
        _ if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)) => {
            "it has other characters than a-z, 0-9, - and _".to_owned()
        }
        _ if is_taken(name) => format!("{whose} or the SDK has it already"),
        _ => return Ok(()),
    };
    Err(Error::new(Code::NoCrateName, format!("\"{name}\" is no name of a {what}: {why}"))
        .with_help("choose a name such as big-orders; the folder gets the same name"))
}

/// The files of an SDK that lies at `sdk` in a checkout, as a project keeps them in its folder `into`: as carried, or as the checkout has
/// them.
fn sdk_files(carried: &[(&str, &[u8])], sdk: &str, into: &str, checkout: Option<&Path>) -> Result<Files> {
    let file = |(path, carried): &(&str, &[u8])| {
        let bytes = match checkout {
            None => carried.to_vec(),
            Some(checkout) => std::fs::read(checkout.join(sdk).join(path)).map_err(|error| {
                Error::new(Code::NoSdk, format!("{} is no checkout of Segno: it has no {sdk}/{path}", checkout.display()))
                    .with_cause(error)
                    .with_help("name the root of a checkout, or leave --sdk out: the command carries the SDK's sources")
            })?,
        };
        Ok((Path::new(into).join(path), bytes))
    };
    carried.iter().map(file).collect()
}

/// Writes a component, and the folders above it.
fn write(out: &Path, component: &[u8]) -> Result<()> {
    let made = out.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(out, component))
        .map_err(|error| Error::new(Code::BuildFailed, format!("{} cannot be written", out.display())).with_cause(error))
}

/// The first line of what a program prints.
fn says(program: &str, args: &[&str], folder: &Path) -> Option<String> {
    let output = std::process::Command::new(program).args(args).current_dir(folder).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
