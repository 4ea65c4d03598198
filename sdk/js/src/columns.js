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

import { KINDS, Unfit, decimalKind, shown, readState, writeState } from './wire.js';
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

    /** The plain values of an object, in the order of the columns. Throws `Unfit`. */
    plain(row) {
        if (row === null || typeof row !== 'object') throw new Unfit(`${this.where}: an object is expected, not ${shown(row)}`);
        for (const name in row) {
            if (!this.columns.some((one) => one.attribute === name)) {
                throw new Unfit(`${this.where} has no column ${name}; it has ${this.columns.map((one) => one.attribute).join(', ') || 'none'}`);
            }
        }
        return this.columns.map((one) => {
            const value = row[one.attribute] ?? null;
            if (value !== null) return toWire(one, value);
            if (!one.nullable) throw new Unfit(`column ${one.name}: ${shown(row[one.attribute])}, and the column is not nullable`);
            return null;
        });
    }
}

/** A value as it is written. */
function toWire(column, value) {
    if (column.kind.name !== 'decimal128') return value;
    if (!(value instanceof Decimal)) throw new Unfit(`column ${column.name}: ${shown(value)} is no ${column.kind}`);
    const digits = value.digitsAt(column.kind.scale);
    if (digits === null) throw new Unfit(`column ${column.name}: ${value} is no ${column.kind}: it has more digits behind the point; cut them off`);
    return digits;
}

/** A column's plain values as the plugin sees them. */
export function converted(kind, values) {
    if (kind.name !== 'decimal128') return values;
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
            return one.items ? new StateShape(one.items, `${table}.${one.attribute}`, version) : null;
        });
        this.wire = this.fields.map((one, at) => ({
            name: one.name, kind: one.kind, nullable: one.nullable, since: one.since, items: this.lists[at]?.wire ?? null,
        }));
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
        // As a value of a version that had no column yet.
        this.empty ??= readState(1, this.wire.map((one) => ({ ...one, since: 2 })), Uint8Array.of(1, 0));
        return this.ofPlain(this.empty);
    }

    toPlain(value) {
        const names = this.fields.map((one) => one.attribute);
        for (const name in value) {
            if (!names.includes(name)) throw new Unfit(`state ${this.where} has no column ${name}; it has ${names.join(', ')}`);
        }
        return this.fields.map((one, at) => {
            const found = value[one.attribute] ?? null;
            if (this.lists[at]) return (found ?? []).map((item) => this.lists[at].toPlain(item));
            if (found !== null) return toWire(one, found);
            if (!one.nullable) throw new Unfit(`state column ${one.name}: ${shown(value[one.attribute])}, and the column is not nullable`);
            return null;
        });
    }

    ofPlain(values) {
        const value = {};
        this.fields.forEach((one, at) => {
            if (this.lists[at]) value[one.attribute] = values[at].map((item) => this.lists[at].ofPlain(item));
            else value[one.attribute] = converted(one.kind, [values[at]])[0];
        });
        return value;
    }

    encode(value) {
        return writeState(this.version, this.wire, this.toPlain(value));
    }

    decode(bytes) {
        return this.ofPlain(readState(this.version, this.wire, bytes));
    }
}
