//! A seeded Nexmark generator: persons who open auctions, and bids on them.
//!
//! The fields and the proportions 1:3:46 are those of the original (Apache Beam's Nexmark), names in snake case; values
//! come from a hash of (seed, event, field), so that any event, and any field of it, can be made alone.
//!
//! Owns: the events as a source of typed columns.
//! Does not own: the events (`events`), the columns' memory (`format::rows`).
//!
//! Invariants: an event is a function of the settings and its number. An offset is an event's number; partition `p` of
//! `n` holds the numbers that leave `p` when divided by `n`. Event times never go back.

mod events;

pub use events::{schema, write_json_lines};

use super::place::hash;
use crate::format::plan::Plan;
use crate::format::rows::{Fields, Rows};
use crate::format::value::Value;
use segno_core::source::{
    NexmarkSpec, Next, Partition, PartitionReader, ReadLimit, ReadPlan, Source,
};
use segno_core::{Code, Error, Result};
use events::{FIELDS, FieldSpec, Generator, Made, write_event};
use std::sync::Arc;

pub struct NexmarkSource {
    generator: Generator,
}

impl NexmarkSource {
    pub fn open(spec: &NexmarkSpec) -> Result<NexmarkSource> {
        if spec.partitions == 0 || spec.events_per_second == 0 {
            return Err(Error::new(
                Code::SourceSetting,
                format!("source {}: partitions and events per second must be at least 1", spec.name),
            ));
        }
        Ok(NexmarkSource { generator: Generator { spec: spec.clone() } })
    }
}

impl Source for NexmarkSource {
    fn name(&self) -> &str {
        &self.generator.spec.name
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        Ok((0..self.generator.spec.partitions)
            .map(|number| Partition { number, name: format!("nexmark-{number}"), in_topic: number })
            .collect())
    }

    fn open(
        &self,
        partition: u32,
        offset: u64,
        mark: Option<u64>,
        plan: &ReadPlan,
    ) -> Result<Box<dyn PartitionReader>> {
        let spec = &self.generator.spec;
        let step = u64::from(spec.partitions);
        if u64::from(partition) >= step {
            return Err(Error::new(
                Code::SourceMissing,
                format!("source {} has {step} partitions, no partition {partition}", spec.name),
            ));
        }
        if mark.is_some_and(|mark| mark != self.mark_of(offset)) {
            return Err(Error::new(
                Code::SourceChanged,
                format!("source {}: seed or settings are not those that made the events so far", spec.name),
            )
            .with_help("Restore the settings, or use another pipeline name or checkpoint folder."));
        }
        let plan = Arc::new(Plan::new(plan)?);
        let schema = schema(spec);
        let wanted = plan.columns.iter().map(|column| (&column.column.name, Some(column.column.ty)));
        let time = plan.time.as_ref().map(|time| (&plan.fields[time.field], None));
        for (name, ty) in wanted.chain(time) {
            let found = schema.get(name).map(|column| column.ty);
            if found.is_none() || ty.is_some() && found != ty {
                let what = found.map_or("does not exist".to_owned(), |found| format!("is {found}"));
                return Err(Error::new(Code::SourceColumn, format!("source {}: column `{name}` {what}", spec.name)));
            }
        }
        let specs = plan.fields.iter().filter_map(|name| FIELDS.iter().find(|field| field.path == *name).copied());
        let slots = specs.map(|spec| Slot { spec, made: None, text: String::new() }).collect();
        // The first event of this partition at or after the offset.
        let ahead = (u64::from(partition) + step - offset % step) % step;
        Ok(Box::new(NexmarkReader {
            generator: self.generator.clone(),
            partition,
            step,
            next: offset.saturating_add(ahead),
            slots: Slots(slots),
            rows: Rows::new(plan),
        }))
    }

    fn mark(&self, _partition: u32, offset: u64) -> Result<u64> {
        Ok(self.mark_of(offset))
    }

    fn identity(&self) -> String {
        let NexmarkSpec { name, seed, events, partitions, events_per_second, start_micros, only } = &self.generator.spec;
        format!(
            "nexmark name={name:?} seed={seed} events={events:?} partitions={partitions} \
             events_per_second={events_per_second} start_micros={start_micros} only={only:?}"
        )
    }
}

impl NexmarkSource {
    /// The number of events may grow: what was made stays as it is.
    fn mark_of(&self, offset: u64) -> u64 {
        let NexmarkSpec { seed, partitions, events_per_second, start_micros, only, .. } = &self.generator.spec;
        hash(format!("{seed} {partitions} {events_per_second} {start_micros} {only:?}").as_bytes(), offset)
    }
}

struct NexmarkReader {
    generator: Generator,
    partition: u32,
    step: u64,
    next: u64,
    slots: Slots,
    rows: Rows,
}

/// A field that is read, and its value in the current event.
struct Slot {
    spec: FieldSpec,
    made: Option<Made>,
    text: String,
}

struct Slots(Vec<Slot>);

impl Fields for Slots {
    fn value(&self, field: usize) -> Value<'_> {
        match &self.0[field].made {
            None => Value::Null,
            Some(Made::Int(number)) => Value::Signed(*number),
            Some(Made::Micros(micros)) => Value::Micros(*micros),
            Some(Made::Text) => Value::Text(self.0[field].text.as_bytes()),
        }
    }

    fn blocked(&self, _field: usize) -> Option<(&str, Value<'_>)> {
        None
    }
}

/// Bytes that an event counts against the limit of a read: about what its JSON has.
const EVENT_BYTES: usize = 256;

impl PartitionReader for NexmarkReader {
    fn next(&mut self, limit: ReadLimit) -> Result<Next> {
        let start = self.next;
        let wanted = limit.rows.min(limit.bytes / EVENT_BYTES).max(1);
        let events = self.generator.spec.events.unwrap_or(u64::MAX);
        while self.rows.records() < wanted && self.next < events {
            let event = self.generator.event(self.next);
            for slot in &mut self.slots.0 {
                let has = slot.spec.of.is_none_or(|kind| kind == event.kind);
                slot.made = has.then(|| self.generator.value(event, slot.spec.what, &mut slot.text));
            }
            if let Err(flaw) = self.rows.push(&self.slots, self.next, (0, 0)) {
                let mut line = String::new();
                write_event(&self.generator, event, &mut line);
                self.rows.push_bad(self.next, flaw, line.as_bytes());
            }
            self.next = self.next.saturating_add(self.step);
        }
        if self.rows.records() == 0 {
            return Ok(Next::End);
        }
        Ok(Next::Chunk(self.rows.finish(self.partition, start, self.next, None)?))
    }
}

