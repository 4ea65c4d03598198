//! The JSON Schema of the pipeline file, for editors: made from the list of fields (`shape`).
//!
//! Owns: the translation. Does not own: the fields.
//!
//! Invariant: whatever the reader accepts, the schema accepts. A scalar may be text wherever a variable may stand.

use super::shape::{Kind, PIPELINE, Shape};
use serde_json::{Map, Value, json};

/// The schema, draft 2020-12.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let mut root = object(&PIPELINE, &mut definitions);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Segno pipeline");
    root["$defs"] = Value::Object(definitions);
    root
}

fn object(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for field in shape.fields {
        let mut schema = kind(&field.kind, definitions);
        // Beside a $ref, other keywords are allowed since draft 2019-09.
        schema["description"] = json!(field.doc);
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = shape.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn kind(kind: &'static Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text => json!({"type": ["string", "number", "boolean"]}),
        Kind::Bool => json!({"anyOf": [{"type": "boolean"}, variable()]}),
        Kind::Count => json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9][0-9_.]*\s*[kKMG]?$"}, variable()]}),
        Kind::Bytes => json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9][0-9_.]*\s*([kKMGT]i?)?B?$"}, variable()]}),
        Kind::Duration => json!({"anyOf": [{"const": 0}, {"type": "string", "pattern": r"^([0-9][0-9_.]*\s*(us|µs|ms|s|min|m|h|d))+$"}, variable()]}),
        Kind::Choice(choices) => json!({"anyOf": [{"enum": choices}, variable()]}),
        Kind::Version => json!({"const": 1}),
        Kind::Any => json!({}),
        Kind::Empty => json!({"anyOf": [{"type": "null"}, {"type": "object", "maxProperties": 0}]}),
        Kind::Map(shape) => {
            if !definitions.contains_key(shape.name) {
                definitions.insert(shape.name.to_owned(), Value::Null);
                let schema = object(shape, definitions);
                definitions.insert(shape.name.to_owned(), schema);
            }
            json!({"$ref": format!("#/$defs/{}", shape.name)})
        }
        Kind::MapOf(value) => json!({"type": "object", "additionalProperties": self::kind(value, definitions)}),
        Kind::List(item) => json!({"type": "array", "items": self::kind(item, definitions)}),
        Kind::OneOf(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(|one| self::kind(one, definitions)).collect();
            json!({"anyOf": kinds})
        }
    }
}

