//! What a cluster says of topics: their ids, how many partitions they have, their settings.
//!
//! Owns: the request, for which `rdkafka` has no safe way. Does not own: what follows from the answer.
//!
//! Invariant: the answer, or an error with a code, comes within `REQUEST_TIMEOUT`.

use crate::client::{Context, REQUEST_TIMEOUT};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::bindings::*;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use segno_core::{Code, Error, Result};
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

/// Beyond the broker's own time-out, so that its answer is seen; in ms.
const GRACE: Duration = Duration::from_secs(1);
/// Replicas as the broker's default says.
const REPLICAS_DEFAULT: i32 = -1;
/// Between two questions whether a topic that was made is there.
const KNOWN_WAIT: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub name: String,
    /// The cluster's own id of the topic, random and never used again, folded to 64 bits; 0 where brokers give none.
    pub id: u64,
    pub partitions: u32,
}

/// Asks about topics, in the order of `names`; `serve` is called while waiting, so that events are seen.
pub(crate) fn describe(client: &Client<Context>, names: &[String], serve: impl Fn()) -> Result<Vec<Topic>> {
    let spoken: Vec<CString> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = spoken.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the client outlives the call; everything that is made here is destroyed here, in `Request::drop`.
    let event = unsafe {
        let rk = client.native_ptr();
        let request = Request {
            topics: rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            options: rd_kafka_AdminOptions_new(rk, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            queue: rd_kafka_queue_new(rk),
        };
        let mut words = [0; 256];
        let timeout = REQUEST_TIMEOUT.as_millis() as i32;
        rd_kafka_AdminOptions_set_request_timeout(request.options, timeout, words.as_mut_ptr(), words.len());
        rd_kafka_DescribeTopics(rk, request.topics, request.options, request.queue);
        let until = Instant::now() + REQUEST_TIMEOUT + GRACE;
        let mut event: *mut rd_kafka_event_t = std::ptr::null_mut();
        while event.is_null() && Instant::now() < until {
            serve();
            event = rd_kafka_queue_poll(request.queue, 100);
        }
        serve();
        Event(event)
    };
    let asked = || format!("topics cannot be described: {}", names.join(", "));
    if event.0.is_null() {
        return Err(client.context().error(RDKafkaErrorCode::OperationTimedOut, &asked()));
    }
    // SAFETY: the event is the answer to the request, and lives until the end of this function.
    unsafe {
        let error = rd_kafka_event_error(event.0);
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(client.context().error(error.into(), &asked()));
        }
        let result = rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let found = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let found: Vec<_> = (0..count).map(|number| *found.add(number)).collect();
        let topics: Result<Vec<Topic>> = found.into_iter().map(|topic| read(client, topic)).collect();
        let topics = topics?;
        let named = |name: &String| topics.iter().find(|topic| topic.name == *name).cloned();
        names.iter().map(|name| named(name).ok_or_else(|| missing(name))).collect()
    }
}

/// # Safety
/// `topic` is a description that lives.
unsafe fn read(client: &Client<Context>, topic: *const rd_kafka_TopicDescription_t) -> Result<Topic> {
    // SAFETY: the promise of this function.
    unsafe {
        let name = CStr::from_ptr(rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
        let error = rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            match rd_kafka_error_code(error).into() {
                RDKafkaErrorCode::NoError => {}
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => return Err(missing(&name)),
                code => return Err(client.context().error(code, &format!("topic \"{name}\" cannot be described"))),
            }
        }
        let id = rd_kafka_TopicDescription_topic_id(topic);
        let id = match id.is_null() {
            true => 0,
            false => rd_kafka_Uuid_most_significant_bits(id) as u64 ^ (rd_kafka_Uuid_least_significant_bits(id) as u64).rotate_left(1),
        };
        let mut partitions = 0;
        rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        Ok(Topic { name, id, partitions: partitions as u32 })
    }
}

/// A setting of a topic; `None` without the right to see it.
pub(crate) fn setting(admin: &AdminClient<Context>, topic: &str, name: &str) -> Result<Option<String>> {
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let failed = |code| admin.inner().context().error(code, &format!("the settings of {topic} cannot be read"));
    let answers = pollster::block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let answers = answers.map_err(|error| failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)))?;
    match answers.into_iter().next() {
        Some(Ok(config)) => Ok(config.get(name).and_then(|entry| entry.value.clone())),
        Some(Err(code)) => {
            tracing::warn!(%code, "{name} of {topic} cannot be seen, and is taken to be as it should");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Makes a topic, unless somebody else was faster, and describes it.
pub(crate) fn create(admin: &AdminClient<Context>, name: &str, partitions: u32, settings: &[(&str, &str)]) -> Result<Vec<Topic>> {
    let mut topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(REPLICAS_DEFAULT));
    for (setting, value) in settings {
        topic = topic.set(setting, value);
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let what = format!("the topic {name} cannot be created");
    let answers = pollster::block_on(admin.create_topics([&topic], &options));
    let answers = answers.map_err(|error| {
        admin.inner().context().error(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail), &what)
    })?;
    if let Some(Err((_, code))) = answers.into_iter().next()
        && code != RDKafkaErrorCode::TopicAlreadyExists
    {
        let settings: String = settings.iter().map(|(name, value)| format!(" --config {name}={value}")).collect();
        let error = admin.inner().context().error(code, &what);
        return Err(error.with_help(format!("create it: kafka-topics.sh --create --topic {name} --partitions {partitions}{settings}")));
    }
    // A topic that was just made is known to every broker a little later.
    let (names, until) = ([name.to_owned()], Instant::now() + REQUEST_TIMEOUT);
    loop {
        match describe(admin.inner(), &names, || {}) {
            Err(error) if error.code() == Code::TopicMissing && Instant::now() < until => std::thread::sleep(KNOWN_WAIT),
            found => return found,
        }
    }
}

pub(crate) fn missing(name: &str) -> Error {
    Error::new(Code::TopicMissing, format!("there is no topic \"{name}\""))
        .with_help(format!("create it, as in: kafka-topics.sh --create --topic {name} --partitions 8"))
}

struct Request {
    topics: *mut rd_kafka_TopicCollection_t,
    options: *mut rd_kafka_AdminOptions_t,
    queue: *mut rd_kafka_queue_t,
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: each was made for this request and is destroyed once.
        unsafe {
            rd_kafka_TopicCollection_destroy(self.topics);
            rd_kafka_AdminOptions_destroy(self.options);
            rd_kafka_queue_destroy(self.queue);
        }
    }
}

struct Event(*mut rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the event is ours.
            unsafe { rd_kafka_event_destroy(self.0) }
        }
    }
}
