//! Plugins in JavaScript and TypeScript, with the real esbuild and componentize-js: what a project promises, and what a plugin must
//! not reach.
//!
//! Owns: what differs from Rust. Does not own: what is the same in every language (`author`), the page (`tutorial`).

use crate::author::{Folder, refuses, works};
use crate::lab::variable;
use crate::tutorial::blocks;
use std::process::Command;

/// A project in JavaScript of this checkout's SDK.
#[track_caller]
fn project(name: &str, template: &str) -> Folder {
    let folder = Folder::new();
    folder.segno("", &["new", name, "--lang", "js", "--template", template]).good();
    folder
}

#[test]
fn the_sdk_passes_its_own_tests() {
    let page = std::fs::read_to_string("../../sdk/js/README.md").expect("the page");
    let [(_, command)] = &blocks(&page)[..] else { panic!("one block") };
    let done = Command::new("sh").arg("-ec").arg(command).current_dir("../../sdk/js").output().expect("node starts");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("# pass 38") && said.contains("# fail 0"), "{said}");
}

#[test]
fn a_map_works_before_anything_is_filled_in() {
    works(&project("new-map", "map"), "new-map", 6);
}

#[test]
fn a_filter_works_before_anything_is_filled_in() {
    works(&project("new-filter", "filter"), "new-filter", 4);
}

#[test]
fn a_window_works_before_anything_is_filled_in() {
    works(&project("new-window", "window"), "new-window", 4);
}

#[test]
fn a_join_works_before_anything_is_filled_in() {
    works(&project("new-join", "join"), "new-join", 4);
}

const REACHES: &str = r#"
import { count, emit, transform, utf8 } from 'segno';

const given = {
    'Math.random()': () => Math.random(),
    'Date.now()': () => Date.now(),
    'new Date()': () => new Date(),
    'Date()': () => Date(),
    'class extends Date': () => new (class extends Date {})(),
    'getHours': () => new Date(0).getHours(),
    'toString': () => String(new Date(0)),
    'toLocaleString': () => new Date(0).toLocaleString(),
    'constructor': () => new (new Date(0).constructor)(),
    'localeCompare': () => 'a'.localeCompare('b'),
    'number toLocaleString': () => (1234.5).toLocaleString(),
    'setTimeout': () => setTimeout(() => {}, 1),
    'fetch': () => fetch('http://localhost'),
    'WeakRef': () => new WeakRef({}),
    'FinalizationRegistry': () => new FinalizationRegistry(() => {}),
    'performance': () => performance.now(),
    'crypto': () => crypto.getRandomValues(new Uint8Array(1)),
    'Intl': () => new Intl.NumberFormat(),
    'async': () => (async () => 1)(),
    'promise': () => Promise.resolve(1).then(() => 2),
    'from async': () => Array.fromAsync([1]),
    'count': () => count('c', -1),
    'timed': () => (console.time('x'), console.timeEnd('x'), 'timed'),
    'file': () => new File([], 'x').lastModified,
    'event': () => new Event('x').timeStamp,
    'abort': () => AbortSignal.timeout(1),
    'local time': () => Date.parse('2024-01-01T00:00:00'),
    'process': () => process.env.HOME,
    'require': () => globalThis.require('fs'),
    'of a time': () => new Date(86400000).toISOString(),
    'UTC': () => new Date(Date.UTC(2024, 1, 29, 23)).getUTCHours(),
    'sin': () => Math.sin(1e22),
    'sum': () => 0.1 + 0.2,
    'order': () => Object.keys({ b: 1, a: 2 }).join(),
    'sort': () => [3n, 1n, 2n].sort().join(),
    'big': () => (1n << 63n) * 3n,
    'upper': () => 'ß'.toUpperCase(),
    'utc time': () => new Date(Date.parse('2024-01-01T00:00:00Z')).getTime(),
    'url': () => new URL('http://a/b?c=d').searchParams.get('c'),
    'pattern': () => 'grüße'.replace(/[a-zß-ü]+/u, 'x'),
};

