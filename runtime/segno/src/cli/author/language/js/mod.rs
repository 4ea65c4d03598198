//! Plugins in JavaScript and TypeScript: modules, and the engine that componentize-js puts into the component with them.
//!
//! Owns: finding Node.js, esbuild and componentize-js, and the files of a new project. Does not own: what these are told
//! (`build.mjs`), the SDK (`sdk/js`), admission (`segno_plugin`).
//!
//! Invariants: every feature of the engine that would import WASI is left out, so that the component imports Segno's interfaces
//! only. The engine has run the project's modules when the component is made: a start-up costs nothing later.

use super::{Built, Files, Language, Profile, carried, says};
use crate::cli::author::template::{Blank, Template};
use segno_core::{Code, Error, Place, Result};
use segno_plugin::admission;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MANIFEST: &str = "package.json";
/// The folder whose `node_modules` has the tools: what this names, or the project's own.
const VARIABLE: &str = "SEGNO_COMPONENTIZE_JS";
/// The tools, each with the version that the SDK is tested with: other ones may make another engine of the same sources.
const TOOLS: [(&str, (u32, u32)); 3] =
    [("@bytecodealliance/componentize-js", (0, 23)), ("@bytecodealliance/preview2-shim", (0, 25)), ("esbuild", (0, 28))];
/// The shim is what componentize-js imports and does not ask for.
const INSTALL: &str = "npm install --save-dev @bytecodealliance/componentize-js@0.23.0 @bytecodealliance/preview2-shim@0.25.0 esbuild@0.28.2";
const NODE_MIN: u32 = 20;
/// Where a project keeps the SDK; `npm install` makes the same link.
const SDK: &str = "vendor/segno";
const BUILD: &str = include_str!("build.mjs");

pub struct Js;

struct Project {
    /// As package.json has them.
    name: String,
    version: String,
    /// The module with the plugin.
    entry: String,
    folder: PathBuf,
    /// Where the package of the SDK lies.
    sdk: PathBuf,
}

/// The folder that has the tools, and their versions in words.
fn tools(folder: &Path) -> Result<(PathBuf, String)> {
    let help = format!("in the project's folder: {INSTALL}; or name a folder that has them with {VARIABLE}");
    let node = says("node", &["--version"], Path::new(".")).ok_or_else(|| {
        Error::new(Code::ToolchainMissing, "plugins in JavaScript cannot be built here: node cannot be started")
            .with_help(format!("install Node.js {NODE_MIN} or newer, for which the SDK's tests run"))
    })?;
    let major = node.trim_start_matches('v').split('.').next().and_then(|one| one.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MIN) {
        return Err(Error::new(Code::ToolchainOld, format!("Node.js {node} is there, and the SDK needs {NODE_MIN}")).with_help("install a newer Node.js"));
    }
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
    let mut found = vec![format!("Node.js {node}")];
    for (tool, (major, minor)) in TOOLS {
        let manifest = folder.join("node_modules").join(tool).join(MANIFEST);
        let version = std::fs::read(&manifest).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let version = version.and_then(|manifest| manifest["version"].as_str().map(str::to_owned)).ok_or_else(|| {
            Error::new(Code::ToolchainMissing, format!("plugins in JavaScript cannot be built here: {} has no {tool}", folder.join("node_modules").display()))
                .with_help(help.clone())
        })?;
        let mut numbers = version.split('.').map(|one| one.parse::<u32>());
        if (numbers.next(), numbers.next()) != (Some(Ok(major)), Some(Ok(minor))) {
            return Err(Error::new(Code::ToolchainOld, format!("{tool} {version} is there, and the SDK needs {major}.{minor}")).with_help(help));
        }
        found.push(format!("{} {version}", tool.rsplit('/').next().unwrap_or(tool)));
    }
    Ok((folder, found.join(", ")))
}

impl Language for Js {
    fn name(&self) -> &'static str {
        "js"
    }

    fn manifest(&self) -> &'static str {
        MANIFEST
    }

    fn toolchain(&self, folder: &Path) -> Result<String> {
        Ok(tools(folder)?.1)
    }

    fn package(&self, folder: &Path) -> Result<Box<dyn super::Package>> {
        Ok(Box::new(Project::read(folder)?))
    }

    fn check_name(&self, name: &str) -> Result<()> {
        /// Packages that the project has beside it, and files of it.
        const TAKEN: [&str; 5] = ["segno", "esbuild", "node_modules", "vendor", "test"];
        super::check_name(name, "package", "Node.js", |name| TAKEN.contains(&name))
    }

    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
        let (code, test) = match blank.template {
            Template::Map => (include_str!("templates/map/plugin.js"), include_str!("templates/map/test.js")),
            Template::Filter => (include_str!("templates/filter/plugin.js"), include_str!("templates/filter/test.js")),
            Template::Window => (include_str!("templates/window/plugin.js"), include_str!("templates/window/test.js")),
            Template::Join => (include_str!("templates/join/plugin.js"), include_str!("templates/join/test.js")),
        };
        let name = blank.name;
        let own = [
            (MANIFEST.to_owned(), include_str!("templates/package.json.in")),
            (format!("{name}.js"), code),
            (format!("{name}.test.js"), test),
            (".gitignore".to_owned(), include_str!("templates/gitignore")),
            ("ci.sh".to_owned(), include_str!("templates/ci.sh")),
        ];
        let mut files: Files = own.into_iter().map(|(path, text)| (PathBuf::from(path), blank.fill(text).into_bytes())).collect();
        files.extend(super::sdk_files(carried::JS, "sdk/js", SDK, checkout)?);
        Ok(files)
    }

    fn links(&self) -> &'static [(&'static str, &'static str)] {
        &[("node_modules/segno", "../vendor/segno")]
    }

    fn fuel_per_record(&self, blank: &Blank) -> u64 {
        match blank.template {
            Template::Map | Template::Filter => 10_000_000,
            Template::Window | Template::Join => 30_000_000,
        }
    }
}

