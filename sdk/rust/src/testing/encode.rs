//! Owns writing the messages that a host would send.

use std::collections::BTreeMap;

use segno_wire::describe::{ColumnSpec, Description};
use segno_wire::{
    BoolBuilder, ColumnBuilder, ColumnType, FixedBuilder, FrameWriter, MessageKind, MessageWriter,
    VarBuilder, message,
};

use super::States;
use super::timeline::{Event, Firing};
use super::value::{Row, Values};

/// A batch message and its distinct keys, in the order of their indices.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) keys: Vec<String>,
}

pub(super) fn init(
    description: &Description,
    config: &str,
    tables: &BTreeMap<String, Vec<Row>>,
) -> Vec<u8> {
    if let Some(unknown) = tables.keys().find(|name| {
        description
            .side_tables
            .iter()
            .all(|table| table.name != **name)
    }) {
        panic!("the plugin has no side table `{unknown}`");
    }
    let given: Vec<_> = description
        .side_tables
        .iter()
        .enumerate()
        .filter_map(|(index, table)| Some((index as u16, table, tables.get(&table.name)?)))
        .collect();
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Init, 1 + given.len() as u16);
    let written = message.section(message::init::CONFIG, 0, |out| {
        out.extend_from_slice(config.as_bytes());
        Ok(())
    });
    written.expect("the first section");
    for (index, table, rows) in given {
        let written = message.section(message::init::SIDE_TABLE, index, |out| {
            let rows: Vec<_> = rows.iter().collect();
            frame(out, &table.columns, &rows);
            Ok(())
        });
        written.expect("sections ascend");
    }
    message.finish().expect("all sections are written");
    out
}

/// `events` names every row, in order.
pub(super) fn batch(description: &Description, rows: &[Row], events: &[Event], states: &States) -> Batch {
    let keyed = description.is_keyed();
    let mut keys: Vec<String> = Vec::new();
    if keyed {
        keys.extend(rows.iter().map(|row| match &row.key {
            Some(key) => key.clone(),
            None => panic!(
                "the plugin works by key: each row needs one, `row! {{ … }}.key(\"…\")`: {row:?}"
            ),
        }));
        keys.extend(events.iter().filter_map(|event| match event {
            Event::Timer(firing) => Some(firing.key.clone()),
            Event::Row { .. } => None,
        }));
        keys.sort_unstable();
        keys.dedup();
    }
    let mut due: Vec<(u32, &Firing)> = Vec::new();
    let mut moves: Vec<(u32, i64)> = Vec::new();
    let mut next = 0;
    for event in events {
        match event {
            Event::Timer(firing) => due.push((next, firing)),
            Event::Row { watermark, .. } => {
                if let Some(watermark) = *watermark
                    && moves.last().is_none_or(|last| last.1 < watermark)
                {
                    moves.push((next, watermark));
                }
                next += 1;
            }
        }
    }
    let sections = 1
        + u16::from(keyed)
        + description.tables.len() as u16
        + u16::from(description.event_time)
        + u16::from(!due.is_empty())
        + u16::from(description.timers);
    let mut bytes = Vec::new();
    let mut message = MessageWriter::begin(&mut bytes, MessageKind::Batch, sections);
    let mut section = |kind: u16, index: u16, write: &dyn Fn(&mut Vec<u8>)| {
        let written = message.section(kind, index, |out| {
            write(out);
            Ok(())
        });
        written.expect("sections ascend");
    };
    section(message::batch::COLUMNS, 0, &|out| {
        let rows: Vec<_> = rows.iter().collect();
        frame(out, &description.inputs[0].columns, &rows);
    });
    if keyed {
        section(message::batch::KEYS, 0, &|out| {
            let mut column = FixedBuilder::<u32>::default();
            for row in rows {
                let key = row.key.as_ref().expect("checked above");
                column.push(keys.binary_search(key).expect("all keys are here") as u32);
            }
            single(out, rows.len(), ColumnType::U32, &column);
        });
        for table in 0..description.tables.len() {
            section(message::batch::STATES, table as u16, &|out| {
                let mut column = VarBuilder::default();
                for key in &keys {
                    match states.get(key).and_then(|values| values[table].as_ref()) {
                        Some(value) => column.push(value),
                        None => column.push_null(),
                    }
                }
                single(out, keys.len(), ColumnType::Binary, &column);
            });
        }
    }
    if !due.is_empty() {
        section(message::batch::TIMERS, 0, &|out| {
            let numbers = |of: &dyn Fn(&(u32, &Firing)) -> u32| {
                let mut column = FixedBuilder::<u32>::default();
                due.iter().for_each(|one| column.push(of(one)));
                column
            };
            let times = |of: &dyn Fn(&Firing) -> i64| {
                let mut column = FixedBuilder::<i64>::default();
                due.iter().for_each(|(_, firing)| column.push(of(firing)));
                column
            };
            let key = |firing: &Firing| keys.binary_search(&firing.key).expect("all keys are here") as u32;
            let mut frame = FrameWriter::begin(out, due.len() as u32, 5);
            let written = numbers(&|(row, _)| *row)
                .write(ColumnType::U32, &[], &mut frame)
                .and_then(|()| numbers(&|(_, firing)| key(firing)).write(ColumnType::U32, &[], &mut frame))
                .and_then(|()| times(&|firing| firing.time).write(ColumnType::Timestamp, &[], &mut frame))
                .and_then(|()| numbers(&|(_, firing)| firing.number).write(ColumnType::U32, &[], &mut frame))
                .and_then(|()| times(&|firing| firing.watermark).write(ColumnType::Timestamp, &[], &mut frame))
                .and_then(|()| frame.finish());
            written.expect("all columns have all rows");
        });
    }
    if description.event_time {
        section(message::batch::TIMES, 0, &|out| {
            let mut column = FixedBuilder::<i64>::default();
            for row in rows {
                match row.event_time {
                    Some(time) => column.push(time.micros()),
                    None => panic!(
                        "the plugin reads event times: each row needs one, `row! {{ … }}.at(…)`: {row:?}"
                    ),
                }
            }
            single(out, rows.len(), ColumnType::Timestamp, &column);
        });
    }
    if description.timers {
        section(message::batch::WATERMARKS, 0, &|out| {
            let (mut rows, mut values) = (FixedBuilder::<u32>::default(), FixedBuilder::<i64>::default());
            for &(row, watermark) in &moves {
                rows.push(row);
                values.push(watermark);
            }
            let mut frame = FrameWriter::begin(out, moves.len() as u32, 2);
            let written = rows
                .write(ColumnType::U32, &[], &mut frame)
                .and_then(|()| values.write(ColumnType::Timestamp, &[], &mut frame))
                .and_then(|()| frame.finish());
            written.expect("both columns have all rows");
        });
    }
    message.finish().expect("all sections are written");
    Batch { bytes, keys }
}

