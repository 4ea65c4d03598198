//! Blocks of every page: what stands there as a pipeline file is one, what stands there as commands runs, and no block is run by nobody.
//!
//! Owns: that no page shows what is refused. Does not own: tutorials and cookbook, which are followed (`tutorial`, `cookbook`), nor code
//! in Rust, which is compiled (documentation of the SDK).

use crate::author::Folder;
use crate::lab::{plain, text, variable};
use crate::tutorial::blocks;
use segno_core::pipeline::Pipeline;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = "../..";
/// What a block of a pipeline file leaves out.
const LEFT_OUT: [(&str, &str); 7] = [
    ("version", "version: 1\n"),
    ("name", "name: page\n"),
    ("source", "source: { kafka: { brokers: \"b:9092\", topics: [t] }, format: json, columns: { shop: utf8 } }\n"),
    ("steps", "steps: [{ id: one, plugin: one.wasm }]\n"),
    ("sinks", "sinks: [{ blackhole: {} }]\n"),
    ("dlq", "dlq: { files: dead }\n"),
    ("checkpoint", "checkpoint: { store: \"s3://bucket/page\" }\n"),
];

/// The blocks of a kind that are on the pages of a folder.
fn of_kind(folder: &str, kind: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    pages.sort();
    let of_page = |page: &PathBuf| {
        let text = std::fs::read_to_string(page).expect("a page");
        blocks(&text).into_iter().filter(|(found, _)| found == kind).map(|(_, text)| (page.clone(), text)).collect::<Vec<_>>()
    };
    pages.iter().flat_map(of_page).collect()
}

/// A whole pipeline file around a part of one.
fn whole(part: &str) -> String {
    let has = |name: &str| part.lines().any(|line| line.starts_with(&format!("{name}:")));
    // Settings of librdkafka stand within a source or a sink.
    if has("settings") {
        let inside: String = part.lines().map(|line| format!("    {line}\n")).collect();
        return whole(&format!("source:\n  kafka:\n    brokers: b:9092\n    topics: [t]\n{inside}  format: json\n"));
    }
    let mut text: String = LEFT_OUT.iter().filter(|(name, _)| !has(name)).map(|(_, line)| *line).collect();
    if part.contains("repartition:") {
        text.push_str("sharding: by_partition\n");
    }
    text + part
}

#[test]
fn every_part_of_a_pipeline_file_on_a_page_is_taken() {
    let lookup = |name: &str| ["KAFKA_PASSWORD", "PASSWORD"].contains(&name).then(|| "secret".to_owned());
    let mut seen = 0;
    for (page, part) in ["docs", "docs/formats", "docs/runbooks"].iter().flat_map(|folder| of_kind(folder, "yaml")) {
        let text = whole(&part);
        if let Err(errors) = Pipeline::parse(Path::new("page.yaml"), &text, &lookup) {
            panic!("{}:\n{text}\n{errors:#?}", page.display());
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} blocks were found");
    assert!(Pipeline::parse(Path::new("page.yaml"), &whole("steps: [{ id: one, plugin: one.wasm, no: 1 }]\n"), &lookup).is_err(), "what is wrong is seen");
}

/// Whether something runs a block of this kind on this page, by the place of the page in the repository.
fn is_run(page: &str, kind: &str) -> bool {
    match kind {
        // A picture.
        "text" => true,
        // Compiled with the documentation of the SDK, which includes them.
        "rust" if ["README.md", "docs/operators.md"].contains(&page) => true,
        // Followed from the first block to the last (`tutorial`, `cookbook`), which refuse what they cannot run.
        _ if page.starts_with("docs/tutorial-") || page == "docs/cookbook.md" => true,
        // Here.
        "yaml" => page.starts_with("docs/"),
        "json" => ["docs/object-store.md", "wit/frame.md"].contains(&page),
        "sh" => {
            let pages = ["README.md", "docs/operations.md", "examples/nexmark/README.md", "scripts/servers/README.md", "sdk/js/README.md"];
            page.starts_with("docs/runbooks/") || pages.contains(&page)
        }
        _ => false,
    }
}

/// Every page of the repository, by its place in it.
fn pages() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(ROOT).output().expect("git");
    String::from_utf8(listed.stdout).expect("names").lines().map(str::to_owned).collect()
}

#[test]
fn every_block_of_every_page_is_run_by_a_test() {
    let pages = pages();
    assert!(pages.len() > 50, "{} pages were found", pages.len());
    for page in pages {
        let text = std::fs::read_to_string(Path::new(ROOT).join(&page)).expect("a page");
        for (kind, block) in blocks(&text) {
            assert!(is_run(&page, &kind), "{page}: a block of `{kind}` is run by nobody:\n{block}");
        }
        // Four spaces make a block as well, which no test would see.
        let mut inside = false;
        for line in text.lines() {
            inside ^= line.starts_with("```");
            assert!(inside || !line.starts_with("    "), "{page}: a block without a fence: {line}");
        }
    }
}

#[test]
fn the_lifecycle_rule_is_json() {
    let blocks = of_kind("docs", "json");
    let [(_, rule)] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
    let rule: serde_json::Value = serde_json::from_str(rule).expect("JSON");
    assert_eq!(rule["Rules"][0]["Status"], "Enabled");
}

/// The blocks of commands on a page, where what is built is the tests' own.
fn commands_of(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(page)).expect("a page");
    let built = variable("CARGO_TARGET_DIR");
    let sh = blocks(&text).into_iter().filter(|(kind, _)| kind == "sh");
    sh.map(|(_, text)| text.replace("~/.cache/segno/target", &built.to_string_lossy())).collect()
}

