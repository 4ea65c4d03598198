//! Every error code of Segno, with the text of `segno explain CODE`.
//!
//! Owns: the list. A test elsewhere checks that every code is produced by some test.
//!
//! Letters: C pipeline file and configuration, P plugin, D data, S source, K sink, J journal, checkpoint and
//! ownership, R run and replay, U command line.

use super::Kind;

macro_rules! codes {
    ($($name:ident, $text:literal, $kind:ident, $title:literal, $explain:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name,)* }

        /// Every code, in the order of the list.
        pub const ALL: &[Code] = &[$(Code::$name,)*];

        impl Code {
            /// The code as it is printed: a letter and three digits.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
            pub fn kind(self) -> Kind {
                match self { $(Code::$name => Kind::$kind,)* }
            }
            /// One line.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
            /// What it means, why Segno refuses, and what to do.
            pub fn explain(self) -> &'static str {
                match self { $(Code::$name => $explain,)* }
            }
            pub fn from_name(name: &str) -> Option<Code> {
                ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
            }
        }
    };
}

codes! {
    FileUnreadable, "C001", Configuration, "a file named by the user cannot be read",
        "The file does not exist, is a directory, or cannot be opened. Paths in a pipeline file are taken relative to the folder of the pipeline file. Check the spelling and the place.";
    YamlSyntax, "C002", Configuration, "the pipeline file is not well-formed YAML",
        "The place shows where reading stopped; the cause is there or just before. Common causes are tabs used for indentation, a missing colon, an unclosed quote, and ${NAME} without quotes inside { … } or [ … ].";
    UnknownField, "C003", Configuration, "the pipeline file has a field that Segno does not know",
        "Unknown fields are refused, because a misspelt setting that is silently ignored is worse than an error. The message names the nearest valid field. `segno schema` prints all of them.";
    InvalidValue, "C004", Configuration, "a field of the pipeline file has a value that is not allowed",
        "The message says which values are allowed, and the help shows an example. Counts may be written with k, M and G, sizes with KiB, MiB and GiB, times always with their unit: 200ms, 5s, 10m, 1h.";

    DuplicateField, "C005", Configuration, "a field stands twice in the pipeline file",
        "Which of the two values is meant cannot be known, and YAML readers disagree about it. Remove one of them.";
    UndefinedVariable, "C006", Configuration, "a variable of the pipeline file is not set",
        "${NAME} stands for the environment variable NAME. A variable that is not set is an error, because an empty value in its place would be found much later. Set it, or write a default: ${NAME:-value}. To write the two characters themselves, write $${.";
    MissingField, "C007", Configuration, "the pipeline file lacks a field that is needed",
        "The smallest pipeline file is:

    version: 1
    name: my-pipeline
    source: { files: ./input.jsonl, format: json }
    steps:
      - { id: clean, plugin: ./clean.wasm }
    sinks:
      - files: ./out
    checkpoint: { store: \"file://./checkpoints\", ephemeral: true }

`segno schema` lists every field with its meaning.";
    NameTaken, "C008", Configuration, "a name is used twice, or is reserved",
        "Steps, sinks, sources and side tables are told apart by their names in the journal, in the state store and in metrics. Give each one a name of its own, and keep it: a renamed step does not find its state.";
    BadName, "C009", Configuration, "a name has characters that are not allowed",
        "Names of pipelines, tenants, steps, sinks, sources and side tables become parts of object keys, file names and metric labels. They are made of ASCII letters, digits, - and _, start with a letter or a digit, and have at most 64 characters.";
    UnknownReference, "C010", Configuration, "from names something that is not there",
        "from: is source, the id of a step, or step.port. Without it, a step reads the step before it, and a sink reads the last step.";
    StepOrder, "C011", Configuration, "a step reads a later step or itself",
        "Records flow through the steps in the order of the file: a step reads the source or a step above it. Move the step that is read up, or break the cycle.";
    LocalStore, "C012", Configuration, "checkpoints on a local disk",
        "A checkpoint that dies with its machine is none: with it go the journal, exactly-once and every replay. So file:// is refused unless ephemeral: true says that this is meant, as on a laptop. In production, use a versioned bucket: store: \"s3://bucket/prefix\".";
    NoCheckpoint, "C013", Configuration, "the pipeline names no checkpoint store",
        "Journal and checkpoints need a place, and a local disk is no safe default. Write checkpoint: { store: \"s3://bucket/prefix\" }, or for development checkpoint: { store: \"file://./checkpoints\", ephemeral: true }.";
    NoDeadLetterSink, "C014", Configuration, "on_error: dlq without a place for dead letters",
        "Records that cannot be processed would have nowhere to go. Add dlq: with a sink, such as dlq: { files: ./dead-letters }, or choose skip or fail.";
    UnsupportedVersion, "C015", Configuration, "the pipeline file has another version",
        "The first field of a pipeline file is version: 1. A file of a later version may mean other things by the same words, so it is not guessed at. Use a Segno that knows it.";
    EphemeralStore, "C016", Configuration, "checkpoints are in a local folder",
        "A warning. ephemeral: true was written, so the run goes on. When the machine or its disk is lost, journal and checkpoints are lost too: output cannot be continued exactly once, and nothing can be replayed.";
    AtLeastOnce, "C017", Configuration, "a sink may repeat rows",
        "A warning. Standard output cannot take rows back: rows of an epoch that was written but not yet committed appear again after a crash. Rows are never lost. File sinks publish atomically and repeat nothing.";
    NoEventTime, "C018", Configuration, "the pipeline has no event time",
        "A warning. Without time: the records of one file keep their order, and the files of an epoch follow each other in the order of their numbers. Which records share an epoch depends on when they arrived, so the order across files is journalled, not computed.";

    OutputIsInput, "C019", Configuration, "a sink writes into the files that a source reads",
        "The files that the sink publishes match the source's glob, so the next run would read its own output as input. Write into a folder of its own.";

    ColumnMismatch, "C020", Configuration, "a step reads a column that its input does not give, or gives with another type",
        "Every edge of the graph is checked before anything runs. The message names the reader, the column, the wanted type and what the step before gives.";

    KeyMissing, "C021", Configuration, "a step with keyed state has no key, or a key without state",
        "A plugin that keeps tables gets its state by key: key: names the columns that make it. All records of one key meet in one lane.";
    PortUnknown, "C022", Configuration, "from names a port that the plugin does not have",
        "A step reads a port by its name: from: step.port. Ports are named in the plugin's description; `segno inspect X.wasm` prints them. Without a name, the first one is meant.";
    TableMismatch, "C023", Configuration, "side tables in the file and in the plugin do not agree",
        "The plugin's description lists the side tables it wants; each needs an entry under tables: with the path of a file, and no others may be there. `segno inspect X.wasm` prints the list.";
    ReadersDisagree, "C024", Configuration, "two steps read one source column with different types",
        "A column of the source is decoded once. Where the format does not say its type, the readers do, and they must agree: change one of the plugins, or declare the type under columns: and see which one is wrong.";
    NoColumns, "C025", Configuration, "nothing says which columns there are, or which type one has",
        "A sink without columns: writes every column that flows to it, and a sink or a key does not say which type a column has. JSON records do not say it either. Write the columns with their types on the source, as in columns: { id: u64, name: \"utf8?\" }.";
    PortCount, "C026", Configuration, "a plugin does not have exactly one input port",
        "A step reads one stream. Plugins with several inputs (joins) cannot be used yet.";
    EventTimeMissing, "C027", Configuration, "a plugin wants event times, and the source has none",
        "The plugin's description says that it reads the records' event time, or the step has a ttl, which counts it. Say on the source which column holds it: time: column, with time_format: where it is text that is not RFC 3339.";
    ShardingUnfit, "C034", Configuration, "the pipeline cannot be divided among shards",
        "With sharding: by_partition each shard sees one partition of every topic. That gives the same output as one shard only where all records of a key are in one partition: so every keyed step's key must hold kafka.key, the key of the message (declare its type: columns: { kafka.key: utf8 }), and several sources must all be topics. Where producers use a partitioner of their own that keeps a key together, say partitioner: unchecked on the source. Otherwise write sharding: one.";
    KeysUnchecked, "C035", Configuration, "nothing checks that a key stays in its partition",
        "A warning. With sharding: by_partition, state is kept by shard: records of one key in two files or partitions would be counted apart. Files have no message key that could be compared, and partitioner: unchecked says not to compare. Make sure that whoever writes them keeps a key together.";
    RepartitionUnfit, "C036", Configuration, "a repartition step cannot be where it is, or not with what is behind it",
        "A repartition step sends rows through a topic, so that the steps behind it have another key. It needs sharding: by_partition and a source of Kafka topics; a key whose values can be compared as bytes (not bool or f64); and something behind it that writes rows. Behind it, a keyed step's key must hold the step's key.";

    RecordMalformed, "D001", Failed, "a record is not well-formed",
        "The bytes of the record break the grammar of its format (JSON, CSV). The whole record is always checked, whichever columns are read, so this verdict does not change when a pipeline reads other columns. The reason says what was wrong at which byte of the record; the original bytes are kept with it. It takes the way that on_error says.";
    RecordNotUtf8, "D002", Failed, "a record holds bytes that are not UTF-8",
        "Text formats are UTF-8. The whole record is checked, also the fields that nobody reads. Convert the input (`iconv -t UTF-8`), or read it as `raw`.";
    RecordTooLong, "D003", Failed, "a record is longer than the limit",
        "A record longer than line_bytes_max is not held in memory; reading goes on after it. Raise line_bytes_max where such records are meant, or look for a lost line end.";
    DuplicateName, "D004", Failed, "a name occurs twice in one object",
        "Which of the two values is meant cannot be known, and programs disagree. Names are compared after escapes are resolved, in every object of the record, whichever columns are read. Mend the producer.";
    NestingTooDeep, "D005", Failed, "a record is nested too deeply",
        "Objects and arrays inside each other are followed to a depth of 128, as most JSON libraries do. Deeper nesting is a mistake or an attack.";
    RecordNotObject, "D006", Failed, "a record is not an object",
        "Each JSON line, and each element of a JSON array of records, must be an object, because columns are named by its fields.";
    FieldMissing, "D007", Failed, "a field that a step needs is missing",
        "The record has no such field, and the column is not nullable. Declare the column optional in the plugin, or mend the producer.";
    FieldNull, "D008", Failed, "a field that a step needs is null",
        "The field is there but null (or an empty CSV field), and the column is not nullable. Declare the column optional in the plugin, or mend the producer.";
    FieldWrongType, "D009", Failed, "a field has another type than the column",
        "For example text where a number is wanted. Nothing is converted silently. The reason shows a part of the value that was found.";
    FieldUnparsable, "D010", Failed, "the text of a field cannot be read as the column's type",
        "For example a date that does not follow time_format, or a CSV field that is no number. The reason shows a part of the text that was found.";
    NumberNotHeld, "D011", Failed, "a number does not fit the column's type exactly",
        "The number is outside the range of the type, has decimals where an integer is wanted, or is an integer that a float cannot hold exactly. Digits are never dropped silently. Read the column as a type that holds it.";
    WrongFieldCount, "D012", Failed, "a CSV row has another number of fields than the header",
        "Fields cannot be matched to columns. A delimiter inside a field must stand in double quotes. Check the delimiter, too.";

    RecordWithoutValue, "D013", Failed, "a message has no value",
        "A message without a value (a tombstone) tells a compacted topic to forget its key. It has no columns, so it is no record of a pipeline that reads JSON or CSV; it takes the way that on_error says. With the format raw and a nullable column, such messages are read as null.";
    RecordMisplaced, "D014", Failed, "a record is not in the partition of its key",
        "With sharding: by_partition and keyed steps, the key's bytes are hashed (murmur2, as Java's producer does) and compared with the partition that the record came from; a record without a key belongs nowhere. Here the two differ: a producer uses another partitioner (librdkafka's default is one: set partitioner=murmur2_random), the number of partitions was changed, or the topic was written by hand. The state of the key would be split over two shards, so the record takes the way that on_error says.";
    RowsOfOtherColumns, "D015", Failed, "a row of a repartition topic has other columns",
        "Rows in the topic of a repartition step carry a fingerprint of their columns (names, types, whether they may be null). These were written by another version of the pipeline, or by somebody else, and are not guessed at. Where the pipeline was changed: run the version before with until: latest until its stages have read everything, then give the step another topic: and go on with --accept-change.";

    SourceMissing, "S001", Configuration, "a source names a file that does not exist",
        "The path, or every path that the glob could match, does not exist. Paths are taken relative to the folder of the pipeline file.";
    SourceUnreadable, "S002", Configuration, "a source file cannot be read",
        "It is a directory, or the system refused to open or read it. The message holds the system's words.";
    SourceShrunk, "S003", Failed, "a source file became shorter than what was read",
        "Offsets that are recorded in the journal lie beyond the end of the file: it was truncated or replaced. Output that was committed came from bytes that are gone, so going on would mix two histories. Restore the file; to start over with the new one, give the pipeline another name or another checkpoint folder.";
    SourceChanged, "S004", Failed, "a source file changed before the place where reading goes on",
        "The bytes just before the recorded offset are not those that were read: the file was edited, replaced or rotated. Restore the file; to start over with the new one, give the pipeline another name or another checkpoint folder. Files may only grow at their end.";
    SourceEmpty, "S005", Configuration, "a source has nothing to read",
        "Every file of the source is empty (0 bytes), or a CSV file has no header row. A file that will be written later is read with files: { path: …, follow: true }.";
    SourceFormat, "S006", Failed, "a source file is not of the format that the pipeline says",
        "For example a file that is not Parquet, a damaged Parquet file, or a JSON array that ends before its closing bracket. The message says where. Get the whole file again, or correct `format`.";
    SourceColumn, "S007", Configuration, "a source file does not have a column as it is wanted",
        "The header or the schema of the file lacks the column, or holds it with a type that cannot be converted without loss. The message names the file, the column and what was found.";
    SourceSetting, "S008", Configuration, "a setting of a source is not valid",
        "For example a glob that is not well-formed, a time_format that does not name a whole date, or a setting that does not go with the format.";

    KafkaUnreachable, "S009", Transient, "no broker of a Kafka cluster answers",
        "Nothing answered within a few seconds, or too few brokers are there (a partition without a leader, fewer replicas in sync than min.insync.replicas): the addresses under brokers: are wrong, brokers are down, or a firewall is between. Brokers tell clients their own addresses (advertised.listeners), which must be reachable, too. A shard that was live pauses until they are back, however long that is.";
    KafkaDenied, "S010", Configuration, "a Kafka cluster refuses the credentials or an operation",
        "The user or certificate under settings: was refused, or it lacks a right: a source needs Describe and Read on its topics, and Read on its group; a sink needs Describe and Write on its topic and on segno-marks, and Write on the transactional id, which begins with segno-.";
    TopicMissing, "S011", Configuration, "a Kafka topic does not exist",
        "Segno creates no topics for data: their partitions, replication and retention are decisions. Create the topic, or correct its name.";
    OffsetsGone, "S012", Failed, "records of a topic are gone before they were read",
        "Reading goes on at an offset that the topic does not hold any more: retention removed it, or somebody deleted records, or the topic lost its end. Segno never skips records silently. Restore them; or accept the loss with `segno run --accept-data-loss`: the run goes on at the first offset that is left, and the journal records which offsets were lost. Only records that no epoch has read can be given up: those that a recovery must read again, since the last checkpoint, cannot, and neither can a replay do without them; it can begin at a later checkpoint. Raise retention.ms, so that it is longer than the pipeline may stand still.";
    TopicReplaced, "S013", Failed, "a topic is not the one that was read before",
        "A topic of this name was deleted and created again, or the brokers are another cluster. Its offsets mean other records, so going on would lose some or mix two histories. Restore the topic, or run the pipeline under another name.";
    KafkaFailed, "S014", Transient, "reading from a Kafka cluster failed",
        "The message holds the words of librdkafka. Nothing was committed for the epoch at hand, and the shard tries again with growing pauses.";
    PartitionsDiffer, "S015", Configuration, "topics have different numbers of partitions",
        "With sharding: by_partition, shard n has partition n of every topic, and a key is in the same partition of all of them. That needs the same number of partitions everywhere. Write the smaller topic again into one with as many partitions, or use sharding: one.";
    PartitionsChanged, "S016", Failed, "the number of partitions is not what it was",
        "Adding a partition moves keys from one partition to another, while their state stays with the old shard: counts would start over silently. So the pipeline stops. Records that were already written to the new partition are not lost: copy the input into a topic with the wanted number of partitions and run the pipeline on it under another name. docs/kafka.md says how.";

    OwnershipLost, "J001", Failed, "another process took over this pipeline",
        "A newer generation exists in the checkpoint store: another process owns the shard now. This process has committed nothing since. Stop it, or use --take-over to take the shard back.";

    JournalBehind, "J002", Failed, "a checkpoint is newer than the journal",
        "A manifest names an epoch that the journal does not hold: journal objects were deleted, or the checkpoint store was partly restored from a backup. Going on would write other output for epochs that were already published. Restore the journal objects from the bucket's versions.";
    NothingUsable, "J003", Failed, "no checkpoint can be used and the old journal is gone",
        "Every checkpoint is damaged or belongs to another history, and the journal entries from the beginning were collected, so that the state cannot be computed again. Restore damaged objects from the bucket's versions: `segno checkpoint verify` names them.";
    ChangedPipeline, "J004", Configuration, "the pipeline changed under an existing state",
        "The plugin, the configuration, the graph or the engine is not the one that wrote the journal. State and output of the two cannot be told apart later unless the change is recorded. Run with --accept-change: unfinished epochs are finished with the old version, a checkpoint is made, the journal records the change.";
    ReplayDiffers, "R001", Failed, "re-execution gave another result",
        "An epoch was executed again from the journal and its output or state differs from what was recorded, though its input does not. Causes: a plugin depends on something that it must not see, the state store is damaged, or Segno has a bug. The message names the first record that differs as exactly as the kept digests allow.";
    EpochFailed, "R002", Failed, "a call fails, yet no record fails alone",
        "A plugin call trapped or ran out of a limit; the batch was split, and the record that completes the shortest failing prefix does not fail alone. The failure depends on several records together (hidden memory in the plugin, or memory that grows with the batch). Nothing was committed for this epoch. Raise the limit or mend the plugin.";
    RecordFailed, "R003", Failed, "a record was rejected and on_error is fail",
        "A record could not be decoded, or was rejected by a step, and the pipeline says on_error: fail. Nothing of this epoch was committed. Set on_error to dlq or skip to go on without such records.";
    TooManyRejections, "R004", Failed, "too many records were rejected after failing calls",
        "More calls failed in one epoch than are allowed: this is not a poison record but a broken plugin or input. Nothing of this epoch was committed.";
    DeadlineExpired, "R005", Transient, "a call ran longer than its deadline",
        "The deadline guards against a stuck plugin; it never decides output silently. The epoch was aborted and will run again; a record that repeatedly fails alone is rejected, as on_error says.";
    InputChanged, "R006", Failed, "the input is not what it was when the epoch was read",
        "The journal names ranges of the input, and reading them again gives other record boundaries or other bytes. Replay and recovery need the input as it was. Put the original files back; if they are gone, start the pipeline under another name.";
    MachineMemory, "R010", Transient, "the machine has no memory for a plugin",
        "The system gave no memory or no address space for an instance or for compiled code; no plugin and no record is at fault, and nothing of the epoch was committed. Each instance reserves about 4 GiB of addresses, of which it uses only what limits.memory allows: a limit on addresses (ulimit -v) must leave room for that. Otherwise use fewer threads, or a machine with more memory.";
    Internal, "R900", Failed, "a bug in Segno",
        "An invariant of Segno itself does not hold. Nothing was committed for the epoch at hand. Please report the message together with the journal entry.";
    PartitionGone, "S020", Failed, "a partition that was read before is not there any more",
        "The journal names a file (or a topic's partition) that the source no longer shows. Its records belong to the history of this pipeline, and recovery may need them again. Put it back, or run the changed input under another pipeline name.";
    RejectedByPlugin, "P050", Failed, "a plugin rejected a record",
        "The plugin called reject(reason) for the record. What happens then is the step's on_error: fail, skip or dlq.";
    StoreUrl, "C030", Configuration, "the checkpoint store is not one that Segno knows",
        "checkpoint.store is a URL: s3://bucket/prefix for production, file://./folder with ephemeral: true for development.";
    WorkDirUnusable, "C031", Configuration, "the work folder cannot be used",
        "Segno keeps the state store, the lock and the cache of compiled plugins in a work folder. It can be named with work_dir in the pipeline file.";
    AlreadyRunning, "J005", Failed, "this pipeline is already running on this machine",
        "Another process holds the lock of the work folder; the message names its process id. Two processes would compete for the shard. Stop the other one, or run with --take-over: the generation advances and the other process commits nothing more.";
    StoreUnusable, "J006", Transient, "the checkpoint store cannot be read or written",
        "An operation on the object store failed after several attempts. The shard pauses and tries again with growing pauses; nothing is lost and nothing is skipped.";
    JournalDamaged, "J007", Failed, "a journal entry is damaged",
        "The journal is the only record of what was committed, so Segno never skips an entry. Restore the object from the bucket's versions.";
    JournalGap, "J008", Failed, "a journal entry is missing",
        "Entries are numbered without gaps; one in the middle is gone. Restore the object from the bucket's versions.";
    JournalChain, "J009", Failed, "the journal's chain of digests is broken",
        "Each entry names the digest of the entry before it. An entry was replaced by another one after it was written. Restore the original object from the bucket's versions.";
    NewerFormat, "J010", Failed, "the history was written by a newer Segno",
        "A journal entry or a manifest has a format version that this Segno does not know, so it cannot know what it would overlook. Run the version of Segno that wrote it, or a newer one.";
    StateDamaged, "J011", Transient, "the local state store is damaged",
        "RocksDB reports damaged files. The local store is only a copy: it is discarded and restored from the newest intact checkpoint, and the epochs after it are executed again.";
    StateUnwritable, "J012", Transient, "the local state store cannot be written",
        "Usually the disk is full, or the work folder was removed. Nothing is lost: the epoch is in the journal, and the shard recovers from there when there is space. work_dir: puts the folder elsewhere.";
    CheckpointDamaged, "J013", Failed, "a checkpoint is damaged",
        "An object of the checkpoint is gone, has another length or another hash. Recovery uses the checkpoint before it and executes more epochs again. `segno checkpoint verify` lists all damaged objects; restore them from the bucket's versions.";
    ArchiveDamaged, "J014", Failed, "an archived component or plan is gone or damaged",
        "Components, resolved plans and init messages are archived under their hash, so that old epochs can be executed again as they were. Restore the object from the bucket's versions.";
    NoBucket, "J020", Failed, "the bucket of the checkpoint store does not exist",
        "checkpoint.store names a bucket that the server does not have. It is not created for you: where it lies, who may read it and how long versions are kept are your decisions. Create it, with versioning on, or correct checkpoint.store and AWS_ENDPOINT_URL.";
    StoreDenied, "J021", Failed, "the checkpoint store refuses the request",
        "The store answered, and its answer will not change by asking again: no permission, a wrong key or signature, a wrong region, a clock that is minutes wrong, or a request that this server does not know. Segno needs GetObject, PutObject, DeleteObject and ListBucket on the prefix. Without ListBucket, S3 says 403 where an object is absent. Nothing was committed after the last epoch; the next run goes on from there.";
    StoreCredentials, "J022", Transient, "the credentials of the checkpoint store have expired",
        "The store calls the credentials expired or unknown, and fetching them again gave none that it takes. The shard pauses and tries again; nothing is lost. Keys in AWS_ACCESS_KEY_ID cannot be renewed from outside a running process. Use credentials that renew themselves: an instance's or a task's role, AWS_CONTAINER_CREDENTIALS_FULL_URI with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, or AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN.";
    StoreUnsafe, "J023", Failed, "the checkpoint store lets two writers create one object",
        "Ownership and journal rest on one property: of several writers that create an object, exactly one succeeds. At the first start on a store, Segno lets writers race for new objects, and here more than one won, or none. The store ignores If-None-Match, or a proxy drops the header. On such a store two processes could commit the same epoch, so Segno does not start. AWS S3 and most compatible servers of today have conditional writes.";
    ShardingChanged, "J024", Configuration, "the pipeline's history has another sharding",
        "sharding: one and sharding: by_partition keep journal and state in different places, so a pipeline that is switched would start over from nothing. Segno never does that silently. Put the old value back, or run the pipeline under another name.";
    SinkUnwritable, "K001", Configuration, "a sink cannot write to its folder",
        "The folder of a files sink cannot be created or written. This is checked at start, before anything is read.";
    SinkFailed, "K002", Transient, "a sink failed to write",
        "Writing or publishing failed. The epoch is not lost: what is not in the journal is executed again, what is in the journal is published at recovery.";
    DiskFull, "K003", Transient, "the disk is full",
        "There is no space for the output or the state. The shard pauses and tries again with growing pauses; it resumes by itself when there is space.";
    OutputLost, "K004", Failed, "published output was changed or removed",
        "The journal names an object with its hash; the sink holds neither the staged nor the published object with that hash. Somebody changed the output folder. Restore the file.";
    SinkMarkLost, "K007", Failed, "a sink's mark of the last epoch is gone",
        "Kafka and PostgreSQL sinks keep the number of the last epoch in the same atomic write as its rows. The journal says that rows were written, and the mark is not there: a topic or a table was deleted, or the sink points elsewhere. Going on would lose rows or write them twice. Restore the marks, or accept the replaced sink with --accept-change.";
    DatabaseRefused, "K020", Configuration, "a database refuses the connection or an operation",
        "The user, the password or the database of a PostgreSQL sink or side table is wrong, or the user lacks a privilege: a side table needs SELECT on what it reads; a sink needs SELECT, INSERT and UPDATE on the sink's table, TEMPORARY on the database, and either CREATE on the database or a schema segno that it owns. The message shows the host and the server's own words, never the password. In a URL, special characters of a password are written with percent signs: @ is %40.";
    DatabaseInsecure, "K023", Configuration, "a connection to a database cannot be secured as its URL says",
        "sslmode of a PostgreSQL URL says how the connection is secured: require encrypts it, verify-ca also wants a certificate that an authority in sslrootcert signed (or one that the system trusts), verify-full also that it names the host of the URL. Segno never goes on with less: the server has no TLS, its certificate is of another authority, of another host or out of date, it wants a client certificate (sslcert, sslkey), or a file of the URL cannot be used. The message says which. Let the server's certificate be signed for the host that clients use, or name the right files.";
    TableUnfit, "K021", Configuration, "the table of a sink does not fit its rows",
        "Before anything is read, the table is compared with the columns that the sink writes: each must be there, with a type that holds every value, and nullable where the rows may hold null; other columns need a default or may be null; and a unique index must stand on the key, because rows are written with INSERT … ON CONFLICT. Without key:, the key is (segno_source, segno_partition, segno_offset, segno_index). With create_table: true the table is made when it is not there; an existing one is never changed.";
    RowRefused, "K022", Failed, "a database refuses a row",
        "A value cannot be stored in the table: text with a NUL character, a date outside PostgreSQL's range, or a row that breaks a constraint or a trigger of the table. Leaving the row out would lose it, so the shard stops. Values are checked before the epoch is committed: then the message names the record, and a step can reject such rows. What only the table can tell is found afterwards: change the table so that it takes the row, and run again.";
    OutputClosed, "K006", Failed, "the reader of standard output went away",
        "Standard output is a pipe whose reader ended (`segno run … | head` does that). Nothing more can be written, so the run ends. Rows of epochs that are not committed come again with the next run.";
    OutputOwned, "K013", Configuration, "another pipeline writes to the same folder under the same names",
        "A files sink names its files after sink, shard and epoch. Two pipelines with sinks of one name in one folder would overwrite each other's files, so the first one's name is kept in the folder, in .segno-staging, and the second one does not start. Give each pipeline a folder of its own, or its sinks other names.";
    StageTopic, "K014", Configuration, "the topic of a repartition step is not as it must be",
        "The topic is made when it is not there. One that is there must have as many partitions as the step says, and cleanup.policy=delete: compaction would remove rows that were not read. Name another topic, or make this one as the message says.";
    RawColumns, "K005", Configuration, "format raw needs exactly one text or binary column",
        "A sink with format raw writes the bytes of one column, each row followed by a line feed. Name the column with columns: [value], or choose json or csv to write several.";
    MarkTorn, "K008", Failed, "a Kafka sink's mark of the last epoch is half written",
        "The topic segno-marks shows that an epoch was begun and not that it was ended, although both are written in one transaction: a broker committed a part of a transaction. Whether all rows of the epoch are there cannot be known. Compare the epoch's rows, named by their header segno-origin, with a replay before going on.";
    MarksTopic, "K009", Configuration, "the topic segno-marks cannot be used",
        "Kafka sinks keep the number of the last epoch in the topic segno-marks. It must exist or be creatable, with cleanup.policy=compact, so that marks are kept for ever. Create it so, or mend its configuration.";
    RecordTooLarge, "K010", Failed, "a row is larger than a topic takes",
        "With row_bytes_max of a Kafka sink, larger rows are rejected before the epoch is committed, and take the way that on_error of the step says. A broker that refuses a smaller one has a lower max.message.bytes than at the start: then nothing of the epoch was written to the topic, and the epoch is not lost. Raise the limit on the topic again.";
    RowLimit, "K012", Configuration, "rows may be larger than a topic takes",
        "row_bytes_max of a Kafka sink (1MB if not given) decides which rows are rejected. The topic must take every other one, so its max.message.bytes, and message.max.bytes under settings: where it is set, must be at least 1 KiB larger. This is found at the start: a row that is committed and cannot be written would stop the pipeline for good.";
    TransactionExpired, "K011", Transient, "a Kafka transaction took longer than it may",
        "The broker gave the transaction up after transaction_timeout. None of its rows are visible, and they are written again. Raise transaction_timeout, or make epochs smaller.";
    NotAComponent, "P001", Configuration, "the file is not a component",
        "A plugin is a WebAssembly component. A core module, text, or anything else is refused. `segno build` makes a component of a crate.";
    PluginDamaged, "P002", Configuration, "the component file is damaged",
        "It begins like WebAssembly and does not go on like it: it was cut off or changed. Build or copy it again.";
    PluginTooLarge, "P003", Configuration, "the component file is too large",
        "Compiling takes time and memory in proportion to the size. Build with optimisation for size and without debug sections.";
    PluginImport, "P004", Configuration, "the component imports something that plugins may not reach",
        "Clocks, randomness, files and the network would make a replay differ, so a plugin may import Segno's own interface only. The message names the import. In Rust, build for wasm32-unknown-unknown.";
    PluginExports, "P005", Configuration, "the component does not export what a plugin exports",
        "A plugin exports describe, init and process with the types of segno:stream. The SDK's macro plugin! writes them.";
    PluginRefused, "P006", Configuration, "the engine refuses the component",
        "It uses features of WebAssembly that Segno leaves out because they are not deterministic or not needed (threads, garbage collection, exceptions, 64-bit memories, tail calls, several memories), or more instances, memories or tables than are allowed.";
    PluginDescription, "P007", Configuration, "the plugin's description is not valid",
        "describe() returns JSON that names ports, columns and tables; see wit/frame.md. The SDK writes it.";
    PluginInit, "P008", Configuration, "the plugin failed while starting",
        "describe() or init() trapped, or ran out of fuel or memory. The message has the plugin's own words, where it logged any. A large side table may need a higher limits.fuel_init or limits.memory.";
    PluginConfiguration, "P009", Configuration, "the plugin refused its configuration",
        "init() looked at the step's config and side tables and returned an error, which is the message. Correct config: or tables: of the step; the plugin's own documentation says what it wants.";
    ToolchainMissing, "P010", Configuration, "no toolchain for WebAssembly was found",
        "Building a plugin in Rust needs cargo and the standard library for wasm32-unknown-unknown: rustup target add wasm32-unknown-unknown.";
    BuildFailed, "P011", Failed, "the plugin could not be built",
        "cargo's own messages are above the error. If it builds natively and not for wasm32, look for a dependency that needs an operating system: files, threads, clocks, a C compiler.";
    ToolchainOld, "P013", Configuration, "the Rust compiler is too old for the SDK",
        "The SDK uses what Rust has since the version that the message names. `rustup update stable` brings the newest one. Where a rust-toolchain.toml, `rustup override` or the distribution chose the compiler, choose a newer one there; `rustc --version` in the plugin's folder shows which is used.";
    CacheTampered, "P012", Failed, "an entry of the plugin cache is not what this installation wrote",
        "Compiled plugins are native code; each has a MAC under a key of this installation. An entry without the right MAC is not loaded: the plugin is compiled again. If you did not copy files into the cache, find out who did.";
    PluginTrapped, "P020", Failed, "a plugin trapped",
        "The plugin panicked or did something that WebAssembly forbids. The batch was split until the record was found; it is treated as the step's on_error says.";
    PluginOutOfFuel, "P021", Failed, "a call used up its fuel",
        "Fuel bounds the work for a record: a call may use limits.fuel_per_record, however many records it has. Where records use more together, the call is made again with fewer; a record that needs more alone is rejected.";
    PluginOutOfMemory, "P022", Failed, "a plugin wanted more memory than allowed",
        "limits.memory bounds all memories of an instance together. Instances are thrown away after a failure, so a leak over many calls shows here too. Raise the limit where the memory is meant; otherwise keep less between calls, and put what must last into keyed state.";
    PluginTableLimit, "P023", Configuration, "a plugin wanted more table elements than allowed",
        "limits.tables bounds the elements of all tables of an instance together. Tables hold functions, so a component needs as many as it has, and cannot make them grow later: this is found before anything runs. Raise the limit where it is meant.";
    PluginStackOverflow, "P024", Failed, "a plugin overflowed its stack",
        "Recursion went too deep for the record: the stack of a call is 512 KiB. Usually a parser or a tree walk follows the depth of the input. Bound the depth, or use a loop with a list. The record is treated as the step's on_error says.";
    PluginAnswer, "P025", Failed, "a plugin's answer is malformed or too large",
        "The answer is checked before it is used: lengths, offsets, indices, types, UTF-8, and limits.output_bytes and limits.mutations. The SDK writes well-formed answers.";
    PluginFatal, "P026", Failed, "a plugin gave up",
        "process() returned an error: the plugin says that it cannot go on, whatever the record is. The shard stops, and nothing of the epoch was committed. To refuse single records, a plugin rejects them instead.";
    TimerFailed, "P027", Failed, "a call fails at a timer",
        "A timer has no record that could be rejected: leaving it out would lose a result without a trace. So the shard stops, nothing of the epoch was committed, and the next run meets the same timer. The message names the step, the timer and the plugin's own words; mend the plugin (the state that its earlier records left may be what it does not expect) and go on with `segno run --accept-change`.";
    TimerLoop, "P028", Failed, "timers set each other without end",
        "A timer that is set for a time that has passed fires at once. A plugin whose timer sets such a timer each time it fires never comes to an end. The message names the step and the time. Set the next timer for a later time than that of the one that fires.";
    SideTable, "C032", Configuration, "a side table is missing or cannot be used",
        "A plugin reads rows from a table that the step names under tables. Every row must be readable with the columns that the plugin declares; a bad row is an error here: a plugin never starts with a part of a table. A table of a database must have each of these columns with a type that can hold it; with query, columns can be renamed and converted. All rows together must not be larger than a side table may be.";
    TableUnread, "S017", Transient, "the rows of a side table cannot be read now",
        "A side table comes from a database that cannot be reached, or that broke off. A pipeline that starts needs its rows, so it ends; start it again when the database is there (whatever restarts it after a crash does that). A pipeline that runs and refreshes its table goes on with the rows that it has. Recovery of what was committed, and a replay, do not ask the database: they use the rows in the checkpoint store.";
    PluginMissing, "C033", Configuration, "a plugin file cannot be read",
        "The path is relative to the folder of the pipeline file. Build the plugin with `segno build`.";
    ExpectationBroken, "R013", Failed, "a step rejected more records than expect allows",
        "expect: of a step says how many of so many records it may reject. In the window that the message names it rejected more, so the run ended before the epoch was committed: nothing of the epoch is visible, and the next run reads it again. Look at the first rejected record and its reason. Then mend the producer or the plugin; or, where so many rejects are right, raise rejects (the change needs no acceptance: it decides no output); or let this window through with `segno run --accept-rejects`, which says what would have stopped and goes on. With else: warn this is a warning, and the run goes on by itself. Windows are counted in the records that reach the step, not in epochs, and the journal keeps the count, so a restart changes nothing.";

    ClockBehind, "R016", Failed, "the clock is behind the logical time of a pipeline",
        "A warning, with time: segno.processing_time. Logical time is what this machine's clock shows, and it never goes back: what the journal holds happened, and windows that ended do not end again. It is ahead of the clock now, because the clock of this machine, or of one that ran the pipeline before, was ahead once, or because this one is behind. Until the two meet, logical time goes at half the speed of the clock, so a window of ten seconds lasts twenty. Nothing is lost, and a replay is identical. If this machine's clock is wrong, set it right: nothing else is to be done. If another one was ahead by minutes or hours, wait: they meet after twice the difference. If it was ahead by more than anybody waits for, logical time cannot be set back: run the pipeline under another name, with a sink of its own, from where it is now; a new name has a new journal and no state.";
    RedriveRefused, "R014", Failed, "dead letters cannot be redriven",
        "`segno dlq redrive` reads the record of a dead letter from its source again and lets it enter the pipeline at the step that rejected it, so that what took it before does not take it twice. That cannot be where a step before that one keeps state, which the record has changed already, or where the source, the file or the step that the letter names is not in the pipeline any more. The message says which. --step, --code and --epoch choose letters; the others stay.";
    RedriveRows, "R015", Failed, "a redriven record reaches its step with another number of rows than were rejected",
        "One record may give several rows at a step, and the step may have rejected some of them and taken the others. Which ones is not known any more, and taking all of them again would write some twice. The record stays in the dead letters, with this code. It also happens when the plugins before that step now give another number of rows for the record.";

    NothingToReplay, "R007", Failed, "there is no history to replay",
        "The checkpoint store holds no journal of this pipeline. Run it first, or check checkpoint.store, name and tenant.";
    JournalCollected, "R008", Failed, "the oldest epochs were collected",
        "The journal is kept back to the oldest checkpoint that is kept; what came before was collected. Start the replay from that checkpoint (`segno checkpoint list`), or keep more with checkpoint.keep from now on.";
    NoSuchCheckpoint, "R009", Failed, "there is no such checkpoint",
        "Checkpoints are numbered from 1; old ones are collected. `segno checkpoint list` shows those that are kept.";
    ListenFailed, "R012", Configuration, "the address for metrics and status cannot be used",
        "--listen names a TCP address, such as 127.0.0.1:9464. Another process may use it, or this user may not. Port 0 takes any free one.";
    NotRunning, "R011", Failed, "the pipeline is not running on this machine",
        "`segno status` and `segno top` ask the process that holds the pipeline's work folder. None answers. Start it with `segno run`, or look on the machine where it runs; `segno checkpoint list` shows what is stored.";

    UnknownCode, "U001", Usage, "there is no such error code",
        "Codes are a letter and three digits, as in C003. Errors show them in brackets.";
    UnknownStep, "U002", Usage, "the pipeline has no such step, or the step no such table",
        "`segno validate` lists the steps of a pipeline, and `segno inspect` the tables of a plugin.";
    KeyUnreadable, "U003", Usage, "the key on the command line cannot be read",
        "A key is given as one word for each key column, in the order of key: in the pipeline file, and written as the column's type: numbers in decimal, timestamps in RFC 3339, dates as YYYY-MM-DD, binary in hexadecimal.";
    UnknownShard, "U005", Usage, "the pipeline has no such shard",
        "Shards are numbered from 0, as the partitions of the topics. A pipeline with sharding: one has a single shard, which needs no --shard.";
    UnknownStage, "U014", Usage, "the pipeline has no such stage",
        "A pipeline with repartition steps has several stages: the first is called source, each other one as the repartition step that it begins with. `segno validate` shows them.";
    Misunderstood, "U006", Usage, "the command line cannot be understood",
        "A command, a flag or a value is unknown or missing. The message says which; `segno COMMAND --help` shows what there is. Every flag can be given as an environment variable, too, so look at those that begin with SEGNO_.";
    NotKept, "U004", Failed, "the sink keeps nothing that could be read back",
        "Dead letters can be listed only when dlq: is a files sink. Standard output and blackhole keep nothing.";
    HiddenMemory, "P051", Failed, "a plugin's answers depend on how records are cut into calls",
        "The same records were handed to the plugin in calls of different sizes, and it answered differently. It keeps memory between calls (a static, a field of the plugin that process changes), which a fresh instance does not have. Then output would depend on batch sizes and restarts. Keep what must last in keyed state. In Rust, the order of a HashMap or a HashSet of the standard library is such a memory as well, since each map is hashed with other keys: use segno_sdk::HashMap, segno_sdk::HashSet or a BTreeMap.";
    NotEmpty, "U007", Usage, "the folder of a new project is not empty",
        "`segno new NAME` makes the folder NAME, or fills one that is empty. Anything else it leaves alone: choose another name, or move what is there.";
    NoCrateName, "U008", Usage, "the name of a new project is no name in its language",
        "The name becomes the crate, the folder, the component's file and the plugin's name in messages: small letters, digits, - and _, beginning with a letter, and no word that Rust or the SDK has already.";
    NoLanguage, "U009", Usage, "there is no SDK for this language",
        "The help lists the languages that have one. Any other language that compiles to components may be used without one: the boundary is specified in wit/ of Segno's repository.";
    NoSdk, "U010", Usage, "the folder is no checkout with the SDK",
        "--sdk names the root of a checkout of Segno, so that a project follows the SDK there. Without it, the sources that the command carries are copied into the project's vendor/ folder.";
    ProjectUnwritable, "U011", Failed, "a file of the project cannot be written",
        "The message names the file, and its cause what the system says: usually a folder that belongs to another user, or a full disk.";
    NoSuchRecord, "U012", Usage, "there is no such record to run alone",
        "--record takes the offset at which a record begins in the first source's file: the last part of SOURCE/FILE/OFFSET in dead letters. Records of files with one record on each line can be taken out; those of other sources cannot.";
    NotWatched, "U013", Failed, "files cannot be watched for changes",
        "`segno dev` asks the system to tell it of changes to the project's files. Without that there is `segno dev --once`, which makes one round.";

    ScenarioFailed, "P060", Failed, "a scenario gives something else than is expected",
        "`segno test` ran the pipeline on the scenario's input, twice, with calls of different sizes. The differences are shown line by line: - is expected, + was found. A scenario also fails when a record costs more fuel than its budget, fuel_per_record in scenario.yaml. Mend the plugin; or, when the new result is right, `segno test --update` records it. Read the change before it is committed.";
    ScenarioUnfit, "P061", Configuration, "a project's test cannot be run",
        "A project has a pipeline.yaml with a step that runs its plugin, and scenarios: folders below scenarios/ with an input (input.jsonl, or NAME.jsonl for each source of several), optionally scenario.yaml with config and fuel_per_record, and expected/ with the golden files, which `segno test --update` writes.";
    ContractBroken, "P062", Failed, "the plugin breaks its contract",
        "contract.json records which columns the plugin reads and gives, its ports and tables. Pipelines and readers of its output rely on them, so that only additions are compatible: new ports, new output columns, fewer columns read. The message says what changed otherwise. Put it back; or change whoever relies on it and record the new contract with `segno test --update`.";
    StateUnversioned, "P063", Failed, "stored state changed its fields without a new version",
        "State that older versions of the plugin wrote is read by newer ones. So a table's fields are only appended, each with the version that brings it (since), and the table has a higher version: in Rust #[segno(since = N)] and #[segno(version = N)], in the other languages what their SDK calls so. A field that is removed, changed or moved needs a table with a new name. Values are found by the place of their table: tables keep their order, new ones come behind the others, and one that is used no more stays declared. Neither `segno test --update` nor `segno run --accept-change` takes such a change: values would be read as others. While no pipeline has state of the plugin, remove contract.json and record it anew; a pipeline whose state need not be kept goes on under another name.";
}
