// Test a plugin with `node:test`, or whatever you like: no runtime, no sandbox, the same bytes.
//
//     import { Harness } from 'segno/testing';
//
//     test('a discount is taken off', () => {
//         const plugin = new Harness(orders, { config: { discount_percent: 10 } });
//         plugin.push({ quantity: 2n, price_cents: 450n });
//         assert.equal(plugin.run().rows()[0].total_cents, 810n);
//     });
//
// Owns: making batches from records, keeping state and timers between them, and showing what came out. Does not own: the semantics
// of a pipeline (merging, epochs, `on_error`).
//
// Invariant: every run is done twice, in one batch and event by event, with a fresh instance for each batch; a plugin whose result
// depends on how batches are cut fails here.

import { converted } from './columns.js';
import { Engine } from './engine.js';
import { sendTo } from './observe.js';
import { rowOf } from './transform.js';
import { BATCH, EFFECTS, INIT, KINDS, readFrame, readMessage, writeFrame, writeMessage } from './wire.js';

export { Refused } from './engine.js';

const LEAST = -(1n << 63n);
const END = (1n << 63n) - 1n;
/** The smallest step of the watermark, microseconds. */
const TICK = 100_000n;
/** How many timers of one instant may set each other, and how many those of one key may set when the input has ended. */
const CHAIN_MAX = 1_000;
const AT_THE_END_MAX = 10_000;

/** What a run gave. */
export class Result {
    constructor(names) {
        this.ports = Object.fromEntries(names.map((name) => [name, []]));
        /** `{ cause, reason }`. */
        this.rejects = [];
        /** Timers that were set and deleted, in order: `{ key, time, number, set }`. */
        this.timers = [];
        /** `{ level, message }`. */
        this.logs = [];
        this.counts = {};
        /** Of each row: the record that caused it, counted from the first one pushed for this run; for a row that a timer caused, the
         * record before which it fired. */
        this.places = new Map();
    }

    /** The rows of a port, in order. */
    port(name) {
        if (!(name in this.ports)) throw new RangeError(`the plugin has no port ${name}; it has ${Object.keys(this.ports).join(', ')}`);
        return this.ports[name];
    }

    /** The rows of the only port. */
    rows() {
        const all = Object.values(this.ports);
        if (all.length !== 1) throw new RangeError(`the plugin has ${all.length} ports: name one with port(name)`);
        return all[0];
    }

    /** What caused a row: `{ cause, key, timer }`. */
    of(row) {
        return this.places.get(row);
    }

    /** The records that caused rows of the only port: what a filter keeps. */
    causes() {
        return this.rows().map((row) => this.of(row).cause);
    }

    outcome() {
        const ports = Object.entries(this.ports).map(([name, rows]) => [name, rows.map((row) => [row, this.of(row)])]);
        return shown([ports, this.rejects, this.timers]);
    }
}

/** For comparing, and for people. */
function shown(value) {
    return JSON.stringify(value, (_, one) =>
        typeof one === 'bigint' ? `${one}n` : one instanceof Uint8Array ? `bytes ${one.join()}` : typeof one === 'number' && !Number.isFinite(one) ? String(one) : Object.is(one, -0) ? '-0' : one,
    );
}

/**
 * Runs a plugin over records.
 *
 * `config` is the step's `config:` (a bigint is written as a number); `tables` the rows of side tables by name; `watermarkDelay` how
 * late records may come, in microseconds. Throws `Refused` with what the host would show to the author of the pipeline.
 */
export class Harness {
    #plan;
    #init;
    #delay;
    #pushed = [];
    #states = new Map();
    /** Timers by `time/key/number`, with how many of one instant set each other before. */
    #waiting = new Map();
    #watermark = null;

    constructor(plugin, { config = {}, tables = {}, watermarkDelay = 0n } = {}) {
        this.#plan = plugin;
        this.#delay = watermarkDelay;
        const sections = [[1, 0, new TextEncoder().encode(json(config))]];
        plugin.tables.forEach((one, at) => {
            const rows = tables[one.name] ?? [];
            const values = one.shape.plain(rows);
            const columns = one.shape.columns.map(({ kind }, number) => ({ kind, values: values[number] }));
            sections.push([2, at, writeFrame(rows.length, columns)]);
        });
        this.#init = writeMessage(INIT, sections);
        this.#engine();
    }

