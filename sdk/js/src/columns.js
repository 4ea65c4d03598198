// Columns: what a plugin declares of records, rows, state and side tables, and how their objects are made of plain values.
//
// Owns: declarations, and objects by them. Does not own: bytes (`wire`), ports and tables (`transform`).
//
// | declaration | column | value |
// |---|---|---|
// | `bool` | `bool` | boolean |
// | `i32` | `i32` | number, a whole one |
// | `i64`, `u64` | `i64`, `u64` | bigint |
// | `f64` | `f64` | number; every NaN becomes the canonical one |
// | `utf8` | `utf8` | string without lone surrogates |
// | `binary` | `binary` | Uint8Array |
// | `timestamp` | `timestamp` | bigint, microseconds since 1970 in UTC |
// | `date` | `date` | number, days since 1970-01-01 |
// | `decimal128(p, s)` | `decimal128(p,s)` | `Decimal` |
// | `optional(c)` | nullable | the value, or `null` |

import { emptyState, plainOf, readState, writeState } from './state.js';
import { KINDS, Unfit, decimalKind, isDecimal, shown, unfit } from './wire.js';
import { Decimal } from './values.js';

/** A declared column. */
export class Column {
    constructor(parts) {
        Object.assign(this, { kind: null, name: null, nullable: false, since: 1, eventTime: false, items: null }, parts);
        Object.freeze(this);
    }
}

const plain = (name) => new Column({ kind: KINDS[name] });
export const bool = plain('bool');
export const i32 = plain('i32');
export const i64 = plain('i64');
export const u64 = plain('u64');
export const f64 = plain('f64');
export const utf8 = plain('utf8');
export const binary = plain('binary');
export const timestamp = plain('timestamp');
export const date = plain('date');

/** Exact decimals of so many digits, of which `scale` stand behind the point. */
export const decimal128 = (precision, scale) => new Column({ kind: decimalKind(precision, scale) });

/** The event time of a record: no column of the plugin, but what the pipeline calls `time:`. */
export const eventTime = new Column({ kind: KINDS.timestamp, eventTime: true });

/** A column that may be null. */
export const optional = (column) => new Column({ ...column, nullable: true });

/** The name of a column where it is no good name in JavaScript: `named('bid.price', i64)`. */
export const named = (name, column) => new Column({ ...column, name });

/** The version of its table that brought a column of state. */
export const since = (version, column) => new Column({ ...column, since: version });

/** In state: a list of objects with these columns. */
export const list = (columns) => new Column({ items: columns });

/** The columns of objects of one kind. */
export class Shape {
    constructor(declared, where) {
        if (declared === null || typeof declared !== 'object') throw new TypeError(`${where}: an object of columns is expected`);
        this.fields = Object.entries(declared).map(([attribute, column]) => {
            if (!(column instanceof Column)) throw new TypeError(`${where}.${attribute}: ${shown(column)} is no column, as i64 is`);
            return { ...column, attribute, name: column.name ?? attribute };
        });
        this.columns = this.fields.filter((one) => !one.eventTime);
        this.attributes = this.columns.map((one) => one.attribute);
        this.where = where;
    }

    /** Without lists. */
    flat() {
        const found = this.fields.find((one) => one.items);
        if (found) throw new TypeError(`${this.where}.${found.attribute}: lists are for state`);
        return this;
    }

    /** The columns as a description has them. */
    specs() {
        return this.columns.map((one) => ({ name: one.name, type: String(one.kind), nullable: one.nullable }));
    }

    /** Writes the plain values of an object into a row of columns. Throws `Unfit`; what it wrote then is to be written over. */
    put(row, values, at) {
        if (row === null || typeof row !== 'object') throw new Unfit(`${this.where}: an object is expected, not ${shown(row)}`);
        const { columns } = this;
        let others = Object.keys(row).length;
        let missing = null;
        for (let number = 0; number < columns.length; number++) {
            const one = columns[number];
            const value = row[one.attribute];
            if (value === undefined || value === null) {
                if (value === null) others--;
                if (!one.nullable) missing ??= one;
                values[number][at] = null;
                continue;
            }
            others--;
            const { kind } = one;
            // `toWire` for most values: a call costs the engine as much as all of this.
            if (typeof value === kind.type && kind.more === null && (kind.least === null || (value >= kind.least && value <= kind.most)) && !kind.precision) {
                values[number][at] = value;
            } else {
                values[number][at] = toWire(one, value);
            }
        }
        if (others) this.#refuseOthers(row);
        if (missing) throw new Unfit(`column ${missing.name}: ${row[missing.attribute]}, and the column is not nullable`);
    }

    /** The plain values of objects, by column. */
    plain(rows) {
        const values = this.columns.map(() => new Array(rows.length));
        rows.forEach((row, at) => this.put(row, values, at));
        return values;
    }

