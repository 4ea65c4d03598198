//! Plugins in C, with the real clang and wasm-ld: what a project promises, and what a plugin must not reach.
//!
//! Owns: what differs from Rust, and the SDK's own tests. Does not own: what is the same in every language (`author`), the page
//! (`tutorial`).

use crate::author::{Folder, works};
use std::path::Path;
use std::process::Command;

const SANITIZERS: &str = "-fsanitize=address,undefined -fno-sanitize-recover=all";

/// A project in C, with the SDK that the command carries.
#[track_caller]
fn project(name: &str, template: &str) -> Folder {
    let folder = Folder::new();
    folder.segno("", &["new", name, "--lang", "c", "--template", template]).good();
    folder
}

/// Runs a script in the SDK's folder.
#[track_caller]
fn in_sdk(script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).current_dir("../../sdk/c").output().expect("sh starts");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}: {said}");
    said
}

#[test]
fn the_sdk_reads_and_writes_the_shared_vectors_and_nothing_outside_of_damaged_ones() {
    let folder = Folder::new();
    let program = folder.path("vectors");
    let said = in_sdk(&format!(
        "clang -std=gnu11 -O1 -g -fwrapv -ffp-contract=off -Wall -Wextra -Werror {SANITIZERS} -Iinclude tests/vectors.c src/*.c -lm -o '{0}'; ASAN_OPTIONS=detect_leaks=0 '{0}'",
        program.display()
    ));
    let checks: u64 = said.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    assert!(checks > 10_000 && said.contains(" 0 failed"), "{said}");
}

/// Doubles, 128-bit numbers, JSON, refused configurations, formats, the calendar, lookups.
#[test]
fn the_parts_of_the_sdk_agree_with_what_is_known_of_them() {
    let folder = Folder::new();
    let program = folder.path("parts");
    let said = in_sdk(&format!(
        "clang -std=gnu11 -O1 -g -fwrapv -ffp-contract=off -Wall -Wextra -Wno-missing-field-initializers -Werror {SANITIZERS} -Iinclude tests/parts.c testing/*.c src/*.c -lm -o '{0}'; \
         ASAN_OPTIONS=detect_leaks=0 '{0}'",
        program.display()
    ));
    let checks: u64 = said.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    assert!(checks > 100_000 && said.contains(" 0 failed"), "{said}");
}

#[test]
fn the_examples_of_the_sdk_are_built_and_taken() {
    let folder = Folder::new();
    for example in ["count", "divides", "echo", "hourly", "price"] {
        let out = folder.path(&format!("{example}.core.wasm"));
        in_sdk(&format!("./build.sh examples/{example}.c '{}' {example} 0.1.0", out.display()));
    }
}

#[test]
fn authors_of_cpp_may_include_the_header() {
    let folder = Folder::new();
    folder.write("plugin.cc", "#include \"segno.h\"\n#include \"segno/testing.h\"\nint main() { return segno_hour(SEGNO_HOUR) - 1; }\n");
    let include = Path::new("../../sdk/c/include").canonicalize().unwrap();
    folder.shell("", &format!("c++ -std=gnu++17 -Wall -Werror -I'{}' -fsyntax-only plugin.cc", include.display())).good();
    // Named fields in their order are C++20.
    in_sdk("for one in count hourly price; do c++ -std=c++20 -Wall -Werror -fsyntax-only -Iinclude -x c++ examples/$one.c; done");
}

/// A project of a template works, and its native test passes under the sanitizers, too.
fn template_works(name: &str, template: &str, rows: usize) {
    let folder = project(name, template);
    works(&folder, name, rows);
    let module = name.replace('-', "_");
    folder.shell(name, &format!("ASAN_OPTIONS=detect_leaks=0 CC=clang segno/test.sh test_{module}.c {SANITIZERS} -Werror")).good();
}

#[test]
fn a_map_works_before_anything_is_filled_in() {
    template_works("new-map", "map", 6);
}

