//! The two kinds of sinks: one publishes what was staged, the other keeps its own mark with its rows.

use crate::store::Span;
use std::collections::BTreeMap;

/// A folder: staged under (epoch, generation that staged it), published under the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Folder {
    pub staged: BTreeMap<(u64, u64), Span>,
    pub published: BTreeMap<u64, Span>,
}

impl Folder {
    /// Renames what was staged; false when the published file is neither staged nor there as it was.
    pub fn publish(&mut self, epoch: u64, generation: u64, span: Span) -> bool {
        match self.staged.remove(&(epoch, generation)) {
            Some(staged) => {
                self.published.insert(epoch, staged);
                true
            }
            None => self.published.get(&epoch) == Some(&span),
        }
    }
}

/// A broker or a database: rows and mark change in one atomic write, by the last writer that took it over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Counts take-overs. The last one fences those before it, whoever made it: that is what a stable id gives.
    pub token: u64,
    pub mark: Option<u64>,
    pub rows: Vec<u64>,
}

/// Rows of a span for the follower: every third record has none, so that some epochs have none.
pub fn rows(span: Span) -> impl Iterator<Item = u64> {
    (span.from..span.to).filter(|record| record % 3 != 2)
}
