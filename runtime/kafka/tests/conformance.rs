//! The rules of a source and of a sink, for topics.

use crate::lab::*;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use segno_conformance::sink::ExactlyOnce;
use segno_conformance::source::{Fixture, Growing};
use segno_core::Code;
use segno_core::columns::ColumnType;
use segno_core::pipeline::KafkaSinkSpec;
use segno_core::sink::Sink;
use segno_core::source::*;
use segno_kafka::{KafkaSink, KafkaSource};
use std::collections::BTreeMap;

/// A topic of two partitions, which is read as it grows, or to where it ends now.
struct Topic<const ENDS: bool>(String);

impl<const ENDS: bool> Topic<ENDS> {
    fn spec(&self) -> KafkaSpec {
        KafkaSpec { until_latest: ENDS, ..spec(&[&self.0]) }
    }
}

impl<const ENDS: bool> Fixture for Topic<ENDS> {
    /// With offsets that hold no record for a reader: markers of transactions, and records of one that was aborted.
    fn new() -> Self {
        let topic = topic("conformance", 2, &[]);
        produce(
            &topic,
            0,
            &[(Some("k"), Some("{\"id\":1}")), (None, Some("{\"id\":")), (None, None), (None, Some("{\"id\":4}"))],
        );
        transaction(&topic, 0, &["{\"id\":90}", "{\"id\":91}"], false);
        transaction(&topic, 0, &["{\"id\":5}", "{\"id\":6}"], true);
        produce(&topic, 0, &[(None, Some("no")), (Some(""), Some("{\"id\":8}"))]);
        transaction(&topic, 0, &["{\"id\":92}"], false);
        produce(&topic, 1, &[(None, Some("{\"id\":100}"))]);
        Topic(topic)
    }

    fn open(&self) -> Box<dyn Source> {
        Box::new(KafkaSource::open(&self.spec()).expect("a source"))
    }

    fn open_otherwise(&self) -> Box<dyn Source> {
        Box::new(KafkaSource::open(&KafkaSpec { record_bytes_max: 500, ..self.spec() }).expect("a source"))
    }

    fn plan(&self) -> ReadPlan {
        plan(&[("id", ColumnType::I64, false), ("kafka.key", ColumnType::Utf8, true)])
    }

    fn records(&self) -> Vec<String> {
        ["1|k", "D001", "D013", "4|null", "5|null", "6|null", "D001", "8|"].map(str::to_owned).into()
    }

    fn stops_at(&self) -> Option<u64> {
        let consumer: BaseConsumer = config().create().expect("a consumer");
        (!ENDS).then(|| consumer.fetch_watermarks(&self.0, 0, PATIENCE).expect("offsets").1 as u64)
    }

    fn change(&mut self) -> Code {
        wait(admin().delete_topics(&[&self.0], &AdminOptions::new().operation_timeout(Some(PATIENCE)))).expect("deleted");
        let gone = || KafkaSource::open(&self.spec()).is_err_and(|error| error.code() == Code::TopicMissing);
        while !gone() {}
        make(&self.0, 2, &[]);
        while KafkaSource::open(&self.spec()).is_err() {}
        Code::TopicReplaced
    }
}

mod topic_as_it_grows {
    use super::*;

    impl Growing for Topic<false> {
        fn grow(&mut self) -> String {
            transaction(&self.0, 0, &["{\"id\":93}"], false);
            values(&self.0, 0, ["{\"id\":99}".to_owned()].into_iter());
            "99|null".to_owned()
        }
    }

    segno_conformance::source_rules!(Topic<false>);
    segno_conformance::growing_source_rules!(Topic<false>);
}

mod topic_to_where_it_ends {
    use super::*;

    segno_conformance::source_rules!(Topic<true>);
}

mod topic_as_a_sink {
    use super::*;

    /// One partition, so that there is an order.
    pub struct Output {
        topic: String,
        pipeline: String,
    }

    impl segno_conformance::sink::Fixture for Output {
        fn new() -> Output {
            Output { topic: topic("conformance", 1, &[]), pipeline: name("p") }
        }

        fn open(&self, _shard: &str) -> Box<dyn Sink> {
            let spec = KafkaSinkSpec { headers: BTreeMap::new(), ..crate::sink::spec(&self.topic) };
            Box::new(KafkaSink::open("out", &spec).expect("a sink"))
        }

        fn pipeline(&self) -> String {
            self.pipeline.clone()
        }

        fn visible(&self) -> Vec<i64> {
            let id = |record: Read| {
                let value: serde_json::Value = serde_json::from_str(&record.value.expect("a value")).expect("JSON");
                value["id"].as_i64().expect("an id")
            };
            read(&self.topic).into_iter().map(id).collect()
        }
    }

    impl ExactlyOnce for Output {
        const OVERTAKEN: Option<Code> = Some(Code::OwnershipLost);
    }

    segno_conformance::sink_rules!(Output);
    segno_conformance::exactly_once_rules!(Output);
    segno_conformance::marked_sink_rules!(Output);
}
