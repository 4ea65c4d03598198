//! Keyed state: what is kept, what is written back, what older values become.

use segno_sdk::prelude::*;
use segno_sdk::{Engine, Plugin};
use segno_wire::{
    BatchShape, Check, ColumnBuilder, ColumnType, EffectsReader, FixedBuilder, FrameWriter, MessageKind,
    MessageWriter, VarBuilder, message,
};

#[derive(Input)]
struct Command<'a> {
    what: &'a str,
    n: i64,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
struct Seen {
    before: Option<i64>,
}

#[derive(State, Debug, PartialEq, Default)]
#[segno(table = "values", version = 3)]
struct Kept {
    n: i64,
    #[segno(since = 2)]
    name: Option<String>,
    #[segno(since = 2, name = "times")]
    count: u64,
    #[segno(since = 3)]
    raw: Vec<u8>,
}

#[derive(State, Default)]
struct LastTouch {
    at: Option<Timestamp>,
    good: bool,
}

struct Cell;

impl Transform for Cell {
    type Config = ();
    type Tables = ();
    type Input<'a> = Command<'a>;
    type Output = Emit<Seen>;
    type State = (Kept, LastTouch);

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, it: Command<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let (values, touches) = &mut *ctx.state;
        let before = values.get().map(|kept| kept.n);
        match it.what {
            "set" => values.set(Kept {
                n: it.n,
                name: Some(format!("n{}", it.n)),
                ..Kept::default()
            }),
            "add" => values.or_default().n += it.n,
            "double" => match values.get_mut() {
                Some(kept) => kept.n *= 2,
                None => reject!("nothing to double"),
            },
            "clear" => values.clear(),
            "look" => {}
            other => reject!("unknown command `{other}`"),
        }
        if it.what != "look" {
            touches.set(LastTouch {
                at: Some(it.at),
                good: it.n > 0,
            });
        }
        ctx.out.push(Seen { before });
        Ok(())
    }
}

impl Plugin for Cell {
    const NAME: &'static str = "cell";
    const VERSION: &'static str = "1";
}

#[test]
fn values_are_set_changed_and_cleared_for_each_key() {
    let mut cell = Harness::<Cell>::new("{}").unwrap();
    let mut push = |key: &str, what: &str, n: i64| {
        cell.push(
            row! { "what": what, "n": n }
                .key(key)
                .at(Timestamp::from_micros(n)),
        );
    };
    for (key, what, n) in [
        ("a", "set", 5),
        ("b", "add", 7),
        ("a", "double", 0),
        ("c", "double", 0),
        ("a", "add", -1),
        ("b", "clear", 0),
        ("b", "look", 0),
    ] {
        push(key, what, n);
    }
    let result = cell.run();
    let before: Vec<_> = result
        .rows()
        .iter()
        .map(|row| (!row.is_null("before")).then(|| row.i64("before")))
        .collect();
    assert_eq!(before, [None, None, Some(5), Some(10), Some(7), None]);
    assert_eq!(result.rejects[0].reason, "nothing to double");
    let a = cell.state("a", "values").unwrap();
    assert_eq!(
        (a.i64("n"), a.text("name"), a.u64("times"), a.bytes("raw")),
        (9, "n5", 0, &[][..])
    );
    assert_eq!(cell.state("b", "values"), None);
    let touch = cell.state("b", "last_touch").unwrap();
    assert_eq!(
        (touch.timestamp("at"), touch.bool("good")),
        (Timestamp::from_micros(0), false)
    );
    assert_eq!(cell.state("c", "last_touch"), None);
}

