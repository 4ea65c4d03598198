//! The rules of the object store, the journal, checkpoints, state and sinks, each tried where it breaks.

use crate::checkpoint::{self, CheckpointMeta, Checkpoints};
use crate::journal::{self, Journal};
use crate::lock::WorkLock;
use crate::sink::Files;
use crate::state::{Mark, StateStore};
use segno_core::persisted::{BEFORE_TTL, Lease, with_end, write_living};
use crate::store::Objects;
use crate::generation;
use segno_core::Code;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::persisted::{Author, Fence, Identity, JournalBody, PartitionPosition, Position};
use segno_core::pipeline::SinkFormat;
use segno_core::protocol::ownership::Claim;
use segno_core::sink::{Ownership, Sink, SinkRows};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn store(folder: &Path) -> Objects {
    Objects::open(&format!("file://{}", folder.display()), Path::new("."), "tenant", "pipeline", "single").expect("a store")
}

fn author(generation: u64) -> Author {
    Author { generation, writer: "test".to_owned(), nonce: journal::nonce() }
}

fn fence(generation: u64) -> JournalBody {
    JournalBody::Fence(Fence { generation })
}

fn path_of(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join("tenant/pipeline/single").join(name)
}

/// The next owner of a store.
fn owner(objects: &Objects) -> Author {
    generation::take(objects, "test", "journal").expect("a generation")
}

fn written_journal(objects: &Objects, entries: u64) -> Journal {
    let mut journal = Journal::new(objects.clone(), author(1), 0, String::new());
    for _ in 0..entries {
        assert_eq!(journal.append(fence(1)).expect("an answer"), Claim::Ours);
        journal.leave_hint().expect("a hint");
    }
    journal
}

fn mark(epoch: u64) -> Mark {
    Mark { epoch, chain: format!("chain-{epoch}"), watermark: None }
}

fn fill(state: &StateStore, epoch: u64, keys: std::ops::Range<u32>) {
    let changes: Vec<(Vec<u8>, Vec<u8>)> =
        keys.map(|key| (key.to_be_bytes().to_vec(), format!("value {key} of {epoch}").into_bytes())).collect();
    state
        .apply(&mark(epoch), changes.iter().map(|(key, value)| ("count", 0, key.as_slice(), Some(value.as_slice()))))
        .expect("applied");
}

#[test]
fn state_is_read_back_scanned_in_order_and_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    assert_eq!(state.mark().expect("a mark"), None);
    fill(&state, 1, 0..100);
    let delete = [7u32.to_be_bytes()];
    state.apply(&mark(2), delete.iter().map(|key| ("count", 0, key.as_slice(), None))).expect("applied");
    state.apply(&mark(3), [("other", 0, b"x".as_slice(), Some(b"y".as_slice()))].into_iter()).expect("applied");
    let mark = state.mark().expect("a mark").expect("a mark");
    assert_eq!((mark.epoch, mark.chain.as_str()), (3, "chain-3"));
    let keys: Vec<[u8; 4]> = [5u32, 7, 200].map(u32::to_be_bytes).to_vec();
    let found = state.get_many("count", 0, keys.iter().map(<[u8; 4]>::as_slice)).expect("values");
    assert_eq!(found[0].as_deref(), Some(b"value 5 of 1".as_slice()));
    assert_eq!((&found[1], &found[2]), (&None, &None));
    let mut seen = Vec::new();
    state
        .scan("count", 0, &3u32.to_be_bytes(), |key, _| {
            seen.push(u32::from_be_bytes(key.try_into().expect("4 bytes")));
            seen.len() < 5
        })
        .expect("a scan");
    assert_eq!(seen, [3, 4, 5, 6, 8], "in order, without the deleted one, and of this step only");
}

