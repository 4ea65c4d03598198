//! Every error of a pipeline file: what is written, and the code, the place and the words that come of it.

use super::*;
use crate::source::{FormatSpec, NexmarkKind, SourceSpec};
use std::time::Duration;

const GOOD: &str = "\
version: 1
name: flights
source: { files: ./a.jsonl, format: json, time: date }
steps:
  - { id: one, plugin: one.wasm }
  - { id: two, plugin: two.wasm }
sinks: [{ files: ./out }]
checkpoint: { store: \"s3://bucket/flights\" }
";

fn lookup(name: &str) -> Option<String> {
    (name == "SET").then(|| "value".to_owned())
}

fn parse(yaml: &str) -> Result<Pipeline, Vec<Error>> {
    Pipeline::parse(Path::new("p.yaml"), yaml, &lookup)
}

fn good(yaml: &str) -> Pipeline {
    parse(yaml).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// One error: `code line:column message | help`.
fn shown(error: &Error) -> String {
    let (line, column) = error.place().expect("every error of the file has a place").line_column();
    let help = error.help().expect("every error says what to do");
    format!("{} {line}:{column} {} | {help}", error.code().name(), error.message())
}

/// `GOOD` with the line that starts with `start` replaced (or, with an empty start, `line` added at the end).
fn with(start: &str, line: &str) -> String {
    if start.is_empty() {
        return format!("{GOOD}{line}\n");
    }
    assert!(GOOD.lines().any(|one| one.starts_with(start)), "{start}");
    let keep = |one: &str| if one.starts_with(start) { line.to_owned() } else { one.to_owned() };
    GOOD.lines().map(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_error_has_its_code_place_and_help() {
    let cases: &[(&str, &str, &str)] = &[
        // The top.
        ("version", "version: 2", "C015 1:10 version 2 of the pipeline file is not known | this Segno reads version: 1"),
        ("version", "", "C007 2:1 the pipeline file has no \"version\" | write version: 1 on the first line"),
        ("name", "nmae: flights", "C003 2:1 the pipeline file has no field \"nmae\" | did you mean \"name\"?\nC007 1:1 the pipeline file has no \"name\" | add a line such as name: my-pipeline"),
        ("name", "name: my flights", "C009 2:7 name \"my flights\" holds the character ' ' | use letters, digits, - and _, as in \"my-flights\": names become parts of object keys and file names"),
        ("name", "name: -x", "C009 2:7 name \"-x\" does not start with a letter or a digit | use letters, digits, - and _, as in \"x\": names become parts of object keys and file names"),
        ("name", "name: [a]", "C004 2:7 name is text, not a list | write plain text"),
        ("name", "name:", "C007 2:1 the pipeline file has no \"name\" | add a line such as name: my-pipeline"),
        ("name", "name: x\nname: y", "C005 3:1 \"name\" stands twice in the pipeline file | remove one of the two: which one is meant cannot be known"),
        ("name", "name: ${UNSET}", "C006 2:7 the variable UNSET is not set | set it (export UNSET=…), or write a default: ${UNSET:-value}"),
        ("", "max_records_per_epoch: 5", "C003 9:1 the pipeline file has no field \"max_records_per_epoch\" | write epoch: { max_records: … }"),
        ("", "zzz: 5", "C003 9:1 the pipeline file has no field \"zzz\" | valid are: version, name, tenant, source, sources, sharding, worker, steps, sinks, sink, dlq, checkpoint, epoch, state, batch_rows, threads, work_dir, replay_detail, mask"),
        ("", "state: { memory: 1MiB }", "C004 9:18 state.memory is from 16777216 to 1099511627776, not 1048576 | choose a value from 16777216 to 1099511627776"),
        ("", "state: { memory: much }", "C004 9:18 state.memory is a number of bytes, not \"much\" | for example 64KiB, 16MiB or 1GiB"),
        ("", "threads: 0", "C004 9:10 threads is from 1 to 1024, not 0 | choose a value from 1 to 1024"),
        ("", "batch_rows: many", "C004 9:13 batch_rows is a whole number, not \"many\" | for example 500, 10k or 1M"),
        ("", "replay_detail: rows", "C004 9:16 replay_detail cannot be \"rows\" | did you mean row? Valid are block, row"),
        ("", "tenant: a/b", "C009 9:9 tenant \"a/b\" holds the character '/' | use letters, digits, - and _, as in \"a-b\": names become parts of object keys and file names"),
        // The source.
        ("source", "", "C007 1:1 the pipeline file has no \"source\" | add for example source: { files: ./input/*.jsonl, format: json }"),
        ("source", "source: { pulsar: { topics: [a] }, format: json }", "C003 3:11 the source has no field \"pulsar\" | valid are: name, files, kafka, nexmark, format, time, time_format, time_unit, watermark_delay, idle_timeout, columns, on_error"),
        ("source", "source: { fiels: ./a, format: json }", "C003 3:11 the source has no field \"fiels\" | did you mean \"files\"?"),
        ("source", "source: { format: json, name: a }", "C007 3:9 the source does not say where records come from | add one of files, kafka, nexmark, for example files: ./input.jsonl"),
        ("source", "source: { files: ./a, nexmark: {}, format: json }", "C004 3:23 the source is both files and nexmark | write one list entry for each under sources; they are merged into one stream"),
        ("source", "source: { files: ./a }", "C007 3:9 the source has no \"format\" | say format: json, csv, raw or parquet"),
        ("source", "source: { files: [], format: json }", "C004 3:18 files names no path | name the files: files: ./input/*.jsonl"),
        ("source", "source: { files: { follow: true }, format: json }", "C007 3:18 files has no \"path\" | name the files: path: ./input/*.jsonl"),
        ("source", "source: { files: { path: a, follow: maybe }, format: json }", "C004 3:37 follow is true or false, not \"maybe\" | write true or false"),
        ("source", "source: { files: { path: a, follow: true }, format: parquet }", "C004 3:18 a Parquet file cannot be followed | its last bytes describe the whole file; remove follow"),
        ("source", "source: { files: ./a, format: jsno }", "C004 3:31 format cannot be \"jsno\" | did you mean json? Valid are json, csv, raw, parquet"),
        ("source", "source: { files: ./a, format: { csv: { delimiter: ab } } }", "C004 3:51 delimiter is one ASCII character, not \"ab\" | for example \",\", \";\", \"|\" or \"\\t\"; a quote or a line end cannot be one"),
        ("source", "source: { files: ./a, format: { csv: { header: false } } }", "C004 3:48 without a header row, nothing names the columns | write their names: header: [id, amount, date]"),
        ("source", "source: { files: ./a, format: { csv: { header: [a, a] } } }", "C004 3:52 a column's name \"a\" stands twice | give each column a name of its own"),
        ("source", "source: { files: ./a, format: { json: { line_bytes_max: 1M } } }", "C004 3:57 line_bytes_max is a number of bytes, not \"1M\" | for example 64KiB, 16MiB or 1GiB"),
        ("source", "source: { files: ./a, format: { json: {}, csv: {} } }", "C004 3:31 format names one format | write for example format: { csv: { delimiter: \";\" } }"),
        ("source", "source: { files: ./a, format: json, time: /a//b }", "C004 3:43 time: \"/a//b\" is not the path of a column | write a column's name, and for nested input a path such as /bid/price or bid.price"),
        ("source", "source: { files: ./a, format: json, time_unit: ms }", "C007 3:37 time_unit says nothing without an event time | say which column holds it: time: column"),
        ("source", "source: { files: ./a, format: json, time: t, time_unit: sec }", "C004 3:57 time_unit cannot be \"sec\" | did you mean s? Valid are s, ms, us"),
        ("source", "source: { files: ./a, format: json, time: t, watermark_delay: 5 }", "C004 3:63 watermark_delay is a time with its unit, not 5 | for example 200ms, 5s, 10m or 1h"),
        ("source", "source: { files: ./a, format: json, columns: { a: string } }", "C004 3:51 \"string\" is not a column type | did you mean utf8? Add ? for nullable"),
        ("source", "source: { files: ./a, format: json, columns: { a: xyz? } }", "C004 3:51 \"xyz?\" is not a column type | valid are bool, i32, i64, u64, f64, utf8, binary, timestamp, date, decimal128(precision,scale); add ? for nullable"),
        ("source", "source: { files: ./a, format: raw, time: t }", "C004 3:36 raw records have no event time | use json or csv, or remove time"),
        ("source", "source: { files: ~/a, format: json }", "C004 3:18 a path: ~ is not replaced in a pipeline file | write \"${HOME}/a\", or a path relative to the pipeline file"),
        ("source", "source: { files: a, format: json, columns: { a: decimal128(9,2) } }", "C004 3:49 \"decimal128(9\" is not a column type | inside { … } a comma ends the value: put quotes around it, as in \"decimal128(10,2)\"\nC004 3:65 a column's type is text, not nothing | write a value, or remove the field"),
        ("sinks", "sinks: [{ files: \"\" }]", "C004 7:18 files is empty | name a file or a folder"),
        ("source", "source: { nexmark: { evnts: 5 } }", "C003 3:22 nexmark has no field \"evnts\" | did you mean \"events\"?"),
        ("source", "source: { nexmark: { start: yesterday } }", "C004 3:29 \"yesterday\" is not a time | write RFC 3339, as in 2015-07-15T00:00:00Z"),
        ("source", "source: { nexmark: {}, format: json }", "C004 3:24 nexmark has no format | remove it: the generator gives typed columns"),
        ("source", "source: { files: ./a, format: json, on_error: dlq }", "C014 3:47 the source sends records to the dead letters, and the pipeline has no place for them | add for example dlq: { files: ./dead-letters }, or use on_error: skip"),
        ("source", "sources: []", "C007 3:10 sources is empty | add for example source: { files: ./input/*.jsonl, format: json }"),
        ("source", "sources:\n- { files: a, format: json, time: t }\n- { files: b, format: json }", "C007 5:3 this source has no event time, and another one has | say time: column on every source, or on none: one stream has one order"),
        ("source", "sources:\n- { name: a, files: a, format: json }\n- { name: a, files: b, format: json }", "C008 5:11 two sources are called \"a\" | give each source a name of its own"),
        // Kafka and PostgreSQL.
        ("source", "source: { kafka: { topics: [a] }, format: json }", "C007 3:18 kafka has no \"brokers\" | write brokers: \"host:9092\", several separated by commas"),
        ("source", "source: { kafka: { brokers: localhost, topics: [a] }, format: json }", "C004 3:29 brokers is a list of host:port | write brokers: \"host:9092\", several separated by commas"),
        ("source", "source: { kafka: { brokers: 'h:1' }, format: json }", "C007 3:18 kafka has no \"topics\" | name the topics: topics: [payments]"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [] }, format: json }", "C004 3:44 topics is empty | name the topics: topics: [payments]"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a b] }, format: json }", "C004 3:45 \"a b\" is not the name of a topic | topics are named with letters, digits, '.', '_' and '-', at most 249 of them"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a, a] }, format: json }", "C004 3:48 topic \"a\" stands twice | remove one of the two"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a], start: newest }, format: json }", "C004 3:56 start cannot be \"newest\" | write earliest, latest, a time as in 2026-01-31T00:00:00Z, or offsets: { topic/0: 1200 }"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a], start: { offsets: { a: 1 } } }, format: json }", "C004 3:69 \"a\" is not a partition | write topic/partition, as in payments/0"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a], settings: { isolation.level: x } }, format: json }", "C004 3:61 isolation.level cannot be set: exactly-once depends on it | remove it; Segno sets auto.offset.reset, bootstrap.servers, enable.auto.commit, enable.auto.offset.store, enable.idempotence, group.id, isolation.level, metadata.broker.list, transaction.timeout.ms, transactional.id"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a] }, format: parquet }", "C004 3:59 records of a topic cannot be parquet | use json, csv or raw"),
        ("source", "source: { kafka: { brokers: 'h:1', topics: [a] }, format: csv }", "C004 3:59 records of a topic have no header row | name the columns: format: { csv: { header: [id, amount] } }"),
        ("sinks", "sinks: [{ kafka: { brokers: 'h:1' } }]", "C007 7:18 kafka has no \"topic\" | name the topic: topic: scores"),
        ("sinks", "sinks: [{ kafka: { brokers: 'h:1', topic: a, transaction_timeout: 1h } }]", "C004 7:67 transaction_timeout is from 1s to 15m | leave it out for 1m"),
        ("sinks", "sinks: [{ kafka: { brokers: 'h:1', topic: a, row_bytes_max: 0 } }]", "C004 7:61 row_bytes_max is from 1 to 268435456, not 0 | choose a value from 1 to 268435456"),
        ("sinks", "sinks: [{ postgres: { table: a } }]", "C007 7:21 postgres has no \"url\" | write url: \"postgres://user:${PASSWORD}@host:5432/database\""),
        ("sinks", "sinks: [{ postgres: { url: 'mysql://h/d', table: a } }]", "C004 7:28 url does not begin with postgres:// | write url: \"postgres://user:${PASSWORD}@host:5432/database\""),
        ("sinks", "sinks: [{ postgres: { url: 'postgres://h/d', table: A.b.c } }]", "C004 7:53 \"A.b.c\" is not the name of a table | write table or schema.table, in lower case letters, digits and _"),
        // The steps.
        ("  - { id: two", "  - { id: one, plugin: b.wasm }", "C008 6:11 two steps have the id \"one\" | give each step an id of its own: it names the step's state"),
        ("  - { id: two", "  - { id: source, plugin: b.wasm }", "C008 6:11 a step cannot be called source | source is what `from` calls the input; choose another id"),
        ("  - { id: two", "  - { plugin: b.wasm }", "C007 6:5 the step has no \"id\" | add a line such as id: enrich; the id names the step's state, so choose one that stays"),
        ("  - { id: two", "  - { id: two }", "C007 6:5 the step has no \"plugin\" | name the component: plugin: ./plugins/name.wasm"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, form: one }", "C003 6:32 the step has no field \"form\" | did you mean \"from\"?"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, from: ona }", "C010 6:38 the step reads from \"ona\", which is neither the source nor a step before it | did you mean \"one\"?"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, from: two }", "C011 6:38 step \"two\" reads from itself | name the source or a step before it"),
        ("  - { id: one", "  - { id: one, plugin: a.wasm, from: two }", "C011 5:38 the steps form a cycle: one ← two ← one | let one of them read from the source or from a step outside the cycle"),
        ("  - { id: one", "  - { id: one, plugin: a.wasm, from: three }\n  - { id: three, plugin: c.wasm, from: source }", "C011 5:38 step \"one\" reads from step \"three\", which stands after it | move step \"three\" before step \"one\""),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, key: [] }", "C004 6:37 key is empty | name the key columns, or remove the field"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, key: [a, /a] }", "C004 6:41 column \"a\" stands twice in the key | remove one of the two"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, on_error: drop }", "C004 6:42 on_error cannot be \"drop\" | valid are fail, skip, dlq"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, on_error: dlq }", "C014 6:42 the step sends records to the dead letters, and the pipeline has no place for them | add for example dlq: { files: ./dead-letters }, or use on_error: skip"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, lanes: 1000 }", "C004 6:39 lanes is from 1 to 256, not 1000 | choose a value from 1 to 256"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, limits: { fuel_per_recrd: 1M } }", "C003 6:42 limits has no field \"fuel_per_recrd\" | did you mean \"fuel_per_record\"?"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, limits: { memory: 64M } }", "C004 6:50 limits.memory is a number of bytes, not \"64M\" | for example 64KiB, 16MiB or 1GiB"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, limits: { memory: 8GiB } }", "C004 6:50 limits.memory is from 1 to 4294967296, not 8589934592 | choose a value from 1 to 4294967296"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, limits: { deadline: 0s } }", "C004 6:52 limits.deadline is 0 | every call takes some time; the default is a good start"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, config: { a: 99999999999999999999 } }", "C004 6:45 99999999999999999999 is too large for a number of 64 bits | write it in quotes, as text"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, config: { a: 1, a: 2 } }", "C005 6:48 \"a\" stands twice in config | remove one of the two: which one is meant cannot be known"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { path: x.xlsx } } }", "C004 6:53 the ending of \"x.xlsx\" does not say which format it has | add format: csv, json or parquet"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { path: x, format: raw } } }", "C004 6:64 a side table cannot be raw | use csv, json or parquet: a table has named columns"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: {} } }", "C007 6:45 the table has no \"path\" | name the file: path: ./airports.csv, or a database: postgres: { url: …, table: … }"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { path: a.csv, postgres: {} } } }", "C004 6:47 the table has both postgres and path | a table is a file or comes from a database: remove one of the two"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { postgres: { url: \"postgres://h\" } } } }", "C007 6:57 postgres has neither \"table\" nor \"query\" | name the table: table: airports, or write query: SELECT …"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { postgres: { url: \"postgres://h\", table: a, query: b } } } }", "C004 6:90 postgres has both table and query | remove one of the two"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { postgres: { url: \"postgres://h\", query: \" ; \" } } } }", "C004 6:87 query is empty | write a SELECT, or name the table: table: airports"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { postgres: { url: \"postgres://h\", table: a, refresh: 10ms } } } }", "C004 6:99 refresh is 1s at least | every refresh reads the whole table"),
        ("  - { id: two", "  - { id: two, plugin: b.wasm, tables: { t: { postgres: { url: \"postgres://h?sslmode=prefer\", table: a } } } }", "C004 6:64 sslmode prefer goes on in plaintext when somebody on the way says that the server has no TLS | write sslmode=verify-full (or verify-ca, require), or sslmode=disable where the network is trusted"),
        ("  - { id: two", "  - two", "C004 6:5 the step is a map of fields, not text | write `name: value` lines, indented below it"),
        // The sinks.
        ("sinks", "", "C007 1:1 the pipeline file has no \"sinks\" | add for example sinks: [{ files: ./out }]"),
        ("sinks", "sinks: []", "C007 7:8 sinks is empty | add for example sinks: [{ files: ./out }]"),
        ("sinks", "sinks: { files: ./out }", "C004 7:8 sinks is a list, not a map | start each sink with a dash, or write sink: for a single one"),
        ("sinks", "sinks: [{ mongodb: { table: a } }]", "C003 7:11 the sink has no field \"mongodb\" | valid are: name, from, columns, files, kafka, postgres, stdout, blackhole"),
        ("sinks", "sinks: [{ name: a }]", "C007 7:9 the sink does not say where rows go | add one of files, kafka, postgres, stdout, blackhole, for example files: ./out"),
        ("sinks", "sinks: [{ files: a, blackhole: {} }]", "C004 7:21 the sink is both files and blackhole | write one list entry for each sink; several may read the same step"),
        ("sinks", "sinks: [{ files: a }, { files: b }]", "C008 7:23 there are two sinks of the kind files, and this one has no name | add a line such as name: files-2"),
        ("sinks", "sinks: [{ files: a, name: dlq }]", "C008 7:27 \"dlq\" is the dead letters' name | give each sink a name of its own: journal and metrics tell sinks apart by it"),
        ("sinks", "sinks: [{ files: a, from: tow }]", "C010 7:27 the sink reads from \"tow\", which is neither the source nor a step before it | did you mean \"two\"?"),
        ("sinks", "sinks: [{ files: a, columns: [] }]", "C004 7:30 columns is empty | name the columns to write, or remove the field to write all"),
        ("sinks", "sinks: [{ files: { path: a, format: parquet } }]", "C004 7:37 format cannot be \"parquet\" | valid are json, csv, raw"),
        ("sinks", "sinks: [{ blackhole: 5 }]", "C004 7:22 blackhole has no settings, and here is a number | write blackhole: {}"),
        ("source", "source: { files: ./out/*.jsonl, format: json }", "C019 7:18 sink \"files\" writes files that source \"source\" reads: ./out/*.jsonl | let the sink write into a folder of its own"),
        ("", "dlq: { name: x }", "C003 9:8 dlq has no field \"name\" | valid are: files, kafka, postgres, stdout, blackhole"),
        ("", "dlq: {}", "C007 9:6 dlq does not say where rows go | add one of files, kafka, postgres, stdout, blackhole, for example files: ./out"),
        ("name", "name: { a: ${B} }", "C002 2:13 not well-formed YAML: while parsing a flow mapping, did not find expected ',' or '}' | inside { … } and [ … ], put quotes around a variable: \"${NAME}\""),
        // Checkpoints and epochs.
        ("checkpoint", "", "C013 1:1 the pipeline has no checkpoint store | add checkpoint: { store: \"s3://bucket/prefix\" }; on a laptop: checkpoint: { store: \"file://./checkpoints\", ephemeral: true }"),
        ("checkpoint", "checkpoint: { keep: 3 }", "C007 8:13 checkpoint has no \"store\" | write store: \"s3://bucket/prefix\", or store: \"file://./folder\" with ephemeral: true"),
        ("checkpoint", "checkpoint: { store: \"file://./ck\" }", "C012 8:22 checkpoints on a local disk are lost with the machine | use store: \"s3://bucket/prefix\"; for development only, add ephemeral: true"),
        ("checkpoint", "checkpoint: { store: ./ck }", "C030 8:22 checkpoint.store is not a URL | write \"s3://bucket/prefix\", or for a local folder \"file://./ck\" with ephemeral: true"),
        ("checkpoint", "checkpoint: { store: \"gs://b\" }", "C030 8:22 checkpoint.store cannot be of the kind gs:// | write store: \"s3://bucket/prefix\", or store: \"file://./folder\" with ephemeral: true"),
        ("checkpoint", "checkpoint: { store: \"s3:///\" }", "C030 8:22 checkpoint.store names nothing after s3:// | write store: \"s3://bucket/prefix\", or store: \"file://./folder\" with ephemeral: true"),
        ("checkpoint", "checkpoint: { store: \"s3://b\", keep: 0 }", "C004 8:38 checkpoint.keep is from 1 to 10000, not 0 | choose a value from 1 to 10000"),
        ("", "epoch: { max_rows: 5 }", "C003 9:10 epoch has no field \"max_rows\" | did you mean \"max_records\"?"),
        ("", "epoch: { max_bytes: 0 }", "C004 9:21 epoch.max_bytes is from 1 to 4294967296, not 0 | choose a value from 1 to 4294967296"),
    ];
    let mut wrong = Vec::new();
    for (start, line, expected) in cases {
        let found = match parse(&with(start, line)) {
            Ok(_) => "no error".to_owned(),
            // The order of errors is that of the file; those at one place are compared as a set.
            Err(errors) => {
                let mut lines: Vec<String> = errors.iter().map(shown).collect();
                lines.sort();
                lines.join("\n")
            }
        };
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        if found != expected.join("\n") {
            wrong.push(format!("{line}\n  expected {}\n  found    {found}", expected.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let errors = parse("version: 1\nname: a b\nsource: { files: x }\nsteps:\n- { id: \"${NO}\", plugin: p }\nsinks: 5\nfoo: 1\n")
        .unwrap_err();
    let codes: Vec<_> = errors.iter().map(|error| error.code().name()).collect();
    assert_eq!(codes[1..], ["C009", "C007", "C006", "C004", "C003"], "{errors:#?}");
    assert_eq!(codes[0], "C013", "what is missing as a whole stands at the top");
    assert!(errors.windows(2).all(|pair| pair[0].place().unwrap().span.start <= pair[1].place().unwrap().span.start));
}

#[test]
fn an_empty_file_and_one_that_is_no_map_are_errors() {
    assert_eq!(parse("").unwrap_err()[0].code(), Code::MissingField);
    assert_eq!(parse("# nothing\n").unwrap_err()[0].code(), Code::MissingField);
    assert_eq!(parse("- a\n- b\n").unwrap_err()[0].code(), Code::InvalidValue);
    assert_eq!(parse("a: [1, 2").unwrap_err()[0].code(), Code::YamlSyntax);
}

#[test]
fn a_file_that_would_explode_is_refused() {
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    for yaml in [deep, bomb] {
        assert_eq!(parse(&yaml).unwrap_err()[0].code(), Code::YamlSyntax);
    }
}

#[test]
fn a_small_file_gets_defaults() {
    let pipeline = good(GOOD);
    assert_eq!(pipeline.name, "flights");
    assert_eq!(pipeline.tenant, "default");
    assert_eq!(pipeline.steps[0].from, Upstream::Source);
    assert_eq!(pipeline.steps[1].from, Upstream::Step { step: 0, port: None });
    assert_eq!(pipeline.sinks[0].from, Upstream::Step { step: 1, port: None });
    assert_eq!(pipeline.sinks[0].name, "files");
    assert_eq!(pipeline.steps[0].config, serde_json::json!({}));
    assert_eq!(pipeline.epoch, EpochSpec::default());
    assert!(pipeline.warnings.is_empty(), "{:?}", pipeline.warnings);
    assert_eq!(pipeline.checkpoint.store, StoreUrl::S3("s3://bucket/flights".to_owned()));
    let SourceSpec::Files(files) = pipeline.source(0) else { panic!("files") };
    assert_eq!((files.name.as_str(), files.path.as_str(), files.format), ("source", "./a.jsonl", FormatSpec::Json));
}

const FULL: &str = r#"
version: 1
name: full
tenant: team-a
sources:
  - name: old
    files: { path: [a.csv, b.csv], follow: false }
    format: { csv: { delimiter: ";", header: [id, at], line_bytes_max: 4KiB } }
    time: /at
    time_format: "%Y-%m-%d"
    time_unit: s
    watermark_delay: 1m30s
    idle_timeout: 5s
    columns: { id: u64, nested.x: "f64?" }
    on_error: dlq
  - nexmark: { events: 1M, seed: 7, partitions: 4, events_per_second: 100, start: "2020-01-01T00:00:00Z", only: bid }
    time: date_time
steps:
  - id: a
    plugin: plugins/a.wasm
    from: source
    config: { threshold: 0.8, name: "${SET}", list: [1, true, null, -3] }
    tables: { airports: { path: airports.csv }, more: { path: m.dat, format: json } }
    key: [/id, nested.x]
    limits: { fuel_per_record: 1M, fuel_init: 1G, deadline: 5s, memory: 64MiB, tables: 10k, output_bytes: 1MiB, mutations: 100, log_lines: 0 }
    on_error: skip
    lanes: 4
  - { id: b, plugin: /abs/b.wasm, from: a.late }
sinks:
  - { files: { path: out, format: csv }, from: a, columns: [id, /nested/x] }
  - { stdout: , name: console }
  - { blackhole: {}, from: source, name: hole }
dlq: { files: dead }
checkpoint: { store: "file://./ck", ephemeral: true, replay_debt: 3s, keep: 2 }
state: { memory: 1GiB }
epoch: { max_records: 10k, max_bytes: 1MiB, max_delay: 20ms }
batch_rows: 512
threads: 2
work_dir: ./work
replay_detail: row
"#;

#[test]
fn processing_time_is_of_all_sources_and_has_no_settings() {
    let yaml = |first: &str, second: &str| {
        format!(
            "version: 1\nname: p\nsources:\n  - {{ nexmark: {{}}, name: a, {first} }}\n  - {{ nexmark: {{}}, name: b, {second} }}\nsinks: [{{ blackhole: {{}} }}]\ncheckpoint: {{ store: \"file://s\", ephemeral: true }}\n"
        )
    };
    let ours = "time: segno.processing_time";
    let pipeline = good(&yaml(ours, ours));
    assert!(pipeline.sources.iter().all(|source| source.time.as_ref().is_some_and(|time| time.is_processing_time())));
    let codes = |yaml: String| parse(&yaml).unwrap_err().iter().map(Error::code).collect::<Vec<_>>();
    assert_eq!(codes(yaml(ours, "time: date_time")), [Code::InvalidValue]);
    assert_eq!(codes(yaml(ours, "time: segno.processing_time, watermark_delay: 1s, time_unit: ms")), [Code::InvalidValue; 2]);
}

#[test]
fn every_setting_reaches_the_pipeline() {
    let yaml = FULL;
    let pipeline = good(yaml);
    let codes: Vec<_> = pipeline.warnings.iter().map(Error::code).collect();
    assert_eq!(codes, [Code::AtLeastOnce, Code::EphemeralStore]);
    let names: Vec<_> = pipeline.sources.iter().map(|source| source.spec.name()).collect();
    assert_eq!(names, ["old-1", "old-2", "source-2"]);
    let SourceSpec::Files(files) = &pipeline.sources[1].spec else { panic!("files") };
    assert_eq!(files.path, "b.csv");
    assert_eq!(files.line_bytes_max, 4096);
    assert_eq!(files.format, FormatSpec::Csv { header: Some(vec!["id".into(), "at".into()]), delimiter: b';' });
    assert_eq!(files.columns.len(), 2);
    assert!(files.columns[1].nullable);
    assert_eq!(pipeline.sources[0].watermark_delay, Duration::from_secs(90));
    assert_eq!(pipeline.sources[0].time.as_ref().unwrap().name, "at");
    let SourceSpec::Nexmark(nexmark) = &pipeline.sources[2].spec else { panic!("nexmark") };
    assert_eq!(nexmark.only, Some(NexmarkKind::Bid));
    assert_eq!((nexmark.events, nexmark.seed, nexmark.partitions), (Some(1_000_000), 7, 4));
    let step = &pipeline.steps[0];
    assert_eq!(step.config, serde_json::json!({"threshold": 0.8, "name": "value", "list": [1, true, null, -3]}));
    assert_eq!(step.key, ["id", "nested.x"]);
    assert_eq!(step.limits.memory, Some(64 << 20));
    assert_eq!(step.limits.log_lines, Some(0));
    assert_eq!(step.limits.deadline, Some(Duration::from_secs(5)));
    let TableOrigin::Files(files) = &step.tables[1].from else { panic!("a file") };
    assert_eq!(files.format, FormatSpec::Json);
    assert_eq!(pipeline.steps[1].from, Upstream::Step { step: 0, port: Some("late".to_owned()) });
    assert_eq!(pipeline.sinks[0].columns, Some(vec!["id".to_owned(), "nested.x".to_owned()]));
    assert_eq!(pipeline.sinks[1].from, Upstream::Step { step: 1, port: None });
    assert_eq!(pipeline.sinks[2].from, Upstream::Source);
    assert_eq!(pipeline.dlq.as_ref().unwrap().name, "dlq");
    assert_eq!(pipeline.checkpoint.keep, 2);
    assert_eq!(pipeline.epoch.max_records, 10_000);
    assert_eq!(pipeline.state.memory, 1 << 30);
    assert_eq!((pipeline.batch_rows, pipeline.threads, pipeline.replay_detail), (512, Some(2), ReplayDetail::Row));
}

#[test]
fn paths_are_relative_to_the_pipeline_file() {
    let pipeline = Pipeline::parse(Path::new("jobs/x/p.yaml"), GOOD, &lookup).unwrap();
    let SourceSpec::Files(files) = pipeline.source(0) else { panic!("files") };
    assert_eq!(Path::new(&files.path), Path::new("jobs/x/a.jsonl"));
    assert_eq!(pipeline.path(&pipeline.steps[0].plugin), Path::new("jobs/x/one.wasm"));
    assert_eq!(pipeline.path("/abs"), Path::new("/abs"));
}

#[test]
fn a_pipeline_without_steps_connects_source_and_sink() {
    let yaml = "version: 1\nname: copy\nsource: {files: a*, format: raw}\nsink: {blackhole: }\ncheckpoint: {store: s3://b}\n";
    let pipeline = good(yaml);
    assert_eq!(pipeline.sinks[0].from, Upstream::Source);
    assert_eq!(pipeline.warnings[0].code(), Code::NoEventTime);
    assert!(good(&yaml.replace("a*", "a")).warnings.is_empty(), "one file has one order");
}

#[test]
fn what_is_shown_is_the_same_pipeline() {
    for yaml in [FULL, GOOD] {
        let pipeline = good(yaml);
        let shown = pipeline.show_yaml();
        let again = good(&shown);
        assert_eq!(again.show(), pipeline.show(), "{shown}");
        assert_eq!(again.steps, pipeline.steps);
        assert_eq!(again.sources, pipeline.sources);
        assert_eq!(again.sinks, pipeline.sinks);
        let schema = crate::pipeline::schema::json_schema();
        assert_eq!(crate::pipeline::schema::tests::problems(&pipeline.show(), &schema, &schema, ""), Vec::<String>::new());
    }
}

#[test]
fn secrets_are_never_shown() {
    let yaml = with("  - { id: one", "  - { id: one, plugin: a, config: { token: \"Bearer ${API_TOKEN}\", pin: \"${PIN_KEY}\" } }");
    let lookup = |name: &str| match name {
        "API_TOKEN" => Some("hunter2".to_owned()),
        "PIN_KEY" => Some("1234".to_owned()),
        _ => None,
    };
    let pipeline = Pipeline::parse(Path::new("p.yaml"), &yaml, &lookup).unwrap();
    assert_eq!(pipeline.steps[0].config["pin"], "1234");
    let shown = pipeline.show_yaml();
    assert!(!shown.contains("hunter2") && !shown.contains("1234") && shown.contains("Bearer ****"), "{shown}");
}

proptest::proptest! {
    /// Whatever is written, the answer is a pipeline or errors that say where and what to do.
    #[test]
    fn no_text_makes_reading_panic(
        edits in proptest::collection::vec((0usize..2000, 0usize..40, "[ -~\n\u{e9}]{0,6}"), 1..6)
    ) {
        let mut text = FULL.to_owned();
        for (at, length, new) in edits {
            let boundary = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let range = boundary(at)..boundary(at + length).max(boundary(at));
            text.replace_range(range, &new);
        }
        if let Err(errors) = parse(&text) {
            assert!(!errors.is_empty());
            for error in &errors {
                let place = error.place().expect("a place");
                assert!(place.span.start <= place.text.len(), "{error}");
                assert!(error.help().is_some_and(|help| !help.is_empty()), "{error}");
            }
        }
    }
}

/// The example pipelines of the repository, wherever they are.
#[test]
fn every_example_fits_the_schema() {
    let root = Path::new(".").join("../..");
    let schema = crate::pipeline::schema::json_schema();
    let mut found = 0;
    for folder in ["examples", "tests/scenarios"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let file = entry.path().join("pipeline.yaml");
            // A scenario whose point is an error may break the schema.
            if entry.path().join("error.txt").exists() {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            let json: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            let problems = crate::pipeline::schema::tests::problems(&json, &schema, &schema, "");
            assert!(problems.is_empty(), "{}: {problems:#?}", file.display());
            found += 1;
        }
    }
    assert!(found > 0, "the flights at least");
}

const TOPICS: &str = "\
version: 1
name: x
sharding: by_partition
source: { kafka: { brokers: \"b:1\", topics: [a, b] }, format: json }
steps: [{ id: one, plugin: one.wasm, key: kafka.key }]
sinks: [{ files: ./out }]
checkpoint: { store: \"s3://b\" }
";

fn checks_keys(pipeline: &Pipeline) -> bool {
    matches!(&pipeline.sources[0].spec, SourceSpec::Kafka(kafka) if kafka.check_keys)
}

#[test]
fn keys_are_checked_where_state_is_divided_among_shards() {
    let divided = good(TOPICS);
    assert_eq!(divided.sharding, Sharding::ByPartition);
    assert!(checks_keys(&divided));
    assert!(!checks_keys(&good(&TOPICS.replace("by_partition", "one"))));
    assert!(!checks_keys(&good(&TOPICS.replace(", key: kafka.key", ""))));
}

#[test]
fn keys_that_nothing_checks_are_warned_of() {
    let unchecked = |yaml: &str| good(yaml).warnings.iter().any(|warning| warning.code() == Code::KeysUnchecked);
    assert!(!unchecked(TOPICS));
    let trusted = TOPICS.replace("topics: [a, b]", "topics: [a, b], partitioner: unchecked");
    assert!(unchecked(&trusted) && !checks_keys(&good(&trusted)));
    let files = TOPICS.replace("kafka: { brokers: \"b:1\", topics: [a, b] }", "files: \"*.jsonl\"");
    assert!(unchecked(&files));
    assert!(!unchecked(&files.replace(", key: kafka.key", "")));
    assert!(!unchecked(&files.replace("by_partition", "one")));
}

#[test]
fn several_sources_are_divided_among_shards_only_when_all_are_topics() {
    let file = "{ files: a.jsonl, format: json }";
    let several = |second: &str| {
        let first = "{ kafka: { brokers: \"b:1\", topics: [a, b] }, format: json }";
        TOPICS.replace(&format!("source: {first}"), &format!("sources: [{first}, {second}]"))
    };
    let errors = parse(&several(file)).expect_err("files have no partitioner");
    assert_eq!(errors.iter().map(Error::code).collect::<Vec<_>>(), [Code::ShardingUnfit]);
    good(&several("{ kafka: { brokers: \"b:1\", topics: [c] }, format: json }"));
}

#[test]
fn a_session_is_neither_shorter_than_a_pause_nor_longer_than_brokers_allow() {
    let worker = |time: &str| parse(&with("", &format!("worker: {{ session_timeout: {time} }}")));
    assert_eq!(worker("6s").expect("a session").worker.session_timeout, Duration::from_secs(6));
    for time in ["500ms", "2h"] {
        assert_eq!(worker(time).expect_err("an error")[0].code(), Code::InvalidValue, "{time}");
    }
}
