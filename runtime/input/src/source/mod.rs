//! Sources: where records come from.
//!
//! Owns: the way from a source's description to a `Source`, and the columns that a source is known to have.
//! Does not own: the contract (`segno_core::source`), formats.

pub mod files;
pub mod nexmark;
mod peek;
pub(crate) mod place;
mod text;

use segno_core::{Code, Error, Result};
use segno_core::columns::Schema;
use segno_core::source::{Source, SourceSpec};

/// Opens a source. Errors when it can be seen now that nothing can be read: a missing file, a directory, a setting
/// that is not valid.
pub fn open_source(spec: &SourceSpec) -> Result<Box<dyn Source>> {
    Ok(match spec {
        SourceSpec::Files(spec) => Box::new(files::FilesSource::open(spec)?),
        SourceSpec::Nexmark(spec) => Box::new(nexmark::NexmarkSource::open(spec)?),
        SourceSpec::Kafka(spec) => {
            return Err(Error::new(Code::Internal, format!("source {}: topics are opened by another crate", spec.name)));
        }
    })
}

/// The columns that a source gives, for checking the graph: a Parquet file's schema, a CSV header with the declared
/// types, the generator's columns. `None` where only the records know (JSON without declared columns).
pub fn discover_schema(spec: &SourceSpec) -> Result<Option<Schema>> {
    match spec {
        SourceSpec::Files(spec) => files::schema(spec),
        SourceSpec::Nexmark(spec) => Ok(Some(nexmark::schema(spec))),
        // A CSV header in the pipeline file names columns; their types are declared or wanted by readers.
        SourceSpec::Kafka(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
