//! Dead letters in a topic, read back.
//!
//! Owns: what the headers of a dead letter say (`records` writes them). Does not own: which letters somebody wants.
//!
//! Invariants: letters of committed epochs only, each once, in the order of the topic's partitions. What a topic holds beside them,
//! letters of other pipelines among it, is passed over.

use crate::client::{ConsumerClient, REQUEST_TIMEOUT, serve, settings};
use crate::queue::{BATCH, Fetched, Message, PartitionQueue};
use crate::records::{EPOCH, ORIGIN, TENANT, TRUNCATED};
use crate::topics;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::Result;
use serde_json::{Value, json};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one wait for records lasts.
const READ_WAIT: Duration = Duration::from_millis(100);
/// How long a partition may give nothing before its end: longer than a broker's election.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes that are fetched ahead of the reader, in KiB: all partitions of a topic share it one after the other.
const FETCHED_AHEAD_KIB: &str = "4096";

/// Hands over the letters of a pipeline until `visit` says false: the fields of `segno_core::sink::dead_letter_schema`, the
/// `epoch`, and the `shard`, where it has a number.
pub fn letters(spec: &KafkaSinkSpec, tenant: &str, pipeline: &str, visit: &mut dyn FnMut(Value) -> bool) -> Result<()> {
    let mut config = settings(&spec.connection);
    config
        .set("group.id", "segno-letters")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", FETCHED_AHEAD_KIB);
    let consumer = ConsumerClient::open(&config, &spec.connection).map(Arc::new)?;
    let found = topics::describe(consumer.client(), std::slice::from_ref(&spec.topic), || serve(&consumer))?;
    for partition in 0..found.first().map_or(0, |topic| topic.partitions) {
        let mut going_on = true;
        read(&consumer, &spec.topic, partition, |message| {
            if let Some(letter) = letter(message, tenant, pipeline) {
                going_on = visit(letter);
            }
            going_on
        })?;
        if !going_on {
            break;
        }
    }
    Ok(())
}

/// Reads a partition to the end of what is committed.
fn read(
    consumer: &Arc<ConsumerClient>,
    topic: &str,
    partition: u32,
    mut each: impl FnMut(&Message<'_>) -> bool,
) -> Result<()> {
    let failed = |code: RDKafkaErrorCode| {
        serve(consumer);
        consumer.context().error(code, &format!("the dead letters in {topic}/{partition} cannot be read"))
    };
    let watermarks = consumer.fetch_watermarks(topic, partition as i32, REQUEST_TIMEOUT);
    let (low, high) = watermarks.map_err(|error| failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)))?;
    if low >= high {
        return Ok(());
    }
    let mut queue = PartitionQueue::assign(consumer, topic, partition, low.max(0) as u64)?;
    let (mut going_on, mut error) = (true, None);
    let mut last = Instant::now();
    while going_on {
        let taken = queue.take(BATCH, READ_WAIT, |fetched| match fetched {
            Fetched::Message(message) => going_on = going_on && (message.offset() as i64) < high && each(&message),
            Fetched::End(_) => going_on = false,
            Fetched::Failed(code) => drop(error.get_or_insert(code)),
        });
        queue.serve();
        if let Some(code) = error {
            return Err(failed(code));
        }
        if taken > 0 {
            last = Instant::now();
        } else if last.elapsed() > SILENCE_MAX {
            return Err(failed(RDKafkaErrorCode::OperationTimedOut));
        }
    }
    Ok(())
}

/// `None`: no dead letter, or that of another pipeline.
fn letter(message: &Message<'_>, tenant: &str, pipeline: &str) -> Option<Value> {
    let text = |name: &str| {
        let value = message.header(&CString::new(name).ok()?)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    if text("__connect.errors.connector.name")? != pipeline || text(TENANT).is_some_and(|other| other != tenant) {
        return None;
    }
    let code = text("segno-code")?;
    let epoch: u64 = text(EPOCH)?.parse().ok()?;
    let source = text("segno-source")?;
    let origin = text(ORIGIN)?;
    let (place, _index) = origin.strip_prefix(&source)?.strip_prefix('/')?.rsplit_once('/')?;
    let (partition, offset) = place.rsplit_once('/')?;
    let bytes = message.value().unwrap_or_default();
    let value = std::str::from_utf8(bytes).ok();
    let mut letter = json!({
        "source": source,
        "partition": partition,
        "offset": offset.parse::<u64>().ok()?,
        "time": null,
        "step": text("segno-step"),
        "code": code,
        "reason": text("__connect.errors.exception.message"),
        "component": text("segno-component"),
        "value": value,
        "value_base64": value.is_none().then(|| BASE64.encode(bytes)),
        "truncated": text(TRUNCATED).is_some(),
        "epoch": epoch,
    });
    if let Some(shard) = text("__connect.errors.task.id").and_then(|shard| shard.parse::<u32>().ok()) {
        letter["shard"] = json!(shard);
    }
    Some(letter)
}
