//! Rules of the sink: an epoch's rows once and whole; a fenced writer writes nothing; marks that lie are noticed.

use crate::lab::*;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use rdkafka::producer::Producer as _;
use segno_core::Code;
use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::pipeline::{KafkaSinkSpec, ROW_BYTES_DEFAULT, SinkFormat};
use segno_core::sink::*;
use segno_kafka::KafkaSink;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub fn spec(topic: &str) -> KafkaSinkSpec {
    KafkaSinkSpec {
        announces: false,
        connection: connection(),
        topic: topic.to_owned(),
        format: SinkFormat::Json,
        key: Some("key".to_owned()),
        headers: BTreeMap::from([("color".to_owned(), "color".to_owned())]),
        row_bytes_max: Some(ROW_BYTES_DEFAULT),
        transaction_timeout: Duration::from_secs(20),
    }
}

pub fn owner(pipeline: &str, generation: u64) -> Ownership {
    Ownership { tenant: "t".to_owned(), pipeline: pipeline.to_owned(), shard: "single".to_owned(), generation }
}

pub struct Rows {
    schema: Schema,
    batch: RecordBatch,
    lineage: Lineage,
}

/// Rows with an id, a key (none for every third) and a color that is a header only.
pub fn rows(ids: std::ops::Range<i64>) -> Rows {
    let schema = Schema::new(vec![
        Column::new("id", ColumnType::I64, false),
        Column::new("key", ColumnType::Utf8, true),
        Column::new("color", ColumnType::Utf8, true),
    ]);
    let key = |id: i64| (id % 3 != 0).then(|| format!("k{id}"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(StringArray::from_iter(ids.clone().map(key))),
        Arc::new(StringArray::from_iter(ids.clone().map(|id| (id % 2 == 0).then_some("red")))),
    ];
    let row = |id: i64| RowOrigin { partition: 0, offset: id as u64, index: 0, time: Some(id * 1_000_000) };
    let lineage = Lineage { partitions: vec![("events".to_owned(), "in/0".to_owned())], rows: ids.map(row).collect() };
    Rows { batch: RecordBatch::try_new(schema.to_arrow(), columns).unwrap(), schema, lineage }
}

impl Rows {
    pub fn at(&self, epoch: u64) -> SinkRows<'_> {
        SinkRows { epoch, schema: &self.schema, batch: &self.batch, written: 2, lineage: Some(&self.lineage), told: None }
    }
}

fn open(topic: &str, pipeline: &str, generation: u64) -> (KafkaSink, Held) {
    let mut sink = KafkaSink::open("out", &spec(topic)).expect("a sink");
    let held = sink.take_over(&owner(pipeline, generation)).expect("taken over");
    (sink, held)
}

/// A sink that holds nothing but its first mark.
pub fn started(topic: &str, pipeline: &str) -> KafkaSink {
    let (mut sink, held) = open(topic, pipeline, 1);
    assert_eq!(held, Held::Nothing);
    sink.start_after(0).unwrap();
    sink
}

