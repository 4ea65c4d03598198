//! What compiles plugins on this machine.
//!
//! Owns: looking for cargo, the compiler and a standard library for wasm32, and what to do where one is missing.
//! Does not own: the build.
//!
//! Invariant: everything is looked for in the plugin's folder, where a rust-toolchain.toml may choose another compiler.

use crate::cli::author::language::says;
use segno_core::{Code, Error, Result};
use std::path::Path;
use std::process::Command;

pub const TARGET: &str = "wasm32-unknown-unknown";
/// The oldest compiler that the SDK compiles with.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const LINKERS: [&str; 5] = ["wasm-ld-22", "wasm-ld-21", "wasm-ld-20", "wasm-ld-19", "wasm-ld"];

/// How this machine compiles for wasm32.
pub enum Toolchain {
    /// The target's standard library is installed.
    Rustup,
    /// Debian's compiler builds it from source.
    Debian { linker: &'static str },
}

impl Toolchain {
    pub fn find(folder: &Path) -> Result<Toolchain> {
        if says("cargo", &["--version"], folder).is_none() {
            return Err(missing("cargo cannot be started").with_help(format!(
                "install Rust {RUST_VERSION} or newer (https://rustup.rs), then run `rustup target add {TARGET}`"
            )));
        }
        let rustc = says("rustc", &["--version"], folder)
            .ok_or_else(|| missing("cargo is there, and rustc cannot be started").with_help("install Rust anew: https://rustup.rs"))?;
        let libraries = says("rustc", &["--print", "target-libdir", "--target", TARGET], folder);
        if libraries.is_some_and(|libraries| Path::new(&libraries).exists()) {
            check_version(&rustc)?;
            return Ok(Toolchain::Rustup);
        }
        let linker = LINKERS.into_iter().find(|linker| says(linker, &["--version"], folder).is_some());
        if Path::new(DEBIAN_RUSTC).exists()
            && Path::new(DEBIAN_SOURCES).exists()
            && let Some(linker) = linker
        {
            check_version(&says(DEBIAN_RUSTC, &["--version"], folder).unwrap_or_default())?;
            return Ok(Toolchain::Debian { linker });
        }
        check_version(&rustc)?;
        let how = match says("rustup", &["--version"], folder) {
            Some(_) => format!("run `rustup target add {TARGET}`"),
            None => format!(
                "with rustup: `rustup target add {TARGET}`; with Debian's Rust: apt-get install rustc-web rust-web-src lld"
            ),
        };
        Err(missing(&format!("{rustc} has no standard library for {TARGET}")).with_help(how))
    }

    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Toolchain::Rustup => format!("{TARGET} is installed"),
            Toolchain::Debian { linker } => format!("{DEBIAN_RUSTC} builds the standard library, {linker} links"),
        }
    }

    /// Adds to a cargo command what this toolchain needs.
    pub fn prepare(&self, cargo: &mut Command) {
        if let Toolchain::Debian { linker } = self {
            // Debian's compiler calls itself stable, and has no compiled standard library for this target.
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
    }
}

fn missing(what: &str) -> Error {
    Error::new(Code::ToolchainMissing, format!("plugins for {TARGET} cannot be compiled here: {what}"))
}

/// `rustc 1.95.0 (…)`: major and minor.
fn version(rustc: &str) -> Option<(u32, u32)> {
    let mut numbers = rustc.split_whitespace().nth(1)?.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn check_version(rustc: &str) -> Result<()> {
    let wanted = version(&format!("rustc {RUST_VERSION}"));
    // One that does not say which it is gets its chance: cargo says what it cannot compile.
    match version(rustc) {
        Some(found) if Some(found) < wanted => Err(Error::new(Code::ToolchainOld, format!("{rustc} is too old: the SDK needs Rust {RUST_VERSION}"))
            .with_help(format!(
                "run `rustup update stable`; where a rust-toolchain.toml or `rustup override` chose it, name {RUST_VERSION} or newer there"
            ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(check_version("rustc 1.9.0 (abc 2016-01-01)").is_err());
        assert!(check_version(&format!("rustc {RUST_VERSION}.0 (abc)")).is_ok());
        assert!(check_version("rustc 1.999.0-nightly (abc)").is_ok());
        assert!(check_version("rustc of my own").is_ok());
    }
}
