//! A sink.

use segno_core::persisted::StagedObject;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::{Sink, SinkRows};
use segno_core::{Code, Error, Result};

pub struct KafkaSink {
    name: String,
}

impl KafkaSink {
    pub fn open(name: &str, _spec: &KafkaSinkSpec) -> Result<KafkaSink> {
        Err(Error::new(Code::Internal, format!("{name} is not there yet")))
    }
}

impl Sink for KafkaSink {
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
