//! Owns running a transform over messages: open a batch, hand over its records, write the answer.
//! Does not own how messages arrive (`guest` in the sandbox, the caller natively).
//! Invariants: from the second batch on, nothing is allocated unless a batch is larger than all before it; an answer is
//! canonical.

use segno_wire::describe::{Description, InputPort};
use segno_wire::{
    Check, ColumnBuilder, ColumnType, FixedBuilder, FrameReader, FrameWriter, MessageKind,
    MessageReader, MessageWriter, VarBuilder, WireError, message,
};

use crate::config;
use crate::observe;
use crate::output::Outputs;
use crate::record::Input;
use crate::side::SideTables;
use crate::state::{BatchStates, States};
use crate::timer::{DueTimers, Timers};
use crate::transform::{Context, Plugin, Reject};

/// The name of the only input port.
pub const INPUT_PORT: &str = "in";

/// Records of one turn of the loop: the price of a turn is halved twice, and small plugins stay small.
const TURN_RECORDS: usize = 4;

/// How frames are opened: with all checks, or trusting whoever wrote them.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct OpenFrame {
    trusted: bool,
}

impl OpenFrame {
    const CHECKED: Self = Self { trusted: false };

    /// # Safety
    /// As [`FrameReader::parse_trusted`], for every frame that will be opened.
    const unsafe fn trusted() -> Self {
        Self { trusted: true }
    }

    fn open(self, bytes: &[u8]) -> Result<FrameReader<'_>, WireError> {
        if self.trusted {
            // SAFETY: promised when this was made.
            unsafe { FrameReader::parse_trusted(bytes) }
        } else {
            FrameReader::parse(bytes, Check::Values)
        }
    }

    pub(crate) fn section<'a>(
        self,
        message: &MessageReader<'a>,
        kind: u16,
        index: u16,
    ) -> Result<FrameReader<'a>, String> {
        message
            .require(kind, index)
            .and_then(|bytes| self.open(bytes))
            .map_err(|error| format!("malformed message, section {kind}.{index}: {error}"))
    }
}

/// One instance of a plugin, with exactly the three entry points that its component exports.
pub struct Engine<T: Plugin> {
    plugin: T,
    output: T::Output,
    tables: <T::State as States>::Tables,
    timers: Timers,
    rejects: Rejects,
    answer: Vec<u8>,
}

impl<T: Plugin> Engine<T> {
    /// The description as JSON.
    pub fn describe() -> String {
        Self::description().to_json()
    }

    /// The description.
    pub fn description() -> Description {
        let mut description = Description {
            name: T::NAME.to_owned(),
            version: T::VERSION.to_owned(),
            inputs: vec![InputPort {
                name: INPUT_PORT.to_owned(),
                columns: Vec::new(),
            }],
            event_time: <T::Input<'static> as Input>::EVENT_TIME,
            timers: T::TIMERS,
            outputs: Vec::new(),
            tables: Vec::new(),
            side_tables: Vec::new(),
        };
        T::Input::describe(&mut description.inputs[0].columns);
        T::Output::describe(&mut description.outputs);
        T::State::describe(&mut description.tables);
        T::Tables::describe(&mut description.side_tables);
        description
    }

    /// Makes an instance from an init message.
    ///
    /// # Errors
    /// A malformed message, a configuration or side table that does not fit, or what the plugin's `init` says.
    pub fn init(init: &[u8]) -> Result<Self, String> {
        Self::init_with(init, OpenFrame::CHECKED)
    }

    /// As [`Engine::init`], without checking offsets and text.
    ///
    /// # Safety
    /// As [`FrameReader::parse_trusted`], for every frame of the message.
    pub unsafe fn init_trusted(init: &[u8]) -> Result<Self, String> {
        // SAFETY: promised by the caller.
        Self::init_with(init, unsafe { OpenFrame::trusted() })
    }

    fn init_with(init: &[u8], open: OpenFrame) -> Result<Self, String> {
        let message = MessageReader::parse(init, MessageKind::Init)
            .map_err(|error| format!("malformed init message: {error}"))?;
        let config = message.section(message::init::CONFIG, 0).unwrap_or(b"{}");
        let config = config::read_root(config)?;
        let tables = T::Tables::load(&message, open)?;
        Ok(Self {
            plugin: T::init(config, tables)?,
            output: T::Output::default(),
            tables: Default::default(),
            timers: Timers::new(T::TIMERS),
            rejects: Rejects::default(),
            answer: Vec::new(),
        })
    }

    /// Takes a batch message and gives an effects message, valid until the next call.
    ///
    /// # Errors
    /// A malformed batch, or state that cannot be read. Nothing is about one record: those are rejected in the answer.
    pub fn process(&mut self, batch: &[u8]) -> Result<&[u8], String> {
        self.process_with(batch, OpenFrame::CHECKED)
    }

