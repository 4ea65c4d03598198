//! A planted bug, for tests only: a producer is kept although something went wrong on its way to the brokers.
//!
//! With SEGNO_PLANT_KEPT_PRODUCER set, an end of a transaction that comes late may end the next one in its middle. A test
//! shows that it does. The feature `testing` compiles it in; a release binary lacks it.

/// Whether disturbances are overlooked.
pub fn keeps_producer() -> bool {
    std::env::var_os("SEGNO_PLANT_KEPT_PRODUCER").is_some()
}
