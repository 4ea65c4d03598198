//! Segno from outside: the real command, disturbed, and compared with what an undisturbed run gives.
//!
//! Owns: scenarios in folders, faults that the suite of the command itself does not show, hostile plugins, walls between
//! crates, the long version of the fault tests. Does not own: kills at every edge, ownership, invariance (runtime/segno).
//!
//! Invariant: no crate of Segno is linked. `make test` sets the variables that name the binaries.

#![cfg(test)]

mod alerts;
mod changes;
mod clocks;
mod codes;
mod damage;
mod disk;
mod hostile;
mod lab;
mod memory;
mod power;
mod processing_time;
mod runbooks;
mod scenarios;
mod torture;
mod walls;