#[test]
fn the_commands_of_the_readme_run() {
    let [two, path, first] = &commands_of("README.md")[..] else { panic!("three blocks") };
    let begins: Vec<&str> = two.lines().map(|line| line.split("  ").next().unwrap_or(line)).collect();
    assert_eq!(begins, ["make demo", "make test"], "`make demo` is tried below, `make test` is what runs this");
    // The loop ends after one round.
    let first: String = first.lines().map(|line| format!("{}\n", line.replacen("segno dev ", "segno dev --once ", 1))).collect();
    assert!(first.contains("--once"), "{first}");
    let said = Folder::new().shell("", &(path.clone() + &first)).good();
    for words in ["sha256", "\"total_cents\"", "passed scenarios/first"] {
        assert!(said.out.contains(words), "no {words} in {}", said.out);
    }
}

/// Runs a script of the examples to its end; gives what it said.
fn demo(mut command: Command) -> String {
    let output = command.current_dir(ROOT).env("SEGNO_BIN", plain()).stdin(Stdio::null()).output().expect("a demo starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_demo_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("examples/flights/demo.sh");
    command.env("FLIGHTS_OUT", folder.path());
    let said = demo(command);
    for words in ["kill -9 number 2", "dead letters, such as", "identical"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

#[test]
fn the_demo_with_servers_runs() {
    // Its own, since it restarts the broker.
    let mut command = Command::new("scripts/servers/servers.py");
    command.args(["run", "--kafka", "1", "--s3", "--postgres", "--", "examples/payments/demo.sh"]);
    let said = demo(command);
    for words in ["kill -9 number 2", "identical"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

#[test]
fn the_commands_of_the_servers_run() {
    let [up, tools, down] = &commands_of("scripts/servers/README.md")[..] else { panic!("three blocks") };
    let folder = tempfile::tempdir().expect("a folder");
    let servers = folder.path().join("servers");
    let shell = |commands: &str| {
        let mut command = Command::new("sh");
        command.arg("-ec").arg(commands.replace("/tmp/segno-servers", &servers.to_string_lossy()));
        demo(command)
    };
    let started = shell(up);
    let description = std::fs::read(servers.join("servers.json")).expect("servers.json");
    let description: serde_json::Value = serde_json::from_slice(&description).expect("JSON");
    // Each line of the tools names the port of its server.
    let port = |line: &str| {
        let url = if line.starts_with("psql") { &description["postgres"]["url"] } else { &description["kafka"]["bootstrap"] };
        let url = url.as_str().unwrap_or_else(|| panic!("{description}"));
        url.split(':').next_back().and_then(|rest| rest.split('/').next()).expect("a port").to_owned()
    };
    let lines: String = tools.lines().map(|line| line.replace("PORT", &port(line)) + "\n").collect();
    shell(&lines);
    shell(down);
    assert!(started.contains("127.0.0.1"), "{started}");
}

#[test]
fn the_commands_of_operations_and_runbooks_run() {
    let folder = Folder::new();
    let gate = variable("SEGNO_COMPONENTS").join("quality_gate.wasm");
    for name in ["PLUGIN.wasm", "mended.wasm"] {
        std::fs::copy(&gate, folder.path(name)).expect("a plugin");
    }
    let record = |id: u32| {
        let distance = if id.is_multiple_of(5) { 5_000 } else { 500 };
        format!("{{\"id\":{id},\"origin\":\"AAA\",\"destination\":\"XXX\",\"delay\":1,\"distance\":{distance},\"at\":{id}}}\n")
    };
    folder.write("in.jsonl", &(0..3_000).map(record).collect::<String>());
    // The page redrives epochs 120 to 140.
    folder.write(
        "pipeline.yaml",
        "version: 1
name: flights
source:
  files: { path: in.jsonl, follow: true }
  format: json
  time: /at
  columns: { id: i64, origin: utf8, at: timestamp }
steps:
  - { id: clean, plugin: PLUGIN.wasm, config: { max_distance: 1000 }, on_error: dlq }
sinks:
  - { name: out, files: out, columns: [id, origin] }
dlq: { files: dead }
work_dir: work
epoch: { max_records: 20 }
checkpoint: { store: \"file://store\", ephemeral: true, replay_debt: 1ms, keep: 1000 }
",
    );
    let runbooks: Vec<String> = pages().into_iter().filter(|page| page.starts_with("docs/runbooks/")).collect();
    assert!(runbooks.len() >= 8, "{runbooks:?}");
    let checks: String = runbooks.iter().flat_map(|page| commands_of(page)).collect();
    // Most runbooks look at what runs; a redrive needs it stopped.
    let script = format!(
        "segno run -q pipeline.yaml & running=$!
trap 'kill -9 $running 2>/dev/null || true' EXIT
for second in $(seq 60); do ! segno status -q -o json pipeline.yaml | grep -q '\"epoch\":150' || break; sleep 1; done
{}
kill $running
wait $running
{}",
        checks.replace("STEP", "clean"),
        commands_of("docs/operations.md").concat()
    );
    let said = folder.shell("", &script).good().out;
    for words in ["84 records redriven", "600 records redriven"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

#[test]
fn the_commands_of_the_nexmark_example_run() {
    let example = Path::new(ROOT).join("examples/nexmark");
    let [commands] = &commands_of("examples/nexmark/README.md")[..] else { panic!("one block") };
    // What is built is built already, and a few events do.
    let commands = commands.replacen("make build\n", "", 1).replace(" 1000000 ", " 20000 ");
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("examples/nexmark")).expect("a folder");
    std::fs::copy(example.join("q5.yaml"), folder.path("examples/nexmark/q5.yaml")).expect("a copy");
    folder.shell("", &commands).good();
    let rows = folder.shell("", "cat out/q5/*").good().out;
    assert!(rows.lines().count() > 3 && rows.contains("\"auction\""), "{rows}");
}
