//! The SDK as an author uses it: every type, every port, state, side tables, configuration; and what it promises about
//! allocation.

mod allocation;
mod configuration;
mod operators;
mod records;
mod state;
mod windows;
mod world;
