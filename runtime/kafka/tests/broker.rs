//! A broker that goes away in the middle, and comes back.

use crate::lab;
use segno_core::sink::Sink;
use segno_core::source::*;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker of this test's own, since its end would disturb the others.
struct Broker {
    folder: tempfile::TempDir,
}

fn script() -> PathBuf {
    Path::new(".").join("../../scripts/servers/servers.py")
}

impl Broker {
    fn new() -> Broker {
        let broker = Broker { folder: tempfile::tempdir().expect("a folder") };
        broker.call("up", &["--kafka", "1"]);
        broker
    }

    fn call(&self, verb: &str, arguments: &[&str]) {
        let output = Command::new(script()).arg(verb).arg(self.folder.path()).args(arguments).output().expect("servers.py");
        assert!(output.status.success(), "servers.py {verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn address(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("servers.json")).expect("servers.json");
        let found = text.split("127.0.0.1:").nth(1).expect("an address");
        let port: String = found.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.call("down", &[]);
    }
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing() {
    let broker = Broker::new();
    lab::use_brokers(broker.address());
    let (input, output, pipeline) = (lab::topic("in", 1, &[]), lab::topic("out", 2, &[]), lab::name("p"));
    let written = |ids: std::ops::Range<u64>| lab::values(&input, 0, ids.map(|id| format!("{{\"id\":{id}}}")));
    written(0..500);
    let source = segno_kafka::KafkaSource::open(&lab::spec(&[&input])).unwrap();
    let plan = ReadPlan::default();
    let mut reader = source.open(0, 0, None, &plan).unwrap();
    let mut given = lab::drain(&mut *reader, 0, lab::LARGE, 500).good;
    let mut sink = crate::sink::started(&output, &pipeline);
    sink.publish(&crate::sink::rows(0..100).at(1), &[]).unwrap();

    broker.call("stop", &["kafka:1", "--kill"]);
    assert!(matches!(reader.next(lab::LARGE), Ok(Next::Waiting)), "a broker that is away is waited for");
    broker.call("start", &["kafka:1"]);
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
            broker.call("stop", &["kafka:1", "--kill"]);
            broker.call("start", &["kafka:1"]);
        });
        let started = std::time::Instant::now();
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
