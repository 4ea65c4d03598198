//! A pipeline as a pipeline file: variables replaced, defaults written out, secrets masked.
//!
//! Owns: `segno config show --resolved`. Invariant: what is shown, read as a pipeline file, is the same pipeline (where
//! nothing is masked).

use super::spec::*;
use super::units::show_duration;
use super::variables::{MASK, mask};
use crate::columns::Column;
use crate::source::{FormatSpec, KafkaConnection, KafkaStart, NexmarkKind, SourceSpec, TimeUnit};
use serde_json::{Map, Value, json};

impl Pipeline {
    /// The resolved pipeline file, without secrets.
    pub fn show(&self) -> Value {
        let mut shown = json!({
            "version": PIPELINE_VERSION,
            "name": self.name,
            "tenant": self.tenant,
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
            "sharding": self.sharding,
            "worker": {"session_timeout": show_duration(self.worker.session_timeout)},
        });
        let (mut steps, mut sinks) = (Vec::new(), Vec::new());
        for stage in std::iter::once(self).chain(&self.later) {
            if let Some(of) = &stage.stage {
                let front = if of.front == 0 { self } else { &self.later[of.front - 1] };
                steps.push(json!({
                    "id": of.id,
                    "from": front.upstream(&of.from),
                    "repartition": {"key": of.key, "partitions": of.partitions, "topic": of.topic, "retention": show_duration(of.retention)},
                }));
            }
            steps.extend(stage.steps.iter().map(|step| stage.step(step)));
            sinks.extend(stage.sinks.iter().filter(|sink| !sink.kind.is_repartition()).map(|sink| stage.sink(sink)));
        }
        shown["steps"] = json!(steps);
        shown["sinks"] = json!(sinks);
        if let Some(dlq) = &self.dlq {
            shown["dlq"] = Value::Object(sink_kind(&dlq.kind));
        }
        let store = match &self.checkpoint.store {
            StoreUrl::File(path) => format!("file://{}", path.display()),
            StoreUrl::S3(url) => url.clone(),
        };
        shown["checkpoint"] = json!({
            "store": store,
            "ephemeral": self.checkpoint.ephemeral,
            "replay_debt": show_duration(self.checkpoint.replay_debt),
            "keep": self.checkpoint.keep,
        });
        shown["epoch"] = json!({
            "max_records": self.epoch.max_records,
            "max_bytes": self.epoch.max_bytes,
            "max_delay": show_duration(self.epoch.max_delay),
        });
        shown["state"] = json!({ "memory": self.state.memory });
        shown["batch_rows"] = json!(self.batch_rows);
        if let Some(threads) = self.threads {
            shown["threads"] = json!(threads);
        }
        if let Some(folder) = &self.work_dir {
            shown["work_dir"] = json!(folder.display().to_string());
        }
        shown["replay_detail"] = json!(self.replay_detail);
        if !self.mask.is_empty() {
            shown["mask"] = json!(self.mask);
        }
        mask(&mut shown, &self.secrets);
        shown
    }

    /// The same as YAML.
    pub fn show_yaml(&self) -> String {
        serde_saphyr::to_string(&self.show()).unwrap_or_default()
    }

    fn upstream(&self, from: &Upstream) -> String {
        match from {
            Upstream::Source => self.stage_name().to_owned(),
            Upstream::Step { step, port } => {
                let id = &self.steps[*step].id;
                port.as_ref().map_or_else(|| id.clone(), |port| format!("{id}.{port}"))
            }
        }
    }

