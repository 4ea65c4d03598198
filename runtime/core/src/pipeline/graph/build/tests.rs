//! Edges that fit and edges that do not.

use super::*;
use crate::columns::ColumnType::*;
use crate::columns::{ColumnType, Schema};
use segno_wire::describe::{InputPort, OutputPort, SideTable, StateColumn, StateTable};
use std::path::Path;

/// `a: i64` lines, `?` for nullable.
fn columns(text: &str) -> Vec<ColumnSpec> {
    text.split_terminator(", ")
        .map(|one| {
            let (name, ty) = one.split_once(": ").expect("name: type");
            let (ty, nullable) = ty.strip_suffix('?').map_or((ty, false), |ty| (ty, true));
            ColumnSpec { name: name.to_owned(), kind: ty.parse().unwrap(), nullable }
        })
        .collect()
}

fn plugin(reads: &str, outputs: &[(&str, OutputKind, &str)]) -> Description {
    Description {
        name: "plugin".to_owned(),
        version: "1".to_owned(),
        inputs: vec![InputPort { name: "in".to_owned(), columns: columns(reads) }],
        event_time: false,
        timers: false,
        outputs: outputs
            .iter()
            .map(|(name, kind, added)| OutputPort { name: (*name).to_owned(), kind: *kind, columns: columns(added) })
            .collect(),
        tables: Vec::new(),
        side_tables: Vec::new(),
    }
}

fn extend(reads: &str, added: &str) -> Description {
    plugin(reads, &[("out", OutputKind::Extend, added)])
}

fn keyed(mut description: Description) -> Description {
    let column = StateColumn { name: "n".to_owned(), kind: U64, nullable: false, since: 1, items: Vec::new() };
    description.tables.push(StateTable { name: "counts".to_owned(), version: 3, columns: vec![column] });
    description
}

const HEAD: &str = "version: 1\nname: x\ncheckpoint: { store: \"s3://b\" }\n";