/// A batch by hand: `commands` on one key whose values in the two tables are given.
fn batch(commands: &[(&str, i64)], values: [Option<&[u8]>; 2]) -> Vec<u8> {
    fn single(
        out: &mut Vec<u8>,
        kind: ColumnType,
        column: &impl ColumnBuilder,
    ) -> segno_wire::Result<()> {
        let mut frame = FrameWriter::begin(out, column.rows() as u32, 1);
        column.write(kind, &[], &mut frame)?;
        frame.finish()
    }
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Batch, 5);
    let columns = message.section(message::batch::COLUMNS, 0, |out| {
        let (mut what, mut n) = (VarBuilder::default(), FixedBuilder::<i64>::default());
        for command in commands {
            what.push(command.0.as_bytes());
            n.push(command.1);
        }
        let mut frame = FrameWriter::begin(out, commands.len() as u32, 2);
        what.write(ColumnType::Utf8, &[], &mut frame)?;
        n.write(ColumnType::I64, &[], &mut frame)?;
        frame.finish()
    });
    columns.unwrap();
    let mut zeros = FixedBuilder::<u32>::default();
    let mut times = FixedBuilder::<i64>::default();
    for _ in commands {
        zeros.push(0);
        times.push(0);
    }
    message
        .section(message::batch::KEYS, 0, |out| {
            single(out, ColumnType::U32, &zeros)
        })
        .unwrap();
    for (table, value) in values.into_iter().enumerate() {
        let mut column = VarBuilder::default();
        match value {
            Some(value) => column.push(value),
            None => column.push_null(),
        }
        let written = message.section(message::batch::STATES, table as u16, |out| {
            single(out, ColumnType::Binary, &column)
        });
        written.unwrap();
    }
    message
        .section(message::batch::TIMES, 0, |out| {
            single(out, ColumnType::Timestamp, &times)
        })
        .unwrap();
    message.finish().unwrap();
    out
}

fn cell() -> Engine<Cell> {
    let mut init = Vec::new();
    MessageWriter::begin(&mut init, MessageKind::Init, 0)
        .finish()
        .unwrap();
    Engine::init(&init).unwrap()
}

/// The new value of the first table: nothing when it did not change, `Some(None)` when it was deleted.
fn change(
    engine: &mut Engine<Cell>,
    commands: &[(&str, i64)],
    value: Option<&[u8]>,
) -> Option<Option<Vec<u8>>> {
    let answer = engine.process(&batch(commands, [value, None])).unwrap();
    let effects = EffectsReader::parse(
        answer,
        &Engine::<Cell>::description(),
        &BatchShape::of_records(commands.len(), 1),
        Check::Canonical,
    )
    .unwrap();
    effects.mutations(0).map(|frame| {
        let column = frame.column(1).unwrap();
        column.is_valid(0).then(|| column.bytes_at(0).to_vec())
    })
}

#[test]
fn a_value_that_ends_as_it_began_is_no_change() {
    let mut engine = cell();
    let value = change(&mut engine, &[("set", 5)], None).unwrap().unwrap();
    assert_eq!(change(&mut engine, &[("set", 5)], Some(&value)), None);
    assert_eq!(
        change(&mut engine, &[("add", 3), ("add", -3)], Some(&value)),
        None
    );
    assert_eq!(change(&mut engine, &[("look", 0)], Some(&value)), None);
    assert_eq!(change(&mut engine, &[("set", 5), ("clear", 0)], None), None);
    assert_eq!(
        change(&mut engine, &[("clear", 0)], Some(&value)),
        Some(None)
    );
    assert_ne!(change(&mut engine, &[("add", 1)], Some(&value)), None);
}

#[test]
fn an_older_value_is_read_with_its_new_fields_filled_in_and_written_as_the_newest() {
    let mut engine = cell();
    let version_1 = [&[1, 0][..], &41_i64.to_le_bytes()].concat();
    let value = change(&mut engine, &[("add", 1)], Some(&version_1))
        .unwrap()
        .unwrap();
    let newest = [&[3, 0][..], &42_i64.to_le_bytes(), &[0], &[0; 8], &[0; 4]].concat();
    assert_eq!(value, newest);
    assert_eq!(
        change(&mut engine, &[("look", 0)], Some(&version_1)),
        None,
        "looking does not migrate"
    );
}

#[test]
fn a_value_that_cannot_be_read_stops_with_its_table_and_reason() {
    let mut engine = cell();
    let mut error = |value: &[u8]| {
        engine
            .process(&batch(&[("look", 0)], [Some(value), None]))
            .unwrap_err()
    };
    assert_eq!(
        error(&[4, 0]),
        "the state of table `values` cannot be read at version 3: a state value has a version that its table does not know"
    );
    assert_eq!(
        error(&[3, 0, 1]),
        "the state of table `values` cannot be read at version 3: a state value ends too early"
    );
}
