//! The `segno` program. Everything is in the library (`segno::cli`).

use std::process::ExitCode;

fn main() -> ExitCode {
    segno::cli::main()
}
