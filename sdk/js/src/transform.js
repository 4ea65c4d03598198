// What an author writes a plugin with: `transform`, its ports, its keyed state, its timers, its side tables.
//
// Owns: these, and reading from a plugin what its description says. Does not own: how batches run through it (`engine`), windows
// (`window`).
//
// Invariant: what is declared is bound anew for each instance; nothing of one instance reaches another.

import { Shape, StateShape, converted } from './columns.js';
import { Setting } from './settings.js';
import { StateError } from './state.js';
import { KINDS, checked, readFrame, shown, writeFrame } from './wire.js';

/**
 * Rejects the current record: it causes no output, and goes the way of the step's `on_error`. What it changed
 * of state and timers stays. The message is the reason.
 */
export class Reject extends Error {}

/** `setup` cannot work with what the pipeline gave it. The message is shown to the author of the pipeline. */
export class ConfigRefused extends Error {}

/** A value of a table that this version of the plugin cannot read: not about a record. */
export class StateUnreadable extends Error {}

// Ports -----------------------------------------------------------------------------------------------------------------

class PortSpec {
    constructor(kind, columns, keeps) {
        Object.assign(this, { kind, columns, keeps });
    }
}

/** Rows that are the record that caused them, followed by these columns. */
export const extend = (columns) => new PortSpec('extend', columns, false);
/** Records as they came: a filter. */
export const keep = () => new PortSpec('extend', {}, true);
/** Rows with these columns only. */
export const emit = (columns) => new PortSpec('emit', columns, false);
/** Rows that are the key, followed by these columns. */
export const perKey = (columns) => new PortSpec('per_key', columns, false);

/** An output of an instance. `now.event` is the event that is being processed. */
class Port {
    #now;
    #columns;

    constructor(shape, now) {
        this.shape = shape;
        this.#now = now;
        this.start();
    }

    start() {
        this.causes = [];
        this.#columns = this.shape.columns.map(() => []);
    }

