//! Plugins in C, with the real clang: what a project promises, and what a plugin must not reach.
//!
//! Owns: what differs from Rust. Does not own: what is the same in every language (`author`), the page (`tutorial`).

use crate::author::Folder;
use std::process::Command;

/// A project in C of the SDK that the command carries.
#[track_caller]
fn project(name: &str, template: &str) -> Folder {
    let folder = Folder::new();
    folder.segno("", &["new", name, "--lang", "c", "--template", template]).good();
    folder
}

/// Compiles a test of the SDK and runs it, under the sanitizers.
#[track_caller]
fn native(compiler: &str, source: &str) -> String {
    let out = tempfile::tempdir().unwrap();
    let script = format!(
        "{compiler} -std=gnu11 -Wall -Wextra -Wno-missing-field-initializers -Werror -g -O1 -fwrapv -fsanitize=address,undefined \
         -fno-sanitize-recover=all -Iinclude {source} src/*.c -lm -o {out}/test && ASAN_OPTIONS=detect_leaks=0 {out}/test",
        out = out.path().display()
    );
    let done = Command::new("sh").arg("-ec").arg(&script).current_dir("../../sdk/c").output().expect("sh starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    said
}

#[test]
fn the_sdk_reads_and_writes_the_shared_vectors_and_survives_damaged_ones() {
    let said = native("clang", "tests/vectors.c");
    assert!(said.contains("13833 checks, 0 failed"), "{said}");
}

#[test]
fn the_sdk_keeps_its_own_rules() {
    let said = native("clang", "tests/parts.c testing/*.c");
    assert!(said.contains(" checks, 0 failed"), "{said}");
}

#[test]
fn headers_compile_as_cxx() {
    let done = Command::new("sh")
        .arg("-ec")
        .arg("for one in count hourly price; do c++ -std=c++20 -Wall -fsyntax-only -Iinclude -x c++ examples/$one.c; done")
        .current_dir("../../sdk/c")
        .output()
        .expect("sh starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}");
}

/// Everything that a new project promises, before anything in it is changed.
fn works(name: &str, template: &str, rows: usize) {
    let folder = project(name, template);
    let built = folder.segno(name, &["build", "-o", "json"]).good().json();
    assert_eq!(built[0]["imports"], serde_json::json!(["segno:stream/observe@1.0.0"]));
    folder.segno(name, &["validate", "pipeline.yaml"]).good();
    let ran = folder.segno(name, &["run", "-q", "pipeline.yaml"]).good();
    assert_eq!(ran.json().len(), rows, "{}", ran.out);
    let replayed = folder.segno(name, &["replay", "--from", "start", "--verify", "pipeline.yaml"]).good();
    assert!(replayed.out.contains("identical"), "{}", replayed.out);
    let done = folder.shell(name, "./ci.sh").good();
    assert!(done.out.contains("passed scenarios/first: 7 records, "), "{}", done.out);
    assert!(!done.err.contains("contract"), "the template's contract is not the plugin's: {}", done.err);
}

#[test]
fn a_map_works_before_anything_is_filled_in() {
    works("new-map", "map", 6);
}

#[test]
fn a_filter_works_before_anything_is_filled_in() {
    works("new-filter", "filter", 4);
}

#[test]
fn a_window_works_before_anything_is_filled_in() {
    works("new-window", "window", 4);
}

#[test]
fn the_same_sources_give_the_same_component_wherever_they_lie() {
    let digest = |folder: &Folder, at: &str| folder.segno(at, &["build", "-o", "json"]).good().json()[0]["sha256"].clone();
    let (one, other) = (project("same", "map"), project("same", "map"));
    other.shell("", "mkdir -p far/away && mv same far/away/").good();
    assert_eq!(digest(&one, "same"), digest(&other, "far/away/same"));
}

#[test]
fn what_cannot_go_on_names_its_line_its_record_and_the_command_that_repeats_it() {
    let folder = project("fails", "map");
    folder.replace("fails/fails.c", "    int64_t full = ", "    int64_t each = 100 / (order->quantity - 3);\n    int64_t full = each * 0 + ");
    let line = 1 + folder.read("fails/fails.c").lines().position(|line| line.contains("100 / (")).unwrap();
    let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("[P020] the plugin panicked at fails.c:{line}:"), "a division by zero", "{\"order\":4,", "again   segno dev . --once"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
}

#[test]
fn what_a_plugin_remembers_outside_of_its_state_is_found() {
    let folder = project("remembers", "filter");
    folder.replace("remembers/remembers.c", "static segno_outcome process", "static int seen;\n\nstatic segno_outcome process");
    folder.replace("remembers/remembers.c", "if (order->quantity <= 0) {", "if (++seen % 3 == 0) {");
    folder.segno("remembers", &["build", "-q"]).good();
    folder.segno("remembers", &["check", "remembers.wasm", "--config", "{\"min_cents\": 1}"]).failed(1, &["[P051]"]);
}

/// What differs from run to run is not there: the compiler or the linker says so.
#[test]
fn clocks_randomness_files_and_dates_are_not_there() {
    let folder = project("reach", "map");
    let plain = folder.read("reach/reach.c");
    for (head, call, said) in [
        ("#include <time.h>\n", "", "time.h"),
        ("#include <stdio.h>\n", "", "stdio.h"),
        ("#include <threads.h>\n", "", "threads.h"),
        ("", "rand();", "rand"),
        ("extern int getpid(void);\n", "order->quantity == getpid();", "getpid"),
        ("", "const char *built = __DATE__; (void)built;", "date-time"),
    ] {
        let text = plain.replace("#include \"segno.h\"\n", &format!("#include \"segno.h\"\n{head}"));
        folder.write("reach/reach.c", &text.replace("    int64_t full", &format!("    {call}\n    int64_t full")));
        folder.segno("reach", &["build", "-q"]).failed(1, &["[P011]", said]);
    }
}

#[test]
fn a_missing_or_wrong_clang_is_named_with_the_way_to_get_it() {
    let folder = project("tools", "map");
    folder.write("old", "#!/bin/sh\necho clang version 11.0.1\n");
    folder.write("other", "#!/bin/sh\necho LLD 99.0.0\n");
    folder.shell("", "chmod +x old other").good();
    let with = |tools: &str| folder.shell("tools", &format!("{tools} segno build"));
    with("SEGNO_CLANG=/not/there").failed(78, &["[P010]", "/not/there", "apt-get install clang lld"]);
    with("SEGNO_WASM_LD=/not/there").failed(78, &["[P010]", "wasm-ld", "apt-get install clang lld"]);
    with("SEGNO_CLANG=$PWD/../old").failed(78, &["[P013]", "clang version 11.0.1", "the SDK needs 14"]);
    with("SEGNO_WASM_LD=$PWD/../other").failed(78, &["[P013]", "needs a wasm-ld of its version", "99"]);
    folder.segno("", &["new", "segno", "--lang", "c"]).failed(2, &["[U008]"]);
    folder.segno("", &["new", "x", "--lang", "c", "--sdk", "tools"]).failed(2, &["[U010]", "sdk/c"]);
}