/// Applies values of the table 0 of a step with their ends, behind an epoch with a watermark.
fn fill_living(state: &StateStore, epoch: u64, watermark: i64, values: &[(&[u8], i64)]) {
    let mark = Mark { watermark: Some(watermark), ..mark(epoch) };
    let values: Vec<(&[u8], Vec<u8>)> = values.iter().map(|(key, end)| (*key, write_living(Lease { end: *end, ttl: 8 }, b"kept"))).collect();
    let changes = values.iter().map(|(key, value)| ("count", with_end(0), *key, Some(value.as_slice())));
    state.apply(&mark, changes).expect("applied");
}

fn keys_of(state: &StateStore, table: u16) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    state.scan("count", table, b"", |key, _| {
        keys.push(key.to_vec());
        true
    })
    .expect("a scan");
    keys
}

/// Entries of the table 0 with an end as they lie in the store.
fn kept_of(state: &StateStore) -> usize {
    let mut kept = 0;
    state.scan_kept("count", with_end(0), b"", |_, _| {
        kept += 1;
        true
    })
    .expect("a scan");
    kept
}

#[test]
fn what_has_ended_is_hidden_at_once_and_dropped_when_no_failure_brings_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let state = StateStore::open(&path).expect("a store");
    fill_living(&state, 1, 0, &[(b"a", 10), (b"b", 20), (b"c", i64::MAX)]);
    assert_eq!(keys_of(&state, 0), [b"a", b"b", b"c"]);
    let before = state.digest().expect("a digest");
    fill_living(&state, 2, 10, &[]);
    assert_eq!(keys_of(&state, 0), [b"b", b"c"], "an end is not part of the life");
    assert_eq!((state.get("count", 0, b"a").unwrap(), state.get("count", 0, b"b").unwrap()), (None, Some(b"kept".to_vec())));
    let hidden = state.digest().expect("a digest");
    assert_ne!(hidden, before);
    // A power failure may take epoch 2 back, and with it the watermark.
    state.compact();
    assert_eq!(kept_of(&state), 3);
    state.checkpoint(&folder.path().join("image")).expect("an image");
    state.compact();
    assert_eq!(kept_of(&state), 2);
    assert_eq!(state.digest().expect("a digest"), hidden, "whether it is there or not");
    fill_living(&state, 3, i64::MAX, &[]);
    assert_eq!(keys_of(&state, 0), [b"c"], "what is kept for ever has no end");
    drop(state);
    let state = StateStore::open(&path).expect("a store");
    assert_eq!(keys_of(&state, 0), [b"c"], "the watermark is that of the mark");
    state.compact();
    assert_eq!(kept_of(&state), 1, "what the store held when it was opened is lasting");
    assert_eq!(state.mark().unwrap().unwrap().watermark, Some(i64::MAX));
}

#[test]
fn values_from_before_a_time_to_live_end_together_and_stand_between_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let state = StateStore::open(&path).expect("a store");
    let old = |key: &'static [u8]| ("count", 0, key, Some(&b"old"[..]));
    let end = write_living(Lease { end: 50, ttl: 8 }, b"");
    let changes = [old(b"a"), old(b"c"), ("other", 0, b"x", Some(&b"y"[..])), (BEFORE_TTL, 0, b"count", Some(end.as_slice()))];
    state.apply(&Mark { watermark: Some(1), ..mark(1) }, changes.into_iter()).expect("applied");
    fill_living(&state, 2, 49, &[(b"b", 60), (b"c", 70)]);
    assert_eq!(keys_of(&state, 0), [b"a", b"b", b"c", b"c"], "a lane deletes the one when it writes the other");
    fill_living(&state, 3, 50, &[]);
    assert_eq!(keys_of(&state, 0), [b"b", b"c"]);
    drop(state);
    let state = StateStore::open(&path).expect("a store");
    assert_eq!(keys_of(&state, 0), [b"b", b"c"]);
    state.compact();
    let mut others = Vec::new();
    state.scan_kept("other", 0, b"", |key, value| {
        others.push((key.to_vec(), value.to_vec()));
        true
    })
    .expect("a scan");
    assert_eq!(others, [(b"x".to_vec(), b"y".to_vec())], "the state of another step");
    state.scan_kept("count", 0, b"", |key, _| panic!("{key:?} was not dropped")).expect("a scan");
}

