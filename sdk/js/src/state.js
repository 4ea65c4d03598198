// State values: the bytes of what is kept for a key, as wit/frame.md of Segno's repository specifies them.
//
// Owns: that layout, and objects of it. Does not own: what a plugin declares (`columns`), when a value is read and written (`transform`).
//
// Invariants: as in `wire`. A value that was read and is written again has the same bytes, if its version is the table's.
//
// A value is an object, written in the order of the table's columns. A column is
// `{ name, attribute, kind, nullable, since, items, inside, plainOf, valueOf }`:
//
// - `items`: the columns of a list of objects
// - `inside`: the columns of one object, which stand in the place of this column
// - `kind`, for others; `plainOf` and `valueOf` make a plain value of one of the plugin's and back, where they differ

import { KINDS, Unfit, encoder, readDecimal, shown, unfit, utf8, writeDecimal, zeroOf } from './wire.js';

/** A value of state that is none of its table. */
export class StateError extends Error {}

/** Bytes that grow. */
class Writer {
    constructor() {
        this.#resize(256);
        this.at = 0;
    }

    #resize(capacity) {
        const grown = new Uint8Array(capacity);
        if (this.bytes) grown.set(this.bytes);
        this.bytes = grown;
        this.view = new DataView(grown.buffer);
    }

    /** The place of so many bytes more. `bytes` and `view` may be other ones afterwards: they are asked for after it. */
    place(size) {
        const { at } = this;
        this.at = at + size;
        if (this.at > this.bytes.length) this.#resize(2 * this.at);
        return at;
    }
}

const writer = new Writer();

/** The bytes of one state value. Throws `Unfit`. */
export function writeState(version, columns, value) {
    writer.at = 0;
    const at = writer.place(2);
    writer.view.setUint16(at, version, true);
    writeRow(columns, value);
    return writer.bytes.slice(0, writer.at);
}

function writeRow(columns, row) {
    for (let number = 0; number < columns.length; number++) {
        const column = columns[number];
        const value = row[column.attribute];
        const { kind } = column;
        if (kind === null) {
            if (column.inside) writeRow(column.inside, value);
            else writeList(column, value);
            continue;
        }
        if (column.nullable) {
            const isNull = value === null || value === undefined;
            const at = writer.place(1);
            writer.bytes[at] = isNull ? 0 : 1;
            if (isNull) continue;
        }
        const { type, least } = kind;
        // `Kind.fits` for most values: a call costs the engine as much as all of this.
        if (typeof value === type && least !== null && value >= least && value <= kind.most && column.plainOf === null && kind.more === null) {
            writeValue(kind, value);
        } else {
            writeValue(kind, plainOf(column, value));
        }
    }
}

/** The value as it is written. */
export function plainOf(column, value) {
    const { kind, nullable } = column;
    const where = `state column ${column.name}: `;
    if (value === null || value === undefined) {
        if (nullable) return null;
        throw new Unfit(`${where}${value}, and the column is not nullable`);
    }
    const plain = column.plainOf ? column.plainOf(value, where) : value;
    if (!kind.fits(plain)) throw unfit(kind, value, where);
    return plain;
}

function writeList(column, items) {
    if (!Array.isArray(items)) throw new Unfit(`state column ${column.name}: a list is an array, not ${items}`);
    const at = writer.place(4);
    for (const item of items) {
        if (item === null || typeof item !== 'object') throw new Unfit(`state column ${column.name}: an item of a list is an object, not ${shown(item)}`);
        try {
            writeRow(column.items, item);
        } catch (error) {
            throw error instanceof Unfit ? new Unfit(`list ${column.name}: ${error.message}`) : error;
        }
    }
    writer.view.setUint32(at, writer.at - at - 4, true);
}

