//! The timers of a lane through one epoch: which are due, in which order they fire, what becomes of them.
//!
//! Owns: the lane's due timers, the changes to the stored ones, the cut of a batch where a timer comes in between.
//! Does not own: when a timer fires (`segno_core::protocol::time`), the calls (`lane`), storing (`commit`).
//!
//! Invariants: timers fire in the order of `Due`, which does not depend on batches, lanes or epochs. All timers of the
//! epoch that were stored before are here from the start. A timer fires once.

use segno_core::columns::key::Keys;
use segno_core::persisted::StoredTimer;
use segno_core::protocol::time::{END, Moment, Moves, time_text};
use segno_core::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How often a timer may set the next one for the same instant.
const CHAIN_MAX: u32 = 1_000;

/// How many timers the timers of one key may set when the input has ended: they all fire in that epoch.
const AT_THE_END_MAX: u32 = 10_000;

/// A timer's identity within the lane; `rank` is the place of its key among the lane's keys in byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TimerId {
    time: i64,
    rank: u32,
    number: u32,
}

/// A timer that fires in this epoch, in the order in which they fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    pub moment: Moment,
    /// How many timers of the same instant set each other before it: it fires after all that did not wait for one.
    pub chain: u32,
    pub(super) id: TimerId,
}

impl Due {
    pub fn time(&self) -> i64 {
        self.id.time
    }

    pub fn number(&self) -> u32 {
        self.id.number
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Due,
    /// It is in the state store.
    stored: bool,
}

/// Where an event of a batch stands.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Row(Moment),
    Timer(Due),
}

impl Place {
    pub fn moment(&self) -> Moment {
        match self {
            Place::Row(moment) => *moment,
            Place::Timer(due) => due.moment,
        }
    }

    fn is_or_is_after(&self, due: &Due) -> bool {
        self.is_after(due) || matches!(self, Place::Timer(other) if other == due)
    }

    /// Whether a timer fires before this event: at one instant, rows come first.
    fn is_after(&self, due: &Due) -> bool {
        match self {
            Place::Row(moment) => *moment > due.moment,
            Place::Timer(other) => other > due,
        }
    }
}

/// A change of a timer that a call asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The event that asks, and the lane's number of its key.
    pub event: usize,
    pub key: u32,
    pub time: i64,
    pub number: u32,
    pub set: bool,
}

pub struct LaneTimers<'a> {
    moves: &'a Moves,
    /// Where the epoch ends within an instant: what fires after this timer is left to the next epoch.
    last: Option<&'a StoredTimer>,
    key_bytes: &'a Keys,
    ids: &'a [u32],
    /// A timer set one for its own instant: the epoch cannot end within it, because the order of such timers is not stored.
    chained: bool,
    /// How many timers the timers of each key (by rank) have set since the input ended.
    at_the_end: HashMap<u32, u32>,
    /// The rank of each key, and the key of each rank.
    ranks: Vec<u32>,
    keys: Vec<u32>,
    due: BTreeSet<Due>,
    waiting: HashMap<TimerId, Waiting>,
    /// What becomes of stored timers: true is set, false is deleted.
    changes: BTreeMap<TimerId, bool>,
}

