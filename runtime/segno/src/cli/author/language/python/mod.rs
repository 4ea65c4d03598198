//! Plugins in Python: modules, and the interpreter that componentize-py puts into the component with them.
//!
//! Owns: finding componentize-py, what it is told, and the files of a new project. Does not own: the SDK (`sdk/python`),
//! admission (`segno_plugin`).
//!
//! Invariants: what the component would import of WASI is replaced by functions that trap, so that it imports Segno's
//! interfaces only. The interpreter has run the project's modules when the component is made: a start-up costs nothing later.
//! Two builds of the same sources differ in bytes: the interpreter's image has a hash seed and addresses of its own. Each of
//! them answers the same at each run.

use super::{Built, Files, Language, Profile, carried, says};
use crate::cli::author::template::{Blank, Template};
use segno_core::{Code, Error, Place, Result};
use segno_plugin::admission;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MANIFEST: &str = "pyproject.toml";
/// Where componentize-py is looked for: what `SEGNO_COMPONENTIZE_PY` names, the project's own environment, the path.
const VARIABLE: &str = "SEGNO_COMPONENTIZE_PY";
const IN_PROJECT: [&str; 2] = [".venv/bin/componentize-py", "venv/bin/componentize-py"];
/// The version that the SDK is tested with; another one may make another interface of the same interfaces.
const VERSION: (u32, u32) = (0, 25);
const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1";
/// The module that stands between the project's and the world.
const COMPONENT_MODULE: &str = "segno_component";

pub struct Python;

struct Project {
    /// As pyproject.toml has them.
    name: String,
    version: String,
    folder: PathBuf,
    /// Where the package of the SDK lies, if not in the project: `sdk` under [tool.segno].
    sdk: Option<PathBuf>,
}

/// A componentize-py of the right version.
fn tool(folder: &Path) -> Result<(PathBuf, String)> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    // Programs are started in other folders.
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let own = IN_PROJECT.iter().map(|path| folder.join(path)).find(|path| path.exists());
    let program = named.or(own).unwrap_or_else(|| PathBuf::from("componentize-py"));
    let help = format!("in the project's folder: {INSTALL}; or name one with {VARIABLE}");
    let missing = |what: String| Error::new(Code::ToolchainMissing, what).with_help(help.clone());
    let text = program.to_str().ok_or_else(|| missing(format!("{} is no name in UTF-8", program.display())))?;
    let said = says(text, &["--version"], Path::new("."))
        .ok_or_else(|| missing(format!("plugins in Python cannot be built here: {} cannot be started", program.display())))?;
    let mut numbers = said.split_whitespace().nth(1).unwrap_or_default().split('.').map(|one| one.parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) == VERSION => Ok((program, said)),
        _ => Err(Error::new(Code::ToolchainOld, format!("{said} is there, and the SDK needs {}.{}", VERSION.0, VERSION.1)).with_help(help)),
    }
}

impl Language for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn manifest(&self) -> &'static str {
        MANIFEST
    }

    fn toolchain(&self, folder: &Path) -> Result<String> {
        Ok(tool(folder)?.1)
    }

    fn package(&self, folder: &Path) -> Result<Box<dyn super::Package>> {
        Ok(Box::new(Project::read(folder)?))
    }

    /// The name of a module, which hides no other one.
    fn check_name(&self, name: &str) -> Result<()> {
        /// Keywords, and modules that the SDK and the interpreter import.
        const TAKEN: &str = "and as assert async await break class continue def del elif else except finally for from global if \
            import in is lambda match nonlocal not or pass raise return try type while with yield false none true \
            abc array ast asyncio base64 bisect builtins calendar codecs collections concurrent contextlib copy copyreg csv \
            dataclasses datetime decimal dis email encodings enum errno fractions functools gc genericpath glob hashlib heapq \
            html http importlib inspect io itertools json keyword linecache locale logging math numbers opcode operator os \
            pathlib pickle platform posixpath pprint queue random re reprlib segno segno_component select signal site socket \
            sqlite3 stat statistics string struct subprocess sys tempfile test tests textwrap threading time token tokenize \
            traceback types typing unicodedata unittest urllib uuid warnings weakref wit_world xml zipfile zlib \
            componentize_py_types componentize_py_runtime componentize_py_async_support poll_loop";
        super::check_name(name, "module", "Python", |name| TAKEN.split_whitespace().any(|word| word == name.replace('-', "_")))
    }

    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
        let (code, test) = match blank.template {
            Template::Map => (include_str!("templates/map/plugin.py"), include_str!("templates/map/test.py")),
            Template::Filter => (include_str!("templates/filter/plugin.py"), include_str!("templates/filter/test.py")),
            Template::Window => (include_str!("templates/window/plugin.py"), include_str!("templates/window/test.py")),
            Template::Join => (include_str!("templates/join/plugin.py"), include_str!("templates/join/test.py")),
        };
        let module = blank.module();
        let own = [
            (MANIFEST.to_owned(), include_str!("templates/pyproject.toml.in")),
            (format!("{module}.py"), code),
            (format!("test_{module}.py"), test),
            (".gitignore".to_owned(), include_str!("templates/gitignore")),
            ("ci.sh".to_owned(), include_str!("templates/ci.sh")),
        ];
        let mut files: Files = own.into_iter().map(|(path, text)| (PathBuf::from(path), blank.fill(text).into_bytes())).collect();
        files.extend(super::sdk_files(carried::PYTHON, "sdk/python", "", checkout)?);
        Ok(files)
    }

    fn fuel_per_record(&self, blank: &Blank) -> u64 {
        match blank.template {
            Template::Map | Template::Filter => 2_000_000,
            Template::Window | Template::Join => 4_000_000,
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
        let field = |name: &str| manifest.get("project").and_then(|project| project.get(name)).and_then(|value| value.as_str());
        let name = field("name").ok_or_else(|| {
            failed(format!("{MANIFEST} has no name under [project]")).with_help("write name = \"big-orders\"; the module is big_orders.py")
        })?;
        // What is a word of Python's can be told from one by its letters only: the name becomes a part of a program.
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) && !text.is_empty();
        if !is_name(name) {
            return Err(failed(format!("\"{}\" is no name of a module", name.escape_debug())).with_help("use a-z, 0-9, - and _"));
        }
        let version = field("version").unwrap_or("0");
        let own = manifest.get("tool").and_then(|tool| tool.get("segno")).and_then(|own| own.get("sdk")).and_then(|sdk| sdk.as_str());
        let sdk = own.map(|path| folder.join(path));
        if let Some(sdk) = sdk.as_ref().filter(|sdk| !sdk.join("segno/__init__.py").exists()) {
            return Err(failed(format!("{} has no package segno, and {MANIFEST} says sdk under [tool.segno]", sdk.display()))
                .with_help("name the folder that holds the package, or remove the setting: `segno new` puts the package into the project"));
        }
        Ok(Project { name: name.to_owned(), version: version.to_owned(), folder: folder.to_owned(), sdk })
    }

    fn module(&self) -> String {
        self.name.replace('-', "_")
    }
}

