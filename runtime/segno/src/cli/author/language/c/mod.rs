//! Plugins in C: one file, compiled by clang with the SDK's sources, and wrapped as a component.
//!
//! Owns: finding clang and wasm-ld, and the files of a new project. Does not own: what these are told (`build.sh` and `flags` of the
//! SDK), the SDK (`sdk/c`), the wrapping and admission (`segno_plugin`).
//!
//! Invariants: the same sources and the same compiler give the same component, wherever they lie. No hosted header is seen: what a
//! plugin includes is the SDK's.

use super::{Built, Files, Language, Profile, carried, says};
use crate::cli::author::template::{Blank, Template};
use segno_core::{Code, Error, Place, Result};
use segno_plugin::admission;
use segno_plugin::component::componentize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MANIFEST: &str = "segno.toml";
/// Other programs than those on the path; the names are the SDK's, too.
const CLANG: &str = "CLANG";
const WASM_LD: &str = "WASM_LD";
/// The oldest version that the SDK's tests passed with; an older linker cannot read what a newer compiler writes.
const CLANG_MIN: u32 = 14;
/// Where a project keeps the SDK.
const SDK: &str = "segno";

pub struct C;

struct Project {
    /// As segno.toml has them.
    name: String,
    version: String,
    folder: PathBuf,
    sdk: PathBuf,
}

struct Tools {
    clang: String,
    wasm_ld: String,
    described: String,
}

/// The first number in a line such as `Debian clang version 14.0.6`.
fn major(said: &str) -> Option<u32> {
    let digits: String = said.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

impl Tools {
    fn find() -> Result<Tools> {
        let named = |variable: &str, program: &str| std::env::var(variable).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| program.to_owned());
        let (clang, wasm_ld) = (named(CLANG, "clang"), named(WASM_LD, "wasm-ld"));
        let help = format!("install clang and lld {CLANG_MIN} or newer (on Debian and Ubuntu: apt install clang lld); or name them with {CLANG} and {WASM_LD}");
        let version = |program: &str| {
            let said = says(program, &["--version"], Path::new(".")).ok_or_else(|| {
                Error::new(Code::ToolchainMissing, format!("plugins in C cannot be built here: {program} cannot be started")).with_help(help.clone())
            })?;
            let major = major(&said).unwrap_or(0);
            if major < CLANG_MIN {
                return Err(Error::new(Code::ToolchainOld, format!("{said} is there, and the SDK needs {CLANG_MIN}")).with_help(help.clone()));
            }
            Ok((major, said))
        };
        let ((compiler, said), (linker, _)) = (version(&clang)?, version(&wasm_ld)?);
        if linker < compiler {
            let what = format!("{wasm_ld} is of version {linker}, and cannot read what {clang} of version {compiler} writes");
            return Err(Error::new(Code::ToolchainOld, what).with_help(help));
        }
        let targets = Command::new(&clang).arg("--print-targets").output().ok();
        if targets.is_some_and(|output| !String::from_utf8_lossy(&output.stdout).contains("wasm32")) {
            return Err(Error::new(Code::ToolchainMissing, format!("{clang} does not compile for wasm32")).with_help(help));
        }
        Ok(Tools { clang, wasm_ld, described: format!("{said}, wasm-ld {linker}") })
    }
}

impl Language for C {
    fn name(&self) -> &'static str {
        "c"
    }

    fn manifest(&self) -> &'static str {
        MANIFEST
    }

    fn toolchain(&self, _: &Path) -> Result<String> {
        Ok(Tools::find()?.described)
    }

    fn package(&self, folder: &Path) -> Result<Box<dyn super::Package>> {
        Ok(Box::new(Project::read(folder)?))
    }

    fn check_name(&self, name: &str) -> Result<()> {
        super::check_name(name, "plugin", "C", |name| name == SDK || name.starts_with("test_"))
    }

    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
        let (code, test) = match blank.template {
            Template::Map => (include_str!("templates/map/plugin.c"), include_str!("templates/map/test.c")),
            Template::Filter => (include_str!("templates/filter/plugin.c"), include_str!("templates/filter/test.c")),
            Template::Window => (include_str!("templates/window/plugin.c"), include_str!("templates/window/test.c")),
            Template::Join => (include_str!("templates/join/plugin.c"), include_str!("templates/join/test.c")),
        };
        let module = blank.module();
        let own = [
            (MANIFEST.to_owned(), include_str!("templates/segno.toml.in")),
            (format!("{module}.c"), code),
            (format!("test_{module}.c"), test),
            (".gitignore".to_owned(), include_str!("templates/gitignore")),
            ("ci.sh".to_owned(), include_str!("templates/ci.sh")),
        ];
        let mut files: Files = own.into_iter().map(|(path, text)| (PathBuf::from(path), blank.fill(text).into_bytes())).collect();
        files.extend(super::sdk_files(carried::C, "sdk/c", SDK, checkout)?);
        Ok(files)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["segno/build.sh", "segno/test.sh"]
    }

    fn fuel_per_record(&self, blank: &Blank) -> u64 {
        match blank.template {
            Template::Map | Template::Filter => 5_000,
            Template::Window | Template::Join => 100_000,
        }
    }
}

