//! Reading one partition into chunks.
//!
//! Owns: the position, which runs over control records and gaps; where a partition ends for now.
//! Does not own: the queue (`queue`), decoding (`segno_input::format::messages`).
//!
//! Invariants: a chunk starts where the one before it ended, so every offset lies in one chunk or in none that holds a
//! record. Offsets are never reset: what is gone is an error.

use crate::client::REQUEST_TIMEOUT;
use crate::queue::{BATCH, Fetched, PartitionQueue};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use segno_core::source::{Next, PartitionReader, ReadLimit};
use segno_core::{Code, Error, Result};
use segno_input::format::messages::Messages;
use std::ffi::CString;
use std::time::{Duration, Instant};

/// How long a partition that is not at its end is waited for. Short, since other partitions share the thread.
const FETCH_WAIT: Duration = Duration::from_millis(5);

/// How long a partition that is not at its end may give nothing: a broker that answers gives records, or the end. Longer
/// than a broker's restart, shorter than an operator's patience with a replay that waits for nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Reader {
    pub topic: String,
    pub partition: u32,
    /// Its number in the source.
    pub number: u32,
    pub queue: PartitionQueue,
    pub messages: Messages,
    pub headers: Vec<CString>,
    /// The next offset.
    pub position: u64,
    /// Nothing from here on is read.
    pub end: Option<u64>,
    /// All there is was given.
    pub at_end: bool,
    /// Since when it is not at its end and gives nothing.
    pub silent_since: Option<Instant>,
}

impl Reader {
    /// Takes what is there, up to a limit.
    fn fill(&mut self, limit: ReadLimit) -> Result<()> {
        let Reader { queue, messages, headers, position, end, at_end, .. } = self;
        let end = end.unwrap_or(u64::MAX);
        let beside = messages.wants().is_some();
        let mut failed = None;
        let mut wait = if *at_end { Duration::ZERO } else { FETCH_WAIT };
        while messages.records() < limit.rows && messages.bytes() < limit.bytes && failed.is_none() && *position < end {
            let mut ended = false;
            let taken = queue.take((limit.rows - messages.records()).min(BATCH), wait, |fetched| match fetched {
                Fetched::Message(message) => {
                    let offset = message.offset();
                    *at_end = false;
                    if offset >= end {
                        *position = end;
                    } else if offset >= *position {
                        *position = offset + 1;
                        messages.push(offset, message.value());
                        if beside {
                            let headers = headers.iter().map(|name| message.header(name));
                            messages.push_beside(message.timestamp(), message.key(), headers);
                        }
                    }
                }
                Fetched::End(offset) => {
                    *position = offset.clamp(*position, end.max(*position));
                    (*at_end, ended) = (true, true);
                }
                Fetched::Failed(code) => drop(failed.get_or_insert(code)),
            });
            if taken == 0 || ended {
                break;
            }
            wait = Duration::ZERO;
        }
        match failed {
            Some(code) => self.failed(code),
            None => Ok(()),
        }
    }

    fn failed(&self, code: RDKafkaErrorCode) -> Result<()> {
        let Reader { topic, partition, position, .. } = self;
        self.queue.serve();
        let consumer = self.queue.consumer();
        match code {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                let error = match consumer.fetch_watermarks(topic, *partition as i32, REQUEST_TIMEOUT) {
                    Ok((low, high)) if (low as u64) > *position => Error::new(
                        Code::OffsetsGone,
                        format!("offsets {position} to {} of {topic}/{partition} are gone; {low} to {high} remain", low - 1),
                    ),
                    Ok((low, high)) => Error::new(
                        Code::OffsetsGone,
                        format!("{topic}/{partition} ends at offset {high} (and begins at {low}), but was read up to {position}"),
                    ),
                    Err(error) => Error::new(Code::OffsetsGone, format!("offset {position} of {topic}/{partition} is gone"))
                        .with_cause(error),
                };
                Err(error.with_help("nothing is skipped silently. `segno run --accept-data-loss` goes on at the first offset that is left, and records what was lost; a replay can begin at a checkpoint behind it: --from NUMBER"))
            }
            // Connections come back by themselves; a client whose brokers are all away is found at the next start.
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::OperationTimedOut => {
                Ok(())
            }
            code => Err(consumer.context().error(code, &format!("{topic}/{partition} cannot be read at offset {position}"))),
        }
    }
}

impl PartitionReader for Reader {
    fn next(&mut self, limit: ReadLimit) -> Result<Next> {
        let start = self.position;
        if self.end.is_some_and(|end| start >= end) {
            return Ok(Next::End);
        }
        self.fill(limit)?;
        if self.position > start {
            self.silent_since = None;
            return Ok(Next::Chunk(self.messages.finish(self.number, start, self.position)?));
        }
        self.queue.serve();
        if self.at_end {
            self.silent_since = None;
        } else if self.silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE_MAX {
            let what = format!("{}/{} gives nothing at offset {start}, and is not at its end", self.topic, self.partition);
            return Err(self.queue.consumer().context().error(RDKafkaErrorCode::OperationTimedOut, &what));
        }
        Ok(Next::Waiting)
    }
}
