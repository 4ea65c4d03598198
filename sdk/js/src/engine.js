// Running a plugin over messages: open a batch, hand over its records and timers, write the answer.
//
// Owns: the order of events, and what of it reaches the answer. Does not own: how messages arrive (`guest` in the sandbox,
// `testing` natively).
//
// Invariants: an answer is canonical. Nothing is kept from one batch to the next but the instance itself.

import { converted } from './columns.js';
import * as observe from './observe.js';
import { ConfigError, readConfig } from './settings.js';
import { ConfigRefused, Reject, StateUnreadable, loadTable } from './transform.js';
import { BATCH, EFFECTS, INIT, KINDS, readFrame, readMessage, writeFrame, writeMessage } from './wire.js';

/** `init` refuses its configuration or its side tables; or a batch as a whole cannot be processed. */
export class Refused extends Error {}

/** One instance of a plugin, with exactly the three entry points that its component exports. */
export class Engine {
    #plan;
    #instance = null;
    /** The event that is being processed: records and timers of a batch are counted as one sequence. */
    #now = { event: 0 };

    constructor(plan) {
        this.#plan = plan;
    }

    /** Makes the instance. Throws `Refused` with what is to be shown to the author of the pipeline. */
    init(message) {
        const sections = readMessage(INIT, message);
        const plan = this.#plan;
        try {
            const config = readConfig(plan.spec.config ?? {}, sections.get('1/0') ?? new TextEncoder().encode('{}'));
            const tables = plan.tables.map((one, at) => {
                const bytes = sections.get(`2/${at}`);
                if (!bytes) throw new ConfigRefused(`side table \`${one.name}\` is missing`);
                return loadTable(one, bytes);
            });
            this.#instance = plan.instance(config, tables, this.#now);
        } catch (error) {
            if (error instanceof ConfigError || error instanceof ConfigRefused) throw new Refused(error.message);
            throw error;
        }
    }

    /**
     * Takes a batch message and gives an effects message. Throws `Refused` where nothing is about one record; what else is thrown is
     * the plugin's mistake.
     */
    process(message) {
        observe.dropCounts();
        const sections = readMessage(BATCH, message);
        const plan = this.#plan;
        const { ports, state, timers, context } = this.#instance;
        const { rows, columns } = readFrame(sections.get('1/0'));
        for (const port of ports) port.start();
        timers.start();
        const keys = state.length ? readFrame(sections.get('2/0')).columns[0] : null;
        state.forEach((one, at) => one.start(readFrame(sections.get(`3/${at}`)).columns[0]));
        const rejects = [];
        try {
            const [attributes, values] = this.#read(sections, columns);
            const due = plan.hasTimers ? new Due(sections) : null;
            const { spec } = plan;
            const now = this.#now;
            for (let row = 0; row < rows; row++) {
                now.event = row;
                if (due) {
                    if (due.timer <= row) this.#fire(due, row);
                    if (due.move <= row) due.reach(row, timers);
                    now.event = row + due.taken;
                }
                for (let at = 0; at < state.length; at++) state[at].enter(keys[row]);
                const record = {};
                for (let at = 0; at < attributes.length; at++) record[attributes[at]] = values[at][row];
                try {
                    const result = spec.process(record, context);
                    if (result !== undefined) refuseResult(result, 'process');
                } catch (error) {
                    if (!(error instanceof Reject)) throw error;
                    for (const port of ports) port.forget();
                    rejects.push([now.event, String(error.message).toWellFormed()]);
                }
                for (let at = 0; at < state.length; at++) state[at].leave();
            }
            if (due) this.#fire(due, rows);
            const answer = answered(ports, state, timers, rejects);
            observe.flushCounts();
            return answer;
        } catch (error) {
            if (error instanceof StateUnreadable) throw new Refused(error.message);
            throw error;
        }
    }

    /** What records are made of: attributes, and the values of each. */
    #read(sections, columns) {
        const { input, eventTime } = this.#plan;
        const values = input.columns.map((one, at) => converted(one.kind, columns[at]));
        if (eventTime === null) return [input.attributes, values];
        return [[...input.attributes, eventTime], [...values, readFrame(sections.get('5/0')).columns[0]]];
    }

    /** Fires the timers that are due before a record. */
    #fire(due, row) {
        const { state, timers, context } = this.#instance;
        for (let timer = due.before(row, timers); timer; timer = due.before(row, timers)) {
            this.#now.event = timer.event;
            for (const one of state) one.enter(timer.key);
            try {
                refuseResult(this.#plan.spec.onTimer(timer.timer, context), 'onTimer');
            } catch (error) {
                if (!(error instanceof Reject)) throw error;
                throw new Error(`a timer is no record that could be rejected: ${error.message}`);
            }
            for (const one of state) one.leave();
        }
    }
}

/** What a function that is asynchronous, or a generator, would do later never happens; rows that are given back would be lost. */
function refuseResult(result, name) {
    if (result === null || typeof result !== 'object') return;
    if (typeof result.then === 'function') throw new TypeError(`\`${name}\` is asynchronous; there is nothing to wait for in a plugin`);
    throw new TypeError(`\`${name}\` gives something back: rows go through ports, as in out.push(row); is it a generator, with function*?`);
}

function answered(ports, state, timers, rejects) {
    const sections = [];
    ports.forEach((port, at) => {
        if (port.causes.length) sections.push([1, at, port.write()]);
    });
    state.forEach((one, at) => {
        const changed = one.changed();
        if (!changed.length) return;
        sections.push([2, at, pairs(changed, KINDS.u32, KINDS.binary)]);
    });
    if (timers.changed) sections.push([3, 0, timers.write()]);
    if (rejects.length) {
        sections.push([4, 0, pairs(rejects, KINDS.u32, KINDS.utf8)]);
    }
    return writeMessage(EFFECTS, sections);
}

/** A frame of two columns. */
const pairs = (list, ...kinds) => writeFrame(list.length, kinds.map((kind, part) => ({ kind, values: list.map((one) => one[part]) })));

/** The due timers and watermarks of a batch, taken one after the other. */
class Due {
    #timers;
    #moves;
    #moved = 0;

    constructor(sections) {
        this.#timers = sections.has('4/0') ? readFrame(sections.get('4/0')).columns : [[], [], [], [], []];
        this.#moves = readFrame(sections.get('6/0')).columns;
        /** Timers that have fired. */
        this.taken = 0;
        /** The record before which the next timer fires, and the one with which the watermark moves next. */
        this.timer = this.#timers[0][0] ?? Infinity;
        this.move = this.#moves[0][0] ?? Infinity;
    }

    /** The next timer that fires before a record, if there is one; the watermark is what it sees. */
    before(row, timers) {
        if (this.timer > row) return null;
        const [rows, keys, times, numbers, watermarks] = this.#timers;
        const at = this.taken++;
        this.timer = rows[this.taken] ?? Infinity;
        timers.seen = watermarks[at];
        return { event: row + at, key: keys[at], timer: { time: times[at], number: numbers[at] } };
    }

    /** Moves the watermark to where it is from a record on. */
    reach(row, timers) {
        const [rows, watermarks] = this.#moves;
        while (this.#moved < rows.length && rows[this.#moved] <= row) timers.seen = watermarks[this.#moved++];
        this.move = rows[this.#moved] ?? Infinity;
    }
}