function writeValue(kind, value) {
    switch (kind.tag) {
        case KINDS.bool.tag: {
            const at = writer.place(1);
            writer.bytes[at] = value ? 1 : 0;
            return;
        }
        case KINDS.utf8.tag:
        case KINDS.binary.tag: {
            const raw = kind === KINDS.utf8 ? encoder.encode(value) : value;
            const at = writer.place(4 + raw.length);
            writer.view.setUint32(at, raw.length, true);
            writer.bytes.set(raw, at + 4);
            return;
        }
        case KINDS.i32.tag:
        case KINDS.date.tag:
        case KINDS.u32.tag: {
            const at = writer.place(4);
            // Of a negative number the same bits.
            writer.view.setUint32(at, value, true);
            return;
        }
        case KINDS.f64.tag: {
            const at = writer.place(8);
            if (value === value) writer.view.setFloat64(at, value, true);
            else writer.view.setBigUint64(at, 0x7ff8000000000000n, true);
            return;
        }
        case KINDS.i64.tag:
        case KINDS.timestamp.tag:
        case KINDS.u64.tag: {
            const at = writer.place(8);
            writer.view.setBigInt64(at, value, true);
            return;
        }
        default: {
            const at = writer.place(16);
            writeDecimal(writer.view, at, value);
        }
    }
}

/** The value of some bytes. What its version did not have is null, zero, false or empty. Throws `StateError`. */
export function readState(version, columns, bytes) {
    if (bytes.length < 2) throw new StateError('state-short');
    const found = bytes[0] | (bytes[1] << 8);
    if (found < 1 || found > version) throw new StateError('state-version');
    const reader = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at: 2, end: bytes.length };
    const value = readRow(found, columns, reader);
    if (reader.at !== bytes.length) throw new StateError('state-trailing');
    return value;
}

/** What a new key has. */
export const emptyState = (columns) => readRow(0, columns, null);

function take(reader, size) {
    const { at } = reader;
    if (at + size > reader.end) throw new StateError('state-short');
    reader.at = at + size;
    return at;
}

function readRow(version, columns, reader) {
    const row = {};
    for (let number = 0; number < columns.length; number++) {
        const column = columns[number];
        const { kind } = column;
        let value;
        if (column.inside) value = readRow(version, column.inside, reader);
        else if (column.since > version) value = column.items ? [] : column.nullable ? null : zeroOf(kind);
        else if (column.items) value = readList(version, column.items, reader);
        else if (column.nullable && !isPresent(reader)) value = null;
        else value = readValue(kind, reader);
        row[column.attribute] = column.valueOf && value !== null ? column.valueOf(value) : value;
    }
    return row;
}

function isPresent(reader) {
    const present = reader.bytes[take(reader, 1)];
    if (present > 1) throw new StateError('state-presence');
    return present === 1;
}

function readList(version, columns, reader) {
    const size = reader.view.getUint32(take(reader, 4), true);
    const start = take(reader, size);
    const inside = { bytes: reader.bytes, view: reader.view, at: start, end: start + size };
    const items = [];
    while (inside.at < inside.end) items.push(readRow(version, columns, inside));
    return items;
}

function readValue(kind, reader) {
    const { view, bytes } = reader;
    switch (kind.tag) {
        case KINDS.bool.tag: {
            const flag = bytes[take(reader, 1)];
            if (flag > 1) throw new StateError('state-value');
            return flag === 1;
        }
        case KINDS.utf8.tag:
        case KINDS.binary.tag: {
            const size = view.getUint32(take(reader, 4), true);
            const start = take(reader, size);
            const raw = bytes.subarray(start, start + size);
            if (kind === KINDS.binary) return raw.slice();
            try {
                return utf8.decode(raw);
            } catch {
                throw new StateError('state-value');
            }
        }
        case KINDS.f64.tag: {
            const at = take(reader, 8);
            const value = view.getFloat64(at, true);
            if (value !== value && view.getBigUint64(at, true) !== 0x7ff8000000000000n) throw new StateError('state-value');
            return value;
        }
        case KINDS.i32.tag:
        case KINDS.date.tag:
            return view.getInt32(take(reader, 4), true);
        case KINDS.u32.tag:
            return view.getUint32(take(reader, 4), true);
        case KINDS.u64.tag:
            return view.getBigUint64(take(reader, 8), true);
        case KINDS.i64.tag:
        case KINDS.timestamp.tag:
            return view.getBigInt64(take(reader, 8), true);
        default: {
            const value = readDecimal(view, take(reader, 16));
            if (!kind.fits(value)) throw new StateError('state-value');
            return value;
        }
    }
}
