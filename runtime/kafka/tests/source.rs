//! Rules of the source: every record once, in order, in any pieces, from any offset; nothing skipped silently.

use crate::lab::*;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use segno_core::Code;
use segno_core::columns::ColumnType;
use segno_core::source::*;
use segno_kafka::KafkaSource;

const ID: [(&str, ColumnType, bool); 1] = [("id", ColumnType::I64, true)];

fn reader(source: &KafkaSource, partition: u32, offset: u64) -> Box<dyn PartitionReader> {
    source.open(partition, offset, None, &plan(&ID)).expect("a reader")
}

fn give(source: &KafkaSource, partition: u32, offset: u64, limit: ReadLimit, wanted: usize) -> Given {
    drain(&mut *reader(source, partition, offset), offset, limit, wanted)
}

fn delete_before(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    wait(admin().delete_records(&list, &AdminOptions::new())).expect("deleted");
}

#[test]
fn values_of_the_columns_are_those_of_the_messages() {
    let topic = topic("columns", 1, &[]);
    produce(&topic, 0, &[(Some("k1"), Some("{\"id\":7,\n \"name\":\"a\\nb\"}")), (None, Some("{\"id\":8,\"name\":\"c\"}\n"))]);
    let source = KafkaSource::open(&spec(&[&topic])).unwrap();
    let columns = [
        ("name", ColumnType::Utf8, false),
        ("kafka.key", ColumnType::Utf8, true),
        ("kafka.topic", ColumnType::Utf8, false),
        ("kafka.partition", ColumnType::U32, false),
        ("kafka.offset", ColumnType::U64, false),
        ("kafka.timestamp", ColumnType::Timestamp, false),
        ("kafka.headers.none", ColumnType::Binary, true),
        ("id", ColumnType::I64, false),
    ];
    let mut plan = plan(&columns);
    plan.time = Some(TimeColumn { name: "kafka.timestamp".to_owned(), format: None, unit: TimeUnit::Milliseconds });
    let mut reader = source.open(0, 0, None, &plan).unwrap();
    let mut rows = Vec::new();
    let mut times = Vec::new();
    while times.len() < 2 {
        if let Next::Chunk(chunk) = reader.next(LARGE).unwrap() {
            segno_core::columns::json::write_json_lines(&mut rows, &chunk.columns);
            times.extend(chunk.times);
        }
    }
    let expected = format!(
        "{{\"name\":\"a\\nb\",\"kafka.key\":\"k1\",\"kafka.topic\":\"{topic}\",\"kafka.partition\":0,\"kafka.offset\":0,\"kafka.timestamp\":\"1970-01-01T00:00:01Z\",\"kafka.headers.none\":null,\"id\":7}}
{{\"name\":\"c\",\"kafka.key\":null,\"kafka.topic\":\"{topic}\",\"kafka.partition\":0,\"kafka.offset\":1,\"kafka.timestamp\":\"1970-01-01T00:00:01.001Z\",\"kafka.headers.none\":null,\"id\":8}}
"
    );
    assert_eq!(String::from_utf8(rows).unwrap(), expected);
    assert_eq!(times, [1_000_000, 1_001_000]);
}

#[test]
fn bad_values_and_tombstones_are_bad_records_and_the_next_value_is_not_drawn_in() {
    let topic = topic("bad", 1, &[]);
    let long = format!("{{\"id\":9,\"pad\":\"{}\"}}", "x".repeat(3_000_000));
    produce(
        &topic,
        0,
        &[
            (None, Some("{\"id\":1}")),
            (None, Some("{\"id\":2")),
            (None, None),
            (None, Some("}")),
            (None, Some("")),
            (None, Some("{\"id\":5}")),
            (None, Some("[1]")),
            (None, Some("{\"id\":\"x\"}")),
            (None, Some("{\"id\":8} {\"id\":8}")),
        ],
    );
    let source = KafkaSource::open(&spec(&[&topic])).unwrap();
    for limit in [SMALL, LARGE] {
        let given = give(&source, 0, 0, limit, 9);
        assert_eq!(given.good, [(0, "{\"id\":1}".to_owned()), (5, "{\"id\":5}".to_owned())]);
        let codes = [(1, "D001"), (2, "D013"), (3, "D001"), (4, "D001"), (6, "D006"), (7, "D009"), (8, "D001")];
        assert_eq!(given.bad, codes);
    }
    let large = crate::lab::topic("large", 1, &[("max.message.bytes", "20000000")]);
    produce(&large, 0, &[(None, Some(&long)), (None, Some("{\"id\":1}"))]);
    let given = give(&KafkaSource::open(&spec(&[&large])).unwrap(), 0, 0, LARGE, 2);
    assert_eq!((given.good.len(), given.bad), (1, vec![(0, "D003")]));
    let roomy = KafkaSpec { record_bytes_max: 4 << 20, ..spec(&[&large]) };
    let given = give(&KafkaSource::open(&roomy).unwrap(), 0, 0, LARGE, 2);
    assert_eq!(given.good[0], (0, long));
}

#[test]
fn raw_values_are_bytes_and_a_tombstone_is_null_where_null_is_allowed() {
    let topic = topic("raw", 1, &[]);
    produce(&topic, 0, &[(None, Some("a\nb")), (None, None), (None, Some(""))]);
    let source = KafkaSource::open(&KafkaSpec { format: FormatSpec::Raw, ..spec(&[&topic]) }).unwrap();
    for (nullable, good, bad) in [(true, vec![0, 1, 2], vec![]), (false, vec![0, 2], vec![(1, "D013")])] {
        let mut reader = source.open(0, 0, None, &plan(&[("value", ColumnType::Binary, nullable)])).unwrap();
        let given = drain(&mut *reader, 0, LARGE, 3);
        assert_eq!(given.good.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), good);
        assert_eq!(given.bad, bad);
    }
}

#[test]
fn one_message_is_one_csv_row() {
    let topic = topic("csv", 1, &[]);
    produce(&topic, 0, &[(None, Some("1,\"a\nb\"")), (None, Some("2,c\n")), (None, Some("3")), (None, Some("4,d\n5,e")), (None, Some(""))]);
    let format = FormatSpec::Csv { header: Some(vec!["id".to_owned(), "name".to_owned()]), delimiter: b',' };
    let source = KafkaSource::open(&KafkaSpec { format, ..spec(&[&topic]) }).unwrap();
    let given = give(&source, 0, 0, LARGE, 5);
    assert_eq!(given.good.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(given.bad, [(2, "D012"), (3, "D001"), (4, "D012")]);
}

#[test]
fn aborted_records_are_never_given_and_positions_run_over_markers() {
    let topic = topic("aborted", 1, &[]);
    transaction(&topic, 0, &["{\"id\":1}", "{\"id\":2}"], true);
    transaction(&topic, 0, &["{\"id\":3}"], false);
    transaction(&topic, 0, &["{\"id\":4}"], true);
    transaction(&topic, 0, &["{\"id\":5}"], false);
    // Offsets: 1, 2, marker, 3 aborted, marker, 4, marker, 5 aborted, marker.
    let source = KafkaSource::open(&spec(&[&topic])).unwrap();
    for limit in [SMALL, LARGE] {
        let mut reader = reader(&source, 0, 0);
        let mut given = drain(&mut *reader, 0, limit, 3);
        while given.end < 9 {
            given.end = drain(&mut *reader, given.end, limit, 0).end;
        }
        assert_eq!(given.good.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 5]);
        assert_eq!(given.end, 9, "the end lies behind the last marker");
    }
    // A place behind a marker, or in the middle of what was aborted, is a place to go on from.
    for from in [3, 4, 5] {
        assert_eq!(give(&source, 0, from, LARGE, 1).good[0].0, 5);
    }
    let ended = KafkaSource::open(&KafkaSpec { until_latest: true, ..spec(&[&topic]) }).unwrap();
    let mut reader = ended.open(0, 6, None, &plan(&ID)).unwrap();
    let given = drain(&mut *reader, 6, LARGE, usize::MAX);
    assert_eq!((given.good.len(), given.end), (0, 9), "markers alone end, too");
}

#[test]
fn records_of_an_open_transaction_wait_for_its_end() {
    let topic = topic("open", 1, &[]);
    values(&topic, 0, ["{\"id\":1}".to_owned()].into_iter());
    let open = open_transaction(&name("txn"), &topic, 0, &["{\"id\":2}"]);
    values(&topic, 0, ["{\"id\":3}".to_owned()].into_iter());
    let source = KafkaSource::open(&spec(&[&topic])).unwrap();
    let mut reader = reader(&source, 0, 0);
    let given = drain(&mut *reader, 0, LARGE, 1);
    assert_eq!((given.good.len(), given.end), (1, 1));
    open.commit_transaction(PATIENCE).unwrap();
    let given = drain(&mut *reader, 1, LARGE, 2);
    assert_eq!(given.good.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_is_gone_is_named_and_nothing_is_skipped() {
    let topic = topic("gone", 1, &[]);
    values(&topic, 0, (0..10).map(|id| format!("{{\"id\":{id}}}")));
    delete_before(&topic, 6);
    let source = KafkaSource::open(&spec(&[&topic])).unwrap();
    let fails = |offset| {
        let mut reader = reader(&source, 0, offset);
        loop {
            match reader.next(LARGE) {
                Ok(Next::Waiting) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    };
    let error = fails(2);
    assert_eq!(error.code(), Code::OffsetsGone);
    assert_eq!(error.message(), format!("offsets 2 to 5 of {topic}/0 are gone; 6 to 10 remain"));
    let error = fails(20);
    assert_eq!(error.message(), format!("{topic}/0 ends at offset 10 (and begins at 6), but was read up to 20"));
    assert_eq!(source.first_offset(0, false).unwrap(), 6, "the earliest record that is left");
}

#[test]
fn a_partition_that_was_never_read_begins_where_start_says() {
    let topic = topic("start", 2, &[]);
    values(&topic, 0, (0..10).map(|id| format!("{{\"id\":{id}}}")));
    let first = |start: KafkaStart, partition| {
        KafkaSource::open(&KafkaSpec { start, ..spec(&[&topic]) }).unwrap().first_offset(partition, false).unwrap()
    };
    assert_eq!(first(KafkaStart::Earliest, 0), 0);
    assert_eq!(first(KafkaStart::Latest, 0), 10);
    let latest = KafkaSource::open(&KafkaSpec { start: KafkaStart::Latest, ..spec(&[&topic]) }).unwrap();
    assert_eq!(latest.first_offset(0, true).unwrap(), 0, "what was written to a new partition before it was found is read");
    // The lab writes timestamps from 1000 ms on.
    assert_eq!(first(KafkaStart::Timestamp(1_004), 0), 4);
    assert_eq!(first(KafkaStart::Timestamp(5_000), 0), 10);
    let offsets = [(format!("{topic}/0"), 3)].into();
    assert_eq!(first(KafkaStart::Offsets(offsets), 0), 3);
    assert_eq!(first(KafkaStart::Offsets([(format!("{topic}/0"), 3)].into()), 1), 0);
}

#[test]
fn later_partitions_come_behind_and_keep_the_numbers_of_the_others() {
    let (a, b) = (topic("late-a", 1, &[]), topic("late-b", 1, &[]));
    let source = KafkaSource::open(&spec(&[&a, &b])).unwrap();
    let names = || source.partitions().unwrap().into_iter().map(|partition| partition.name).collect::<Vec<_>>();
    assert_eq!(names(), [format!("{a}/0"), format!("{b}/0")]);
    let more = rdkafka::admin::NewPartitions::new(&a, 2);
    wait(admin().create_partitions([&more], &AdminOptions::new().operation_timeout(Some(PATIENCE)))).expect("more");
    while names().len() < 3 {}
    assert_eq!(names(), [format!("{a}/0"), format!("{b}/0"), format!("{a}/1")]);
    values(&a, 1, ["{\"id\":1}".to_owned()].into_iter());
    assert_eq!(give(&source, 2, 0, LARGE, 1).good.len(), 1);
}

#[test]
fn a_source_until_latest_ends_where_the_topic_ended() {
    let topic = topic("latest", 2, &[]);
    values(&topic, 0, (0..5).map(|id| format!("{{\"id\":{id}}}")));
    let source = KafkaSource::open(&KafkaSpec { until_latest: true, ..spec(&[&topic]) }).unwrap();
    values(&topic, 0, (5..9).map(|id| format!("{{\"id\":{id}}}")));
    let given = give(&source, 0, 0, LARGE, usize::MAX);
    assert_eq!((given.good.len(), given.end), (5, 5));
    assert_eq!(give(&source, 1, 0, LARGE, usize::MAX).good.len(), 0, "an empty partition ends at once");
}

#[test]
fn what_cannot_be_reached_is_an_error_with_a_code_in_bounded_time() {
    let started = std::time::Instant::now();
    let open = |spec: KafkaSpec| KafkaSource::open(&spec).err().expect("an error");
    assert_eq!(open(spec(&["not-there"])).code(), Code::TopicMissing);
    let nobody = KafkaConnection { brokers: "127.0.0.1:1".to_owned(), settings: Default::default() };
    assert_eq!(open(KafkaSpec { connection: nobody, ..spec(&["any"]) }).code(), Code::KafkaUnreachable);
    let mut wrong = connection();
    wrong.settings.insert("sasl.password.typo".to_owned(), "hunter2".to_owned());
    let error = open(KafkaSpec { connection: wrong, ..spec(&["any"]) });
    assert_eq!(error.code(), Code::InvalidValue);
    assert!(!format!("{error:?}").contains("hunter2"), "a secret was shown: {error:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_group_is_told_how_far_committed_reading_is() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let topic = topic("group", 1, &[]);
    let group = name("group");
    values(&topic, 0, (0..5).map(|id| format!("{{\"id\":{id}}}")));
    let source = KafkaSource::open(&KafkaSpec { group: Some(group.clone()), ..spec(&[&topic]) }).unwrap();
    let mut reader = reader(&source, 0, 0);
    drain(&mut *reader, 0, LARGE, 5);
    let observer: BaseConsumer = config().set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(&topic, 0);
    let started = std::time::Instant::now();
    loop {
        source.advise(&[(0, 5)]);
        reader.next(LARGE).unwrap();
        let told = observer.committed_offsets(list.clone(), PATIENCE).unwrap().elements()[0].offset();
        if told == Offset::Offset(5) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the group was never told: {told:?}");
    }
}
