// Counts the orders of each customer by hours of event time, with a timer at the end of each hour: what windows do, by hand.

import { after, eventTime, floor, HOUR, i64, keyed, list, perKey, Reject, timestamp, transform, u64 } from 'segno';

export default transform({
    input: { quantity: i64, at: eventTime },
    ports: { hours: perKey({ start: timestamp, orders: u64 }) },
    state: { open: keyed({ slots: list({ start: timestamp, orders: u64 }) }) },

    process({ at }, { open, timers }) {
        const start = floor(at, HOUR);
        if (timers.reached(after(start, HOUR))) throw new Reject('the hour is over');
        const { slots } = open.orDefault();
        let slot = slots.find((one) => one.start === start);
        if (!slot) {
            slot = { start, orders: 0n };
            slots.push(slot);
            timers.set(after(start, HOUR));
        }
        slot.orders += 1n;
    },

    onTimer({ time }, { open, hours }) {
        const kept = open.orDefault();
        for (const { start, orders } of kept.slots) {
            if (after(start, HOUR) === time) hours.push({ start, orders });
        }
        kept.slots = kept.slots.filter(({ start }) => after(start, HOUR) !== time);
        if (!kept.slots.length) open.clear();
    },
});
