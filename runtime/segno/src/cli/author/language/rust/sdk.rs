//! Where a project's SDK comes from: the sources that this command carries, or a checkout.
//!
//! Owns: writing them into a project, and the lock of what they take from the registry.
//! Does not own: which files they are (`build.rs`).

use crate::cli::author::language::carried;
use segno_core::{Code, Error, Result};
use std::path::{Path, PathBuf};

/// Where the SDK lies in a project that carries it.
const FOLDER: &str = "vendor/segno";
/// Its crate, below that folder and in a checkout.
const CRATE: &str = "sdk/rust";

/// The SDK as a project's manifest names it.
pub enum Sdk {
    Carried,
    Checkout(PathBuf),
}

impl Sdk {
    pub fn new(checkout: Option<&Path>) -> Result<Sdk> {
        let Some(folder) = checkout else { return Ok(Sdk::Carried) };
        let manifest = folder.join(CRATE).join("Cargo.toml");
        let is_sdk = std::fs::read_to_string(&manifest).is_ok_and(|text| text.contains("name = \"segno-sdk\""));
        match folder.canonicalize() {
            Ok(folder) if is_sdk => Ok(Sdk::Checkout(folder)),
            _ => Err(Error::new(Code::NoSdk, format!("{} is no checkout of Segno: it has no {CRATE}", folder.display()))
                .with_help("name the root of a checkout, or leave --sdk out: the command carries the SDK's sources")),
        }
    }

    /// The path of the dependency, as Cargo.toml writes it.
    pub fn dependency(&self) -> String {
        match self {
            Sdk::Carried => format!("{FOLDER}/{CRATE}"),
            Sdk::Checkout(folder) => folder.join(CRATE).display().to_string(),
        }
    }

    /// The files that a project gets, relative to its folder.
    pub fn files(&self) -> impl Iterator<Item = (PathBuf, &'static [u8])> {
        let files = match self {
            Sdk::Carried => carried::RUST,
            Sdk::Checkout(_) => &[],
        };
        files.iter().map(|(name, bytes)| (Path::new(FOLDER).join(name), *bytes))
    }
}

/// The lock of a project: what the SDK takes from the registry, in the versions that it is tested with. Cargo adds the rest.
pub fn lock() -> String {
    format!("version = 4\n\n{}\n", carried::LOCKED)
}
