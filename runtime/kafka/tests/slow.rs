//! A topic that takes hardly anything.

use crate::lab::*;
use crate::servers::Brokers;
use segno_conformance::slow::{RECORDS, Slow, a_sink_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory};
use segno_proxy::tcp::TcpProxy;
use std::collections::BTreeMap;

/// With their keys and headers some 10 kB, which a request of that size brings over in its time.
const EPOCH_RECORDS: usize = 100;

#[test]
fn a_topic_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory() {
    // What its listener for proxies advertises is the proxy: no way leads around it.
    let broker = Brokers::start(1);
    let known = broker.known().kafka;
    use_brokers(known.bootstrap.clone());
    let topic = topic("slow", 1, &[]);
    let ports = &known.brokers[0];
    let listen = ([127, 0, 0, 1], ports.proxy_port).into();
    let proxy = TcpProxy::start_at(listen, &format!("127.0.0.1:{}", ports.proxied_port)).expect("a proxy");
    let sink = format!("kafka: {{ brokers: \"{}\", topic: {topic}, key: key }}", proxy.address());
    let slow = Slow { proxy: &proxy, sink, epoch_records: EPOCH_RECORDS };
    a_sink_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory(&slow);
    let mut by_key: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    for record in read(&topic) {
        let row: serde_json::Value = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
        by_key.entry(record.key).or_default().push(row["id"].as_u64().expect("an id") as usize);
    }
    assert!(by_key.values().all(|ids| ids.is_sorted()), "a key's records are in order");
    let mut ids: Vec<usize> = by_key.into_values().flatten().collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..RECORDS).collect::<Vec<_>>());
}
