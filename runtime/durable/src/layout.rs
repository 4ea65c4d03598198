//! The layout of a pipeline: how its input is divided among shards, decided once by conditional create.
//!
//! Owns: the object, which stands beside the shards. Does not own: what follows from another layout (`worker`).

use crate::store::{Created, Objects};
use bytes::Bytes;
use segno_core::persisted::{LAYOUT_VERSION, Layout};
use segno_core::{Code, Error, Result};

/// The folder of a pipeline's own objects; no shard has a name like it.
pub const FOLDER: &str = "_pipeline";
const NAME: &str = "layout";

/// `objects` are those of `FOLDER`.
pub fn read(objects: &Objects) -> Result<Option<Layout>> {
    objects.get(NAME)?.map(|bytes| parse(objects, &bytes)).transpose()
}

/// Decides the layout, unless that was done; gives the one that holds.
pub fn claim(objects: &Objects, layout: &Layout) -> Result<Layout> {
    let bytes = serde_json::to_vec(layout)
        .map_err(|error| Error::new(Code::Internal, "a layout cannot be written").with_cause(error))?;
    match objects.create(NAME, Bytes::from(bytes))? {
        Created::Ours => Ok(layout.clone()),
        Created::Theirs(found) => parse(objects, &found),
    }
}

fn parse(objects: &Objects, bytes: &[u8]) -> Result<Layout> {
    let what = || format!("{FOLDER}/{NAME} in {}", objects.url());
    let layout: Layout = serde_json::from_slice(bytes).map_err(|error| {
        Error::new(Code::JournalDamaged, format!("{} cannot be read", what()))
            .with_cause(error)
            .with_help("restore the object from the bucket's versions")
    })?;
    if layout.version > LAYOUT_VERSION {
        return Err(Error::new(Code::NewerFormat, format!("{} has version {}", what(), layout.version))
            .with_help("run the version of Segno that wrote it, or a newer one"));
    }
    Ok(layout)
}
