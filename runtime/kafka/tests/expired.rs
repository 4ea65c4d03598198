//! A broker that is reached, and so slowly that an epoch takes longer than its transaction may last.

use crate::lab::*;
use crate::servers::Brokers;
use crate::sink::{ids, owner, rows, spec};
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::Sink;
use segno_core::{Code, Kind};
use segno_kafka::KafkaSink;
use segno_proxy::tcp::{Faults, TcpProxy};
use std::time::Duration;

/// The shortest that a pipeline file may say is a second.
const TRANSACTION: Duration = Duration::from_secs(2);

/// Bytes a second: an epoch here has some hundred thousand.
const SLOW: u64 = 20_000;

const ROWS: i64 = 8_000;

#[test]
fn an_epoch_that_is_slower_than_its_transaction_leaves_nothing_and_is_written_again() {
    let brokers = Brokers::start(1);
    let known = brokers.known().kafka;
    let ports = &known.brokers[0];
    use_brokers(known.bootstrap.clone());
    let (topic, pipeline) = (topic("slow", 2, &[]), name("p"));
    let listen = ([127, 0, 0, 1], ports.proxy_port).into();
    let proxy = TcpProxy::start_at(listen, &format!("127.0.0.1:{}", ports.proxied_port)).expect("a proxy");
    let mut slow = KafkaSinkSpec { transaction_timeout: TRANSACTION, ..spec(&topic) };
    slow.connection.brokers = proxy.address().to_string();
    let mut sink = KafkaSink::open("out", &slow).expect("a sink");
    sink.take_over(&owner(&pipeline, 1)).expect("taken over");
    sink.start_after(0).expect("started");
    sink.publish(&rows(0..10).at(1), &[]).expect("published");

    // It stays slow: every attempt takes too long.
    let crawl = Faults { bandwidth: Some(SLOW), ..Faults::default() };
    proxy.set(crawl);
    let error = sink.publish(&rows(10..ROWS).at(2), &[]).expect_err("an epoch that takes too long");
    assert_eq!((error.code(), error.kind()), (Code::TransactionExpired, Kind::Transient), "{error:?}");
    assert!(error.help().is_some_and(|help| help.contains("transaction_timeout")), "{error:?}");
    assert_eq!(ids(&topic), (0..10).collect::<Vec<_>>());
    proxy.heal();
    sink.publish(&rows(10..ROWS).at(2), &[]).expect("published, as fast as it was");

    // It becomes well when the broker gave the transaction up and the next attempt begins.
    proxy.set(crawl);
    let connections = proxy.seen().connections;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(proxy.wait(PATIENCE, |seen| seen.connections > connections), "no second attempt");
            proxy.heal();
        });
        sink.publish(&rows(ROWS..2 * ROWS).at(3), &[]).expect("published by a later attempt");
    });
    assert_eq!(ids(&topic), (0..2 * ROWS).collect::<Vec<_>>());
}
