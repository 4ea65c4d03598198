// What a plugin tells its host while it works: log lines and counters.
//
// Owns: both. Does not own: where they go: in the sandbox to the host (`guest`), natively to the test harness.
//
// Invariant: nothing comes back, so that nothing can depend on it.

export const TRACE = 0;
export const DEBUG = 1;
export const INFO = 2;
export const WARN = 3;
export const ERROR = 4;

const counts = new Map();
const U64_MAX = (1n << 64n) - 1n;
let send = { log() {}, count() {} };

/** Who gets what is told; what got it before. */
export function sendTo(next) {
    const before = send;
    send = next;
    return before;
}

/** Writes a line to the host's log, at once. The host limits the number and the length of lines. */
export function log(level, message) {
    send.log(level, String(message).toWellFormed());
}

export const debug = (message) => log(DEBUG, message);
export const info = (message) => log(INFO, message);
export const warn = (message) => log(WARN, message);

/** Adds to a counter of this step. Sent at the end of the batch; a batch that fails counts nothing. */
export function count(name, delta = 1n) {
    if (typeof name !== 'string') throw new TypeError('count(name, delta): a name is a text');
    if (BigInt(delta) < 0n) throw new TypeError(`count(name, delta): a whole number from 0 on, not ${delta}`);
    const sum = (counts.get(name) ?? 0n) + BigInt(delta);
    counts.set(name, sum > U64_MAX ? U64_MAX : sum);
}

export function flushCounts() {
    for (const [name, total] of counts) send.count(name, total);
    counts.clear();
}

export function dropCounts() {
    counts.clear();
}
