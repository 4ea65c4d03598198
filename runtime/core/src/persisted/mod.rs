//! Everything Segno writes and must read again in later versions: journal records, manifests, generations, layouts.
//!
//! Owns: the shapes and their versions. `docs/formats.md` specifies them; `fixtures/` keeps one of each for ever.
//! Does not own: where they are stored.
//!
//! Invariant: a field is never renamed or reused; a new version reads every older one.

mod journal;
mod layout;
mod lifetime;
mod manifest;
mod timer;

pub use journal::*;
pub use layout::*;
pub use lifetime::*;
pub use manifest::*;
pub use timer::*;

#[cfg(test)]
mod tests;