#[test]
fn the_digest_of_state_depends_on_content_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let digest = |name: &str, pieces: &[std::ops::Range<u32>]| {
        let state = StateStore::open(&folder.path().join(name)).expect("a store");
        pieces.iter().for_each(|piece| fill(&state, 1, piece.clone()));
        state.digest().expect("a digest")
    };
    let whole = digest("a", &[0..500]);
    assert_eq!(whole, digest("b", &[250..500, 100..250, 0..100]));
    assert_ne!(whole, digest("c", &[0..499]));
}

#[test]
fn damaged_state_files_are_noticed_and_never_read_as_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let image = folder.path().join("image");
    {
        let state = StateStore::open(&path).expect("a store");
        fill(&state, 1, 0..5_000);
        state.checkpoint(&image).expect("an image");
    }
    for file in std::fs::read_dir(&image).expect("files").flatten().map(|entry| entry.path()) {
        let original = std::fs::read(&file).expect("a file");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        if original.len() < 100 || name.starts_with("OPTIONS") {
            continue;
        }
        let mut changed = original.clone();
        for at in (0..changed.len()).step_by(97) {
            changed[at] ^= 0x55;
        }
        std::fs::write(&file, &changed).expect("a file");
        let read = StateStore::open(&image).and_then(|state| state.digest());
        assert_eq!(read.expect_err("damage must be noticed").code(), Code::StateDamaged, "{name}");
        std::fs::write(&file, &original).expect("a file");
    }
}

fn meta(epoch: u64) -> CheckpointMeta {
    CheckpointMeta {
        epoch,
        sequence: epoch,
        chain: format!("chain-{epoch}"),
        position: Position::default(),
        watermark: None,
        identity: Identity { components: BTreeMap::new(), configuration: String::new(), engine: String::new(), tables: None },
        marks: BTreeMap::new(),
        written_at_ms: 0,
        replay_debt_ms: 0,
    }
}

#[test]
fn a_checkpoint_restores_to_the_same_state_and_every_damage_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = store(folder.path());
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    let mut checkpoints = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("images")).expect("checkpoints");
    fill(&state, 1, 0..2_000);
    checkpoints.start(&state, meta(1), u32::MAX).expect("an upload").wait().expect("a manifest");
    fill(&state, 2, 0..10);
    let manifest = checkpoints.start(&state, meta(2), u32::MAX).expect("an upload").wait().expect("a manifest").manifest;
    assert_eq!(checkpoint::newest(&objects).expect("a number"), 2);
    assert_eq!(checkpoint::verify(&objects, &manifest).expect("an answer").len(), 0);
    let first = checkpoint::read(&objects, 1).expect("an answer").expect("a manifest");
    let shared = first.files.iter().filter(|file| file.name.ends_with(".sst") && manifest.files.contains(file)).count();
    assert!(shared > 0, "the second checkpoint uploads only what is new");

    let target = folder.path().join("restored");
    checkpoint::restore(&objects, &manifest, &target).expect("restored");
    let restored = StateStore::open(&target).expect("a store");
    assert_eq!(restored.digest().expect("a digest"), state.digest().expect("a digest"));
    assert_eq!(restored.mark().expect("a mark").map(|mark| mark.epoch), Some(2));

    for file in &manifest.files {
        let path = path_of(folder.path(), &format!("files/{}", file.sha256));
        let original = std::fs::read(&path).expect("an object");
        for damage in 0..3 {
            match damage {
                0 => std::fs::remove_file(&path).expect("an object"),
                1 => std::fs::write(&path, [original.as_slice(), b"x"].concat()).expect("an object"),
                _ => {
                    let mut bytes = original.clone();
                    let Some(first) = bytes.first_mut() else { continue };
                    *first ^= 1;
                    std::fs::write(&path, bytes).expect("an object");
                }
            }
            let damages = checkpoint::verify(&objects, &manifest).expect("an answer");
            assert!(damages.iter().any(|error| error.code() == Code::CheckpointDamaged), "{} damage {damage}", file.name);
            let again = folder.path().join("again");
            let error = checkpoint::restore(&objects, &manifest, &again).expect_err("a damaged file is never restored");
            assert_eq!(error.code(), Code::CheckpointDamaged);
            let _ = std::fs::remove_dir_all(again);
            std::fs::write(&path, &original).expect("an object");
        }
    }
    let path = path_of(folder.path(), "manifest/000002");
    let original = std::fs::read_to_string(&path).expect("a manifest");
    for changed in [original.replace("\"epoch\":2", "\"epoch\":1"), original[..original.len() / 2].to_owned(), String::new()] {
        std::fs::write(&path, changed).expect("a manifest");
        assert_eq!(checkpoint::read(&objects, 2).expect_err("damage").code(), Code::CheckpointDamaged);
    }
}

