//! One transactional producer: an epoch's rows between the marks of its begin and end, all or nothing.
//!
//! Owns: the producer's life and its transactions. Does not own: what is sent (`records`), what a mark says (`marks`),
//! when a producer must be made anew (`sink`).
//!
//! Invariant: making a producer fences every older one of the same id, and ends its transaction.

use crate::client::{Context, EVENTS, settings, wrong_setting};
use crate::marks::{Edge, MARKS, Mark, Place};
use crate::records::{ORIGIN, Records};
use rdkafka::bindings::rd_kafka_flush;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaRespErr;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::Ownership;
use segno_core::{Code, Error, Result};
use std::time::{Duration, Instant};

/// How long fencing may take: a coordinator that ends an older transaction answers within seconds.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long giving a transaction up may take. Where it does not succeed, the next producer does it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one wait for deliveries or for room lasts before events are handled: some batches are delivered meanwhile, and
/// of refused records only an event tells.
const WAIT: Duration = Duration::from_millis(10);
/// Bytes that wait in the producer, in KiB: some batches for each broker.
const QUEUED_KIB: &str = "65536";
/// Records that wait in the producer: as many as `QUEUED_KIB` allows. The library's own limit is an epoch of 100,000.
const QUEUED_RECORDS: &str = "0";
/// The setting of librdkafka that bounds a row.
pub(crate) const MESSAGE_BYTES: &str = "message.max.bytes";
/// What comes to a row's value, key and headers on its way: 61 bytes of its batch, up to 40 of its own, and the header of
/// its origin with the names of source and topic, up to 64 and 249 bytes.
pub(crate) const ROW_FRAME_BYTES: u64 = 1_024;
/// Bytes of a batch, as librdkafka has it by default.
const BATCH_BYTES: u64 = 1_000_000;
/// The number of a mark among the records of an epoch.
const MARK: usize = usize::MAX;

/// Whether there are transactions: always, but for a bench.
fn is_transactional() -> bool {
    #[cfg(feature = "testing")]
    return !crate::planted::leaves_out_transactions();
    #[cfg(not(feature = "testing"))]
    true
}

pub(crate) struct Producer {
    inner: BaseProducer<Context>,
    is_transactional: bool,
    transaction_timeout: Duration,
}

/// Why an epoch was not written; whether it was is not always known.
pub(crate) struct Failure {
    pub code: RDKafkaErrorCode,
    pub what: String,
    /// The number of the row that was refused.
    pub row: Option<usize>,
}

impl Failure {
    fn new(error: &KafkaError, what: &str) -> Failure {
        Failure { code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), what: what.to_owned(), row: None }
    }
}

impl Producer {
    /// Makes a producer, and fences every older one of its id.
    pub fn take_over(spec: &KafkaSinkSpec, takes: Option<u64>, id: &str) -> Result<Producer> {
        let timeout = spec.transaction_timeout.as_millis().to_string();
        let mut config = settings(&spec.connection);
        if !spec.connection.settings.contains_key("queue.buffering.max.kbytes") {
            config.set("queue.buffering.max.kbytes", QUEUED_KIB);
        }
        if !spec.connection.settings.contains_key("queue.buffering.max.messages") {
            config.set("queue.buffering.max.messages", QUEUED_RECORDS);
        }
        let limit = spec.row_bytes_max.map(|limit| limit + ROW_FRAME_BYTES);
        // Brokers compare whole batches with the topic's limit, and refuse all of one that is larger.
        let batch = takes.map(|takes| takes.min(BATCH_BYTES));
        for (name, value) in [(MESSAGE_BYTES, limit), ("batch.size", batch)] {
            if let Some(value) = value.filter(|_| !spec.connection.settings.contains_key(name)) {
                config.set(name, value.to_string());
            }
        }
        let is_transactional = is_transactional();
        if is_transactional {
            config.set("transactional.id", id).set("transaction.timeout.ms", &timeout);
        }
        let made = config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", &timeout)
            // A commit says that every row was written; a report of each would cost as much as sending it.
            .set("delivery.report.only.error", "true")
            .create_with_context(Context::new(&spec.connection));
        let inner: BaseProducer<Context> = made.map_err(|error| wrong_setting(&error))?;
        let until = Instant::now() + INIT_TIMEOUT;
        while is_transactional {
            let left = until.saturating_duration_since(Instant::now()).max(WAIT);
            let Err(error) = inner.init_transactions(left) else { break };
            inner.poll(Duration::ZERO);
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable || Instant::now() >= until {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                return Err(inner.context().error(code, &format!("the transactional id {id} cannot be taken over")));
            }
        }
        Ok(Producer { inner, is_transactional, transaction_timeout: spec.transaction_timeout })
    }