    #engine() {
        const engine = new Engine(this.#plan);
        engine.init(this.#init);
        return engine;
    }

    /** Adds a record to the next run. `key` is what the pipeline's `key:` would give. */
    push(record, { key = '' } = {}) {
        this.#pushed.push({ record, key });
    }

    /** Processes what was pushed since the last run. State and timers stay for the next one. Timers fire as the records' event times
     * move the watermark. */
    run() {
        return this.#run(null);
    }

    /** As `run`; then the watermark moves to `time`, and what is due fires. */
    runTo(time) {
        return this.#run(time);
    }

    /** As `run`; then the input ends, and every timer fires. */
    runToEnd() {
        return this.#run(END);
    }

    /** The timers of a key that wait, in the order of their times: `{ time, number }`. */
    timers(key = '') {
        const waiting = [...this.#waiting.values()].filter((one) => one.key === key).sort(inOrder);
        return waiting.map(({ time, number }) => ({ time, number }));
    }

    /** The value of a key in a table, or `null`. */
    state(table, key = '') {
        const at = this.#plan.state.findIndex((one) => one.shape.table === table);
        if (at < 0) throw new RangeError(`the plugin has no table ${table}`);
        const raw = this.#states.get(key)?.[at] ?? null;
        return raw === null ? null : this.#plan.state[at].shape.read(raw);
    }

    #run(until) {
        const records = this.#pushed;
        this.#pushed = [];
        const names = this.#plan.ports.map((port) => port.name);
        const before = new Map([...this.#states].map(([key, values]) => [key, [...values]]));
        const single = new Result(names);
        const events = this.#eventByEvent(records, until, single);
        const singleStates = this.#states;
        this.#states = before;
        const result = new Result(names);
        if (events.length) this.#call(records, events, result);
        const [whole, cut] = [result.outcome() + shown(ordered(this.#states)), single.outcome() + shown(ordered(singleStates))];
        if (whole !== cut) {
            throw new Error(
                'the result depends on how batches are cut: does the plugin keep something from one record to the next outside its ' +
                    `state?\n   in one batch: ${whole}\nrecord by record: ${cut}`,
            );
        }
        return result;
    }

    #eventByEvent(records, until, result) {
        const events = [];
        const { eventTime, hasTimers } = this.#plan;
        records.forEach(({ record }, row) => {
            if (hasTimers && eventTime !== null) {
                const time = record[eventTime] - this.#delay;
                this.#move(most(time - (((time % TICK) + TICK) % TICK), LEAST), records, row, result, events);
            }
            this.#one({ row, watermark: this.#watermark, timer: null }, records, result, events, null);
        });
        if (until !== null) this.#move(until, records, records.length, result, events);
        return events;
    }

    /** Moves the watermark before a record; what is due fires: in the order of the watermark that they see, those that no timer of
     * this instant set first, then of (time, key, number). */
    #move(to, records, row, result, events) {
        if (this.#watermark !== null && this.#watermark >= to) return;
        let seen = this.#watermark ?? LEAST;
        const atTheEnd = new Map();
        for (;;) {
            const due = [...this.#waiting.values()].filter((one) => one.time <= to);
            if (!due.length) break;
            const sees = (one) => most(one.time, seen);
            due.sort((a, b) => compare(sees(a), sees(b)) || a.chain - b.chain || inOrder(a, b));
            const timer = due[0];
            seen = sees(timer);
            this.#waiting.delete(nameOf(timer));
            this.#one({ row, watermark: seen, timer }, records, result, events, timer.chain, to === END ? atTheEnd : null);
        }
        this.#watermark = to;
    }

    /** `chain`: of the timer that fires; `atTheEnd`: how many timers the timers of each key have set since the input ended. */
    #one(event, records, result, events, chain = null, atTheEnd = null) {
        const asked = result.timers.length;
        this.#call(records, [event], result);
        for (const timer of result.timers.slice(asked)) {
            const name = nameOf(timer);
            if (!timer.set) this.#waiting.delete(name);
            else if (!this.#waiting.has(name)) {
                // Due at once: after those of this instant that no timer set.
                const next = chain !== null && timer.time <= event.watermark ? chain + 1 : 0;
                if (next > CHAIN_MAX) {
                    throw new Error(`timers set each other ${CHAIN_MAX} times at one instant: set the next one for a later time (P028)`);
                }
                this.#waiting.set(name, { time: timer.time, key: timer.key, number: timer.number, chain: next });
                const set = atTheEnd ? (atTheEnd.get(timer.key) ?? 0) + 1 : 0;
                atTheEnd?.set(timer.key, set);
                if (set > AT_THE_END_MAX) {
                    throw new Error(
                        `the input has ended, and timers of the key ${JSON.stringify(timer.key)} go on setting others, ${AT_THE_END_MAX} ` +
                            "so far: set the next one only while something waits for it (P028)",
                    );
                }
            }
        }
        events.push(event);
    }

    /** One call on a fresh instance, as the runtime makes for each epoch. */
    #call(records, events, result) {
        const plan = this.#plan;
        const keyOf = (event) => (event.timer ? event.timer.key : records[event.row].key);
        const keys = [...new Set(events.map(keyOf))];
        const numberOf = new Map(keys.map((key, at) => [key, at]));
        const rows = events.filter((event) => !event.timer).map((event) => event.row);
        const columns = (list, ...parts) => writeFrame(list.length, parts.map(([kind, part]) => ({ kind, values: list.map(part) })));
        const plain = plan.input.plain(rows.map((row) => withoutTime(records[row].record, plan.eventTime)));
        const sections = [[1, 0, writeFrame(rows.length, plan.input.columns.map(({ kind }, at) => ({ kind, values: plain[at] })))]];
        if (plan.state.length || plan.hasTimers || plan.ports.some((port) => port.kind === 'per_key')) {
            sections.push([2, 0, columns(rows, [KINDS.u32, (row) => numberOf.get(records[row].key)])]);
        }
        plan.state.forEach((_, at) => sections.push([3, at, columns(keys, [KINDS.binary, (key) => this.#states.get(key)?.[at] ?? null])]));
        const fired = [];
        const moves = [];
        let seen = 0;
        for (const event of events) {
            if (event.timer) {
                fired.push({ ...event.timer, row: seen, watermark: event.watermark });
                continue;
            }
            if (event.watermark !== null && moves.at(-1)?.watermark !== event.watermark) moves.push({ row: seen, watermark: event.watermark });
            seen++;
        }
        const { u32, timestamp } = KINDS;
        if (fired.length) {
            sections.push([4, 0, columns(fired, [u32, (one) => one.row], [u32, (one) => numberOf.get(one.key)],
                [timestamp, (one) => one.time], [u32, (one) => one.number], [timestamp, (one) => one.watermark])]);
        }
        if (plan.eventTime !== null) sections.push([5, 0, columns(rows, [timestamp, (row) => records[row].record[plan.eventTime]])]);
        if (plan.hasTimers) sections.push([6, 0, columns(moves, [u32, (one) => one.row], [timestamp, (one) => one.watermark])]);
        this.#take(this.#observed(writeMessage(BATCH, sections), result), records, events, keys, result);
    }

    #observed(batch, result) {
        const before = sendTo({
            log: (level, message) => result.logs.push({ level, message }),
            count: (name, delta) => (result.counts[name] = (result.counts[name] ?? 0n) + delta),
        });
        try {
            return this.#engine().process(batch);
        } finally {
            sendTo(before);
        }
    }

    #take(answer, records, events, keys, result) {
        const effects = readMessage(EFFECTS, answer);
        let following = events[0]?.row ?? 0;
        const places = events.map((event) => {
            if (!event.timer) {
                following = event.row + 1;
                return { cause: event.row, key: records[event.row].key, timer: null };
            }
            const { key, time, number } = event.timer;
            return { cause: following, key, timer: { time, number } };
        });
        this.#plan.ports.forEach((port, at) => {
            const bytes = effects.get(`1/${at}`);
            if (!bytes) return;
            const [causes, ...values] = readFrame(bytes).columns;
            const converteds = port.shape.columns.map((one, number) => converted(one.kind, values[number]));
            causes.forEach((cause, number) => {
                const row = rowOf(port.shape.attributes, converteds, number);
                result.ports[port.name].push(row);
                result.places.set(row, places[cause]);
            });
        });
        const each = (place, take) => {
            const bytes = effects.get(place);
            if (!bytes) return;
            const { rows, columns } = readFrame(bytes);
            for (let row = 0; row < rows; row++) take(...columns.map((column) => column[row]));
        };
        each('3/0', (cause, time, number, set) => result.timers.push({ key: places[cause].key, time, number, set }));
        each('4/0', (cause, reason) => result.rejects.push({ cause: places[cause].cause, reason }));
        const tables = this.#plan.state.length;
        for (let at = 0; at < tables; at++) {
            each(`2/${at}`, (key, value) => {
                const values = this.#states.get(keys[key]) ?? new Array(tables).fill(null);
                values[at] = value;
                if (values.some((one) => one !== null)) this.#states.set(keys[key], values);
                else this.#states.delete(keys[key]);
            });
        }
    }
}

const nameOf = ({ time, key, number }) => `${time}/${number}/${key}`;
const most = (a, b) => (a > b ? a : b);
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const inOrder = (a, b) => compare(a.time, b.time) || compare(a.key, b.key) || a.number - b.number;
const ordered = (states) => [...states].sort(([a], [b]) => compare(a, b));

function withoutTime(record, eventTime) {
    if (eventTime === null) return record;
    const { [eventTime]: _, ...rest } = record;
    return rest;
}

/** JSON in which a bigint is a number. */
function json(value) {
    if (typeof value === 'bigint') return String(value);
    if (Array.isArray(value)) return `[${value.map(json).join()}]`;
    if (value !== null && typeof value === 'object') return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}:${json(one)}`).join()}}`;
    return JSON.stringify(value);
}
