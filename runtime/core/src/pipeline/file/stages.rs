//! `repartition` steps of a pipeline file, and the stages into which they cut it.
//!
//! Owns: what such a step may say, which stage a step or a sink belongs to, the topic as a sink of the stage in front and
//! the source of the one behind. Does not own: the columns that it holds (`worker::stages` asks the plugins), making it
//! (`segno-kafka`).
//!
//! Invariants: a step or a sink belongs to the stage of what it reads, so nothing can refer across stages. A file without
//! such steps is its own first stage, as it was before there were any.

use super::steps::SOURCE_NAME;
use crate::Code;
use crate::pipeline::fields::Reader;
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use crate::pipeline::tree::Node;
use crate::protocol::time::NO_WATERMARK;
use crate::source::{FormatSpec, KafkaSpec, KafkaStart, Partitioner, SourceSpec, TimeColumn, TimeUnit};
use std::collections::BTreeMap;
use std::time::Duration;

/// Partitions of a repartition topic at most: each is a shard, with a journal and a state store.
const PARTITIONS_MAX: u64 = 1_024;
/// As Kafka keeps records.
const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Of a topic's name, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// A step as it was read; `from` is counted over all steps of the file.
pub(super) enum Parsed {
    Plugin(Box<StepSpec>),
    Repartition(Repartition),
}

pub(super) struct Repartition {
    id: String,
    from: Upstream,
    key: String,
    topic: Option<String>,
    partitions: u32,
    retention: Duration,
}

impl Parsed {
    fn from(&self) -> &Upstream {
        match self {
            Parsed::Plugin(step) => &step.from,
            Parsed::Repartition(step) => &step.from,
        }
    }
}

/// Where each step stands: the stage that it is a part of, or, for a repartition, that it begins.
struct Places(Vec<usize>);

impl Places {
    fn of(steps: &[Parsed]) -> Places {
        let mut places: Vec<usize> = Vec::with_capacity(steps.len());
        let mut stages = 0;
        for step in steps {
            let front = match step.from() {
                Upstream::Source => 0,
                Upstream::Step { step, .. } => places[*step],
            };
            places.push(match step {
                Parsed::Plugin(_) => front,
                Parsed::Repartition(_) => {
                    stages += 1;
                    stages
                }
            });
        }
        Places(places)
    }

    /// The stage whose rows an edge carries.
    fn stage(&self, from: &Upstream) -> usize {
        match from {
            Upstream::Source => 0,
            Upstream::Step { step, .. } => self.0[*step],
        }
    }
}

/// Whether a step of the first stage has a key.
pub(super) fn is_first_keyed(steps: &[Parsed]) -> bool {
    let places = Places::of(steps);
    steps.iter().zip(&places.0).any(|(step, stage)| matches!(step, Parsed::Plugin(step) if *stage == 0 && !step.key.is_empty()))
}

impl Reader {
    pub(super) fn repartition(&mut self, node: &Node, number: usize, edges: &[Option<usize>]) -> Option<Repartition> {
        let fields = self.fields(node, "the step", &shape::STEP.names())?;
        for (key, _) in fields.iter() {
            if !["id", "from", "repartition"].contains(&key.name.as_str()) {
                return self.invalid(
                    &key.span,
                    format!("a repartition step has no {}", key.name),
                    "beside repartition: it has only id and from; a plugin is a step of its own",
                );
            }
        }
        let id = self.step_id(&fields, number);
        let from = self.step_from(&fields, number, edges);
        let fields = self.fields(fields.get("repartition")?, "repartition", &shape::REPARTITION.names())?;
        let key = self
            .required(&fields, "key", "repartition", "name the column, as in key: /customer_id")
            .and_then(|node| {
                let text = self.text(node, "key")?;
                self.column_path(&text, &node.span, "key")
            });
        let partitions = self
            .required(&fields, "partitions", "repartition", "say how many partitions the topic has, as in partitions: 8")
            .and_then(|node| self.count(node, "partitions", 1..=PARTITIONS_MAX));
        let topic = match fields.get("topic") {
            None => Some(None),
            Some(node) => {
                self.text(node, "topic").and_then(|topic| self.check_topic(&topic, &node.span).then_some(Some(topic)))
            }
        };
        let retention = match fields.get("retention") {
            None => Some(RETENTION_DEFAULT),
            Some(node) => self.duration(node, "retention"),
        };
        Some(Repartition { id: id?, from: from?, key: key?, topic: topic?, partitions: partitions? as u32, retention: retention? })
    }

