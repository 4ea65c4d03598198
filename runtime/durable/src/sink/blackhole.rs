//! A sink that keeps nothing: the epoch loop has counted and digested the rows already.

use segno_core::Result;
use segno_core::persisted::StagedObject;
use segno_core::sink::{Sink, SinkRows};

pub struct Blackhole {
    name: String,
}

impl Blackhole {
    pub fn new(name: &str) -> Blackhole {
        Blackhole { name: name.to_owned() }
    }
}

impl Sink for Blackhole {
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
