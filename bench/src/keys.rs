//! Input for a keyed state of very many keys: every key once, then updates of keys that are drawn.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::{Result, Write};

/// Spreads ranks over the keys, so that keys that are drawn often do not lie beside each other. Odd, and no power of a prime that a
/// round number of keys has: each key is one rank's.
const SPREAD: u64 = 2_654_435_761;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Drawn {
    /// Every key once.
    Each,
    /// Every key equally often.
    Uniform,
    /// Zipf's law with exponent 1: the key of rank k is drawn in proportion to 1/k. Drawn by its continuous form, in which the
    /// logarithm of the rank is uniform.
    Zipf,
}

pub fn write(keys: u64, records: u64, drawn: Drawn, seed: u64, out: &mut impl Write) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let logarithm = (keys as f64 + 1.0).ln();
    for record in 0..records {
        let rank = match drawn {
            Drawn::Each => record % keys,
            Drawn::Uniform => random.random_range(0..keys),
            Drawn::Zipf => ((random.random::<f64>() * logarithm).exp() as u64).clamp(1, keys) - 1,
        };
        let key = (u128::from(rank) * u128::from(SPREAD) % u128::from(keys)) as u64;
        writeln!(out, "{{\"key\":{key},\"price\":1}}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(drawn: Drawn, keys: u64, records: u64) -> Vec<u64> {
        let mut out = Vec::new();
        write(keys, records, drawn, 7, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_u64().unwrap()).collect()
    }

    #[test]
    fn each_key_comes_once() {
        let mut found = keys(Drawn::Each, 10_000, 10_000);
        found.sort_unstable();
        assert_eq!(found, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_rank_is_drawn_as_often_as_the_law_says() {
        let found = keys(Drawn::Zipf, 10_000, 100_000);
        let first = found.iter().filter(|&&key| key == 0).count() as f64 / 1e5;
        // Its share is ln 2 / ln 10,001 in the continuous form.
        assert!((first - 2_f64.ln() / 10_001_f64.ln()).abs() < 0.005, "{first}");
    }
}
