//! Writes Nexmark events as JSON lines to standard output:
//!
//! `cargo run --release -p segno-input --example write_nexmark EVENTS [bids|all] [SEED] > events.jsonl`

use segno_core::source::{NexmarkKind, NexmarkSpec};
use std::io::{BufWriter, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events: u64 = arguments.first().ok_or("EVENTS [bids|all] [SEED]")?.parse()?;
    let seed = arguments.get(2).map_or(Ok(1), |seed| seed.parse())?;
    let mut spec = NexmarkSpec::new("events", seed, Some(events));
    if arguments.get(1).is_none_or(|kind| kind == "bids") {
        spec.only = Some(NexmarkKind::Bid);
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    segno_input::source::nexmark::write_json_lines(&spec, 0..events, &mut out)?;
    Ok(out.flush()?)
}
