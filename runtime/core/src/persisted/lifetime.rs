//! State with a time to live: a value and its end, in a table of its own beside that of values without one.
//!
//! Owns: the bytes, the numbers of these tables, when a key's state ends. Does not own: who sees what has ended (`shard::lane`), when it
//! is removed (`segno_durable::state`).
//!
//! Invariants: an end is a function of the event times of the key's records, so it does not depend on epochs and calls, and is kept also
//! while the key has no value. An entry whose end the watermark has reached is never seen again, whatever the time to live is later.

/// Plugins have at most 64 tables; the number of one whose values have an end.
const WITH_END: u16 = 0x4000;

/// The table of a table's values that have an end.
pub fn with_end(table: u16) -> u16 {
    table | WITH_END
}

/// Whether values of a table have an end.
pub fn has_end(table: u16) -> bool {
    (WITH_END..2 * WITH_END).contains(&table)
}

/// The ends of keys that have no value now: another value may come before their end.
pub const WITHOUT_VALUE: u16 = 2 * WITH_END - 1;

/// How long a key's state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// µs since 1970 UTC.
    pub end: i64,
    /// The time to live that gave this end, µs.
    pub ttl: i64,
}

impl Lease {
    /// That of a key of which no record is known.
    pub const NONE: Lease = Lease { end: i64::MIN, ttl: 0 };
    /// That of a key that comes while the step has no time to live any more.
    pub const FOR_EVER: Lease = Lease { end: FOR_EVER, ttl: FOR_EVER };

    /// With another record. What another time to live gave is over with it.
    pub fn with_record(self, time: i64, ttl: i64) -> Lease {
        let before = if self.ttl == ttl { self.end } else { i64::MIN };
        Lease { end: before.max(end_of(time, ttl)), ttl }
    }
}

/// Where it is kept, as the state of a step of this name, until when the values live that a step kept before it had a time to live: by
/// the step's id, in table 0.
pub const BEFORE_TTL: &str = "_ttl";

/// The time to live of a step that has none any more, and the end of what it keeps.
pub const FOR_EVER: i64 = i64::MAX;

const LEASE_BYTES: usize = 16;

/// When the state of a key ends that has a record at this time, µs: `ttl` behind it, and behind the next multiple of an eighth of
/// `ttl`. So it moves eight times in each `ttl` at most, and state lives an eighth longer at most, and never shorter.
pub fn end_of(time: i64, ttl: i64) -> i64 {
    let step = (ttl / 8).max(1);
    let floor = time.div_euclid(step).saturating_mul(step);
    let ceiling = if floor == time { floor } else { floor.saturating_add(step) };
    ceiling.saturating_add(ttl)
}

/// Whether the watermark has reached an end.
pub fn has_ended(end: i64, watermark: i64) -> bool {
    end != FOR_EVER && end <= watermark
}

/// A value with its end.
pub fn write_living(lease: Lease, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEASE_BYTES + value.len());
    bytes.extend_from_slice(&lease.end.to_le_bytes());
    bytes.extend_from_slice(&lease.ttl.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// The end and the value; `None` for bytes that are none.
pub fn read_living(bytes: &[u8]) -> Option<(Lease, &[u8])> {
    let (lease, value) = bytes.split_first_chunk::<LEASE_BYTES>()?;
    let (end, ttl) = lease.split_first_chunk::<8>()?;
    Some((Lease { end: i64::from_le_bytes(*end), ttl: i64::from_le_bytes(ttl.try_into().ok()?) }, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lives_as_long_as_asked_for_and_an_eighth_longer_at_most() {
        for ttl in [1, 7, 8, 9, 1_000, 86_400_000_000] {
            for time in [-1_000_000_007, -1, 0, 1, 999, 1_000, 1_700_000_000_000_001] {
                let lives = end_of(time, ttl) - time;
                assert!(lives >= ttl && lives < ttl + (ttl / 8).max(1), "{time} {ttl}: {lives}");
            }
        }
        assert_eq!(end_of(i64::MAX, 1_000), i64::MAX);
        assert!(has_ended(5, 5) && !has_ended(5, 4) && !has_ended(FOR_EVER, i64::MAX));
    }

    #[test]
    fn ends_do_not_go_back_with_time() {
        let ends: Vec<i64> = (-50..50).map(|time| end_of(time, 20)).collect();
        assert!(ends.is_sorted() && ends.first() != ends.last());
    }

    /// Persisted for ever.
    #[test]
    fn the_bytes_are_as_documented() {
        assert_eq!(hex::encode(write_living(Lease { end: 258, ttl: 1 }, b"ab")), "020100000000000001000000000000006162");
        let lease = Lease { end: -5, ttl: 7 };
        assert_eq!(read_living(&write_living(lease, b"")), Some((lease, &b""[..])));
        assert_eq!(read_living(&[0; 15]), None);
        assert_eq!((with_end(3), has_end(with_end(63)), has_end(63), has_end(super::super::TIMERS_TABLE)), (0x4003, true, false, false));
        assert_eq!((WITHOUT_VALUE, has_end(WITHOUT_VALUE)), (0x7fff, true));
    }

    #[test]
    fn a_record_moves_the_end_on_and_never_back_and_another_time_to_live_begins_anew() {
        let lease = Lease::NONE.with_record(100, 8).with_record(40, 8);
        assert_eq!(lease, Lease { end: 108, ttl: 8 });
        assert_eq!(lease.with_record(40, 16), Lease { end: 56, ttl: 16 });
        assert_eq!(Lease::FOR_EVER.with_record(40, 8), Lease { end: 48, ttl: 8 });
    }
}