impl super::Package for Project {
    fn component(&self) -> String {
        format!("{}.wasm", self.module())
    }

    /// The image of the interpreter holds a seed that the system gave it.
    fn is_reproducible(&self) -> bool {
        false
    }

    fn build(&self, _: Profile, out: &Path, quiet: bool) -> Result<Built> {
        let (program, _) = tool(&self.folder)?;
        let started = Instant::now();
        let module = self.module();
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let file = self.folder.join(format!("{module}.py"));
        if !file.exists() {
            return Err(failed(format!("the project has no {module}.py")).with_help(format!(
                "{MANIFEST} says name = \"{}\": that is the module with the plugin",
                self.name
            )));
        }
        let folder = self.folder.canonicalize().map_err(|error| failed("the project's folder cannot be found".to_owned()).with_cause(error))?;
        let scratch = tempfile::tempdir().map_err(|error| failed("no scratch folder can be made".to_owned()).with_cause(error))?;
        let written = |path: PathBuf, bytes: &[u8]| super::write(&path, bytes).map(|()| path);
        for (name, bytes) in carried::WIT {
            written(scratch.path().join("wit").join(name), bytes)?;
        }
        let generated = scratch.path().join("generated");
        let code = format!(
            "import segno.guest\nimport wit_world\nimport wit_world.imports.observe as observe\nimport {module}\n\
             WitWorld = segno.guest.world(wit_world.WitWorld, observe, {:?}, {:?})\n",
            self.name, self.version
        );
        written(generated.join(format!("{COMPONENT_MODULE}.py")), code.as_bytes())?;
        let made = scratch.path().join("component.wasm");
        let mut command = Command::new(&program);
        command.current_dir(scratch.path()).args(["--wit-path", "wit", "--world", "transform"]);
        if quiet {
            command.arg("--quiet");
        }
        command.arg("componentize").arg("--python-path").arg(&folder).arg("--python-path").arg(&generated);
        if let Some(sdk) = &self.sdk {
            command.arg("--python-path").arg(std::path::absolute(sdk).unwrap_or_else(|_| sdk.clone()));
        }
        command.args([COMPONENT_MODULE, "--stub-wasi", "--output"]).arg(&made);
        // Else it looks for packages of the environment that this runs in.
        command.env_remove("VIRTUAL_ENV");
        let output = command
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, format!("{} cannot be started", program.display())).with_cause(error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("componentize-py could not build {}", self.name))
                .with_cause(said.trim().replace("/0/", ""))
                .with_help("what the module does when it is imported happens while the component is made: its mistakes show here"));
        }
        let component = std::fs::read(&made).map_err(|error| failed("componentize-py wrote no component".to_owned()).with_cause(error))?;
        let inspection = admission::admit(&component)?;
        super::write(out, &component)?;
        Ok(Built { path: out.to_owned(), inspection, took: started.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_modules() {
        for good in ["a", "big-orders", "orders_2"] {
            assert!(Python.check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "2x", "Big", "a b", "../x", "json", "class", "segno", "wit-world", &"x".repeat(65)] {
            assert_eq!(Python.check_name(wrong).unwrap_err().code(), Code::NoCrateName, "{wrong}");
        }
    }

    #[test]
    fn a_manifest_without_a_name_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [("", "no name"), ("[project", "no TOML"), ("[project]\nname = \"a'; import os\"", "no name of a module"),
            ("[project]\nname = \"a\"\n[tool.segno]\nsdk = \"x\"", "has no package segno")] {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            let error = Project::read(folder.path()).err().expect("refused");
            assert!(error.code() == Code::BuildFailed && error.message().contains(said), "{error}");
        }
    }
}
