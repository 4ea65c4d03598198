//! Plugins in Python, with the real componentize-py: what a project promises, and what a plugin must not reach.
//!
//! Owns: what differs from Rust. Does not own: what is the same in every language (`author`), the page (`tutorial`).

use crate::author::{Folder, refuses, works};
use std::process::Command;

/// A project in Python of this checkout's SDK.
#[track_caller]
fn project(name: &str, template: &str) -> Folder {
    let folder = Folder::new();
    folder.segno("", &["new", name, "--lang", "python", "--template", template]).good();
    folder
}

#[test]
fn the_sdk_passes_its_own_tests() {
    let done = Command::new("python3")
        .args(["-m", "unittest", "discover", "--start-directory", "tests"])
        .current_dir("../../sdk/python")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("Ran 34 tests") && said.trim().ends_with("OK"), "{said}");
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
import builtins, datetime, decimal, gc, io, logging, math, os, random, secrets, socket as sockets, sys, threading, time, uuid
from datetime import date, datetime as moment
from segno import Emit, Transform, columns, config, log, plugin


@columns
class Ask:
    what: str


@columns
class Answer:
    text: str


@plugin
class Reach(Transform):
    out = Emit(Answer)

    def process(self, ask: Ask) -> None:
        self.out.push(Answer(str(eval(ask.what))))
"#;

/// What differs from run to run, and what a plugin is told to do instead.
const REFUSED: [(&str, &str); 36] = [
    ("time.time()", "EventTime"),
    ("time.monotonic_ns()", "EventTime"),
    ("time.localtime()", "EventTime"),
    ("time.sleep(1)", "set a timer"),
    ("datetime.datetime.now()", "EventTime"),
    ("moment.utcnow()", "EventTime"),
    ("date.today()", "EventTime"),
    ("random.random()", "with a seed"),
    ("random.shuffle([1, 2])", "with a seed"),
    ("random.seed()", "with a seed"),
    ("random.Random()", "with a seed"),
    ("random.Random(None)", "with a seed"),
    ("random.Random(1).seed()", "with a seed"),
    ("random.SystemRandom().random()", "with a seed"),
    ("os.urandom(8)", "with a seed"),
    ("uuid.uuid4()", "with a seed"),
    ("secrets.token_hex()", "with a seed"),
    ("open('/etc/passwd')", "side table"),
    ("input()", "configuration"),
    ("os.environ['HOME']", "KeyError"),
    ("threading.Thread(target=print).start()", "a thread is not there"),
    ("sys.exit(3)", "panicked at reach.py:"),
    ("self.out.push(Answer(7))", "panicked at reach.py:"),
    ("__import__('ssl')", "a network is not there"),
    ("sockets.socket()", "side table"),
    ("sockets.create_connection(('127.0.0.1', 1))", "side table"),
    ("time.strftime('%Y')", "EventTime"),
    ("io.open('x')", "side table"),
    ("io.FileIO('x')", "side table"),
    ("gc.collect()", "as long as an epoch"),
    ("log('info', 'x')", "one of TRACE"),
    ("__import__('subprocess')", "import it at the top of the file"),
    ("'é'.encode('cp1252')", "import encodings.cp1252"),
    ("os.stat('x')", "side table"),
    ("os._exit(3)", "side table"),
    ("(_ for _ in ()).throw(ValueError('half \\ud800 of a pair'))", "ValueError: half"),
];

/// What is there, and the same for ever.
const ANSWERED: [(&str, &str); 12] = [
    ("print('seen', file=sys.stderr), print('a line')", "(None, None)"),
    ("logging.warning('said'), logging.getLogger('x').info('not said')", "(None, None)"),
    ("gc.isenabled()", "False"),
    ("random.Random('a').random()", "0.2720295377534757"),
    ("decimal.Decimal(1) / 3", "0.3333333333333333333333333333333333333333333333333333333333333333333333333333"),
    ("math.sin(1e22), 0.1 + 0.2, float('nan')", "(-0.8522008497671888, 0.30000000000000004, nan)"),
    ("list({'b': 1, 'a': 2})", "['b', 'a']"),
    ("datetime.datetime(2024, 2, 29) + datetime.timedelta(1)", "2024-03-01 00:00:00"),
    ("datetime.datetime.strptime('2024-02-29', '%Y-%m-%d')", "2024-02-29 00:00:00"),
    ("print('half \\ud800 of a pair')", "None"),
    ("__import__('warnings').warn('of something')", "None"),
    ("(1 << 63) * 3", "27670116110564327424"),
];

