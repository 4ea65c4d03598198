//! Whether a store keeps its word: of several writers that create one object, one wins.
//!
//! Owns: the race, and the object that remembers that it was run. Everything that makes Segno exactly-once rests on this
//! property, so a store without it is refused at the start.
//!
//! Invariant: what is remembered names the store; a bucket that was copied elsewhere is raced again.

use super::{Created, Objects};
use bytes::Bytes;
use segno_core::{Code, Error, Result};

/// Writers of one race.
pub const RACERS: usize = 8;
/// Races before a store is trusted: a store that fails rarely was seen to fail in one of 60.
const RACES: usize = 8;
/// Folder of the store's own objects; no tenant has a name like it.
const FOLDER: &str = "_segno";
/// What this version of the probe remembers; a stricter one would remember something else.
const PROBE: &str = "conditional-create-1";

impl Objects {
    /// Races writers, unless this store was raced before. Run at every start.
    pub fn prove_conditional_create(&self) -> Result<()> {
        let store = Objects { prefix: self.target.root().join(FOLDER), ..self.clone() };
        let proof = format!("{PROBE}: {}\n", self.target.identity());
        // The first thing that a start reads: here a bucket shows that it is not there.
        if store.get(PROBE)?.is_some_and(|found| found == proof.as_bytes()) {
            return Ok(());
        }
        for _ in 0..RACES {
            let winners = count_winners(&store)?;
            if winners != 1 {
                return Err(Error::new(
                    Code::StoreUnsafe,
                    format!("in {}, {winners} of {RACERS} racing writers believe that they created an object", self.url),
                )
                .with_help(
                    "use a store with conditional writes (If-None-Match: *), and no proxy that drops the header: \
                     without them two processes could own one pipeline",
                ));
            }
        }
        tracing::info!(store = self.url, races = RACES, "the store creates each object once");
        store.put(PROBE, Bytes::from(proof))
    }
}

/// How many of `RACERS` writers create the same new object, which is removed afterwards. A loser must be shown what the
/// winner wrote; one who is shown something else counts as a winner, too.
pub fn count_winners(objects: &Objects) -> Result<usize> {
    let name = &format!("probe/{}", crate::journal::nonce());
    let outcomes: Result<Vec<(Bytes, Result<Created>)>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let body = Bytes::from(format!("racer {racer} {}", crate::journal::nonce()));
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || (body.clone(), objects.create(name, body)))
                    .map_err(|error| Error::new(Code::Internal, "the threads that race cannot start").with_cause(error))
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.map(|racer| racer.join().ok()).transpose()).collect()
    });
    let there = objects.get(name)?;
    objects.delete(name)?;
    let mut winners = 0;
    for (body, outcome) in outcomes? {
        winners += match outcome? {
            Created::Ours => 1,
            Created::Theirs(shown) => usize::from(Some(&shown) != there.as_ref() || shown == body),
        };
    }
    Ok(winners)
}
