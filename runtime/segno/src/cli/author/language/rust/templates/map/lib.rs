//! Adds the total of an order, after the discount of the pipeline's configuration.

use segno_sdk::prelude::*;

/// The columns that the plugin reads.
#[derive(Input)]
pub struct Order {
    quantity: i64,
    price_cents: i64,
}

/// The columns that it adds.
#[derive(Output)]
pub struct Priced {
    total_cents: i64,
}

/// `config:` of the step.
#[derive(Config)]
pub struct Settings {
    #[segno(default = 0)]
    discount_percent: i64,
}

pub struct Price {
    settings: Settings,
}

impl Transform for Price {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Order;
    type Output = Extend<Priced>;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        if !(0..=100).contains(&settings.discount_percent) {
            return Err("config.discount_percent: 0 to 100 is expected".to_owned());
        }
        Ok(Self { settings })
    }

    #[inline]
    fn process(&mut self, order: Order, ctx: &mut Context<'_, Self>) -> Outcome {
        if order.quantity <= 0 {
            reject!("a quantity of {}", order.quantity);
        }
        let full = order.quantity * order.price_cents;
        ctx.out.push(Priced { total_cents: full - full * self.settings.discount_percent / 100 });
        Ok(())
    }
}

segno_sdk::plugin!(Price);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discount_is_taken_off() {
        let mut plugin = Harness::<Price>::new(r#"{"discount_percent": 10}"#).unwrap();
        plugin.push(row! { "quantity": 2, "price_cents": 450 });
        assert_eq!(plugin.run().rows()[0].i64("total_cents"), 810);
    }
}
