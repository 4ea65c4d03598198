//! Which fields a pipeline file has: the one list behind the check for unknown fields and `segno schema`.
//!
//! Owns: names, kinds and short descriptions. Does not own: what a value means (`file`).
//!
//! Invariant: the reader asks for no field that is not listed here (a test compares the two).

/// A map with fixed names.
pub struct Shape {
    /// Name of the definition in the JSON Schema.
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [Field],
}

pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub doc: &'static str,
}

pub enum Kind {
    Text,
    Bool,
    /// A whole number, or text with a decimal unit.
    Count,
    /// A number of bytes, or text with a unit.
    Bytes,
    /// Text with a unit of time.
    Duration,
    Choice(&'static [&'static str]),
    /// The number 1.
    Version,
    Any,
    /// The map may be empty or written as nothing.
    Empty,
    Map(&'static Shape),
    /// Any names.
    MapOf(&'static Kind),
    List(&'static Kind),
    OneOf(&'static [Kind]),
}

impl Shape {
    pub fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.name).collect()
    }
}

const fn field(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: false, doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: true, doc }
}

const TEXTS: Kind = Kind::OneOf(&[Kind::Text, Kind::List(&Kind::Text)]);
pub const ON_ERROR: &[&str] = &["fail", "skip", "dlq"];
pub const OTHERWISE: &[&str] = &["stop", "warn"];
pub const TIME_UNITS: &[&str] = &["s", "ms", "us"];
pub const NEXMARK_KINDS: &[&str] = &["person", "auction", "bid"];
pub const SINK_FORMATS: &[&str] = &["json", "csv", "raw"];
pub const FORMATS: &[&str] = &["json", "csv", "raw", "parquet"];
pub const SHARDINGS: &[&str] = &["one", "by_partition"];
pub const PARTITIONERS: &[&str] = &["murmur2", "unchecked"];
pub const REPLAY_DETAILS: &[&str] = &["block", "row"];

pub static PIPELINE: Shape = Shape {
    name: "pipeline",
    doc: "A Segno pipeline.",
    fields: &[
        required("version", Kind::Version, "Version of the pipeline file: 1."),
        required("name", Kind::Text, "Name of the pipeline: letters, digits, - and _. It names the pipeline's objects."),
        field("tenant", Kind::Text, "Who the pipeline belongs to; `default` if not given."),
        field("source", Kind::Map(&SOURCE), "Where records come from."),
        field("sources", Kind::List(&Kind::Map(&SOURCE)), "Several sources, merged into one stream in the order of event time."),
        field("sharding", Kind::Choice(SHARDINGS), "one: a single shard has all of the input. by_partition: shard n has partition n of every topic (or file n of a glob), and processes that run the same pipeline share the shards; one if not given. Fixed once there is state."),
        field("worker", Kind::Map(&WORKER), "How processes share the shards of by_partition. Decides no output."),
        field("steps", Kind::List(&Kind::Map(&STEP)), "Plugins, each after the step it reads."),
        field("sinks", Kind::List(&Kind::Map(&SINK)), "Where rows go; at least one."),
        field("sink", Kind::Map(&SINK), "The only sink."),
        field("dlq", Kind::Map(&DLQ), "Where dead letters go."),
        required("checkpoint", Kind::Map(&CHECKPOINT), "Where journal and checkpoints are kept."),
        field("epoch", Kind::Map(&EPOCH), "When an epoch is closed and committed: whichever comes first. Decides no output."),
        field("state", Kind::Map(&STATE), "How keyed state is kept on this machine. Decides no output."),
        field("batch_rows", Kind::Count, "Rows that one call of a plugin gets at most; 1024 if not given."),
        field("threads", Kind::Count, "Threads that run plugins; one for each core if not given. Decides no output."),
        field("work_dir", Kind::Text, "Folder for local state; in the user's cache folder if not given."),
        field("replay_detail", Kind::Choice(REPLAY_DETAILS), "How exactly `segno replay --verify` can name a difference: to a block of 64 rows, or to the row."),
        field("mask", TEXTS, "Columns whose values `segno tap` hides, besides those whose names contain secret, token, password, passwd or credential."),
    ],
};

