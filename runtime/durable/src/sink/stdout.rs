//! Standard output: at least once, since a terminal cannot take lines back.

use super::write_rows;
use segno_core::persisted::StagedObject;
use segno_core::pipeline::SinkFormat;
use segno_core::sink::{Sink, SinkRows};
use segno_core::{Code, Error, Result};
use crate::journal::sha256_hex;
use std::io::Write;

pub struct Stdout {
    name: String,
    format: SinkFormat,
    /// Rows of the staged epoch. Empty after a crash: then the epoch's rows were printed, or never will be again.
    staged: Vec<u8>,
    header_written: bool,
}

impl Stdout {
    pub fn new(name: &str, format: SinkFormat) -> Stdout {
        Stdout { name: name.to_owned(), format, staged: Vec::new(), header_written: false }
    }
}

impl Sink for Stdout {
    fn name(&self) -> &str {
        &self.name
    }

    fn exactly_once(&self) -> bool {
        false
    }

    fn stage(&mut self, rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        self.staged = write_rows(self.format, rows.schema, rows.batch)?;
        if self.format == SinkFormat::Csv && self.header_written {
            let end = self.staged.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            self.staged.drain(..end);
        }
        self.header_written = true;
        Ok(vec![StagedObject {
            staged: String::new(),
            target: format!("epoch {}", rows.epoch),
            sha256: sha256_hex(&self.staged),
            bytes: self.staged.len() as u64,
            rows: rows.batch.num_rows() as u64,
        }])
    }

    fn publish(&mut self, _staged: &[StagedObject]) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let mut out = std::io::stdout().lock();
        out.write_all(&staged).and_then(|()| out.flush()).map_err(|error| {
            Error::new(Code::SinkFailed, "standard output cannot be written").with_cause(error)
        })
    }

    fn discard_uncommitted(&mut self) -> Result<()> {
        Ok(())
    }
}
