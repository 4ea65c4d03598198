//! The boundary and the sandbox against the same plugin compiled natively.
//!
//! Both sides get the same messages and their answers are compared once. Rounds alternate, so that a machine that
//! changes its speed changes both.

use arrow_array::{ArrayRef, Int64Array, StringArray};
use segno_core::columns::ColumnType;
use segno_core::columns::frame::{BatchMessage, EffectsLimits, RowSet, init_message, parse_effects};
use segno_plugin::{Engine, Limits, Template};
use segno_sdk::Plugin;
use segno_wire::BatchShape;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub const ROWS: usize = 1_024;
const ROUNDS: usize = 15;
const CALLS: usize = 400;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds of one of `count` repetitions, the median over rounds.
fn time(count: usize, mut run: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        (0..count).for_each(|_| run());
        started.elapsed().as_nanos() as f64 / count as f64
    });
    median(rounds.collect())
}

pub fn template(engine: &Engine, components: &Path, name: &str) -> Result<Arc<Template>, Box<dyn Error>> {
    let bytes = std::fs::read(components.join(format!("{name}.wasm")))?;
    let component = engine.load(&bytes, &Limits::default())?;
    let init = init_message(&serde_json::json!({}), &[]).map_err(|error| format!("{error}"))?;
    Ok(engine.template(&component, &init, &Limits::default())?)
}

fn integers(scale: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * scale % 100_003)))
}

fn message(columns: &[ArrayRef], types: &[ColumnType], keys: Option<&[u32]>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    let mut batch = BatchMessage::new(&mut out, if keys.is_some() { 3 } else { 1 });
    let rows = RowSet::Range(0..ROWS);
    let written = batch.columns(columns, types, &rows).and_then(|()| match keys {
        Some(keys) => {
            let distinct = keys.iter().max().map_or(0, |&max| max as usize + 1);
            batch.row_keys(keys)?;
            batch.states(0, std::iter::repeat_n(None, distinct))
        }
        None => Ok(()),
    });
    written.and_then(|()| batch.finish()).map_err(|error| format!("{error}"))?;
    Ok(out)
}

pub fn against_native<T: Plugin>(
    name: &str,
    template: &Template,
    batch: &[u8],
) -> Result<(), Box<dyn Error>> {
    let init = init_message(&serde_json::json!({}), &[]).map_err(|error| format!("{error}"))?;
    let mut native = segno_sdk::Engine::<T>::init(&init)?;
    let mut sandbox = template.instantiate()?;
    let inside = sandbox.process(batch, <[u8]>::to_vec)?.value;
    if native.process(batch)? != inside {
        return Err(format!("{name}: native and sandbox answer differently").into());
    }
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            black_box(sandbox.process(black_box(batch), <[u8]>::len)?.value);
        }
        slow.push(started.elapsed().as_nanos() as f64 / (CALLS * ROWS) as f64);
        let started = Instant::now();
        for _ in 0..CALLS {
            black_box(native.process(black_box(batch))?.len());
        }
        fast.push(started.elapsed().as_nanos() as f64 / (CALLS * ROWS) as f64);
    }
    let ratio = median(slow.iter().zip(&fast).map(|(slow, fast)| slow / fast).collect());
    println!("{name:34} {:8.1} ns in the sandbox {:8.1} ns native   ratio {ratio:.2}", median(slow), median(fast));
    Ok(())
}

pub fn run(components: &Path) -> Result<(), Box<dyn Error>> {
    let cache = tempfile::tempdir()?;
    let engine = Engine::new(Some(cache.path()))?;
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("{row:0100}"))));

    // The whole crossing: arrays to a message, the call, the answer checked and copied into arrays.
    let pass = template(&engine, components, "pass_through")?;
    let declared = &pass.description.inputs[0].columns[0];
    let value: ArrayRef = match declared.kind {
        ColumnType::Utf8 => Arc::clone(&text),
        _ => Arc::new(arrow_array::BinaryArray::from_iter_values((0..ROWS).map(|row| format!("{row:0100}")))),
    };
    let mut instance = pass.instantiate()?;
    let limits = EffectsLimits { output_bytes: 64 << 20, mutations: 1 << 20 };
    let mut out = Vec::new();
    let crossing = time(CALLS, || {
        let mut batch = BatchMessage::new(&mut out, 1);
        batch.columns(std::slice::from_ref(&value), &[declared.kind], &RowSet::Range(0..ROWS)).unwrap();
        batch.finish().unwrap();
        let answer = instance.process(&out, |answer| parse_effects(answer, &pass.description, &BatchShape::of_records(ROWS, 0), &limits));
        black_box(answer.unwrap().value.unwrap().ports.len());
    });
    println!("{:34} {:8.1} ns per record (1,024 records of 100 B, host and guest)", "boundary, pass through", crossing / ROWS as f64);

    let (auction, price) = (integers(7), integers(13));
    let two = message(&[auction, Arc::clone(&price)], &[ColumnType::I64, ColumnType::I64], None)?;
    against_native::<filter_bids::FilterBids>("filter", &*template(&engine, components, "filter_bids")?, &two)?;
    let one = message(&[Arc::clone(&price)], &[ColumnType::I64], None)?;
    against_native::<nexmark_q1::Prices>("map", &*template(&engine, components, "nexmark_q1")?, &one)?;
    let count = template(&engine, components, "keyed_count")?;
    let hot = message(&[Arc::clone(&price)], &[ColumnType::I64], Some(&vec![0; ROWS]))?;
    against_native::<keyed_count::KeyedCount>("keyed count, one hot key", &count, &hot)?;
    let spread: Vec<u32> = (0..ROWS as u32).collect();
    let cold = message(&[price], &[ColumnType::I64], Some(&spread))?;
    against_native::<keyed_count::KeyedCount>("keyed count, 1,024 keys", &count, &cold)?;

    let fresh = time(200, || {
        black_box(count.instantiate().unwrap());
    });
    println!("{:34} {:8.1} µs (instantiate and drop)", "fresh instance", fresh / 1e3);
    let bytes = std::fs::read(components.join("keyed_count.wasm"))?;
    let component = engine.load(&bytes, &Limits::default())?;
    let init = init_message(&serde_json::json!({}), &[]).map_err(|error| format!("{error}"))?;
    let load = time(20, || {
        black_box(engine.template(&component, &init, &Limits::default()).unwrap());
    });
    println!("{:34} {:8.1} µs (compiled template from the cache, MAC checked)", "cached load", load / 1e3);
    Ok(())
}