#[test]
fn a_filter_works_before_anything_is_filled_in() {
    template_works("new-filter", "filter", 4);
}

#[test]
fn a_window_works_before_anything_is_filled_in() {
    template_works("new-window", "window", 4);
}

#[test]
fn a_join_works_before_anything_is_filled_in() {
    template_works("new-join", "join", 4);
}

#[test]
fn the_same_sources_give_the_same_component_in_every_folder() {
    let (first, second) = (project("same", "window"), project("same", "window"));
    let digest = |folder: &Folder| folder.segno("same", &["build", "-o", "json"]).good().json()[0]["sha256"].clone();
    let one = digest(&first);
    assert!(one.as_str().is_some_and(|text| text.len() == 64), "{one}");
    assert_eq!(one, digest(&second));
    let component = std::fs::read(first.path("same/same.wasm")).unwrap();
    let root = first.root.path().to_str().unwrap().as_bytes();
    assert!(!component.windows(root.len()).any(|part| part == root), "a path of this machine is in the component");
}

/// Mistakes of a plugin, and what is said of each: the line is that of the mistake.
const MISTAKES: [(&str, &str); 6] = [
    ("int64_t odd = 7 / (order->quantity - 3); if (odd == 99) return SEGNO_OK;", "division by zero"),
    ("int values[3] = {0}; volatile int64_t at = order->quantity; if (at == 3 && values[at] == 7) return SEGNO_OK;", "beyond the end of its array"),
    ("volatile int64_t by = order->quantity == 3 ? 77 : 1; if ((INT64_C(1) << by) == 7) return SEGNO_OK;", "shift"),
    ("volatile double large = order->quantity == 3 ? 1e30 : 1; if ((int64_t)large == 7) return SEGNO_OK;", "the whole number's type cannot hold"),
    ("if (order->quantity == 3) segno_panic(\"told to at %d\", 5);", "told to at 5"),
    ("if (order->quantity == 3) __builtin_unreachable();", "cannot be reached"),
];

#[test]
fn a_mistake_of_the_plugin_names_its_line_its_record_and_the_command_that_repeats_it() {
    let folder = project("fails", "map");
    let good = folder.read("fails/fails.c");
    for (mistake, said) in MISTAKES {
        folder.write("fails/fails.c", &good.replace("    int64_t full", &format!("    {mistake}\n    int64_t full")));
        let line = 1 + folder.read("fails/fails.c").lines().position(|line| line.contains(mistake)).unwrap();
        let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
        for said in [&*format!("[P020] the plugin panicked at fails.c:{line}"), said, "{\"order\":4,", "again   segno dev . --once"] {
            assert!(done.out.contains(said), "{mistake}: no {said:?} in {}", done.out);
        }
    }
    // What no check sees ends at the edge of the memory: the function is named.
    let wild = "__attribute__((noinline)) static void scribble(char *at) { *(volatile char *)at = 1; }\nstatic segno_outcome process(";
    let deep = "static int64_t deep(int64_t n, volatile char *up) {\n    volatile char big[512];\n    big[n % 512] = up ? up[0] : 1;\n    return n < 0 ? 0 : 1 + deep(n + 1, big) + big[5];\n}\nstatic segno_outcome process(";
    for (function, call, said) in [
        (wild, "if (order->quantity == 3) scribble((char *)-5);", ") in scribble, called by "),
        (deep, "if (order->quantity == 3 && deep(0, 0) == 5) return SEGNO_OK;", ") in deep\n"),
    ] {
        folder.write("fails/fails.c", &good.replace("static segno_outcome process(", function).replace("    int64_t full", &format!("    {call}\n    int64_t full")));
        let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
        for said in ["[P020] the plugin trapped (out of bounds memory access", said, "{\"order\":4,"] {
            assert!(done.out.contains(said), "no {said:?} in {}", done.out);
        }
    }
    // What the SDK finds wrong in what it is given has no line of its own.
    for (given, said) in [
        ("segno_log(SEGNO_INFO, \"%e\", 1.0);", "a conversion that there is not: %e"),
        ("return segno_reject(\"\\xff\");", "the reason of a rejection is no UTF-8"),
    ] {
        folder.write("fails/fails.c", &good.replace("    int64_t full", &format!("    if (order->quantity == 3) {given}\n    int64_t full")));
        let line = 1 + folder.read("fails/fails.c").lines().position(|line| line.contains("SEGNO_PLUGIN(")).unwrap();
        let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
        for said in [&*format!("[P020] the plugin panicked at fails.c:{line}"), said, "{\"order\":4,"] {
            assert!(done.out.contains(said), "no {said:?} in {}", done.out);
        }
    }
}

