//! Admission: what a component file may be and what it may import.
//!
//! Owns: the checks before anything is compiled. Does not own: what the description says (`template`).
//!
//! Invariant: a component that imports anything but Segno's interfaces is refused by name, before compilation.

use crate::limits::COMPONENT_BYTES;
use segno_core::{Code, Error, Result};
use sha2::{Digest, Sha256};
use wasmparser::{CanonicalFunction, CanonicalOption, ComponentExternalKind, Encoding, Parser, Payload, Validator, WasmFeatures};

/// The only interface that a plugin may import, in the version that this host has. A plugin may have been built for
/// another 1.x: minor versions only add.
pub const OBSERVE: &str = "segno:stream/observe@1.0.0";
const OBSERVE_COMPATIBLE: &str = "segno:stream/observe@1.";
/// What every plugin exports.
pub const EXPORTS: [&str; 3] = ["describe", "init", "process"];

/// What a component file says about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    pub sha256: String,
    pub bytes: usize,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// Functions are lifted with a post-return: the plugin frees its answer at the end of a call.
    #[serde(skip)]
    pub(crate) frees_answers: bool,
    /// Rust's own HashMap or HashSet is in it. Known from the name section: where that was stripped, nothing is known.
    #[serde(skip)]
    has_random_order: bool,
}

/// What makes the keys of the standard library's hash maps, out of addresses of the memory.
const RANDOM_KEYS: &[u8] = b"hashmap_random_keys";

impl Inspection {
    /// What the author should know of the component, though it may run.
    pub fn warning(&self) -> Option<&'static str> {
        self.has_random_order.then_some(
            "a HashMap or HashSet of the standard library is in the plugin (or in a dependency), and its order differs from map to map: \
             where the order can be seen in what the plugin gives, use segno_sdk::HashMap, segno_sdk::HashSet or a BTreeMap",
        )
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Reads a component's imports and exports, and refuses what may not run.
pub fn admit(bytes: &[u8]) -> Result<Inspection> {
    let inspection = inspect(bytes)?;
    for import in &inspection.imports {
        if !import.starts_with(OBSERVE_COMPATIBLE) {
            return Err(refuse_import(import));
        }
    }
    for export in EXPORTS {
        if !inspection.exports.iter().any(|found| found == export) {
            return Err(Error::new(
                Code::PluginExports,
                format!("the component does not export \"{export}\"; a plugin exports {}", EXPORTS.join(", ")),
            )
            .with_help("write `segno_sdk::plugin!(YourType);` once in the crate and build it with `segno build`"));
        }
    }
    Ok(inspection)
}

/// Refuses a core module that imports what a component of it could not have.
pub(crate) fn admit_module(module: &[u8]) -> Result<()> {
    for payload in Parser::new(0).parse_all(module) {
        // What is not a module is refused by whoever wraps it.
        let Ok(payload) = payload else { return Ok(()) };
        let Payload::ImportSection(imports) = payload else { continue };
        for import in imports.into_imports().flatten() {
            if !import.module.starts_with(OBSERVE_COMPATIBLE) {
                return Err(refuse_module_import(import.module, import.name));
            }
        }
    }
    Ok(())
}

fn refuse_module_import(module: &str, name: &str) -> Error {
    let error = Error::new(Code::PluginImport, format!("the plugin imports \"{name}\" of \"{module}\""));
    if module.starts_with("wasi") {
        return error.with_help(
            "a plugin cannot reach the operating system: no clock, no randomness, no file, no socket. Leave out what \
             asks for it (a dependency, which `cargo tree` shows in Rust; a function that is declared in C); take time from the record's event time and rows from side tables",
        );
    }
    error.with_help(
        "a plugin may import Segno's interfaces only. Leave out the extern function, or the dependency that declares it; \
         crates made for browsers (wasm-bindgen, getrandom with its js feature) are the usual ones",
    )
}

fn refuse_import(import: &str) -> Error {
    let error = Error::new(Code::PluginImport, format!("the component imports \"{import}\""));
    if import.starts_with("wasi:") {
        let what = match import.split(['/', '@']).next().unwrap_or(import) {
            "wasi:clocks" => "time: use the record's event time",
            "wasi:random" => "randomness: derive it from the record, such as a hash of its key",
            "wasi:filesystem" => "files: hand tables in as side tables of the step",
            "wasi:sockets" | "wasi:http" => "the network: enrich with side tables",
            _ => "the operating system",
        };
        return error.with_help(format!(
            "a plugin cannot reach {what}. Components of `segno build` import nothing of it: in Rust they are built for \
             wasm32-unknown-unknown, not for wasm32-wasip2; in Python with componentize-py's --stub-wasi; in JavaScript with all features of componentize-js disabled"
        ));
    }
    if import.starts_with("segno:") {
        return error.with_help(format!(
            "this version of Segno has {OBSERVE}; build the plugin with the SDK of this version, or run it with a newer Segno"
        ));
    }
    error.with_help(format!("a plugin may import {OBSERVE} only; everything else would make replays differ"))
}

/// Reads imports and exports without judging them.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    if bytes.len() > COMPONENT_BYTES {
        return Err(Error::new(
            Code::PluginTooLarge,
            format!("the component has {} bytes; {COMPONENT_BYTES} are allowed", bytes.len()),
        )
        .with_help("build with opt-level = \"s\" and strip = true, and leave out what is not used"));
    }
    if !bytes.starts_with(b"\0asm") {
        let what = match bytes {
            [] => "it is empty".to_owned(),
            [b'(', ..] => "it is WebAssembly text; translate it to binary first".to_owned(),
            [0x7f, b'E', b'L', b'F', ..] => "it is a native program".to_owned(),
            _ => "it does not begin like WebAssembly".to_owned(),
        };
        return Err(Error::new(Code::NotAComponent, format!("the file is not a component: {what}"))
            .with_help("name the .wasm file that `segno build` made"));
    }
    let mut inspection =
        Inspection { sha256: sha256(bytes), bytes: bytes.len(), imports: Vec::new(), exports: Vec::new(), frees_answers: false, has_random_order: false };
    let damaged = |error: wasmparser::BinaryReaderError| {
        Error::new(Code::PluginDamaged, "the component file is damaged").with_cause(error.message())
            .with_help("build it again; if it was copied, copy it again and compare its size")
    };
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(damaged)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(Error::new(Code::NotAComponent, "the file is a core module, not a component")
                    .with_help("run `segno build`, which makes a component of it"));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    inspection.imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(damaged)?;
                    if matches!(export.kind, ComponentExternalKind::Func | ComponentExternalKind::Instance) {
                        inspection.exports.push(export.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    if let CanonicalFunction::Lift { options, .. } = function.map_err(damaged)? {
                        inspection.frees_answers |=
                            options.iter().any(|option| matches!(option, CanonicalOption::PostReturn(_)));
                    }
                }
            }
            Payload::CustomSection(section) if section.name() == "name" => {
                inspection.has_random_order |= section.data().windows(RANDOM_KEYS.len()).any(|name| name == RANDOM_KEYS);
            }
            _ => {}
        }
    }
    // With every proposal on: what is valid but not supported is refused by the engine, by its name, and is no damage.
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).map_err(damaged)?;
    Ok(inspection)
}