pub fn ids(topic: &str) -> Vec<i64> {
    let id = |record: &Read| {
        let value: serde_json::Value = serde_json::from_str(record.value.as_ref().unwrap()).unwrap();
        value["id"].as_i64().unwrap()
    };
    let mut ids: Vec<i64> = read(topic).iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_row_is_a_record_with_key_headers_origin_time_and_javas_partition() {
    let (topic, pipeline) = (topic("rows", 4, &[]), name("p"));
    let mut sink = started(&topic, &pipeline);
    sink.publish(&rows(1..4).at(1), &[]).unwrap();
    let mut found = read(&topic);
    found.sort_by_key(|record| record.timestamp);
    let headers = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let values: Vec<_> = found.iter().map(|record| record.value.as_deref().unwrap()).collect();
    assert_eq!(values, ["{\"id\":1,\"key\":\"k1\"}", "{\"id\":2,\"key\":\"k2\"}", "{\"id\":3,\"key\":null}"]);
    assert_eq!(found.iter().map(|record| record.key.as_deref()).collect::<Vec<_>>(), [Some("k1"), Some("k2"), None]);
    assert_eq!(found.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [Some(1_000), Some(2_000), Some(3_000)]);
    assert_eq!(found[0].headers, headers(&[("segno-origin", "events/in/0/1/0")]));
    assert_eq!(found[1].headers, headers(&[("color", "red"), ("segno-origin", "events/in/0/2/0")]));
    // An independent implementation of Java's partitioner decides, for records with a key.
    let other = crate::lab::topic("java", 4, &[]);
    let producer: rdkafka::producer::BaseProducer = config().set("partitioner", "murmur2_random").create().unwrap();
    for key in ["k1", "k2"] {
        producer.send(rdkafka::producer::BaseRecord::to(&other).key(key).payload("")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    for expected in read(&other) {
        let ours = found.iter().find(|record| record.key == expected.key).unwrap();
        assert_eq!(ours.partition, expected.partition, "{:?}", expected.key);
    }
}

#[test]
fn what_an_owner_left_open_is_never_seen() {
    let (topic, pipeline) = (topic("left", 1, &[]), name("p"));
    let mut sink = started(&topic, &pipeline);
    sink.publish(&rows(0..10).at(1), &[]).unwrap();
    drop(sink);
    // As a process that was killed in the middle of its transaction.
    let id = format!("segno-t-{pipeline}-single-out");
    let killed = open_transaction(&id, &topic, 0, &["{\"id\":99}"]);
    let (mut sink, held) = open(&topic, &pipeline, 2);
    assert_eq!(held, Held::Through(1));
    assert!(killed.commit_transaction(PATIENCE).is_err(), "a fenced producer committed");
    sink.publish(&rows(10..20).at(2), &[]).unwrap();
    assert_eq!(ids(&topic), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_fenced_owner_writes_nothing_and_learns_that_it_lost_the_sink() {
    let (topic, pipeline) = (topic("fenced", 1, &[]), name("p"));
    let mut old = started(&topic, &pipeline);
    old.publish(&rows(0..10).at(1), &[]).unwrap();
    let (mut new, held) = open(&topic, &pipeline, 2);
    assert_eq!(held, Held::Through(1));
    let error = old.publish(&rows(90..99).at(2), &[]).unwrap_err();
    assert_eq!(error.code(), Code::OwnershipLost, "{error}");
    // The old owner's last attempt fenced the new one, which finds that it is the owner still.
    new.publish(&rows(10..20).at(2), &[]).unwrap();
    new.publish(&rows(20..30).at(3), &[]).unwrap();
    assert_eq!(ids(&topic), (0..30).collect::<Vec<_>>());
    assert_eq!(open(&topic, &pipeline, 3).1, Held::Through(3));
}

#[test]
fn a_mark_of_which_only_the_begin_was_committed_stops_the_sink() {
    let (topic, pipeline) = (topic("torn", 1, &[]), name("p"));
    started(&topic, &pipeline).publish(&rows(0..10).at(1), &[]).unwrap();
    let key = format!("t/{pipeline}/single/out");
    let partition = read("segno-marks").iter().find(|record| record.key.as_ref() == Some(&key)).unwrap().partition;
    produce("segno-marks", partition, &[(Some(&key), Some("{\"epoch\":2,\"generation\":1,\"rows\":5,\"mark\":\"begin\"}"))]);
    let error = KafkaSink::open("out", &spec(&topic)).unwrap().take_over(&owner(&pipeline, 2)).unwrap_err();
    assert_eq!(error.code(), Code::MarkTorn, "{error}");
}

#[test]
fn a_topic_that_takes_less_than_a_row_may_have_is_refused_at_the_start() {
    let topic = topic("small", 1, &[("max.message.bytes", "3000")]);
    let open = |limit| KafkaSink::open("out", &KafkaSinkSpec { row_bytes_max: Some(limit), ..spec(&topic) }).map(drop);
    let error = open(ROW_BYTES_DEFAULT).unwrap_err();
    assert_eq!(error.code(), Code::RowLimit, "{error}");
    assert!(error.help().is_some_and(|help| help.contains("row_bytes_max: 1976;")), "{error:?}");
    open(1976).unwrap();
    let mut own = KafkaSinkSpec { row_bytes_max: Some(1976), ..spec(&topic) };
    own.connection.settings.insert("message.max.bytes".to_owned(), "2000".to_owned());
    assert_eq!(KafkaSink::open("out", &own).map(drop).unwrap_err().code(), Code::RowLimit);
}

#[test]
fn rows_above_the_limit_are_told_with_their_bytes_and_the_largest_one_within_it_is_taken() {
    let (topic, pipeline) = (topic("limit", 1, &[("max.message.bytes", "3000")]), name("p"));
    let spec = KafkaSinkSpec { row_bytes_max: Some(1_976), ..spec(&topic) };
    // Value, key, header: `{"id":1,"key":"…"}`, the key again, `color` and `red`.
    let with_key = |bytes: usize| {
        let mut rows = rows(0..3);
        let keys: ArrayRef = Arc::new(StringArray::from(vec![String::new(), String::new(), "k".repeat(bytes)]));
        let columns = vec![rows.batch.column(0).clone(), keys, rows.batch.column(2).clone()];
        rows.batch = RecordBatch::try_new(rows.schema.to_arrow(), columns).unwrap();
        rows
    };
    let largest = (1_976 - "{\"id\":2,\"key\":\"\"}colorred".len()) / 2;
    let told_bytes = "{\"id\":2,\"key\":\"\"}colorred".len() + 2 * (largest + 1);
    let told = |rows: &Rows| segno_kafka::oversized(&spec, &rows.at(1)).unwrap();
    assert_eq!(told(&with_key(largest)), []);
    assert_eq!(told(&with_key(largest + 1)), [(2, told_bytes)]);
    let mut sink = KafkaSink::open("out", &spec).unwrap();
    sink.take_over(&owner(&pipeline, 1)).unwrap();
    sink.start_after(0).unwrap();
    sink.publish(&with_key(largest).at(1), &[]).unwrap();
    // Many rows together are more than the topic takes in a batch.
    sink.publish(&self::rows(3..200).at(2), &[]).unwrap();
    assert_eq!(ids(&topic), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_row_that_the_topic_does_not_take_any_more_stops_with_its_origin_and_leaves_nothing_of_the_epoch() {
    let (topic, pipeline) = (topic("large", 1, &[("max.message.bytes", "10000")]), name("p"));
    let spec = KafkaSinkSpec { row_bytes_max: Some(8_000), ..spec(&topic) };
    let open = |generation| {
        let mut sink = KafkaSink::open("out", &spec).unwrap();
        let held = sink.take_over(&owner(&pipeline, generation)).unwrap();
        (sink, held)
    };
    let (mut sink, _) = open(1);
    sink.start_after(0).unwrap();
    set_max_message_bytes(&topic, "2000");
    let mut rows = rows(0..3);
    let big: Vec<String> = (0..3).map(|id| if id == 1 { "x".repeat(3_000) } else { String::new() }).collect();
    let mut columns = rows.batch.columns().to_vec();
    columns[1] = Arc::new(StringArray::from(big));
    rows.batch = RecordBatch::try_new(rows.schema.to_arrow(), columns).unwrap();
    let error = sink.publish(&rows.at(1), &[]).unwrap_err();
    assert_eq!(error.code(), Code::RecordTooLarge, "{error}");
    assert!(error.message().contains("events/in/0/1/0"), "{error}");
    assert_eq!(ids(&topic), Vec::<i64>::new());
    set_max_message_bytes(&topic, "10000");
    let (mut sink, held) = open(2);
    assert_eq!(held, Held::Through(0));
    sink.publish(&rows.at(1), &[]).unwrap();
    assert_eq!(ids(&topic), [0, 1, 2]);
}

/// The broker applies it a moment later; the next batches show whether it did.
fn set_max_message_bytes(topic: &str, bytes: &str) {
    use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", bytes).set("retention.ms", "-1");
    wait(admin().alter_configs([&change], &AdminOptions::new())).expect("an answer")[0].as_ref().expect("changed");
    loop {
        let found = wait(admin().describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new())).expect("an answer");
        let found = found.into_iter().next().expect("a topic").expect("its settings");
        if found.get("max.message.bytes").and_then(|entry| entry.value.as_deref()) == Some(bytes) {
            return;
        }
    }
}

#[test]
fn a_missing_topic_is_found_before_anything_is_owned() {
    let error = KafkaSink::open("out", &spec("not-there")).err().unwrap();
    assert_eq!(error.code(), Code::TopicMissing);
}

#[test]
fn raw_and_csv_values_are_bytes_without_a_line_feed() {
    let topic = topic("formats", 1, &[]);
    for (format, columns, expected) in [
        (SinkFormat::Csv, 2, vec!["0,", "1,k1", "2,k2"]),
        (SinkFormat::Raw, 1, vec!["a", "b\nc"]),
    ] {
        let pipeline = name("p");
        let spec = KafkaSinkSpec { format, key: None, headers: BTreeMap::new(), ..spec(&topic) };
        let mut sink = KafkaSink::open("out", &spec).unwrap();
        sink.take_over(&owner(&pipeline, 1)).unwrap();
        let before = read(&topic).len();
        let mut rows = rows(0..3);
        if format == SinkFormat::Raw {
            rows.schema = Schema::new(vec![Column::new("value", ColumnType::Binary, true)]);
            let values: ArrayRef = Arc::new(BinaryArray::from(vec![Some(b"a".as_slice()), Some(b"b\nc"), None]));
            rows.batch = RecordBatch::try_new(rows.schema.to_arrow(), vec![values]).unwrap();
        }
        let rows = SinkRows { written: columns, ..rows.at(1) };
        sink.publish(&rows, &[]).unwrap();
        let values: Vec<Option<String>> = read(&topic)[before..].iter().map(|record| record.value.clone()).collect();
        let mut expected: Vec<Option<String>> = expected.into_iter().map(|value| Some(value.to_owned())).collect();
        if format == SinkFormat::Raw {
            // No value: a tombstone.
            expected.push(None);
        }
        assert_eq!(values, expected);
    }
}

#[test]
fn a_dead_letter_is_the_original_bytes_under_connects_header_names() {
    let (topic, pipeline) = (topic("letters", 1, &[]), name("p"));
    let letter = |offset, step: Option<&str>, value: &[u8]| DeadLetter {
        source: "events".to_owned(),
        partition: "in.put/3".to_owned(),
        offset,
        time: None,
        step: step.map(str::to_owned),
        code: "P050".to_owned(),
        reason: "no".to_owned(),
        component: step.map(|_| "abc".to_owned()),
        value: value.to_vec(),
    };
    let batch = dead_letter_batch(&[letter(5, Some("clean"), b"{\"a\"\n}"), letter(6, None, b"\xff")]);
    let row = |offset| RowOrigin { partition: 0, offset, index: 0, time: None };
    let lineage = Lineage { partitions: vec![("events".to_owned(), "in.put/3".to_owned())], rows: vec![row(5), row(6)] };
    let schema = dead_letter_schema();
    let mut sink = KafkaSink::open(DEAD_LETTER_SINK, &KafkaSinkSpec { key: None, headers: BTreeMap::new(), ..spec(&topic) }).unwrap();
    sink.take_over(&owner(&pipeline, 1)).unwrap();
    let rows = SinkRows { epoch: 4, schema: &schema, batch: &batch, written: schema.columns.len(), lineage: Some(&lineage), told: None };
    sink.publish(&rows, &[]).unwrap();
    let found = read(&topic);
    assert_eq!(found[0].value.as_deref(), Some("{\"a\"\n}"));
    let expected = [
        ("__connect.errors.class.name", "clean"),
        ("__connect.errors.connector.name", &pipeline),
        ("__connect.errors.exception.class.name", "P050"),
        ("__connect.errors.exception.message", "no"),
        ("__connect.errors.offset", "5"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.stage", "TRANSFORMATION"),
        ("__connect.errors.task.id", "single"),
        ("__connect.errors.topic", "in.put"),
        ("segno-code", "P050"),
        ("segno-component", "abc"),
        ("segno-epoch", "4"),
        ("segno-origin", "events/in.put/3/5/0"),
        ("segno-source", "events"),
        ("segno-step", "clean"),
        ("segno-tenant", "t"),
    ];
    let headers: Vec<(&str, &str)> = found[0].headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    assert_eq!(found[1].headers["__connect.errors.stage"], "VALUE_CONVERTER");
    assert_eq!(found[1].value.as_deref(), Some("\u{FFFD}"), "bytes that are no text are given as they are");
}