    /// Whether anything went wrong on the way to the brokers since it was made.
    pub fn is_disturbed(&self) -> bool {
        self.handle_events();
        #[cfg(feature = "testing")]
        if crate::planted::keeps_producer() {
            return false;
        }
        self.inner.context().is_disturbed()
    }

    pub fn context(&self) -> &Context {
        self.inner.context()
    }

    /// Writes an epoch's rows and its mark. After a failure this producer must not be used again.
    pub fn write(&self, topic: &str, records: Option<&Records<'_>>, owner: &Ownership, place: &Place, mark: Mark) -> Result<(), Failure> {
        let until = Instant::now() + self.transaction_timeout;
        if !self.is_transactional {
            return self.send_all(topic, records, owner, place, mark, until);
        }
        self.inner.begin_transaction().map_err(|error| Failure::new(&error, "a transaction cannot be begun"))?;
        if let Err(failure) = self.send_all(topic, records, owner, place, mark, until) {
            if let Err(error) = self.inner.abort_transaction(ABORT_TIMEOUT) {
                tracing::debug!(%error, "the transaction was not given up; the next producer does it");
            }
            return Err(failure);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(WAIT);
            let Err(error) = self.inner.commit_transaction(left) else { return Ok(()) };
            self.inner.poll(Duration::ZERO);
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable || Instant::now() >= until {
                return Err(Failure::new(&error, "the transaction was not committed"));
            }
        }
    }

    /// The marks lie in another partition than the rows, so each waits for what must stand before it.
    fn send_all(
        &self,
        topic: &str,
        records: Option<&Records<'_>>,
        owner: &Ownership,
        place: &Place,
        mark: Mark,
        until: Instant,
    ) -> Result<(), Failure> {
        self.send_mark(place, Mark { mark: Edge::Begin, ..mark }, until)?;
        self.settle(until)?;
        if let Some(records) = records {
            records.each(owner, |number, record| {
                let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 1);
                if let Some(origin) = record.origin {
                    headers = headers.insert(Header { key: ORIGIN, value: Some(origin) });
                }
                for (key, value) in record.headers {
                    headers = headers.insert(Header { key, value: Some(value) });
                }
                let mut sent = BaseRecord::with_opaque_to(topic, number).partition(record.partition).headers(headers);
                sent.payload = record.value;
                sent.key = record.key;
                sent.timestamp = record.timestamp;
                self.send(sent, until).map_err(|failure| Failure { row: Some(number), ..failure })
            })?;
            self.settle(until)?;
        }
        self.send_mark(place, Mark { mark: Edge::End, ..mark }, until)?;
        self.settle(until)
    }

    /// Waits until the brokers have what was sent.
    fn settle(&self, until: Instant) -> Result<(), Failure> {
        while !self.is_settled_within(WAIT) {
            if Instant::now() >= until {
                let what = "the rows were not taken in time".to_owned();
                return Err(Failure { code: RDKafkaErrorCode::MessageTimedOut, what, row: None });
            }
        }
        match self.inner.context().take_undelivered() {
            Some((number, code)) => {
                let row = Some(number).filter(|&number| number != MARK);
                Err(Failure { code, what: "a row was refused".to_owned(), row })
            }
            None => Ok(()),
        }
    }

    /// Whether nothing is under way any more, at the latest after `wait`.
    ///
    /// The crate's own `flush` waits for events, 100 ms at a time, and deliveries that succeed make none.
    fn is_settled_within(&self, wait: Duration) -> bool {
        // SAFETY: the client lives as long as `self`.
        let answer = unsafe { rd_kafka_flush(self.inner.client().native_ptr(), wait.as_millis() as i32) };
        self.handle_events();
        answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    fn handle_events(&self) {
        for _ in 0..EVENTS {
            self.inner.poll(Duration::ZERO);
        }
    }

    fn send_mark(&self, place: &Place, mark: Mark, until: Instant) -> Result<(), Failure> {
        let value = serde_json::to_vec(&mark).unwrap_or_default();
        let record = BaseRecord::with_opaque_to(MARKS, MARK)
            .partition(place.partition as i32)
            .key(place.key.as_bytes())
            .payload(value.as_slice());
        self.send(record, until)
    }

    /// Sends a record, when there is room.
    fn send(&self, mut record: BaseRecord<'_, [u8], [u8], usize>, until: Instant) -> Result<(), Failure> {
        loop {
            let Err((error, again)) = self.inner.send(record) else { return Ok(()) };
            let failure = Failure::new(&error, "a row cannot be sent");
            if failure.code != RDKafkaErrorCode::QueueFull || Instant::now() >= until {
                return Err(failure);
            }
            record = again;
            self.is_settled_within(WAIT);
        }
    }
}

