//! The queue of one partition, emptied many messages at a time.
//!
//! Owns: the calls for which `rdkafka` has no safe way: a batch of messages, and the offset at which a partition ends.
//! Does not own: what a message means (`reader`, `marks`).
//!
//! Invariants: a client assigns a partition once, so its queue never holds messages of an earlier assignment. What was
//! fetched is given in order.

use crate::client::{self, ConsumerClient, Context, wrong_setting};
use rdkafka::bindings::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use segno_core::{Code, Error, Result};
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;

/// Messages of one call: enough that the call costs nothing per message.
pub(crate) const BATCH: usize = 1_024;

pub(crate) enum Fetched<'a> {
    Message(Message<'a>),
    /// The partition ends at this offset, for now. Control records may stand before it.
    End(u64),
    Failed(RDKafkaErrorCode),
}

pub(crate) struct Message<'a>(&'a rd_kafka_message_t);

pub(crate) struct PartitionQueue {
    queue: *mut rd_kafka_queue_t,
    batch: Vec<*mut rd_kafka_message_t>,
    consumer: Arc<ConsumerClient>,
}

// SAFETY: librdkafka's queues may be used by any thread; the batch is empty between calls.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Assigns a partition from `offset` on, in addition to what the consumer has.
    pub fn assign(consumer: &Arc<ConsumerClient>, topic: &str, partition: u32, offset: u64) -> Result<PartitionQueue> {
        let name = CString::new(topic).map_err(|_| Error::new(Code::Internal, "the name of a topic holds a zero"))?;
        // SAFETY: the consumer lives as long as the queue, which holds it.
        let queue = unsafe {
            let queue = rd_kafka_queue_get_partition(consumer.client().native_ptr(), name.as_ptr(), partition as i32);
            if queue.is_null() {
                return Err(Error::new(Code::Internal, format!("{topic}/{partition} has no queue")));
            }
            // Kept apart from the client's own queue, before anything is fetched.
            rd_kafka_queue_forward(queue, null_mut());
            queue
        };
        let queue = PartitionQueue { queue, batch: Vec::with_capacity(BATCH), consumer: Arc::clone(consumer) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition as i32, Offset::Offset(offset as i64)).map_err(|error| wrong_setting(&error))?;
        consumer.incremental_assign(&list).map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            consumer.context().error(code, &format!("{topic}/{partition} cannot be assigned"))
        })?;
        Ok(queue)
    }

    /// Gives what is there, at most `max`; waits for the first of it. Returns how much it was.
    pub fn take(&mut self, max: usize, wait: Duration, mut each: impl FnMut(Fetched<'_>)) -> usize {
        let mut taken = 0;
        if !wait.is_zero() {
            // A batch would be waited for until it is full.
            taken = self.batch(1, wait, &mut each);
            if taken == 0 {
                return 0;
            }
        }
        taken + self.batch(max.saturating_sub(taken).min(BATCH), Duration::ZERO, &mut each)
    }

    fn batch(&mut self, max: usize, wait: Duration, each: &mut impl FnMut(Fetched<'_>)) -> usize {
        // SAFETY: the memory has room for `max`, and the first `count` are messages that are ours to destroy.
        unsafe {
            let messages = self.batch.as_mut_ptr();
            let count = rd_kafka_consume_batch_queue(self.queue, wait.as_millis() as i32, messages, max.min(BATCH));
            for number in 0..usize::try_from(count).unwrap_or(0) {
                let message = *messages.add(number);
                each(match (*message).err {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Fetched::Message(Message(&*message)),
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Fetched::End((*message).offset.max(0) as u64),
                    error => Fetched::Failed(error.into()),
                });
                rd_kafka_message_destroy(message);
            }
            usize::try_from(count).unwrap_or(0)
        }
    }

    /// Where the partition ended when the broker last answered; the request itself is not waited for.
    pub fn known_end(consumer: &BaseConsumer<Context>, topic: &str, partition: u32) -> Option<u64> {
        let name = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client lives, and both numbers outlive the call.
        let error = unsafe {
            let client = consumer.client().native_ptr();
            rd_kafka_get_watermark_offsets(client, name.as_ptr(), partition as i32, &mut low, &mut high)
        };
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { u64::try_from(high).ok() } else { None }
    }

    /// Serves logs and errors of the whole client.
    pub fn serve(&self) {
        client::serve(&self.consumer);
    }

    pub fn consumer(&self) -> &Arc<ConsumerClient> {
        &self.consumer
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, and the consumer still lives.
        unsafe { rd_kafka_queue_destroy(self.queue) }
    }
}

impl<'a> Message<'a> {
    pub fn offset(&self) -> u64 {
        self.0.offset.max(0) as u64
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives pointer and length of memory that lives as long as the message.
        (!self.0.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.0.payload.cast(), self.0.len) })
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: as above.
        (!self.0.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.0.key.cast(), self.0.key_len) })
    }

    /// ms since 1970 UTC.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let timestamp = unsafe { rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0).then_some(timestamp)
    }

    /// The last header of a name.
    pub fn header(&self, name: &CStr) -> Option<&'a [u8]> {
        let (mut headers, mut value, mut size) = (null_mut(), null(), 0);
        // SAFETY: the message lives, and its headers with it.
        unsafe {
            let message = std::ptr::from_ref(self.0);
            let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            if rd_kafka_message_headers(message, &mut headers) != none
                || rd_kafka_header_get_last(headers, name.as_ptr(), &mut value, &mut size) != none
                || value.is_null()
            {
                return None;
            }
            Some(std::slice::from_raw_parts(value.cast(), size))
        }
    }
}
