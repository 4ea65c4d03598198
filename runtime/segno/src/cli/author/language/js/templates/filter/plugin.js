// Keeps the orders that are worth at least what the pipeline's configuration says.

import { i64, keep, Reject, setting, transform } from 'segno';

export default transform({
    // The columns that the plugin reads.
    input: { quantity: i64, price_cents: i64 },
    ports: { out: keep() },
    // `config:` of the step.
    config: { min_cents: setting.i64 },

    process(order, { out, config }) {
        if (order.quantity <= 0n) throw new Reject(`a quantity of ${order.quantity}`);
        if (order.quantity * order.price_cents >= config.min_cents) out.keep();
    },
});
