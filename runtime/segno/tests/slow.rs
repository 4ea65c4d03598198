//! A table that takes hardly anything.

use postgres::{Client, NoTls};
use segno_conformance::slow::{RECORDS, Slow, a_sink_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory};
use segno_proxy::tcp::TcpProxy;

const EPOCH_RECORDS: usize = 300;

#[test]
fn a_table_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory() {
    let url = std::env::var("SEGNO_TEST_POSTGRES").expect("SEGNO_TEST_POSTGRES is not set: run the tests with `make test`, which starts a server");
    let schema = format!("segno_{:016x}", rand::random::<u64>());
    let mut client = Client::connect(&url, NoTls).expect("the server of the tests");
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).expect("a schema");
    let address = url.split('@').next_back().and_then(|rest| rest.split('/').next()).expect("host and port");
    let proxy = TcpProxy::start(address).expect("a proxy");
    let slow_url = url.replace(address, &proxy.address().to_string());
    let sink = format!("postgres: {{ url: \"{slow_url}\", table: {schema}.slow, create_table: true }}");
    let slow = Slow { proxy: &proxy, sink, epoch_records: EPOCH_RECORDS };
    a_sink_that_takes_a_kilobyte_a_second_pauses_the_source_and_costs_no_memory(&slow);
    let query = format!("SELECT count(*), count(DISTINCT id), min(id)::bigint, max(id)::bigint FROM {schema}.slow");
    let row = client.query_one(&query, &[]).expect("rows");
    let found: [i64; 4] = std::array::from_fn(|column| row.get(column));
    assert_eq!(found, [RECORDS as i64, RECORDS as i64, 0, RECORDS as i64 - 1]);
}