pub static SOURCE: Shape = Shape {
    name: "source",
    doc: "Where records come from: one of `files`, `kafka` and `nexmark`.",
    fields: &[
        field("name", Kind::Text, "Name in dead letters and messages; `source` if not given."),
        field("files", Kind::OneOf(&[Kind::Text, Kind::List(&Kind::Text), Kind::Map(&FILES)]), "Files: a path, a glob, or a list of them. Each file is a partition."),
        field("kafka", Kind::Map(&KAFKA_SOURCE), "Topics of a Kafka cluster. Each partition of each topic is a partition."),
        field("nexmark", Kind::OneOf(&[Kind::Map(&NEXMARK), Kind::Empty]), "A seeded generator of persons, auctions and bids."),
        field("format", FORMAT, "How records are written: json, csv, raw or parquet."),
        field("time", Kind::Text, "The event time: a column's path, as /a/b or a.b; or segno.processing_time: when the record was read, by a clock that the journal keeps."),
        field("time_format", Kind::Text, "strftime-like format of event times that are text, such as %Y/%m/%d %H:%M; RFC 3339 if not given."),
        field("time_unit", Kind::Choice(TIME_UNITS), "What an integer event time counts since 1970; ms if not given."),
        field("watermark_delay", Kind::Duration, "How late a record may come; 0s if not given."),
        field("idle_timeout", Kind::Duration, "Silence after which a partition no longer holds the others back; it holds them for ever if not given."),
        field("columns", Kind::MapOf(&Kind::Text), "Types of columns: name: type, with ? for nullable."),
        field("on_error", Kind::Choice(ON_ERROR), "What happens to records that cannot be decoded; fail if not given."),
    ],
};

pub static FILES: Shape = Shape {
    name: "files",
    doc: "Files as a source.",
    fields: &[
        field("path", TEXTS, "A path or a glob, or a list of them; relative to the pipeline file."),
        field("glob", TEXTS, "The same as path."),
        field("follow", Kind::Bool, "True: the files grow, and the pipeline waits for more at their end."),
    ],
};

pub static KAFKA_SOURCE: Shape = Shape {
    name: "kafka_source",
    doc: "Topics of a Kafka cluster. Beside the columns of its value, a record has kafka.key, kafka.topic, kafka.partition, kafka.offset, kafka.timestamp and kafka.headers.NAME.",
    fields: &[
        required("brokers", Kind::Text, "host:port, several separated by commas."),
        required("topics", TEXTS, "The topics; their partitions are merged into one stream."),
        field("group", Kind::Text, "A consumer group for monitoring tools: offsets are committed to it as advice, and never read back."),
        field("start", Kind::OneOf(&[Kind::Text, Kind::Map(&KAFKA_START)]), "Where a partition begins that was never read: earliest, latest, a time in RFC 3339, or offsets; earliest if not given."),
        field("partitioner", Kind::Choice(PARTITIONERS), "How producers choose a record's partition from its key; with sharding: by_partition and keyed steps, each record is checked against it. murmur2: as Java's producer does. unchecked: you know that a key stays in its partition. murmur2 if not given."),
        field("until", Kind::Choice(&["latest"]), "latest: the run ends where the partitions ended when it began; it never ends if not given."),
        field("settings", Kind::MapOf(&Kind::Text), "Settings of librdkafka, such as security.protocol, sasl.username, ssl.ca.location."),
    ],
};

pub static KAFKA_START: Shape = Shape {
    name: "kafka_start",
    doc: "Where each partition begins.",
    fields: &[required("offsets", Kind::MapOf(&Kind::Count), "Offsets by topic/partition; partitions without one begin at their earliest record.")],
};

pub static NEXMARK: Shape = Shape {
    name: "nexmark",
    doc: "A seeded generator of Nexmark events.",
    fields: &[
        field("events", Kind::Count, "Number of events; without end if not given."),
        field("seed", Kind::Count, "The same seed gives the same events; 0 if not given."),
        field("partitions", Kind::Count, "Number of partitions; 1 if not given."),
        field("events_per_second", Kind::Count, "Events per second of event time; 10,000 if not given."),
        field("start", Kind::Text, "Event time of the first event, RFC 3339; 2015-07-15T00:00:00Z if not given."),
        field("only", Kind::Choice(NEXMARK_KINDS), "Only events of one kind."),
    ],
};

