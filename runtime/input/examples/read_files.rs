//! Reads a file as a source reads it and prints its columns, its first records and its bad ones:
//!
//! `cargo run --release -p segno-input --example read_files PATH json|csv|raw|parquet [NAME:TYPE…] [time=NAME[:FORMAT]]`

use segno_core::columns::{Column, ColumnType};
use segno_core::source::{FilesSpec, FormatSpec, Next, ReadLimit, ReadPlan, SourceSpec, TimeColumn, TimeUnit};
use segno_input::source::{discover_schema, open_source};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, format, columns @ ..] = &arguments[..] else { return Err("PATH FORMAT [COLUMN:TYPE…]".into()) };
    let format = match format.as_str() {
        "json" => FormatSpec::Json,
        "csv" => FormatSpec::Csv { header: None, delimiter: b',' },
        "raw" => FormatSpec::Raw,
        _ => FormatSpec::Parquet,
    };
    let spec = SourceSpec::Files(FilesSpec::new("input", path, format));
    let schema = discover_schema(&spec)?;
    for column in schema.iter().flat_map(|schema| &schema.columns) {
        println!("{}: {}{}", column.name, column.ty, if column.nullable { " or null" } else { "" });
    }
    let mut plan = ReadPlan::default();
    for argument in columns {
        if let Some(time) = argument.strip_prefix("time=") {
            let (name, format) = time.split_once(':').map_or((time, None), |(name, format)| (name, Some(format)));
            let format = format.map(str::to_owned);
            plan.time = Some(TimeColumn { name: name.to_owned(), format, unit: TimeUnit::Milliseconds });
            continue;
        }
        let (name, ty) = argument.rsplit_once(':').ok_or("a column is NAME:TYPE")?;
        let ty: ColumnType = ty.parse().map_err(|_| format!("{ty} is no type"))?;
        plan.columns.push(Column::new(name, ty, false));
    }
    let source = open_source(&spec)?;
    for partition in source.partitions()? {
        let start = Instant::now();
        let (mut good, mut bad) = (0, 0);
        let mut reader = source.open(partition.number, 0, None, &plan)?;
        while let Next::Chunk(chunk) = reader.next(ReadLimit { rows: 4096, bytes: 1 << 20 })? {
            if good == 0 {
                println!("{:?} {:?}", chunk.columns.slice(0, chunk.columns.num_rows().min(3)), chunk.times.first());
            }
            good += chunk.columns.num_rows();
            for record in chunk.bad.iter().take(10usize.saturating_sub(bad)) {
                println!("bad at {}: {} {}", record.offset, record.code.name(), record.reason);
            }
            bad += chunk.bad.len();
        }
        let nanos = start.elapsed().as_nanos() as usize / (good + bad).max(1);
        println!("{}: {good} records, {bad} bad, {nanos} ns per record", partition.name);
    }
    Ok(())
}
