//! Salt for skewed keys: one busy key becomes several, whose results are merged by a second step.
//!
//! A pipeline works on a key in one place at a time. A key that has most of the records is spread by a column that is
//! added to it: `key: [airport, salt]` in the step that aggregates, `key: airport` in the one that merges what it gives.
//!
//! Owns: which salt a record has. Does not own the two steps: they are ordinary ones, with windows or without.
//!
//! The salt follows from where the record comes from, and from nothing else: from its id, its partition and offset, or
//! whatever else tells records of a key apart. It is no random number, because a replay must give every record the same.
//! The same bytes have the same salt for ever; other numbers of salts change the state of the steps behind it, as another
//! key does.
//!
//! ```
//! use segno_sdk::salt::Salt;
//!
//! const SALT: Salt = Salt::new(8);
//! let offsets: Vec<u64> = (0..4).map(|offset: i64| SALT.of(&offset.to_le_bytes())).collect();
//! assert_eq!(offsets, [6, 6, 2, 2]);
//! ```
//!
//! **The first step** gives a partial result for each of its keys, once: at the end of a window without allowed lateness
//! and early results (a partial result that is given again would be counted again).
//!
//! **The second step** sees these rows one microsecond before the window's end, so it has the same windows, and adds them up
//! as it would add up records: they are there before its own timers of that instant. `examples/salted` has both steps.

/// Gives records one of so many salts.
#[derive(Clone, Copy, Debug)]
pub struct Salt {
    salts: u64,
}

impl Salt {
    /// # Panics
    /// When there are none.
    pub const fn new(salts: u32) -> Self {
        assert!(salts > 0, "there is a salt at least");
        Self { salts: salts as u64 }
    }

    /// The salt of a record that comes from there: 0 to one less than there are.
    #[inline]
    pub fn of(&self, origin: &[u8]) -> u64 {
        // FNV-1a, then the finalizer of MurmurHash3, because the lower bits of FNV alone follow the lower bits of its input.
        let hash = origin.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (hash ^ (hash >> 33)) % self.salts
    }
}