impl Project {
    fn read(folder: &Path) -> Result<Project> {
        let file = folder.join(MANIFEST);
        let failed = |message: String| Error::new(Code::BuildFailed, message).with_place(Place::file(&file));
        let text = std::fs::read_to_string(&file).map_err(|error| failed(format!("{MANIFEST} cannot be read")).with_cause(error))?;
        let manifest: Value = serde_json::from_str(&text).map_err(|error| failed(format!("{MANIFEST} is no JSON")).with_cause(error))?;
        let name = manifest["name"].as_str().unwrap_or_default();
        // It becomes the name of a file.
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) && !text.is_empty();
        if !is_name(name) {
            return Err(failed(format!("{MANIFEST} has no name that a plugin can have: {:?}", manifest["name"]))
                .with_help("write \"name\": \"big-orders\"; use a-z, 0-9, - and _"));
        }
        let given = manifest["main"].as_str().map(str::to_owned);
        let entry = given.unwrap_or_else(|| {
            let typed = format!("{name}.ts");
            if folder.join(&typed).exists() { typed } else { format!("{name}.js") }
        });
        if !folder.join(&entry).is_file() {
            return Err(failed(format!("the project has no {entry}"))
                .with_help(format!("that is the module with the plugin: {MANIFEST} names it under \"main\", or it is called {name}.js or {name}.ts")));
        }
        let linked = manifest["dependencies"]["segno"].as_str().and_then(|from| from.strip_prefix("file:"));
        let sdk = folder.join(linked.unwrap_or("node_modules/segno"));
        if !sdk.join("src/index.js").exists() {
            return Err(failed(format!("{} has no package segno", sdk.display()))
                .with_help(format!("`segno new` puts it into {SDK}, and {MANIFEST} says \"segno\": \"file:{SDK}\" under \"dependencies\"")));
        }
        let version = manifest["version"].as_str().unwrap_or("0").to_owned();
        Ok(Project { name: name.to_owned(), version, entry, folder: folder.to_owned(), sdk })
    }
}

impl super::Package for Project {
    fn component(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
    }

    /// The image of the interpreter holds a seed that the system gave it.
    fn is_reproducible(&self) -> bool {
        false
    }

    fn build(&self, _: Profile, out: &Path, _: bool) -> Result<Built> {
        let (tools, _) = tools(&self.folder)?;
        let started = Instant::now();
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let whole = |path: &Path| path.canonicalize().map_err(|error| failed(format!("{} cannot be found", path.display())).with_cause(error));
        let (folder, sdk, tools) = (whole(&self.folder)?, whole(&self.sdk)?, whole(&tools)?);
        let scratch = tempfile::tempdir().map_err(|error| failed("no scratch folder can be made".to_owned()).with_cause(error))?;
        for (name, bytes) in carried::WIT {
            super::write(&scratch.path().join("wit").join(name), bytes)?;
        }
        let script = scratch.path().join("build.mjs");
        super::write(&script, BUILD.as_bytes())?;
        let made = scratch.path().join("component.wasm");
        let given = json!({
            "tools": tools, "project": folder, "entry": self.entry, "sdk": sdk, "wit": scratch.path().join("wit"), "out": made,
            "name": self.name, "version": self.version, "scratch": scratch.path(),
        });
        let output = Command::new("node")
            .arg(&script)
            .arg(given.to_string())
            .current_dir(scratch.path())
            // Options of another program's node.
            .env_remove("NODE_OPTIONS")
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, "node cannot be started").with_cause(error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let help = match said.contains("Could not resolve \"node:") {
                true => "a plugin has nothing of Node.js: no file, no network, no clock; take the event time of the record, hand rows in as a side table",
                false => "what the module does when it is imported happens while the component is made: its mistakes show here",
            };
            return Err(failed(format!("{} could not be built", self.name)).with_cause(said.trim()).with_help(help));
        }
        let component = std::fs::read(&made).map_err(|error| failed("componentize-js wrote no component".to_owned()).with_cause(error))?;
        let inspection = admission::admit(&component)?;
        super::write(out, &component)?;
        Ok(Built { path: out.to_owned(), inspection, took: started.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages() {
        for good in ["a", "big-orders", "orders_2"] {
            assert!(Js.check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "2x", "Big", "a b", "../x", "segno", &"x".repeat(65)] {
            assert_eq!(Js.check_name(wrong).unwrap_err().code(), Code::NoCrateName, "{wrong}");
        }
    }

    #[test]
    fn a_manifest_that_names_no_plugin_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [
            ("", "no JSON"),
            ("{}", "no name"),
            ("{\"name\": \"../x\"}", "no name"),
            ("{\"name\": \"x\"}", "no x.js"),
            ("{\"name\": \"x\", \"main\": \"src/y.ts\"}", "no src/y.ts"),
        ] {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            let error = Project::read(folder.path()).err().expect("refused");
            assert!(error.code() == Code::BuildFailed && error.message().contains(said), "{error}");
        }
        std::fs::write(folder.path().join("x.js"), "").unwrap();
        std::fs::write(folder.path().join(MANIFEST), "{\"name\": \"x\"}").unwrap();
        assert!(Project::read(folder.path()).err().expect("refused").message().contains("no package segno"));
    }
}
