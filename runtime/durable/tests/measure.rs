//! How fast the store of the test server is under journal and checkpoints. Run by hand: `--ignored --nocapture measure`.

use crate::lab::{author, direct, empty_journal, fence, file_of, fill, meta, noise};
use bytes::Bytes;
use segno_durable::checkpoint::{self, Checkpoints};
use segno_core::protocol::ownership::Claim;
use segno_durable::state::StateStore;
use std::time::{Duration, Instant};

const APPENDS: u64 = 2_000;
const LARGE_BYTES: usize = 64 << 20;
const KEYS: u32 = 2_000_000;

#[test]
#[ignore = "a measurement"]
fn measure() {
    let objects = direct();
    let mut journal = empty_journal(&objects);
    let started = Instant::now();
    let mut times: Vec<Duration> = (0..APPENDS)
        .map(|number| {
            let one = Instant::now();
            assert!(matches!(journal.append(fence(number)).expect("an answer"), Claim::Ours));
            one.elapsed()
        })
        .collect();
    let whole = started.elapsed();
    times.sort();
    println!(
        "## append: p50 {:?}, p99 {:?}, {:.0}/s",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        APPENDS as f64 / whole.as_secs_f64()
    );

    let rate = |bytes: u64, time: Duration| bytes as f64 / time.as_secs_f64() / f64::from(1 << 20);
    let body = Bytes::from(noise(LARGE_BYTES));
    let file = file_of(&body);
    let started = Instant::now();
    objects.put_file("files/large", file.path(), LARGE_BYTES as u64).expect("written");
    println!("## {} MiB in parts: written at {:.0} MiB/s", LARGE_BYTES >> 20, rate(LARGE_BYTES as u64, started.elapsed()));
    let started = Instant::now();
    assert!(objects.get_sized("files/large", LARGE_BYTES as u64).expect("an answer") == Some(body));
    println!("## {} MiB in parts: read at {:.0} MiB/s", LARGE_BYTES >> 20, rate(LARGE_BYTES as u64, started.elapsed()));

    let folder = tempfile::tempdir().expect("a folder");
    let state = StateStore::open(&folder.path().join("state")).expect("a store");
    for piece in 0..20 {
        fill(&state, u64::from(piece) + 1, piece * KEYS / 20..(piece + 1) * KEYS / 20);
    }
    let mut checkpoints = Checkpoints::new(objects.clone(), author(1), folder.path().join("images")).expect("checkpoints");
    let started = Instant::now();
    let manifest = checkpoints.start(&state, meta(20), u32::MAX).expect("an upload").wait().expect("a manifest").manifest;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    println!("## checkpoint of {} MiB: written at {:.0} MiB/s", bytes >> 20, rate(bytes, started.elapsed()));
    let started = Instant::now();
    checkpoint::restore(&objects, &manifest, &folder.path().join("restored")).expect("restored");
    println!("## checkpoint of {} MiB: restored at {:.0} MiB/s", bytes >> 20, rate(bytes, started.elapsed()));
}
