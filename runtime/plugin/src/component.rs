//! From a core module to a component of `segno:stream`.
//!
//! Owns: the wrapping. Does not own: compiling the module (the command line), admission (`admission`).
//!
//! Invariants: the same module gives the same component, byte for byte. A module that imports what no plugin may reach is
//! refused by the name of what it imports.

use crate::admission;
use segno_core::{Code, Error, Result};

/// Wraps a core module, built with the SDK, as a component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Code::NotAComponent, "the module cannot be made a component")
            .with_cause(error)
            .with_help("it must be a cdylib that uses the SDK: `segno_sdk::plugin!(YourType);`")
    };
    admission::admit_module(module)?;
    let mut encoder = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .map_err(|error| failed(&format!("{error:#}")))?;
    encoder.encode().map_err(|error| failed(&format!("{error:#}")))
}