#[test]
fn what_differs_from_run_to_run_is_refused_with_what_to_do_instead() {
    let folder = project("reach", "map");
    folder.write("reach/reach.py", REACHES);
    refuses(&folder, "reach", &REFUSED, &ANSWERED);
    // What is printed is logged.
    let ran = folder.shell("reach", "rm -r .segno && segno run --log off,plugin=trace pipeline.yaml 2>&1 > /dev/null").good();
    assert!(ran.out.contains("a line") && ran.out.contains("seen"), "{}", ran.out);
}

#[test]
fn an_exception_names_its_line_its_record_and_the_command_that_repeats_it() {
    let folder = project("fails", "map");
    folder.replace("fails/fails.py", "        full = ", "        1 // (order.quantity - 3)\n        full = ");
    let line = 1 + folder.read("fails/fails.py").lines().position(|line| line.contains("1 // (")).unwrap();
    let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("[P020] the plugin panicked at fails.py:{line}\n"), "ZeroDivisionError", "{\"order\":4,", "again   segno dev . --once"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
    // What is wrong when the method is over has no line of its own.
    folder.replace("fails/fails.py", "        1 // (order.quantity - 3)\n", "        if order.quantity == 3:\n            return 5\n");
    let line = 1 + folder.read("fails/fails.py").lines().position(|line| line.contains("def process")).unwrap();
    let done = folder.segno("fails", &["dev", "--once"]).failed(1, &[]);
    for said in [&*format!("[P020] the plugin panicked at fails.py:{line}\n"), "`process` gives back int", "{\"order\":4,"] {
        assert!(done.out.contains(said), "no {said:?} in {}", done.out);
    }
}

#[test]
fn what_a_plugin_remembers_outside_of_its_state_is_found() {
    let folder = project("remembers", "filter");
    folder.replace("remembers/remembers.py", "    def process(self", "    seen = 0\n\n    def process(self");
    folder.replace("remembers/remembers.py", "        if order.quantity <= 0:", "        self.seen += 1\n        if self.seen % 3 == 0:");
    folder.segno("remembers", &["build", "-q"]).good();
    folder.segno("remembers", &["check", "remembers.wasm", "--config", "{\"min_cents\": 1}"]).failed(1, &["[P051]"]);
}

#[test]
fn a_mistake_of_the_module_is_shown_when_it_is_built() {
    let folder = project("broken", "map");
    folder.replace("broken/broken.py", "    total_cents: int", "    total_cents: complex");
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "broken.py", "Priced.total_cents", "is no type of a column"]);
    folder.replace("broken/broken.py", "    total_cents: complex", "    total_cents: int");
    let good = folder.read("broken/broken.py");
    folder.write("broken/broken.py", &format!("{good}\n\nfrom segno import state\n\n\n@state\nclass Kept:\n    items: list[int] | None\n"));
    folder.segno("broken", &["build"]).failed(1, &["[P011]", "Kept.items: a list is not nullable"]);
    let second = project("second", "map");
    second.replace("second/second.py", "@plugin\n", "");
    second.segno("second", &["build"]).failed(1, &["[P011]", "one class with @plugin"]);
    second.replace("second/pyproject.toml", "name = \"second\"", "name = \"third\"");
    second.segno("second", &["build"]).failed(1, &["[P011]", "the project has no third.py"]);
}

#[test]
fn a_missing_or_wrong_componentize_py_is_named_with_the_way_to_get_it() {
    let folder = project("tools", "map");
    folder.write("old", "#!/bin/sh\necho componentize-py 0.13.0\n");
    folder.shell("", "chmod +x old").good();
    let with = |tool: &str| folder.shell("tools", &format!("SEGNO_COMPONENTIZE_PY={tool} segno build"));
    with("/not/there").failed(78, &["[P010]", "/not/there", ".venv/bin/pip install componentize-py=="]);
    with("$PWD/../old").failed(78, &["[P013]", "componentize-py 0.13.0", "the SDK needs 0.25"]);
    folder.segno("", &["new", "json", "--lang", "python"]).failed(2, &["[U008]", "Python or the SDK has it"]);
    folder.segno("", &["new", "x", "--lang", "python", "--sdk", "tools"]).failed(2, &["[U010]", "sdk/python"]);
}
