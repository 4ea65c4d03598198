//! The load of the Kafka benches: records of 100 bytes into a topic, and what is committed in another one.
//!
//! - `load fill BROKERS TOPIC RECORDS`
//! - `load count BROKERS TOPIC` prints how many records are committed
//! - `load latency BROKERS INPUT OUTPUT RATE SECONDS` writes so many records a second, and prints the milliseconds from writing a record
//!   to reading it committed from OUTPUT: of half of them, of 99 %, and of the slowest. The first fifth warms up and is left out
//!
//! Native: a virtual machine would take the cores of what is measured, and its pauses would be told as those of the pipeline.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::error::Error;
use std::time::{Duration, Instant};

const BYTES: usize = 100;
const PARTITIONS: i32 = 4;
/// Records are written in ticks of this length.
const TICK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
const USAGE: &str = "load fill BROKERS TOPIC RECORDS | count BROKERS TOPIC | latency BROKERS INPUT OUTPUT RATE SECONDS";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", brokers, topic, records] => fill(brokers, topic, records.parse()?),
        ["count", brokers, topic] => {
            println!("{}", count(brokers, topic)?);
            Ok(())
        }
        ["latency", brokers, input, output, rate, seconds] => latency(brokers, (input, output), rate.parse()?, seconds.parse()?),
        _ => Err(USAGE.into()),
    }
}

fn client<T: rdkafka::config::FromClientConfig>(settings: &[(&str, &str)]) -> Result<T, Box<dyn Error>> {
    let config: ClientConfig = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(config.create()?)
}

fn producer(brokers: &str) -> Result<BaseProducer, Box<dyn Error>> {
    client(&[("bootstrap.servers", brokers), ("acks", "all"), ("linger.ms", "5"), ("delivery.report.only.error", "true")])
}

/// A wait for as long as this in `poll` would be a busy one: it asks for whole milliseconds.
fn wait(producer: &BaseProducer) {
    producer.poll(Duration::ZERO);
    std::thread::sleep(TICK);
}

/// Writes a record with its number and a time; printable, since one format reads lines of text.
fn write(producer: &BaseProducer, topic: &str, number: u64, nanoseconds: u128) -> Result<(), Box<dyn Error>> {
    let value = format!("{:x<BYTES$}", format_args!("{number:020} {nanoseconds:020} ").to_string());
    let mut record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition((number % PARTITIONS as u64) as i32).payload(&value);
    while let Err((error, again)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        wait(producer);
        record = again;
    }
    Ok(())
}

fn fill(brokers: &str, topic: &str, records: u64) -> Result<(), Box<dyn Error>> {
    let producer = producer(brokers)?;
    for number in 0..records {
        write(&producer, topic, number, 0)?;
    }
    Ok(producer.flush(PATIENCE)?)
}

/// A consumer of all that is committed in a topic, from its beginning.
fn consumer(brokers: &str, topic: &str) -> Result<BaseConsumer, Box<dyn Error>> {
    let committed = [("isolation.level", "read_committed"), ("enable.auto.commit", "false"), ("enable.partition.eof", "true")];
    let consumer: BaseConsumer = client(&[&[("bootstrap.servers", brokers), ("group.id", "load")], &committed[..]].concat())?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

fn count(brokers: &str, topic: &str) -> Result<u64, Box<dyn Error>> {
    let consumer = consumer(brokers, topic)?;
    let (mut records, mut ended) = (0, 0);
    while ended < PARTITIONS {
        match consumer.poll(PATIENCE).ok_or("the broker does not answer")? {
            Ok(_) => records += 1,
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}

fn latency(brokers: &str, (input, output): (&str, &str), rate: u64, seconds: u64) -> Result<(), Box<dyn Error>> {
    let (producer, consumer) = (producer(brokers)?, consumer(brokers, output)?);
    let (started, records) = (Instant::now(), rate * seconds);
    let reader = std::thread::spawn(move || read(&consumer, started, records).map_err(|error| error.to_string()));
    let mut written = 0;
    while written < records && !reader.is_finished() {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        for number in written..due.min(records) {
            write(&producer, input, number, started.elapsed().as_nanos())?;
        }
        written = due.min(records);
        wait(&producer);
    }
    producer.flush(PATIENCE)?;
    let mut took = reader.join().map_err(|_| "the reader panicked")??;
    let kept = &mut took[records as usize / 5..];
    kept.sort_unstable();
    let at = |share: f64| kept[((kept.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!("{:.1} {:.1} {:.1}", at(0.5), at(0.99), at(1.0));
    Ok(())
}

/// Nanoseconds that each record took, in the order in which they are read.
fn read(consumer: &BaseConsumer, started: Instant, records: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut took = Vec::with_capacity(records as usize);
    while (took.len() as u64) < records {
        match consumer.poll(PATIENCE).ok_or("no record came for a minute")? {
            Ok(message) => {
                let written = message.payload().and_then(|value| value.get(21..41)).ok_or("a record of somebody else")?;
                let written: u64 = std::str::from_utf8(written)?.parse()?;
                took.push(started.elapsed().as_nanos() as u64 - written);
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(took)
}