    fn step(&self, step: &StepSpec) -> Value {
        let mut shown = json!({
            "id": step.id,
            "plugin": step.plugin.display().to_string(),
            "from": self.upstream(&step.from),
            "config": step.config,
        });
        if !step.tables.is_empty() {
            let table = |table: &TableSpec| {
                let shown = match &table.from {
                    TableOrigin::Files(files) => {
                        json!({"path": files.path, "format": format(&files.format, files.line_bytes_max)})
                    }
                    TableOrigin::Postgres(postgres) => json!({"postgres": postgres_table(postgres)}),
                };
                (table.name.clone(), shown)
            };
            shown["tables"] = step.tables.iter().map(table).collect::<Map<_, _>>().into();
        }
        if !step.key.is_empty() {
            shown["key"] = json!(step.key);
        }
        if let Some(ttl) = step.ttl {
            shown["ttl"] = json!(show_duration(ttl));
        }
        let limits = &step.limits;
        let mut shown_limits = Map::new();
        for (name, value) in [
            ("fuel_per_record", limits.fuel_per_record),
            ("fuel_init", limits.fuel_init),
            ("memory", limits.memory),
            ("tables", limits.tables),
            ("output_bytes", limits.output_bytes),
            ("mutations", limits.mutations),
            ("log_lines", limits.log_lines),
        ] {
            if let Some(value) = value {
                shown_limits.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(deadline) = limits.deadline {
            shown_limits.insert("deadline".to_owned(), json!(show_duration(deadline)));
        }
        if !shown_limits.is_empty() {
            shown["limits"] = shown_limits.into();
        }
        shown["on_error"] = json!(step.on_error);
        if !step.expect.is_empty() {
            let rule = |rule: &Expectation| json!({"rejects": rule.rejects, "over": rule.over, "else": rule.otherwise});
            shown["expect"] = step.expect.iter().map(rule).collect();
        }
        shown["lanes"] = json!(step.lanes);
        shown
    }

    fn sink(&self, sink: &SinkSpec) -> Value {
        let mut shown = json!({"name": sink.name, "from": self.upstream(&sink.from)});
        if let Some(columns) = &sink.columns {
            shown["columns"] = json!(columns);
        }
        if let Value::Object(fields) = &mut shown {
            fields.extend(sink_kind(&sink.kind));
        }
        shown
    }
}

fn sink_kind(kind: &SinkKind) -> Map<String, Value> {
    let (name, settings) = match kind {
        SinkKind::Files { path, format } => ("files", json!({"path": path.display().to_string(), "format": format})),
        SinkKind::Stdout { format } => ("stdout", json!({"format": format})),
        SinkKind::Blackhole => ("blackhole", json!({})),
        SinkKind::Kafka(kafka) => {
            let mut shown = connection(&kafka.connection);
            shown.insert("topic".to_owned(), json!(kafka.topic));
            shown.insert("format".to_owned(), json!(kafka.format));
            if let Some(key) = &kafka.key {
                shown.insert("key".to_owned(), json!(key));
            }
            if !kafka.headers.is_empty() {
                shown.insert("headers".to_owned(), json!(kafka.headers));
            }
            shown.insert("row_bytes_max".to_owned(), json!(kafka.row_bytes_max));
            shown.insert("transaction_timeout".to_owned(), json!(show_duration(kafka.transaction_timeout)));
            ("kafka", shown.into())
        }
        SinkKind::Postgres(postgres) => {
            let mut shown = json!({"url": without_password(postgres.url.text()), "table": postgres.table, "create_table": postgres.create_table});
            if !postgres.key.is_empty() {
                shown["key"] = json!(postgres.key);
            }
            ("postgres", shown)
        }
    };
    Map::from_iter([(name.to_owned(), settings)])
}

fn postgres_table(spec: &PostgresTableSpec) -> Value {
    let mut shown = json!({"url": without_password(spec.url.text())});
    match &spec.rows {
        TableRows::Table(table) => shown["table"] = json!(table),
        TableRows::Query(query) => shown["query"] = json!(query),
    }
    if let Some(every) = spec.refresh {
        shown["refresh"] = json!(show_duration(every));
    }
    shown
}

fn connection(connection: &KafkaConnection) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("brokers".to_owned(), json!(connection.brokers));
    if !connection.settings.is_empty() {
        let hide = |name: &str| ["password", "secret", "token", "key", "jaas"].iter().any(|part| name.contains(part));
        let setting = |(name, value): (&String, &String)| {
            (name.clone(), json!(if hide(name) { MASK } else { value }))
        };
        shown.insert("settings".to_owned(), connection.settings.iter().map(setting).collect::<Map<_, _>>().into());
    }
    shown
}

/// A URL whose password is masked.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:{MASK}@{host}"),
        None => url.to_owned(),
    }
}