    /// Cuts a pipeline, whose sinks count `from` over all `steps`, into its stages.
    pub(super) fn cut(&mut self, mut whole: Pipeline, steps: Vec<Parsed>) -> Option<Pipeline> {
        if !steps.iter().any(|step| matches!(step, Parsed::Repartition(_))) {
            let plugin = |step| match step {
                Parsed::Plugin(step) => Some(*step),
                Parsed::Repartition(_) => None,
            };
            whole.steps = steps.into_iter().filter_map(plugin).collect();
            return Some(whole);
        }
        let places = Places::of(&steps);
        self.may_repartition(&whole, &steps)?;
        self.ports_of_repartitions(&whole, &steps);
        // The number of each step within its stage; of a repartition there is none.
        let mut locals: Vec<Option<usize>> = Vec::new();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for (step, stage) in steps.iter().zip(&places.0) {
            locals.push(matches!(step, Parsed::Plugin(_)).then(|| {
                let count = counts.entry(*stage).or_default();
                *count += 1;
                *count - 1
            }));
        }
        let local = |from: &Upstream| match from {
            Upstream::Source => Upstream::Source,
            Upstream::Step { step, port } => match locals[*step] {
                Some(step) => Upstream::Step { step, port: port.clone() },
                None => Upstream::Source,
            },
        };
        // What stands in each stage, by its number in the file.
        let number = 1 + steps.iter().filter(|step| matches!(step, Parsed::Repartition(_))).count();
        let sinks = std::mem::take(&mut whole.sinks);
        let mut stages: Vec<Pipeline> = (0..number).map(|_| whole.clone()).collect();
        let mut names: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); number];
        for (at, sink) in sinks.into_iter().enumerate() {
            let stage = places.stage(&sink.from);
            let from = local(&sink.from);
            names[stage].insert(format!("sinks[{at}]"), format!("sinks[{}]", stages[stage].sinks.len()));
            stages[stage].sinks.push(SinkSpec { from, ..sink });
        }
        for (at, step) in steps.into_iter().enumerate() {
            let front = places.stage(step.from());
            let from = local(step.from());
            match step {
                Parsed::Plugin(step) => {
                    names[front].insert(format!("steps[{at}]"), format!("steps[{}]", stages[front].steps.len()));
                    stages[front].steps.push(StepSpec { from, ..*step });
                }
                Parsed::Repartition(step) => {
                    let behind = places.0[at];
                    if stages[front].sinks.iter().any(|sink| sink.name == step.id) {
                        let place = self.spots.place(&format!("steps[{at}].id"));
                        let message = format!("a sink is called \"{}\", too", step.id);
                        self.error(Code::NameTaken, &place.span, message, "a repartition step is a sink of what stands before it: choose another id");
                    }
                    let stage = self.stage(&whole, step, front, from.clone());
                    // As a sink it is shown where its key is written, as a source where the step is.
                    let sink = format!("sinks[{}]", stages[front].sinks.len());
                    names[front].insert(format!("steps[{at}].repartition.key"), format!("{sink}.kafka"));
                    names[front].insert(format!("steps[{at}]"), sink);
                    names[behind].insert(format!("steps[{at}]"), "sources[0]".to_owned());
                    let connection = connection(&whole);
                    stages[front].sinks.push(sink_of(&stage, &connection, from));
                    begin(&mut stages[behind], stage, connection);
                }
            }
        }
        for (stage, names) in stages.iter_mut().zip(&names) {
            let first = stage.stage.is_none();
            stage.spots = self.spots.renamed(|path| renamed(path, names, first));
            self.has_output(stage);
        }
        let mut stages = stages.into_iter();
        let first = stages.next()?;
        Some(Pipeline { later: stages.collect(), ..first })
    }

    fn stage(&mut self, whole: &Pipeline, step: Repartition, front: usize, from: Upstream) -> Stage {
        let Repartition { id, key, topic, partitions, retention, .. } = step;
        let topic = topic.unwrap_or_else(|| format!("segno-{}-{}-{id}", whole.tenant, whole.name));
        debug_assert!(topic.len() <= TOPIC_BYTES_MAX, "three names of 64 bytes fit");
        Stage { id, front, from, key, topic, partitions, retention }
    }

    /// Whether the pipeline can have repartition steps at all.
    fn may_repartition(&mut self, whole: &Pipeline, steps: &[Parsed]) -> Option<()> {
        let first = steps.iter().position(|step| matches!(step, Parsed::Repartition(_)))?;
        let at = self.spots.place(&format!("steps[{first}].repartition")).span;
        if whole.sharding != Sharding::ByPartition {
            self.error(
                Code::RepartitionUnfit,
                &at,
                "a repartition step needs sharding: by_partition",
                "write sharding: by_partition; with a single shard all keys are in one place, and nothing has to be moved",
            );
            return None;
        }
        if !whole.sources.iter().all(|source| matches!(source.spec, SourceSpec::Kafka(_))) {
            self.error(
                Code::RepartitionUnfit,
                &at,
                "a repartition step needs a Kafka source: its topic is in the same cluster",
                "read from a topic, as in source: { kafka: { brokers: …, topics: [orders] }, format: json }",
            );
            return None;
        }
        Some(())
    }

    /// What comes out of a repartition step has no ports.
    fn ports_of_repartitions(&mut self, whole: &Pipeline, steps: &[Parsed]) {
        let of_steps = steps.iter().enumerate().map(|(at, step)| (format!("steps[{at}].from"), step.from()));
        let of_sinks = whole.sinks.iter().enumerate().map(|(at, sink)| (format!("sinks[{at}].from"), &sink.from));
        let wrong: Vec<(String, String)> = of_steps
            .chain(of_sinks)
            .filter_map(|(path, from)| match from {
                Upstream::Step { step, port: Some(port) } => match &steps[*step] {
                    Parsed::Repartition(step) => Some((path, format!("{}.{port}", step.id))),
                    Parsed::Plugin(_) => None,
                },
                _ => None,
            })
            .collect();
        for (path, named) in wrong {
            let place = self.spots.place(&path);
            let id = named.split('.').next().unwrap_or_default().to_owned();
            self.error(
                Code::PortUnknown,
                &place.span,
                format!("\"{named}\" is read, and a repartition step has no ports"),
                format!("write from: {id}"),
            );
        }
    }

    /// A stage that writes nothing would read its topic for nothing.
    fn has_output(&mut self, stage: &Pipeline) {
        let Some(of) = &stage.stage else { return };
        if stage.sinks.is_empty() {
            let place = stage.place("sources[0]");
            self.error(
                Code::RepartitionUnfit,
                &place.span,
                format!("no sink writes what comes behind the repartition step \"{}\"", of.id),
                format!("put the steps that need its key behind it, and a sink; a topic that others read is a sink: {{ kafka: {{ …, key: {} }} }}", of.key),
            );
        }
    }
}

