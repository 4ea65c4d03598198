//! Kafka and PostgreSQL in a pipeline file, as sources, side tables and sinks.
//!
//! Owns: their settings. Does not own: reaching the servers (`segno-kafka`, `segno-postgres`).
//!
//! Invariant: what reaches a server (addresses, passwords) is kept apart from what decides output.

use crate::Code;
use crate::pipeline::fields::{Fields, Reader, list};
use crate::pipeline::shape;
use crate::pipeline::{DatabaseUrl, UrlRefused};
use crate::pipeline::spec::*;
use crate::pipeline::tree::{Node, Value};
use crate::source::{FormatSpec, KafkaConnection, KafkaSpec, KafkaStart, Partitioner, SourceSpec};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Settings of librdkafka on which exactly-once depends, so that Segno sets them itself.
const OWN_SETTINGS: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "isolation.level",
    "metadata.broker.list",
    "transaction.timeout.ms",
    "transactional.id",
];

/// A transaction's time-out, whatever the file says: below it, an epoch cannot be written; brokers refuse more.
const TRANSACTION_TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(900);

/// Each refresh reads the whole table.
const REFRESH_MIN: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn kafka_source(
        &mut self,
        fields: &Fields<'_>,
        name: Option<String>,
        columns: Vec<crate::columns::Column>,
    ) -> Option<Vec<SourceSpec>> {
        let node = fields.get("kafka")?;
        let help = "say format: json, csv or raw";
        let format = self.required(fields, "format", "the source", help).and_then(|node| {
            let format = self.format(node)?;
            match &format.0 {
                FormatSpec::Parquet => self.invalid(&node.span, "records of a topic cannot be parquet", "use json, csv or raw"),
                FormatSpec::Csv { header: None, .. } => self.invalid(
                    &node.span,
                    "records of a topic have no header row",
                    "name the columns: format: { csv: { header: [id, amount] } }",
                ),
                _ => Some(format),
            }
        });
        let kafka = self.fields(node, "kafka", &shape::KAFKA_SOURCE.names())?;
        let connection = self.kafka_connection(&kafka);
        let help = "name the topics: topics: [payments]";
        let topics = self.required(&kafka, "topics", "kafka", help).and_then(|node| {
            let topics = self.texts(node, "a topic")?;
            for (number, (topic, span)) in topics.iter().enumerate() {
                if !self.check_topic(topic, span) {
                    return None;
                }
                if topics[..number].iter().any(|(earlier, _)| earlier == topic) {
                    return self.invalid(span, format!("topic \"{topic}\" stands twice"), "remove one of the two");
                }
            }
            if topics.is_empty() {
                return self.invalid(&node.span, "topics is empty", help);
            }
            Some(topics.into_iter().map(|(topic, _)| topic).collect())
        });
        let start = match kafka.get("start") {
            Some(node) => self.kafka_start(node),
            None => Some(KafkaStart::default()),
        };
        let group = match kafka.get("group") {
            Some(node) => self.text(node, "group").map(Some),
            None => Some(None),
        };
        let until_latest = match kafka.get("until") {
            Some(node) => self.choice(node, "until", &[("latest", true)]),
            None => Some(false),
        };
        let partitioner = match kafka.get("partitioner") {
            Some(node) => {
                self.choice(node, "partitioner", &[("murmur2", Partitioner::Murmur2), ("unchecked", Partitioner::Unchecked)])
            }
            None => Some(Partitioner::default()),
        };
        let (format, record_bytes_max) = format?;
        Some(vec![SourceSpec::Kafka(KafkaSpec {
            name: name?,
            topics: topics?,
            format,
            record_bytes_max,
            columns,
            connection: connection?,
            start: start?,
            group: group?,
            until_latest: until_latest?,
            trim_after: None,
            partitioner: partitioner?,
            check_keys: false,
        })])
    }

    fn kafka_connection(&mut self, fields: &Fields<'_>) -> Option<KafkaConnection> {
        let help = "write brokers: \"host:9092\", several separated by commas";
        let brokers = self.required(fields, "brokers", "kafka", help).and_then(|node| {
            let brokers = self.text(node, "brokers")?;
            let whole = |broker: &str| broker.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !brokers.split(',').all(whole) {
                return self.invalid(&node.span, "brokers is a list of host:port", help);
            }
            Some(brokers)
        });
        let settings = match fields.get("settings") {
            Some(node) => self.kafka_settings(node),
            None => Some(BTreeMap::new()),
        };
        Some(KafkaConnection { brokers: brokers?, settings: settings? })
    }

    fn kafka_settings(&mut self, node: &Node) -> Option<BTreeMap<String, String>> {
        let fields = self.map(node, "settings")?;
        let mut settings = BTreeMap::new();
        let mut whole = true;
        for (key, node) in fields.iter() {
            if OWN_SETTINGS.contains(&key.name.as_str()) {
                self.error(
                    Code::InvalidValue,
                    &key.span,
                    format!("{} cannot be set: exactly-once depends on it", key.name),
                    format!("remove it; Segno sets {}", list(OWN_SETTINGS.iter().copied())),
                );
                whole = false;
                continue;
            }
            match self.text(node, &key.name) {
                Some(value) => drop(settings.insert(key.name.clone(), value)),
                None => whole = false,
            }
        }
        whole.then_some(settings)
    }

    pub(super) fn check_topic(&mut self, topic: &str, span: &std::ops::Range<usize>) -> bool {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(fine) {
            let shown = topic.escape_debug();
            self.error(
                Code::InvalidValue,
                span,
                format!("\"{shown}\" is not the name of a topic"),
                "topics are named with letters, digits, '.', '_' and '-', at most 249 of them",
            );
            return false;
        }
        true
    }

    fn kafka_start(&mut self, node: &Node) -> Option<KafkaStart> {
        let help = "write earliest, latest, a time as in 2026-01-31T00:00:00Z, or offsets: { topic/0: 1200 }";
        if let Value::Map(_) = &node.value {
            let fields = self.fields(node, "start", &["offsets"])?;
            let node = self.required(&fields, "offsets", "start", help)?;
            let offsets = self.map(node, "offsets")?;
            let mut found = BTreeMap::new();
            for (key, node) in offsets.iter() {
                let partition = key.name.rsplit_once('/').and_then(|(_, partition)| partition.parse::<u32>().ok());
                if partition.is_none() {
                    return self.invalid(&key.span, format!("\"{}\" is not a partition", key.name), "write topic/partition, as in payments/0");
                }
                found.insert(key.name.clone(), self.count(node, &key.name, 0..=i64::MAX as u64)?);
            }
            return Some(KafkaStart::Offsets(found));
        }
        let text = self.text(node, "start")?;
        match text.as_str() {
            "earliest" => Some(KafkaStart::Earliest),
            "latest" => Some(KafkaStart::Latest),
            text => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Some(KafkaStart::Timestamp(time.as_millisecond())),
                Err(_) => self.invalid(&node.span, format!("start cannot be \"{}\"", text.escape_debug()), help),
            },
        }
    }

    pub(super) fn kafka_sink(&mut self, node: &Node) -> Option<SinkKind> {
        let fields = self.fields(node, "kafka", &shape::KAFKA_SINK.names())?;
        let connection = self.kafka_connection(&fields);
        let topic = self.required(&fields, "topic", "kafka", "name the topic: topic: scores").and_then(|node| {
            let topic = self.text(node, "topic")?;
            self.check_topic(&topic, &node.span).then_some(topic)
        });
        let format = self.sink_format(&fields);
        let key = match fields.get("key") {
            Some(node) => self.text(node, "key").and_then(|text| self.column_path(&text, &node.span, "key")).map(Some),
            None => Some(None),
        };
        let mut headers = BTreeMap::new();
        if let Some(node) = fields.get("headers") {
            let map = self.map(node, "headers")?;
            for (header, node) in map.iter() {
                let column = self.text(node, "a header's column")?;
                headers.insert(header.name.clone(), self.column_path(&column, &node.span, "headers")?);
            }
        }
        let row_bytes_max = match fields.get("row_bytes_max") {
            None => Some(ROW_BYTES_DEFAULT),
            Some(node) => self.bytes(node, "row_bytes_max", 1..=ROW_BYTES_MAX),
        };
        let transaction_timeout = match fields.get("transaction_timeout") {
            None => Some(TRANSACTION_TIMEOUT_DEFAULT),
            Some(node) => self.duration(node, "transaction_timeout").and_then(|time| {
                if TRANSACTION_TIMEOUT.contains(&time) {
                    return Some(time);
                }
                self.invalid(&node.span, "transaction_timeout is from 1s to 15m", "leave it out for 1m")
            }),
        };
        Some(SinkKind::Kafka(KafkaSinkSpec {
            announces: false,
            connection: connection?,
            topic: topic?,
            format: format?,
            key: key?,
            headers,
            row_bytes_max: Some(row_bytes_max?),
            transaction_timeout: transaction_timeout?,
        }))
    }

    pub(super) fn postgres_sink(&mut self, node: &Node) -> Option<SinkKind> {
        let fields = self.fields(node, "postgres", &shape::POSTGRES_SINK.names())?;
        let url = self.database_url(&fields);
        let table = self
            .required(&fields, "table", "postgres", "name the table: table: scores")
            .and_then(|node| self.database_table(node));
        let key = match fields.get("key") {
            Some(node) => self.texts(node, "a key column").and_then(|texts| {
                texts.into_iter().map(|(text, span)| self.column_path(&text, &span, "key")).collect()
            }),
            None => Some(Vec::new()),
        };
        let create_table = match fields.get("create_table") {
            Some(node) => self.bool(node, "create_table"),
            None => Some(false),
        };
        Some(SinkKind::Postgres(PostgresSinkSpec { url: url?, table: table?, key: key?, create_table: create_table? }))
    }

    pub(super) fn postgres_table(&mut self, node: &Node) -> Option<PostgresTableSpec> {
        let fields = self.fields(node, "postgres", &shape::POSTGRES_TABLE.names())?;
        let url = self.database_url(&fields);
        let rows = match (fields.get("table"), fields.get("query")) {
            (Some(node), None) => self.database_table(node).map(TableRows::Table),
            (None, Some(node)) => self.text(node, "query").and_then(|query| {
                let query = query.trim().trim_end_matches(';').trim_end();
                match query.is_empty() {
                    true => self.invalid(&node.span, "query is empty", "write a SELECT, or name the table: table: airports"),
                    false => Some(TableRows::Query(query.to_owned())),
                }
            }),
            (Some(_), Some(_)) => {
                let span = fields.key("query").map_or(fields.span(), |key| key.span.clone());
                self.invalid(&span, "postgres has both table and query", "remove one of the two")
            }
            (None, None) => {
                let help = "name the table: table: airports, or write query: SELECT …";
                self.error(Code::MissingField, &fields.span(), "postgres has neither \"table\" nor \"query\"", help);
                None
            }
        };
        let refresh = match fields.get("refresh") {
            None => Some(None),
            Some(node) => self.duration(node, "refresh").and_then(|every| match every >= REFRESH_MIN {
                true => Some(Some(every)),
                false => self.invalid(&node.span, "refresh is 1s at least", "every refresh reads the whole table"),
            }),
        };
        Some(PostgresTableSpec { url: url?, rows: rows?, refresh: refresh? })
    }

    fn database_url(&mut self, fields: &Fields<'_>) -> Option<DatabaseUrl> {
        let help = "write url: \"postgres://user:${PASSWORD}@host:5432/database\"";
        let node = self.required(fields, "url", "postgres", help)?;
        let text = self.text(node, "url")?;
        let folder = self.file.parent().map(Path::to_owned).unwrap_or_default();
        match DatabaseUrl::parse(&text, &folder) {
            Ok(url) => Some(url),
            Err(UrlRefused { what, mend }) => self.invalid(&node.span, what, mend),
        }
    }

    fn database_table(&mut self, node: &Node) -> Option<String> {
        let table = self.text(node, "table")?;
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part.len() <= 63
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if table.split('.').count() > 2 || !table.split('.').all(part) {
            return self.invalid(
                &node.span,
                format!("\"{}\" is not the name of a table", table.escape_debug()),
                "write table or schema.table, in lower case letters, digits and _",
            );
        }
        Some(table)
    }
}
