//! Removing rows of a repartition topic that nobody asks for any more.
//!
//! Owns: what goes. Does not own: what is needed (`segno-durable` says it, when it has collected checkpoints).
//!
//! Invariants: nothing goes at or behind an offset that is needed. Only a topic that has the broker's times is trimmed, which
//! Segno's own has: by the times of events nobody can tell how long a row has been there.

use crate::client::{ConsumerClient, Context, REQUEST_TIMEOUT, settings, wrong_setting};
use crate::source::offset_at;
use crate::stage::BROKERS_TIME;
use crate::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use segno_core::source::KafkaConnection;
use segno_core::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A partition, and the first offset of it that is needed.
pub(crate) struct Needed {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

/// What is removed at a time; another one that comes meanwhile is left to the next.
#[derive(Default)]
pub(crate) struct Trim {
    at_work: Arc<AtomicBool>,
}

impl Trim {
    /// Removes, in the background, what is older than `retention` and before what is needed. What cannot be removed stays for the next time.
    pub fn start(&self, connection: &KafkaConnection, consumer: &Arc<ConsumerClient>, retention: Duration, needed: Vec<Needed>) {
        if self.at_work.swap(true, Ordering::AcqRel) {
            return;
        }
        let (at_work, connection, consumer) = (Arc::clone(&self.at_work), connection.clone(), Arc::clone(consumer));
        let work = move || {
            if let Err(error) = trim(&connection, &consumer, retention, &needed) {
                tracing::warn!(code = error.code().name(), "{error}; its old rows stay for now");
            }
            drop(consumer);
            at_work.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("trim".to_owned()).spawn(work).is_err() {
            self.at_work.store(false, Ordering::Release);
        }
    }
}

fn trim(connection: &KafkaConnection, consumer: &ConsumerClient, retention: Duration, needed: &[Needed]) -> Result<()> {
    let admin: AdminClient<Context> =
        settings(connection).create_with_context(Context::new(connection)).map_err(|error| wrong_setting(&error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let young_ms = now.saturating_sub(retention).as_millis() as i64;
    let mut going = TopicPartitionList::new();
    for Needed { topic, partition, offset } in needed {
        if topics::setting(&admin, topic, BROKERS_TIME.0)?.as_deref() != Some(BROKERS_TIME.1) {
            tracing::debug!("{topic} has no {}={}: it is not trimmed", BROKERS_TIME.0, BROKERS_TIME.1);
            continue;
        }
        let before = (*offset).min(offset_at(consumer, topic, *partition, young_ms)?);
        let failed = |error: KafkaError| failed(&admin, topic, &error);
        going.add_partition_offset(topic, *partition as i32, Offset::Offset(before as i64)).map_err(failed)?;
    }
    if going.count() == 0 {
        return Ok(());
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let topic = &needed[0].topic;
    let done = pollster::block_on(admin.delete_records(&going, &options)).map_err(|error| failed(&admin, topic, &error))?;
    for one in done.elements() {
        one.error().map_err(|error| failed(&admin, one.topic(), &error))?;
    }
    Ok(())
}

fn failed(admin: &AdminClient<Context>, topic: &str, error: &KafkaError) -> Error {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
    admin.inner().context().error(code, &format!("rows of {topic} that no checkpoint needs cannot be deleted (it takes the right Delete)"))
}
