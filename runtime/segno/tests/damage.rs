//! Damaged and missing objects: detected, recovered from where something older is intact, else a loud stop.

use crate::lab::{Lab, text};
use std::path::PathBuf;

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder of objects").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The objects that the newest manifest names, and the manifest.
fn newest_checkpoint(lab: &Lab) -> Vec<PathBuf> {
    let manifest = files(lab.store().join("manifest")).pop().expect("a checkpoint");
    let body = std::fs::read_to_string(&manifest).expect("a manifest");
    let mut objects: Vec<PathBuf> = files(lab.store().join("files"))
        .into_iter()
        .filter(|path| body.contains(path.file_name().expect("a name").to_str().expect("hex")))
        .collect();
    objects.push(manifest);
    objects
}

#[test]
fn every_object_of_a_checkpoint_is_missed_and_the_older_one_is_used() {
    let lab = Lab::new(7, 6_000);
    lab.complete();
    let output = lab.output();
    assert!(lab.objects("manifest") >= 2, "the test needs an older checkpoint");
    let objects = newest_checkpoint(&lab);
    assert!(objects.len() >= 4, "{objects:?}");
    for object in &objects {
        let original = std::fs::read(object).expect("an object");
        for damage in ["change", "cut", "delete"] {
            let _ = std::fs::remove_dir_all(lab.path("work"));
            match damage {
                "delete" => std::fs::remove_file(object).expect("an object"),
                // An empty file has no bit to change.
                _ if original.is_empty() => std::fs::write(object, b"x").expect("an object"),
                "change" => {
                    let mut bytes = original.clone();
                    let at = bytes.len() / 2;
                    bytes[at] ^= 0x10;
                    std::fs::write(object, bytes).expect("an object");
                }
                _ => std::fs::write(object, &original[..original.len() / 2]).expect("an object"),
            }
            let verified = lab.run(&["checkpoint", "verify"]);
            let run = lab.run(&["run", "-q"]);
            let name = object.display();
            assert!(run.status.success(), "{damage} {name}: {}", text(&run.stderr));
            assert_eq!(verified.status.code(), Some(1), "{damage} {name}: {}", text(&verified.stdout));
            assert!(lab.output() == output, "{damage} {name}: the output differs");
            // A manifest that is gone may have been written anew; everything else is put back.
            std::fs::write(object, &original).expect("an object");
        }
    }
    lab.check();
}

#[test]
fn a_damaged_journal_stops_loudly() {
    let lab = Lab::new(8, 2_000);
    lab.complete();
    let entries = files(lab.store().join("journal"));
    let middle = &entries[entries.len() / 2];
    let original = std::fs::read(middle).expect("an entry");
    for (damage, code) in [("change", "J009"), ("cut", "J007"), ("delete", "J008")] {
        match damage {
            "delete" => std::fs::remove_file(middle).expect("an entry"),
            "cut" => std::fs::write(middle, &original[..100]).expect("an entry"),
            _ => {
                // Still an entry, but not the one that the next one names.
                let text = String::from_utf8(original.clone()).expect("JSON");
                std::fs::write(middle, text.replacen("\"batch_rows\":1024", "\"batch_rows\":1023", 1)).expect("an entry");
            }
        }
        let (exit, said) = lab.replay();
        assert_eq!(exit, Some(1), "{damage}: {said}");
        assert!(said.contains(code), "{damage}: {said}");
        std::fs::write(middle, &original).expect("an entry");
    }
    let (exit, said) = lab.replay();
    assert_eq!(exit, Some(0), "{said}");
}

#[test]
fn damaged_local_state_is_restored() {
    let lab = Lab::new(9, 3_000);
    lab.complete();
    let output = lab.output();
    for file in files(lab.path("work/state")) {
        let bytes = std::fs::read(&file).expect("a state file");
        if file.is_file() && !bytes.is_empty() {
            std::fs::write(&file, bytes.iter().map(|byte| byte ^ 0xff).collect::<Vec<u8>>()).expect("a state file");
        }
    }
    lab.complete();
    assert!(lab.output() == output);
    assert_eq!(lab.replay().0, Some(0));
}

#[test]
fn input_that_shrinks_or_changes_is_noticed() {
    for (change, code) in [("cut", "S003"), ("change", "S004")] {
        let lab = Lab::new(10, 1_000);
        lab.complete();
        let input = &lab.inputs()[0];
        let bytes = std::fs::read(input).expect("input");
        match change {
            "cut" => std::fs::write(input, &bytes[..bytes.len() / 2]).expect("input"),
            _ => {
                let mut bytes = bytes;
                let at = bytes.len() - 5;
                bytes[at] ^= 1;
                bytes.extend_from_slice(b"{\"id\":1,\"key\":\"k\",\"price\":1,\"at\":99999999}\n");
                std::fs::write(input, bytes).expect("input");
            }
        }
        let run = lab.run(&["run", "-q"]);
        let said = text(&run.stderr);
        assert!(!run.status.success() && said.contains(code), "{change}: {said}");
    }
}

#[test]
fn damaged_details_and_generations_are_found() {
    let lab = Lab::new(10, 2_000);
    lab.complete();
    assert_eq!(lab.run(&["checkpoint", "verify"]).status.code(), Some(0));
    for kind in ["detail", "generation"] {
        let object = files(lab.store().join(kind)).remove(0);
        let original = std::fs::read(&object).expect("an object");
        for damage in [Some(&original[..original.len() / 2]), None] {
            match damage {
                Some(bytes) => std::fs::write(&object, bytes).expect("an object"),
                None => std::fs::remove_file(&object).expect("an object"),
            }
            let verified = lab.run(&["checkpoint", "verify"]);
            let (code, said) = (verified.status.code(), text(&verified.stderr));
            let name = object.file_name().expect("a name").to_string_lossy();
            assert!(code == Some(1) && said.contains("J007") && said.contains(&*name), "{kind} {damage:?}: {said}");
        }
        std::fs::write(&object, &original).expect("an object");
    }
    assert_eq!(lab.run(&["checkpoint", "verify"]).status.code(), Some(0));
}

#[test]
fn a_replay_finds_published_files_that_were_changed_and_counts_those_that_are_gone() {
    let lab = Lab::new(11, 2_000);
    lab.complete();
    let published = files(lab.path("out")).into_iter().filter(|path| path.is_file()).collect::<Vec<_>>();
    let (changed, gone) = (&published[0], &published[1]);
    let (code, said) = lab.replay();
    assert!(code == Some(0) && said.contains("published files: as written"), "{said}");
    std::fs::remove_file(gone).expect("a published file");
    let (code, said) = lab.replay();
    assert!(code == Some(0) && said.contains("1 not there any more"), "{said}");
    let mut bytes = std::fs::read(changed).expect("a published file");
    bytes[3] ^= 1;
    std::fs::write(changed, bytes).expect("a published file");
    let (code, said) = lab.replay();
    let name = changed.file_name().expect("a name").to_string_lossy();
    assert!(code == Some(1) && said.contains("CHANGED") && said.contains(&*name), "{said}");
}
