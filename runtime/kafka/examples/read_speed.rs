//! How fast a topic becomes columns: `read_speed BROKERS TOPIC RECORDS` fills the topic when it is empty, then reads it.

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use segno_core::columns::{Column, ColumnType};
use segno_core::source::*;
use segno_kafka::KafkaSource;
use std::time::{Duration, Instant};

/// Time that all threads of this process spent on a core.
fn core_seconds() -> f64 {
    // Fields 14 and 15 of the line: ticks of 10 ms in user and in system mode.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(") ").next().unwrap_or_default().split(' ').map(|n| n.parse().unwrap_or(0.0)).collect();
    fields.get(11..13).map_or(0.0, |ticks| ticks.iter().sum::<f64>() / 100.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, records] = arguments.as_slice() else { return Err("read_speed BROKERS TOPIC RECORDS".into()) };
    let records: u64 = records.parse()?;
    let connection = KafkaConnection { brokers: brokers.clone(), settings: Default::default() };
    let spec = KafkaSpec {
        name: "speed".to_owned(),
        topics: vec![topic.clone()],
        format: FormatSpec::Json,
        record_bytes_max: LINE_BYTES_MAX,
        columns: Vec::new(),
        connection,
        start: KafkaStart::Earliest,
        group: None,
        until_latest: true,
        trim_after: None,
        partitioner: Partitioner::default(),
        check_keys: false,
    };
    let mut source = KafkaSource::open(&spec)?;
    let open = |source: &KafkaSource| -> Result<Box<dyn PartitionReader>, segno_core::Error> {
        let columns = [("id", ColumnType::I64), ("key", ColumnType::Utf8), ("price", ColumnType::I64)];
        let columns = columns.iter().map(|(name, ty)| Column::new(*name, *ty, true)).collect();
        source.open(0, source.first_offset(0, false)?, None, &ReadPlan { columns, time: None })
    };
    let limit = ReadLimit { rows: 16_384, bytes: 4 << 20 };
    if matches!(open(&source)?.next(limit)?, Next::End) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "50").create()?;
        for id in 0..records {
            let value = format!("{{\"id\":{id},\"key\":\"k{}\",\"price\":{},\"at\":{},\"note\":\"{:032}\"}}", id % 977, id % 500, id * 10, id);
            let mut record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(0).payload(&value);
            while let Err((_, again)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = again;
            }
        }
        producer.flush(Duration::from_secs(60))?;
        source = KafkaSource::open(&spec)?;
    }
    let mut reader = open(&source)?;
    let (started, core) = (Instant::now(), core_seconds());
    let (mut rows, mut bytes, mut decoding) = (0, 0, 0);
    loop {
        match reader.next(limit)? {
            Next::Chunk(chunk) => {
                rows += chunk.offsets.len();
                bytes += chunk.raw.map_or(0, |raw| raw.bytes.len());
                decoding += 1;
            }
            Next::Waiting => {}
            Next::End => break,
        }
    }
    let (seconds, core) = (started.elapsed().as_secs_f64(), core_seconds() - core);
    println!(
        "{rows} records of {} bytes in {decoding} chunks: {:.2} µs of core each, {:.0} records/s",
        bytes / rows.max(1),
        core * 1e6 / rows.max(1) as f64,
        rows as f64 / seconds
    );
    Ok(())
}
