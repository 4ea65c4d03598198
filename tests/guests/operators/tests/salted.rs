//! The example with salted keys gives the rows of the example without. `SEGNO_BIN` and `SEGNO_COMPONENTS` name the command
//! and the plugins.

use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(value) => PathBuf::from(value),
        None => panic!("{name} is not set: run the tests with `make test`, which builds what they need"),
    }
}

/// Flights of a month, of which one airport has half; some are out of order, some are late.
fn write_flights(folder: &Path) {
    let mut random = StdRng::seed_from_u64(11);
    let lines = (0..20_000_i64).map(|flight| {
        let airport = if random.random_bool(0.5) { "ATL".to_owned() } else { format!("A{:02}", random.random_range(0..30)) };
        let at = flight * 130 - random.random_range(0..8 * 3_600);
        let at = jiff::Timestamp::from_second(978_307_200 + at / 60 * 60).expect("a time");
        let (delay, destination) = (random.random_range(-20..300), random.random_range(0..40));
        format!("{{\"date\":\"{at}\",\"origin\":\"{airport}\",\"destination\":\"D{destination}\",\"delay\":{delay},\"distance\":1}}\n")
    });
    std::fs::write(folder.join("flights.jsonl"), lines.collect::<String>()).expect("flights");
}

/// (airport, hour, its end, flights, mean and largest delay), as published.
fn hours(folder: &Path, example: &str) -> Vec<String> {
    let examples = Path::new("../../../examples");
    let text = std::fs::read_to_string(examples.join(example)).expect("an example");
    let text = text.replace("flights.parquet", "flights.jsonl").replace("format: parquet", "format: json\n  columns: { origin: utf8, date: timestamp }");
    let out = folder.join(example.replace('/', "-"));
    std::fs::create_dir(&out).expect("a folder");
    let file = out.join("pipeline.yaml");
    std::fs::write(&file, text + "epoch: { max_records: 1500 }\n").expect("the pipeline file");
    let mut command = Command::new(variable("SEGNO_BIN"));
    command.args(["run", "-q"]).arg(&file).env("SEGNO_PLUGIN_CACHE", out.join("cache"));
    let output = command.env("FLIGHTS_DATA", folder).env("FLIGHTS_OUT", &out).output().expect("segno starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries = std::fs::read_dir(out.join("hours")).expect("hours").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    let rows = files.into_iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).expect("hours");
        text.lines().map(shown).collect::<Vec<_>>()
    });
    rows.collect()
}

fn shown(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).expect("a row");
    ["origin", "window_start", "window_end", "flights", "mean_delay", "max_delay"].map(|name| row[name].to_string()).join(" ")
}

#[test]
fn salted_keys_give_the_same_hours() {
    let folder = tempfile::tempdir().expect("a folder");
    write_flights(folder.path());
    let salted = hours(folder.path(), "salted/pipeline.yaml");
    let plain = hours(folder.path(), "flights/hourly.yaml");
    assert!(plain.len() > 5_000, "{} hours", plain.len());
    assert_eq!(salted, plain);
}
