//! `steps` of a pipeline file.
//!
//! Owns: what a step may say, and the order of steps. A step reads the source or a step before it, so there are no
//! cycles in a correct file; the error says whether moving a step helps or whether the steps really form a cycle.

use crate::Code;
use crate::pipeline::fields::{Fields, Reader, list, suggest};
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use super::stages::Parsed;
use crate::pipeline::tree::{Node, Value};
use crate::source::{FilesSpec, FormatSpec};
use std::ops::Range;
use std::time::Duration;

/// What `from` calls the merged stream of all sources.
pub const SOURCE_NAME: &str = "source";
/// Steps of a pipeline at most.
const STEPS_MAX: usize = 1_000;

pub const ON_ERROR_CHOICES: [(&str, OnError); 3] =
    [("fail", OnError::Fail), ("skip", OnError::Skip), ("dlq", OnError::Dlq)];

impl Reader {
    /// What the steps are, with `from` counted over all of them.
    pub(super) fn steps(&mut self, fields: &Fields<'_>) -> Option<Vec<Parsed>> {
        let Some(node) = fields.get("steps").filter(|node| node.value != Value::Null) else {
            return Some(Vec::new());
        };
        let Value::List(nodes) = &node.value else {
            return self.invalid(
                &node.span,
                format!("steps is a list, not {}", node.value.kind()),
                "start each step with a dash: - id: …",
            );
        };
        if nodes.len() > STEPS_MAX {
            return self.invalid(&node.span, format!("there are {} steps", nodes.len()), format!("use at most {STEPS_MAX}"));
        }
        // The ids first: references to a step must not fail because something else in it is wrong.
        self.step_ids = nodes.iter().map(|node| text_of(node, "id").unwrap_or_default().to_owned()).collect();
        let edges: Vec<Option<usize>> = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| match text_of(node, "from") {
                None => number.checked_sub(1),
                Some(from) => {
                    let id = from.split('.').next().unwrap_or_default();
                    self.step_ids.iter().position(|other| !id.is_empty() && other == id)
                }
            })
            .collect();
        let mut steps = Vec::with_capacity(nodes.len());
        let mut whole = true;
        for (number, node) in nodes.iter().enumerate() {
            let step = match field_of(node, "repartition") {
                Some(_) => self.repartition(node, number, &edges).map(Parsed::Repartition),
                None => self.step(node, number, &edges).map(|step| Parsed::Plugin(Box::new(step))),
            };
            match step {
                Some(step) => steps.push(step),
                None => whole = false,
            }
        }
        whole.then_some(steps)
    }

    pub(super) fn step_id(&mut self, fields: &Fields<'_>, number: usize) -> Option<String> {
        self
            .required(fields, "id", "the step", "add a line such as id: enrich; the id names the step's state, so choose one that stays")
            .and_then(|node| {
                let id = self.name(node, "the step's id")?;
                if id == SOURCE_NAME {
                    self.error(Code::NameTaken, &node.span, "a step cannot be called source", "source is what `from` calls the input; choose another id");
                } else if self.step_ids[..number].contains(&id) {
                    self.error(
                        Code::NameTaken,
                        &node.span,
                        format!("two steps have the id \"{id}\""),
                        "give each step an id of its own: it names the step's state",
                    );
                }
                Some(id)
            })
    }

    /// What a step reads, with steps counted over all of them.
    pub(super) fn step_from(&mut self, fields: &Fields<'_>, number: usize, edges: &[Option<usize>]) -> Option<Upstream> {
        match fields.get("from") {
            Some(node) => self.step_upstream(node, number, edges),
            None => Some(match number {
                0 => Upstream::Source,
                _ => Upstream::Step { step: number - 1, port: None },
            }),
        }
    }

    fn step(&mut self, node: &Node, number: usize, edges: &[Option<usize>]) -> Option<StepSpec> {
        let fields = self.fields(node, "the step", &shape::STEP.names())?;
        let id = self.step_id(&fields, number);
        let plugin = self
            .required(&fields, "plugin", "the step", "name the component: plugin: ./plugins/name.wasm")
            .and_then(|node| self.path(node, "plugin"));
        let from = self.step_from(&fields, number, edges);
        let config = match fields.get("config") {
            Some(node) => self.json(node),
            None => Some(serde_json::Value::Object(serde_json::Map::new())),
        };
        let tables = match fields.get("tables") {
            Some(node) => self.tables(node),
            None => Some(Vec::new()),
        };
        let key = match fields.get("key") {
            Some(node) => self.texts(node, "a key column").and_then(|texts| {
                let mut key: Vec<String> = Vec::new();
                for (text, span) in &texts {
                    let column = self.column_path(text, span, "key")?;
                    if key.contains(&column) {
                        return self.invalid(span, format!("column \"{column}\" stands twice in the key"), "remove one of the two");
                    }
                    key.push(column);
                }
                if key.is_empty() {
                    return self.invalid(&node.span, "key is empty", "name the key columns, or remove the field");
                }
                Some(key)
            }),
            None => Some(Vec::new()),
        };
        let ttl = match fields.get("ttl") {
            Some(node) => match self.duration(node, "ttl") {
                Some(ttl) if ttl < TTL_MIN || ttl > TTL_MAX => {
                    return self.invalid(&node.span, "ttl is from 1ms to 100000d", "state that is to be kept for ever has no ttl");
                }
                ttl => ttl.map(Some),
            },
            None => Some(None),
        };
        let limits = match fields.get("limits") {
            Some(node) => self.limits(node),
            None => Some(LimitsSpec::default()),
        };
        let on_error = match fields.get("on_error") {
            Some(node) => self.choice(node, "on_error", &ON_ERROR_CHOICES),
            None => Some(OnError::default()),
        };
        let expect = match fields.get("expect").filter(|node| node.value != Value::Null) {
            Some(node) => self.expect(node, on_error),
            None => Some(Vec::new()),
        };
        let lanes = match fields.get("lanes") {
            Some(node) => self.count(node, "lanes", 1..=LANES_MAX.into()).map(|lanes| lanes as u32),
            None => Some(LANES_DEFAULT),
        };
        Some(StepSpec {
            id: id?,
            plugin: plugin?.into(),
            from: from?,
            config: config?,
            tables: tables?,
            key: key?,
            ttl: ttl?,
            limits: limits?,
            on_error: on_error?,
            expect: expect?,
            lanes: lanes?,
        })
    }

    fn step_upstream(&mut self, node: &Node, number: usize, edges: &[Option<usize>]) -> Option<Upstream> {
        if let Some(target) = edges[number].filter(|&target| target >= number) {
            let id = self.step_ids[number].clone();
            let target_id = self.step_ids[target].clone();
            let mut at = Some(target);
            let mut way = vec![id.as_str()];
            let mut cycle = false;
            // Each step has one edge, so following it either ends or comes back within as many steps.
            for _ in 0..=edges.len() {
                match at {
                    Some(step) if step == number => {
                        cycle = true;
                        break;
                    }
                    Some(step) => {
                        way.push(&self.step_ids[step]);
                        at = edges[step];
                    }
                    None => break,
                }
            }
            let (message, help) = if cycle && target == number {
                (format!("step \"{id}\" reads from itself"), "name the source or a step before it".to_owned())
            } else if cycle {
                way.push(&id);
                let way = way.join(" ← ");
                (format!("the steps form a cycle: {way}"), "let one of them read from the source or from a step outside the cycle".to_owned())
            } else {
                (
                    format!("step \"{id}\" reads from step \"{target_id}\", which stands after it"),
                    format!("move step \"{target_id}\" before step \"{id}\""),
                )
            };
            self.error(Code::StepOrder, &node.span, message, help);
            return None;
        }
        self.upstream(node, number, "the step")
    }

    /// `source`, `step` or `step.port`, of the first `before` steps.
    pub(super) fn upstream(&mut self, node: &Node, before: usize, what: &str) -> Option<Upstream> {
        let text = self.text(node, "from")?;
        if text == SOURCE_NAME {
            return Some(Upstream::Source);
        }
        let (id, port) = match text.split_once('.') {
            Some((id, port)) => (id, Some(port.to_owned())),
            None => (text.as_str(), None),
        };
        let ids = &self.step_ids[..before];
        if let Some(step) = ids.iter().position(|step| step == id) {
            return Some(Upstream::Step { step, port });
        }
        let names: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !id.is_empty()).chain([SOURCE_NAME]).collect();
        let help = suggest(id, "it can read from", names.iter().copied());
        self.error(
            Code::UnknownReference,
            &node.span,
            format!("{what} reads from \"{}\", which is neither the source nor a step before it", text.escape_debug()),
            help,
        );
        None
    }

    /// Any value, as the plugin gets it.
    pub(super) fn json(&mut self, node: &Node) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &node.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(integer), _) => Json::from(integer),
                (_, Ok(integer)) => Json::from(integer),
                _ => return self.invalid(&node.span, format!("{integer} is too large for a number of 64 bits"), "write it in quotes, as text"),
            },
            Value::Float(float) => {
                let written = &self.text[node.span.clone()];
                if !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit()) {
                    let message = format!("{written} is too large for a number of 64 bits");
                    return self.invalid(&node.span, message, "write it in quotes, as text");
                }
                Json::from(*float)
            }
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(|item| self.json(item)).collect::<Option<_>>()?),
            Value::Map(_) => {
                let fields = self.map(node, "config")?;
                let mut object = serde_json::Map::new();
                for (key, value) in fields.iter() {
                    object.insert(key.name.clone(), self.json(value)?);
                }
                Json::Object(object)
            }
        })
    }

    fn tables(&mut self, node: &Node) -> Option<Vec<TableSpec>> {
        let fields = self.map(node, "tables")?;
        let mut tables = Vec::new();
        let mut whole = true;
        for (key, node) in fields.iter() {
            match self.table(&key.name, &key.span, node) {
                Some(table) => tables.push(table),
                None => whole = false,
            }
        }
        whole.then_some(tables)
    }

    fn table(&mut self, name: &str, span: &Range<usize>, node: &Node) -> Option<TableSpec> {
        let named = self.check_name(name, span, "the table's name");
        let fields = self.fields(node, "the table", &shape::TABLE.names())?;
        if let Some(node) = fields.get("postgres") {
            for other in ["path", "format"] {
                if let Some(key) = fields.key(other) {
                    return self.invalid(&key.span, format!("the table has both postgres and {other}"), "a table is a file or comes from a database: remove one of the two");
                }
            }
            let from = TableOrigin::Postgres(self.postgres_table(node)?);
            return named.then_some(TableSpec { name: name.to_owned(), from });
        }
        let path = self
            .required(&fields, "path", "the table", "name the file: path: ./airports.csv, or a database: postgres: { url: …, table: … }")
            .and_then(|node| self.path(node, "path"))?;
        let files = match fields.get("format") {
            Some(node) => self.format(node)?,
            None => {
                let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
                let format = match ending.as_str() {
                    "csv" => FormatSpec::Csv { header: None, delimiter: b',' },
                    "tsv" => FormatSpec::Csv { header: None, delimiter: b'\t' },
                    "json" | "jsonl" | "ndjson" => FormatSpec::Json,
                    "parquet" => FormatSpec::Parquet,
                    _ => {
                        let span = fields.get("path").map_or(node.span.clone(), |node| node.span.clone());
                        return self.invalid(
                            &span,
                            format!("the ending of \"{}\" does not say which format it has", path.escape_debug()),
                            "add format: csv, json or parquet",
                        );
                    }
                };
                (format, crate::source::LINE_BYTES_MAX)
            }
        };
        if files.0 == FormatSpec::Raw {
            let span = fields.get("format").map_or(node.span.clone(), |node| node.span.clone());
            return self.invalid(&span, "a side table cannot be raw", "use csv, json or parquet: a table has named columns");
        }
        let spec = FilesSpec { line_bytes_max: files.1, ..FilesSpec::new(name, path, files.0) };
        named.then_some(TableSpec { name: name.to_owned(), from: TableOrigin::Files(spec) })
    }

    fn limits(&mut self, node: &Node) -> Option<LimitsSpec> {
        let fields = self.fields(node, "limits", &shape::LIMITS.names())?;
        let mut limits = LimitsSpec::default();
        let before = self.errors.len();
        let count = |reader: &mut Reader, name: &str| {
            fields.get(name).and_then(|node| reader.count(node, &format!("limits.{name}"), 1..=u64::MAX))
        };
        let bytes = |reader: &mut Reader, name: &str| {
            fields.get(name).and_then(|node| reader.bytes(node, &format!("limits.{name}"), 1..=MEMORY_BYTES_MAX))
        };
        limits.fuel_per_record = count(self, "fuel_per_record");
        limits.fuel_init = count(self, "fuel_init");
        limits.tables = count(self, "tables");
        limits.mutations = count(self, "mutations");
        limits.log_lines = fields.get("log_lines").and_then(|node| self.count(node, "limits.log_lines", 0..=u64::MAX));
        limits.memory = bytes(self, "memory");
        limits.output_bytes = bytes(self, "output_bytes");
        if let Some(node) = fields.get("deadline") {
            limits.deadline = self.duration(node, "limits.deadline");
            if limits.deadline.is_some_and(|deadline| deadline.is_zero()) {
                self.error(Code::InvalidValue, &node.span, "limits.deadline is 0", "every call takes some time; the default is a good start");
            }
        }
        (self.errors.len() == before).then_some(limits)
    }

    /// `name: type` lines, with `?` for nullable.
    pub(super) fn columns(&mut self, node: &Node) -> Option<Vec<crate::columns::Column>> {
        let fields = self.map(node, "columns")?;
        let mut columns: Vec<crate::columns::Column> = Vec::new();
        let mut whole = true;
        for (key, node) in fields.iter() {
            let name = self.column_path(&key.name, &key.span, "columns");
            let Some(text) = self.text(node, "a column's type") else {
                whole = false;
                continue;
            };
            let (ty, nullable) = match text.trim().strip_suffix('?') {
                Some(ty) => (ty, true),
                None => (text.trim(), false),
            };
            match ty.parse::<crate::columns::ColumnType>() {
                Ok(ty) if ty != crate::columns::ColumnType::U32 => match name {
                    Some(name) => columns.push(crate::columns::Column::new(name, ty, nullable)),
                    None => whole = false,
                },
                _ => {
                    whole = false;
                    self.error(
                        Code::InvalidValue,
                        &node.span,
                        format!("\"{}\" is not a column type", text.escape_debug()),
                        type_help(ty),
                    );
                }
            }
        }
        whole.then_some(columns)
    }
}

