// Counts orders and adds up what they are worth in windows of event time, for each key of the pipeline; orders that come too late
// go to a port of their own.

import { ConfigRefused, eventTime, i64, keep, Late, MINUTE, panes, perKey, Reject, setting, timestamp, transform, Tumbling, u64 } from 'segno';

export default transform({
    // The columns that the plugin reads.
    input: { quantity: i64, price_cents: i64, at: eventTime },
    ports: {
        // A window of a key.
        windows: perKey({ from: timestamp, orders: u64, total_cents: i64 }),
        // The order as it came.
        late: keep(),
    },
    // What is kept for each key and window.
    state: { sums: panes({ orders: u64, total_cents: i64 }) },
    // `config:` of the step.
    config: { minutes: setting.u64.or(60n) },

    setup({ sums, config }) {
        if (config.minutes < 1n || config.minutes > 1_000_000n) {
            throw new ConfigRefused('config.minutes: 1 to 1000000 is expected');
        }
        return { hourly: new Tumbling(sums, config.minutes * MINUTE) };
    },

    process(order, { hourly, late }) {
        if (order.quantity <= 0n) throw new Reject(`a quantity of ${order.quantity}`);
        try {
            const kept = hourly.add(order.at);
            kept.orders += 1n;
            kept.total_cents += order.quantity * order.price_cents;
        } catch (error) {
            if (!(error instanceof Late)) throw error;
            late.keep();
        }
    },

    onTimer(timer, { hourly, windows }) {
        for (const { start, value } of hourly.fire(timer)) {
            windows.push({ from: start, orders: value.orders, total_cents: value.total_cents });
        }
    },
});
