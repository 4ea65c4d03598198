//! Plugins in Rust: a crate, compiled by cargo.
//!
//! - `toolchain`: what compiles for wasm32 here
//! - `sdk`: where a new project's SDK comes from
//!
//! Owns: what cargo is told and asked, and the files of a new crate. Does not own: the wrapping and admission
//! (`segno_plugin`).
//!
//! Invariants: the same sources give the same component, wherever they lie: no path of this machine is in it. Only Segno's
//! interfaces are imported by what is written.

mod sdk;
mod toolchain;

use super::{Built, Files, Language, Profile};
use crate::cli::author::template::{Blank, Template};
use sdk::Sdk;
use segno_core::{Code, Error, Result};
use segno_plugin::admission;
use segno_plugin::component::componentize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::cell::OnceCell;
use std::time::Instant;
use toolchain::{TARGET, Toolchain};

/// The same instructions everywhere: 128-bit vectors are deterministic, relaxed ones are not and stay off.
const FEATURES: &str = "-Ctarget-feature=+simd128";
/// How cargo separates flags that may hold spaces.
const SEPARATOR: &str = "\x1f";
/// A profile that answers in a second or two: what was compiled is kept in small parts. It computes as a release does:
/// without checks of overflow that a release does not have.
const QUICK: [&str; 6] = [
    "profile.segno-dev.inherits='release'",
    "profile.segno-dev.incremental=true",
    "profile.segno-dev.codegen-units=64",
    "profile.segno-dev.lto='off'",
    "profile.segno-dev.opt-level=1",
    "profile.segno-dev.debug=false",
];

/// Looking for the toolchain starts a few programs: once is enough for the rounds of `segno dev`.
#[derive(Default)]
pub struct Rust {
    toolchain: Rc<OnceCell<Toolchain>>,
}

/// A crate as cargo describes it.
struct Crate {
    name: String,
    folder: PathBuf,
    root: PathBuf,
    target: PathBuf,
    /// Folders of path dependencies outside of the workspace.
    outside: Vec<(String, PathBuf)>,
    toolchain: Rc<OnceCell<Toolchain>>,
}

/// What was found in the first folder that was asked for.
fn found<'a>(toolchain: &'a OnceCell<Toolchain>, folder: &Path) -> Result<&'a Toolchain> {
    if toolchain.get().is_none() {
        let _ = toolchain.set(Toolchain::find(folder)?);
    }
    Ok(toolchain.get().expect("set above"))
}

impl Language for Rust {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn manifest(&self) -> &'static str {
        "Cargo.toml"
    }

    fn toolchain(&self, folder: &Path) -> Result<String> {
        Ok(found(&self.toolchain, folder)?.describe())
    }

    fn package(&self, folder: &Path) -> Result<Box<dyn super::Package>> {
        Ok(Box::new(Crate::read(folder, self.toolchain.clone())?))
    }

    /// The rule of crates, without what Rust itself refuses as a library's name.
    fn check_name(&self, name: &str) -> Result<()> {
        /// Keywords of Rust, the crates that every crate has, and what a project depends on.
        const TAKEN: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for \
            gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try \
            type typeof unsafe unsized use virtual where while yield alloc core proc-macro proc_macro std test segno-sdk \
            segno-sdk-derive segno-wire proc-macro2 quote syn unicode-ident";
        super::check_name(name, "crate", "Rust", |name| TAKEN.split_whitespace().any(|word| word == name))
    }

    fn files(&self, blank: &Blank, checkout: Option<&Path>) -> Result<Files> {
        let sdk = Sdk::new(checkout)?;
        let code = match blank.template {
            Template::Map => include_str!("templates/map/lib.rs"),
            Template::Filter => include_str!("templates/filter/lib.rs"),
            Template::Window => include_str!("templates/window/lib.rs"),
            Template::Join => include_str!("templates/join/lib.rs"),
        };
        let manifest = include_str!("templates/Cargo.toml.in")
            .replace("{{sdk}}", &sdk.dependency())
            .replace("{{rust_version}}", env!("CARGO_PKG_RUST_VERSION"));
        let own = [
            ("Cargo.toml", blank.fill(&manifest)),
            ("Cargo.lock", sdk::lock()),
            ("src/lib.rs", blank.fill(code)),
            (".gitignore", blank.fill(include_str!("templates/gitignore"))),
            ("ci.sh", blank.fill(include_str!("templates/ci.sh"))),
        ];
        let own = own.into_iter().map(|(path, text)| (PathBuf::from(path), text.into_bytes()));
        Ok(own.chain(sdk.files().map(|(path, bytes)| (path, bytes.to_vec()))).collect())
    }

    fn fuel_per_record(&self, blank: &Blank) -> u64 {
        match blank.template {
            Template::Map | Template::Filter => 5_000,
            Template::Window | Template::Join => 100_000,
        }
    }
}

