//! Fixtures of every persisted shape: what was written once is read for ever, and written the same way.

use super::{Generation, JournalBody, JournalEntry, Layout, Manifest};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn keeps<T: DeserializeOwned + Serialize>(fixture: &str) -> T {
    let value: T = serde_json::from_str(fixture).unwrap_or_else(|error| panic!("{error}: {fixture}"));
    assert_eq!(serde_json::to_string(&value).expect("JSON"), fixture.trim_end(), "the bytes of the format changed");
    value
}

#[test]
fn an_epoch_entry_is_read_and_written_as_it_always_was() {
    let entry: JournalEntry = keeps(include_str!("../../fixtures/journal-epoch-1.json"));
    let JournalBody::Epoch(record) = entry.body else { panic!("an epoch") };
    assert_eq!(record.facts.lane_scripts[0].calls[1].rejected.as_ref().map(|verdict| verdict.code.as_str()), Some("P020"));
    assert_eq!(record.facts.external[0].version, 1);
    assert_eq!(record.to.timer_cursor.as_ref().map(|cursor| cursor.timer), Some(1));
    assert_eq!(record.idle, [(0, 1)]);
}

#[test]
fn an_epoch_of_redriven_letters_is_read_and_written_as_it_always_was() {
    let entry: JournalEntry = keeps(include_str!("../../fixtures/journal-redrive-1.json"));
    let JournalBody::Epoch(record) = entry.body else { panic!("an epoch") };
    let redrive = record.facts.redrive.expect("a redrive");
    assert_eq!((redrive.step.as_deref(), redrive.partitions[0].letters[1].offset), (Some("count"), 40));
}

#[test]
fn fences_and_changes_are_read_and_written_as_they_always_were() {
    let fence: JournalEntry = keeps(include_str!("../../fixtures/journal-fence-1.json"));
    assert!(matches!(fence.body, JournalBody::Fence(fence) if fence.generation == 3));
    let change: JournalEntry = keeps(include_str!("../../fixtures/journal-change-1.json"));
    assert!(matches!(change.body, JournalBody::Change(change) if change.after_epoch == 7));
}

#[test]
fn manifests_and_generations_are_read_and_written_as_they_always_were() {
    let manifest: Manifest = keeps(include_str!("../../fixtures/manifest-1.json"));
    assert_eq!(manifest.number, 1);
    assert!(!manifest.files.is_empty());
    let generation: Generation = keeps(include_str!("../../fixtures/generation-1.json"));
    assert_eq!(generation.author.generation, 3);
}

#[test]
fn layouts_are_read_and_written_as_they_always_were() {
    let layout: Layout = keeps(include_str!("../../fixtures/layout-1.json"));
    assert_eq!(layout.shards, Some(12));
}
