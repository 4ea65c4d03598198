//! Prepares the flights of the npm package vega-datasets for the example.
//!
//! The package's Parquet file has no order that means anything. Here flights are put into the order in which they were
//! heard of: by arrival (date + delay), so that a late flight really comes late in event time. `flights-20k.json` and
//! `airports.csv` are copied as they are.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

/// Rows of a row group: what a reader holds in memory at once.
const ROW_GROUP_ROWS: usize = 100_000;

#[derive(Parser)]
struct Args {
    /// The folder `data` of the unpacked package vega-datasets.
    data: PathBuf,
    /// Where the prepared files go.
    target: PathBuf,
    /// Take only the first rows of the Parquet file.
    #[arg(long)]
    rows: Option<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.target)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(args.data.join("flights-3m.parquet"))?)?;
    let schema = reader.schema().clone();
    let batches = reader.build()?.collect::<Result<Vec<_>, _>>()?;
    let mut flights = concat_batches(&schema, &batches)?;
    if let Some(rows) = args.rows {
        flights = flights.slice(0, rows.min(flights.num_rows()));
    }
    let sorted = by_arrival(&flights)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let name = args.target.join("flights.parquet");
    let mut writer = ArrowWriter::try_new(File::create(&name)?, sorted.schema(), Some(properties))?;
    writer.write(&sorted)?;
    writer.close()?;
    for copied in ["flights-20k.json", "airports.csv"] {
        std::fs::copy(args.data.join(copied), args.target.join(copied))?;
    }
    println!("{} flights in the order of their arrival: {}", sorted.num_rows(), name.display());
    Ok(())
}

/// Rows by (date + delay, row): stable, so the result does not depend on the sort.
fn by_arrival(flights: &RecordBatch) -> Result<RecordBatch, Box<dyn Error>> {
    let column = |name: &str| flights.column_by_name(name).ok_or_else(|| format!("the file has no column {name}"));
    let micros = arrow_cast::cast(column("date")?, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    let delays = arrow_cast::cast(column("delay")?, &DataType::Int64)?;
    let delays = delays.as_primitive::<Int64Type>();
    let mut order: Vec<u32> = (0..flights.num_rows() as u32).collect();
    order.sort_by_key(|&row| micros.value(row as usize) + delays.value(row as usize) * 60_000_000);
    Ok(take_record_batch(flights, &UInt32Array::from(order))?)
}
