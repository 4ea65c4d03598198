//! The sandbox: plugins as WebAssembly components, deterministic and contained.
//!
//! - `engine`: one configuration, every switch set
//! - `admission`: what a component may import
//! - `limits`: what a plugin may use
//! - `template`, `cache`, `parts`: a plugin after `init`, compiled once
//! - `start`, `instance`, `failure`: instances, calls, and why they fail
//! - `component`: from a crate to a component
//!
//! Owns: everything of wasmtime; no other crate names it. Does not own: what a batch or an answer means
//! (`segno_core::columns::frame`), which records a failing call is blamed on (`segno_core::protocol::split`).

pub mod admission;
mod cache;
pub mod component;
pub mod engine;
mod failure;
mod instance;
pub mod limits;
mod parts;
#[cfg(feature = "testing")]
mod planted;
mod start;
mod template;

pub use admission::Inspection;
pub use engine::Engine;
pub use failure::CallFailure;
pub use instance::{Done, Instance, LogLine, Observed};
pub use limits::Limits;
pub use template::{Component, Template};

#[cfg(test)]
mod tests;