const FORMAT: Kind = Kind::OneOf(&[Kind::Choice(FORMATS), Kind::Map(&FORMAT_MAP)]);

pub static FORMAT_MAP: Shape = Shape {
    name: "format",
    doc: "A format with its settings.",
    fields: &[
        field("json", Kind::OneOf(&[Kind::Map(&LINES), Kind::Empty]), "One object on each line, or one array of objects."),
        field("csv", Kind::OneOf(&[Kind::Map(&CSV), Kind::Empty]), "Comma-separated values."),
        field("raw", Kind::OneOf(&[Kind::Map(&LINES), Kind::Empty]), "Each line is one record with the column value: binary."),
        field("parquet", Kind::Empty, "Parquet files."),
    ],
};

pub static LINES: Shape = Shape {
    name: "lines",
    doc: "Settings of json and raw.",
    fields: &[field("line_bytes_max", Kind::Bytes, "The longest record; longer ones are bad records. 1MiB if not given.")],
};

pub static CSV: Shape = Shape {
    name: "csv",
    doc: "Settings of csv.",
    fields: &[
        field("delimiter", Kind::Text, "One character; a comma if not given."),
        field("header", Kind::OneOf(&[Kind::Bool, Kind::List(&Kind::Text)]), "Names of the columns, where the files have no header row."),
        field("line_bytes_max", Kind::Bytes, "The longest record; longer ones are bad records. 1MiB if not given."),
    ],
};

pub static STEP: Shape = Shape {
    name: "step",
    doc: "A plugin in the pipeline, or a repartition.",
    fields: &[
        required("id", Kind::Text, "A stable name: it names the step's state."),
        field("plugin", Kind::Text, "Path of the component. A step has a plugin, or is a repartition."),
        field("repartition", Kind::Map(&REPARTITION), "No plugin: rows go through a topic of their own, where equal keys meet in one partition; the steps behind run in shards over it."),
        field("from", Kind::Text, "What it reads: source, step or step.port; the step before if not given."),
        field("config", Kind::Any, "Configuration for the plugin, as it wants it."),
        field("tables", Kind::MapOf(&Kind::Map(&TABLE)), "Side tables by name."),
        field("key", TEXTS, "Key columns of a keyed step: a path or a list of paths."),
        field("ttl", Kind::Duration, "State of a key is forgotten when no record of the key came for so long, in event time; kept for ever if not given."),
        field("limits", Kind::Map(&LIMITS), "What a call may use."),
        field("on_error", Kind::Choice(ON_ERROR), "What happens to records that the plugin rejects or fails on; fail if not given."),
        field("expect", Kind::OneOf(&[Kind::Map(&EXPECT), Kind::List(&Kind::Map(&EXPECT))]), "How many rejects are no surprise; one rule or a list."),
        field("lanes", Kind::Count, "Key groups that run in parallel; 8 if not given. Fixed once there is state."),
    ],
};

pub static REPARTITION: Shape = Shape {
    name: "repartition",
    doc: "Another key for the steps behind, with sharding: by_partition. Beside it a step has only id and from.",
    fields: &[
        required("key", Kind::Text, "The column whose value decides the partition: a path, as /a/b or a.b. Text, binary, a whole number, a decimal, a date or a timestamp; rows without a value are in one partition, too."),
        required("partitions", Kind::Count, "Partitions of the topic, and so shards of the steps behind. Fixed once there is state."),
        field("topic", Kind::Text, "The topic; made when it is not there. segno-TENANT-PIPELINE-STEP if not given."),
        field("retention", Kind::Duration, "How long rows stay in a topic that Segno made, for `dlq redrive`; what the checkpoints of the stage behind need stays in any case. 7d if not given."),
    ],
};

pub static EXPECT: Shape = Shape {
    name: "expect",
    doc: "At most so many rejects in every window of so many records. Windows follow each other in the step's input, so where an epoch ends decides nothing.",
    fields: &[
        required("rejects", Kind::OneOf(&[Kind::Count, Kind::Text]), "The most rejects of a window: a count, or a share of `over` such as 1% or 0.5%."),
        required("over", Kind::Count, "Records of a window."),
        field("else", Kind::Choice(OTHERWISE), "With one reject more, the run ends before the epoch is committed (stop), or says so and goes on (warn); stop if not given."),
    ],
};

