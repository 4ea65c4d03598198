//! From a crate to a component: cargo, then the module wrapped as a component of `segno:stream`.
//!
//! Owns: finding a toolchain for wasm32, the build, the wrapping. Does not own: admission (`admission`).
//!
//! Invariant: the same module gives the same component, byte for byte.

use crate::admission::{self, Inspection};
use segno_core::{Code, Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TARGET: &str = "wasm32-unknown-unknown";
/// The same instructions everywhere: 128-bit vectors are deterministic.
const FLAGS: &str = "-C target-feature=+simd128";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// What `segno build` tells.
#[derive(Clone, Debug)]
pub struct Built {
    pub path: PathBuf,
    pub inspection: Inspection,
    pub took: Duration,
}

/// Wraps a core module, built with the SDK, as a component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Code::NotAComponent, "the module cannot be made a component")
            .with_cause(error)
            .with_help("it must be a cdylib that uses the SDK: `segno_sdk::plugin!(YourType);`")
    };
    let mut encoder = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .map_err(|error| failed(&format!("{error:#}")))?;
    encoder.encode().map_err(|error| failed(&format!("{error:#}")))
}

/// How this machine compiles for wasm32.
enum Toolchain {
    /// The target's standard library is installed.
    Rustup,
    /// Debian's compiler builds it from source.
    Debian { linker: String },
}

fn toolchain() -> Result<Toolchain> {
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .is_some_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    if installed {
        return Ok(Toolchain::Rustup);
    }
    let linker = ["wasm-ld-22", "wasm-ld-21", "wasm-ld-20", "wasm-ld-19", "wasm-ld"]
        .into_iter()
        .find(|linker| Command::new(linker).arg("--version").output().is_ok());
    if Path::new(DEBIAN_RUSTC).exists()
        && Path::new(DEBIAN_SOURCES).exists()
        && let Some(linker) = linker
    {
        return Ok(Toolchain::Debian { linker: linker.to_owned() });
    }
    Err(Error::new(Code::ToolchainMissing, format!("no Rust standard library for {TARGET} was found"))
        .with_help("run `rustup target add wasm32-unknown-unknown`; on Debian without it: apt-get install rustc-web rust-web-src lld"))
}

/// How plugins would be built here, in words; an error when they cannot be.
pub fn toolchain_found() -> Result<String> {
    Ok(match toolchain()? {
        Toolchain::Rustup => format!("{TARGET} is installed"),
        Toolchain::Debian { linker } => format!("{DEBIAN_RUSTC} builds the standard library, {linker} links"),
    })
}

/// Builds the crate in `folder` and writes its component to `out` (default: `<folder>/<name>.wasm`).
pub fn build(folder: &Path, out: Option<&Path>) -> Result<Built> {
    let started = Instant::now();
    let toolchain = toolchain()?;
    let metadata = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(folder)
        .output()
        .map_err(|error| {
            Error::new(Code::ToolchainMissing, "cargo cannot be started").with_cause(error)
                .with_help("install Rust: https://rustup.rs")
        })?;
    if !metadata.status.success() {
        let (what, help) = match folder.join("Cargo.toml").exists() {
            true => ("has a Cargo.toml that cargo refuses", "mend Cargo.toml as cargo says"),
            false => ("is not a crate", "name the folder of the plugin's Cargo.toml: `segno build plugins/count`"),
        };
        return Err(Error::new(Code::BuildFailed, format!("{} {what}", folder.display()))
            .with_cause(String::from_utf8_lossy(&metadata.stderr).trim().to_owned())
            .with_help(help));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)
        .map_err(|error| Error::new(Code::BuildFailed, "cargo metadata cannot be read").with_cause(error))?;
    let manifest = folder.join("Cargo.toml");
    let manifest = manifest.canonicalize().unwrap_or(manifest);
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest))
        .and_then(|package| package["name"].as_str())
        .ok_or_else(|| {
            Error::new(Code::BuildFailed, format!("{} names no package", manifest.display()))
                .with_help("name the plugin's folder: `segno build plugins/count`")
        })?;
    let target = metadata["target_directory"].as_str().unwrap_or("target");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).args(["build", "--release", "--lib", "--target", TARGET, "--package", package]);
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS);
    if let Toolchain::Debian { linker } = &toolchain {
        cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    let status = cargo
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| Error::new(Code::ToolchainMissing, "cargo cannot be started").with_cause(error))?;
    if !status.success() {
        return Err(Error::new(Code::BuildFailed, format!("cargo could not build {package}"))
            .with_help("its messages are above"));
    }
    let file = format!("{}.wasm", package.replace('-', "_"));
    let module = Path::new(target).join(TARGET).join("release").join(&file);
    let bytes = std::fs::read(&module).map_err(|error| {
        Error::new(Code::BuildFailed, format!("cargo wrote no {}", module.display()))
            .with_cause(error)
            .with_help("a plugin's Cargo.toml says [lib] crate-type = [\"cdylib\", \"rlib\"]")
    })?;
    let component = componentize(&bytes)?;
    let inspection = admission::admit(&component)?;
    let path = out.map_or_else(|| folder.join(&file), Path::to_owned);
    std::fs::write(&path, &component).map_err(|error| {
        Error::new(Code::BuildFailed, format!("{} cannot be written", path.display())).with_cause(error)
    })?;
    Ok(Built { path, inspection, took: started.elapsed() })
}