impl Project {
    fn read(folder: &Path) -> Result<Project> {
        let file = folder.join(MANIFEST);
        let failed = |message: String| Error::new(Code::BuildFailed, message).with_place(Place::file(&file));
        let text = std::fs::read_to_string(&file).map_err(|error| failed(format!("{MANIFEST} cannot be read")).with_cause(error))?;
        let manifest: toml_edit::Document<String> =
            text.parse().map_err(|error: toml_edit::TomlError| failed(format!("{MANIFEST} is no TOML")).with_cause(error))?;
        let field = |name: &str| manifest.get(name).and_then(|value| value.as_str());
        let name = field("name").unwrap_or_default();
        // It becomes the name of a file, and a text in C.
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte)) && !text.is_empty();
        if !is_plain(name) || name.contains('.') {
            return Err(failed(format!("{MANIFEST} has no name that a plugin can have: \"{}\"", name.escape_debug()))
                .with_help("write name = \"big-orders\"; the plugin is big_orders.c"));
        }
        let version = field("version").unwrap_or("0");
        if !is_plain(version) {
            return Err(failed(format!("\"{}\" is no version", version.escape_debug())).with_help("write version = \"0.1.0\""));
        }
        let sdk = folder.join(field("sdk").unwrap_or(SDK));
        if !sdk.join("build.sh").exists() {
            return Err(failed(format!("{} has no SDK", sdk.display()))
                .with_help(format!("`segno new` puts it into the folder {SDK}/; where it lies elsewhere, {MANIFEST} says so: sdk = \"../sdk\"")));
        }
        let project = Project { name: name.to_owned(), version: version.to_owned(), folder: folder.to_owned(), sdk };
        let source = project.source();
        match folder.join(&source).is_file() {
            true => Ok(project),
            false => Err(failed(format!("the project has no {source}")).with_help(format!("{MANIFEST} says name = \"{name}\": that is the file of the plugin"))),
        }
    }

    fn source(&self) -> String {
        format!("{}.c", self.name.replace('-', "_"))
    }
}

/// What to do about what the compiler says. A word that the SDK's macros do not know shows as a part of a name that nobody wrote.
fn help(said: &str) -> String {
    let word = |kind: &str| {
        let (_, behind) = said.split_once(&format!("'SEGNO_{kind}_"))?;
        behind.split_once('\'').map(|(word, _)| word)
    };
    if let Some(word) = word("C") {
        return format!(
            "{word} is no type of a column: bool, i32, i64, u64, f64, utf8, binary, timestamp, date, decimal(p, s) and nullable(type) are; event_time \
             in records; list(struct) and since(version, type) in state; named(\"bid.price\", type) for another name"
        );
    }
    if let Some(word) = word("F") {
        return format!(
            "{word} is no type of a setting: bool, i32, u32, i64, u64, f64, utf8, choice(WORDS), part(STRUCT) and list(type) are; or(value, type), \
             optional(type) and nullable(type) where it need not be given"
        );
    }
    // A header or a function of the system, or the time of the build.
    if ["file not found", "implicit declaration", "undeclared function", "-Wdate-time"].iter().any(|words| said.contains(words)) {
        return "a plugin has no clock, no chance, no file and no network, since a replay would differ: take the event time of the record, hand rows in as a \
                side table. Of the C library there are string.h, math.h, inttypes.h, assert.h and what the compiler brings, such as stdint.h"
            .to_owned();
    }
    "mend what the compiler shows".to_owned()
}

impl super::Package for Project {
    fn component(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
    }

    fn build(&self, _: Profile, out: &Path, quiet: bool) -> Result<Built> {
        let tools = Tools::find()?;
        let started = Instant::now();
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let scratch = tempfile::tempdir().map_err(|error| failed("no scratch folder can be made".to_owned()).with_cause(error))?;
        let module = scratch.path().join("module.wasm");
        let output = Command::new("sh")
            .arg(self.sdk.join("build.sh"))
            .arg(self.folder.join(self.source()))
            .arg(&module)
            .args([&self.name, &self.version])
            .env(CLANG, &tools.clang)
            .env(WASM_LD, &tools.wasm_ld)
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, "sh cannot be started").with_cause(error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(failed(format!("{} could not be built", self.name)).with_cause(said.trim()).with_help(help(&said)));
        }
        if !quiet && !said.trim().is_empty() {
            eprintln!("{}", said.trim());
        }
        let bytes = std::fs::read(&module).map_err(|error| failed("the linker wrote no module".to_owned()).with_cause(error))?;
        let component = componentize(&bytes)?;
        let inspection = admission::admit(&component)?;
        super::write(out, &component)?;
        Ok(Built { path: out.to_owned(), inspection, took: started.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_number() {
        for (said, wanted) in [("Debian clang version 14.0.6", Some(14)), ("Ubuntu LLD 19.1.7", Some(19)), ("nothing", None)] {
            assert_eq!(major(said), wanted);
        }
    }

    #[test]
    fn a_manifest_that_names_no_plugin_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("segno")).unwrap();
        for (text, said) in [
            ("name = ", "no TOML"),
            ("", "no name"),
            ("name = \"a.b\"", "no name"),
            ("name = \"../a\"", "no name"),
            ("name = \"a\"\nversion = \"1\\\"x\"", "no version"),
            ("name = \"a\"", "no SDK"),
        ] {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            let error = Project::read(folder.path()).err().expect("refused");
            assert!(error.code() == Code::BuildFailed && error.message().contains(said), "{error}");
        }
        std::fs::write(folder.path().join("segno/build.sh"), "").unwrap();
        assert!(Project::read(folder.path()).err().expect("refused").message().contains("no a.c"));
    }

    #[test]
    fn the_interfaces_of_the_module_are_those_of_every_language() {
        let rust: &[u8] = include_bytes!("../../../../../../../sdk/rust/src/component-type.bin");
        let c = carried::C.iter().find(|(path, _)| *path == "src/component-type.bin").expect("carried").1;
        assert_eq!(c, rust);
    }
}
