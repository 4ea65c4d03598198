//! Keeps the orders that are worth at least what the pipeline's configuration says.

use segno_sdk::prelude::*;

/// The columns that the plugin reads.
#[derive(Input)]
pub struct Order {
    quantity: i64,
    price_cents: i64,
}

/// `config:` of the step.
#[derive(Config)]
pub struct Settings {
    min_cents: i64,
}

pub struct Large {
    settings: Settings,
}

impl Transform for Large {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Order;
    type Output = Keep;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self { settings })
    }

    #[inline]
    fn process(&mut self, order: Order, ctx: &mut Context<'_, Self>) -> Outcome {
        if order.quantity <= 0 {
            reject!("a quantity of {}", order.quantity);
        }
        if order.quantity * order.price_cents >= self.settings.min_cents {
            ctx.out.keep();
        }
        Ok(())
    }
}

segno_sdk::plugin!(Large);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_order_is_left_out() {
        let mut plugin = Harness::<Large>::new(r#"{"min_cents": 500}"#).unwrap();
        plugin.push(row! { "quantity": 1, "price_cents": 499 });
        plugin.push(row! { "quantity": 1, "price_cents": 500 });
        let result = plugin.run();
        assert_eq!((result.rows().len(), result.rows()[0].cause), (1, 1));
    }
}