fn read_to(offset: u64) -> PartitionPosition {
    PartitionPosition { source: 0, partition: 0, name: "in".to_owned(), offset, mark: String::new(), time_max: None, writers: Default::default() }
}

#[test]
fn collection_keeps_what_kept_checkpoints_need() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = store(folder.path());
    written_journal(&objects, 6);
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    let mut checkpoints = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("images")).expect("checkpoints");
    for epoch in 1..=6 {
        fill(&state, epoch, 0..100);
        let position = Position { partitions: vec![read_to(epoch * 10)], ..Position::default() };
        let meta = CheckpointMeta { position, ..meta(epoch) };
        let published = checkpoints.start(&state, meta, 2).expect("an upload").wait().expect("a manifest");
        // What is before where the oldest of the two has read to is needed no more.
        let oldest = (epoch > 2).then(|| vec![read_to((epoch - 1) * 10)]);
        assert_eq!(published.oldest.map(|oldest| oldest.partitions), oldest);
    }
    let kept: Vec<u64> = (1..=6).filter(|&number| checkpoint::read(&objects, number).expect("an answer").is_some()).collect();
    assert_eq!(kept, [5, 6]);
    for number in kept {
        let manifest = checkpoint::read(&objects, number).expect("an answer").expect("a manifest");
        assert_eq!(checkpoint::verify(&objects, &manifest).expect("an answer").len(), 0);
    }
    let entries: Vec<u64> =
        (1..=6).filter(|&sequence| journal::read_entry(&objects, sequence).expect("an answer").is_some()).collect();
    assert_eq!(entries, [5, 6], "the journal goes back to the oldest kept checkpoint");
    // Files of collected checkpoints are younger than any upload may last, so they stay for now.
    assert!(objects.list("files").expect("a listing").len() > 5);
    std::fs::remove_file(path_of(folder.path(), "manifest-hint")).expect("the hint");
    assert_eq!(checkpoint::newest(&objects).expect("a number"), 6, "a lost hint does not hide checkpoints");
}

/// Sets when the store says that objects of a kind were written.
fn written_at(folder: &Path, kind: &str, name: impl Fn(&str) -> bool, at: SystemTime) {
    for file in std::fs::read_dir(path_of(folder, kind)).expect("files").flatten() {
        if name(&file.file_name().to_string_lossy()) {
            std::fs::File::options().write(true).open(file.path()).and_then(|file| file.set_modified(at)).expect("a time");
        }
    }
}

