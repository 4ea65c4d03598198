//! Spreads the flights of an airport over several salts, so that a busy one is aggregated in several places.
//! It owns the salt. The salt follows from when and where a flight goes, so a replay gives it the same.

use segno_sdk::prelude::*;
use segno_sdk::salt::Salt;

#[derive(Input)]
pub struct Flight<'a> {
    destination: &'a str,
    #[segno(event_time)]
    at: Timestamp,
}

#[derive(Output)]
pub struct Salted {
    salt: u64,
}

const SALT: Salt = Salt::new(8);

pub struct SaltFlights;

impl Transform for SaltFlights {
    type Config = ();
    type Tables = ();
    type Input<'a> = Flight<'a>;
    type Output = Extend<Salted>;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, flight: Flight<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let mut origin = flight.at.micros().to_le_bytes().to_vec();
        origin.extend_from_slice(flight.destination.as_bytes());
        ctx.out.push(Salted { salt: SALT.of(&origin) });
        Ok(())
    }
}

segno_sdk::plugin!(SaltFlights);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flights_are_spread_evenly_and_always_alike() {
        let salts = || {
            let mut plugin = Harness::<SaltFlights>::new("{}").unwrap();
            for flight in 0..2_000 {
                let destination = ["LAX", "JFK", "SFO", "ORD", "DFW"][flight % 5];
                plugin.push(row! { "destination": destination }.at(Timestamp::from_millis(flight as i64 * 60_000)));
            }
            plugin.run().rows().iter().map(|row| row.u64("salt")).collect::<Vec<_>>()
        };
        let found = salts();
        assert_eq!(found, salts());
        for salt in 0..8 {
            let share = found.iter().filter(|one| **one == salt).count();
            assert!((100..500).contains(&share), "salt {salt} has {share} of 2,000");
        }
        assert!(found.iter().all(|salt| *salt < 8));
    }
}
