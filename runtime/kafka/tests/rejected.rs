//! What a pipeline does about rows that its sink cannot take, and about records that are gone before they were read.

use crate::lab::*;
use crate::whole::*;
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use serde_json::Value;

fn run(pipeline: &Pipeline, args: &[&str]) -> (Option<i32>, String, String) {
    let output = finish(pipeline.command("SEGNO_BIN", args).spawn().expect("segno starts"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_row_that_is_too_large_is_rejected_before_the_commit_and_a_replay_agrees() {
    let mut pipeline = Pipeline { sink_settings: ", row_bytes_max: 1kB".to_owned(), ..Pipeline::new(21) };
    let long = "k".repeat(600);
    let record = format!("{{\"id\":-7,\"key\":\"{long}\",\"price\":1}}");
    values(&pipeline.input, 0, [record.clone()].into_iter());
    // The step that gives the row says what happens.
    let (code, _, said) = run(&pipeline, &["run", "-q"]);
    assert!(code == Some(1) && said.contains("R003") && said.contains("K010"), "{said}");
    pipeline.step_settings = ", on_error: dlq".to_owned();
    let (code, _, said) = run(&pipeline, &["run", "-q", "--accept-change"]);
    assert_eq!(code, Some(0), "{said}");
    pipeline.bad += 1;
    pipeline.check("a row that is too large");
    let letter = read(&pipeline.dead).into_iter().find(|letter| letter.headers["segno-code"] == "K010").expect("a dead letter");
    assert_eq!(letter.value, Some(record));
    assert_eq!(letter.headers["segno-step"], "count");
    assert!(letter.headers["__connect.errors.exception.message"].contains("row_bytes_max of sink \"out\" is 1000"), "{letter:?}");
    pipeline.replay("a row that is too large");
}

#[test]
fn a_dead_letter_is_cut_to_what_its_topic_takes() {
    let pipeline = Pipeline { dead_settings: ", row_bytes_max: 2kB".to_owned(), ..Pipeline::new(22) };
    values(&pipeline.input, 0, [format!("{{\"id\":{}", "1".repeat(5_000))].into_iter());
    pipeline.complete();
    let letters = read(&pipeline.dead);
    assert_eq!(letters.len(), pipeline.bad + 1);
    let cut = letters.iter().find(|letter| letter.headers.contains_key("segno-truncated")).expect("a cut letter");
    let beside: usize = cut.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let kept = cut.value.as_ref().expect("a value").len();
    assert!(kept + beside <= 2_000 + "segno-truncatedtrue".len() && kept > 1_000, "{kept} and {beside} bytes");
}

/// The partition that loses records; the first one ends with a control record, which has an offset, too.
const LATE: i32 = 1;

#[test]
fn records_that_are_gone_stop_the_run_until_the_loss_is_accepted_and_recorded() {
    let mut pipeline = Pipeline::new(23);
    pipeline.complete();
    let checkpoint = newest_checkpoint(&pipeline);
    let record = |id: i64| format!("{{\"id\":{id},\"key\":\"late\",\"price\":1}}");
    let before = high(&pipeline.input);
    values(&pipeline.input, LATE, (0..100).map(record));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&pipeline.input, LATE, Offset::Offset(before + 40)).expect("a partition");
    wait(admin().delete_records(&list, &AdminOptions::new())).expect("deleted");

    let (code, _, said) = run(&pipeline, &["run", "-q"]);
    assert_eq!(code, Some(1), "{said}");
    let range = format!("offsets {before} to {} of {}/{LATE} are gone", before + 39, pipeline.input);
    assert!(said.contains("S012") && said.contains(&range) && said.contains("--accept-data-loss"), "{said}");

    let (code, summary, said) = run(&pipeline, &["run", "-o", "json", "--accept-data-loss"]);
    assert_eq!(code, Some(0), "{said}");
    let summary: Value = serde_json::from_str(&summary).expect("a summary");
    assert_eq!(summary["totals"]["lost"], 40, "{summary}");
    assert!(said.contains("are given up"), "{said}");
    let late = (40..100).map(|id| format!("{{\"id\":{id},\"key\":\"late\",\"bids\":{n},\"total_price\":{n}}}", n = id - 39));
    pipeline.expected.insert("late".to_owned(), late.collect());
    pipeline.check("what is left");

    // The journal says what was lost.
    let folder = pipeline.folder.path().join(format!("store/default/{}/single/journal", pipeline.output));
    let entries = std::fs::read_dir(folder).expect("a journal").flatten();
    let entries: Vec<String> =
        entries.map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned()).collect();
    let fact = format!("\"lost\":[{{\"source\":0,\"partition\":{LATE},\"from\":{before},\"to\":{}}}]", before + 40);
    assert_eq!(entries.iter().filter(|entry| entry.contains(&fact)).count(), 1, "{fact}");

    // From before the loss, what was read is gone, and the replay says so; from the checkpoint before it, it agrees.
    let (code, _, said) = run(&pipeline, &["replay", "--from", "start", "--verify"]);
    assert!(code == Some(1) && said.contains("S012") && said.contains("--from NUMBER"), "{said}");
    let (code, _, said) = run(&pipeline, &["replay", "--from", &checkpoint, "--verify"]);
    assert_eq!(code, Some(0), "{said}");
    pipeline.complete();
}

#[test]
fn retention_that_overtakes_a_running_process_stops_it_with_what_is_gone() {
    let mut pipeline = Pipeline { until: "", ..Pipeline::new(24) };
    let mut child = pipeline.command("SEGNO_BIN", &["run", "-q"]).spawn().expect("segno starts");
    pipeline.await_rows(&mut child, 2 * PATIENCE);
    // It stands still while records come and go. What a fetch under way had brought it already, it may read.
    signal(&child, Signal::STOP);
    let before = high(&pipeline.input);
    let record = |id: i64| format!("{{\"id\":{id},\"key\":\"late\",\"price\":1}}");
    values(&pipeline.input, LATE, (0..100).map(record));
    values(&pipeline.input, LATE, (100..200).map(record));
    let left = before + 160;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&pipeline.input, LATE, Offset::Offset(left)).expect("a partition");
    wait(admin().delete_records(&list, &AdminOptions::new())).expect("deleted");
    signal(&child, Signal::CONT);
    let output = finish(child);
    let said = said(&output);
    assert!(output.status.code() == Some(1) && said.contains("S012") && said.contains("--accept-data-loss"), "{said}");
    let gone = said.split_once("offsets ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<i64>().ok());
    let gone = gone.unwrap_or_else(|| panic!("the first offset that is gone is not told: {said}"));
    let range = format!("offsets {gone} to {} of {}/{LATE} are gone", left - 1, pipeline.input);
    assert!((before..left).contains(&gone) && said.contains(&range), "{said}");

    // What it had read and not committed is gone, too; all of it is counted, and nothing else is missing.
    pipeline.until = "until: latest,";
    let (code, summary, said) = run(&pipeline, &["run", "-o", "json", "--accept-data-loss"]);
    assert_eq!(code, Some(0), "{said}");
    let summary: Value = serde_json::from_str(&summary).expect("a summary");
    let lost = summary["totals"]["lost"].as_i64().expect("a number");
    assert!((left - gone..=left - before).contains(&lost), "from offset {gone}, {summary}");
    let ids = (0..160 - lost).chain(160..200);
    let late = (1..).zip(ids).map(|(n, id)| format!("{{\"id\":{id},\"key\":\"late\",\"bids\":{n},\"total_price\":{n}}}"));
    pipeline.expected.insert("late".to_owned(), late.collect());
    pipeline.check("what retention left");
}

/// The number of the newest checkpoint.
fn newest_checkpoint(pipeline: &Pipeline) -> String {
    let (_, list, said) = run(pipeline, &["checkpoint", "list", "-o", "json"]);
    let numbers = list.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["number"].as_u64());
    numbers.max().unwrap_or_else(|| panic!("no checkpoint: {said}")).to_string()
}

fn high(topic: &str) -> i64 {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = config().create().expect("a consumer");
    consumer.fetch_watermarks(topic, LATE, PATIENCE).expect("offsets").1
}
