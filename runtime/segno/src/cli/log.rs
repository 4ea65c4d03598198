//! Logs on standard error: lines for people, or one JSON object each.
//!
//! Owns: the filter, and the shape of a line. Does not own: what is logged (docs/logs.md lists it).
//!
//! Invariants: a JSON line is flat: fields of the spans around an event (tenant, pipeline, shard, generation, epoch) stand beside
//! its own, so that lines are joined and filtered without knowing spans. A log stops no pipeline.

use super::console::{Console, time_ms};
use crate::shard::now_ms;
use serde_json::{Map, Value, json};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging. A filter that cannot be read is named and left out.
pub fn start(console: &Console, verbose: u8, filter: Option<&str>) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = match filter.map(|filter| (filter, EnvFilter::try_new(filter))) {
        Some((_, Ok(filter))) => filter,
        Some((text, Err(error))) => {
            console.note(&format!("the log filter \"{text}\" cannot be read ({error}); using {level}"));
            EnvFilter::new(level)
        }
        None => EnvFilter::new(level),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match console.is_json() {
        true => builder.fmt_fields(JsonFields::new()).event_format(Flat).try_init(),
        false => builder.with_target(false).with_ansi(console.is_fancy()).try_init(),
    };
}

/// One flat JSON object for an event.
struct Flat;

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(&self, context: &FmtContext<'_, S, JsonFields>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Fields(Map::new());
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let written = extensions.get::<FormattedFields<JsonFields>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(fields)) = serde_json::from_str(written) {
                line.0.extend(fields);
            }
        }
        event.record(&mut line);
        line.0.insert("time".to_owned(), json!(time_ms(now_ms())));
        line.0.insert("level".to_owned(), json!(event.metadata().level().as_str().to_lowercase()));
        line.0.insert("target".to_owned(), json!(event.metadata().target()));
        writeln!(out, "{}", Value::Object(line.0))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
}