#[test]
fn a_clock_that_is_days_off_never_makes_an_upload_under_way_old() {
    const DAYS: Duration = Duration::from_secs(3 * 86_400);
    let folder = tempfile::tempdir().expect("a folder");
    let objects = store(folder.path());
    written_journal(&objects, 12);
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    let mut checkpoints = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("images")).expect("checkpoints");
    let mut checkpoint = |epoch: u64| {
        checkpoints.start(&state, meta(epoch), 1).expect("an upload").wait().expect("a manifest");
    };
    fill(&state, 1, 0..100);
    checkpoint(1);
    // Another owner's upload: nothing names it yet.
    let under_way = "0".repeat(64);
    let is_there = || objects.head(&format!("files/{under_way}")).expect("an answer").is_some();
    objects.put(&format!("files/{under_way}"), "a part of a checkpoint".into()).expect("written");
    let now = SystemTime::now();

    // This machine is days ahead of the store: everything in it seems old. Nothing new is uploaded.
    written_at(folder.path(), "files", |_| true, now - DAYS);
    checkpoint(2);
    assert!(is_there(), "by a clock that is ahead");
    // Others are from a time when the store's clock was ahead.
    written_at(folder.path(), "files", |_| true, now);
    fill(&state, 3, 0..100);
    checkpoint(3);
    written_at(folder.path(), "files", |name| name != under_way, now + DAYS);
    checkpoint(4);
    assert!(is_there(), "by an object from the future");
    // It is old when the store says so.
    written_at(folder.path(), "files", |_| true, now);
    written_at(folder.path(), "files", |name| name == under_way, now - DAYS);
    checkpoint(5);
    assert!(!is_there(), "what is old is collected");
    let last = checkpoint::read(&objects, 5).expect("an answer").expect("a manifest");
    assert_eq!(checkpoint::verify(&objects, &last).expect("an answer").len(), 0);
}

fn identity(plan: &str) -> Identity {
    Identity { components: BTreeMap::new(), configuration: plan.to_owned(), engine: String::new(), tables: None }
}

#[test]
fn the_archive_keeps_what_kept_checkpoints_and_the_journal_behind_them_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = store(folder.path());
    let mut journal = written_journal(&objects, 2);
    let change = |before: &str, after: &str| {
        let (before, after) = (identity(before), identity(after));
        JournalBody::Change(segno_core::persisted::Change { after_epoch: 1, before, after, accepted: Vec::new() })
    };
    // Entry 3 names the first plan for the last time, entry 5 the second: 3 to 6 are behind a checkpoint at 2.
    for body in [change("first", "second"), fence(1), change("second", "third"), fence(1)] {
        assert_eq!(journal.append(body).expect("an answer"), Claim::Ours);
    }
    for plan in ["first", "second", "third", "never"] {
        objects.put(&format!("archive/{plan}"), format!("component rows-of-{plan}").into()).expect("written");
        objects.put(&format!("archive/rows-of-{plan}"), "rows".into()).expect("written");
    }
    objects.put("archive/component", "code".into()).expect("written");
    let named = |bytes: &[u8]| Ok(String::from_utf8_lossy(bytes).split(' ').map(str::to_owned).collect());
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    fill(&state, 1, 0..10);
    let checkpoints = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("images")).expect("checkpoints");
    let mut checkpoints = checkpoints.with_archive(named);
    let mut left = |sequence: u64, plan: &str| {
        let meta = CheckpointMeta { identity: identity(plan), ..meta(sequence) };
        checkpoints.start(&state, meta, 1).expect("an upload").wait().expect("a manifest");
        let mut names: Vec<String> = objects.list("archive").expect("names").into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.join(" ")
    };
    let all = "component first never rows-of-first rows-of-never rows-of-second rows-of-third second third";
    assert_eq!((left(1, "first").as_str(), left(2, "first").as_str()), (all, all), "what is young stays");
    written_at(folder.path(), "archive", |_| true, SystemTime::now() - Duration::from_secs(2 * 3600));
    // Ages count from the youngest: something about to be named.
    objects.put("archive/young", "component".into()).expect("written");
    let named_by_journal = "component first rows-of-first rows-of-second rows-of-third second third young";
    assert_eq!(left(2, "first"), named_by_journal);
    assert_eq!(left(4, "second"), "component rows-of-second rows-of-third second third young");
    // A plan that cannot be read: who knows what it names.
    assert_eq!(left(6, "gone"), "component rows-of-second rows-of-third second third young");
    assert_eq!(left(6, "third"), "component rows-of-third third young");
}

