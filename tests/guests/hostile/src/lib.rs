//! A plugin that misbehaves on chosen records, in the way that its configuration says. Tests only.
//!
//! Owns: misbehaviour that ordinary Rust can reach. Does not own: malformed answers (`boundary`).
//! Invariant: a record with another price than `config.price` is counted and given on, so that the loss of a neighbour
//! of a hostile record shows.

mod boundary;

use boundary::{Lie, lie};
use segno_sdk::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Input)]
pub struct Bid {
    price: i64,
}

#[derive(Output)]
pub struct Counted {
    bids: u64,
}

#[derive(State, Default)]
#[segno(table = "counts")]
pub struct Counts {
    bids: u64,
}

#[derive(Config)]
pub struct Settings {
    /// heavy, lazy, trap, loop, memory, recursion, output, reject, second, give_up, cut, garble, beyond, init, refuse or
    /// memory_between_calls.
    mode: String,
    /// Records with this price are hostile.
    #[segno(default = 666)]
    price: i64,
    /// Rows that `output` writes for a hostile record, and turns that `heavy` makes.
    #[segno(default = 50_000_000)]
    rows: u64,
}

pub struct Hostile {
    settings: Settings,
}

/// Memory between records, which no plugin may have.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Uses the stack of calls and no memory; the result depends on every depth, so that no loop can be made of it.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { (descend(depth + 1) ^ depth).wrapping_mul(3) }
}

impl Transform for Hostile {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Extend<Counted>;
    type State = Counts;

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        match settings.mode.as_str() {
            "init" => panic!("hostile from the start"),
            "refuse" => Err("config.mode: refuse is refused".to_owned()),
            _ => Ok(Self { settings }),
        }
    }

    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        let hostile = bid.price == self.settings.price;
        let mut bids = self.one();
        match self.settings.mode.as_str() {
            "memory_between_calls" => bids = CALLS.fetch_add(1, Ordering::Relaxed),
            _ if !hostile => {}
            "heavy" | "lazy" => {
                for turn in 0..self.turns() {
                    core::hint::black_box(turn);
                }
            }
            "trap" => panic!("a price of {}", bid.price),
            "loop" => loop {
                core::hint::black_box(bid.price);
            },
            "memory" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(core::hint::black_box(vec![1; 1 << 20]));
                }
            }
            "recursion" => bids = descend(bid.price as u64),
            // One hostile record is borne, two in one instance are not.
            "second" => assert!(CALLS.fetch_add(1, Ordering::Relaxed) == 0, "a second price of {}", bid.price),
            "give_up" => lie(Lie::GiveUp),
            "cut" => lie(Lie::Cut),
            "garble" => lie(Lie::Garble),
            "beyond" => lie(Lie::Beyond),
            "output" => {
                for _ in 0..self.settings.rows {
                    ctx.out.push(Counted { bids: 0 });
                }
            }
            _ => reject!("a price of {}", bid.price),
        }
        let counts = ctx.state.or_default();
        counts.bids += bids;
        ctx.out.push(Counted { bids: counts.bids });
        Ok(())
    }
}

impl Hostile {
    /// One bid; in an instance that is `lazy`, each record is remembered.
    fn one(&self) -> u64 {
        if self.settings.mode == "lazy" {
            CALLS.fetch_add(1, Ordering::Relaxed);
        }
        1
    }

    /// A fifth less where it is not the first record of an instance, as interpreters have it.
    fn turns(&self) -> u64 {
        let first = self.settings.mode != "lazy" || CALLS.load(Ordering::Relaxed) == 1;
        if first { self.settings.rows } else { self.settings.rows / 5 * 4 }
    }
}
