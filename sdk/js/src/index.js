// Write plugins for Segno in JavaScript and TypeScript.
//
// A plugin declares its columns, its ports and its keyed state, and handles one record at a time. Segno runs it in a sandbox, over
// batches, and gives it nothing that a replay could not give it again.
//
//     import { extend, i64, Reject, transform } from 'segno';
//
//     export default transform({
//         input: { quantity: i64, price_cents: i64 },
//         ports: { out: extend({ total_cents: i64 }) },
//         process(order, { out }) {
//             if (order.quantity <= 0n) throw new Reject(`a quantity of ${order.quantity}`);
//             out.push({ total_cents: order.quantity * order.price_cents });
//         },
//     });
//
// `segno build` makes a component of it; `segno/testing` runs it without one.

export {
    binary, bool, date, decimal128, eventTime, f64, i32, i64, list, named, optional, since, timestamp, u64, utf8,
} from './columns.js';
export { DEBUG, ERROR, INFO, TRACE, WARN, count, debug, info, log, warn } from './observe.js';
export { setting } from './settings.js';
export { ConfigRefused, Reject, emit, extend, keep, keyed, perKey, table, transform } from './transform.js';
export { DAY, Decimal, HOUR, MILLISECOND, MINUTE, SECOND, after, civil, dayOf, dayText, floor, hourOf, timeText } from './values.js';
export { Late, Sliding, Tumbling, panes } from './window.js';
