//! Input for a large keyed state: first every key with a text, then updates of 5 % of the keys at a time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io::{Result, Write};

/// Characters of a key's text: 200 of them, random, so that nothing is compressed away.
const TEXT_CHARACTERS: usize = 200;
/// Part of the keys that is updated before another part's turn comes.
const HOT_PART: u64 = 20;
/// Updates of one part: about what ten seconds take.
const HOT_RECORDS: u64 = 5_000_000;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Every key once, with its text.
pub fn load(keys: u64, seed: u64, out: &mut impl Write) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = [0; TEXT_CHARACTERS];
    for key in 0..keys {
        for letter in &mut text {
            *letter = LETTERS[random.random_range(0..LETTERS.len())];
        }
        write!(out, "{{\"key\":\"k{key:010}\",\"value\":\"")?;
        out.write_all(&text)?;
        out.write_all(b"\"}\n")?;
    }
    Ok(())
}

/// Updates without a text: the state's value is written anew all the same.
pub fn updates(keys: u64, records: u64, seed: u64, out: &mut impl Write) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let hot = (keys / HOT_PART).max(1);
    for record in 0..records {
        let part = (seed + record / HOT_RECORDS) % HOT_PART;
        let key = (part * hot + random.random_range(0..hot)).min(keys - 1);
        writeln!(out, "{{\"key\":\"k{key:010}\"}}")?;
    }
    Ok(())
}
