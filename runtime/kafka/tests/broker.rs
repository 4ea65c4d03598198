//! A broker that goes away in the middle, and comes back.

use crate::lab;
use crate::servers::Brokers;
use crate::whole::Pipeline;
use segno_core::sink::Sink;
use segno_core::source::*;
use segno_kafka::Group;
use std::time::{Duration, Instant};

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing() {
    let broker = Brokers::start(1);
    lab::use_brokers(broker.known().kafka.bootstrap);
    let (input, output, pipeline) = (lab::topic("in", 1, &[]), lab::topic("out", 2, &[]), lab::name("p"));
    let written = |ids: std::ops::Range<u64>| lab::values(&input, 0, ids.map(|id| format!("{{\"id\":{id}}}")));
    written(0..500);
    let source = segno_kafka::KafkaSource::open(&lab::spec(&[&input])).unwrap();
    let plan = ReadPlan::default();
    let mut reader = source.open(0, 0, None, &plan).unwrap();
    let mut given = lab::drain(&mut *reader, 0, lab::LARGE, 500).good;
    let mut sink = crate::sink::started(&output, &pipeline);
    sink.publish(&crate::sink::rows(0..100).at(1), &[]).unwrap();

    broker.kill(1);
    assert!(matches!(reader.next(lab::LARGE), Ok(Next::Waiting)), "a broker that is away is waited for");
    broker.start_again(1);
    written(500..800);
    given.extend(lab::drain(&mut *reader, 500, lab::LARGE, 300).good);
    assert_eq!(given.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..800).collect::<Vec<_>>());
    sink.publish(&crate::sink::rows(100..200).at(2), &[]).unwrap();

    // Epochs are published while the broker is killed and comes back.
    let mut next = 200;
    let mut epoch = 3;
    let mut after = 0;
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| {
            broker.kill(1);
            broker.start_again(1);
        });
        let started = Instant::now();
        while after < 5 {
            assert!(started.elapsed() < 3 * lab::PATIENCE, "the sink does not recover");
            match sink.publish(&crate::sink::rows(next..next + 10).at(epoch), &[]) {
                Ok(()) => {
                    (next, epoch) = (next + 10, epoch + 1);
                    after += usize::from(restart.is_finished());
                }
                // The shard would restart; the sink is the same.
                Err(error) => assert_eq!(error.kind(), segno_core::Kind::Transient, "{error}"),
            }
        }
    });
    assert_eq!(crate::sink::ids(&output), (0..next).collect::<Vec<_>>());
}

/// The library alone waits as long as a session, 45 s; a machine that is busy takes some seconds for what needs one.
const GIVE_UP_MAX: Duration = Duration::from_secs(10);

#[test]
fn a_source_that_is_given_up_while_no_broker_answers_holds_nobody_up() {
    let broker = Brokers::start(1);
    lab::use_brokers(broker.known().kafka.bootstrap);
    let input = lab::topic("in", 1, &[]);
    lab::values(&input, 0, (0..10).map(|id| format!("{{\"id\":{id}}}")));
    let source = segno_kafka::KafkaSource::open(&KafkaSpec { group: Some(lab::name("group")), ..lab::spec(&[&input]) }).unwrap();
    let mut reader = source.open(0, 0, None, &ReadPlan::default()).unwrap();
    lab::drain(&mut *reader, 0, lab::LARGE, 10);
    let member = Group::join(&lab::connection(), &lab::name("workers"), &input, lab::PATIENCE).unwrap();
    let started = Instant::now();
    while member.next(Duration::from_millis(100)).unwrap().is_none() {
        assert!(started.elapsed() < lab::PATIENCE, "the group does not settle");
    }
    broker.kill(1);
    // The group is told by a request that waits for a coordinator.
    source.advise(&[(0, 10)]);
    for given_up in [Box::new((source, reader)) as Box<dyn Send>, Box::new(member)] {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(given_up);
            let _ = done.send(());
        });
        assert_eq!(ended.recv_timeout(GIVE_UP_MAX), Ok(()), "closing waits for a broker");
    }
}

/// More failures in a row than any bounded number of restarts (with the limits of the command that tests use: 2).
const FAILURES: u64 = 4;

#[test]
fn a_broker_that_stays_away_is_waited_for_without_end_and_without_noise() {
    let broker = Brokers::start(1);
    lab::use_brokers(broker.known().kafka.bootstrap);
    // A short transaction, so that the first failure comes soon.
    let short = ", transaction_timeout: 5s".to_owned();
    let pipeline = Pipeline { until: "", sink_settings: short.clone(), dead_settings: short, ..Pipeline::new(31) };
    let log = pipeline.folder.path().join("log");
    let mut command = pipeline.command("SEGNO_TESTING_BIN", &["run"]);
    command.stderr(std::fs::File::create(&log).expect("a log"));
    let mut child = command.spawn().expect("segno starts");
    let started = Instant::now();
    pipeline.wait_for_entries(8, &mut child);
    broker.kill(1);
    loop {
        assert!(started.elapsed() < 3 * lab::PATIENCE, "the pauses do not follow each other");
        assert!(
            child.try_wait().expect("a child").is_none(),
            "the run ended: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        let status = pipeline.status("SEGNO_TESTING_BIN");
        if status["restarts"].as_u64() >= Some(FAILURES) {
            assert_eq!(status["health"], "paused", "{status}");
            assert!(status["problem"].as_str().is_some_and(|problem| problem.starts_with("[S009]")), "{status}");
            break;
        }
    }
    let told = std::fs::read_to_string(&log).expect("a log").matches("pauses until that is over").count();
    assert!((1..=2).contains(&told), "told {told} times");
    broker.start_again(1);
    pipeline.end(child, 3 * lab::PATIENCE);
    pipeline.check("a broker that was away");
    pipeline.replay("a broker that was away");
}