fn single(out: &mut Vec<u8>, rows: usize, kind: ColumnType, column: &impl ColumnBuilder) {
    let mut frame = FrameWriter::begin(out, rows as u32, 1);
    column
        .write(kind, &[], &mut frame)
        .expect("the column has all rows");
    frame.finish().expect("the only column is written");
}

fn frame(out: &mut Vec<u8>, columns: &[ColumnSpec], rows: &[&Row]) {
    let mut frame = FrameWriter::begin(out, rows.len() as u32, columns.len() as u16);
    for column in columns {
        write_column(&mut frame, column, rows);
    }
    frame.finish().expect("all columns are written");
}

fn write_column(frame: &mut FrameWriter<'_>, spec: &ColumnSpec, rows: &[&Row]) {
    /// Fills a builder from the values that `take` understands.
    fn fill<B: ColumnBuilder>(
        frame: &mut FrameWriter<'_>,
        spec: &ColumnSpec,
        rows: &[&Row],
        take: impl Fn(&mut B, &Values) -> Option<()>,
    ) {
        let mut builder = B::default();
        for row in rows {
            match row.get(&spec.name) {
                None | Some(Values::Null) if spec.nullable => builder.push_null(),
                None => panic!("the row has no `{}`: {row:?}", spec.name),
                Some(value) => {
                    if take(&mut builder, value).is_none() {
                        panic!("`{}` is not a {}: {value:?}", spec.name, spec.kind);
                    }
                }
            }
        }
        builder
            .write(spec.kind, &[], frame)
            .expect("the column has all rows");
    }

    macro_rules! numbers {
        ($($type:ty)?, $($pattern:pat => $value:expr),*) => {
            fill::<FixedBuilder<$($type)?>>(frame, spec, rows, |builder, value| match value {
                $($pattern => { builder.push($value); Some(()) },)*
                _ => None,
            })
        };
    }

    match spec.kind {
        ColumnType::Bool => fill::<BoolBuilder>(frame, spec, rows, |builder, value| match value {
            Values::Bool(value) => {
                builder.push(*value);
                Some(())
            }
            _ => None,
        }),
        ColumnType::I32 => numbers!(i32, Values::Int(value) => i32::try_from(*value).ok()?),
        ColumnType::I64 => numbers!(i64, Values::Int(value) => i64::try_from(*value).ok()?),
        ColumnType::U64 => numbers!(u64, Values::Int(value) => u64::try_from(*value).ok()?),
        ColumnType::U32 => numbers!(u32, Values::Int(value) => u32::try_from(*value).ok()?),
        ColumnType::F64 => {
            numbers!(f64, Values::Float(value) => *value, Values::Int(value) => *value as f64)
        }
        ColumnType::Timestamp => numbers!(i64, Values::Timestamp(value) => *value),
        ColumnType::Date => numbers!(i32, Values::Date(value) => *value),
        ColumnType::Decimal128 { .. } => numbers!(i128, Values::Decimal(value) => *value),
        ColumnType::Utf8 => fill::<VarBuilder>(frame, spec, rows, |builder, value| match value {
            Values::Text(value) => {
                builder.push(value.as_bytes());
                Some(())
            }
            _ => None,
        }),
        ColumnType::Binary => fill::<VarBuilder>(frame, spec, rows, |builder, value| match value {
            Values::Bytes(value) => {
                builder.push(value);
                Some(())
            }
            _ => None,
        }),
    }
}