impl Crate {
    /// Asks cargo about the crate in `folder`.
    fn read(folder: &Path, toolchain: Rc<OnceCell<Toolchain>>) -> Result<Crate> {
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let metadata = Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(folder)
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, "cargo cannot be started").with_cause(error))?;
        if !metadata.status.success() {
            return Err(failed(format!("{} has a Cargo.toml that cargo refuses", folder.display()))
                .with_cause(String::from_utf8_lossy(&metadata.stderr).trim())
                .with_help("mend Cargo.toml as cargo says"));
        }
        let manifest = folder.join("Cargo.toml");
        let metadata: Value =
            serde_json::from_slice(&metadata.stdout).map_err(|error| failed("cargo metadata cannot be read".to_owned()).with_cause(error))?;
        let manifest = manifest.canonicalize().unwrap_or(manifest);
        let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let package = packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
        let package = package.ok_or_else(|| {
            failed(format!("{} names no package", manifest.display())).with_help("name the plugin's folder: `segno build plugins/count`")
        })?;
        let path = |value: &Value, or: &str| PathBuf::from(value.as_str().unwrap_or(or));
        let root = path(&metadata["workspace_root"], ".");
        let dependencies = packages.iter().flat_map(|package| package["dependencies"].as_array()).flatten();
        let outside = dependencies
            .filter_map(|one| Some((one["name"].as_str()?.to_owned(), workspace_of(Path::new(one["path"].as_str()?)))))
            .filter(|(_, folder)| !folder.starts_with(&root))
            .collect();
        Ok(Crate {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            folder: folder.to_owned(),
            root,
            target: path(&metadata["target_directory"], "target"),
            outside,
            toolchain,
        })
    }

    /// Names of this machine's folders as they appear in a component.
    fn remapped(&self) -> Vec<String> {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
        // The last one that fits is taken.
        let cargo = cargo.map(|folder| format!("{}=/cargo", folder.display()));
        let outside = self.outside.iter().map(|(name, folder)| format!("{}=/{name}", folder.display()));
        let own = format!("{}/=", self.root.display());
        cargo.into_iter().chain(outside).chain([own]).map(|pair| format!("--remap-path-prefix={pair}")).collect()
    }
}

/// The root of the workspace that a crate belongs to, or its own folder.
fn workspace_of(package: &Path) -> PathBuf {
    let is_root = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    };
    package.ancestors().find(is_root).unwrap_or(package).to_owned()
}

impl super::Package for Crate {
    /// Of its module, too.
    fn component(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
    }

    fn build(&self, profile: Profile, out: &Path, quiet: bool) -> Result<Built> {
        let toolchain = found(&self.toolchain, &self.folder)?;
        let started = Instant::now();
        let folder = match profile {
            Profile::Release => "release",
            Profile::Quick => "segno-dev",
        };
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.folder).args(["build", "--lib", "--target", TARGET, "--package", &self.name]);
        cargo.args(["--profile", folder]);
        if profile == Profile::Quick {
            QUICK.iter().for_each(|setting| {
                cargo.args(["--config", setting]);
            });
        }
        if quiet {
            cargo.arg("--quiet");
        }
        let flags: Vec<String> = [FEATURES.to_owned()].into_iter().chain(self.remapped()).collect();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR)).env_remove("RUSTFLAGS");
        toolchain.prepare(&mut cargo);
        let status = cargo
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| Error::new(Code::ToolchainMissing, "cargo cannot be started").with_cause(error))?;
        if !status.success() {
            return Err(Error::new(Code::BuildFailed, format!("cargo could not build {}", self.name)).with_help("its messages are above"));
        }
        let module = self.target.join(TARGET).join(folder).join(self.component());
        let bytes = std::fs::read(&module).map_err(|error| {
            Error::new(Code::BuildFailed, format!("cargo wrote no {}", module.display()))
                .with_cause(error)
                .with_help("a plugin's Cargo.toml says [lib] crate-type = [\"cdylib\", \"rlib\"]")
        })?;
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
    fn names_are_those_of_crates() {
        let rust = Rust::default();
        for good in ["a", "big-orders", "orders_2"] {
            assert!(rust.check_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "2x", "Big", "größe", "a b", "../x", "a/b", "fn", "std", "segno-sdk", &"x".repeat(65)] {
            assert_eq!(rust.check_name(wrong).unwrap_err().code(), Code::NoCrateName, "{wrong}");
        }
    }
}
