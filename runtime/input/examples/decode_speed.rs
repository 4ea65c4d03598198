//! Nanoseconds per record of the JSON path: Nexmark bids of about 259 bytes, two columns read, everything checked,
//! beside serde_json into a borrowed struct.
//!
//! `cargo run --release -p segno-input --example decode_speed [FILE]`; without a file, a million bids are made.

use segno_core::columns::{Column, ColumnType};
use segno_core::source::{
    FilesSpec, FormatSpec, Next, NexmarkKind, NexmarkSpec, ReadLimit, ReadPlan, SourceSpec, TimeColumn, TimeUnit,
};
use segno_input::source::{nexmark, open_source};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

const EVENTS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (what, only) in [("bids", Some(NexmarkKind::Bid)), ("all kinds", None)] {
        let folder = std::env::temp_dir().join(format!("segno-decode-speed-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("events.jsonl");
        let mut spec = NexmarkSpec::new("events", 1, Some(EVENTS));
        spec.only = only;
        let mut writer = BufWriter::new(File::create(&path)?);
        nexmark::write_json_lines(&spec, 0..EVENTS, &mut writer)?;
        writer.flush()?;
        let bytes = std::fs::metadata(&path)?.len();
        println!("{what}: {EVENTS} records of {:.1} bytes", bytes as f64 / EVENTS as f64);

        let nullable = only.is_none();
        let columns = vec![
            Column::new("bid.auction", ColumnType::I64, nullable),
            Column::new("bid.price", ColumnType::I64, nullable),
        ];
        let two = ReadPlan { columns: columns.clone(), time: None };
        let time = |name: &str| TimeColumn { name: name.to_owned(), format: None, unit: TimeUnit::Milliseconds };
        let timed = ReadPlan { columns, time: Some(time(if nullable { "date_time" } else { "bid.date_time" })) };
        let text = ReadPlan { columns: vec![Column::new("bid.url", ColumnType::Utf8, nullable)], time: None };
        for (name, plan) in [("two columns", &two), ("two columns and event time", &timed), ("one text column", &text)] {
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                best = best.min(read(path.to_str().ok_or("path")?, plan)?);
            }
            println!("  {name:30} {best:7.1} ns per record, {:.2} GB/s", bytes as f64 / EVENTS as f64 / best);
        }
        if !nullable {
            let data = std::fs::read(&path)?;
            let start = Instant::now();
            let mut sum = 0;
            for line in data.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                let event: Event<'_> = serde_json::from_slice(line)?;
                sum += event.bid.price + event.bid.extra.len() as i64;
            }
            let nanos = start.elapsed().as_nanos() as f64 / EVENTS as f64;
            println!("  {:30} {nanos:7.1} ns per record (sum {sum})", "serde_json, borrowed struct");
        }
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn read(path: &str, plan: &ReadPlan) -> Result<f64, Box<dyn std::error::Error>> {
    let spec = SourceSpec::Files(FilesSpec::new("events", path, FormatSpec::Json));
    let source = open_source(&spec)?;
    let start = Instant::now();
    let mut reader = source.open(0, 0, None, plan)?;
    let mut rows = 0;
    while let Next::Chunk(chunk) = reader.next(ReadLimit { rows: 4096, bytes: 1 << 20 })? {
        rows += chunk.columns.num_rows();
        assert!(chunk.bad.is_empty(), "{:?}", chunk.bad);
    }
    assert_eq!(rows as u64, EVENTS);
    Ok(start.elapsed().as_nanos() as f64 / EVENTS as f64)
}

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Event<'a> {
    event_type: i32,
    #[serde(borrow)]
    bid: Bid<'a>,
}

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Bid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: &'a str,
    url: &'a str,
    date_time: &'a str,
    extra: &'a str,
}
