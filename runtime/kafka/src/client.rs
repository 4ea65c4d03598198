//! Settings, errors and logs of librdkafka's clients.
//!
//! Owns: which settings every client has; librdkafka's errors as codes of Segno; its logs as tracing events; the end of
//! consumers. Does not own: what sources and sinks set for themselves.
//!
//! Invariants: a setting's value is never printed, because it may be secret. Every request is bounded in time, and so is
//! the end of a consumer.

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use segno_core::source::KafkaConnection;
use segno_core::{Code, Error, Result};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a request for metadata may take: a healthy broker answers in milliseconds, an election takes a second or two.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of a consumer is waited for: a broker that is there answers its farewell in milliseconds.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Log facilities of librdkafka that tell of a broken connection or of a request whose outcome is not known.
const DISTURBANCES: [&str; 3] = ["FAIL", "REQTMOUT", "TXNERR"];

/// How librdkafka calls the state of a connection that was made and has not been answered.
const FIRST_REQUEST: &str = "APIVERSION_QUERY";

/// Events that are handled at once: a call handles one, and a broken connection makes a few.
pub(crate) const EVENTS: usize = 16;

pub(crate) fn settings(connection: &KafkaConnection) -> ClientConfig {
    let mut config = ClientConfig::new();
    // Broken connections are told at this level.
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("client.id", "segno");
    // Reconnect soon: a broker that restarts holds up a whole pipeline.
    config.set("reconnect.backoff.max.ms", "2000");
    for (name, value) in &connection.settings {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &connection.brokers);
    config
}

/// A client that cannot be made: a setting is wrong. Its value is not shown.
pub(crate) fn wrong_setting(error: &KafkaError) -> Error {
    let what = match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("the setting {name} of Kafka is unknown or has a wrong value"),
        _ => "the settings of Kafka do not go together".to_owned(),
    };
    let error = match error {
        KafkaError::ClientCreation(words) => Error::new(Code::InvalidValue, what).with_cause(words),
        _ => Error::new(Code::InvalidValue, what),
    };
    error.with_help("settings: takes the names and values of librdkafka's CONFIGURATION.md")
}

/// What a client was told by librdkafka since it was made.
#[derive(Default)]
pub(crate) struct Context {
    /// As the pipeline file names them.
    brokers: String,
    /// A connection broke, or a request was not answered.
    disturbed: AtomicBool,
    /// A broker was not reached, or its connection broke; a slow answer is something else.
    away: AtomicBool,
    refused: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// What librdkafka said last of a connection that failed.
    failed: Mutex<Option<String>>,
    /// The first record that was not delivered: its number and why.
    undelivered: Mutex<Option<(usize, RDKafkaErrorCode)>>,
}

impl Context {
    pub fn new(connection: &KafkaConnection) -> Context {
        Context { brokers: connection.brokers.clone(), ..Context::default() }
    }

    /// Whether anything went wrong on the way to the brokers.
    pub fn is_disturbed(&self) -> bool {
        self.disturbed.load(Ordering::Relaxed)
    }

    /// Whether a broker was away at any time.
    pub fn met_absence(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub fn take_undelivered(&self) -> Option<(usize, RDKafkaErrorCode)> {
        lock(&self.undelivered).take()
    }

    /// The error for a request that failed or was not answered; `what` says what was wanted.
    pub fn error(&self, code: RDKafkaErrorCode, what: &str) -> Error {
        // A refused login shows as a time-out of every request, and in an event with the reason.
        let refused = lock(&self.refused).clone();
        let (code, words) = match refused {
            Some((refused, words)) if is_unanswered(code) => (refused, words),
            _ => (code, code.to_string()),
        };
        let error = Error::new(code_of(code), what).with_cause(words);
        match lock(&self.failed).clone() {
            Some(words) if is_unanswered(code) && words.contains(FIRST_REQUEST) => error
                .with_cause(words)
                .with_help("brokers that want TLS or a login close other connections: set security.protocol under settings:"),
            Some(words) if is_unanswered(code) => error.with_cause(words).with_help(self.advice()),
            None if is_unanswered(code) => error.with_help(self.advice()),
            _ => error,
        }
    }

    fn advice(&self) -> String {
        format!("see that brokers run at {} and can be reached from here; if that is not where they are, correct brokers:", self.brokers)
    }
}

/// A consumer that holds nobody up when it is dropped.
///
/// Closing one waits for whatever it asked its group's coordinator, the offsets that are told as advice among it: while no
/// coordinator answers, 45 s were measured. So it ends on a thread of its own, which is left alone after `CLOSE_MAX`.
pub(crate) struct ConsumerClient<C: ConsumerContext + 'static = Context>(ManuallyDrop<BaseConsumer<C>>);

impl ConsumerClient {
    pub fn open(config: &ClientConfig, connection: &KafkaConnection) -> Result<ConsumerClient> {
        ConsumerClient::open_with(config, Context::new(connection))
    }
}

impl<C: ConsumerContext + 'static> ConsumerClient<C> {
    pub fn open_with(config: &ClientConfig, context: C) -> Result<ConsumerClient<C>> {
        let consumer = config.create_with_context(context).map_err(|error| wrong_setting(&error))?;
        Ok(ConsumerClient(ManuallyDrop::new(consumer)))
    }
}

impl<C: ConsumerContext + 'static> Deref for ConsumerClient<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &BaseConsumer<C> {
        &self.0
    }
}