fn variable() -> Value {
    json!({"type": "string", "pattern": r"\$\{"})
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The fields as tables, for `docs/pipeline.md`.
    fn reference() -> String {
        let mut text = "# The pipeline file\n\nEvery field, from the list that the reader checks a file against. A test keeps this page \
                        true; `segno schema` prints the same as a JSON Schema for editors.\n\n\
                        Paths are relative to the folder of the pipeline file. `${NAME}` and `${NAME:-default}` stand for \
                        environment variables; they are replaced in values only, after the YAML is read, so a variable cannot \
                        change the structure. A quoted value stays text; an unquoted one is read as if it stood there, so `${N}` may be a number. Inside `{ … }` and `[ … ]` YAML needs the quotes. `$${` writes `${`.\n\n\
                        Counts may have the units k, M, G (`1M`); sizes B, kB, MB, GB, KiB, MiB, GiB, TiB (`64MiB`); times \
                        us, ms, s, m, h, d (`1m30s`). Column types: bool, i32, i64, u64, f64, utf8, binary, timestamp, date, \
                        decimal128(precision,scale); `?` behind a type means that null is allowed.\n"
            .to_owned();
        let mut waiting = vec![&PIPELINE];
        let mut done: Vec<&str> = Vec::new();
        while !waiting.is_empty() {
            let shape = waiting.remove(0);
            if done.contains(&shape.name) {
                continue;
            }
            done.push(shape.name);
            text.push_str(&format!("\n## {}\n\n{}\n\n| field | value | |\n|---|---|---|\n", shape.name, shape.doc));
            for field in shape.fields {
                let name = if field.required { format!("**`{}`**", field.name) } else { format!("`{}`", field.name) };
                text.push_str(&format!("| {name} | {} | {} |\n", words(&field.kind, &mut waiting), field.doc));
            }
        }
        text.push_str("\nFields in bold must be there.\n");
        text
    }

    fn words(kind: &'static Kind, waiting: &mut Vec<&'static Shape>) -> String {
        match kind {
            Kind::Text => "text".to_owned(),
            Kind::Bool => "true, false".to_owned(),
            Kind::Count => "count".to_owned(),
            Kind::Bytes => "size".to_owned(),
            Kind::Duration => "time".to_owned(),
            Kind::Choice(choices) => choices.join(", "),
            Kind::Version => "1".to_owned(),
            Kind::Any => "anything".to_owned(),
            Kind::Empty => "nothing".to_owned(),
            Kind::Map(shape) => {
                waiting.push(shape);
                format!("[{0}](#{0})", shape.name)
            }
            Kind::MapOf(value) => format!("name: {}", words(value, waiting)),
            Kind::List(item) => format!("list of {}", words(item, waiting)),
            Kind::OneOf(kinds) => kinds.iter().map(|one| words(one, waiting)).collect::<Vec<_>>().join(" or "),
        }
    }

    #[test]
    fn the_page_about_the_pipeline_file_is_true() {
        let page = std::path::Path::new(".").join("../../docs/pipeline.md");
        if std::env::var_os("SEGNO_UPDATE").is_some() {
            std::fs::write(&page, reference()).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(written == reference(), "write it anew: SEGNO_UPDATE=1 cargo test --release -p segno-core the_page");
    }

    /// What is wrong with a value, as far as structure goes: patterns other than that of variables are not looked at.
    pub fn problems(value: &Value, schema: &Value, root: &Value, path: &str) -> Vec<String> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = root.pointer(&reference[1..]).expect("references lead somewhere");
            return problems(value, target, root, path);
        }
        let mut found = Vec::new();
        if let (Some(r"\$\{"), Value::String(text)) = (schema.get("pattern").and_then(Value::as_str), value) {
            if !text.contains("${") {
                found.push(format!("{path}: no variable"));
            }
        }
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            let all: Vec<_> = choices.iter().map(|choice| problems(value, choice, root, path)).collect();
            if all.iter().all(|one| !one.is_empty()) {
                found.push(format!("{path}: {value} fits none of {choices:?}"));
            }
        }
        if let Some(ty) = schema.get("type") {
            let is = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            let allowed = |ty: &Value| ty == is || (ty == "number" && is == "integer");
            if !match ty {
                Value::Array(types) => types.iter().any(allowed),
                one => allowed(one),
            } {
                found.push(format!("{path}: {is} is not {ty}"));
            }
        }
        if let Some(constant) = schema.get("const") {
            if constant != value {
                found.push(format!("{path}: not {constant}"));
            }
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            if !choices.contains(value) {
                found.push(format!("{path}: not one of {choices:?}"));
            }
        }
        if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
            for (number, one) in values.iter().enumerate() {
                found.extend(problems(one, items, root, &format!("{path}[{number}]")));
            }
        }
        if let Value::Object(fields) = value {
            if schema.get("maxProperties") == Some(&json!(0)) && !fields.is_empty() {
                found.push(format!("{path}: not empty"));
            }
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, one) in fields {
                match (properties.and_then(|all| all.get(name)), schema.get("additionalProperties")) {
                    (Some(schema), _) => found.extend(problems(one, schema, root, &format!("{path}.{name}"))),
                    (None, Some(Value::Bool(false))) => found.push(format!("{path}: unknown {name}")),
                    (None, Some(schema)) => found.extend(problems(one, schema, root, &format!("{path}.{name}"))),
                    (None, None) => {}
                }
            }
            for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap_or_default()) {
                    found.push(format!("{path}: no {name}"));
                }
            }
        }
        found
    }

    #[test]
    fn the_schema_refuses_what_the_reader_refuses() {
        let schema = json_schema();
        let good = json!({
            "version": 1, "name": "x", "source": {"files": ["a"], "format": {"csv": {"header": ["a"]}}},
            "sinks": [{"blackhole": null}], "checkpoint": {"store": "s3://b"},
            "steps": [{"id": "a", "plugin": "a.wasm", "key": "/a", "limits": {"memory": "64MiB"}, "config": [1, {}]}],
        });
        assert_eq!(problems(&good, &schema, &schema, ""), Vec::<String>::new());
        let mut bad = good.clone();
        bad["steps"][0]["plguin"] = json!("x");
        assert_eq!(problems(&bad, &schema, &schema, ""), [".steps[0]: unknown plguin"]);
        let mut bad = good.clone();
        bad["checkpoint"] = json!({});
        assert_eq!(problems(&bad, &schema, &schema, ""), [".checkpoint: no \"store\""]);
        let mut bad = good;
        bad["source"]["format"] = json!("xml");
        assert_eq!(problems(&bad, &schema, &schema, "").len(), 1);
    }

    #[test]
    fn defaults_are_described_as_they_are() {
        use crate::pipeline::shape::{CHECKPOINT, CSV, EPOCH, LINES, STATE, STEP};
        use crate::pipeline::spec::*;
        use crate::pipeline::units::show_duration;
        for (shape, field, default) in [
            (&PIPELINE, "batch_rows", BATCH_ROWS_DEFAULT.to_string()),
            (&STEP, "lanes", LANES_DEFAULT.to_string()),
            (&CHECKPOINT, "keep", CHECKPOINTS_KEEP_DEFAULT.to_string()),
            (&CHECKPOINT, "replay_debt", show_duration(REPLAY_DEBT_DEFAULT)),
            (&EPOCH, "max_records", EPOCH_RECORDS_DEFAULT.to_string()),
            (&EPOCH, "max_bytes", format!("{}MiB", EPOCH_BYTES_DEFAULT >> 20)),
            (&STATE, "memory", format!("{}MiB", STATE_MEMORY_DEFAULT >> 20)),
            (&EPOCH, "max_timers", EPOCH_TIMERS_DEFAULT.to_string()),
            (&EPOCH, "max_delay", show_duration(EPOCH_DELAY_DEFAULT)),
            (&LINES, "line_bytes_max", format!("{}MiB", crate::source::LINE_BYTES_MAX >> 20)),
            (&CSV, "line_bytes_max", format!("{}MiB", crate::source::LINE_BYTES_MAX >> 20)),
        ] {
            let doc = shape.fields.iter().find(|one| one.name == field).unwrap().doc;
            assert!(doc.contains(&format!("{default} if not given")), "{}.{field}: {doc}", shape.name);
        }
    }

    #[test]
    fn every_field_is_described() {
        fn walk(schema: &Value) {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    let text = property["description"].as_str().unwrap_or_default();
                    assert!(text.ends_with('.') && text.len() > 10, "{name}: {text}");
                }
            }
        }
        let schema = json_schema();
        walk(&schema);
        schema["$defs"].as_object().unwrap().values().for_each(walk);
    }
}
