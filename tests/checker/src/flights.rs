//! The flights example, computed the obvious way.

use crate::output;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_schema::{DataType, TimeUnit};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `flights-prepare` wrote.
    #[arg(long)]
    data: PathBuf,
    /// The file of odd records.
    #[arg(long)]
    odd: PathBuf,
    /// The folder with `stats` and `dead-letters`.
    #[arg(long)]
    out: PathBuf,
}

struct Flight {
    /// µs since 1970 UTC.
    date: i64,
    delay: i64,
    distance: i64,
    origin: String,
    destination: String,
}

/// A record with where it came from.
struct Record {
    offset: u64,
    /// `None`: it is not a flight.
    flight: Option<Flight>,
}

struct Airport {
    name: String,
    state: Option<String>,
}

struct Stats {
    count: u64,
    sum: i64,
    min: i64,
    max: i64,
}

pub fn check(args: &Args) -> Result<String, String> {
    let mut sources = [
        ("flights.parquet", parquet(&args.data.join("flights.parquet"))?),
        ("flights-20k.json", array(&args.data.join("flights-20k.json"))?),
        ("odd.jsonl", lines(&args.odd)?),
    ];
    let airports = airports(&args.data.join("airports.csv"))?;
    let found = output::read(&args.out.join("stats"))?;
    let letters = output::read(&args.out.join("dead-letters"))?;
    let mut stats: HashMap<(String, i64), Stats> = HashMap::new();
    let (mut rows, mut dead) = (0, 0);
    loop {
        let heads = sources.iter().enumerate().filter_map(|(number, (_, records))| {
            let head = records.front()?;
            Some((head.flight.as_ref().map_or(i64::MIN, |flight| flight.date), number))
        });
        let Some((_, source)) = heads.min() else { break };
        let name = sources[source].0;
        let Some(record) = sources[source].1.pop_front() else { break };
        let step = match &record.flight {
            None => Some(Value::Null),
            Some(flight) if !plausible(flight) => Some(json!("gate")),
            Some(_) => None,
        };
        if let Some(step) = step {
            let letter = letters.get(dead).ok_or_else(|| format!("dead letter {dead}: {name} offset {} is lost", record.offset))?;
            let partition = letter.get("partition").and_then(Value::as_str).unwrap_or_default();
            if !partition.ends_with(name) || letter.get("offset") != Some(&json!(record.offset)) || letter.get("step") != Some(&step) {
                return Err(format!("dead letter {dead} must be of {name} offset {}, step {step}; is {letter:?}", record.offset));
            }
            dead += 1;
            continue;
        }
        let Some(flight) = record.flight else { continue };
        let hour = flight.date.div_euclid(3_600_000_000).rem_euclid(24);
        let entry = stats.entry((flight.origin.clone(), hour)).or_insert(Stats { count: 0, sum: 0, min: i64::MAX, max: i64::MIN });
        entry.count += 1;
        entry.sum += flight.delay;
        entry.min = entry.min.min(flight.delay);
        entry.max = entry.max.max(flight.delay);
        let airport = airports.get(&flight.origin);
        let date = jiff::Timestamp::from_microsecond(flight.date).map_err(|error| error.to_string())?;
        let expected = [
            ("date", json!(date.to_string())),
            ("origin", json!(flight.origin)),
            ("origin_name", json!(airport.map(|airport| &airport.name))),
            ("origin_state", json!(airport.and_then(|airport| airport.state.as_ref()))),
            ("hour", json!(hour)),
            ("delay", json!(flight.delay)),
            ("flights", json!(entry.count)),
            ("mean_delay", json!(entry.sum as f64 / entry.count as f64)),
            ("min_delay", json!(entry.min)),
            ("max_delay", json!(entry.max)),
        ];
        let row = found.get(rows).ok_or_else(|| format!("{} rows; {name} offset {} is lost", found.len(), record.offset))?;
        output::same(rows, row, &expected)?;
        rows += 1;
    }
    output::same_length("rows of output", found.len(), rows)?;
    output::same_length("dead letters", letters.len(), dead)?;
    Ok(format!("{rows} rows and {dead} dead letters are what the input gives"))
}