/// How the cluster of the sources is reached, where the topics between stages are, too.
fn connection(whole: &Pipeline) -> KafkaOf {
    let kafka = whole.sources.iter().find_map(|source| match &source.spec {
        SourceSpec::Kafka(kafka) => Some(kafka),
        _ => None,
    });
    KafkaOf {
        connection: kafka.map(|kafka| kafka.connection.clone()).unwrap_or_default(),
        until_latest: kafka.is_some_and(|kafka| kafka.until_latest),
    }
}

struct KafkaOf {
    connection: crate::source::KafkaConnection,
    until_latest: bool,
}

/// The topic as a sink of the stage in front; its columns are known when those behind it are.
fn sink_of(stage: &Stage, kafka: &KafkaOf, from: Upstream) -> SinkSpec {
    let kind = SinkKind::Kafka(KafkaSinkSpec {
        connection: kafka.connection.clone(),
        topic: stage.topic.clone(),
        format: SinkFormat::Rows,
        key: Some(stage.key.clone()),
        headers: BTreeMap::new(),
        row_bytes_max: Some(ROW_BYTES_DEFAULT),
        // Known when the steps behind it are.
        announces: false,
        transaction_timeout: TRANSACTION_TIMEOUT_DEFAULT,
    });
    SinkSpec { name: stage.id.clone(), from, columns: None, kind }
}

