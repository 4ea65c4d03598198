//! Nexmark query 1: adds to each bid its price in euros, at a fixed rate.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Bid {
    /// Cents of a dollar.
    price: i64,
}

#[derive(Output)]
pub struct Converted {
    /// Cents of a euro.
    price_euro: f64,
}

#[derive(Config)]
pub struct Settings {
    /// Euros for a dollar.
    #[segno(default = 0.908)]
    rate: f64,
}

pub struct MapBids {
    rate: f64,
}

impl Transform for MapBids {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Bid;
    type Output = Extend<Converted>;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        if settings.rate <= 0.0 {
            return Err(format!("config.rate: {} is not positive", settings.rate));
        }
        Ok(Self {
            rate: settings.rate,
        })
    }

    #[inline]
    fn process(&mut self, bid: Bid, ctx: &mut Context<'_, Self>) -> Outcome {
        ctx.out.push(Converted {
            price_euro: bid.price as f64 * self.rate,
        });
        Ok(())
    }
}

segno_sdk::plugin!(MapBids);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_converted() {
        let mut map = Harness::<MapBids>::new(r#"{"rate": 0.5}"#).unwrap();
        map.push(row! { "price": 100 });
        map.push(row! { "price": 1 });
        let result = map.run();
        assert_eq!(result.rows()[0].f64("price_euro"), 50.0);
        assert_eq!(result.rows()[1].f64("price_euro"), 0.5);
    }

    #[test]
    fn a_rate_that_is_no_rate_is_refused() {
        let refused = |config: &str| Harness::<MapBids>::new(config).err().unwrap();
        assert_eq!(refused(r#"{"rate": 0}"#), "config.rate: 0 is not positive");
        assert_eq!(
            refused(r#"{"rate": "1"}"#),
            "config.rate: a number is expected, not a string"
        );
        assert_eq!(
            refused(r#"{"rate": 1e999}"#),
            "config.rate: 1e999 is too large for a number"
        );
    }
}
