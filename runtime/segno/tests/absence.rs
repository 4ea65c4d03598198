//! A worker that comes back after long: what its folder holds is old, and the store has collected what it refers to.

use crate::lab::{copy, text};
use crate::postgres::Tables;
use crate::s3::{in_bucket, variable};
use segno_durable::{checkpoint, journal};
use std::io::Write;

const RECORDS: usize = 4_000;

/// Checkpoints that are kept: the journal goes back to the older of them.
const KEPT: u32 = 2;

#[test]
fn a_worker_whose_state_is_older_than_everything_that_is_kept_goes_on_from_the_newest_checkpoint() {
    let mut tables = Tables::new(RECORDS, 100);
    tables.lab.keep = KEPT;
    let objects = in_bucket(&mut tables.lab, &variable("SEGNO_TEST_S3"));
    // The input is one partition, since the order of several follows from what is there; it comes in three parts.
    let inputs = tables.lab.inputs();
    let whole = std::fs::read_to_string(&inputs[0]).expect("input");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let parts: Vec<String> = lines.chunks(lines.len().div_ceil(3)).map(<[&str]>::concat).collect();
    let add = |part: usize| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&inputs[0]).expect("input");
        file.write_all(parts[part].as_bytes()).expect("written");
    };
    inputs.iter().for_each(|path| std::fs::write(path, "").expect("emptied"));

    add(0);
    tables.lab.complete();
    let end = journal::find_end(&objects, 0).expect("a number");
    let (work, old) = (tables.lab.path("work"), tables.lab.path("work-of-long-ago"));
    copy(&work, &old);

    // Another machine goes on, and collects.
    std::fs::remove_dir_all(&work).expect("the other machine has none of it");
    add(1);
    tables.lab.complete();
    let left = journal::first_left(&objects).expect("a number");
    assert!(left > end, "entries up to {end} should be collected, and {left} is the oldest that is left");
    let newest = checkpoint::newest(&objects).expect("a number");
    assert!(
        checkpoint::read(&objects, newest - u64::from(KEPT)).expect("an answer").is_none(),
        "older checkpoints are collected"
    );

    // The first machine comes back with what it had.
    std::fs::remove_dir_all(&work).expect("the other machine is gone");
    std::fs::rename(&old, &work).expect("the old folder");
    add(2);
    let run = tables.lab.run(&["run", "-v"]);
    let said = text(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("base=Checkpoint"), "its old state was taken for good: {said}");
    tables.compare();
}