fn format(format: &FormatSpec, line_bytes_max: usize) -> Value {
    match format {
        FormatSpec::Json => json!({"json": {"line_bytes_max": line_bytes_max}}),
        FormatSpec::Raw => json!({"raw": {"line_bytes_max": line_bytes_max}}),
        FormatSpec::Parquet => json!("parquet"),
        FormatSpec::Rows { .. } => json!("rows"),
        FormatSpec::Csv { header, delimiter } => json!({"csv": {
            "delimiter": char::from(*delimiter).to_string(),
            "header": header.as_ref().map_or(Value::Bool(true), |names| json!(names)),
            "line_bytes_max": line_bytes_max,
        }}),
    }
}

fn source(source: &SourceBlock) -> Value {
    let mut shown = json!({"name": source.spec.name()});
    match &source.spec {
        SourceSpec::Files(files) => {
            shown["files"] = json!({"path": files.path, "follow": files.follow});
            shown["format"] = format(&files.format, files.line_bytes_max);
        }
        SourceSpec::Kafka(kafka) => {
            let mut settings = connection(&kafka.connection);
            settings.insert("topics".to_owned(), json!(kafka.topics));
            if let Some(group) = &kafka.group {
                settings.insert("group".to_owned(), json!(group));
            }
            let start = match &kafka.start {
                KafkaStart::Earliest => json!("earliest"),
                KafkaStart::Latest => json!("latest"),
                KafkaStart::Timestamp(ms) => json!(jiff::Timestamp::from_millisecond(*ms).map_or(ms.to_string(), |time| time.to_string())),
                KafkaStart::Offsets(offsets) => json!({"offsets": offsets}),
            };
            settings.insert("start".to_owned(), start);
            settings.insert("partitioner".to_owned(), json!(kafka.partitioner));
            if kafka.until_latest {
                settings.insert("until".to_owned(), json!("latest"));
            }
            shown["kafka"] = settings.into();
            shown["format"] = format(&kafka.format, kafka.record_bytes_max);
        }
        SourceSpec::Nexmark(nexmark) => {
            let mut settings = json!({
                "seed": nexmark.seed,
                "partitions": nexmark.partitions,
                "events_per_second": nexmark.events_per_second,
            });
            if let Some(events) = nexmark.events {
                settings["events"] = json!(events);
            }
            if let Ok(start) = jiff::Timestamp::from_microsecond(nexmark.start_micros) {
                settings["start"] = json!(start.to_string());
            }
            if let Some(only) = nexmark.only {
                settings["only"] = json!(match only {
                    NexmarkKind::Person => "person",
                    NexmarkKind::Auction => "auction",
                    NexmarkKind::Bid => "bid",
                });
            }
            shown["nexmark"] = settings;
        }
    }
    if let Some(time) = &source.time {
        shown["time"] = json!(time.name);
    }
    if let Some(time) = source.time.as_ref().filter(|time| !time.is_processing_time()) {
        if let Some(format) = &time.format {
            shown["time_format"] = json!(format);
        }
        shown["time_unit"] = json!(match time.unit {
            TimeUnit::Seconds => "s",
            TimeUnit::Milliseconds => "ms",
            TimeUnit::Microseconds => "us",
        });
        shown["watermark_delay"] = json!(show_duration(source.watermark_delay));
        if let Some(timeout) = source.idle_timeout {
            shown["idle_timeout"] = json!(show_duration(timeout));
        }
    }
    if !source.columns.is_empty() {
        let column = |column: &Column| {
            let mark = if column.nullable { "?" } else { "" };
            (column.name.clone(), json!(format!("{}{mark}", column.ty)))
        };
        shown["columns"] = source.columns.iter().map(column).collect::<Map<_, _>>().into();
    }
    shown["on_error"] = json!(source.on_error);
    shown
}
