//! A timer that waits: a key of the state store without a value, in a table of its own.
//!
//! Invariant: the bytes of the timers of a step sort as (time, key, number), so that those that are due come first.

/// The table of a step's timers. Plugins have at most 64 tables.
pub const TIMERS_TABLE: u16 = u16::MAX;

const TIME_BYTES: usize = 8;
const NUMBER_BYTES: usize = 4;

/// A timer of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredTimer {
    /// When it fires: event time, µs since 1970 UTC.
    pub time: i64,
    /// Key bytes.
    pub key: Vec<u8>,
    /// The plugin's own number for it.
    pub number: u32,
}

/// The bytes under which a timer is kept.
pub fn timer_key(time: i64, key: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TIME_BYTES + key.len() + NUMBER_BYTES);
    bytes.extend_from_slice(&((time as u64) ^ (1 << 63)).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

/// A timer read back; `None` for bytes that are none.
pub fn read_timer(bytes: &[u8]) -> Option<StoredTimer> {
    let (time, rest) = bytes.split_first_chunk::<TIME_BYTES>()?;
    let (key, number) = rest.split_last_chunk::<NUMBER_BYTES>()?;
    Some(StoredTimer {
        time: (u64::from_be_bytes(*time) ^ (1 << 63)) as i64,
        key: key.to_vec(),
        number: u32::from_be_bytes(*number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_sort_by_time_then_key_then_number() {
        let timer = |time: i64, key: &str, number: u32| StoredTimer { time, key: key.as_bytes().to_vec(), number };
        let timers = [
            timer(i64::MIN, "b", 0),
            timer(-1, "", 7),
            timer(-1, "\u{1}a", 0),
            timer(0, "\u{1}a", 0),
            timer(0, "\u{1}a", 1),
            timer(0, "\u{1}b", 0),
            timer(i64::MAX, "", 0),
        ];
        let bytes: Vec<Vec<u8>> = timers.iter().map(|one| timer_key(one.time, &one.key, one.number)).collect();
        assert!(bytes.is_sorted());
        for (timer, bytes) in timers.iter().zip(&bytes) {
            assert_eq!(read_timer(bytes).as_ref(), Some(timer));
        }
        assert_eq!(read_timer(&[0; 11]), None);
    }

    /// Persisted for ever.
    #[test]
    fn the_bytes_of_a_timer_are_as_documented() {
        assert_eq!(hex::encode(timer_key(1_000_000, &[1, 0xAB], 3)), "80000000000f424001ab00000003");
    }
}
