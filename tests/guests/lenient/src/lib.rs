//! A gate that rejects nothing: what stands in for a mended plugin when dead letters are redriven. Tests only.
//!
//! Invariant: it takes the configuration of `quality_gate` as far as tests set it, so that it can take its place.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Flight {
    distance: i64,
}

#[derive(Config)]
pub struct Settings {
    #[segno(default = 0)]
    max_distance: i64,
}

pub struct Lenient(Settings);

impl Transform for Lenient {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Flight;
    type Output = Keep;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self(settings))
    }

    #[inline]
    fn process(&mut self, flight: Flight, ctx: &mut Context<'_, Self>) -> Outcome {
        if flight.distance > self.0.max_distance {
            count("lenient", 1);
        }
        ctx.out.keep();
        Ok(())
    }
}

segno_sdk::plugin!(Lenient);