export default transform({
    input: { what: utf8 },
    ports: { out: emit({ text: utf8 }) },
    process({ what }, { out }) {
        out.push({ text: String(given[what]()) });
    },
});
"#;

/// What differs from run to run, and what a plugin is told to do instead.
const REFUSED: [(&str, &str); 28] = [
    ("Math.random()", "derive numbers from the record"),
    ("Date.now()", "eventTime"),
    ("new Date()", "eventTime"),
    ("Date()", "eventTime"),
    ("class extends Date", "eventTime"),
    ("getHours", "UTC"),
    ("toString", "UTC"),
    ("toLocaleString", "UTC"),
    ("constructor", "eventTime"),
    ("localeCompare", "without a locale"),
    ("number toLocaleString", "without a locale"),
    ("setTimeout", "set a timer"),
    ("fetch", "side table"),
    ("WeakRef", "keep what you need"),
    ("FinalizationRegistry", "keep what you need"),
    ("performance", "eventTime"),
    ("crypto", "derive numbers from the record"),
    ("Intl", "without a locale"),
    ("async", "set a timer"),
    ("promise", "Promise"),
    ("from async", "set a timer"),
    ("count", "from 0 on"),
    ("file", "side table"),
    ("event", "side table"),
    ("abort", "is not a function"),
    ("local time", "write it with Z"),
    ("process", "process is not defined"),
    ("require", "is not a function"),
];

/// What is there, and the same for ever.
const ANSWERED: [(&str, &str); 12] = [
    ("timed", "timed"),
    ("of a time", "1970-01-02T00:00:00.000Z"),
    ("UTC", "23"),
    ("sin", "-0.852200849767"),
    ("sum", "0.30000000000000004"),
    ("order", "b,a"),
    ("sort", "1,2,3"),
    ("big", "27670116110564327424"),
    ("upper", "SS"),
    ("utc time", "1704067200000"),
    ("url", "d"),
    ("pattern", "x"),
];

#[test]
fn what_differs_from_run_to_run_is_refused_with_what_to_do_instead() {
    let folder = project("reach", "map");
    folder.write("reach/reach.js", REACHES);
    refuses(&folder, "reach", &REFUSED, &ANSWERED);
}

#[test]
fn an_error_names_its_line_its_record_and_the_command_that_repeats_it() {
    let folder = project("fails", "map");
    folder.replace("fails/fails.js", "        const full = ", "        1n / (order.quantity - 3n);\n        const full = ");
    let line = 1 + folder.read("fails/fails.js").lines().position(|line| line.contains("1n / (")).unwrap();
    let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("[P020] the plugin panicked at fails.js:{line}\n"), "RangeError", "{\"order\":4,", "again   segno dev . --once"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
    // What is wrong when the function is over has no line of its own.
    folder.replace("fails/fails.js", "1n / (order.quantity - 3n);", "if (order.quantity === 3n) return [1];");
    let line = 1 + folder.read("fails/fails.js").lines().position(|line| line.contains("transform({")).unwrap();
    let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("[P020] the plugin panicked at fails.js:{line}\n"), "`process` gives something back", "{\"order\":4,"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
}

