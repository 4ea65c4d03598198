//! Benchmarks: each figure beside what it is compared with, measured in one run, medians printed.
//!
//! - `micro`: boundary, sandbox against native, hot key, fresh instance, cached load
//! - `keys`: writes input for very many keys (bench/keys.py)
//! - `state`: writes input for a large keyed state (bench/state.py)
//! - `postgres`: rows written to PostgreSQL, beside a consumer by hand
//! - `nexmark`: the queries' plugins, sandbox against native; `nexmark-events`: their input (bench/nexmark/run.py)
//! - `bids`: writes a file of Nexmark bids for the runs of the whole command (bench/run.sh)
//!
//! Owns: measuring. Does not own: goals (bench/RESULTS.md).

mod keys;
mod micro;
mod nexmark;
mod postgres;
mod state;

use clap::{Parser, Subcommand};
use segno_core::source::{NexmarkKind, NexmarkSpec};
use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Boundary, sandbox against native, instances.
    Micro {
        /// Folder with the components.
        #[arg(long, env = "SEGNO_COMPONENTS")]
        components: PathBuf,
    },
    /// Writes input for a large keyed state: `load` or `update`.
    State {
        kind: String,
        #[arg(long)]
        keys: u64,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        out: PathBuf,
    },
    /// Writes input for a keyed state of very many keys.
    Keys {
        drawn: keys::Drawn,
        #[arg(long)]
        keys: u64,
        #[arg(long)]
        records: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        out: PathBuf,
    },
    /// Rows written to PostgreSQL, beside a consumer by hand.
    Postgres {
        #[arg(long, env = "SEGNO_TEST_POSTGRES")]
        url: String,
        /// Rows of an epoch.
        #[arg(long, default_value_t = 100_000)]
        rows: u64,
    },
    /// The plugins of the Nexmark queries, in the sandbox and native.
    Nexmark {
        /// Folder with the components.
        #[arg(long, env = "SEGNO_COMPONENTS")]
        components: PathBuf,
    },
    /// Writes Nexmark events of all kinds as JSON lines.
    NexmarkEvents {
        #[arg(long)]
        events: u64,
        /// Events in a second of event time.
        #[arg(long, default_value_t = 10_000)]
        rate: u64,
        out: PathBuf,
    },
    /// Writes Nexmark bids as JSON lines.
    Bids {
        #[arg(long, default_value_t = 5_000_000)]
        events: u64,
        out: PathBuf,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Args::parse().what {
        What::Micro { components } => micro::run(&components),
        What::Keys { drawn, keys, records, seed, out } => {
            let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(&out)?);
            keys::write(keys, records, drawn, seed, &mut file)?;
            file.flush()?;
            Ok(())
        }
        What::State { kind, keys, records, seed, out } => {
            let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(&out)?);
            match kind.as_str() {
                "load" => state::load(keys, seed, &mut file)?,
                "update" => state::updates(keys, records, seed, &mut file)?,
                other => return Err(format!("{other} is neither load nor update").into()),
            }
            file.flush()?;
            Ok(())
        }
        What::Postgres { url, rows } => postgres::run(&url, rows),
        What::Nexmark { components } => nexmark::run(&components),
        What::NexmarkEvents { events, rate, out } => {
            let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(&out)?);
            nexmark::write(events, rate, &mut file)?;
            Ok(file.flush()?)
        }
        What::Bids { events, out } => {
            let mut spec = NexmarkSpec::new("bids", 42, Some(events));
            spec.only = Some(NexmarkKind::Bid);
            let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(&out)?);
            segno_input::source::nexmark::write_json_lines(&spec, 0..events, &mut file)?;
            file.flush()?;
            Ok(())
        }
    }
}