const TTL_MIN: Duration = Duration::from_millis(1);
/// A time of any record and this are a time that there is.
const TTL_MAX: Duration = Duration::from_secs(100_000 * 86_400);
/// Linear memory of 32-bit wasm.
const MEMORY_BYTES_MAX: u64 = 4 << 30;

fn type_help(ty: &str) -> String {
    const TYPES: [&str; 10] =
        ["bool", "i32", "i64", "u64", "f64", "utf8", "binary", "timestamp", "date", "decimal128(precision,scale)"];
    if ty.starts_with("decimal128(") && !ty.ends_with(')') {
        return "inside { … } a comma ends the value: put quotes around it, as in \"decimal128(10,2)\"".to_owned();
    }
    // Names of other systems.
    let near = match ty.to_ascii_lowercase().as_str() {
        "string" | "str" | "text" | "varchar" | "largeutf8" => Some("utf8"),
        "int" | "integer" | "long" | "bigint" | "int64" => Some("i64"),
        "int32" | "smallint" => Some("i32"),
        "u32" | "uint32" | "uint64" => Some("u64"),
        "float" | "double" | "float64" | "real" | "number" | "f32" | "float32" => Some("f64"),
        "boolean" => Some("bool"),
        "bytes" | "blob" => Some("binary"),
        "datetime" | "time" => Some("timestamp"),
        "decimal" | "numeric" | "decimal128" => Some("decimal128(38,2)"),
        _ => None,
    };
    match near {
        Some(near) => format!("did you mean {near}? Add ? for nullable"),
        None => format!("valid are {}; add ? for nullable", list(TYPES)),
    }
}

/// A field, before anything is checked.
fn field_of<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(map) = &node.value else { return None };
    map.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
}

/// A field's text, before anything is checked.
fn text_of<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    match &field_of(node, name)?.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    }
}
