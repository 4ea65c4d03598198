//! Standard output: at least once.
//!
//! Owns: the order of printing and committing. Rows are printed when they are staged, before the journal names their
//! epoch: after a crash in between they are printed again. The other way round they could be lost.
//! Does not own: the bytes of a row (`write_rows`).

use super::write_rows;
use crate::journal::sha256_hex;
use segno_core::persisted::StagedObject;
use segno_core::pipeline::SinkFormat;
use segno_core::sink::{Sink, SinkRows};
use segno_core::{Code, Error, Result};
use std::io::Write;

pub struct Stdout<W: Write + Send = std::io::Stdout> {
    name: String,
    format: SinkFormat,
    out: W,
    header_written: bool,
}

impl Stdout {
    pub fn new(name: &str, format: SinkFormat) -> Stdout {
        Stdout::writing_to(name, format, std::io::stdout())
    }
}

impl<W: Write + Send> Stdout<W> {
    /// As standard output would be written.
    pub fn writing_to(name: &str, format: SinkFormat, out: W) -> Stdout<W> {
        Stdout { name: name.to_owned(), format, out, header_written: false }
    }
}

impl<W: Write + Send> Sink for Stdout<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn exactly_once(&self) -> bool {
        false
    }

    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        let mut bytes = write_rows(self.format, rows.schema, rows.batch)?;
        if self.format == SinkFormat::Csv && self.header_written {
            let end = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            bytes.drain(..end);
        }
        self.header_written = true;
        self.out.write_all(&bytes).and_then(|()| self.out.flush()).map_err(|error| {
            let (code, what) = match error.kind() {
                std::io::ErrorKind::BrokenPipe => (Code::OutputClosed, "the reader of standard output went away"),
                std::io::ErrorKind::StorageFull => (Code::DiskFull, "standard output is a file on a full disk"),
                _ => (Code::SinkFailed, "standard output cannot be written"),
            };
            Error::new(code, format!("sink \"{}\": {what}", self.name))
                .with_cause(error)
                .with_help("rows that are not committed come again with the next run")
        })?;
        Ok(vec![StagedObject {
            staged: String::new(),
            target: format!("epoch {}", rows.epoch),
            sha256: sha256_hex(&bytes),
            bytes: bytes.len() as u64,
            rows: rows.batch.num_rows() as u64,
        }])
    }

    fn publish(&mut self, _rows: &SinkRows<'_>, _staged: &[StagedObject]) -> Result<()> {
        Ok(())
    }

    fn discard_uncommitted(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use segno_core::columns::{Column, ColumnType, Schema};
    use std::sync::Arc;

    struct Broken(std::io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn stage<W: Write + Send>(sink: &mut Stdout<W>, values: Vec<i64>) -> Result<Vec<StagedObject>> {
        let schema = Schema::new(vec![Column::new("n", ColumnType::I64, false)]);
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        let batch = RecordBatch::try_new(schema.to_arrow(), vec![column]).unwrap();
        sink.stage(&SinkRows { epoch: 1, schema: &schema, batch: &batch, written: 1, lineage: None, told: None })
    }

    fn sink<W: Write + Send>(format: SinkFormat, out: W) -> Stdout<W> {
        Stdout::writing_to("console", format, out)
    }

    #[test]
    fn rows_are_printed_before_they_are_committed() {
        let mut sink = sink(SinkFormat::Json, Vec::new());
        stage(&mut sink, vec![1, 2]).unwrap();
        assert_eq!(sink.out, b"{\"n\":1}\n{\"n\":2}\n");
        let (schema, batch) = (Schema::new(Vec::new()), RecordBatch::new_empty(Schema::new(Vec::new()).to_arrow()));
        sink.publish(&SinkRows { epoch: 1, schema: &schema, batch: &batch, written: 1, lineage: None, told: None }, &[]).unwrap();
        assert_eq!(sink.out.len(), 16, "publishing prints nothing again");
    }

    #[test]
    fn the_header_is_printed_once() {
        let mut sink = sink(SinkFormat::Csv, Vec::new());
        stage(&mut sink, vec![1]).unwrap();
        stage(&mut sink, vec![2]).unwrap();
        assert_eq!(sink.out, b"n\n1\n2\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_that_passes() {
        let error = stage(&mut sink(SinkFormat::Json, Broken(std::io::ErrorKind::BrokenPipe)), vec![1]).unwrap_err();
        assert_eq!((error.code(), error.kind()), (Code::OutputClosed, segno_core::Kind::Failed));
    }

    #[test]
    fn a_full_disk_under_standard_output_may_pass() {
        let error = stage(&mut sink(SinkFormat::Json, Broken(std::io::ErrorKind::StorageFull)), vec![1]).unwrap_err();
        assert_eq!((error.code(), error.kind()), (Code::DiskFull, segno_core::Kind::Transient));
    }
}