    /// As [`Engine::process`], without checking offsets and text: what the component does with its host's batches.
    ///
    /// # Safety
    /// As [`FrameReader::parse_trusted`], for every frame of the message.
    pub unsafe fn process_trusted(&mut self, batch: &[u8]) -> Result<&[u8], String> {
        // SAFETY: promised by the caller.
        self.process_with(batch, unsafe { OpenFrame::trusted() })
    }

    fn process_with(&mut self, batch: &[u8], open: OpenFrame) -> Result<&[u8], String> {
        observe::drop_counts();
        let malformed = |error: WireError| format!("malformed batch: {error}");
        let message = MessageReader::parse(batch, MessageKind::Batch).map_err(malformed)?;
        let records = open.section(&message, message::batch::COLUMNS, 0)?;
        let rows = records.rows();
        let times = if <T::Input<'_> as Input>::EVENT_TIME {
            let frame = open.section(&message, message::batch::TIMES, 0)?;
            if frame.rows() != rows {
                return Err(
                    "malformed batch: one event time for each record is expected".to_owned(),
                );
            }
            Some(
                frame
                    .expect(0, ColumnType::Timestamp, false)
                    .map_err(malformed)?,
            )
        } else {
            None
        };
        let columns = T::Input::open(&records, times).map_err(malformed)?;
        let columns = T::Input::clip(columns, rows);
        let states = BatchStates { message, open };
        let keys = T::State::keys(&states, rows)?;
        let state_columns = T::State::load(&mut self.tables, &states)?;

        let source = records.bytes();
        self.output.begin(source);
        self.rejects.begin(source);
        let mut context: Context<'_, T> = Context {
            out: &mut self.output,
            state: &mut self.tables,
            timers: &mut self.timers,
        };
        // A macro, because a closure that is called in several places is not inlined.
        macro_rules! take {
            ($row:expr) => {
                take!($row, $row as u32)
            };
            ($row:expr, $event:expr) => {
                let (row, event) = ($row, $event);
                context.out.at(event);
                T::State::at(context.state, keys, row);
                let record = T::Input::read(&columns, row);
                if let Err(reject) = self.plugin.process(record, &mut context) {
                    context.out.undo();
                    self.rejects.push(event, reject);
                }
            };
        }
        if T::TIMERS {
            context.timers.begin();
            let mut due = DueTimers::open(&message, open)?;
            for row in 0..=rows {
                while let Some(one) = due.take(row, context.timers) {
                    context.out.at(one.event);
                    context.timers.at(one.event);
                    T::State::at_key(context.state, one.key);
                    self.plugin.on_timer(one.timer, &mut context);
                }
                if row < rows {
                    due.reach(row, context.timers);
                    let event = row as u32 + due.taken();
                    context.timers.at(event);
                    take!(row, event);
                }
            }
        }
        // The sandbox looks at fuel and deadline at each turn of a loop: several records share a turn. With state a turn
        // is long enough; sharing it was measured to be slower.
        let mut row = if T::TIMERS { rows } else { 0 };
        while !T::State::KEYED && row + TURN_RECORDS <= rows {
            take!(row);
            take!(row + 1);
            take!(row + 2);
            take!(row + 3);
            row += TURN_RECORDS;
        }
        while row < rows {
            take!(row);
            row += 1;
        }

        let changed = T::State::collect(&mut self.tables, &state_columns);
        self.write(changed, source)
            .map_err(|error| format!("the answer cannot be written: {error}"))?;
        observe::flush_counts();
        Ok(&self.answer)
    }

    fn write(&mut self, changed: u16, source: &[u8]) -> Result<(), WireError> {
        let rejects = u16::from(self.rejects.rows > 0);
        let sections = self.output.used() + changed + self.timers.used() + rejects;
        let mut message = MessageWriter::begin(&mut self.answer, MessageKind::Effects, sections);
        self.output.write(source, &mut message)?;
        T::State::write(&self.tables, &mut message)?;
        self.timers.write(&mut message)?;
        if rejects > 0 {
            message.section(message::effects::REJECTS, 0, |out| {
                self.rejects.write(source, out)
            })?;
        }
        message.finish()
    }
}

/// The rejected records of one batch.
#[derive(Default)]
struct Rejects {
    rows: u32,
    causes: FixedBuilder<u32>,
    reasons: VarBuilder,
}

impl Rejects {
    fn begin(&mut self, source: &[u8]) {
        self.rows = 0;
        self.causes.begin(source);
        self.reasons.begin(source);
    }

    #[cold]
    fn push(&mut self, row: u32, reject: Reject) {
        self.rows += 1;
        self.causes.push(row);
        self.reasons.push(reject.reason.as_bytes());
    }

    fn write(&self, source: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut frame = FrameWriter::begin(out, self.rows, 2);
        self.causes.write(ColumnType::U32, source, &mut frame)?;
        self.reasons.write(ColumnType::Utf8, source, &mut frame)?;
        frame.finish()
    }
}
