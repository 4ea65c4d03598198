// Adds the total of an order, after the discount of the pipeline's configuration.

import { ConfigRefused, extend, i64, Reject, setting, transform } from 'segno';

export default transform({
    // The columns that the plugin reads.
    input: { quantity: i64, price_cents: i64 },
    // The columns that it adds.
    ports: { out: extend({ total_cents: i64 }) },
    // `config:` of the step.
    config: { discount_percent: setting.i64.or(0n) },

    setup({ config }) {
        if (config.discount_percent < 0n || config.discount_percent > 100n) {
            throw new ConfigRefused('config.discount_percent: 0 to 100 is expected');
        }
    },

    process(order, { out, config }) {
        if (order.quantity <= 0n) throw new Reject(`a quantity of ${order.quantity}`);
        const full = order.quantity * order.price_cents;
        out.push({ total_cents: full - (full * config.discount_percent) / 100n });
    },
});