#[test]
fn a_value_of_another_type_names_the_line_that_gave_it() {
    let folder = project("gives", "map");
    folder.replace("gives/gives.js", "out.push({ total_cents: full -", "console.log('so', 5);\n        out.push({ total_cents: Number(full) });\n        out.push({ total_cents: full -");
    let line = 1 + folder.read("gives/gives.js").lines().position(|line| line.contains("Number(full)")).unwrap();
    let done = folder.segno("gives", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("panicked at gives.js:{line}\n"), "64-bit values are BigInt"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
}

#[test]
fn what_a_plugin_remembers_outside_of_its_state_is_found() {
    let folder = project("remembers", "filter");
    folder.replace("remembers/remembers.js", "export default", "let seen = 0;\n\nexport default");
    folder.replace("remembers/remembers.js", "        if (order.quantity <= 0n)", "        if (++seen % 3 === 0)");
    folder.segno("remembers", &["build", "-q"]).good();
    folder.segno("remembers", &["check", "remembers.wasm", "--config", "{\"min_cents\": 1}"]).failed(1, &["[P051]"]);
}

#[test]
fn a_plugin_in_typescript_is_built_and_its_types_are_checked() {
    let folder = project("typed", "window");
    let code = folder.read("typed/typed.js");
    folder.shell("typed", "rm typed.js && sed -i 's/typed\\.js/typed.ts/' package.json typed.test.js").good();
    // Two annotations, so that it is no JavaScript any more.
    folder.write("typed/typed.ts", &code.replace("onTimer(timer, {", "onTimer(timer: { time: bigint; number: number }, {").replace("error instanceof Late)", "(error as unknown) instanceof Late)"));
    folder.segno("typed", &["build", "-q"]).good();
    let ran = folder.segno("typed", &["run", "-q", "pipeline.yaml"]).good();
    assert_eq!(ran.json().len(), 4, "{}", ran.out);
    let compiler = variable("SEGNO_COMPONENTIZE_JS").join("node_modules/typescript/bin/tsc");
    let check = format!("node {} --noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext typed.ts", compiler.display());
    folder.shell("typed", &check).good();
    for (what, wrong) in [
        ("kept.orders += 1n", "kept.orders += 1"),
        ("orders: value.orders, ", ""),
        ("order.quantity *", "order.quantitty *"),
        ("from: start,", "from: 'now',"),
        ("config.minutes < 1n", "config.hours < 1n"),
        ("late.keep()", "late.push({ x: 1n })"),
    ] {
        let good = folder.read("typed/typed.ts");
        folder.replace("typed/typed.ts", what, wrong);
        assert_ne!(folder.shell("typed", &check).code, 0, "{wrong} has the right types");
        folder.write("typed/typed.ts", &good);
    }
}

#[test]
fn a_mistake_of_the_module_is_shown_when_it_is_built() {
    let folder = project("broken", "map");
    folder.replace("broken/broken.js", "total_cents: i64", "total_cents: Number");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "out.total_cents", "is no column"]);
    folder.replace("broken/broken.js", "export default transform", "export default transform(");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "broken.js:"]);
    folder.replace("broken/broken.js", "export default transform((", "import net from 'node:net';\nexport default transform(");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "node:net", "nothing of Node.js"]);
    let second = project("second", "map");
    second.replace("second/second.js", "export default", "export const plugin =");
    second.segno("second", &["build"]).failed(1, &["[P011]", "default"]);
    second.replace("second/package.json", "\"main\": \"second.js\"", "\"main\": \"third.js\"");
    second.segno("second", &["build"]).failed(1, &["[P011]", "the project has no third.js"]);
}

#[test]
fn a_missing_or_wrong_tool_is_named_with_the_way_to_get_it() {
    let folder = project("tools", "map");
    let with = |tools: &str| folder.shell("tools", &format!("SEGNO_COMPONENTIZE_JS={tools} segno build"));
    with("/not/there").failed(78, &["[P010]", "/not/there", "npm install --save-dev @bytecodealliance/componentize-js@"]);
    folder.shell("", "mkdir -p bin old/node_modules/@bytecodealliance/componentize-js").good();
    folder.write("old/node_modules/@bytecodealliance/componentize-js/package.json", "{\"version\": \"0.18.2\"}");
    with("$PWD/../old").failed(78, &["[P013]", "componentize-js 0.18.2", "the SDK needs 0.23"]);
    folder.write("bin/node", "#!/bin/sh\necho v18.1.0\n");
    folder.shell("", "chmod +x bin/node").good();
    folder.shell("tools", "PATH=$PWD/../bin:$PATH segno build").failed(78, &["[P013]", "v18.1.0", "needs 20"]);
    folder.segno("", &["new", "segno", "--lang", "js"]).failed(2, &["[U008]", "has it already"]);
    folder.segno("", &["new", "x", "--lang", "js", "--sdk", "tools"]).failed(2, &["[U010]", "sdk/js"]);
}