/// What is not there: a plugin that reaches for it does not compile, or is refused by the name of what it imports.
const REACHES: [(&str, &str); 7] = [
    ("#include <time.h>\n", "time.h"),
    ("#include <stdlib.h>\n", "stdlib.h"),
    ("#include <stdio.h>\n", "stdio.h"),
    ("#include <sys/socket.h>\n", "sys/socket.h"),
    ("static const char *built = __DATE__;\n", "__DATE__"),
    ("extern int rand(void);\nint chance(void) { return rand(); }\n", "rand"),
    ("int chance(void) { return undeclared(); }\n", "undeclared"),
];

#[test]
fn what_a_plugin_must_not_reach_is_not_there() {
    let folder = project("reach", "map");
    let good = folder.read("reach/reach.c");
    for (code, said) in REACHES {
        // Used, so that it is not left out.
        let used = good.replace("    int64_t full", "    segno_count(\"x\", USED);\n    int64_t full");
        let what = if code.contains("chance") { "(uint64_t)chance()" } else if code.contains("built") { "(uint64_t)built[0]" } else { "1" };
        folder.write("reach/reach.c", &used.replace("USED", what).replace("#include \"segno.h\"\n", &format!("#include \"segno.h\"\n{code}")));
        folder.segno("reach", &["build"]).failed(1, &["[P011]", said, if said == "rand" { "rand" } else { "a plugin has no clock" }]);
    }
}

/// All records of the sample get the same key.
const ONE_KEY: &str = r#"sed -i 's/"customer":"[a-z]*"/"customer":"ann"/' sample.jsonl"#;

const KEEPS: &str = r#"
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, order)
SEGNO_INPUT(order, ORDER)
SEGNO_KEEP(out)
#define KEPT(COLUMN) COLUMN(utf8, text) COLUMN(decimal(10, 2), sum)
SEGNO_STATE(kept, 1, KEPT)

static segno_outcome process(const struct order *order) {
    struct kept *kept = kept_or_default();
    kept->text = segno_text_of(order->order == 2 ? "a\xff" : "fine");
    kept->sum = order->order == 4 ? (segno_decimal)100000000 * 100 : 5;
    out_keep();
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port}, .tables = {&kept_table})
"#;

/// It would stop every later run, whatever the record.
#[test]
fn what_cannot_be_read_again_is_not_kept() {
    let folder = project("keeps", "map");
    folder.write("keeps/keeps.c", KEEPS);
    // One key: what a record puts there is judged when it is over, not when the last one of a call has replaced it.
    folder.replace("keeps/pipeline.yaml", "    config: { discount_percent: 10 }\n", "    key: customer\n");
    folder.shell("keeps", ONE_KEY).good();
    folder.segno("keeps", &["build", "-q"]).good();
    assert_eq!(folder.segno("keeps", &["run", "-q", "pipeline.yaml"]).good().json().len(), 5);
    let letters = folder.shell("keeps", "cat .segno/dead-letters/*").good().out;
    for said in ["state column text: a text that is no UTF-8", "state column sum: a decimal of more than 10 digits"] {
        assert!(letters.contains(said), "{letters}");
    }
}

