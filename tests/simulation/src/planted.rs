//! Known mistakes, each behind a switch: whoever looks for mistakes must find these.

/// One rule of the protocol, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// Output is published before the journal entry exists.
    PublishBeforeJournal,
    /// State is applied before the journal entry exists.
    StateBeforeJournal,
    /// A new owner reads the journal's end without a fence entry.
    NoFence,
    /// A fence follows the last entry, whoever wrote it.
    FenceFollowsAnyone,
    /// A new owner does not fence the sink that keeps its own mark.
    SinkNotFenced,
    /// A failure is believed, whoever owns the shard by then.
    VerdictOfAnyone,
    /// An entry that was created counts, whoever owns the shard by then.
    NoConfirm,
    /// The sink's mark is written after its rows, not with them.
    MarkApartFromRows,
    /// The mark of the local state is written after the changes, not with them.
    MarkApartFromState,
    /// A checkpoint is made of an epoch that a sink has not reached.
    CheckpointBeforeSinks,
    /// The journal ends where a listing says.
    ListDecidesEnd,
    /// A manifest is created before the files that it names.
    ManifestBeforeFiles,
    /// An answer that never came is taken for a success.
    UnknownIsSuccess,
    /// Retention removes the entry of the oldest kept checkpoint.
    RetentionTakesOldestEntry,
    /// What is staged is removed whoever staged it.
    DiscardsEverything,
    /// Manifests do not say what the sinks held.
    NoMarksInManifest,
    /// A sink without a mark gets one before it is decided whether it was lost.
    MarkMadeBeforeTheDecision,
    /// A database takes rows whatever its mark is, as long as the writer is its owner.
    MarkNotCompared,
    /// A manifest with the wanted number, of whomever, ends the ownership.
    ManifestOfAnOlderOwnerStops,
}

impl Planted {
    pub const ALL: [Planted; 19] = [
        Planted::PublishBeforeJournal,
        Planted::StateBeforeJournal,
        Planted::NoFence,
        Planted::FenceFollowsAnyone,
        Planted::SinkNotFenced,
        Planted::VerdictOfAnyone,
        Planted::NoConfirm,
        Planted::MarkApartFromRows,
        Planted::MarkApartFromState,
        Planted::CheckpointBeforeSinks,
        Planted::ListDecidesEnd,
        Planted::ManifestBeforeFiles,
        Planted::UnknownIsSuccess,
        Planted::RetentionTakesOldestEntry,
        Planted::DiscardsEverything,
        Planted::NoMarksInManifest,
        Planted::MarkMadeBeforeTheDecision,
        Planted::MarkNotCompared,
        Planted::ManifestOfAnOlderOwnerStops,
    ];
}
