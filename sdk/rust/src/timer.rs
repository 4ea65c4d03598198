//! Owns timers as an author sees them: what fires, what is set, where the watermark stands.
//! Does not own when a timer fires: the host says so, and between which records.
//! Invariant: what an event sets or deletes is in the answer in the order of the events.

use segno_wire::{
    BoolBuilder, Column, ColumnBuilder, ColumnType, FixedBuilder, FrameReader, FrameWriter, MessageReader, MessageWriter,
    WireError, message,
};

use crate::engine::OpenFrame;
use crate::time::Timestamp;

/// A timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The time that it was set for.
    pub time: Timestamp,
    /// The number that it was set with: a plugin that has several kinds of timers tells them apart by it.
    pub number: u32,
}

/// What the current record or timer may set and delete, and the watermark that it sees.
#[derive(Default)]
pub struct Timers {
    /// The plugin says that it sets timers.
    enabled: bool,
    event: u32,
    watermark: Option<i64>,
    changes: u32,
    causes: FixedBuilder<u32>,
    times: FixedBuilder<i64>,
    numbers: FixedBuilder<u32>,
    sets: BoolBuilder,
}

impl Timers {
    /// The event time up to which everything has come, but for what is late; nothing before the first record. A record
    /// whose time is before it is late.
    ///
    /// # Panics
    /// In a plugin that does not say `const TIMERS: bool = true`.
    #[inline]
    pub fn watermark(&self) -> Option<Timestamp> {
        self.check();
        self.watermark.map(Timestamp::from_micros)
    }

    /// Whether the watermark has reached a time: nothing before it will come but what is late.
    ///
    /// # Panics
    /// As [`Timers::watermark`].
    #[inline]
    pub fn reached(&self, time: Timestamp) -> bool {
        self.watermark().is_some_and(|watermark| watermark >= time)
    }

    /// Sets a timer of the current key. It fires once, when the watermark reaches `time`; when that has passed, as soon as
    /// the watermark moves. Key, time and number are its identity: setting one that waits changes nothing.
    ///
    /// # Panics
    /// As [`Timers::watermark`].
    #[inline]
    pub fn set(&mut self, time: Timestamp, number: u32) {
        self.push(time, number, true);
    }

    /// Deletes a timer of the current key, if it waits.
    ///
    /// # Panics
    /// As [`Timers::watermark`].
    #[inline]
    pub fn delete(&mut self, time: Timestamp, number: u32) {
        self.push(time, number, false);
    }

    #[inline]
    fn check(&self) {
        assert!(self.enabled, "a plugin that uses timers or the watermark says `const TIMERS: bool = true;`");
    }

    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    pub(crate) fn begin(&mut self) {
        self.watermark = None;
        self.changes = 0;
        self.causes.begin(&[]);
        self.times.begin(&[]);
        self.numbers.begin(&[]);
        self.sets.begin(&[]);
    }

    /// Makes an event the cause of what comes.
    #[inline(always)]
    pub(crate) fn at(&mut self, event: u32) {
        self.event = event;
    }

    fn push(&mut self, time: Timestamp, number: u32, set: bool) {
        self.check();
        self.changes += 1;
        self.causes.push(self.event);
        self.times.push(time.micros());
        self.numbers.push(number);
        self.sets.push(set);
    }

    /// Sections of the answer.
    pub(crate) fn used(&self) -> u16 {
        u16::from(self.changes > 0)
    }

    pub(crate) fn write(&self, message: &mut MessageWriter<'_>) -> Result<(), WireError> {
        if self.changes == 0 {
            return Ok(());
        }
        message.section(message::effects::TIMERS, 0, |out| {
            let mut frame = FrameWriter::begin(out, self.changes, 4);
            self.causes.write(ColumnType::U32, &[], &mut frame)?;
            self.times.write(ColumnType::Timestamp, &[], &mut frame)?;
            self.numbers.write(ColumnType::U32, &[], &mut frame)?;
            self.sets.write(ColumnType::Bool, &[], &mut frame)?;
            frame.finish()
        })
    }
}

/// The due timers and watermarks of a batch, taken one after the other.
pub(crate) struct DueTimers<'a> {
    timers: Option<[Column<'a>; 5]>,
    moves: [Column<'a>; 2],
    next_timer: usize,
    next_move: usize,
}

/// A due timer and where it belongs.
pub(crate) struct Due {
    pub(crate) key: usize,
    pub(crate) timer: Timer,
    /// The number of the event.
    pub(crate) event: u32,
}

impl<'a> DueTimers<'a> {
    pub(crate) fn open(message: &MessageReader<'a>, open: OpenFrame) -> Result<Self, String> {
        let column = |frame: &FrameReader<'a>, index: usize, kind: ColumnType| {
            frame.expect(index, kind, false).map_err(|error| format!("malformed timers: {error}"))
        };
        let timers = match message.section(message::batch::TIMERS, 0) {
            None => None,
            Some(_) => {
                let frame = open.section(message, message::batch::TIMERS, 0)?;
                Some([
                    column(&frame, 0, ColumnType::U32)?,
                    column(&frame, 1, ColumnType::U32)?,
                    column(&frame, 2, ColumnType::Timestamp)?,
                    column(&frame, 3, ColumnType::U32)?,
                    column(&frame, 4, ColumnType::Timestamp)?,
                ])
            }
        };
        let frame = open.section(message, message::batch::WATERMARKS, 0)?;
        let moves = [column(&frame, 0, ColumnType::U32)?, column(&frame, 1, ColumnType::Timestamp)?];
        Ok(Self { timers, moves, next_timer: 0, next_move: 0 })
    }

    /// How many timers were taken: so many events came before a record, besides the records.
    #[inline(always)]
    pub(crate) fn taken(&self) -> u32 {
        self.next_timer as u32
    }

    /// The next timer that fires before a record, with the watermark that it sees.
    pub(crate) fn take(&mut self, row: usize, seen: &mut Timers) -> Option<Due> {
        let [rows, keys, times, numbers, watermarks] = self.timers.as_ref()?;
        let at = self.next_timer;
        if at == rows.rows() || u32_at(rows, at) as usize > row {
            return None;
        }
        self.next_timer += 1;
        seen.watermark = Some(i64_at(watermarks, at));
        Some(Due {
            key: u32_at(keys, at) as usize,
            timer: Timer { time: Timestamp::from_micros(i64_at(times, at)), number: u32_at(numbers, at) },
            event: (row + at) as u32,
        })
    }

    /// Moves the watermark to where it is from a record on.
    #[inline(always)]
    pub(crate) fn reach(&mut self, row: usize, seen: &mut Timers) {
        let [rows, values] = &self.moves;
        while self.next_move < rows.rows() && u32_at(rows, self.next_move) as usize <= row {
            seen.watermark = Some(i64_at(values, self.next_move));
            self.next_move += 1;
        }
    }
}

fn u32_at(column: &Column<'_>, row: usize) -> u32 {
    u32::from_le_bytes(column.fixed_at(row))
}

fn i64_at(column: &Column<'_>, row: usize) -> i64 {
    i64::from_le_bytes(column.fixed_at(row))
}