/// A buffer that is used again, a list in two values, a null with a value behind it.
const SHARES: &str = r#"
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, order)
SEGNO_INPUT(order, ORDER)
#define SEEN(COLUMN) COLUMN(utf8, text) COLUMN(i64, one) COLUMN(i64, other) COLUMN(i64, hidden)
SEGNO_EMIT(out, SEEN)
#define ITEM(COLUMN) COLUMN(i64, number)
SEGNO_LIST(item, ITEM)
#define ONE(COLUMN) COLUMN(utf8, text) COLUMN(list(item), items) COLUMN(list(item), rest) COLUMN(nullable(i64), hidden)
SEGNO_STATE(one, 1, ONE)
#define OTHER(COLUMN) COLUMN(list(item), items)
SEGNO_STATE(other, 1, OTHER)

static char buffer[2];

static segno_outcome process(const struct order *order) {
    struct one *one = one_or_default();
    struct other *other = other_or_default();
    struct out out = {0};
    out.text = one->text;
    out.one = one->items.length > 0 ? one->items.items[0].number : -1;
    out.other = other->items.length > 0 ? other->items.items[0].number : -1;
    out.hidden = one->hidden.value;
    buffer[0] = (char)('0' + order->order % 10);
    out_push(out);
    if (one->text.length == 0) {
        one->text = (segno_text){buffer, 1};
    }
    if (one->items.length == 0) {
        item_list_add(&one->items);
        other->items = one->items;
        // Of a shorter copy, too, the items are its own.
        one->rest = one->items;
        one->rest.length = 0;
    }
    one->items.items[0].number = order->order;
    if (out.text.length > 0) {
        item_list_add(&one->rest)->number = 77;
    }
    one->hidden.value = order->order;
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port}, .tables = {&one_table, &other_table})
"#;

#[test]
fn what_state_is_to_the_next_record_is_what_was_kept() {
    let folder = project("shares", "map");
    folder.write("shares/shares.c", SHARES);
    folder.replace("shares/pipeline.yaml", "    config: { discount_percent: 10 }\n", "    key: customer\n");
    folder.shell("shares", ONE_KEY).good();
    folder.segno("shares", &["build", "-q"]).good();
    let given = folder.segno("shares", &["run", "-q", "pipeline.yaml"]).good().json();
    let orders: Vec<i64> = std::iter::once(-1).chain(folder.read("shares/sample.jsonl").lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["order"].as_i64().unwrap()
    })).collect();
    assert_eq!(given.len(), orders.len() - 1);
    for (row, before) in given.iter().zip(&orders) {
        let text = if *before < 0 { String::new() } else { (orders[1] % 10).to_string() };
        // The list is in two values while the first record is processed, and each has its own from then on.
        let other = if *before < 0 { -1 } else { orders[1] };
        assert_eq!(*row, serde_json::json!({ "text": text, "one": before, "other": other, "hidden": 0 }));
    }
}

#[test]
fn the_test_harness_ends_timers_that_set_others_without_end() {
    let folder = project("again", "map");
    folder.write("again/again.c", AGAIN);
    folder.write("again/test_again.c", TEST_AGAIN);
    for (later, said) in [(0, "set each other 1000 times at one instant"), (1_000_000, "the key \"ann\" go on setting others, 10000 so far")] {
        folder.shell("again", &format!("segno/test.sh test_again.c -DLATER={later}")).failed(2, &[said, "(P028)"]);
    }
}

/// Each timer sets another one, `LATER` after its own time.
const AGAIN: &str = r#"#include "segno.h"

#define RECORD(COLUMN) COLUMN(event_time, at)
SEGNO_INPUT(record, RECORD)

#define BEAT(COLUMN) COLUMN(i64, n)
SEGNO_PER_KEY(beats, BEAT)

static segno_outcome process(const struct record *record) {
    segno_set_timer(record->at, 0);
    return SEGNO_OK;
}

