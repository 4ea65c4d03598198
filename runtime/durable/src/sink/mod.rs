//! Sinks: files, standard output, and one that only counts and digests.
//!
//! Owns: staging and publishing. Does not own: which rows (the epoch loop), how a row is written (`segno_core::columns`).

mod blackhole;
mod files;
mod stdout;

pub use blackhole::Blackhole;
pub use files::Files;
pub use stdout::Stdout;

use arrow_array::RecordBatch;
use segno_core::columns::Schema;
use segno_core::pipeline::SinkFormat;
use segno_core::{Code, Error, Result};

/// The bytes of rows in a format.
pub fn write_rows(format: SinkFormat, schema: &Schema, batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match format {
        SinkFormat::Json => segno_core::columns::json::write_json_lines(&mut out, batch),
        SinkFormat::Csv => segno_core::columns::csv::write_csv(&mut out, batch, true),
        SinkFormat::Rows => {
            return Err(Error::new(Code::Internal, "rows of a repartition step are written to its topic only"));
        }
        SinkFormat::Raw => segno_core::columns::csv::write_raw(&mut out, batch).map_err(|_| {
            let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
            Error::new(Code::RawColumns, format!("format raw writes one text or binary column, not {}", names.join(", ")))
                .with_help("name one column with columns: [value]")
        })?,
    }
    Ok(out)
}
