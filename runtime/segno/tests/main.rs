//! Tests that run the real program.

mod cli;
