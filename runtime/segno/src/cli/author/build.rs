//! `segno build`: from a plugin's crate to its component.
//!
//! Owns: what cargo is told, and what is reported. Does not own: the toolchain (`toolchain`), the wrapping and admission
//! (`segno_plugin`).
//!
//! Invariants: the same sources give the same component, wherever they lie: no path of this machine is in it. Only Segno's
//! interfaces are imported by what is written.

use super::toolchain::{TARGET, Toolchain};
use crate::cli::Outcome;
use crate::cli::console::{Console, size};
use segno_core::{Code, Error, Result};
use segno_plugin::admission::{self, Inspection};
use segno_plugin::component::componentize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

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

#[derive(clap::Args)]
pub struct BuildArgs {
    /// Folder of the plugin's crate.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where to write the component; NAME.wasm in DIR if not given.
    #[arg(long, env = "SEGNO_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Release,
    /// Compiled fast, for the loop of `segno dev`.
    Quick,
}

impl Profile {
    /// Its folder below the target's.
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Quick => "segno-dev",
        }
    }
}

/// A finished build.
pub struct Built {
    pub path: PathBuf,
    pub inspection: Inspection,
    pub took: Duration,
}

/// A crate as cargo describes it.
pub struct Package {
    pub name: String,
    folder: PathBuf,
    root: PathBuf,
    target: PathBuf,
    /// Folders of path dependencies outside of the workspace.
    outside: Vec<(String, PathBuf)>,
}

pub fn run(console: &Console, args: &BuildArgs) -> Outcome {
    let toolchain = Toolchain::find(existing(&args.folder))?;
    let package = Package::read(&args.folder)?;
    let out = args.out.clone().unwrap_or_else(|| args.folder.join(package.module()));
    let built = package.build(&toolchain, Profile::Release, &out, console.is_quiet())?;
    let shown = json!({
        "component": built.path.display().to_string(),
        "sha256": built.inspection.sha256,
        "bytes": built.inspection.bytes,
        "imports": built.inspection.imports,
        "seconds": built.took.as_secs_f64(),
    });
    console.result(|| describe(&built), &shown);
    Ok(0)
}

fn describe(built: &Built) -> String {
    let inspection = &built.inspection;
    let imports = if inspection.imports.is_empty() { "nothing".to_owned() } else { inspection.imports.join(", ") };
    format!(
        "{} ({}, {:.1} s)\n  imports  {imports}\n  sha256   {}\n",
        built.path.display(),
        size(inspection.bytes as u64),
        built.took.as_secs_f64(),
        inspection.sha256,
    )
}

/// The folder where programs are started: the plugin's, or this one where that is none.
pub fn existing(folder: &Path) -> &Path {
    if folder.is_dir() { folder } else { Path::new(".") }
}

impl Package {
    /// Asks cargo about the crate in `folder`.
    pub fn read(folder: &Path) -> Result<Package> {
        let failed = |message: String| Error::new(Code::BuildFailed, message);
        let metadata = Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(existing(folder))
            .output()
            .map_err(|error| Error::new(Code::ToolchainMissing, "cargo cannot be started").with_cause(error))?;
        let manifest = folder.join("Cargo.toml");
        if !metadata.status.success() || !manifest.exists() {
            let (what, help) = match manifest.exists() {
                true => ("has a Cargo.toml that cargo refuses", "mend Cargo.toml as cargo says"),
                false => ("is not a crate", "name the folder of the plugin's Cargo.toml: `segno build plugins/count`"),
            };
            let error = failed(format!("{} {what}", folder.display())).with_help(help);
            let said = String::from_utf8_lossy(&metadata.stderr).trim().to_owned();
            return Err(if said.is_empty() { error } else { error.with_cause(said) });
        }
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
        Ok(Package {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            folder: folder.to_owned(),
            root,
            target: path(&metadata["target_directory"], "target"),
            outside,
        })
    }

    /// The file of its module and of its component.
    pub fn module(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
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

    /// Compiles the crate and writes its component to `out`.
    pub fn build(&self, toolchain: &Toolchain, profile: Profile, out: &Path, quiet: bool) -> Result<Built> {
        let started = Instant::now();
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.folder).args(["build", "--lib", "--target", TARGET, "--package", &self.name]);
        cargo.args(["--profile", profile.name()]);
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
        let module = self.target.join(TARGET).join(profile.name()).join(self.module());
        let bytes = std::fs::read(&module).map_err(|error| {
            Error::new(Code::BuildFailed, format!("cargo wrote no {}", module.display()))
                .with_cause(error)
                .with_help("a plugin's Cargo.toml says [lib] crate-type = [\"cdylib\", \"rlib\"]")
        })?;
        let component = componentize(&bytes)?;
        let inspection = admission::admit(&component)?;
        write(out, &component)?;
        Ok(Built { path: out.to_owned(), inspection, took: started.elapsed() })
    }
}

/// The root of the workspace that a crate belongs to, or its own folder.
fn workspace_of(package: &Path) -> PathBuf {
    let is_root = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
    };
    package.ancestors().find(is_root).unwrap_or(package).to_owned()
}

fn write(out: &Path, component: &[u8]) -> Result<()> {
    let made = out.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(out, component))
        .map_err(|error| Error::new(Code::BuildFailed, format!("{} cannot be written", out.display())).with_cause(error))
}
