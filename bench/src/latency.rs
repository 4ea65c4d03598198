//! From writing a record to a topic to reading it committed from another, while something copies it there.
//!
//! Owns: the load, the reader, the distribution. Does not own: who copies (bench/kafka/run.py).
//!
//! Writer and reader are one process, so that both have the same clock; a record carries the time at which it was due, and one
//! that was written late counts as late.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::error::Error;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 4;
const BYTES: usize = 100;
/// Digits of a time in nanoseconds, at the beginning of each record.
const DIGITS: usize = 20;
/// How long the reader waits for a record that is missing.
const PATIENCE: Duration = Duration::from_secs(60);
/// The writer sleeps where it is further ahead than this.
const AHEAD: Duration = Duration::from_micros(500);

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, env = "SEGNO_TEST_KAFKA")]
    brokers: String,
    /// Where records are written: a topic of four partitions.
    #[arg(long)]
    input: String,
    /// Where they are copied to.
    #[arg(long)]
    output: String,
    /// Records per second.
    #[arg(long)]
    rate: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds before, which do not: virtual machines compile what they run.
    #[arg(long, default_value_t = 20)]
    warm_up: u64,
}

/// Prints milliseconds of half, 99 % and all of the records.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let records = args.rate * (args.warm_up + args.seconds);
    let start = Instant::now();
    let mut late = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(args, start, records).map_err(|error| error.to_string()));
        write(args, start, records)?;
        reader.join().map_err(|_| "the reader panicked")?.map_err(Box::<dyn Error>::from)
    })?;
    let counted = &mut late[(args.rate * args.warm_up) as usize..];
    counted.sort_unstable();
    let share = |share: f64| counted[((counted.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    println!("{:.1} {:.1} {:.1}", share(0.5), share(0.99), share(1.0));
    Ok(())
}

fn write(args: &Args, start: Instant, records: u64) -> Result<(), Box<dyn Error>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &args.brokers)
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let mut value = [b'x'; BYTES];
    for number in 0..records {
        let due = Duration::from_nanos(number * 1_000_000_000 / args.rate);
        while start.elapsed() + AHEAD < due {
            producer.poll(Duration::ZERO);
            std::thread::sleep((due - start.elapsed()).min(AHEAD));
        }
        digits(&mut value[..DIGITS], due.as_nanos() as u64);
        let partition = (number % PARTITIONS as u64) as i32;
        let mut record = BaseRecord::<(), [u8]>::to(&args.input).partition(partition).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// How late each record was read, in nanoseconds, in the order in which they came.
fn read(args: &Args, start: Instant, records: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.brokers)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(&args.output, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut late = Vec::with_capacity(records as usize);
    while (late.len() as u64) < records {
        let missing = || format!("{} of {records} records came through", late.len());
        let message = consumer.poll(PATIENCE).ok_or_else(missing)??;
        let value = message.payload().and_then(|value| value.get(..DIGITS)).ok_or("a record without a time")?;
        let due: u64 = std::str::from_utf8(value)?.parse()?;
        late.push((start.elapsed().as_nanos() as u64).saturating_sub(due));
    }
    Ok(late)
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
