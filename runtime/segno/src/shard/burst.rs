//! Bursts of timers: how far event time may move in the next epoch, so that it fires no more timers than an epoch may.
//!
//! Owns: the horizon, and which timers of which step belong to an epoch that ends within an instant.
//! Does not own: cutting the epoch there (`plan`), firing (`lane`), the cursor in the journal (`segno_core::persisted`).
//!
//! Invariants: decides no output, because time passes through every instant and the steps follow each other at each,
//! wherever an epoch ends. Where it ended is in the journal, so nothing here runs in a replay.

use super::epoch::EpochInput;
use super::execute::Executed;
use segno_core::persisted::{StoredTimer, TIMERS_TABLE, TimerCursor, read_timer};
use segno_core::pipeline::graph::GraphStep;
use segno_core::protocol::time::Moves;
use segno_core::{Code, Error, Result};
use segno_durable::state::StateStore;

/// Instants from here on are not cut.
const INSTANTS_END: i64 = i64::MAX - 1;

/// How far event time may move in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Horizon {
    Free,
    /// Not to this watermark.
    Before(i64),
    /// Not to this instant; but if the next record brings it, a part of the instant's timers fires, up to the cursor.
    Within { instant: i64, last: TimerCursor },
}

impl Horizon {
    /// The first watermark that is too far.
    pub fn limit(&self) -> Option<i64> {
        match self {
            Horizon::Free => None,
            Horizon::Before(watermark) => Some(*watermark),
            Horizon::Within { instant, .. } => Some(*instant),
        }
    }
}

/// What is known of the timers that wait.
pub struct Bursts {
    /// Timers of an epoch at most.
    max: usize,
    known: Option<Known>,
    /// An instant whose timers must fire in one epoch.
    whole: Option<i64>,
}

struct Known {
    horizon: Horizon,
    /// So many timers may be set until the horizon must be found again.
    room: usize,
}

impl Bursts {
    pub fn new(max: usize) -> Bursts {
        Bursts { max: max.max(1), known: None, whole: None }
    }

    /// How far the next epoch may go; `cursor`: the last epoch ended within the instant behind the watermark.
    pub fn horizon(
        &mut self,
        steps: &[GraphStep],
        state: &StateStore,
        watermark: Option<i64>,
        cursor: Option<&TimerCursor>,
    ) -> Result<Horizon> {
        if !steps.iter().any(|step| step.timers) {
            return Ok(Horizon::Free);
        }
        // Behind a repartition step timers may wait before there is a watermark.
        let watermark = watermark.unwrap_or(i64::MIN);
        if let Some(known) = &self.known {
            let ahead = match known.horizon {
                Horizon::Free => true,
                Horizon::Before(limit) => watermark < limit - 1,
                Horizon::Within { .. } => false,
            };
            if ahead && known.room > 0 {
                return Ok(known.horizon.clone());
            }
        }
        // The other half is for timers that are set meanwhile.
        let quota = self.max.div_ceil(2);
        let mut waiting: Vec<(i64, usize, StoredTimer)> = Vec::new();
        for (number, step) in steps.iter().enumerate().filter(|(_, step)| step.timers) {
            let mut found = 0;
            state.scan_queue(&step.id, TIMERS_TABLE, |key| {
                if let Some(timer) = read_timer(key) {
                    // Those that are late for every instant fire with the next move, whatever the limit: the records of an
                    // epoch bound them. There is no watermark behind the last instants, within which they could end.
                    if (timer.time > watermark || cursor.is_some()) && timer.time < INSTANTS_END {
                        waiting.push((timer.time.max(watermark + 1), number, timer));
                        found += 1;
                    }
                }
                found <= quota
            })?;
        }
        waiting.sort_unstable();
        let horizon = match (waiting.first(), waiting.get(quota)) {
            (Some((first, ..)), Some((behind, ..))) if behind > first => Horizon::Before(*behind),
            (Some((first, ..)), Some(_)) if self.whole == Some(*first) => Horizon::Before(first + 1),
            (Some((first, ..)), Some(_)) => {
                let (_, step, timer) = &waiting[quota - 1];
                let last = TimerCursor {
                    step: steps[*step].id.clone(),
                    time: timer.time,
                    key: hex::encode(&timer.key),
                    timer: timer.number,
                };
                // Timers that were set again below the cursor would end the next epoch where the last one ended, for ever.
                if cursor == Some(&last) { Horizon::Before(first + 1) } else { Horizon::Within { instant: *first, last } }
            }
            _ => Horizon::Free,
        };
        self.known = Some(Known { horizon: horizon.clone(), room: self.max - waiting.len().min(quota) });
        Ok(horizon)
    }

    /// An epoch with these changes is about to be committed.
    pub fn count(&mut self, executed: &Executed) {
        let set = executed.changes.values().flat_map(|changes| &changes.changes);
        let set = set.filter(|(_, table, value)| *table == TIMERS_TABLE && value.is_some()).count();
        if let Some(known) = &mut self.known {
            known.room = known.room.saturating_sub(set);
        }
    }

    /// The next epoch may not end within this instant.
    pub fn keep_whole(&mut self, instant: i64) {
        self.whole = Some(instant);
        self.known = None;
    }
}

/// The time of the first timer that waits.
pub fn first_timer(steps: &[GraphStep], state: &StateStore) -> Result<Option<i64>> {
    let mut first: Option<i64> = None;
    for step in steps.iter().filter(|step| step.timers) {
        state.scan_queue(&step.id, TIMERS_TABLE, |key| {
            first = [first, read_timer(key).map(|timer| timer.time)].into_iter().flatten().min();
            false
        })?;
    }
    Ok(first)
}

/// The cursor of an epoch that ends within an instant because of its timers.
fn part_of_an_instant(input: &EpochInput) -> Option<&TimerCursor> {
    // An epoch that does not reach the instant hands the cursor on.
    input.to.timer_cursor.as_ref().filter(|_| input.to.timer_cursor != input.from.timer_cursor)
}

/// How the watermark moves for a step, and the last timer that fires there, if the epoch ends within an instant: the
/// steps before the cursor's pass through the instant, those behind do not reach it.
pub fn moves_of(input: &EpochInput, steps: &[GraphStep], number: usize) -> Result<(Moves, Option<StoredTimer>)> {
    let mut moves = input.moves.clone();
    let Some(cursor) = part_of_an_instant(input) else { return Ok((moves, None)) };
    let of_cursor = steps.iter().position(|step| step.id == cursor.step);
    let (of_cursor, key) = of_cursor.zip(hex::decode(&cursor.key).ok()).ok_or_else(|| {
        Error::new(Code::Internal, format!("an epoch ends within the timers of step \"{}\", which the plan lacks", cursor.step))
    })?;
    if number <= of_cursor
        && let Some(before) = moves.last()
    {
        moves.to(0, before.saturating_add(1));
    }
    let last = (number == of_cursor).then_some(StoredTimer { time: cursor.time, key, number: cursor.timer });
    Ok((moves, last))
}