fn plausible(flight: &Flight) -> bool {
    let code = |code: &str| (3..=4).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    code(&flight.origin)
        && code(&flight.destination)
        && (-1440..=2880).contains(&flight.delay)
        && (1..=9600).contains(&flight.distance)
        && flight.origin != flight.destination
}

fn parquet(path: &Path) -> Result<VecDeque<Record>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|reader| reader.build()).map_err(|error| wrong(&error))?;
    let mut records = VecDeque::new();
    for batch in reader {
        let batch = batch.map_err(|error| wrong(&error))?;
        let column = |name: &str, ty: &DataType| {
            let column = batch.column_by_name(name).ok_or_else(|| wrong(&format!("no column {name}")))?;
            arrow_cast::cast(column, ty).map_err(|error| wrong(&error))
        };
        let date = column("date", &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let (delay, distance) = (column("delay", &DataType::Int64)?, column("distance", &DataType::Int64)?);
        let (origin, destination) = (column("origin", &DataType::Utf8)?, column("destination", &DataType::Utf8)?);
        for row in 0..batch.num_rows() {
            let null = [&date, &delay, &distance, &origin, &destination].iter().any(|column| column.is_null(row));
            records.push_back(Record {
                offset: records.len() as u64,
                flight: (!null).then(|| Flight {
                    date: date.as_primitive::<TimestampMicrosecondType>().value(row),
                    delay: delay.as_primitive::<Int64Type>().value(row),
                    distance: distance.as_primitive::<Int64Type>().value(row),
                    origin: origin.as_string::<i32>().value(row).to_owned(),
                    destination: destination.as_string::<i32>().value(row).to_owned(),
                }),
            });
        }
    }
    Ok(records)
}

/// One array of objects. Offsets are not needed: all of its records are good, or the comparison names the row.
fn array(path: &Path) -> Result<VecDeque<Record>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let values: Vec<Value> = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(values.iter().map(|value| Record { offset: 0, flight: flight(value) }).collect())
}

/// JSON lines; blank lines are no records.
fn lines(path: &Path) -> Result<VecDeque<Record>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut records = VecDeque::new();
    let mut offset = 0;
    for line in bytes.split(|&b| b == b'\n') {
        if !line.iter().all(u8::is_ascii_whitespace) {
            let value = serde_json::from_slice::<Value>(line).ok().filter(|_| !doubled(line));
            records.push_back(Record { offset, flight: value.as_ref().and_then(flight) });
        }
        offset += line.len() as u64 + 1;
    }
    Ok(records)
}

/// A name that occurs twice. The odd file has flat objects without escaped names, so text is enough.
fn doubled(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    ["date", "delay", "distance", "origin", "destination"]
        .iter()
        .any(|name| text.matches(&format!("\"{name}\":")).count() > 1)
}

fn flight(value: &Value) -> Option<Flight> {
    let date: DateTime = DateTime::strptime("%Y/%m/%d %H:%M", value.get("date")?.as_str()?).ok()?;
    Some(Flight {
        date: TimeZone::UTC.to_timestamp(date).ok()?.as_microsecond(),
        delay: value.get("delay")?.as_i64()?,
        distance: value.get("distance")?.as_i64()?,
        origin: value.get("origin")?.as_str()?.to_owned(),
        destination: value.get("destination")?.as_str()?.to_owned(),
    })
}

fn airports(path: &Path) -> Result<HashMap<String, Airport>, String> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut airports = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| format!("{}: {error}", path.display()))?;
        let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
        let state = Some(text(3)).filter(|state| !state.is_empty());
        airports.insert(text(0), Airport { name: text(1), state });
    }
    Ok(airports)
}
