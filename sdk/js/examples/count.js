// Counts the orders of each customer, and tells what the order before was: keyed state, one of whose columns came with version 2.

import { extend, i64, keyed, optional, since, transform, u64 } from 'segno';

export default transform({
    input: { quantity: i64 },
    ports: { out: extend({ orders: u64, before: optional(i64) }) },
    state: { stats: keyed({ orders: u64, last: since(2, optional(i64)) }, { version: 2 }) },

    process({ quantity }, { stats, out }) {
        const kept = stats.orDefault();
        kept.orders += 1n;
        out.push({ orders: kept.orders, before: kept.last });
        kept.last = quantity;
    },
});