    /** Gives a row. Throws when a column is missing or not of its type. */
    push(row) {
        const { causes } = this;
        this.shape.put(row, this.#columns, causes.length);
        causes[causes.length] = this.#now.event;
    }

    /** Gives the current record. */
    keep() {
        if (this.#columns.length) this.push({});
        else this.causes[this.causes.length] = this.#now.event;
    }

    /** Takes back what the current event gave. */
    forget() {
        const { causes } = this;
        while (causes.length && causes[causes.length - 1] === this.#now.event) causes.length--;
    }

    write() {
        for (const column of this.#columns) column.length = this.causes.length;
        const columns = this.shape.columns.map(({ kind }, at) => ({ kind, values: this.#columns[at] }));
        return writeFrame(this.causes.length, [{ kind: KINDS.u32, values: this.causes }, ...columns]);
    }
}

// Timers ----------------------------------------------------------------------------------------------------------------

/** Timers of the current key, and the watermark. For plugins that have `onTimer`. */
export class Timers {
    #now;
    #enabled;

    constructor(now, enabled) {
        this.#now = now;
        this.#enabled = enabled;
        this.start();
    }

    start() {
        this.changes = [[], [], [], []];
        this.seen = null;
    }

    #check() {
        if (!this.#enabled) throw new TypeError('a plugin that uses timers or the watermark has a function `onTimer`');
    }

    /** The event time up to which everything has come, but for what is late; `null` before the first record. */
    get watermark() {
        this.#check();
        return this.seen;
    }

    /** Whether the watermark has reached a time: nothing before it will come but what is late. */
    reached(time) {
        this.#check();
        return this.seen !== null && this.seen >= time;
    }

    /**
     * Sets a timer of the current key. It fires once, when the watermark reaches `time`; when that has passed, as soon as the
     * watermark moves. Key, time and number (0 to 2^32-1) are its identity: setting one that waits changes nothing.
     */
    set(time, number = 0) {
        this.#change(time, number, true);
    }

    /** Deletes a timer of the current key, if it waits. */
    delete(time, number = 0) {
        this.#change(time, number, false);
    }

    #change(time, number, isSet) {
        this.#check();
        const [events, times, numbers, sets] = this.changes;
        checked(KINDS.timestamp, time);
        checked(KINDS.u32, number);
        events.push(this.#now.event);
        times.push(time);
        numbers.push(number);
        sets.push(isSet);
    }

    /** How many were set or deleted. */
    get changed() {
        return this.changes[0].length;
    }

    write() {
        const kinds = [KINDS.u32, KINDS.timestamp, KINDS.u32, KINDS.bool];
        return writeFrame(this.changed, kinds.map((kind, at) => ({ kind, values: this.changes[at] })));
    }
}

// Keyed state -----------------------------------------------------------------------------------------------------------

class StateSpec {
    constructor(shape, Kept) {
        this.shape = shape;
        this.Kept = Kept;
    }
}

/**
 * One value for each key of the pipeline: an object with these columns. `version` grows when columns are appended, each of them
 * with `since`. `table` is the name; that of the declaration if not given.
 */
export function keyed(columns, { table = null, version = 1 } = {}) {
    return new StateSpec((name) => new StateShape(columns, table ?? name, version), Keyed);
}

/** For `window`: a table whose values are not declared by columns alone. */
export const stateOf = (shape, Kept) => new StateSpec(() => shape, Kept);

/**
 * The values of an instance. A value may be changed in place: what is there when a record is done is kept, and only what its columns
 * say. Every record gets an object of its own: changes of one that is held on to are not kept.
 */
export class Keyed {
    #raw = [];
    /**
     * Between events a value is an object that nobody else has, as if it had been written and read: what the next record finds does
     * not depend on which events share a call.
     */
    #kept = new Map();
    /** What the event has of it; not there before it asked. */
    #value;

    constructor(shape, timers) {
        this.shape = shape;
        this.timers = timers;
        this.key = 0;
    }

    start(raw) {
        this.#raw = raw;
        this.#kept.clear();
    }

    /** An event of this key begins. */
    enter(key) {
        this.key = key;
        this.#value = undefined;
    }

    /** The event is over. */
    leave() {
        const value = this.#value;
        if (value !== undefined) this.#kept.set(this.key, value === null ? null : this.shape.kept(value));
    }

    /** The key's value, or `null` for a new key. */
    get() {
        let value = this.#value;
        if (value === undefined) {
            value = this.#kept.get(this.key);
            if (value === undefined) value = this.#read(this.#raw[this.key]);
            this.#value = value;
        }
        return value;
    }

    #read(raw) {
        try {
            return raw === null ? null : this.shape.read(raw);
        } catch (error) {
            if (!(error instanceof StateError)) throw error;
            throw new StateUnreadable(`the state of table \`${this.shape.table}\` cannot be read at version ${this.shape.version}: ${error.message}`);
        }
    }

    /** The key's value; made by `first()` for a new key. */
    orInsert(first) {
        const value = this.get();
        if (value !== null) return value;
        const made = first();
        if (made === null) throw new TypeError('orInsert: a function that makes a value is expected, and it made null');
        this.set(made);
        return made;
    }

    /** The key's value; for a new key one whose columns are null, zero, false or empty. */
    orDefault() {
        const value = this.get();
        if (value !== null) return value;
        this.#value = this.shape.first();
        return this.#value;
    }

    /** Replaces the key's value. */
    set(value) {
        if (typeof value !== 'object') throw new TypeError(`a value of state is an object; ${shown(value)} is none`);
        this.#value = value;
    }

    /** Forgets the key. */
    clear() {
        this.#value = null;
    }

    /** `[key, new value or null]` of what differs, in the order of keys. */
    changed() {
        const changes = [];
        for (const key of [...this.#kept.keys()].sort((a, b) => a - b)) {
            const value = this.#kept.get(key);
            const after = value === null ? null : this.shape.write(value);
            if (!same(after, this.#raw[key])) changes.push([key, after]);
        }
        return changes;
    }
}

function same(a, b) {
    if (a === b) return true;
    if (a === null || b === null) return false;
    if (a.length !== b.length) return false;
    for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
    return true;
}

// Side tables -----------------------------------------------------------------------------------------------------------

class TableSpec {
    constructor(columns, key, name) {
        Object.assign(this, { columns, key, name });
    }
}

/** Rows of a side table, which the pipeline hands over; `key` is the column by which rows are found. */
export const table = (columns, { key = null, name = null } = {}) => new TableSpec(columns, key, name);

/** The rows of a side table, in the pipeline's order. */
class Table {
    #byKey;

    constructor(rows, byKey) {
        this.rows = rows;
        this.#byKey = byKey;
    }

    /** The row with this key, or `null`. */
    get(key) {
        return this.#byKey.get(keyOf(key)) ?? null;
    }

    [Symbol.iterator]() {
        return this.rows[Symbol.iterator]();
    }

    get length() {
        return this.rows.length;
    }
}

const keyOf = (value) => (value instanceof Uint8Array ? value.join() : typeof value === 'object' && value !== null ? String(value) : value);

export function loadTable(spec, bytes) {
    const { rows: count, columns } = readFrame(bytes);
    const values = spec.shape.columns.map((one, at) => converted(one.kind, columns[at]));
    const rows = [];
    for (let row = 0; row < count; row++) rows.push(rowOf(spec.shape.attributes, values, row));
    const byKey = new Map();
    const places = new Map();
    if (spec.key !== null) {
        rows.forEach((row, at) => {
            const key = keyOf(row[spec.key]);
            if (places.has(key)) {
                throw new ConfigRefused(`side table \`${spec.name}\`: rows ${places.get(key)} and ${at} have the same \`${spec.key}\`; a key is unique`);
            }
            places.set(key, at);
            byKey.set(key, row);
        });
    }
    return new Table(rows, byKey);
}

/** The object of a row of columns. */
export function rowOf(attributes, values, row) {
    const object = {};
    for (let at = 0; at < attributes.length; at++) object[attributes[at]] = values[at][row];
    return object;
}

// The plugin ------------------------------------------------------------------------------------------------------------

const PARTS = ['input', 'ports', 'state', 'config', 'tables', 'setup', 'process', 'onTimer'];

/**
 * A plugin:
 *
 * - `input`: the columns that are read, by name
 * - `ports`: `extend`, `keep`, `emit`, `perKey`, by name
 * - `state`, `tables`, `config`: `keyed` or `panes`, `table`, `setting`, by name
 * - `setup(context)`: once for each instance; what it returns is added to the context
 * - `process(record, context)`: called for each record
 * - `onTimer({ time, number }, context)`, if it has timers
 *
 * The context has the ports, the state and the side tables by their names, `config` and `timers`. An instance serves one epoch of one
 * lane: what has to last is keyed state, never a variable.
 */
export function transform(spec) {
    return new Plan(spec);
}

/** What a plugin says of itself. */
export class Plan {
    constructor(spec) {
        if (spec === null || typeof spec !== 'object') throw new TypeError('transform({ input, ports, process }): an object is expected');
        for (const part of Object.keys(spec)) {
            if (!PARTS.includes(part)) throw new TypeError(`a plugin has no part \`${part}\`; it has ${PARTS.join(', ')}`);
        }
        if (typeof spec.process !== 'function') throw new TypeError('a plugin has a function `process`');
        this.spec = spec;
        /** Its stack tells where in the author's files. */
        this.declared = new Error('declared');
        this.input = new Shape(spec.input ?? {}, 'input').flat();
        this.eventTime = this.input.fields.find((one) => one.eventTime)?.attribute ?? null;
        this.hasTimers = typeof spec.onTimer === 'function';
        const named = (part, Of, make) =>
            Object.entries(spec[part] ?? {}).map(([name, one]) => {
                if (!(one instanceof Of)) throw new TypeError(`${part}.${name} is not declared as one of ${part}`);
                return make(name, one);
            });
        this.ports = named('ports', PortSpec, (name, one) => ({ name, kind: one.kind, shape: new Shape(one.columns, name).flat() }));
        this.state = named('state', StateSpec, (name, one) => ({ name, shape: one.shape(name), Kept: one.Kept }));
        this.tables = named('tables', TableSpec, (attribute, one) => {
            const shape = new Shape(one.columns, attribute).flat();
            const key = shape.columns.find((column) => column.attribute === one.key);
            if (one.key !== null && (!key || key.nullable)) throw new TypeError(`tables.${attribute}: the key is a column that is not nullable, not ${one.key}`);
            return { attribute, name: one.name ?? attribute, key: one.key, column: key?.name, shape };
        });
        for (const [name, one] of Object.entries(spec.config ?? {})) {
            if (!(one instanceof Setting)) throw new TypeError(`config.${name} is no setting, as setting.i64 is`);
        }
        const taken = ['config', 'timers', ...this.ports.map((one) => one.name), ...this.state.map((one) => one.name), ...this.tables.map((one) => one.attribute)];
        const twice = taken.find((name, at) => taken.indexOf(name) !== at);
        if (twice) throw new TypeError(`two parts of the context are called \`${twice}\``);
    }

    /** As wit/frame.md has it. */
    description(name = 'plugin', version = '0') {
        return {
            abi: 1,
            name,
            version,
            inputs: [{ name: 'in', columns: this.input.specs() }],
            event_time: this.eventTime !== null,
            timers: this.hasTimers,
            outputs: this.ports.map((port) => ({ name: port.name, kind: port.kind, columns: port.shape.specs() })),
            tables: this.state.map(({ shape }) => ({ name: shape.table, version: shape.version, columns: shape.stateSpecs() })),
            side_tables: this.tables.map((one) => ({ name: one.name, columns: one.shape.specs(), ...(one.key === null ? {} : { key: one.column }) })),
        };
    }

    /** An instance whose ports, state and timers are its own. */
    instance(config, tables, now) {
        const timers = new Timers(now, this.hasTimers);
        const ports = this.ports.map((port) => new Port(port.shape, now));
        const state = this.state.map((one) => new one.Kept(one.shape, timers));
        const context = { config, timers };
        this.ports.forEach((port, at) => (context[port.name] = ports[at]));
        this.state.forEach((one, at) => (context[one.name] = state[at]));
        this.tables.forEach((one, at) => (context[one.attribute] = tables[at]));
        Object.assign(context, this.spec.setup?.(context));
        return { ports, state, timers, context };
    }
}