    /** Throws when an object has what no column is called: a column that is missing is most often that one, misspelt. */
    #refuseOthers(row) {
        for (const name in row) {
            if (!this.attributes.includes(name)) {
                throw new Unfit(`${this.where} has no column ${name}; it has ${this.attributes.join(', ') || 'none'}`);
            }
        }
    }
}

/** A value as it is written: here, where it is given, so that a mistake has the author's line. */
function toWire({ name, kind }, value) {
    const where = `column ${name}: `;
    const plain = isDecimal(kind) ? digitsOf(kind, value, where) : value;
    if (!kind.fits(plain)) throw unfit(kind, value, where);
    // Those of when they were given count: the plugin may write over them.
    return kind === KINDS.binary ? plain.slice() : plain;
}

function digitsOf(kind, value, where) {
    if (!(value instanceof Decimal)) throw unfit(kind, value, where);
    const digits = value.digitsAt(kind.scale);
    if (digits === null) throw new Unfit(`${where}${value} is no ${kind}: it has more digits behind the point; cut them off`);
    return digits;
}

/** A column's plain values as the plugin sees them. */
export function converted(kind, values) {
    if (!isDecimal(kind)) return values;
    return values.map((value) => (value === null ? null : new Decimal(value, kind.scale)));
}

/** Columns of values that are kept for keys, and of the items of lists in them. */
export class StateShape extends Shape {
    constructor(declared, table, version) {
        super(declared, table);
        this.table = table;
        this.version = version;
        if (!Number.isInteger(version) || version < 1) throw new TypeError(`${table}: a version is a whole number from 1 on`);
        let newest = 1;
        this.lists = this.fields.map((one) => {
            if (one.eventTime) throw new TypeError(`${table}.${one.attribute}: event times are for records; keep a timestamp`);
            if (one.since < newest || one.since > version) {
                throw new TypeError(
                    `${table}.${one.attribute}: columns are appended: since is between that of the column before (${newest}) and the table's version (${version})`,
                );
            }
            newest = one.since;
            if (one.items && one.nullable) throw new TypeError(`${table}.${one.attribute}: a list is not optional; it may be empty`);
            return one.items ? new StateShape(one.items, `${table}.${one.attribute}`, version) : null;
        });
        /** There are columns whose values others may hold, too, or that have several forms. */
        this.shared = this.fields.some((one) => one.items || isDecimal(one.kind) || one.kind === KINDS.binary);
        this.stored = this.fields.map(({ name, attribute, kind, nullable, since }, at) => ({
            name, attribute, kind, nullable, since, items: this.lists[at]?.stored ?? null, inside: null,
            plainOf: kind && isDecimal(kind) ? (value, where) => digitsOf(kind, value, where) : null,
            valueOf: kind && isDecimal(kind) ? (digits) => new Decimal(digits, kind.scale) : null,
        }));
    }

    /** An object that nobody has yet: the one that is read when this one has been written. */
    kept(value) {
        const { stored } = this;
        if (this.shared || Object.keys(value).length !== stored.length) this.refuseOthers(value);
        if (this.shared) return this.read(this.write(value));
        const kept = {};
        for (let number = 0; number < stored.length; number++) {
            const column = stored[number];
            const { attribute, kind } = column;
            const one = value[attribute];
            const { type, least } = kind;
            const fits = typeof one === type && least !== null && kind.more === null && one >= least && one <= kind.most;
            const plain = fits ? one : plainOf(column, one);
            // A zero has a sign only as a double.
            kept[attribute] = plain === 0 && kind !== KINDS.f64 ? 0 : plain;
        }
        return kept;
    }

    stateSpecs() {
        return this.fields.map((one, at) => ({
            name: one.name,
            type: this.lists[at] ? 'list' : String(one.kind),
            nullable: one.nullable,
            ...(one.since > 1 ? { since: one.since } : {}),
            ...(this.lists[at] ? { columns: this.lists[at].stateSpecs() } : {}),
        }));
    }

    /** What a new key has: null, zero, false or empty. */
    first() {
        return emptyState(this.stored);
    }

    /** Throws when a value, or an item in it, has what no column is called. */
    refuseOthers(value) {
        for (const name in value) {
            if (!this.attributes.includes(name)) throw new Unfit(`state ${this.where} has no column ${name}; it has ${this.attributes.join(', ')}`);
        }
        this.lists.forEach((list, at) => {
            const items = value[this.attributes[at]];
            if (list && Array.isArray(items)) for (const item of items) if (item !== null && typeof item === 'object') list.refuseOthers(item);
        });
    }

    write(kept) {
        return writeState(this.version, this.stored, kept);
    }

    read(bytes) {
        return readState(this.version, this.stored, bytes);
    }
}
