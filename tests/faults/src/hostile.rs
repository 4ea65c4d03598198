//! Plugins that trap, loop, hoard, recurse and flood: the host survives, and only the hostile record is lost.
//!
//! Owns: misbehaviour in a whole run. Does not own: malformed frames and limits one by one (segno-plugin).

use crate::lab::{Lab, text, variable};

/// A mode of the plugin, and the codes that its records may be given up with.
const MODES: &[(&str, &[&str])] = &[
    ("trap", &["P020"]),
    ("loop", &["P021"]),
    ("memory", &["P021", "P022"]),
    ("recursion", &["P021", "P024"]),
    ("output", &["P021", "P022", "P025"]),
    ("reject", &["P050"]),
];
/// No record of the lab has this price.
const HOSTILE: i64 = 666;

/// A lab whose second file has `hostile` hostile records among its records.
fn lab(mode: &str, records: usize, hostile: usize) -> Lab {
    let mut lab = Lab::new(31, records);
    let plugin = variable("SEGNO_COMPONENTS").join("hostile.wasm");
    lab.step = format!("plugin: \"{}\"\n    key: key\n    config: {{ mode: {mode} }}\n    on_error: dlq", plugin.display());
    lab.columns = "[id, key, bids]";
    let input = &lab.inputs()[1];
    let lines = std::fs::read_to_string(input).expect("input");
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    for number in 0..hostile {
        let at = lines.len() * (number + 1) / (hostile + 1);
        let line = format!("{{\"id\":{},\"key\":\"k{number}\",\"price\":{HOSTILE},\"at\":{}}}", 800_000_000 + number, at * 30);
        lines.insert(at, line);
    }
    std::fs::write(input, lines.join("\n") + "\n").expect("input");
    lab
}

/// Every record is in the output or a dead letter, and hostile ones only there, with a reason.
fn account(lab: &Lab, hostile: usize, codes: &[&str]) {
    let records: usize = lab.inputs().iter().map(|path| text(&std::fs::read(path).expect("input")).lines().count()).sum();
    let (output, dead) = (text(&lab.output()), text(&lab.dead_letters()));
    assert_eq!(output.lines().count() + dead.lines().count(), records, "records without a fate, or with two");
    assert!(!output.contains("\"id\":80000000"), "a hostile record is in the output");
    let by_plugin: Vec<serde_json::Value> = dead
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a dead letter is JSON"))
        .filter(|letter| letter["step"] == "count")
        .collect();
    let given_up: Vec<&serde_json::Value> =
        by_plugin.iter().filter(|letter| codes.contains(&letter["code"].as_str().unwrap_or_default())).collect();
    assert_eq!(given_up.len(), hostile, "{by_plugin:?}");
    for letter in given_up {
        assert!(letter["value"].as_str().is_some_and(|value| value.contains("\"price\":666")), "a neighbour was lost: {letter}");
        assert!(letter["reason"].as_str().is_some_and(|reason| reason.len() > 10), "no reason: {letter}");
    }
}

#[test]
fn a_hostile_record_is_isolated_whatever_the_batches() {
    for (mode, codes) in MODES {
        let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
        for rows in [1, 7, 1024] {
            let mut lab = lab(mode, 1_000, 2);
            lab.settings.push_str(&format!("batch_rows: {rows}\n"));
            lab.complete();
            account(&lab, 2, codes);
            let found = (lab.output(), lab.dead_letters());
            match &first {
                Some(first) => assert!(*first == found, "{mode}: batches of {rows} rows give something else"),
                None => first = Some(found),
            }
            if rows == 1024 {
                lab.replays();
            }
        }
    }
}