/// What stands in the URL of a database.
const DATABASE_URL: &str = "postgres://user:password@host:port/database. Behind ?, sslmode is disable (if not given), require (encrypted, whoever answers), verify-ca or verify-full (the certificate names the host, too); sslrootcert is a file with authorities (those of the system if not given), sslcert and sslkey are the client's.";

pub static TABLE: Shape = Shape {
    name: "table",
    doc: "A side table: a file, which is a part of the configuration, or rows of a database, which are data and may change.",
    fields: &[
        field("path", Kind::Text, "Path of the file, relative to the pipeline file."),
        field("format", FORMAT, "json, csv or parquet; by the file's ending if not given."),
        field("postgres", Kind::Map(&POSTGRES_TABLE), "Rows of a PostgreSQL database."),
    ],
};

pub static POSTGRES_TABLE: Shape = Shape {
    name: "postgres_table",
    doc: "Rows of a database, read in one snapshot when the pipeline starts: the columns that the plugin declares, in the order of its key. They are kept in the checkpoint store under their digest; other rows are a new version, which takes effect between two epochs and needs no acceptance.",
    fields: &[
        required("url", Kind::Text, DATABASE_URL),
        field("table", Kind::Text, "table or schema.table; or a query."),
        field("query", Kind::Text, "A SELECT that gives the columns by name: to choose rows, to rename or to convert columns."),
        field("refresh", Kind::Duration, "How often a running pipeline reads the rows again; at its start only if not given."),
    ],
};

pub static LIMITS: Shape = Shape {
    name: "limits",
    doc: "What a call of a plugin may use.",
    fields: &[
        field("fuel_per_record", Kind::Count, "Fuel (about one wasm instruction each) that a record may use; 1G if not given."),
        field("fuel_init", Kind::Count, "Fuel for the plugin's init."),
        field("deadline", Kind::Duration, "Time that one call may take."),
        field("memory", Kind::Bytes, "Memory of an instance."),
        field("tables", Kind::Count, "Elements in the tables of an instance."),
        field("output_bytes", Kind::Bytes, "Bytes that one call may return."),
        field("mutations", Kind::Count, "State changes of one call."),
        field("log_lines", Kind::Count, "Log lines of one call; more are dropped and counted."),
    ],
};

const SINK_FORMAT: Kind = Kind::Choice(SINK_FORMATS);

pub static SINK: Shape = Shape {
    name: "sink",
    doc: "Where rows go: one of `files`, `kafka`, `postgres`, `stdout` and `blackhole`.",
    fields: &[
        field("name", Kind::Text, "A name, unique in the pipeline; the kind if not given."),
        field("from", Kind::Text, "What it writes: source, step or step.port; the last step if not given."),
        field("columns", Kind::List(&Kind::Text), "Columns to write, in this order; all that flow here if not given."),
        field("files", Kind::OneOf(&[Kind::Text, Kind::Map(&FILE_SINK)]), "A folder with one file for each epoch."),
        field("kafka", Kind::Map(&KAFKA_SINK), "A topic, written exactly once."),
        field("postgres", Kind::Map(&POSTGRES_SINK), "A table, written exactly once."),
        field("stdout", Kind::OneOf(&[Kind::Map(&STDOUT_SINK), Kind::Empty]), "Standard output; rows may repeat after a crash."),
        field("blackhole", Kind::Empty, "Counts rows and keeps none."),
    ],
};

pub static DLQ: Shape = Shape {
    name: "dlq",
    doc: "Where dead letters go: one of `files`, `kafka`, `postgres`, `stdout` and `blackhole`.",
    fields: &[
        field("files", Kind::OneOf(&[Kind::Text, Kind::Map(&FILE_SINK)]), "A folder with one file for each epoch that has dead letters."),
        field("kafka", Kind::Map(&KAFKA_SINK), "A topic, written exactly once."),
        field("postgres", Kind::Map(&POSTGRES_SINK), "A table, written exactly once."),
        field("stdout", Kind::OneOf(&[Kind::Map(&STDOUT_SINK), Kind::Empty]), "Standard output; letters may repeat after a crash."),
        field("blackhole", Kind::Empty, "Counts dead letters and keeps none."),
    ],
};

