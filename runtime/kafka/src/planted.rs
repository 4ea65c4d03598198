//! What a producer leaves out, for tests and benches only. The feature `testing` compiles it in; a release binary lacks it.
//!
//! With SEGNO_PLANT_KEPT_PRODUCER set, a producer is kept although something went wrong on its way to the brokers: an end of
//! a transaction that comes late may end the next one in its middle, and a test shows that it does. With
//! SEGNO_PLANT_NO_TRANSACTIONS set, it writes without transactions: the bench shows what they cost.

/// Whether disturbances are overlooked.
pub fn keeps_producer() -> bool {
    std::env::var_os("SEGNO_PLANT_KEPT_PRODUCER").is_some()
}

/// Whether rows are written at least once, and seen at once.
pub fn leaves_out_transactions() -> bool {
    std::env::var_os("SEGNO_PLANT_NO_TRANSACTIONS").is_some()
}