/// Makes a copy of the whole pipeline the stage behind a step.
fn begin(pipeline: &mut Pipeline, stage: Stage, kafka: KafkaOf) {
    let has_time = pipeline.sources.iter().any(|source| source.time.is_some());
    let on_error = OnError::Fail;
    pipeline.sources = vec![SourceBlock {
        spec: SourceSpec::Kafka(KafkaSpec {
            name: stage.id.clone(),
            topics: vec![stage.topic.clone()],
            format: FormatSpec::Rows { columns: Vec::new() },
            record_bytes_max: ROW_BYTES_MAX as usize,
            columns: Vec::new(),
            connection: kafka.connection,
            start: KafkaStart::Earliest,
            group: None,
            until_latest: kafka.until_latest,
            trim_after: Some(stage.retention),
            // Segno writes the topic, and a row without a value of the key has a partition, too.
            partitioner: Partitioner::Unchecked,
            check_keys: false,
        }),
        time: has_time.then(|| TimeColumn { name: ROW_TIME.to_owned(), format: None, unit: TimeUnit::Microseconds }),
        // Several shards write a partition, each in its own order: the largest time seen says nothing about the others. They announce
        // how far they are.
        watermark_delay: Duration::from_micros(NO_WATERMARK as u64),
        idle_timeout: None,
        columns: Vec::new(),
        on_error,
    }];
    pipeline.source_entries = vec![0];
    if let Some(SinkSpec { kind: SinkKind::Files { path, .. }, .. }) = &mut pipeline.dlq {
        // Files are named after sink, shard and epoch, and each stage has its own shards and epochs.
        path.push(&stage.id);
    }
    // No pipeline's name holds a dot.
    pipeline.name = format!("{}.{}", pipeline.name, stage.id);
    pipeline.stage = Some(stage);
}