fn pipeline(yaml: &str) -> Pipeline {
    Pipeline::parse(Path::new("p.yaml"), &format!("{HEAD}{yaml}"), &|_| None).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn graph_with(yaml: &str, plugins: Vec<(&str, Description)>, schemas: &[Option<Schema>]) -> Result<Graph, Vec<String>> {
    let pipeline = pipeline(yaml);
    let descriptions = plugins.into_iter().map(|(id, description)| (id.to_owned(), description)).collect();
    build(&pipeline, &descriptions, schemas).map_err(|errors| {
        let shown = |error: &Error| {
            let (line, column) = error.place().expect("a place").line_column();
            let help = error.help().expect("a help");
            // Lines are counted from the end of the head.
            format!("{} {}:{column} {} | {help}", error.code().name(), line - 3, error.message())
        };
        errors.iter().map(shown).collect()
    })
}

fn graph(yaml: &str, plugins: Vec<(&str, Description)>) -> Result<Graph, Vec<String>> {
    graph_with(yaml, plugins, &[None, None])
}

fn names(schema: &Schema) -> Vec<&str> {
    schema.columns.iter().map(|column| column.name.as_str()).collect()
}

const TWO: &str = "\
source: { files: a, format: json }
steps: [{ id: a, plugin: a.wasm }, { id: b, plugin: b.wasm }]
sinks: [{ files: out }]
";

#[test]
fn columns_that_nobody_reads_are_not_carried() {
    let yaml = TWO.replace("{ files: out }", "{ files: out, columns: [id, hour] }");
    let plugins = vec![
        ("a", extend("id: u64, delay: i64, note: utf8?", "hour: i32, unused: utf8")),
        ("b", extend("delay: i64", "late: bool")),
    ];
    let graph = graph(&yaml, plugins).unwrap();
    assert_eq!(names(&graph.source), ["id", "delay", "note"]);
    let a = &graph.steps[0].outputs[0];
    assert_eq!(a.carried, [0, 1], "id for the sink, delay for the next step; note ends here");
    assert_eq!(a.added, [0]);
    assert_eq!(names(&a.schema), ["id", "delay", "hour"]);
    let b = &graph.steps[1].outputs[0];
    assert_eq!(graph.steps[1].reads, [1]);
    assert_eq!((b.carried.as_slice(), b.added.as_slice()), ([0, 2].as_slice(), [].as_slice()));
    assert_eq!(graph.sinks[0].columns, [0, 1]);
    assert_eq!(names(&graph.sinks[0].schema), ["id", "hour"]);
}

#[test]
fn a_sink_without_columns_writes_all_that_flow_to_it() {
    let plugins = vec![
        ("a", extend("id: u64", "hour: i32")),
        ("b", plugin("hour: i32", &[("out", OutputKind::Extend, "id: utf8"), ("late", OutputKind::Emit, "n: i64")])),
    ];
    let yaml = TWO.replace("{ files: out }", "{ files: out }, { files: late, from: b.late, name: late }");
    let graph = graph(&yaml, plugins).unwrap();
    let out = &graph.sinks[0];
    assert_eq!(names(&out.schema), ["hour", "id"], "an added column replaces a carried one of its name");
    assert_eq!(out.schema.columns[1].ty, Utf8);
    assert_eq!(names(&graph.sinks[1].schema), ["n"]);
    assert_eq!(graph.steps[1].outputs[0].carried, [1 - 1], "the replaced id is not carried");
    assert_eq!(names(&graph.steps[0].outputs[0].schema), ["hour"]);
}

#[test]
fn a_port_that_nobody_reads_is_unused() {
    let plugins = vec![
        ("a", plugin("id: u64", &[("out", OutputKind::Extend, ""), ("bad", OutputKind::Extend, "why: utf8")])),
        ("b", extend("", "")),
    ];
    let graph = graph(TWO, plugins).unwrap();
    let ports = &graph.steps[0].outputs;
    assert!(ports[0].used && !ports[1].used);
    assert!(ports[1].carried.is_empty() && ports[1].added.is_empty() && ports[1].schema.columns.is_empty());
    assert_eq!(names(&ports[1].declared), ["why"], "the frame's layout does not depend on who reads");
}

#[test]
fn a_null_is_refused_at_the_source_only_where_all_its_readers_refuse_it() {
    let strict = || extend("v: i64", "");
    let lenient = || extend("v: i64?", "");
    let fan_out = TWO.replace("plugin: b.wasm", "plugin: b.wasm, from: source");
    let nullable = |yaml: &str, a, b| graph(yaml, vec![("a", a), ("b", b)]).unwrap().source.columns[0].nullable;
    assert!(!nullable(TWO, strict(), lenient()));
    assert!(nullable(TWO, lenient(), strict()));
    assert!(nullable(&fan_out, strict(), lenient()));
    assert!(!nullable(&fan_out, strict(), strict()));
    let sink_too = TWO.replace("{ files: out }", "{ files: out }, { files: all, from: source, name: all }");
    assert!(nullable(&sink_too, strict(), strict()));
}

#[test]
fn what_the_source_knows_is_what_flows() {
    let known = Schema::new(vec![Column::new("a", I32, true), Column::new("b", Utf8, true), Column::new("c", F64, false)]);
    let yaml = TWO.replace("json", "parquet");
    let plugins = || vec![("a", extend("a: i64, c: f64", "")), ("b", extend("", ""))];
    let graph = graph_with(&yaml, plugins(), &[Some(known.clone())]).unwrap();
    assert_eq!(graph.sinks[0].schema.columns, [Column::new("a", I64, false), Column::new("b", Utf8, true), Column::new("c", F64, false)]);
    let wrong = vec![("a", extend("b: i64, d: i64", "")), ("b", extend("", ""))];
    assert_eq!(graph_with(&yaml, wrong, &[Some(known)]).unwrap_err(), [
        "C020 2:26 step \"a\" reads b: i64; source \"source\" gives b: utf8 | change the plugin to read b: utf8",
        "C020 2:26 step \"a\" reads d: i64; source \"source\" has no column \"d\" | the source has a, b, c",
    ]);
}

#[test]
fn an_undeclared_csv_column_has_the_readers_type() {
    let known = || vec![Some(Schema::new(vec![Column::new("a", Utf8, true), Column::new("b", Utf8, true)]))];
    let yaml = TWO.replace("json", "csv");
    let plugins = vec![("a", extend("a: decimal128(9,2)", "")), ("b", extend("", ""))];
    let graph = graph_with(&yaml, plugins, &known()).unwrap();
    let types: Vec<ColumnType> = graph.source.columns.iter().map(|column| column.ty).collect();
    assert_eq!(types, [Decimal128 { precision: 9, scale: 2 }, Utf8]);
}

#[test]
fn keyed_steps_have_their_key_and_tables() {
    let yaml = TWO.replace("plugin: b.wasm", "plugin: b.wasm, key: [hour, /id], lanes: 3");
    let plugins = vec![("a", extend("id: u64", "hour: i32")), ("b", keyed(plugin("", &[("out", OutputKind::Emit, "n: u64")])))];
    let graph = graph(&yaml, plugins).unwrap();
    let b = &graph.steps[1];
    assert_eq!((b.key.as_slice(), b.lanes), ([1, 0].as_slice(), 3));
    assert_eq!(b.tables[0].version, 3);
    assert_eq!(b.tables[0].value, Schema::new(vec![Column::new("n", U64, false)]));
}

#[test]
fn every_edge_that_does_not_fit_is_reported_with_its_place() {
    let side = |mut description: Description| {
        let table = SideTable { name: "airports".to_owned(), columns: columns("iata: utf8"), key: None };
        description.side_tables.push(table);
        description
    };
    let none = || extend("", "");
    let cases: Vec<(&str, Description, Description, &[&str])> = vec![
        ("plugin: b.wasm", extend("", "amount: utf8"), extend("amount: f64", ""), &[
            "C020 2:53 step \"b\" reads amount: f64; step \"a\" gives amount: utf8 | change one of the two plugins, or put a step between them that gives amount: f64",
        ]),
        ("plugin: b.wasm, from: a", extend("", "amount: utf8"), extend("amount: f64", ""), &[
            "C020 2:67 step \"b\" reads amount: f64; step \"a\" gives amount: utf8 | change one of the two plugins, or put a step between them that gives amount: f64",
        ]),
        ("plugin: b.wasm", plugin("", &[("out", OutputKind::Emit, "amount: f64, b: i64")]), extend("amonut: f64", ""), &[
            "C020 2:53 step \"b\" reads amonut: f64; step \"a\" gives no column \"amonut\" | did you mean \"amount\"? What reaches it: amount, b",
        ]),
        ("plugin: b.wasm", extend("x: f64", ""), extend("x: i64", ""), &[
            "C024 2:53 step \"b\" reads x: i64; step \"a\" reads x: f64 | a column is decoded once: change one of the plugins, or give x another name and type in a step between",
        ]),
        ("plugin: b.wasm, from: a.bad", none(), none(), &[
            "C022 2:67 step \"b\" reads from \"a.bad\", and the plugin of step \"a\" has no such port | its ports are: out",
        ]),
        ("plugin: b.wasm", plugin("", &[]), none(), &[
            "C022 2:36 step \"b\" reads from step \"a\", whose plugin gives nothing | read from the source or from another step",
        ]),
        ("plugin: b.wasm", extend("x: i64", ""), keyed(extend("card.id: utf8", "")), &[
            "C021 2:36 step \"b\" works by key, and key: is missing | name the columns that make the key, as in key: /card/id",
        ]),
        ("plugin: b.wasm, key: x", extend("x: i64", ""), none(), &[
            "C021 2:66 step \"b\" has a key, and its plugin does not work by key | remove key: only plugins that keep state or set timers use it",
        ]),
        ("plugin: b.wasm, key: x", extend("y: i64", ""), keyed(none()), &[
            "C025 2:66 step \"b\" has the key x, and nothing says which type x has | declare it on the source: columns: { x: utf8 }, with its own type",
        ]),
        ("plugin: b.wasm", extend("x: i64", ""), side(none()), &[
            "C023 2:36 the plugin of step \"b\" wants a side table \"airports\" | add tables: { airports: { path: ./airports.csv } }",
        ]),
        ("plugin: b.wasm, tables: { airport: { path: a.csv } }", extend("x: i64", ""), side(none()), &[
            "C023 2:61 the plugin of step \"b\" wants a side table \"airports\" | add tables: { airports: { path: ./airports.csv } }",
            "C023 2:71 the plugin of step \"b\" has no side table \"airport\" | did you mean \"airports\"?",
        ]),
        ("plugin: b.wasm", extend("x: i64", ""), Description { event_time: true, ..none() }, &[
            "C027 2:53 the plugin of step \"b\" wants event times, and the source has none | say on the source which column holds it: time: column",
        ]),
        ("plugin: b.wasm", extend("x: i64", ""), Description { inputs: Vec::new(), ..none() }, &[
            "C026 2:53 the plugin of step \"b\" has 0 input ports; a step reads one stream | use a plugin with one input port; `segno inspect` prints a plugin's ports",
        ]),
        ("plugin: b.wasm", none(), none(), &[
            "C025 3:9 nothing says which columns sink \"files\" writes | declare them on the source, as in columns: { id: u64, name: \"utf8?\" }",
        ]),
    ];
    let mut wrong = Vec::new();
    for (line, a, b, expected) in cases {
        let yaml = TWO.replace("plugin: b.wasm", line);
        let found = graph(&yaml, vec![("a", a), ("b", b)]).err().unwrap_or_default();
        if found != expected {
            wrong.push(format!("{line}\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn declared_types_bind_readers_and_sources() {
    let yaml = TWO.replace("format: json", "format: json, columns: { x: i64, y: \"utf8?\" }");
    let plugins = |ty: &str| vec![("a", extend(&format!("x: {ty}"), "")), ("b", extend("", ""))];
    let graph_ok = graph(&yaml, plugins("i64?")).unwrap();
    assert_eq!(graph_ok.source.columns, [Column::new("x", I64, false), Column::new("y", Utf8, true)]);
    assert_eq!(graph(&yaml, plugins("f64")).unwrap_err(), [
        "C020 2:26 step \"a\" reads x: f64; source \"source\" declares x: i64 | declare x: f64 under columns: of the source, or change the plugin",
    ]);
    let two = "sources:\n- { files: a, format: json, columns: { x: i64 } }\n- { files: b, format: json, columns: { x: f64 } }\nsink: { files: out }\n";
    assert_eq!(graph(two, vec![]).unwrap_err(), [
        "C024 3:43 source \"source-1\" declares x: i64; source \"source-2\" declares x: f64 | declare one type: the sources are merged into one stream",
    ]);
}

const BY_PARTITION: &str = "\
sharding: by_partition
source: { kafka: { brokers: \"b:1\", topics: [t] }, format: json, columns: { kafka.key: utf8, a: i64 } }
steps: [{ id: a, plugin: a.wasm, key: KEY }]
sinks: [{ files: out }]
";

#[test]
fn a_key_must_hold_what_decides_the_partition() {
    let with = |key: &str| graph(&BY_PARTITION.replace("KEY", key), vec![("a", keyed(extend("a: i64", "b: i64")))]);
    assert!(with("kafka.key").is_ok());
    assert!(with("[a, kafka.key]").is_ok());
    let errors = with("a").expect_err("a may be in any partition");
    assert!(errors[0].starts_with("C034 3:39 step \"a\" keeps state by a key that need not stay"), "{errors:?}");
}

#[test]
fn a_plugin_cannot_stand_in_for_the_key_of_the_message() {
    let yaml = BY_PARTITION.replace("KEY", "kafka.key").replace("steps: [", "steps: [{ id: forger, plugin: f.wasm }, ");
    let forger = plugin("a: i64", &[("out", OutputKind::Extend, "kafka.key: utf8")]);
    let errors = graph(&yaml, vec![("forger", forger), ("a", keyed(extend("a: i64", "b: i64")))]).expect_err("forged");
    assert!(errors[0].starts_with("C034"), "{errors:?}");
}

#[test]
fn a_slip_beside_a_declared_column_is_no_new_column() {
    let yaml = TWO.replace("format: json", "format: json, columns: { amount: f64, id: i64 }");
    let plugins = |reads: &str| vec![("a", extend(reads, "")), ("b", extend("", ""))];
    assert_eq!(graph(&yaml, plugins("amuont: f64")).unwrap_err(), [
        "C020 2:26 step \"a\" reads amuont; source \"source\" declares amount, and no amuont | did you mean \"amount\"? Where records hold both, declare it, too: columns: { amuont: f64 }",
    ]);
    assert!(graph(&yaml, plugins("customer: utf8, ip: i64")).is_ok(), "declarations need not be complete");
    assert!(graph(&yaml, plugins("amount_net: f64")).is_ok(), "another word is another column");
    assert!(graph(&yaml, plugins("amount: f64, amounts: f64")).is_ok(), "both are read");
    let timed = yaml.replace("id: i64 }", "times: timestamp, date: date }, time: times");
    assert!(graph(&timed, plugins("timer: i64, data: utf8")).is_ok(), "the event time is read; short words are near by chance");
    let both = yaml.replace("id: i64", "amuont: f64");
    assert!(graph(&both, plugins("amuont: f64")).is_ok());
}

#[test]
fn what_holds_no_time_is_no_event_time() {
    let timed = |time: &str, columns: &str| {
        let yaml = TWO.replace("format: json", &format!("format: json, columns: {{ {columns} }}, time: {time}"));
        graph(&yaml, vec![("a", extend("", "")), ("b", extend("", ""))])
    };
    for ty in ["timestamp", "date", "i64", "utf8"] {
        assert!(timed("made", &format!("made: {ty}")).is_ok(), "{ty}");
    }
    assert!(timed("made", "customer: utf8").is_ok(), "declarations need not be complete");
    let wrong = timed("made", "made: bool").unwrap_err();
    assert!(wrong[0].starts_with("C020 1:") && wrong[0].contains("declared as bool"), "{wrong:?}");
    let slip = timed("crated", "created: timestamp").unwrap_err();
    assert!(slip[0].starts_with("C020 1:") && slip[0].contains("did you mean \"created\"?"), "{slip:?}");
}