/// What a call may use is what a record alone may: neighbours that use much together are neither rejected nor let through.
#[test]
fn records_that_use_much_together_are_judged_alone() {
    // Mode, turns or rows of a record, limits, and whether one alone is within them.
    let cases = [
        ("heavy", 500_000, "fuel_per_record: 11M", true),
        ("heavy", 20_000_000, "fuel_per_record: 11M", false),
        ("output", 50_000, "output_bytes: 1MiB", true),
        ("output", 500_000, "output_bytes: 1MiB", false),
        ("output", 50_000, "mutations: 1", true),
    ];
    for (mode, rows, limits, passes) in cases {
        let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
        for batch_rows in [1, 7, 1024] {
            let mut lab = lab(mode, 500, 0);
            lab.step = lab.step.replace(&format!("mode: {mode}"), &format!("mode: {mode}, rows: {rows}")) + &format!("\n    limits: {{ {limits} }}");
            lab.settings.push_str(&format!("batch_rows: {batch_rows}\n"));
            let input = &lab.inputs()[1];
            let mut lines: Vec<String> = text(&std::fs::read(input).expect("input")).lines().map(str::to_owned).collect();
            let at = lines.len() / 2;
            let hostile = |number: usize| {
                format!("{{\"id\":{},\"key\":\"k{}\",\"price\":{HOSTILE},\"at\":{}}}", 800_000_000 + number, number % 3, at * 30)
            };
            lines.splice(at..at, (0..8).map(hostile));
            std::fs::write(input, lines.join("\n") + "\n").expect("input");
            lab.complete();
            let given = text(&lab.output()).matches("\"id\":80000000").count();
            let letters = text(&lab.dead_letters()).matches("\"price\\\":666").count();
            assert_eq!((given > 0, letters), (passes, if passes { 0 } else { 8 }), "{mode} {rows}, calls of {batch_rows}");
            let found = (lab.output(), lab.dead_letters());
            match &first {
                Some(first) => assert!(*first == found, "{mode} {rows}: calls of {batch_rows} rows give something else"),
                None => first = Some(found),
            }
            lab.replays();
        }
    }
}

/// Interpreters do the same with less where they did it before. The limit lies between what a record costs first and behind others.
#[test]
fn a_record_that_is_cheaper_behind_others_is_judged_as_if_it_were_the_first() {
    let turns = 1_000_000;
    let of_one = fuel_of_turns(turns);
    for (limit, passes) in [(of_one / 10 * 9, false), (of_one / 10 * 11, true)] {
        let mut first: Option<Vec<String>> = None;
        for (batch_rows, max_records) in [(1024, 20_000), (1, 20_000), (7, 13), (1024, 1)] {
            let mut lab = lab("lazy", 60, 0);
            lab.step = lab.step.replace("mode: lazy", &format!("mode: lazy, rows: {turns}")) + &format!("\n    limits: {{ fuel_per_record: {limit} }}");
            lab.settings = format!("batch_rows: {batch_rows}\nepoch: {{ max_records: {max_records} }}\n");
            let input = &lab.inputs()[1];
            let mut lines: Vec<String> = text(&std::fs::read(input).expect("input")).lines().map(str::to_owned).collect();
            let at = lines.len() / 2;
            let hostile = |number: usize| format!("{{\"id\":{},\"key\":\"k{}\",\"price\":{HOSTILE},\"at\":{}}}", 800_000_000 + number, number % 3, at * 30);
            lines.splice(at..at, (0..8).map(hostile));
            std::fs::write(input, lines.join("\n") + "\n").expect("input");
            lab.complete();
            let letters = text(&lab.dead_letters()).matches("\"price\\\":666").count();
            assert_eq!(letters, if passes { 0 } else { 8 }, "{limit} units, calls of {batch_rows}, epochs of {max_records}");
            let mut rows: Vec<String> = text(&lab.output()).lines().map(str::to_owned).collect();
            rows.sort();
            let first = first.get_or_insert_with(|| rows.clone());
            assert!(*first == rows, "{limit} units: calls of {batch_rows}, epochs of {max_records} give something else");
            lab.replays();
        }
    }
}

/// What one hostile record costs that makes so many turns.
fn fuel_of_turns(turns: u64) -> u64 {
    let mut lab = lab("heavy", 60, 1);
    lab.step = lab.step.replace("mode: heavy", &format!("mode: heavy, rows: {turns}"));
    let run = lab.segno(&["run", "-q", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a report");
    let fuel = report["totals"]["fuel"]["count"].as_u64().expect("the fuel of the step");
    assert!(fuel > turns, "{fuel} units for {turns} turns");
    fuel
}

#[test]
fn one_trap_among_very_many_records_costs_one_record() {
    let mut lab = lab("trap", 1_000_000, 1);
    lab.settings = "epoch: { max_records: 20000 }\n".to_owned();
    lab.complete();
    account(&lab, 1, &["P020"]);
    lab.replays();
}
