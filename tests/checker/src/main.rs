//! An independent checker: it computes from the input what Segno's output must be, and compares the whole of it.
//!
//! It uses no crate of Segno and none of its code. It keeps everything in memory and does the obvious thing.
//!
//! - `flights`: the example in examples/flights
//! - `counts`: lines of {id, key, price, at} through a running count per key, as the fault tests run it

mod counts;
mod flights;
mod output;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Computes from the input what the output must be, and compares")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The output of examples/flights.
    Flights(flights::Args),
    /// The output of a running count per key.
    Counts(counts::Args),
}

fn main() -> ExitCode {
    let checked = match Args::parse().what {
        What::Flights(args) => flights::check(&args),
        What::Counts(args) => counts::check(&args),
    };
    match checked {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("checker: {error}");
            ExitCode::FAILURE
        }
    }
}
