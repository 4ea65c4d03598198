// Joins orders with their payments, for each key of the pipeline: each pair when the later of both comes; an order that nobody paid
// in time alone, when no payment can come any more.

import {
    after, bool, ConfigRefused, eventTime, i64, keyed, Late, list, MINUTE, optional, perKey, Reject, setting, timestamp, transform,
} from 'segno';

export default transform({
    // The columns that the plugin reads: an order has a total, a payment what was paid.
    input: { total_cents: optional(i64), paid_cents: optional(i64), at: eventTime },
    ports: { out: perKey({ total_cents: i64, paid_cents: optional(i64) }) },
    state: {
        // What waits for its other side, in the order of event times: orders on the left, payments on the right.
        waiting: keyed({
            left: list({ event_time: timestamp, matched: bool, total_cents: i64 }),
            right: list({ event_time: timestamp, matched: bool, paid_cents: i64 }),
        }, { table: 'interval_join' }),
    },
    // `config:` of the step: the time within which an order is paid.
    config: { minutes: setting.u64.or(60n) },

    setup({ config }) {
        if (config.minutes < 1n || config.minutes > 1_000_000n) {
            throw new ConfigRefused('config.minutes: 1 to 1000000 is expected');
        }
        const time = config.minutes * MINUTE;
        return {
            // From here on a payment is too late for an order, and an order too late for its payment.
            orderEnds: (order) => after(order.event_time, time + 1n),
            paymentEnds: (payment) => after(payment.event_time, 1n),
            isPaidBy: (order, payment) => order.event_time <= payment.event_time && payment.event_time <= after(order.event_time, time),
        };
    },

    process({ total_cents, paid_cents, at }, { waiting, timers, out, orderEnds, paymentEnds, isPaidBy }) {
        // A record of the same time as the watermark is not late.
        if (timers.reached(after(at, 1n))) throw new Late(after(at, 1n));
        if (total_cents === null && paid_cents === null) throw new Reject('neither an order nor a payment');
        if (total_cents !== null && paid_cents !== null) throw new Reject('an order and a payment at once');
        const { left, right } = waiting.orDefault();
        if (total_cents !== null) {
            const order = { event_time: at, matched: false, total_cents };
            for (const payment of right) {
                if (!isPaidBy(order, payment)) continue;
                order.matched = true;
                out.push({ total_cents, paid_cents: payment.paid_cents });
            }
            insert(left, order);
            timers.set(orderEnds(order));
        } else {
            const payment = { event_time: at, matched: false, paid_cents };
            for (const order of left) {
                if (!isPaidBy(order, payment)) continue;
                order.matched = payment.matched = true;
                out.push({ total_cents: order.total_cents, paid_cents });
            }
            insert(right, payment);
            timers.set(paymentEnds(payment));
        }
    },

    onTimer(timer, { waiting, timers, out, orderEnds, paymentEnds }) {
        const kept = waiting.get();
        if (kept === null) return;
        for (const order of kept.left) {
            if (!order.matched && timers.reached(orderEnds(order))) out.push({ total_cents: order.total_cents, paid_cents: null });
        }
        kept.left = kept.left.filter((order) => !timers.reached(orderEnds(order)));
        kept.right = kept.right.filter((payment) => !timers.reached(paymentEnds(payment)));
        if (!kept.left.length && !kept.right.length) waiting.clear();
    },
});

// By event time; behind those of the same.
function insert(waiting, record) {
    let at = waiting.length;
    while (at > 0 && waiting[at - 1].event_time > record.event_time) at--;
    waiting.splice(at, 0, record);
}
