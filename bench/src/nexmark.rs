//! Nexmark: input for bench/nexmark/run.py, and each query's plugins in the sandbox against the same plugin natively.
//!
//! A batch is 1,024 events that the plugin is there for, from amid a stream, with the state that they left the first time
//! they were processed. No timer is due in it: firing is measured by whole runs.

use crate::micro::{ROWS, against_native, template};
use arrow_array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use segno_core::columns::ColumnType;
use segno_core::columns::frame::{BatchMessage, EffectsLimits, RowSet, init_message, parse_effects};
use segno_core::source::NexmarkSpec;
use segno_plugin::Engine;
use segno_sdk::Plugin;
use segno_wire::BatchShape;
use serde_json::Value;
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

type Done = Result<(), Box<dyn Error>>;

/// Writes events as JSON lines, so many for a second of event time.
pub fn write(events: u64, rate: u64, out: &mut impl Write) -> Done {
    let mut spec = NexmarkSpec::new("events", 42, Some(events));
    spec.events_per_second = rate;
    Ok(segno_input::source::nexmark::write_json_lines(&spec, 0..events, out)?)
}

/// Where the events of the batches begin.
const FIRST: u64 = 1_000_000;

struct Events {
    events: Vec<Value>,
    /// Microseconds.
    times: Vec<i64>,
}

impl Events {
    /// Events of the kinds that a plugin is there for.
    fn of(kinds: &[&str]) -> Result<Events, Box<dyn Error>> {
        let spec = NexmarkSpec::new("events", 42, None);
        let mut found = Events { events: Vec::new(), times: Vec::new() };
        let mut line = Vec::new();
        for number in FIRST.. {
            line.clear();
            segno_input::source::nexmark::write_json_lines(&spec, number..number + 1, &mut line)?;
            let event: Value = serde_json::from_slice(&line)?;
            if kinds.iter().any(|kind| event[kind].is_object()) {
                found.events.push(event);
                found.times.push(spec.start_micros + (number * 1_000_000 / spec.events_per_second) as i64);
            }
            if found.events.len() == ROWS {
                break;
            }
        }
        Ok(found)
    }

    fn value<'v>(event: &'v Value, column: &str) -> &'v Value {
        column.split('.').fold(event, |value, name| &value[name])
    }

    fn column(&self, name: &str, kind: ColumnType) -> ArrayRef {
        let values = self.events.iter().map(|event| Self::value(event, name));
        match kind {
            ColumnType::I32 => Arc::new(Int32Array::from_iter(values.map(|value| value.as_i64().map(|n| n as i32)))),
            ColumnType::Utf8 => Arc::new(StringArray::from_iter(values.map(Value::as_str))),
            _ => Arc::new(Int64Array::from_iter(values.map(Value::as_i64))),
        }
    }

    /// For each event the number of its key, and how many keys there are.
    fn keys(&self, columns: &[&str]) -> (Vec<u32>, usize) {
        let mut known = HashMap::new();
        let keys = self.events.iter().map(|event| {
            let key: Vec<String> = columns.iter().map(|column| Self::value(event, column).to_string()).collect();
            let next = known.len() as u32;
            *known.entry(key.concat()).or_insert(next)
        });
        (keys.collect(), known.len())
    }
}

