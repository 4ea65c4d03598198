//! The running count per key of the fault tests.
//!
//! Input: JSON lines {"id", "key", "price", "at"} in several files, each a partition; lines that are not such objects are
//! dead letters. Order: partitions are merged by their heads by (at, number of the file); a line that is not a record
//! comes before every head with a time. Output: id, key, price, bids (records of the key so far), total_price.

use crate::output;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Input files, in the order of their partition numbers.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Folder of the sink.
    #[arg(long)]
    out: PathBuf,
    /// Folder of the dead letters.
    #[arg(long)]
    dead_letters: Option<PathBuf>,
}

struct Record {
    at: i64,
    id: i64,
    key: String,
    price: i64,
}

enum Line {
    Good(Record),
    Bad(String),
}

pub fn check(args: &Args) -> Result<String, String> {
    let mut partitions: Vec<VecDeque<Line>> = Vec::new();
    for path in &args.input {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        partitions.push(bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(parse).collect());
    }
    let mut state: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    let found = output::read(&args.out)?;
    let mut rows = 0;
    let mut bad = Vec::new();
    while let Some(partition) = head(&partitions) {
        match partitions[partition].pop_front() {
            Some(Line::Good(record)) => {
                let (count, total) = state.entry(record.key.clone()).or_default();
                *count += 1;
                *total += record.price;
                let expected = [
                    ("id", json!(record.id)),
                    ("key", json!(record.key)),
                    ("price", json!(record.price)),
                    ("bids", json!(*count)),
                    ("total_price", json!(*total)),
                ];
                let Some(row) = found.get(rows) else {
                    return Err(format!("{} rows of output; record {} is lost", found.len(), record.id));
                };
                output::same(rows, row, &expected)?;
                rows += 1;
            }
            Some(Line::Bad(text)) => bad.push(text),
            None => {}
        }
    }
    output::same_length("rows of output", found.len(), rows)?;
    if let Some(folder) = &args.dead_letters {
        let letters = if bad.is_empty() && !folder.exists() { Vec::new() } else { output::read(folder)? };
        output::same_length("dead letters", letters.len(), bad.len())?;
        for (number, (letter, text)) in letters.iter().zip(&bad).enumerate() {
            if letter.get("value").and_then(Value::as_str) != Some(text) {
                return Err(format!("dead letter {number} holds {:?}, must hold {text}", letter.get("value")));
            }
        }
    }
    Ok(format!("{rows} rows and {} dead letters are what the input gives", bad.len()))
}

fn parse(line: &[u8]) -> Line {
    let bad = || Line::Bad(String::from_utf8_lossy(line).into_owned());
    let Ok(value) = serde_json::from_slice::<Value>(line) else { return bad() };
    let record = (|| {
        Some(Record {
            at: value.get("at")?.as_i64()?,
            id: value.get("id")?.as_i64()?,
            key: value.get("key")?.as_str()?.to_owned(),
            price: value.get("price")?.as_i64()?,
        })
    })();
    record.map_or_else(bad, Line::Good)
}

/// The partition whose head comes next.
fn head(partitions: &[VecDeque<Line>]) -> Option<usize> {
    let time = |line: &Line| match line {
        Line::Good(record) => record.at,
        Line::Bad(_) => i64::MIN,
    };
    let heads = partitions.iter().enumerate().filter_map(|(number, lines)| Some((time(lines.front()?), number)));
    heads.min().map(|(_, number)| number)
}