impl<'a> LaneTimers<'a> {
    /// `stored`: (lane's number of the key, time, number) of every stored timer that is due in the epoch.
    pub fn new(
        moves: &'a Moves,
        last: Option<&'a StoredTimer>,
        keys: &'a Keys,
        ids: &'a [u32],
        stored: &[(u32, i64, u32)],
    ) -> LaneTimers<'a> {
        let mut by_rank: Vec<u32> = (0..ids.len() as u32).collect();
        by_rank.sort_unstable_by_key(|&key| keys.get(ids[key as usize] as usize));
        let mut ranks = vec![0; ids.len()];
        for (rank, &key) in by_rank.iter().enumerate() {
            ranks[key as usize] = rank as u32;
        }
        let mut timers = LaneTimers {
            moves,
            last,
            key_bytes: keys,
            ids,
            chained: false,
            at_the_end: HashMap::new(),
            ranks,
            keys: by_rank,
            due: BTreeSet::new(),
            waiting: HashMap::new(),
            changes: BTreeMap::new(),
        };
        for &(key, time, number) in stored {
            let id = TimerId { time, rank: timers.ranks[key as usize], number };
            if let Some(moment) = moves.firing(None, time) {
                timers.wait(Due { moment, chain: 0, id }, true);
            }
        }
        timers
    }

    fn wait(&mut self, due: Due, stored: bool) {
        self.due.insert(due);
        self.waiting.insert(due.id, Waiting { due, stored });
    }

    fn id(&self, one: &Asked) -> TimerId {
        TimerId { time: one.time, rank: self.ranks[one.key as usize], number: one.number }
    }

    /// When a timer fires that an event sets; `None`: not in this epoch.
    fn firing(&self, place: &Place, id: TimerId) -> Option<Due> {
        let moment = self.moves.firing(Some(place.moment()), id.time)?;
        let chain = match place {
            Place::Timer(setter) if setter.moment == moment => setter.chain + 1,
            _ => 0,
        };
        Some(Due { moment, chain, id }).filter(|due| !self.is_left(due))
    }

    /// Whether a timer is left to the epoch that goes on within the instant in which this one ends.
    fn is_left(&self, due: &Due) -> bool {
        let Some(last) = self.last.filter(|_| Some(due.moment.instant) == self.moves.last()) else { return false };
        let key = self.key_bytes.get(self.ids[self.keys[due.id.rank as usize] as usize] as usize);
        due.chain > 0 || (due.id.time, key, due.id.number) > (last.time, last.key.as_slice(), last.number)
    }

    pub fn chained(&self) -> bool {
        self.chained
    }

    /// The due timers that have not fired, in order.
    pub fn due(&self) -> impl Iterator<Item = &Due> {
        self.due.iter()
    }

    /// The lane's number of a timer's key.
    pub fn key(&self, due: &Due) -> u32 {
        self.keys[due.id.rank as usize]
    }

    /// Where a batch must end so that what its events ask for changes nothing in it: the number of events that stay.
    pub fn cut(&self, places: &[Place], asked: &[Asked]) -> Option<usize> {
        let within = |one: &Asked| {
            let id = self.id(one);
            // One that fires before the event, or is the event, no longer waits when the event asks.
            let waiting = self.waiting.get(&id).filter(|waiting| !places[one.event].is_or_is_after(&waiting.due));
            let due = match (one.set, waiting) {
                (true, Some(_)) | (false, None) => return None,
                (true, None) => self.firing(&places[one.event], id)?,
                (false, Some(waiting)) => waiting.due,
            };
            // Places are in the order in which they happen, and most timers are due long after the batch.
            let behind = &places[one.event + 1..];
            let found = match one.set {
                true if behind.last().is_some_and(|place| place.is_after(&due)) => {
                    Some(behind.partition_point(|place| !place.is_after(&due)))
                }
                true => None,
                // One that fired before it is deleted has fired.
                false => behind.iter().position(|place| matches!(place, Place::Timer(other) if *other == due)),
            };
            found.map(|at| one.event + 1 + at)
        };
        asked.iter().filter_map(within).min()
    }

    /// A timer of the batch at hand fires.
    pub fn fire(&mut self, due: &Due) {
        self.due.remove(due);
        if self.waiting.remove(&due.id).is_some_and(|fired| fired.stored) {
            self.changes.insert(due.id, false);
        }
    }

    /// What an event asked for takes effect.
    pub fn change(&mut self, step: &str, place: &Place, one: &Asked) -> Result<()> {
        let id = self.id(one);
        match (one.set, self.waiting.get(&id).copied()) {
            (true, Some(_)) => {}
            (true, None) => match self.firing(place, id) {
                None => {
                    self.chained |= matches!(place, Place::Timer(_)) && self.last.is_some() && Some(id.time) <= self.moves.last();
                    self.changes.insert(id, true);
                }
                Some(due) if due.chain > CHAIN_MAX => {
                    return Err(Error::new(
                        Code::TimerLoop,
                        format!("step \"{step}\": timers set each other {CHAIN_MAX} times at one instant; the last is for {}", time_text(one.time)),
                    )
                    .with_help("set the next timer for a later time than that of the one that fires"));
                }
                // A stored one that was deleted in this epoch stays deleted when it has fired.
                Some(due) => {
                    self.wait(due, false);
                    self.count_at_the_end(step, place, &due)?;
                }
            },
            (false, Some(waiting)) => {
                self.due.remove(&waiting.due);
                self.waiting.remove(&id);
                if waiting.stored {
                    self.changes.insert(id, false);
                }
            }
            // Not due in this epoch: whether it is stored is not known here, and deleting nothing is nothing.
            (false, None) => {
                self.changes.insert(id, false);
            }
        }
        Ok(())
    }

    /// A timer that always sets the next one would fire up to the end of time.
    fn count_at_the_end(&mut self, step: &str, place: &Place, due: &Due) -> Result<()> {
        if !matches!(place, Place::Timer(_)) || self.moves.last() != Some(END) {
            return Ok(());
        }
        let set = self.at_the_end.entry(due.id.rank).or_default();
        *set += 1;
        if *set <= AT_THE_END_MAX {
            return Ok(());
        }
        let (said, last) = (format!("step \"{step}\": the input has ended, and timers of one key go on setting others"), time_text(due.id.time));
        Err(Error::new(Code::TimerLoop, format!("{said}, {AT_THE_END_MAX} so far; the last is for {last}"))
            .with_help("set the next timer only while something waits for it: at the end of the input every timer fires"))
    }

    /// (lane's number of the key, time, number, set or deleted) of every stored timer that changes.
    pub fn into_changes(self) -> Vec<(u32, i64, u32, bool)> {
        let keys = self.keys;
        self.changes.into_iter().map(|(id, set)| (keys[id.rank as usize], id.time, id.number, set)).collect()
    }
}