/// A plugin of a query, with the key of its step, on events of some kinds.
fn compare<T: Plugin>(engine: &Engine, components: &Path, key: Option<&dyn Fn(&Events) -> (Vec<u32>, usize)>, kinds: &[&str]) -> Done {
    let template = template(engine, components, T::NAME)?;
    let description = &template.description;
    let events = Events::of(kinds)?;
    let specs = &description.inputs[0].columns;
    let types: Vec<ColumnType> = specs.iter().map(|spec| spec.kind).collect();
    let columns: Vec<ArrayRef> = specs.iter().map(|spec| events.column(&spec.name, spec.kind)).collect();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(events.times.clone()));
    let (keys, distinct) = key.map_or((Vec::new(), 0), |key| key(&events));
    let rows = RowSet::Range(0..ROWS);
    let message = |states: &[Vec<Option<Vec<u8>>>]| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut out = Vec::new();
        let sections = 1
            + if key.is_some() { 1 + states.len() } else { 0 }
            + usize::from(description.event_time)
            + usize::from(description.timers);
        let mut batch = BatchMessage::new(&mut out, sections);
        let mut written = batch.columns(&columns, &types, &rows);
        if key.is_some() {
            written = written.and_then(|()| batch.row_keys(&keys));
            for (table, values) in states.iter().enumerate() {
                written = written.and_then(|()| batch.states(table as u16, values.iter().map(Option::as_deref)));
            }
        }
        if description.event_time {
            written = written.and_then(|()| batch.times(&times, &rows));
        }
        if description.timers {
            written = written.and_then(|()| batch.watermarks(&[(0, events.times[0] - 4_000_000)]));
        }
        written.and_then(|()| batch.finish()).map_err(|error| format!("{error}"))?;
        Ok(out)
    };
    let mut states = vec![vec![None; distinct]; description.tables.len()];
    let init = init_message(&serde_json::json!({}), &[]).map_err(|error| format!("{error}"))?;
    let limits = EffectsLimits { output_bytes: 64 << 20, mutations: 1 << 20 };
    let first = message(&states)?;
    let mut native = segno_sdk::Engine::<T>::init(&init)?;
    let effects = parse_effects(native.process(&first)?, description, &BatchShape::of_records(ROWS, distinct), &limits);
    for table in effects.map_err(|error| format!("{}: {error}", T::NAME))?.mutations {
        for (key, value) in table.iter() {
            states[table.table][key as usize] = value.map(<[u8]>::to_vec);
        }
    }
    let keyed = if key.is_some() { format!(", {distinct} keys") } else { String::new() };
    against_native::<T>(&format!("{}{keyed}", T::NAME), &template, &message(&states)?)
}

/// Every query's plugins, but the second step of query 5, which reads what the first one gave.
pub fn run(components: &Path) -> Done {
    let cache = tempfile::tempdir()?;
    let engine = Engine::new(Some(cache.path()))?;
    let all = ["person", "auction", "bid"];
    let parties = |events: &Events| {
        let (mut persons, mut known) = (Vec::new(), HashMap::new());
        for event in &events.events {
            let party = event["person"]["id"].as_i64().or(event["auction"]["seller"].as_i64());
            let next = known.len() as u32;
            persons.push(*known.entry(party).or_insert(next));
        }
        (persons, known.len())
    };
    compare::<nexmark_q0::Bids>(&engine, components, None, &all)?;
    compare::<nexmark_q1::Prices>(&engine, components, None, &all)?;
    compare::<nexmark_q2::Chosen>(&engine, components, None, &all)?;
    compare::<nexmark_parties::Parties>(&engine, components, None, &all)?;
    compare::<nexmark_q3::Join>(&engine, components, Some(&parties), &["person", "auction"])?;
    compare::<nexmark_q5::BidsOfAuctions>(&engine, components, Some(&|events| events.keys(&["bid.auction"])), &all)?;
    compare::<nexmark_q7::HighestBids>(&engine, components, Some(&|events| events.keys(&["event_type"])), &all)?;
    compare::<nexmark_q8::NewSellers>(&engine, components, Some(&parties), &["person", "auction"])?;
    compare::<nexmark_q11::Sessions>(&engine, components, Some(&|events| events.keys(&["bid.bidder"])), &all)?;
    compare::<nexmark_q17::Statistics>(&engine, components, Some(&|events| events.keys(&["bid.auction"])), &all)?;
    compare::<nexmark_q18::LastBids>(&engine, components, Some(&|events| events.keys(&["bid.bidder", "bid.auction"])), &all)
}
