//! A sink.

use segno_core::persisted::StagedObject;
use segno_core::pipeline::PostgresSinkSpec;
use segno_core::sink::{Sink, SinkRows};
use segno_core::{Code, Error, Result};

pub struct PostgresSink {
    name: String,
}

impl PostgresSink {
    pub fn open(name: &str, _spec: &PostgresSinkSpec) -> Result<PostgresSink> {
        Err(Error::new(Code::Internal, format!("{name} is not there yet")))
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.name
    }
    fn exactly_once(&self) -> bool {
        true
    }
    fn stage(&mut self, _rows: &SinkRows<'_>) -> Result<Vec<StagedObject>> {
        Ok(Vec::new())
    }
    fn publish(&mut self, _rows: &SinkRows<'_>, _staged: &[StagedObject]) -> Result<()> {
        Ok(())
    }
    fn discard_uncommitted(&mut self) -> Result<()> {
        Ok(())
    }
}
