//! Single flipped bits in the files of the local state: discarded and restored, never believed.
//!
//! Owns: the local database. Does not own: damaged checkpoints and journals (runtime/segno).

use crate::lab::Lab;
use std::io::Write;
use std::path::{Path, PathBuf};

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(all_files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

/// Records of known keys, so that the state is read.
fn append(lab: &Lab) {
    let mut file = std::fs::File::options().append(true).open(&lab.inputs()[0]).expect("input");
    for key in 0..200 {
        writeln!(file, "{{\"id\":{},\"key\":\"k{key}\",\"price\":1,\"at\":{}}}", 900_000 + key, 90_000_000 + key).expect("input");
    }
}

#[test]
fn a_flipped_bit_in_the_local_state_changes_nothing() {
    let expected = Lab::new(41, 2_000);
    expected.complete();
    append(&expected);
    expected.complete();
    for kind in [".sst", "MANIFEST-", "CURRENT"] {
        for part in [0, 2] {
            let lab = Lab::new(41, 2_000);
            lab.complete();
            let mut damaged = 0;
            for file in all_files(&lab.path("work")) {
                let name = file.file_name().expect("a name").to_string_lossy().into_owned();
                if !name.ends_with(kind) && !name.starts_with(kind) {
                    continue;
                }
                let mut bytes = std::fs::read(&file).expect("a state file");
                if !bytes.is_empty() {
                    let at = (bytes.len() - 1) * part / 3;
                    bytes[at] ^= 4;
                    std::fs::write(&file, bytes).expect("a state file");
                    damaged += 1;
                }
            }
            assert!(damaged > 0, "the local state has no {kind}");
            append(&lab);
            lab.complete();
            assert!(lab.output() == expected.output(), "{kind}, part {part}: the output differs");
            lab.check();
            lab.replays();
        }
    }
}