/// The error of an epoch that was not written, after every attempt.
pub(crate) fn error(failure: &Failure, sink: &str, topic: &str, mark: Mark, records: Option<&Records<'_>>, context: &Context) -> Error {
    use RDKafkaErrorCode::*;
    let what = format!("sink \"{sink}\": epoch {} was not written to \"{topic}\": {}", mark.epoch, failure.what);
    let origin = |row| records.map_or(String::new(), |records| records.origin_text(row));
    match failure.code {
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidMessageSize => {
            // Brokers refuse a whole batch, so the first refused row is seldom the one.
            let largest = records.and_then(Records::largest);
            let largest = largest.map_or(String::new(), |(row, bytes)| {
                format!("; the largest row comes from {} and has {bytes} bytes", origin(row))
            });
            Error::new(Code::RecordTooLarge, what + &largest)
                .with_cause(failure.code)
                .with_help("raise max.message.bytes of the topic, and message.max.bytes under settings:")
        }
        // Where a broker is away, more time would not help.
        MessageTimedOut if context.met_absence() => context.error(failure.code, &what),
        MessageTimedOut | InvalidProducerEpoch | ProducerFenced | Fenced => Error::new(Code::TransactionExpired, what)
            .with_cause(failure.code)
            .with_help("raise transaction_timeout, or make epochs smaller with epoch: { max_records: … }"),
        code => {
            let row = failure.row.map_or(String::new(), |row| format!(" (the row from {})", origin(row)));
            match context.error(code, &(what.clone() + &row)) {
                error if error.code() == Code::KafkaFailed => Error::new(Code::SinkFailed, what + &row).with_cause(failure.code),
                error => error,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_stays_has_the_code_of_its_cause() {
        let mark = Mark { epoch: 7, generation: 1, rows: 0, mark: Edge::End };
        let of = |code| error(&Failure { code, what: String::new(), row: None }, "out", "scores", mark, None, &Context::default()).code();
        assert_eq!(of(RDKafkaErrorCode::InvalidProducerEpoch), Code::TransactionExpired);
        assert_eq!(of(RDKafkaErrorCode::MessageTimedOut), Code::TransactionExpired);
        assert_eq!(of(RDKafkaErrorCode::TopicAuthorizationFailed), Code::KafkaDenied);
        assert_eq!(of(RDKafkaErrorCode::AllBrokersDown), Code::KafkaUnreachable);
        assert_eq!(of(RDKafkaErrorCode::InvalidTransactionalState), Code::SinkFailed);
    }

    #[test]
    fn rows_that_were_not_taken_in_time_by_a_broker_that_was_away_are_not_called_slow() {
        let mark = Mark { epoch: 7, generation: 1, rows: 0, mark: Edge::End };
        let context = Context::default();
        rdkafka::ClientContext::error(&context, KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "refused");
        let failure = Failure { code: RDKafkaErrorCode::MessageTimedOut, what: String::new(), row: None };
        assert_eq!(error(&failure, "out", "scores", mark, None, &context).code(), Code::KafkaUnreachable);
    }
}
