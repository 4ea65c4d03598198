//! What the SDK promises about memory: from the second batch on, processing allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use segno_sdk::Engine;
use segno_sdk::prelude::*;
use segno_wire::{
    ColumnBuilder, ColumnType, FixedBuilder, FrameWriter, MessageKind, MessageWriter, VarBuilder,
    message,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, with a count beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Input)]
struct Line<'a> {
    text: &'a str,
    n: i64,
}

#[derive(Output)]
struct Row<'a> {
    text: &'a str,
    total: Option<i64>,
    even: bool,
}

#[derive(State, Default)]
struct Total {
    n: i64,
}

struct Sum;

impl Transform for Sum {
    type Config = ();
    type Tables = ();
    type Input<'a> = Line<'a>;
    type Output = Extend<Row<'static>>;
    type State = Total;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, line: Line<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let total = ctx.state.or_default();
        total.n += line.n;
        if line.n == 13 {
            return Err("unlucky".into());
        }
        count("lines", 1);
        ctx.out.push(Row {
            text: line.text.trim_start(),
            total: (line.n % 3 == 0).then_some(total.n),
            even: line.n % 2 == 0,
        });
        ctx.out.push(Row {
            text: "constant",
            total: None,
            even: true,
        });
        Ok(())
    }
}

impl segno_sdk::Plugin for Sum {
    const NAME: &'static str = "sum";
    const VERSION: &'static str = "1";
}

fn batch(rows: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut message = MessageWriter::begin(&mut out, MessageKind::Batch, 3);
    let columns = message.section(message::batch::COLUMNS, 0, |out| {
        let (mut text, mut n) = (VarBuilder::default(), FixedBuilder::<i64>::default());
        for row in 0..rows {
            text.push(format!("{:>1$}", "text", 5 + row as usize % 7).as_bytes());
            n.push(i64::from(row));
        }
        let mut frame = FrameWriter::begin(out, rows, 2);
        text.write(ColumnType::Utf8, &[], &mut frame)?;
        n.write(ColumnType::I64, &[], &mut frame)?;
        frame.finish()
    });
    columns.unwrap();
    let keys = message.section(message::batch::KEYS, 0, |out| {
        let mut keys = FixedBuilder::<u32>::default();
        for row in 0..rows {
            keys.push(row % 10);
        }
        let mut frame = FrameWriter::begin(out, rows, 1);
        keys.write(ColumnType::U32, &[], &mut frame)?;
        frame.finish()
    });
    keys.unwrap();
    let states = message.section(message::batch::STATES, 0, |out| {
        let mut states = VarBuilder::default();
        for _ in 0..10 {
            states.push(&[1, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut frame = FrameWriter::begin(out, 10, 1);
        states.write(ColumnType::Binary, &[], &mut frame)?;
        frame.finish()
    });
    states.unwrap();
    message.finish().unwrap();
    out
}

#[test]
fn from_the_second_batch_on_nothing_is_allocated() {
    let mut init = Vec::new();
    MessageWriter::begin(&mut init, MessageKind::Init, 0)
        .finish()
        .unwrap();
    let mut engine = Engine::<Sum>::init(&init).unwrap();
    let batch = batch(1000);
    let first = engine.process(&batch).unwrap().to_vec();
    let before = ALLOCATIONS.get();
    let second = engine.process(&batch).unwrap();
    let allocated = ALLOCATIONS.get() - before;
    assert!(first == second);
    assert_eq!(allocated, 0);
}