impl<C: ConsumerContext + 'static> Drop for ConsumerClient<C> {
    fn drop(&mut self) {
        // SAFETY: it is taken once, here, and nothing uses it afterwards. Wrapped again, it is leaked, not closed, where no
        // thread can be started.
        let consumer = ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.0) });
        let (closed, ended) = channel();
        let close = move || {
            drop(ManuallyDrop::into_inner(consumer));
            // Nobody may be waiting any more.
            let _ = closed.send(());
        };
        match std::thread::Builder::new().name("kafka-close".to_owned()).spawn(close) {
            Ok(_) if ended.recv_timeout(CLOSE_MAX).is_err() => tracing::debug!("a consumer still waits for its coordinator to end"),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a consumer was not closed"),
        }
    }
}

/// Handles logs and errors of a client that waits in no other call.
pub(crate) fn serve(consumer: &BaseConsumer<Context>) {
    for _ in 0..EVENTS {
        drop(consumer.poll(Duration::ZERO));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_unanswered(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(code, OperationTimedOut | MessageTimedOut | BrokerTransportFailure | AllBrokersDown | RequestTimedOut | WaitingForCoordinator)
}

pub(crate) fn code_of(code: RDKafkaErrorCode) -> Code {
    use RDKafkaErrorCode::*;
    match code {
        code if is_unanswered(code) => Code::KafkaUnreachable,
        Resolve => Code::KafkaUnreachable,
        // Brokers are there, and not enough of them.
        LeaderNotAvailable | NotLeaderForPartition | BrokerNotAvailable | ReplicaNotAvailable | NetworkException
        | CoordinatorNotAvailable | CoordinatorLoadInProgress | NotCoordinator | NotEnoughReplicas
        | NotEnoughReplicasAfterAppend | KafkaStorageError => Code::KafkaUnreachable,
        // An older transaction of the same id cannot be ended, because a partition of it takes no markers.
        ConcurrentTransactions => Code::KafkaUnreachable,
        Authentication | SSL | SaslAuthenticationFailed | UnsupportedSASLMechanism | TopicAuthorizationFailed
        | GroupAuthorizationFailed | ClusterAuthorizationFailed | TransactionalIdAuthorizationFailed => Code::KafkaDenied,
        UnknownTopic | UnknownTopicOrPartition | UnknownPartition => Code::TopicMissing,
        AutoOffsetReset | OffsetOutOfRange => Code::OffsetsGone,
        UnknownTopicId => Code::TopicReplaced,
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidMessageSize => Code::RecordTooLarge,
        InvalidTransactionTimeout => Code::InvalidValue,
        _ => Code::KafkaFailed,
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        if DISTURBANCES.contains(&fac) {
            self.disturbed.store(true, Ordering::Relaxed);
            // The name of a thread stands before the words.
            let words = message.split_once("]: ").map_or(message, |(_, words)| words);
            *lock(&self.failed) = Some(words.to_owned());
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", fac, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", fac, "{message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", fac, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.disturbed.store(true, Ordering::Relaxed);
        if let Some(code) = error.rdkafka_error_code() {
            if matches!(code, RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) {
                self.away.store(true, Ordering::Relaxed);
            }
            // Only refused logins: a right that is missing is told by the request that needed it. A broker that goes away
            // amid a handshake shows as an error of TLS, too, and passes.
            let is_refused = match code {
                RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => true,
                RDKafkaErrorCode::SSL => reason.contains("certificate"),
                _ => false,
            };
            if is_refused {
                *lock(&self.refused) = Some((code, reason.to_owned()));
            }
            tracing::debug!(target: "librdkafka", ?code, "{reason}");
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    /// The record's number in its epoch.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let Err((error, message)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        tracing::debug!(topic = message.topic(), number, %code, "a record was not delivered");
        // Later records are purged because of the first.
        if !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            lock(&self.undelivered).get_or_insert((number, code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_library_have_codes_of_their_own() {
        use RDKafkaErrorCode::*;
        for (error, code) in [
            (OperationTimedOut, Code::KafkaUnreachable),
            (AllBrokersDown, Code::KafkaUnreachable),
            (NotEnoughReplicas, Code::KafkaUnreachable),
            (CoordinatorNotAvailable, Code::KafkaUnreachable),
            (ConcurrentTransactions, Code::KafkaUnreachable),
            (TopicAuthorizationFailed, Code::KafkaDenied),
            (Authentication, Code::KafkaDenied),
            (UnknownTopicOrPartition, Code::TopicMissing),
            (AutoOffsetReset, Code::OffsetsGone),
            (UnknownTopicId, Code::TopicReplaced),
            (MessageSizeTooLarge, Code::RecordTooLarge),
            (InvalidTransactionTimeout, Code::InvalidValue),
            (BadMessage, Code::KafkaFailed),
        ] {
            assert_eq!(code_of(error), code, "{error:?}");
        }
    }

    #[test]
    fn a_refused_login_explains_requests_that_were_not_answered_and_no_others() {
        let context = Context::default();
        ClientContext::error(&context, KafkaError::Global(RDKafkaErrorCode::Authentication), "no such user");
        let error = context.error(RDKafkaErrorCode::OperationTimedOut, "topics cannot be described");
        assert_eq!((error.code(), error.causes()), (Code::KafkaDenied, &["no such user".to_owned()][..]));
        assert_eq!(context.error(RDKafkaErrorCode::UnknownTopic, "no").code(), Code::TopicMissing);
        assert!(context.is_disturbed());
    }

    #[test]
    fn brokers_that_do_not_answer_are_named() {
        let context = Context { brokers: "kafka-1:9092".to_owned(), ..Context::default() };
        let error = context.error(RDKafkaErrorCode::AllBrokersDown, "topics cannot be described");
        assert!(error.help().is_some_and(|help| help.contains("kafka-1:9092")), "{error:?}");
    }
}