static void on_timer(struct segno_timer timer) { segno_set_timer(timer.time + LATER, 0); }

SEGNO_PLUGIN(record, process, .ports = {&beats_port}, .on_timer = on_timer)
"#;

const TEST_AGAIN: &str = r#"#include "again.c"
#include "segno/testing.h"

int main(void) {
    segno_test("timers without end", "");
    segno_test_push("{'at': '1970-01-01T00:05:00Z'}", "ann");
    segno_test_run_to_end();
    return segno_test_end();
}
"#;

#[test]
fn what_a_plugin_remembers_outside_of_its_state_is_found() {
    let folder = project("remembers", "filter");
    folder.replace("remembers/remembers.c", "static segno_outcome process", "static int seen;\n\nstatic segno_outcome process");
    folder.replace("remembers/remembers.c", "    if (order->quantity <= 0) {", "    if (++seen % 3 == 0) {");
    folder.segno("remembers", &["build", "-q"]).good();
    folder.segno("remembers", &["check", "remembers.wasm", "--config", "{\"min_cents\": 1}"]).failed(1, &["[P051]"]);
}

#[test]
fn a_mistake_of_the_code_is_shown_when_it_is_built() {
    let folder = project("broken", "map");
    folder.replace("broken/broken.c", ".total_cents = full", ".totl_cents = full");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "broken.c:", "totl_cents"]);
    folder.replace("broken/broken.c", ".totl_cents = full", ".total_cents = full");
    for (good, wrong, said) in [("COLUMN(i64, quantity)", "COLUMN(int, quantity)", "int is no type of a column: bool, i32"),
        ("optional(i64)", "optional(long)", "long is no type of a setting: bool, i32")] {
        folder.replace("broken/broken.c", good, wrong);
        folder.segno("broken", &["build"]).failed(1, &["[P011]", "broken.c:", said]);
        folder.replace("broken/broken.c", wrong, good);
    }
    for (wrong, said) in [("COLUMN(event_time, total_cents)", "the event time is for records"), ("COLUMN(named(\"\", i64), total_cents)", "a name has a letter at least"),
        ("COLUMN(decimal(50, 2), total_cents)", "a decimal has 1 to 38 digits")] {
        folder.replace("broken/broken.c", "COLUMN(i64, total_cents)", wrong);
        folder.segno("broken", &["build"]).failed(1, &["[P011]", "column total_cents", said]);
        folder.replace("broken/broken.c", wrong, "COLUMN(i64, total_cents)");
    }
    folder.shell("broken", "segno/test.sh").failed(2, &["usage: test.sh TEST.c"]);
    folder.replace("broken/segno.toml", "name = \"broken\"", "name = \"third\"");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "the project has no third.c"]);
}

#[test]
fn a_missing_or_wrong_tool_is_named_with_the_way_to_get_it() {
    let folder = project("tools", "map");
    folder.write("old", "#!/bin/sh\necho Some clang version 9.0.1\n");
    folder.write("linker", "#!/bin/sh\necho LLD 13.0.0\n");
    folder.shell("", "chmod +x old linker").good();
    let with = |what: &str| folder.shell("tools", &format!("{what} segno build"));
    with("CLANG=/not/there").failed(78, &["[P010]", "/not/there", "apt install clang lld"]);
    with("WASM_LD=/not/there").failed(78, &["[P010]", "/not/there", "apt install clang lld"]);
    with("CLANG=$PWD/../old").failed(78, &["[P013]", "9.0.1", "the SDK needs 14"]);
    with("WASM_LD=$PWD/../linker").failed(78, &["[P013]", "LLD 13.0.0"]);
    folder.segno("", &["new", "segno", "--lang", "c"]).failed(2, &["[U008]", "has it already"]);
    folder.segno("", &["new", "x", "--lang", "c", "--sdk", "tools"]).failed(2, &["[U010]", "sdk/c"]);
}