#[test]
fn a_checkpoint_follows_that_of_an_older_owner_and_one_that_slept_leaves_no_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = store(folder.path());
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    fill(&state, 1, 0..10);
    let mut sleeper = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("old")).expect("checkpoints");
    let mut newer = Checkpoints::new(objects.clone(), owner(&objects), folder.path().join("new")).expect("checkpoints");
    let error = sleeper.start(&state, meta(1), u32::MAX).expect("an upload").wait().expect_err("it was overtaken");
    assert_eq!(error.code(), Code::OwnershipLost);
    assert_eq!(objects.get("manifest-hint").expect("an answer"), None);
    let made = newer.start(&state, meta(1), u32::MAX).expect("an upload").wait().expect("a manifest").manifest;
    assert_eq!(made.number, 2, "the sleeper's checkpoint is as good as any");
}

#[test]
fn leftovers_of_a_killed_upload_are_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().join("images");
    std::fs::create_dir_all(images.join("000007")).expect("a leftover");
    Checkpoints::new(store(folder.path()), author(1), images.clone()).expect("checkpoints");
    assert_eq!(std::fs::read_dir(images).expect("a folder").count(), 0);
}

#[test]
fn the_lock_names_its_holder_and_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = WorkLock::acquire(folder.path()).expect("the lock");
    let error = WorkLock::acquire(folder.path()).expect_err("a refusal");
    assert_eq!(error.code(), Code::AlreadyRunning);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    drop(held);
    WorkLock::acquire(folder.path()).expect("the lock is free again");
}

fn rows() -> (Schema, arrow_array::RecordBatch) {
    let schema = Schema::new(vec![Column::new("n", ColumnType::I64, false)]);
    let column: arrow_array::ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1, 2, 3]));
    let batch = arrow_array::RecordBatch::try_new(schema.to_arrow(), vec![column]).expect("a batch");
    (schema, batch)
}

fn visible(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn rows_are_invisible_until_they_are_published_and_then_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = Files::open("out", "single", folder.path(), SinkFormat::Json).expect("a sink");
    let (schema, batch) = rows();
    let rows = SinkRows { epoch: 4, schema: &schema, batch: &batch, written: 1, lineage: None, told: None };
    let staged = sink.stage(&rows).expect("staged");
    assert_eq!(visible(folder.path()), Vec::<String>::new());
    sink.publish(&rows, &staged).expect("published");
    sink.publish(&rows, &staged).expect("published twice is published once");
    assert_eq!(visible(folder.path()), ["out-single-000000000004.jsonl"]);
    let target = folder.path().join("out-single-000000000004.jsonl");
    assert_eq!(std::fs::read_to_string(&target).expect("output"), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    std::fs::write(&target, "changed").expect("output");
    assert_eq!(sink.publish(&rows, &staged).expect_err("a changed output is noticed").code(), Code::OutputLost);
}

fn owned_by(pipeline: &str, name: &str, folder: &Path, generation: u64) -> segno_core::Result<Files> {
    let mut sink = Files::open(name, "single", folder, SinkFormat::Json).expect("a sink");
    let (tenant, pipeline, shard) = ("default".to_owned(), pipeline.to_owned(), "single".to_owned());
    sink.take_over(&Ownership { tenant, pipeline, shard, generation })?;
    Ok(sink)
}

fn owned(name: &str, folder: &Path, generation: u64) -> Files {
    owned_by("test", name, folder, generation).expect("taken over")
}

#[test]
fn two_pipelines_do_not_write_files_of_the_same_names() {
    let folder = tempfile::tempdir().expect("a folder");
    owned("out", folder.path(), 1);
    owned("out", folder.path(), 2);
    let error = owned_by("other", "out", folder.path(), 1).err().expect("the names are taken");
    assert_eq!(error.code(), Code::OutputOwned);
    assert!(error.message().contains("default/test"), "{error}");
    owned_by("other", "totals", folder.path(), 1).expect("names of its own");
    assert_eq!(std::fs::read_dir(folder.path().join(".segno-staging")).expect("a folder").count(), 2, "nothing else is left");
}

#[test]
fn only_ones_own_uncommitted_rows_are_discarded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (schema, batch) = rows();
    let mut ours = owned("out", folder.path(), 1);
    let mut theirs = owned("dlq", folder.path(), 1);
    let rows = SinkRows { epoch: 1, schema: &schema, batch: &batch, written: 1, lineage: None, told: None };
    let lost = ours.stage(&rows).expect("staged");
    let kept = theirs.stage(&rows).expect("staged");
    owned("out", folder.path(), 2).discard_uncommitted().expect("discarded");
    assert_eq!(ours.publish(&rows, &lost).expect_err("it is gone").code(), Code::OutputLost);
    theirs.publish(&rows, &kept).expect("another sink's rows are untouched");
}