/// The path that a place has within a stage. `names` has the beginnings that change; what is in another stage is nowhere.
fn renamed(path: &str, names: &BTreeMap<String, String>, first: bool) -> Option<String> {
    for (old, new) in names.iter().rev() {
        if let Some(rest) = path.strip_prefix(old.as_str()).filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
            return Some(format!("{new}{rest}"));
        }
    }
    let of_stages = |list: &str| path.strip_prefix(list).is_some_and(|rest| rest.starts_with('['));
    let elsewhere = of_stages("steps") || of_stages("sinks") || (!first && (of_stages("sources") || path == SOURCE_NAME));
    (!elsewhere).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const YAML: &str = "\
version: 1
name: orders
tenant: t
sharding: by_partition
source:
  kafka: { brokers: \"h:1\", topics: [orders], until: latest }
  format: json
  time: at
  columns: { at: timestamp, shop: utf8, city: utf8, kafka.key: utf8 }
steps:
  - { id: first, plugin: a.wasm, key: kafka.key }
  - { id: by-shop, repartition: { key: /shop, partitions: 5 } }
  - { id: second, plugin: a.wasm, key: shop }
  - { id: by-city, from: first, repartition: { key: city, partitions: 3, topic: cities } }
  - { id: third, plugin: b.wasm, key: city }
sinks:
  - { name: one, from: second, blackhole: {} }
  - { name: two, from: source, blackhole: {} }
  - { name: three, blackhole: {} }
  - { name: four, from: by-shop, blackhole: {} }
dlq: { files: dead }
checkpoint: { store: \"s3://b\" }
";

    fn parsed() -> Pipeline {
        Pipeline::parse(Path::new("p.yaml"), YAML, &|_| None).unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    #[test]
    fn a_step_and_a_sink_belong_to_the_stage_of_what_they_read() {
        let stages = parsed().into_stages();
        let of = |stage: &Pipeline| {
            let steps: Vec<&str> = stage.steps.iter().map(|step| step.id.as_str()).collect();
            let sinks: Vec<&str> = stage.sinks.iter().map(|sink| sink.name.as_str()).collect();
            format!("{} {} {}", stage.name, steps.join(","), sinks.join(","))
        };
        let all: Vec<String> = stages.iter().map(of).collect();
        assert_eq!(all, ["orders first two,by-shop,by-city", "orders.by-shop second one,four", "orders.by-city third three"]);
        assert_eq!(stages[1].sinks[1].from, Upstream::Source);
        assert_eq!(stages[1].sinks[0].from, Upstream::Step { step: 0, port: None });
        assert_eq!(stages[0].sinks[2].from, Upstream::Step { step: 0, port: None });
        assert!(stages.iter().all(|stage| stage.later.is_empty()));
    }

    #[test]
    fn the_topic_is_a_sink_in_front_and_the_source_behind() {
        let stages = parsed().into_stages();
        let SinkKind::Kafka(sink) = &stages[0].sinks[1].kind else { panic!("a topic") };
        assert_eq!((sink.topic.as_str(), sink.key.as_deref(), sink.format), ("segno-t-orders-by-shop", Some("shop"), SinkFormat::Rows));
        let [SourceBlock { spec: SourceSpec::Kafka(source), time, watermark_delay, .. }] = stages[1].sources.as_slice() else {
            panic!("a topic")
        };
        assert_eq!((source.name.as_str(), source.topics.as_slice()), ("by-shop", [sink.topic.clone()].as_slice()));
        assert_eq!((&source.connection, source.until_latest, &source.start), (&sink.connection, true, &KafkaStart::Earliest));
        assert_eq!(time.as_ref().map(|time| time.name.as_str()), Some(ROW_TIME));
        assert_eq!(watermark_delay.as_micros() as i64, NO_WATERMARK);
        assert_eq!(stages[2].stage.as_ref().map(|stage| (stage.topic.as_str(), stage.partitions, stage.front)), Some(("cities", 3, 0)));
        // Files of dead letters are named after shard and epoch, which every stage has.
        let dead = |stage: &Pipeline| match &stage.dlq {
            Some(SinkSpec { kind: SinkKind::Files { path, .. }, .. }) => path.display().to_string(),
            _ => String::new(),
        };
        assert_eq!(stages.iter().map(dead).collect::<Vec<_>>(), ["dead", "dead/by-shop", "dead/by-city"]);
    }

    #[test]
    fn a_place_is_where_the_file_has_it() {
        let stages = parsed().into_stages();
        let line = |stage: usize, path: &str| stages[stage].place(path).line_column().0;
        assert_eq!((line(0, "steps[0].key"), line(0, "sinks[0]"), line(0, "sources[0].kafka.topics")), (11, 18, 6));
        // The step as a sink of the stage in front, and as the source of the one behind.
        assert_eq!((line(0, "sinks[1].kafka"), line(0, "sinks[2]"), line(1, "sources[0].kafka"), line(2, "sources[0].columns.x")), (12, 14, 12, 14));
        assert_eq!((line(1, "steps[0].plugin"), line(1, "sinks[1].from"), line(2, "steps[0]"), line(2, "checkpoint.store")), (13, 20, 15, 22));
    }

    #[test]
    fn what_is_shown_is_the_same_pipeline() {
        let pipeline = parsed();
        let shown = pipeline.show_yaml();
        let again = Pipeline::parse(Path::new("p.yaml"), &shown, &|_| None).unwrap_or_else(|errors| panic!("{shown}\n{errors:#?}"));
        assert_eq!(again.show(), pipeline.show(), "{shown}");
        assert_eq!(again.into_stages().iter().map(|stage| stage.name.clone()).collect::<Vec<_>>(), ["orders", "orders.by-shop", "orders.by-city"]);
    }
}