pub static FILE_SINK: Shape = Shape {
    name: "file_sink",
    doc: "A folder with one file for each epoch, published atomically.",
    fields: &[
        required("path", Kind::Text, "The folder, relative to the pipeline file; made if it is not there."),
        field("format", SINK_FORMAT, "json (lines), csv or raw; json if not given."),
    ],
};

pub static KAFKA_SINK: Shape = Shape {
    name: "kafka_sink",
    doc: "A topic: the rows of an epoch and the epoch's number in one transaction.",
    fields: &[
        required("brokers", Kind::Text, "host:port, several separated by commas."),
        required("topic", Kind::Text, "The topic; it must be there."),
        field("format", SINK_FORMAT, "json (an object for each record), csv or raw; json if not given."),
        field("key", Kind::Text, "The column that is the record's key; its partition follows from the key, as Java's producer has it. Without a key, the partition follows from where the row came from."),
        field("headers", Kind::MapOf(&Kind::Text), "Headers by name, each from a column."),
        field("row_bytes_max", Kind::Bytes, "The largest row: value, key and headers. A larger one is rejected, as on_error of the step that gives it says. The topic must take it. 1MB if not given."),
        field("transaction_timeout", Kind::Duration, "After this time the broker gives a transaction up; 1m if not given."),
        field("settings", Kind::MapOf(&Kind::Text), "Settings of librdkafka, such as security.protocol, compression.type, linger.ms."),
    ],
};

pub static POSTGRES_SINK: Shape = Shape {
    name: "postgres_sink",
    doc: "A table: the rows of an epoch and the epoch's number in one transaction.",
    fields: &[
        required("url", Kind::Text, DATABASE_URL),
        required("table", Kind::Text, "table or schema.table."),
        field("key", TEXTS, "Columns of the primary key: the last row of each key wins. Without it every row is kept, under the source, partition, offset and index that caused it."),
        field("create_table", Kind::Bool, "True: the table is made when it is not there."),
    ],
};

pub static STDOUT_SINK: Shape = Shape {
    name: "stdout_sink",
    doc: "Standard output.",
    fields: &[field("format", SINK_FORMAT, "json (lines), csv or raw; json if not given.")],
};

pub static CHECKPOINT: Shape = Shape {
    name: "checkpoint",
    doc: "Where journal and checkpoints are kept.",
    fields: &[
        required("store", Kind::Text, "s3://bucket/prefix, or file://folder for development."),
        field("ephemeral", Kind::Bool, "True: accepts that a file:// store is lost with the machine."),
        field("replay_debt", Kind::Duration, "Re-execution that a recovery may have to do: decides when a checkpoint is made. 10s if not given."),
        field("keep", Kind::Count, "Checkpoints to keep; 20 if not given."),
    ],
};

pub static WORKER: Shape = Shape {
    name: "worker",
    doc: "How processes share the shards of a pipeline.",
    fields: &[field("session_timeout", Kind::Duration, "Silence of a process after which the others get its shards; 10s if not given.")],
};

pub static STATE: Shape = Shape {
    name: "state",
    doc: "How keyed state is kept on this machine.",
    fields: &[field("memory", Kind::Bytes, "Memory of the store of a shard: half for blocks of its files, half for changes that are not in a file yet; 128MiB if not given.")],
};

pub static EPOCH: Shape = Shape {
    name: "epoch",
    doc: "When an epoch is closed and committed.",
    fields: &[
        field("max_records", Kind::Count, "Records of an epoch; 262144 if not given."),
        field("max_bytes", Kind::Bytes, "Bytes of input of an epoch; 32MiB if not given."),
        field("max_delay", Kind::Duration, "How long an epoch waits for more records, from its first one on; 500ms if not given."),
        field("max_timers", Kind::Count, "Timers that fire in an epoch, of those that waited when it began; 50000 if not given."),
    ],
};