#[test]
fn what_a_newer_owner_staged_is_not_discarded_by_one_that_slept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (schema, batch) = rows();
    let mut sleeper = owned("out", folder.path(), 1);
    let mut owner = owned("out", folder.path(), 2);
    let rows = SinkRows { epoch: 1, schema: &schema, batch: &batch, written: 1, lineage: None, told: None };
    let staged = owner.stage(&rows).expect("staged");
    sleeper.discard_uncommitted().expect("discarded");
    owner.publish(&rows, &staged).expect("the owner's rows are there");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    let error = Files::open("out", "single", &file.join("below"), SinkFormat::Json).err().expect("a refusal");
    assert_eq!(error.code(), Code::SinkUnwritable);
}

#[test]
fn a_queue_is_read_as_a_scan_reads_it_whatever_was_deleted_and_written_before_its_front() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = StateStore::open(folder.path()).expect("a store");
    let all = |queue: bool, at_most: usize| {
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut visit = |key: &[u8]| {
            found.push(key.to_vec());
            found.len() < at_most
        };
        match queue {
            true => store.scan_queue("step", u16::MAX, visit).expect("a scan"),
            false => store.scan("step", u16::MAX, b"", |key, _| visit(key)).expect("a scan"),
        }
        found
    };
    // A step behind it, and one whose name goes on: neither is a part of the queue.
    let others = [("step-2", u16::MAX, &b"a"[..], Some(&b""[..])), ("step", 0, b"b", Some(b""))];
    store.apply(&mark(1), others.into_iter()).expect("written");
    let mut random: u64 = 42;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut emptied = 0;
    for epoch in 2..400 {
        assert_eq!(all(true, 3), all(false, 3), "epoch {epoch}");
        let front = all(true, usize::MAX);
        assert_eq!(front, all(false, usize::MAX), "epoch {epoch}");
        emptied += usize::from(front.is_empty());
        let taken = draw(front.len() as u64 + 2).min(front.len() as u64) as usize;
        let mut changes: Vec<(Vec<u8>, bool)> = front[..taken].iter().map(|key| (key.clone(), false)).collect();
        for _ in 0..draw(4) {
            changes.push(((epoch * 10 + draw(200)).saturating_sub(100).to_be_bytes().to_vec(), draw(4) > 0));
        }
        let changes = changes.iter().map(|(key, set)| ("step", u16::MAX, key.as_slice(), set.then_some(&b""[..])));
        store.apply(&mark(epoch), changes).expect("written");
    }
    assert!(emptied > 10, "it was empty {emptied} times");
}
